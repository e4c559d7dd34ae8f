/** Acting on messages in the page: reactions, replies, edits and deletions. On two pods. */

import { expect, setDefaultTimeout, test } from "bun:test";

import type { Page } from "playwright-core";

import { draft, drawn, localhost, shows, texts, useBrowser, write } from "../support/browser.ts";
import { type Person, startApp, startTwoPods } from "../support/harness.ts";
import { choose, MENU, openMenu, row } from "../support/message_menu.ts";
import { until } from "../support/until.ts";

setDefaultTimeout(60_000);

const chat = useBrowser(startTwoPods);

/** Two users with their pages open on two pods. */
async function pair(first: string, second: string): Promise<[Page, Page, Person, Person]> {
  const [ann, bob] = (await chat.server.one.people(first, second)) as [Person, Person];
  const there = localhost(chat.server.two.url);
  return [await chat.open(ann, `/#${second}`), await chat.open(bob, `/#${first}`, { url: there }), ann, bob];
}

const chips = (page: Page, text: string) => row(page, text).locator(".reaction").allTextContents();
const announced = (page: Page, text: string) =>
  until(`“${text}” is announced`, async () =>
    (await page.locator(".announcer p").allTextContents()).some((each) => each.replace(/[\u2068\u2069]/g, "") === text),
  );

test("reacts, and shows whose reaction it is", async () => {
  const [annPage, bobPage] = await pair("ma-ann", "ma-bob");
  await write(annPage, "dinner at eight?");
  await shows(bobPage, "dinner at eight?");
  await choose(bobPage, "dinner", "👍");
  await announced(bobPage, "Reacted with 👍");
  for (const page of [annPage, bobPage])
    await until("the reaction is shown", async () => (await chips(page, "dinner")).join() === "👍");
  expect(await annPage.locator(".reaction").getAttribute("aria-pressed")).toBe("false");
  expect(await annPage.locator(".reaction").getAttribute("aria-label")).toBe("👍 ma-bob");
  expect(await bobPage.locator(".reaction").getAttribute("aria-label")).toBe("👍 You");

  await annPage.click(".reaction"); // joins
  await until("both react", async () => (await chips(bobPage, "dinner")).join() === "👍 2");
  expect(await bobPage.locator(".reaction").getAttribute("aria-label")).toStartWith("👍 2 ");
  await choose(bobPage, "dinner", "😂"); // replaces
  await until("they differ", async () => (await chips(annPage, "dinner")).toSorted().join() === "👍,😂");
  await bobPage.click('.reaction[aria-pressed="true"]'); // removes
  await announced(bobPage, "Reaction removed");
  await until("one is left", async () => (await chips(annPage, "dinner")).join() === "👍");
  await bobPage.reload();
  await until("it is stored", async () => (await chips(bobPage, "dinner")).join() === "👍");
});

test("replies with a quote that leads to its message, however far away", async () => {
  const [annPage, bobPage, ann, bob] = await pair("mr-ann", "mr-bob");
  await write(annPage, "where do we meet?\nI forgot");
  await shows(bobPage, "where do we meet?\nI forgot");
  await choose(bobPage, "where", "Reply");
  expect(await bobPage.locator(".reference b").innerText()).toContain("mr-ann");
  expect(await bobPage.locator(".reference span").innerText()).toBe("where do we meet? I forgot");
  await bobPage.keyboard.press("Escape");
  expect(await bobPage.locator(".reference").count()).toBe(0);
  expect(bobPage.url()).toEndWith("#mr-ann");

  await choose(bobPage, "where", "Reply");
  await bobPage.keyboard.type("at the gate");
  await bobPage.keyboard.press("Enter");
  expect(await bobPage.locator(".reference").count()).toBe(0);
  const quote = annPage.locator(".quote");
  await until("the quote is shown", async () => (await quote.allInnerTexts()).join().includes("where do we meet?"));
  expect(await quote.locator("b").innerText()).toBe("You");

  const sender = await bob.open({ watch: [] });
  for (let i = 1; i <= 260; i++) await sender.send("mr-ann", `message ${i}`);
  sender.say({ type: "message", to: "mr-ann", message: "still there?", reply_to: 1, ref: "reply-far-away" });
  const fresh = await chat.open(ann, "/#mr-bob");
  await fresh.waitForSelector(".message");
  if (await fresh.locator(".jump").isVisible()) await fresh.click(".jump");
  await until("the quoted message is loaded", async () =>
    (await fresh.locator(".quote .line").allInnerTexts()).join().includes("where do we meet?"),
  );
  await fresh.locator(".quote").last().click();
  await fresh.waitForSelector('.message[data-seq="1"]:focus');
  expect(await texts(fresh)).toContain("where do we meet?\nI forgot");
});

