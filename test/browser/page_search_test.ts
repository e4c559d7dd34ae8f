/** Searching messages from the list. */

import { beforeAll, expect, setDefaultTimeout, test } from "bun:test";

import type { Page } from "playwright-core";

import { hold, useBrowser } from "../support/browser.ts";
import type { Person } from "../support/harness.ts";
import { fillConversation, focusAt } from "../support/long_conversation.ts";
import { pageErrors } from "../support/page_errors.ts";
import { until } from "../support/until.ts";

setDefaultTimeout(60_000);

const COUNT = 3_000;
/** The texts of some messages, by seq; the others are “message” and their number. */
const TEXTS: Record<number, string> = {
  40: "Πάμε για ΚΑΦΈ στην πλατεία;",
  41: "Ναι, καφεδάκι!",
  700: "Ёлка стоит",
  1_500: "I am 100 % sure: 50_50",
  2_200: "Our trip 👩‍👩‍👧 to Crème brûlée town",
  2_990: "one more καφές before we go",
};

const chat = useBrowser();
let ann: Person;

beforeAll(async () => {
  [ann] = (await chat.server.people("ann", "bob", "carol", "Καφετζής")) as [Person];
  await fillConversation(chat.server, ["ann", "bob"], { count: COUNT, special: TEXTS });
  const carol = await ann.open({ watch: [] });
  await carol.send("carol", "no coffee, thanks");
  await carol.send("Καφετζής", "καλημέρα");
});

const SEARCH = "conversation-list input[type=search]";
const hits = (page: Page) => page.locator(".hit");
/** Searches and waits for a number of hits. */
async function searchFor(page: Page, text: string, count: number): Promise<void> {
  await page.fill(SEARCH, text);
  await until(`${count} hits for ${text}`, async () => (await hits(page).count()) === count);
}

test("finds conversations, people and messages in labelled sections, with the match marked", async () => {
  const page = await chat.open(ann, "/");
  await searchFor(page, "καφε", 3);
  expect(await page.locator(".label:visible").allInnerTexts()).toEqual(["Conversations", "Messages"]);
  expect(await page.locator(".conversations .name").allInnerTexts()).toEqual(["Καφετζής"]);
  expect(await page.locator(".hits [role=status]").innerText()).toBe("3 messages found");
  expect(await page.locator("conversation-list .scroll > .art").isVisible()).toBe(false);
  expect(await hits(page).locator("mark").allInnerTexts()).toEqual(["καφέ", "καφε", "ΚΑΦΈ"]);
  expect(await hits(page).locator(".name").allInnerTexts()).toEqual(["bob", "bob", "bob"]);
  expect(await hits(page).locator(".preview").allInnerTexts()).toEqual([
    "You: one more καφές before we go",
    "Ναι, καφεδάκι!",
    "You: Πάμε για ΚΑΦΈ στην πλατεία;",
  ]);
  for (const [text, marked] of [
    ["0 %", "0 %"],
    ["0_5", "0_5"],
    ["👩‍👩‍👧", "👩‍👩‍👧"],
    ["creme BRULEE", "Crème brûlée"],
    ["елка", "Ёлка"],
  ] as const) {
    await searchFor(page, text, 1);
    await until(
      `${marked} is marked`,
      async () => (await hits(page).locator("mark").allInnerTexts()).join() === marked,
    );
  }
  await page.fill(SEARCH, "coffe");
  await until("one hit of carol", async () => (await hits(page).locator(".name").allInnerTexts()).join() === "carol");
  await page.fill(SEARCH, "xyzzy");
  await page.locator(".note:visible", { hasText: /Nothing found for “.xyzzy.”/ }).waitFor();
  expect(await page.locator("conversation-list .scroll > .art").isVisible()).toBe(true);
  expect(await page.locator(".label:visible").count()).toBe(0);
  await page.fill(SEARCH, "caro");
  await page.locator(".hits-note", { hasText: "No messages found." }).waitFor();
});

test("loads more hits while the list is scrolled", async () => {
  const page = await chat.open(ann, "/");
  await page.fill(SEARCH, "message 1");
  await until("a page of hits", async () => (await hits(page).count()) >= 20);
  for (const least of [40, 80, 160]) {
    await until(`${least} hits`, async () => {
      await page.locator("conversation-list .scroll").evaluate((element) => element.scrollTo(0, element.scrollHeight));
      return (await hits(page).count()) >= least;
    });
  }
  const numbers = (await hits(page).locator(".preview").allTextContents()).map((text) =>
    Number(/\d+$/.exec(text)?.[0]),
  );
  expect(numbers).toEqual(numbers.toSorted((a, b) => b - a));
  expect(new Set(numbers).size).toBe(numbers.length);
});

