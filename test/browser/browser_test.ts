/** The page as people use it: real Chromium, two people, a server that is killed and comes back. */

import { afterAll, afterEach, beforeAll, expect, test } from "bun:test";

import type { Browser, Page } from "playwright-core";

import { closeWindows, launch, Server, signUp } from "../support/browser.ts";
import { freePort, migratedDatabase, PASSWORD } from "../support/harness.ts";
import { until } from "../support/until.ts";

let browser: Browser;
let server: Server;

async function newPage(options: Parameters<Browser["newContext"]>[0] = {}): Promise<Page> {
  const context = await browser.newContext({ locale: "en-GB", viewport: { width: 1_100, height: 760 }, ...options });
  return context.newPage();
}

async function enter(name: string, options: Parameters<Browser["newContext"]>[0] = {}): Promise<Page> {
  const page = await newPage(options);
  await signUp(page, server.url, name);
  return page;
}

/** Finds somebody by the first letters and opens the conversation. */
async function find(page: Page, letters: string, name: string): Promise<void> {
  await page.fill("people-list input[type=search]", letters);
  await page.click(`people-list .found a[data-name="${name}"]`);
  await page.waitForSelector("message-composer textarea:visible");
}

async function write(page: Page, text: string): Promise<void> {
  await page.fill("message-composer textarea", text);
  await page.press("message-composer textarea", "Enter");
}

const texts = (page: Page) => page.locator("chat-thread .message .text").allTextContents();
const mine = (page: Page, text: string) => page.locator("chat-thread .message.mine", { hasText: text });
/** The words a screen reader hears of a message's state. */
const state = (page: Page, text: string) => mine(page, text).locator(".meta .state").innerText();

beforeAll(async () => {
  [browser, server] = [await launch(), new Server(freePort(), await migratedDatabase())];
  await server.start();
}, 60_000);

afterAll(async () => {
  await browser?.close();
  await server?.end("SIGTERM");
});

afterEach(() => closeWindows(browser));

test("two people find each other, write both ways, and see unread and read change", async () => {
  const [ann, bob] = [await enter("Ann"), await enter("Bob")];
  await find(ann, "bo", "Bob");
  await write(ann, "hello Bob");
  await bob.waitForSelector('people-list a[data-name="Ann"] .badge:visible');
  expect(await bob.locator('people-list a[data-name="Ann"] .badge .number').innerText()).toBe("1");
  expect(await bob.title()).toContain("(1)");
  await until("Ann sees that it arrived", async () => /delivered/i.test(await state(ann, "hello Bob")));

  await bob.click('people-list a[data-name="Ann"]');
  await until("Bob's badge goes", () => bob.locator('people-list a[data-name="Ann"] .badge').isHidden());
  await until("Ann sees that it was read", async () => /read|seen/i.test(await state(ann, "hello Bob")));
  await write(bob, "hello Ann");
  await until("Ann has the answer", async () => (await texts(ann)).includes("hello Ann"));

  await ann.reload();
  await until("a reload shows it all", async () => (await texts(ann)).join("|") === "hello Bob|hello Ann");
  expect(await ann.locator("people-list .badge:visible").count()).toBe(0);
  await Promise.all([ann.context().close(), bob.context().close()]);
}, 60_000);

test("Shift+Enter breaks the line, Enter sends, and script stays text", async () => {
  const ann = await enter("Shifty");
  await ann.goto(`${server.url}/#Shifty`); // notes to oneself
  await ann.waitForSelector("message-composer textarea:visible");
  await ann.focus("message-composer textarea");
  await ann.keyboard.type("one");
  await ann.keyboard.press("Shift+Enter");
  await ann.keyboard.type("<img src=x onerror=alert(1)>");
  await ann.keyboard.press("Enter");
  await until("the note is there", async () => (await texts(ann)).includes("one\n<img src=x onerror=alert(1)>"));
  expect(await ann.locator("chat-thread .message img").count()).toBe(0);
  await ann.context().close();
}, 60_000);