test("edits, also offline, and saves once", async () => {
  const [annPage, bobPage] = await pair("me-ann", "me-bob");
  await write(annPage, "helo");
  await write(annPage, "second");
  await shows(bobPage, "helo", "second");
  await annPage.fill("textarea", "");
  await annPage.press("textarea", "ArrowUp");
  await annPage.waitForSelector(".reference");
  expect(await draft(annPage)).toBe("second");
  await annPage.keyboard.press("Escape");
  expect(await draft(annPage)).toBe("");

  await annPage.fill("textarea", "a draft");
  await choose(annPage, "helo", "Edit");
  expect(await draft(annPage)).toBe("helo");
  await annPage.fill("textarea", "hello");
  await annPage.press("textarea", "Enter");
  await announced(annPage, "Message edited");
  expect(await draft(annPage)).toBe("a draft");
  for (const page of [annPage, bobPage]) await shows(page, "hello", "second");
  expect(await row(bobPage, "hello").locator(".bubble").getAttribute("title")).toContain("(edited ");

  await annPage.context().setOffline(true);
  for (const text of ["2nd", "the second"]) {
    await annPage.locator(".message").last().locator(".text").click({ button: "right" });
    await annPage.locator(`${MENU} button`, { hasText: "Edit" }).click();
    await annPage.fill("textarea", text);
    await annPage.press("textarea", "Enter");
    await shows(annPage, "hello", text);
  }
  expect(await texts(bobPage)).toEqual(["hello", "second"]);
  await annPage.context().setOffline(false);
  await shows(bobPage, "hello", "the second");
});

test("deletes after five seconds in which it can be undone", async () => {
  const [annPage, bobPage] = await pair("md-ann", "md-bob");
  for (const text of ["one", "two", "three"]) await write(annPage, text);
  await shows(bobPage, "one", "two", "three");
  await choose(annPage, "one", "Delete");
  await shows(annPage, "Message deleted", "two", "three");
  await annPage.click(".toast button");
  await announced(annPage, "Message restored");
  await shows(annPage, "one", "two", "three");
  await choose(annPage, "two", "Delete");
  await annPage.keyboard.press("Control+z");
  await shows(annPage, "one", "two", "three");

  await choose(annPage, "two", "Delete");
  expect(await texts(bobPage)).toEqual(["one", "two", "three"]);
  await shows(bobPage, "one", "Message deleted", "three");
  expect(await annPage.locator(".toast").count()).toBe(0);

  await choose(annPage, "three", "Edit"); // an edit to nothing asks
  await annPage.fill("textarea", "");
  await annPage.press("textarea", "Enter");
  await annPage.click(".question .cancel");
  await annPage.waitForSelector(".question", { state: "detached" });
  expect(await annPage.locator(".reference").count()).toBe(1);
  await annPage.press("textarea", "Enter");
  await annPage.click(".question .confirm");
  await annPage.waitForSelector(".toast");
  await shows(bobPage, "one", "Message deleted", "Message deleted");
});

test("a deletion can be undone far away, in another conversation and after a reload", async () => {
  const [annPage, , ann, bob] = await pair("mu-ann", "mu-bob");
  await chat.server.one.people("mu-carol");
  const sender = await ann.open({ watch: [] });
  for (let i = 1; i <= 230; i++) await sender.send("mu-bob", `message ${i}`);
  const last = () => annPage.locator(".message").last().locator(".text").textContent();
  const isRestored = async () => (await last()) === "message 230";
  await until("all are shown", isRestored);

  await choose(annPage, "message 230", "Delete");
  await annPage.hover(".toast"); // so that the time does not end meanwhile
  await annPage.locator(".scroller").focus();
  for (let i = 0; i < 8; i++) await annPage.locator(".scroller").evaluate((each) => each.scrollTo(0, 0));
  await until("it is no longer rendered", async () => (await annPage.locator('[data-seq="230"]').count()) === 0);
  await annPage.click(".jump");
  await until("it is still deleted", async () => (await last()) === "Message deleted");
  await annPage.evaluate(() => (location.hash = "mu-carol"));
  await annPage.waitForSelector(".greeting:visible");
  await annPage.click(".toast button");
  await annPage.evaluate(() => (location.hash = "mu-bob"));
  await until("it is restored", isRestored);

  await choose(annPage, "message 230", "Delete");
  await annPage.reload();
  await until("it is deleted after the reload", async () => (await last()) === "Message deleted");
  await annPage.click(".toast button");
  await until("it is restored after the reload", isRestored);

  await choose(annPage, "message 230", "Delete");
  await annPage.setViewportSize({ width: 390, height: 700 });
  await annPage.click(".back");
  await annPage.click("conversation-list .toast button");
  await annPage.click("conversation-list .conversations .entry");
  await until("it is restored from the list", isRestored);
  await annPage.waitForTimeout(8_000); // longer than any of the deletions was deferred
  const rows = await bob.json<{ deleted?: true; revision?: number }[]>("/messages/mu-ann/mu-bob?limit=200&peek=1");
  expect(rows.filter(({ deleted, revision }) => deleted || revision)).toEqual([]);
});

