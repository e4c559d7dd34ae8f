/** Users who are quicker than the network: they click and type while scripts, translations or responses load. */

import { beforeAll, expect, test } from "bun:test";

import { drawn, fillForm, goToPeer, hold, peerOnScreen, scripted, useBrowser } from "../support/browser.ts";
import { PASSWORD, type Person } from "../support/harness.ts";
import { until } from "../support/until.ts";

const chat = useBrowser();
let ann: Person;

beforeAll(async () => {
  [ann] = (await chat.server.people("Ann", "Bob", "Carl")) as [Person, Person, Person];
});

/** A page whose requests no service worker answers. */
const blank = (user?: Person) => chat.page(user, { serviceWorkers: "block" });

test("signs in before the translation has loaded, and forgets the previous user", async () => {
  const page = await blank();
  await page.goto(`${chat.url}/login`);
  await scripted(page);
  await page.evaluate(() => localStorage.setItem("chatify.me", "Another user"));
  await page.goto("about:blank");
  const release = await hold(page, "**/translations/en.js");
  await page.goto(`${chat.url}/login#Bob`, { waitUntil: "commit" });
  const form = page.locator("form[action$='/login#Bob']"); // its script runs, without its translation
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
  const again = await hold(page, "**/translations/en.js");
  await page.goto(`${chat.url}/login#Bob`, { waitUntil: "commit" });
  await form.waitFor();
  await fillForm(page, { username: "Ann", password: PASSWORD });
  await page.waitForURL(`${chat.url}/#Bob`, { waitUntil: "commit" });
  expect(await page.evaluate(() => localStorage.getItem("chatify.me"))).toBeNull();
  again();
  await until("the conversation is open", async () => (await peerOnScreen(page)) === "Bob");
}, 30_000);

test("uses the language chosen last, whichever loads first", async () => {
  const page = await blank();
  await page.goto(`${chat.url}/login`);
  await scripted(page);
  const release = await hold(page, "**/translations/el.js");
  await page.click("language-choice [lang=el]");
  await page.click("language-choice [lang=en]");
  const answered = page.waitForResponse("**/translations/el.js");
  release();
  await (await answered).finished();
  await drawn(page);
  expect(await page.getAttribute("html", "lang")).toBe("en");
  await page.reload();
  await scripted(page);
  expect(await page.getAttribute("html", "lang")).toBe("en");
}, 30_000);

test("disables menu entries until they work, without shifting them later", async () => {
  const page = await blank(ann);
  const release = await hold(page, "**/me");
  const attend = await hold(page, "**/notifications/notifications.js");
  await page.goto(chat.url);
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
  await until("the notes are open", async () => page.url() === `${chat.url}/#Ann`);
}, 30_000);

test("opens the shortcuts after their module failed to load", async () => {
  const page = await chat.open(await chat.server.person("Retry-Ann"), "/", { serviceWorkers: "block" });
  let requests = 0;
  await page.route("**/keys_sheet.js*", (route) => (++requests <= 2 ? route.abort() : route.continue()));
  await page.focus("conversation-list .me");
  await page.keyboard.press("?");
  await until("it has failed", async () => requests === 2);
  await page.keyboard.press("?");
  await page.waitForSelector(".keys-sheet:visible");
});

test("leaves the focus in the search while a name is resolved", async () => {
  const page = await blank(ann);
  await page.goto(chat.url);
  await page.waitForSelector("conversation-list .empty:visible");
  for (const [name, composers] of [
    ["Bob", 1],
    ["Unknown-name", 0],
  ] as const) {
    const release = await hold(page, "**/get_users**");
    await goToPeer(page, name);
    await until("the name is being resolved", async () => (await peerOnScreen(page)) === name);
    await page.keyboard.press("Control+k");
    await page.keyboard.type("ab");
    release();
    await page.waitForSelector("chat-thread .greeting:visible");
    expect(await page.locator("message-composer:visible").count()).toBe(composers);
    await page.keyboard.type("cd");
    expect(await page.inputValue("conversation-list input")).toBe("abcd");
    await page.unrouteAll({ behavior: "wait" });
    await page.keyboard.press("Escape");
  }
  // A user who waits gets the focus.
  await goToPeer(page, "Carl");
  await until("the composer has the focus", () =>
    page.evaluate(() => document.activeElement?.localName === "textarea"),
  );
}, 30_000);
