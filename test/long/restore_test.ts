/** What the page shows after the database was restored to an earlier state: the server's messages, and what was not sent yet. */

import { afterAll, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import type { BrowserContext, Page } from "playwright-core";

import { type Client, connect } from "../../src/db/client.ts";
import { cachedTexts, localhost, shows, texts, useBrowser, write } from "../support/browser.ts";
import { freePort, migratedDatabase, Person, ROOT, startApp } from "../support/harness.ts";
import { ServerProcess } from "../support/server_process.ts";
import { until } from "../support/until.ts";

setDefaultTimeout(120_000);

const directory = mkdtempSync(join(tmpdir(), "chatify-restore-"));
const data = join(directory, "data");
let server: ServerProcess;

const chat = useBrowser(async () => {
  server = new ServerProcess(freePort(), "", ROOT, { DATA_DIR: data });
  await server.start();
  return server;
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

const open = (context: BrowserContext, peer: string, url = chat.url) =>
  chat.open(context, `/#${encodeURIComponent(peer)}`, { url });
/** Waits until the browser stores messages up to `text`. */
const caches = (page: Page, me: string, peer: string, text: string) =>
  until("the messages are stored", async () => (await cachedTexts(page, me, peer)).at(-1) === text);

async function sends(who: Person, peer: string, ...messages: string[]): Promise<void> {
  const tab = await who.open({ watch: [] });
  for (const message of messages) await tab.send(peer, message);
  await tab.close();
}

/** Restarts the server with the copy `name` of its data. */
async function restore(name: string): Promise<void> {
  await server.stop();
  rmSync(data, { recursive: true });
  Bun.spawnSync(["cp", "-a", join(directory, name), data]);
  await server.start();
}

async function copyData(name: string): Promise<void> {
  await server.stop();
  Bun.spawnSync(["cp", "-a", data, join(directory, name)]);
  await server.start();
}

test("removes lost messages from the page when a copy of the data is restored, but no pending one", async () => {
  const [ann, bob] = [await Person.signUp(server.url, "Ann-b"), await Person.signUp(server.url, "Bob-b")];
  await sends(bob, "Ann-b", "one", "two", "three");
  await copyData("monday");
  const context = await chat.context(ann);
  const [page, closed] = [await open(context, "Bob-b"), await open(context, "Bob-b")];
  await shows(page, "one", "two", "three");
  await sends(bob, "Ann-b", "lost 4", "lost 5");
  await write(page, "lost 6");
  for (const each of [page, closed]) await shows(each, "one", "two", "three", "lost 4", "lost 5", "lost 6");
  await caches(page, "Ann-b", "Bob-b", "lost 6");
  await closed.close();

  await server.stop();
  await write(page, "unsent");
  await restore("monday");
  await shows(page, "one", "two", "three", "unsent");
  await sends(bob, "Ann-b", "five", "six", "seven");
  await shows(page, "one", "two", "three", "unsent", "five", "six", "seven");
  await shows(await open(context, "Bob-b"), "one", "two", "three", "unsent", "five", "six", "seven");
});

test("shows the server's messages when a copy is restored while the page is closed", async () => {
  const [ann, bob] = [await Person.signUp(server.url, "Ann-c"), await Person.signUp(server.url, "Bob-c")];
  await sends(bob, "Ann-c", "one", "two", "three");
  await copyData("tuesday");
  const context = await chat.context(ann);
  const page = await open(context, "Bob-c");
  await sends(bob, "Ann-c", "lost 4", "lost 5");
  await shows(page, "one", "two", "three", "lost 4", "lost 5");
  await caches(page, "Ann-c", "Bob-c", "lost 5");
  await page.close();
  await restore("tuesday");
  await sends(bob, "Ann-c", "four", "five", "six");
  await shows(await open(context, "Bob-c"), "one", "two", "three", "four", "five", "six");
});

test("fetches only new messages after a restart", async () => {
  const [ann, bob] = [await Person.signUp(server.url, "Ann-d"), await Person.signUp(server.url, "Bob-d")];
  await sends(bob, "Ann-d", "one", "two", "three");
  const context = await chat.context(ann);
  const page = await open(context, "Bob-d");
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
    await until("the page has the new message", async () => (await texts(page)).at(-1) === signal, 20_000);
  }
  await shows(page, "one", "two", "three", "SIGTERM", "SIGKILL");
  expect(await page.locator("chat-thread .message[data-mark]").count()).toBe(1);
  expect(fetched.filter((search) => !/after=|before=\d+&limit=1\b|limit=1&before=/.test(search))).toEqual([]);
});

const unnoticed = [
  { count: "as many", sent: ["two again", "three again"] },
  { count: "more", sent: ["two again", "three again", "four"] },
  { count: "fewer", sent: ["two again"] },
];

test.each(unnoticed)(
  "detects in an open page that the database went back and has $count messages",
  async ({ sent }) => {
    await using app = await startApp();
    const [ann, bob] = await app.people("ann", "bob");
    await sends(bob!, "ann", "one", "two", "three");
    const url = localhost(app.url);
    const page = await open(await chat.context(ann, { url }), "bob", url);
    await shows(page, "one", "two", "three");
    await goBack(app.sql);
    await sends(bob!, "ann", ...sent);
    await shows(page, "one", ...sent);
  },
);

test.each(unnoticed)(
  "detects on reconnecting that the database went back and has $count messages",
  async ({ sent }) => {
    const database = await migratedDatabase();
    const pod = new ServerProcess(freePort(), database);
    await pod.start();
    const [ann, bob] = [await Person.signUp(pod.url, "ann"), await Person.signUp(pod.url, "bob")];
    await sends(bob, "ann", "one", "two", "three");
    const context = await chat.context(ann, { url: pod.url });
    const page = await open(context, "bob", pod.url);
    await shows(page, "one", "two", "three");
    await caches(page, "ann", "bob", "three");
    await pod.stop();
    await page.evaluate(() => window.dispatchEvent(new Event("offline"))); // delays the reconnect
    const sql = connect(database, { name: "test" });
    await goBack(sql);
    await sql.end();
    await using other = await startApp({ database });
    await sends(bob.at(other), "ann", ...sent);
    await pod.start();
    await shows(page, "one", ...sent);
    await shows(await open(context, "bob", pod.url), "one", ...sent);
    await pod.stop();
  },
);

/** Deletes the last two of three messages, but keeps the epoch, unlike a restore. */
async function goBack(sql: Client): Promise<void> {
  await sql`delete from messages where seq > 1`;
  await sql`update conversations set last_seq = 1, low_read_seq = 0, low_unread = 1`;
}