test("a deletion reaches the others also when the page is closed at once", async () => {
  const [annPage, bobPage] = await pair("mx-ann", "mx-bob");
  await write(annPage, "regretted");
  await shows(bobPage, "regretted");
  await choose(annPage, "regretted", "Delete");
  const context = annPage.context();
  await annPage.close();
  const again = await context.newPage();
  await again.goto(`${chat.url}/#mx-bob`);
  await shows(bobPage, "Message deleted");
  await shows(again, "Message deleted");
});

test("keeps the menu open when messages arrive, and closes it when the user scrolls, on resizing, and a deletion by the other side", async () => {
  const [annPage, , , bob] = await pair("mc-ann", "mc-bob");
  const b = await bob.open({ watch: [] });
  for (let i = 1; i <= 30; i++) await b.send("mc-ann", `message ${i}.`);
  await until("all are shown", async () => (await texts(annPage)).includes("message 30."));
  const closed = () => annPage.waitForSelector(MENU, { state: "detached" });
  await openMenu(annPage, "message 30.");
  for (const text of ["message 31.", "message 32."]) {
    await b.send("mc-ann", text);
    await row(annPage, text).waitFor();
    await drawn(annPage);
  }
  expect(await annPage.locator(MENU).isVisible()).toBe(true);
  await annPage.mouse.wheel(0, -100);
  await closed();
  await openMenu(annPage, "message 30.");
  await annPage.setViewportSize({ width: 900, height: 700 });
  await closed();

  await openMenu(annPage, "message 30.");
  b.say({ type: "edit", peer: "mc-ann", seq: 30, message: "message 30. Edited", ref: "mc-edit-30" });
  await row(annPage, "message 30. Edited").waitFor();
  await annPage.evaluate(() => {
    Object.assign(navigator.clipboard, {
      writeText: async (text: string) => void (document.documentElement.dataset["copied"] = text),
    });
  });
  await annPage.locator(`${MENU} button`, { hasText: /^Copy$/ }).click();
  await until("the edited text is copied", () =>
    annPage.evaluate(() => document.documentElement.dataset["copied"] === "message 30. Edited"),
  );
  await openMenu(annPage, "message 30.");
  b.say({ type: "delete", peer: "mc-ann", seq: 30, ref: "mc-delete-30" });
  await closed();
  await announced(annPage, "Message deleted");
});

test("offers nothing that cannot be done: blocked, pending, and after the windows", async () => {
  const [annPage, bobPage, ann] = await pair("mb-ann", "mb-bob");
  await write(annPage, "mine");
  await shows(bobPage, "mine");
  const items = async (text: string) => {
    await openMenu(annPage, text);
    const names = await annPage.locator(`${MENU} .row`).allTextContents();
    const reactions = await annPage.locator(`${MENU} .quick`).count();
    await annPage.keyboard.press("Escape");
    return [reactions, ...names];
  };
  const always = ["Copy", "Copy as quote", "Forward", "Save to notes", "Select"];
  expect(await items("mine")).toEqual([1, "Reply", ...always, "Edit", "Delete"]);
  await annPage.context().setOffline(true);
  await annPage.evaluate(() => {
    WebSocket.prototype.send = function () {
      this.close();
    };
  });
  await write(annPage, "pending");
  expect(await items("pending")).toEqual([0, "Copy", "Edit", "Delete"]);
  await choose(annPage, "pending", "Delete");
  await annPage.context().setOffline(false);
  await annPage.reload();
  await annPage.waitForSelector(".message");

  await ann.post("/blocks", { name: "mb-bob", blocked: true });
  await annPage.waitForSelector(".closed:visible");
  expect(await items("mine")).toEqual([0, ...always]);
  await ann.post("/blocks", { name: "mb-bob", blocked: false });
  await annPage.waitForSelector("textarea:visible");
  await openMenu(annPage, "mine");
  await ann.post("/blocks", { name: "mb-bob", blocked: true });
  await annPage.waitForSelector(MENU, { state: "detached" });
});

