/** Several messages at once in the page: selecting, copying, forwarding and deleting them; and swiping to reply. */

import { expect, setDefaultTimeout, test } from "bun:test";

import type { Page } from "playwright-core";

import { shows, texts, useBrowser } from "../support/browser.ts";
import type { Person } from "../support/harness.ts";
import { choose, MENU, openMenu, row } from "../support/message_menu.ts";
import { until } from "../support/until.ts";

setDefaultTimeout(60_000);

const chat = useBrowser();

const selected = (page: Page) => page.locator(".message:has(> .select:checked) .text").allTextContents();
const isSelected = (page: Page, ...wanted: string[]) =>
  until(`${wanted.join()} are selected`, async () => (await selected(page)).join() === wanted.join());

/** A page of the first user, open at the second one, after each has said something. */
async function talk(first: string, second: string, ...others: string[]): Promise<[Page, Person, Person, ...Person[]]> {
  const people = (await chat.server.people(first, second, ...others)) as [Person, Person, ...Person[]];
  const [a, b] = [await people[0].open({ watch: [] }), await people[1].open({ watch: [] })];
  await a.send(second, "one");
  await b.send(first, "two\nlines");
  await a.send(second, "three");
  const page = await chat.open(people[0], `/#${second}`, { permissions: ["clipboard-read", "clipboard-write"] });
  await shows(page, "one", "two\nlines", "three");
  return [page, ...people];
}

const clipboard = (page: Page) => page.evaluate(() => navigator.clipboard.readText());

test("copies a message as a quote with name and time", async () => {
  const [page] = await talk("sq-ann", "sq-bob");
  await choose(page, "two", "Copy as quote");
  await page.waitForSelector(".toast");
  expect(await clipboard(page)).toMatch(/^sq-bob, \d{1,2} \w+ \d{4},? \d\d:\d\d:\n> two\n> lines$/);
});

test("selects by clicks and ranges, and copies", async () => {
  const [page] = await talk("sc-ann", "sc-bob");
  await choose(page, "one", "Select");
  await isSelected(page, "one");
  expect(await page.locator(".selection-bar .count").innerText()).toBe("1 selected");
  expect(await page.locator("chat-header").isVisible()).toBe(false);
  await row(page, "three")
    .locator(".bubble")
    .click({ modifiers: ["Shift"] });
  await isSelected(page, "one", "two\nlines", "three");
  await row(page, "two").locator(".select").click();
  await isSelected(page, "one", "three");
  expect(await page.locator(".selection-bar .delete").isEnabled()).toBe(true);
  await row(page, "two").locator(".text").click();
  expect(await page.locator(".selection-bar .delete").isEnabled()).toBe(false); // it is not ann's
  await page.click(".selection-bar .copy");
  expect(await clipboard(page)).toBe("one\ntwo\nlines\nthree");
  expect(await page.locator(".select, .selection-bar").count()).toBe(0);
  expect(await page.locator("chat-header").isVisible()).toBe(true);
  await choose(page, "one", "Select");
  await row(page, "two").locator(".bubble").click();
  await page.click(".selection-bar .copy_quote");
  expect((await clipboard(page)).replaceAll(/, [^\n]*:$/gm, ":")).toBe("sc-ann:\n> one\n\nsc-bob:\n> two\n> lines");
});

test("selects by keyboard, and Escape leaves", async () => {
  const [page] = await talk("sk-ann", "sk-bob");
  await page.focus("textarea");
  await page.keyboard.press("Alt+ArrowUp");
  await page.waitForLoadState("networkidle");
  await page.keyboard.press("Enter");
  await page.waitForSelector(MENU);
  await page.locator(`${MENU} button`, { hasText: "Select" }).focus();
  await page.keyboard.press("Enter");
  await page.waitForSelector(".select:focus");
  expect(await page.locator(".select:focus").getAttribute("aria-label")).toContain("three");
  await page.keyboard.press("ArrowUp");
  await page.keyboard.press("ArrowUp");
  await isSelected(page, "three");
  await page.keyboard.press(" ");
  await isSelected(page, "one", "three");
  await page.keyboard.press("Shift+ArrowDown");
  await isSelected(page, "one", "two\nlines", "three");
  await page.keyboard.press("Enter");
  await isSelected(page, "one", "three");
  await page.keyboard.press("Escape");
  await page.waitForSelector('.message[data-seq="2"]:focus');
  expect(await page.locator(".selection-bar").count()).toBe(0);
  expect(page.url()).toEndWith("#sk-bob");
});

test("selects at most 100, and forgets those that are deleted meanwhile", async () => {
  const [page, ann] = await talk("sm-ann", "sm-bob");
  const a = await ann.open({ watch: [] });
  for (let i = 4; i <= 120; i++) await a.send("sm-bob", `message ${i}.`);
  await until("all are shown", async () => (await texts(page)).includes("message 120."));
  await choose(page, "message 120.", "Select");
  await page.locator(".scroller").evaluate((each) => each.scrollTo(0, 0));
  await until("the first is rendered", async () => (await page.locator('[data-seq="2"] .select').count()) > 0);
  await page.locator('[data-seq="2"] .bubble').click({ modifiers: ["Shift"] });
  await page.locator(".toast", { hasText: "You can select up to 100 messages." }).waitFor();
  const count = page.locator(".selection-bar .count");
  expect(await count.innerText()).toBe("100 selected");
  a.say({ type: "delete", peer: "sm-bob", seq: 50, ref: "sm-delete-50" });
  await until("one fewer is selected", async () => (await count.innerText()) === "99 selected");
});

