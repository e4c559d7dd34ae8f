/** Two users in Chromium, on a server that is killed and started again. */

import { expect, test } from "bun:test";

import type { BrowserContextOptions, Page } from "playwright-core";

import { fillForm, shows, signUp, texts, useBrowser, write } from "../support/browser.ts";
import { PASSWORD } from "../support/harness.ts";
import { startServerProcess } from "../support/server_process.ts";
import { until } from "../support/until.ts";

const chat = useBrowser(startServerProcess);

async function enter(name: string, options: BrowserContextOptions = {}): Promise<Page> {
  const page = await chat.page(undefined, options);
  await signUp(page, chat.url, name);
  return page;
}

/** Finds a user by the first letters and opens the conversation. */
async function find(page: Page, letters: string, name: string): Promise<void> {
  await page.fill("conversation-list input[type=search]", letters);
  await page.click(`conversation-list .found a[data-name="${name}"]`);
  await page.waitForSelector("message-composer textarea:visible");
}

const mine = (page: Page, text: string) => page.locator("chat-thread .message.mine", { hasText: text });
/** The state of a message, as screen readers announce it. */
const state = (page: Page, text: string) => mine(page, text).locator(".meta .state").innerText();

test("finds a user, exchanges messages, and updates unread counts and read marks", async () => {
  const [ann, bob] = [await enter("Ann"), await enter("Bob")];
  await find(ann, "bo", "Bob");
  await write(ann, "hello Bob");
  await bob.waitForSelector('conversation-list a[data-name="Ann"] .badge:visible');
  expect(await bob.locator('conversation-list a[data-name="Ann"] .badge .number').innerText()).toBe("1");
  expect(await bob.title()).toContain("(1)");
  await until("Ann sees that it was delivered", async () => /delivered/i.test(await state(ann, "hello Bob")));

  await bob.click('conversation-list a[data-name="Ann"]');
  await until("Bob's badge is hidden", () => bob.locator('conversation-list a[data-name="Ann"] .badge').isHidden());
  await until("Ann sees that it was read", async () => /read|seen/i.test(await state(ann, "hello Bob")));
  await write(bob, "hello Ann");
  await until("Ann has the answer", async () => (await texts(ann)).includes("hello Ann"));

  await ann.reload();
  await shows(ann, "hello Bob", "hello Ann");
  expect(await ann.locator("conversation-list .badge:visible").count()).toBe(0);
}, 60_000);

test("breaks the line on Shift+Enter, sends on Enter, and shows markup as text", async () => {
  const ann = await enter("Shifty");
  await ann.goto(`${chat.url}/#Shifty`); // notes
  await ann.waitForSelector("message-composer textarea:visible");
  await ann.focus("message-composer textarea");
  await ann.keyboard.type("one");
  await ann.keyboard.press("Shift+Enter");
  await ann.keyboard.type("<img src=x onerror=alert(1)>");
  await ann.keyboard.press("Enter");
  await until("the note is there", async () => (await texts(ann)).includes("one\n<img src=x onerror=alert(1)>"));
  expect(await ann.locator("chat-thread .message img").count()).toBe(0);
}, 60_000);

test("delivers messages once and in order when the server is killed and restarted", async () => {
  const [ann, bob] = [await enter("Killed-Ann"), await enter("Killed-Bob")];
  await find(ann, "killed-b", "Killed-Bob");
  await find(bob, "killed-a", "Killed-Ann");
  await write(ann, "before");
  await until("it arrives", async () => (await texts(bob)).includes("before"));
  await chat.server.end("SIGKILL");
  const wrote = ["before"];
  for (let i = 0; i < 5; i++) {
    wrote.push(`away ${i}`);
    await write(ann, `away ${i}`);
  }
  await until("the page shows that it reconnects", () => ann.locator("connection-banner:visible").first().isVisible());
  expect(await ann.locator("connection-banner:visible").first().innerText()).toMatch(/\w/);
  await Bun.sleep(1_500); // attempts to reconnect fail
  await chat.server.start();
  await until("Bob has everything", async () => (await texts(bob)).length === wrote.length, 40_000);
  expect(await texts(bob)).toEqual(wrote);
  await shows(ann, ...wrote);
  await until(
    "the connection line is hidden",
    async () => (await ann.locator("connection-banner:visible").count()) === 0,
  );
  await bob.reload();
  await shows(bob, ...wrote);
}, 90_000);

test("sends a message after a reload that was written without a network", async () => {
  const [ann, bob] = [await enter("Reload-Ann"), await enter("Reload-Bob")];
  await find(ann, "reload-b", "Reload-Bob");
  await write(ann, "one");
  await until("it is sent", async () => /sent|delivered/i.test(await state(ann, "one")));
  await ann.context().route("**/*", (route) => route.abort());
  await ann.context().setOffline(true);
  await write(ann, "two");
  await mine(ann, "two").waitFor();
  await ann.context().setOffline(false);
  await ann.context().unroute("**/*");
  await ann.reload();
  await shows(ann, "one", "two");
  await bob.goto(`${chat.url}/#Reload-Ann`);
  await shows(bob, "one", "two");
}, 60_000);

test.each([true, false])("shows a form's errors beside their fields (scripts: %p)", async (javaScriptEnabled) => {
  const username = `Formal-${javaScriptEnabled}`;
  const page = await chat.page(undefined, { javaScriptEnabled });
  await page.goto(`${chat.url}/signup`);
  await fillForm(page, { username, password: PASSWORD, confirm: PASSWORD });
  await page.waitForURL(`${chat.url}/`);
  await page.context().clearCookies();
  await page.goto(`${chat.url}/login`);
  await fillForm(page, { username, password: "something else" });
  await page.waitForSelector("[role=alert]:has-text('Wrong name or password')");
  expect(await page.inputValue("#username")).toBe(username);
  await page.goto(`${chat.url}/signup`);
  await fillForm(page, { username: username.toUpperCase(), password: PASSWORD, confirm: PASSWORD });
  await page.waitForSelector("#username_error:has-text('taken')");
});

test("signs out all tabs of a browser", async () => {
  const page = await enter("Leaver");
  const other = await chat.open(page.context());
  await page.request.get(`${chat.url}/logout`);
  await Promise.all([page.waitForURL(`${chat.url}/login`), other.waitForURL(`${chat.url}/login`)]);
}, 60_000);