test("offers to edit and delete only within the windows, and says when they have ended", async () => {
  await using app = await startApp({ env: { EDIT_WINDOW: "30m", DELETE_WINDOW: "1h" } });
  const [ann] = (await app.people("mw-ann", "mw-bob")) as [Person];
  const tab = await ann.open({ watch: [] });
  for (const text of ["old", "newer", "newest"]) await tab.send("mw-bob", text);
  await app.sql`update messages set timestamp = timestamp - interval '61 minutes' where content = 'old'`;
  await app.sql`update messages set timestamp = timestamp - interval '31 minutes' where content = 'newer'`;
  const page = await chat.open(ann, "/#mw-bob", { url: localhost(app.url) });
  await page.waitForSelector(".message");
  const offered: Record<string, string[]> = {};
  for (const text of ["old", "newer", "newest"]) {
    await openMenu(page, text);
    offered[text] = (await page.locator(`${MENU} .row`).allTextContents()).slice(6);
    await page.keyboard.press("Escape");
  }
  expect(offered).toEqual({ old: [], newer: ["Delete"], newest: ["Edit", "Delete"] });

  await openMenu(page, "newest");
  await app.sql`update messages set timestamp = timestamp - interval '2 hours' where content = 'newest'`;
  await page.locator(`${MENU} button`, { hasText: "Edit" }).click();
  await page.fill("textarea", "too late");
  await page.press("textarea", "Enter");
  await page.waitForSelector('.problem[data-error="too_late"]');
  expect(await page.locator(".problem").innerText()).toBe("This message can no longer be changed.");
  await shows(page, "old", "newer", "newest");
});

test("works by keyboard alone", async () => {
  const [annPage, bobPage] = await pair("mk-ann", "mk-bob");
  await write(annPage, "first");
  await write(annPage, "second");
  await shows(bobPage, "first", "second");
  const press = async (...keys: string[]) => {
    for (const key of keys) await bobPage.keyboard.press(key);
  };
  await bobPage.focus("textarea");
  await press("Alt+ArrowUp", "ArrowUp");
  await bobPage.waitForLoadState("networkidle");
  await press("Enter");
  await bobPage.waitForSelector(`${MENU} .quick button:focus`);
  await press("ArrowRight", "ArrowRight", "Enter");
  await until("the reaction is shown", async () => (await chips(annPage, "first")).join() === "😂");
  await bobPage.waitForSelector(".message:focus");
  expect(await bobPage.locator(".message:focus").getAttribute("data-seq")).toBe("1");
  await press("ArrowRight");
  await bobPage.waitForSelector(".reaction:focus");
  await press("Enter"); // removes it
  await until("it is removed", async () => (await chips(annPage, "first")).length === 0);
  await bobPage.waitForSelector(".message:focus");
  await press("Shift+F10");
  await bobPage.waitForSelector(`${MENU} :focus`);
  await press("Escape");
  await bobPage.waitForSelector('.message[data-seq="1"]:focus');
  await press("Enter", "ArrowDown", "Enter"); // Reply
  await bobPage.waitForSelector(".reference");
  await bobPage.keyboard.type("an answer");
  await press("Enter");
  await shows(annPage, "first", "second", "an answer");
  await press("Alt+ArrowUp", "ArrowRight");
  await bobPage.waitForSelector(".quote:focus");
  await press("Enter");
  await bobPage.waitForSelector('.message[data-seq="1"]:focus');
  await press("End", "Enter", "End", "Enter"); // Delete
  await bobPage.waitForSelector(".toast");
  await shows(annPage, "first", "second", "Message deleted");
});

test("opens by a long press, not while scrolling", async () => {
  const [ann] = (await chat.server.one.people("ml-ann", "ml-bob")) as [Person];
  const page = await chat.open(ann, "/#ml-bob", {
    hasTouch: true,
    isMobile: true,
    viewport: { width: 320, height: 760 },
  });
  await page.fill("textarea", "press me https://example.org");
  await page.click("message-composer .send"); // Enter starts a new line on phones
  await page.waitForSelector(".message");
  const client = await page.context().newCDPSession(page);
  const touch = (type: "touchStart" | "touchMove" | "touchEnd", x = 0, y = 0) =>
    client.send("Input.dispatchTouchEvent", { type, touchPoints: type === "touchEnd" ? [] : [{ x, y }] });
  const { x, y } = (await page.locator(".message .text").boundingBox())!;
  await touch("touchStart", x + 10, y + 10);
  await page.waitForSelector(MENU);
  await touch("touchEnd");
  expect(await page.locator(MENU).isVisible()).toBe(true);
  const heights = await page.locator(`${MENU} button`).evaluateAll((all) => all.map((each) => each.clientHeight));
  expect(Math.min(...heights)).toBeGreaterThanOrEqual(44);
  const tops = await page
    .locator(`${MENU} .quick button`)
    .evaluateAll((all) => all.map((each) => each.getBoundingClientRect().top));
  expect(new Set(tops).size).toBe(1);
  await page.touchscreen.tap(10, 100);
  await page.waitForSelector(MENU, { state: "detached" });

  await touch("touchStart", x + 10, y + 10);
  await touch("touchMove", x + 10, y + 40);
  await page.waitForTimeout(700); // longer than a long press
  await touch("touchEnd");
  expect(await page.locator(MENU).count()).toBe(0);
});