test("deletes several after a question, and restores all at once", async () => {
  const [page, , bob] = await talk("sd-ann", "sd-bob");
  const bobPage = await chat.open(bob, "/#sd-ann");
  await choose(page, "one", "Select");
  await row(page, "three").locator(".bubble").click();
  await page.click(".selection-bar .delete");
  expect(await page.locator(".question h2").innerText()).toBe("Delete 2 messages?");
  await page.click(".question .confirm");
  await shows(page, "Message deleted", "two\nlines", "Message deleted");
  await page.click(".toast button");
  await shows(page, "one", "two\nlines", "three");
  await choose(page, "one", "Select");
  await row(page, "three").locator(".bubble").click();
  await page.click(".selection-bar .delete");
  await page.click(".question .confirm");
  await shows(bobPage, "Message deleted", "two\nlines", "Message deleted");
});

test("forwards to several, also offline, once", async () => {
  const [page, , bob, carol] = await talk("sf-ann", "sf-bob", "sf-carol", "sf-dora");
  await choose(page, "one", "Select");
  await row(page, "two").locator(".bubble").click();
  await page.click(".selection-bar .forward");
  await page.fill(".forward-dialog input[type=search]", "sf-c");
  await page.locator(".forward-dialog label", { hasText: "sf-carol" }).click();
  await page.fill(".forward-dialog input[type=search]", "");
  await page.locator(".forward-dialog label", { hasText: "sf-bob" }).click();
  const confirm = page.locator(".forward-dialog .primary");
  expect(await confirm.innerText()).toBe("Forward to 2");
  await page.context().setOffline(true);
  await confirm.click();
  await page.locator(".toast", { hasText: "Forwarded to 2 conversations" }).waitFor();
  await shows(page, "one", "two\nlines", "three", "one", "two\nlines");
  await page.context().setOffline(false);
  const stored = async (person: Person) =>
    (await person.json<{ content: string }[]>(`/messages/sf-ann/${person.name}?peek=1`)).map(({ content }) => content);
  await until("carol has them", async () => (await stored(carol!)).length >= 2, 20_000);
  expect(await stored(carol!)).toEqual(["one", "two\nlines"]);
  await until("bob has them", async () => (await stored(bob)).length >= 5, 20_000);
  expect(await stored(bob)).toEqual(["one", "two\nlines", "three", "one", "two\nlines"]);
});

test("offers to open the conversation that it forwarded to", async () => {
  const [page, ann] = await talk("so-ann", "so-bob", "so-carol");
  await (await ann.open({ watch: [] })).send("so-carol", "hi");
  await choose(page, "two", "Forward");
  await page.locator(".forward-dialog label", { hasText: "so-carol" }).click();
  await page.keyboard.press("Tab");
  await page.click(".forward-dialog .primary");
  await page.locator(".toast button", { hasText: "Open" }).click();
  await shows(page, "hi", "two\nlines");
});