test("nothing is lost, doubled or reordered when the server is killed for five seconds", async () => {
  const [ann, bob] = [await enter("Killed-Ann"), await enter("Killed-Bob")];
  await find(ann, "killed-b", "Killed-Bob");
  await find(bob, "killed-a", "Killed-Ann");
  await write(ann, "before");
  await until("it arrives", async () => (await texts(bob)).includes("before"));
  await server.end("SIGKILL");
  const wrote = ["before"];
  for (let i = 0; i < 5; i++) {
    wrote.push(`away ${i}`);
    await write(ann, `away ${i}`);
  }
  await until("the page says that it connects", () => ann.locator("connection-line:visible").first().isVisible());
  expect(await ann.locator("connection-line:visible").first().innerText()).toMatch(/\w/);
  await Bun.sleep(4_000);
  await server.start();
  await until("Bob has everything", async () => (await texts(bob)).length === wrote.length, 40_000);
  expect(await texts(bob)).toEqual(wrote);
  await until("Ann has everything", async () => (await texts(ann)).length === wrote.length);
  expect(await texts(ann)).toEqual(wrote);
  await until("the line goes", async () => (await ann.locator("connection-line:visible").count()) === 0);
  await bob.reload();
  await until("a reload shows the same", async () => (await texts(bob)).length === wrote.length);
  expect(await texts(bob)).toEqual(wrote);
  await Promise.all([ann.context().close(), bob.context().close()]);
}, 90_000);

test("text written while the server is away survives a reload of the page", async () => {
  const [ann, bob] = [await enter("Reload-Ann"), await enter("Reload-Bob")];
  await find(ann, "reload-b", "Reload-Bob");
  await write(ann, "one");
  await until("it is sent", async () => /sent|delivered/i.test(await state(ann, "one")));
  await ann.context().route("**/*", (route) => route.abort()); // the page stays, the network goes
  await ann.context().setOffline(true);
  await write(ann, "two");
  await Bun.sleep(300);
  await ann.context().setOffline(false);
  await ann.context().unroute("**/*");
  await ann.reload();
  await until("both are there", async () => (await texts(ann)).join("|") === "one|two", 20_000);
  await bob.goto(`${server.url}/#Reload-Ann`);
  await until("and Bob has them once", async () => (await texts(bob)).join("|") === "one|two", 20_000);
  await Promise.all([ann.context().close(), bob.context().close()]);
}, 60_000);

test("the forms say what is wrong beside the field, with scripts and without", async () => {
  for (const javaScriptEnabled of [true, false]) {
    const name = `Formal-${javaScriptEnabled}`;
    const page = await newPage({ javaScriptEnabled });
    await page.goto(`${server.url}/signup`);
    await page.fill('input[name="username"]', name);
    await page.fill('input[name="password"]', PASSWORD);
    await page.fill('input[name="confirm"]', PASSWORD);
    await page.press('input[name="confirm"]', "Enter");
    await page.waitForURL(`${server.url}/`);
    await page.context().clearCookies();
    await page.goto(`${server.url}/login`);
    await page.fill('input[name="username"]', name);
    await page.fill('input[name="password"]', "something else");
    await page.press('input[name="password"]', "Enter");
    await page.waitForSelector("[role=alert]:has-text('Wrong name or password')");
    expect(await page.inputValue('input[name="username"]')).toBe(name);
    await page.goto(`${server.url}/signup`);
    await page.fill('input[name="username"]', name.toUpperCase());
    await page.fill('input[name="password"]', PASSWORD);
    await page.fill('input[name="confirm"]', PASSWORD);
    await page.press('input[name="confirm"]', "Enter");
    await page.waitForSelector("#username_error:has-text('taken')");
    await page.context().close();
  }
}, 60_000);

test("signing out in one tab ends the other, and history is out of reach", async () => {
  const page = await enter("Leaver");
  const other = await page.context().newPage();
  await other.goto(`${server.url}/`);
  await other.waitForSelector("people-list");
  await page.request.get(`${server.url}/logout`);
  await Promise.all([page.waitForURL(`${server.url}/login`), other.waitForURL(`${server.url}/login`)]);
  await page.context().close();
}, 60_000);
