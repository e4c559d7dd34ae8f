/** What a browser shows after the database went back: what is there, and what was not sent yet. Real Chromium, real copies of `data`. */

import { afterAll, afterEach, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import type { Browser, BrowserContext, Page } from "playwright-core";

import { type Client, connect } from "../../src/db/client.ts";
import { closeWindows, launch, Server } from "../support/browser.ts";
import { freePort, migratedDatabase, Person, ROOT, startApp } from "../support/harness.ts";
import { until } from "../support/until.ts";

setDefaultTimeout(120_000);

const directory = mkdtempSync(join(tmpdir(), "chatify-restore-"));
const data = join(directory, "data");
let browser: Browser;
let server: Server;

beforeAll(async () => {
  browser = await launch();
  server = new Server(freePort(), "", ROOT, { DATA_DIR: data });
  await server.start();
}, 60_000);

afterEach(() => closeWindows(browser));

afterAll(async () => {
  await browser?.close();
  await server?.end("SIGTERM");
  rmSync(directory, { recursive: true, force: true });
});

async function browserOf(who: Person, url: string): Promise<BrowserContext> {
  const context = await browser.newContext({ locale: "en-GB", viewport: { width: 1_100, height: 760 } });
  const [name = "", value = ""] = who.cookie.split(/=(.*)/s);
  await context.addCookies([{ name, value, url }]);
  return context;
}

async function open(context: BrowserContext, url: string, peer: string): Promise<Page> {
  const page = await context.newPage();
  await page.goto(`${url}/#${encodeURIComponent(peer)}`);
  await page.waitForSelector("message-composer textarea:visible");
  return page;
}

async function write(page: Page, text: string): Promise<void> {
  await page.fill("message-composer textarea", text);
  await page.press("message-composer textarea", "Enter");
}

const texts = (page: Page) => page.locator("chat-thread .message .text").allTextContents();
const shows = (page: Page, ...wanted: string[]) =>
  until(`the page shows ${wanted.join(", ")}`, async () => (await texts(page)).join() === wanted.join(), 20_000);

async function sends(who: Person, peer: string, ...messages: string[]): Promise<void> {
  const tab = await who.open({ watch: [] });
  for (const message of messages) await tab.send(peer, message);
  await tab.close();
}

/** Ends the server, puts the data of `name` in place of its own, and starts it again. */
async function putBack(name: string): Promise<void> {
  await server.end("SIGTERM");
  rmSync(data, { recursive: true });
  Bun.spawnSync(["cp", "-a", join(directory, name), data]);
  await server.start();
}

async function keepCopy(name: string): Promise<void> {
  await server.end("SIGTERM");
  Bun.spawnSync(["cp", "-a", data, join(directory, name)]);
  await server.start();
}

test("a copy of the data directory that is put back takes lost messages off the page, and no unsent text", async () => {
  const [ann, bob] = [await Person.signUp(server.url, "Ann-b"), await Person.signUp(server.url, "Bob-b")];
  await sends(bob, "Ann-b", "one", "two", "three");
  await keepCopy("monday");
  const context = await browserOf(ann, server.url);
  const [page, closed] = [await open(context, server.url, "Bob-b"), await open(context, server.url, "Bob-b")];
  await shows(page, "one", "two", "three");
  await sends(bob, "Ann-b", "lost 4", "lost 5");
  await write(page, "lost 6");
  for (const each of [page, closed]) await shows(each, "one", "two", "three", "lost 4", "lost 5", "lost 6");
  await Bun.sleep(2_500); // the reading cache is written meanwhile
  await closed.close();

  await server.end("SIGTERM");
  await write(page, "unsent");
  await putBack("monday");
  await shows(page, "one", "two", "three", "unsent");
  await sends(bob, "Ann-b", "five", "six", "seven");
  await shows(page, "one", "two", "three", "unsent", "five", "six", "seven");
  await shows(await open(context, server.url, "Bob-b"), "one", "two", "three", "unsent", "five", "six", "seven");
});

test("a copy put back while the page is closed: it shows what the server has, however far that went on", async () => {
  const [ann, bob] = [await Person.signUp(server.url, "Ann-c"), await Person.signUp(server.url, "Bob-c")];
  await sends(bob, "Ann-c", "one", "two", "three");
  await keepCopy("tuesday");
  const context = await browserOf(ann, server.url);
  const page = await open(context, server.url, "Bob-c");
  await sends(bob, "Ann-c", "lost 4", "lost 5");
  await shows(page, "one", "two", "three", "lost 4", "lost 5");
  await Bun.sleep(2_500); // as above
  await page.close();
  await putBack("tuesday");
  await sends(bob, "Ann-c", "four", "five", "six");
  await shows(await open(context, server.url, "Bob-c"), "one", "two", "three", "four", "five", "six");
});

test("a restart of everything leaves the page as it is: nothing is fetched again but what came since", async () => {
  const [ann, bob] = [await Person.signUp(server.url, "Ann-d"), await Person.signUp(server.url, "Bob-d")];
  await sends(bob, "Ann-d", "one", "two", "three");
  const context = await browserOf(ann, server.url);
  const page = await open(context, server.url, "Bob-d");
  await shows(page, "one", "two", "three");
  await page
    .locator("chat-thread .message")
    .first()
    .evaluate((element) => element.setAttribute("data-mark", ""));
  const fetched: string[] = [];
  page.on("request", (request) => {
    const { pathname, search } = new URL(request.url());
    if (pathname.startsWith("/messages/")) fetched.push(search);
  });
  for (const signal of ["SIGTERM", "SIGKILL"] as const) {
    await server.end(signal);
    await server.start();
    await sends(bob, "Ann-d", signal);
    await until("the page has what came since", async () => (await texts(page)).at(-1) === signal, 20_000);
  }
  await shows(page, "one", "two", "three", "SIGTERM", "SIGKILL");
  expect(await page.locator("chat-thread .message[data-mark]").count()).toBe(1);
  expect(fetched.filter((search) => !/after=|before=\d+&limit=1\b|limit=1&before=/.test(search))).toEqual([]);
});

const unnoticed = [
  { what: "as many", sent: ["two again", "three again"] },
  { what: "more", sent: ["two again", "three again", "four"] },
  { what: "fewer", sent: ["two again"] },
];

test.each(unnoticed)(
  "an open page notices by itself that the database went back, and now has $what messages",
  async ({ sent }) => {
    await using app = await startApp();
    const [ann, bob] = await app.people("ann", "bob");
    await sends(bob!, "ann", "one", "two", "three");
    const url = `http://localhost:${app.port}`;
    const page = await open(await browserOf(ann!, url), url, "bob");
    await shows(page, "one", "two", "three");
    await goBack(app.sql);
    await sends(bob!, "ann", ...sent);
    await shows(page, "one", ...sent);
  },
);

test.each(unnoticed)("a page that comes back notices it, and that there are $what messages", async ({ sent }) => {
  const database = await migratedDatabase();
  const pod = new Server(freePort(), database);
  await pod.start();
  const [ann, bob] = [await Person.signUp(pod.url, "ann"), await Person.signUp(pod.url, "bob")];
  await sends(bob, "ann", "one", "two", "three");
  const context = await browserOf(ann, pod.url);
  const page = await open(context, pod.url, "bob");
  await shows(page, "one", "two", "three");
  await Bun.sleep(2_500); // the reading cache is written meanwhile
  await pod.end("SIGTERM");
  await page.evaluate(() => window.dispatchEvent(new Event("offline"))); // so that it is slow to come back
  const sql = connect(database, { name: "test" });
  await goBack(sql);
  await sql.end();
  await using other = await startApp({ database });
  await sends(bob.at(other), "ann", ...sent);
  await pod.start();
  await shows(page, "one", ...sent);
  await shows(await open(context, pod.url, "bob"), "one", ...sent);
  await pod.end("SIGTERM");
});

/** Takes the last two of three messages back, as no restore does: the epoch stays. */
async function goBack(sql: Client): Promise<void> {
  await sql`delete from messages where seq > 1`;
  await sql`update conversations set last_seq = 1, low_read_seq = 0, low_unread = 1`;
}