test("saves a message to the user's own notes, which do not offer it", async () => {
  const [page] = await talk("sn-ann", "sn-bob");
  await choose(page, "two", "Save to notes");
  await page.locator(".toast", { hasText: "Saved to your notes" }).getByRole("button", { name: "Open" }).click();
  await page.waitForURL(/#sn-ann$/);
  await shows(page, "two\nlines");
  await openMenu(page, "two");
  expect(await page.locator(`${MENU} .row`).allTextContents()).not.toContain("Save to notes");
});

test("forwards to at most five, and not what was deleted meanwhile", async () => {
  const others = ["a", "b", "c", "d", "e"].map((letter) => `sx-${letter}`);
  const [page, ann, bob] = await talk("sx-ann", "sx-bob", ...others);
  const a = await ann.open({ watch: [] });
  for (const name of others) await a.send(name, "hi");
  await choose(page, "two", "Forward");
  for (const name of others) await page.locator(".forward-dialog label", { hasText: name }).first().click();
  const box = page.locator(".forward-dialog label", { hasText: "sx-bob" }).locator("input");
  expect(await box.isDisabled()).toBe(true);
  expect(await page.locator(".forward-dialog .note").innerText()).toBe("You can forward to 5 conversations at a time.");
  const b = await bob.open({ watch: [] });
  b.say({ type: "delete", peer: "sx-ann", seq: 2, ref: "sx-delete-2" });
  await shows(page, "one", "Message deleted", "three");
  await page.click(".forward-dialog .primary");
  await page.locator(".toast", { hasText: "Message deleted" }).waitFor();
  expect(await (await ann.get("/messages/sx-ann/sx-a?peek=1")).json()).toHaveLength(1);
});

test.each([
  { viewport: { width: 1_000, height: 700 }, messages: 30 },
  { viewport: { width: 390, height: 400 }, messages: 30 }, // a phone with its keyboard
  { viewport: { width: 320, height: 600 }, messages: 1 },
])("shows a toast over neither the last message nor the composer: $viewport.width px, $messages", async (options) => {
  const { viewport, messages } = options;
  const names = [`st-a${viewport.width}`, `st-b${viewport.width}`] as const;
  const [ann] = (await chat.server.people(...names)) as [Person, Person];
  const tab = await ann.open({ watch: [] });
  for (let i = 1; i <= messages; i++) await tab.send(names[1], `message ${i}.`);
  const page = await chat.open(ann, `/#${names[1]}`, { viewport });
  await choose(page, `message ${messages}.`, "Delete");
  await page.waitForSelector(".toast button");
  const [toast, last, composer] = await Promise.all(
    [".toast", ".message:last-child .bubble", "message-composer"].map((each) => page.locator(each).boundingBox()),
  );
  expect(toast!.y + toast!.height).toBeLessThan(last!.y);
  expect(last!.y + last!.height).toBeLessThan(composer!.y);
});

const TOUCH = { hasTouch: true, isMobile: true, viewport: { width: 390, height: 760 } };
const RIGHT = [10, 20, 40, 60, 90].map((x): [number, number] => [x, 1]);
const LEFT = RIGHT.map(([x, y]): [number, number] => [-x, y]);

/** Moves a finger over an element of the thread. */
async function swiping(page: Page) {
  const client = await page.context().newCDPSession(page);
  const touch = (type: "touchStart" | "touchMove" | "touchEnd", touchPoints: { x: number; y: number }[] = []) =>
    client.send("Input.dispatchTouchEvent", { type, touchPoints });
  const swipe = async (selector: string, steps: [x: number, y: number][], { from = 60, lift = true } = {}) => {
    const box = (await page.locator(selector).boundingBox())!;
    const at = (x: number, y: number) => [{ x: from + x, y: box.y + 15 + y }];
    await touch("touchStart", at(0, 0));
    for (const [x, y] of steps) await touch("touchMove", at(x, y));
    if (lift) await touch("touchEnd");
  };
  return { swipe, lift: () => touch("touchEnd") };
}

test("scrolls code sideways by a swipe, and replies by one on a quote that is cut off", async () => {
  const [ann, bob] = (await chat.server.people("sw-ann", "sw-bob")) as [Person, Person];
  const tab = await bob.open({ watch: [] });
  await tab.send("sw-ann", `\`\`\`\nconst text = "${"wide ".repeat(30)}";\n\`\`\``);
  tab.say({ to: "sw-ann", message: "that was wide", reply_to: 1, ref: "sw-reply-1" });
  const page = await chat.open(ann, "/#sw-bob", TOUCH);
  await page.waitForSelector(".quote .line");
  const { swipe } = await swiping(page);
  await swipe("pre", []); // loads what recognizes it
  await page.waitForSelector(".swipeable");
  const code = page.locator("pre");
  for (const from of [0, 150]) {
    await code.evaluate((each, left) => each.scrollTo(left, 0), from);
    await swipe("pre", from ? RIGHT : LEFT, { from: 150 });
    await until("the code has moved", async () => (await code.evaluate((each) => each.scrollLeft)) !== from);
  }
  expect(await page.locator(".swiped, .reference").count()).toBe(0);
  await swipe(".quote .line", RIGHT);
  await page.waitForSelector(".reference");
});

test("swipes to the right to reply, but neither scrolls nor starts at the edge", async () => {
  const [ann, bob] = (await chat.server.people("ss-ann", "ss-bob")) as [Person, Person];
  await (await bob.open({ watch: [] })).send("ss-ann", "swipe me, I am long enough for a finger");
  const page = await chat.open(ann, "/#ss-bob", TOUCH);
  const bubble = page.locator(".bubble");
  const { swipe, lift } = await swiping(page);
  // The first touch loads what recognizes it.
  await swipe(".bubble", []);
  await page.waitForSelector(".swipeable");

  await swipe(".bubble", RIGHT.slice(0, 3));
  await swipe(
    ".bubble",
    [10, 20, 40, 90].map((y): [number, number] => [y / 2, y]),
  );
  await swipe(".bubble", RIGHT, { from: 10 });
  await swipe(".bubble", LEFT, { from: 200 });
  expect(await page.locator(".reference, .swiped").count()).toBe(0);

  await swipe(".bubble", RIGHT, { lift: false });
  await page.waitForSelector(".message.replies .swipe-hint");
  expect(await bubble.evaluate((each) => getComputedStyle(each).translate)).toBe("78px");
  await lift();
  await page.waitForSelector(".reference");
  expect(await page.locator(".swiped, .swipe-hint").count()).toBe(0);
  await page.emulateMedia({ reducedMotion: "reduce" });
  await swipe(".bubble", RIGHT, { lift: false });
  await page.waitForSelector(".message.replies .swipe-hint");
  expect(await bubble.evaluate((each) => getComputedStyle(each).translate)).toBe("none");
  await lift();
});
