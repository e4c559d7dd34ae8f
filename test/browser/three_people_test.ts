/** Three people, each with two devices of two tabs, talk while tabs close, a device loses its network and the server is killed. */

import { afterAll, beforeAll, expect, test } from "bun:test";

import type { Browser, BrowserContext, Page } from "playwright-core";

import { connect } from "../../src/db/client.ts";
import { launch, Server } from "../support/browser.ts";
import { freePort, migratedDatabase, Person } from "../support/harness.ts";
import { until } from "../support/until.ts";

const NAMES = ["Ann", "Bob", "Ζωή"] as const;
const MESSAGES = 100;

let browser: Browser;
let server: Server;
let database: string;

beforeAll(async () => {
  database = await migratedDatabase();
  [browser, server] = [await launch(), new Server(freePort(), database)];
  await server.start();
}, 60_000);

afterAll(async () => {
  await browser?.close();
  await server?.end("SIGTERM");
});

interface Tab {
  readonly device: BrowserContext;
  readonly me: string;
  readonly peer: string;
  page: Page;
}

async function open(device: BrowserContext, peer: string): Promise<Page> {
  const page = await device.newPage();
  await page.goto(`${server.url}/#${encodeURIComponent(peer)}`);
  await page.waitForSelector("message-composer textarea:visible");
  return page;
}

test("all of them see every message once, in the order in which the database has them", async () => {
  const tabs: Tab[] = [];
  const people = await Promise.all(NAMES.map((name) => Person.signUp(server.url, name)));
  for (const { name: me, cookie } of people) {
    const [name = "", value = ""] = cookie.split(/=(.*)/s);
    for (let devices = 0; devices < 2; devices++) {
      const device = await browser.newContext({ locale: "en-GB", viewport: { width: 1_000, height: 700 } });
      await device.addCookies([{ name, value, url: server.url }]);
      for (const peer of NAMES) if (peer !== me) tabs.push({ device, me, peer, page: await open(device, peer) });
    }
  }

  let restarted: Promise<void> | undefined;
  for (let i = 0; i < MESSAGES; i++) {
    const tab = tabs[(i * 5) % tabs.length]!;
    if (i % 20 === 10) await tab.page.reload();
    if (i % 30 === 9) {
      await tab.page.close();
      tab.page = await open(tab.device, tab.peer);
    }
    if (i === 40) {
      await server.end("SIGKILL");
      restarted = Bun.sleep(1_500).then(() => server.start());
    }
    if (i === 49) await restarted;
    if (i === 60) await tabs[0]!.device.setOffline(true);
    if (i === 74) await tabs[0]!.device.setOffline(false);
    await tab.page.fill("message-composer textarea", `${tab.me} ${i}`);
    await tab.page.press("message-composer textarea", "Enter");
  }

  const sql = connect(database, { name: "test", max: 1 });
  const stored = (one: string, other: string) => sql<{ content: string }[]>`
    select content from messages
    where (sender = ${one} and receiver = ${other}) or (sender = ${other} and receiver = ${one})
    order by seq
  `;
  await until(
    "the database has all",
    async () => (await sql<{ count: number }[]>`select count(*)::int count from messages`)[0]?.count === MESSAGES,
    30_000,
  );
  const all = await sql<{ content: string }[]>`select content from messages`;
  expect(new Set(all.map(({ content }) => content)).size).toBe(MESSAGES);
  for (const { me, peer, page } of tabs) {
    const wanted = (await stored(me, peer)).map(({ content }) => content);
    const shown = () => page.locator("chat-thread .message .text").allTextContents();
    await until(`${me} sees what ${peer} does`, async () => (await shown()).length >= wanted.length, 20_000);
    expect({ me, peer, shown: await shown() }).toEqual({ me, peer, shown: wanted });
    expect(await page.locator("chat-thread .failure").count()).toBe(0);
  }
  await sql.end({ timeout: 1 });
}, 120_000);