test("aborts searches that the next letters replace", async () => {
  const page = await chat.open(ann, "/");
  await page.waitForSelector(".entry");
  const release = await hold(page, /\/search\?q=mess&/);
  const aborted: string[] = [];
  page.on("requestfailed", (request) => aborted.push(new URL(request.url()).searchParams.get("q") ?? ""));
  const asked = page.waitForRequest(/\/search\?q=mess&/);
  await page.type(SEARCH, "mess");
  await asked;
  await page.locator(".hits .skeleton i").first().waitFor(); // after 300 ms
  await page.type(SEARCH, "age 2999");
  await until("the hit", async () => (await hits(page).locator("mark").allInnerTexts()).join() === "message 2999");
  expect(aborted).toContain("mess");
  release();
  await Bun.sleep(300);
  expect(await hits(page).count()).toBe(1);
});

test("explains a wait, continues by itself, and offers a retry", async () => {
  const page = await chat.open(ann, "/");
  await page.waitForSelector(".entry");
  pageErrors.allow(/status of (429|500)/);
  let answers = [429, 500];
  await page.route(/\/search\?/, async (route) => {
    const status = answers.shift();
    if (status === undefined) return route.continue();
    const headers = { "content-type": "application/json", "retry-after": "2" };
    await route.fulfill({ status, headers, body: JSON.stringify({ error: { code: "rate_limited", message: "" } }) });
  });
  await page.fill(SEARCH, "καφε");
  await page.locator(".hits-note", { hasText: /Yours continues in .2 seconds/ }).waitFor();
  await page.locator(".hits-note", { hasText: "could not be searched" }).waitFor();
  await page.press(".more-hits", "Enter");
  expect(await page.evaluate((selector) => document.activeElement?.matches(selector), SEARCH)).toBe(true);
  await until("the hits", async () => (await hits(page).count()) === 3);

  answers = [];
  await page.fill(SEARCH, "");
  await page.context().setOffline(true);
  await page.fill(SEARCH, "creme");
  await page.locator(".hits-note", { hasText: "You are offline." }).waitFor();
  await page.context().setOffline(false);
  await page.click(".more-hits").catch(() => {}); // unless the connection retried first
  await until("the hit", async () => (await hits(page).count()) === 1);
});

test("continues where the server stopped", async () => {
  const page = await chat.open(ann, "/");
  await page.waitForSelector(".entry");
  const asked: string[] = [];
  await page.route(/\/search\?/, async (route) => {
    const { searchParams } = new URL(route.request().url());
    asked.push(searchParams.get("before") ?? "");
    if (asked.length > 6) return route.continue();
    const headers = { "content-type": "application/json", "chatify-continue": "bm93aGVyZQ" };
    await route.fulfill({ status: 200, headers, body: "[]" });
  });
  await page.fill(SEARCH, "creme");
  await page.locator(".more-hits", { hasText: "Keep searching" }).waitFor();
  expect(asked).toEqual(["", ...Array.from({ length: 4 }, () => "bm93aGVyZQ")]);
});

test("works with the keyboard alone: through the sections, into a message, and back", async () => {
  const page = await chat.open(ann, "/");
  await page.waitForSelector(".entry");
  await page.keyboard.press("/");
  await page.keyboard.type("καφε");
  await until("the hits", async () => (await hits(page).count()) === 3);
  const focused = () => page.evaluate(() => document.activeElement?.textContent?.replace(/\s+/g, " ") ?? "");
  await page.keyboard.press("ArrowDown");
  expect(await focused()).toContain("Καφετζής");
  for (const text of ["one more", "καφεδάκι", "ΚΑΦΈ"]) {
    await page.keyboard.press("ArrowDown");
    expect(await focused()).toContain(text);
  }
  await page.keyboard.press("Enter");
  await focusAt(page, 40);
  await page.keyboard.press("ArrowDown");
  await focusAt(page, 41);
  await page.locator(SEARCH).focus();
  await page.keyboard.press("Escape");
  expect([await page.inputValue(SEARCH), await hits(page).count()]).toEqual(["", 0]);
});

test("returns to the results on a phone", async () => {
  const page = await chat.open(ann, "/", { viewport: { width: 390, height: 800 }, hasTouch: true });
  await searchFor(page, "καφε", 3);
  await hits(page).nth(1).tap();
  await page.waitForSelector('.message[data-seq="41"]');
  await page.locator(".back").tap();
  await hits(page).nth(1).waitFor();
  expect(await page.evaluate(() => document.activeElement?.classList.contains("hit"))).toBe(true);
  expect(await hits(page).count()).toBe(3);
});
