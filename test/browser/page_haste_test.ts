/** People who are quicker than the network: they press and type while scripts, words or answers of the page are still under way. */

import { afterAll, afterEach, beforeAll, expect, test } from "bun:test";

import type { Browser, Page } from "playwright-core";

import { closeWindows, launch, scripted } from "../support/browser.ts";
import { PASSWORD, type Person, startApp, type TestApp } from "../support/harness.ts";
import { until } from "../support/until.ts";

let browser: Browser;
let app: TestApp;
let url: string;
let ann: Person;

beforeAll(async () => {
  [browser, app] = await Promise.all([launch(), startApp()]);
  url = app.url.replace("127.0.0.1", "localhost");
  [ann] = (await app.people("Ann", "Bob", "Carl")) as [Person, Person, Person];
}, 60_000);

afterAll(async () => {
  await browser?.close();
  await app?.stop();
});

afterEach(() => closeWindows(browser));

/** A window in which nothing answers for the network. @param person who is signed in */
async function window(person?: Person): Promise<Page> {
  const context = await browser.newContext({ locale: "en-GB", serviceWorkers: "block" });
  const [name = "", value = ""] = person?.cookie.split("=") ?? [];
  if (person) await context.addCookies([{ name, value, url }]);
  return context.newPage();
}

/** Holds an answer back. @returns lets it go */
async function hold(page: Page, what: string): Promise<() => void> {
  const held = Promise.withResolvers<void>();
  await page.route(what, async (route) => {
    await held.promise;
    await route.continue();
  });
  return held.resolve;
}

test("who signs in before the words have come gets where they wanted to go, and what another kept is shown to nobody", async () => {
  const page = await window();
  await page.goto(`${url}/login`);
  await scripted(page);
  await page.evaluate(() => localStorage.setItem("chatify.me", "Somebody else"));
  await page.goto("about:blank");
  const release = await hold(page, "**/words/en.js");
  await page.goto(`${url}/login#Bob`, { waitUntil: "commit" });
  const form = page.locator("form[action$='/login#Bob']"); // as soon as its script runs, though it has no words
  await form.waitFor();
  await page.press("#username", "Enter");
  expect(await page.getAttribute("#username_error", "data-error")).toBe("name_missing");
  await page.fill("#username", "Ann");
  expect(await page.getAttribute("#username_error", "data-error")).toBe("");
  await page.press("#password", "Enter");
  expect(await page.getAttribute("#password_error", "data-error")).toBe("password_missing");
  release();
  await page.waitForSelector("#password_error:text('password')");

  await page.goto("about:blank");
  const again = await hold(page, "**/words/en.js");
  await page.goto(`${url}/login#Bob`, { waitUntil: "commit" });
  await form.waitFor();
  await page.fill("#username", "Ann");
  await page.fill("#password", PASSWORD);
  await page.press("#password", "Enter");
  await page.waitForURL(`${url}/#Bob`, { waitUntil: "commit" });
  expect(await page.evaluate(() => localStorage.getItem("chatify.me"))).toBeNull();
  again();
  await until("it is open", async () => (await page.locator("chat-header h2").innerText()) === "Bob");
}, 30_000);

test("of two languages chosen one after the other the last is spoken, whichever comes first", async () => {
  const page = await window();
  await page.goto(`${url}/login`);
  await scripted(page);
  const release = await hold(page, "**/words/el.js");
  await page.click("language-choice [lang=el]");
  await page.click("language-choice [lang=en]");
  const answered = page.waitForResponse("**/words/el.js");
  release();
  await (await answered).finished();
  await Bun.sleep(200);
  expect(await page.getAttribute("html", "lang")).toBe("en");
  await page.reload();
  await scripted(page);
  expect(await page.getAttribute("html", "lang")).toBe("en");
}, 30_000);

test("what the menu cannot do yet cannot be pressed, and nothing in it moves when it can", async () => {
  const page = await window(ann);
  const release = await hold(page, "**/me");
  const attend = await hold(page, "**/notifications/notifications.js");
  await page.goto(url);
  await scripted(page);
  await page.click(".me");
  await page.waitForSelector("#menu:popover-open");
  for (const entry of [".keys", ".sound", ".sign-out button"])
    expect(await page.isDisabled(`#menu ${entry}`)).toBe(true);
  expect(await page.getAttribute("#menu .notes", "href")).toBeNull();
  const place = () => page.locator("#menu .sign-out").boundingBox();
  const before = await place();
  release();
  attend();
  await page.waitForSelector("#menu .sound:enabled");
  expect(await place()).toEqual(before!);
  await page.click("#menu .keys");
  await page.waitForSelector(".keys-sheet");
  await page.keyboard.press("Escape");
  await page.click(".me");
  await page.click("#menu .notes");
  await until("the notes are open", async () => page.url() === `${url}/#Ann`);
}, 30_000);

test("who goes on typing while a name is looked up is not taken elsewhere", async () => {
  const page = await window(ann);
  await page.goto(url);
  await page.waitForSelector("people-list .empty:visible");
  for (const [name, composers] of [
    ["Bob", 1],
    ["Nobody-of-that-name", 0],
  ] as const) {
    const release = await hold(page, "**/get_users**");
    await page.evaluate((to) => (location.hash = to), name);
    await until("it is looked up", async () => (await page.locator("chat-header h2").innerText()) === name);
    await page.keyboard.press("Control+k");
    await page.keyboard.type("ab");
    release();
    await page.waitForSelector("chat-thread .greeting:visible");
    expect(await page.locator("message-composer:visible").count()).toBe(composers);
    await page.keyboard.type("cd");
    expect(await page.inputValue("people-list input")).toBe("abcd");
    await page.unrouteAll({ behavior: "wait" });
    await page.keyboard.press("Escape");
  }
  // Who waits for it gets there.
  await page.evaluate(() => (location.hash = "Carl"));
  await until("one can write", () => page.evaluate(() => document.activeElement?.localName === "textarea"));
}, 30_000);
