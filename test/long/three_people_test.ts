/** Three users with two devices of two tabs each, while tabs close, a device goes offline and the server is killed. */

import { expect, test } from "bun:test";

import type { BrowserContext, Page } from "playwright-core";

import { connect } from "../../src/db/client.ts";
import { texts, useBrowser, write } from "../support/browser.ts";
import { Person } from "../support/harness.ts";
import { startServerProcess } from "../support/server_process.ts";
import { until } from "../support/until.ts";

const NAMES = ["Ann", "Bob", "Ζωή"] as const;
const MESSAGES = 60;

const chat = useBrowser(startServerProcess);

interface Tab {
  readonly device: BrowserContext;
  readonly me: string;
  readonly peer: string;
  page: Page;
}

const open = (device: BrowserContext, peer: string) => chat.open(device, `/#${encodeURIComponent(peer)}`);

test("shows every message once, in the database's order, in every tab", async () => {
  const tabs: Tab[] = [];
  const people = await Promise.all(NAMES.map((name) => Person.signUp(chat.url, name)));
  for (const person of people) {
    const me = person.name;
    for (let devices = 0; devices < 2; devices++) {
      const device = await chat.context(person);
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
    if (i === 24) {
      await chat.server.end("SIGKILL");
      restarted = Bun.sleep(1_500).then(() => chat.server.start());
    }
    if (i === 30) await restarted;
    if (i === 36) await tabs[0]!.device.setOffline(true);
    if (i === 44) await tabs[0]!.device.setOffline(false);
    await write(tab.page, `${tab.me} ${i}`);
  }

  const sql = connect(chat.server.database, { name: "test", max: 1 });
  const stored = (one: string, other: string) => sql<{ content: string }[]>`
    select content from messages
    where (sender = ${one} and receiver = ${other}) or (sender = ${other} and receiver = ${one})
    order by seq
  `;
  await until(
    "all messages are stored",
    async () => (await sql<{ count: number }[]>`select count(*)::int count from messages`)[0]?.count === MESSAGES,
    30_000,
  );
  const all = await sql<{ content: string }[]>`select content from messages`;
  expect(new Set(all.map(({ content }) => content)).size).toBe(MESSAGES);
  for (const { me, peer, page } of tabs) {
    const wanted = (await stored(me, peer)).map(({ content }) => content);
    await until(`${me} has all messages with ${peer}`, async () => (await texts(page)).length >= wanted.length, 20_000);
    expect({ me, peer, shown: await texts(page) }).toEqual({ me, peer, shown: wanted });
    expect(await page.locator("chat-thread .failure").count()).toBe(0);
  }
  await sql.end({ timeout: 1 });
}, 120_000);
