/** Searching within a conversation, and going to a date. */

import { beforeAll, expect, setDefaultTimeout, test } from "bun:test";

import { useBrowser, write } from "../support/browser.ts";
import type { Person } from "../support/harness.ts";
import { fillConversation, focusAt, focusedSeq, isSeen, seqs } from "../support/long_conversation.ts";
import { pageErrors } from "../support/page_errors.ts";
import { until } from "../support/until.ts";

setDefaultTimeout(60_000);

const chat = useBrowser();
let ann: Person;

beforeAll(async () => {
  [ann] = (await chat.server.people("ann", "bob", "carol")) as [Person];
  const special = { 40: "Πάμε για ΚΑΦΈ στην πλατεία;", 41: "Ναι, καφεδάκι!", 2_990: "one more καφές before we go" };
  await fillConversation(chat.server, ["ann", "bob"], { count: 3_000, special });
  await (await ann.open({ watch: [] })).send("carol", "no coffee, thanks");
});

test("searches within a conversation", async () => {
  const page = await chat.open(ann, "/#bob");
  await page.waitForSelector(".message");
  await page.keyboard.press("Control+Shift+KeyF");
  await page.waitForSelector(".find-bar input:focus");
  await page.keyboard.type("καφε");
  const count = page.locator(".find-bar .count");
  await until("the first hit", async () => (await count.innerText()).replace(/[\u2068\u2069]/g, "") === "1 of 3");
  await page.waitForSelector('.message.found[data-seq="2990"]');
  expect(await page.evaluate(() => CSS.highlights.get("found-text")?.size)).toBe(1);
  await page.keyboard.press("Enter");
  await page.waitForSelector('.message.found[data-seq="41"]');
  expect(await isSeen(page, 41)).toBe(true);
  await page.click(".find-bar [aria-label='Older result']");
  await page.waitForSelector('.message.found[data-seq="40"]');
  expect(await page.locator(".find-bar [aria-label='Older result']").getAttribute("aria-disabled")).toBe("true");
  await page.locator(".find-bar input").focus();
  await page.keyboard.press("Shift+Enter");
  await page.waitForSelector('.message.found[data-seq="41"]');
  await page.keyboard.press("Escape");
  expect(await page.locator(".find-bar").count()).toBe(0);
  expect(await focusedSeq(page)).toBe(41);
  expect(page.url()).toEndWith("#bob");

  await page.click("chat-header .more");
  await page.click("#options .find-messages");
  await page.waitForSelector(".find-bar input:focus");
  pageErrors.allow(/ERR_FAILED/);
  await page.route("**/search?**", (route) => route.abort("failed"));
  await page.keyboard.type("no such words");
  await page.waitForSelector(".find-bar .retry:visible");
  await page.unrouteAll();
  await page.press(".find-bar .retry", "Enter");
  await page.waitForSelector(".find-bar input:focus");
  await until("none", async () => (await count.innerText()) === "No results");
  await page.click(".conversations a[data-name=carol]");
  await page.waitForSelector(".find-bar", { state: "detached" });
});

test("goes to a date from the menu, and from the pill of a day", async () => {
  const page = await chat.open(ann, "/#bob");
  await page.waitForSelector(".message");
  const day = (daysAgo: number) => {
    const date = new Date(Date.now() - daysAgo * 86_400_000);
    return new Date(date.getTime() - date.getTimezoneOffset() * 60_000).toISOString().slice(0, 10);
  };
  await page.click("chat-header .more");
  await page.click("#options .go-to-date");
  await page.fill(".date-question input", day(20));
  await page.keyboard.press("Enter");
  await until("a message is focused", async () => (await focusedSeq(page)) > 0);
  const seq = await focusedSeq(page);
  const dateOf = (seq: number) =>
    page
      .locator(`.message[data-seq="${seq}"] time`)
      .evaluate((time: HTMLTimeElement) => new Date(time.dateTime).toDateString());
  expect(await dateOf(seq)).toBe(new Date(`${day(20)}T12:00`).toDateString());
  await until("the one before it is loaded", async () => (await seqs(page)).includes(seq - 1));
  expect(await dateOf(seq - 1)).not.toBe(await dateOf(seq));
  expect(await isSeen(page, seq)).toBe(true);

  await page.locator(".day:not(.new, .past)").first().click();
  expect(await page.inputValue(".date-question input")).not.toBe(day(0));
  await page.fill(".date-question input", day(400)); // before the first message
  await page.keyboard.press("Enter");
  await focusAt(page, 1);
  await page.click("chat-header .more");
  await page.click("#options .go-to-date");
  await page.fill(".date-question input", "");
  await page.click(".date-question .primary");
  await page.locator(".date-question .error", { hasText: "Choose a date." }).waitFor();
  await page.waitForSelector('.date-question input:focus[aria-invalid="true"]');
  pageErrors.allow(/ERR_FAILED/);
  await page.route(/\/messages\/.*at=/, (route) => route.abort("failed"));
  await page.fill(".date-question input", day(20));
  await page.click(".date-question .primary");
  await page.locator(".date-question .error", { hasText: "Could not reach the server" }).waitFor();
  await page.waitForSelector('.date-question input:focus[aria-invalid="false"]');
  await page.keyboard.press("Escape");
  await page.waitForSelector(".date-question", { state: "detached" });
});

test("offers both in notes to oneself, and shows an error when they cannot be loaded", async () => {
  const page = await chat.page(ann, { serviceWorkers: "block" });
  pageErrors.allow(/ERR_FAILED/);
  await page.route(/\/on_demand\.json$|\/(?:find_bar|date_question)\.js$/, (route) => route.abort("failed"));
  await page.goto(`${chat.url}/#ann`);
  await page.waitForSelector("chat-thread .greeting:visible");
  expect(await page.locator("chat-header .more").isVisible()).toBe(false); // nothing to search
  await write(page, "a note");
  await page.click("chat-header .more");
  for (const option of [".mute", ".block"]) expect(await page.locator(`#options ${option}`).isVisible()).toBe(false);
  for (const option of [".find-messages", ".go-to-date"]) {
    await page.click(`#options ${option}`);
    await page.locator("#options .error", { hasText: "Could not reach the server" }).waitFor();
  }
  await page.unrouteAll();
  await page.click("#options .find-messages");
  await page.waitForSelector(".find-bar input:focus");
  await page.keyboard.type("note");
  await page.waitForSelector(".message.found");
});
