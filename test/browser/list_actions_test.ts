/** Keeping the list in order: timed mutes, pins, the archive and unread marks. On two pods. */

import { expect, setDefaultTimeout, test } from "bun:test";

import axe from "axe-core";
import type { BrowserContextOptions, Page } from "playwright-core";

import { localhost, useBrowser } from "../support/browser.ts";
import { type Person, startTwoPods, type Tab } from "../support/harness.ts";
import { until } from "../support/until.ts";

setDefaultTimeout(60_000);

const chat = useBrowser(startTwoPods);

/** A user with a message of each of `peers`, the last one's newest, and the peers' sockets. */
async function user(name: string, ...peers: string[]): Promise<{ me: Person; tabs: Map<string, Tab> }> {
  const [me, ...writers] = (await chat.server.one.people(name, ...peers)) as [Person, ...Person[]];
  const tabs = new Map<string, Tab>();
  for (const writer of writers) {
    const tab = await writer.open({ watch: [] });
    await tab.send(name, `from ${writer.name}`);
    tabs.set(writer.name, tab);
  }
  return { me, tabs };
}

const there = (options: BrowserContextOptions = {}) => ({ ...options, url: localhost(chat.server.two.url) });
const entry = (page: Page, name: string) => page.locator(`.conversations .entry[data-name="${name}"]`);
const names = (page: Page) =>
  page
    .locator(".conversations .entry")
    .evaluateAll((links) => links.map((link) => (link as HTMLElement).dataset["name"]));
const lists = (page: Page, ...wanted: string[]) =>
  until(`the list is ${wanted.join(", ")}`, async () => (await names(page)).join() === wanted.join());
const MENU = ".message-menu";
const item = (page: Page, name: string) => page.locator(`${MENU} [role=menuitem]`, { hasText: name });

/** Opens the menu of an entry with the right button and chooses items. */
async function choose(page: Page, name: string, ...items: string[]): Promise<void> {
  await entry(page, name).click({ button: "right" });
  for (const each of items) await item(page, each).click();
  await page.waitForSelector(MENU, { state: "detached" });
}

async function accessible(page: Page): Promise<void> {
  await page.evaluate(axe.source);
  const found = await page.evaluate(async () => {
    const rules = { "target-size": { enabled: true } };
    // oxlint-disable-next-line typescript/no-explicit-any
    const { violations } = await (globalThis as any).axe.run(document, { rules, resultTypes: ["violations"] });
    return violations.map((v: { id: string; nodes: { html: string }[] }) => `${v.id}: ${v.nodes[0]?.html}`);
  });
  expect(found).toEqual([]);
}

test("pins to the top in every page of the user, keeps the order, and says when there are too many", async () => {
  const { me } = await user("pi-ann", "pi-bob", "pi-carol", "pi-dora");
  const [page, other] = [await chat.open(me), await chat.open(me, "/", there())];
  await lists(page, "pi-dora", "pi-carol", "pi-bob");
  await choose(page, "pi-bob", "Pin");
  for (const each of [page, other]) await lists(each, "pi-bob", "pi-dora", "pi-carol");
  await choose(other, "pi-carol", "Pin");
  for (const each of [page, other]) await lists(each, "pi-bob", "pi-carol", "pi-dora");
  expect(await entry(other, "pi-bob").locator(".pinned").isVisible()).toBe(true);
  expect(await entry(other, "pi-bob").locator(".quiet").innerText()).toBe("pinned");
  await accessible(page);
  await page.reload();
  await lists(page, "pi-bob", "pi-carol", "pi-dora");
  await choose(page, "pi-bob", "Unpin");
  for (const each of [page, other]) await lists(each, "pi-carol", "pi-dora", "pi-bob");

  const { sql } = chat.server.one;
  await sql`
    with c as (
      insert into conversations (low, high, last_seq, last_at, low_pinned_at)
      select 'pi-ann', 'pi-z' || n, 1, now(), now() from generate_series(1, 19) n returning id, low, high
    )
    insert into messages (conversation_id, seq, sender, receiver, content, timestamp) select id, 1, low, high, 'hi', now() from c
  `;
  await choose(page, "pi-dora", "Pin");
  await page.waitForSelector(".toast:has-text('You can pin up to 20 conversations. Unpin one first.')");
  await until("it is not pinned", async () => !(await entry(page, "pi-dora").locator(".pinned").isVisible()));
});

test("mutes for eight hours, and shows the end of it by itself", async () => {
  const { me } = await user("mu-ann", "mu-bob");
  const context = await chat.context(me);
  const [page, other] = [await context.newPage(), await chat.open(me, "/", there())];
  await page.clock.install();
  await page.goto(`${chat.url}/`);
  await lists(page, "mu-bob");
  await until("the title counts", async () => (await page.title()) === "(1) chatify");
  await choose(page, "mu-bob", "Mute", "For 8 hours");
  for (const each of [page, other]) {
    await until("it is muted", () => entry(each, "mu-bob").locator(".muted").isVisible());
    await until("the title does not count it", async () => (await each.title()) === "chatify");
  }
  await entry(other, "mu-bob").click({ button: "right" });
  const unmute = await item(other, "Unmute").innerText();
  expect(unmute.replace(/[\u2068\u2069]/g, "")).toMatch(/^Unmute \(until \w{3} \d\d:\d\d\)$/); // as in the list: 24 hours
  await accessible(other);
  await other.keyboard.press("Escape");
  await page.clock.runFor(7.9 * 3_600_000);
  expect(await entry(page, "mu-bob").locator(".muted").isVisible()).toBe(true);
  await page.clock.runFor(0.2 * 3_600_000);
  await until("the mute has ended", async () => !(await entry(page, "mu-bob").locator(".muted").isVisible()));
  await until("the title counts again", async () => (await page.title()) === "(1) chatify");
  await choose(other, "mu-bob", "Unmute");
  await choose(other, "mu-bob", "Mute", "Always");
  await until("it is muted", () => entry(other, "mu-bob").locator(".muted").isVisible());
  await entry(other, "mu-bob").click();
  await other.click("chat-header .more");
  expect(await other.locator("#options .mute").innerText()).toBe("Unmute");
});

test("archives, undoes that, and brings a conversation back with a message", async () => {
  const { me, tabs } = await user("ar-ann", "ar-bob", "ar-carol", "ar-dora");
  const [page, other] = [await chat.open(me), await chat.open(me, "/", there())];
  await choose(page, "ar-bob", "Archive");
  for (const each of [page, other]) {
    await lists(each, "ar-dora", "ar-carol");
    expect(await each.locator(".archive-row").innerText()).toMatch(/Archived\s*1/);
  }
  await page.click(".toast button");
  for (const each of [page, other]) await lists(each, "ar-dora", "ar-carol", "ar-bob");
  for (const name of ["ar-bob", "ar-carol"]) await choose(page, name, "Archive");
  for (const each of [page, other]) {
    await lists(each, "ar-dora");
    await until("both are counted", async () => (await each.locator(".archive-row .count").innerText()) === "2");
    await until("they are not counted as unread", async () => (await each.title()) === "(1) chatify");
  }
  await other.reload();
  await lists(other, "ar-dora");
  await other.click(".archive-row");
  await lists(other, "ar-carol", "ar-bob");
  await accessible(other);
  await entry(other, "ar-carol").click();
  await other.waitForSelector("chat-header h2:has-text('ar-carol')");
  await lists(other, "ar-carol", "ar-bob");

  await tabs.get("ar-bob")!.send("ar-ann", "are you there?");
  await lists(page, "ar-bob", "ar-dora");
  await lists(other, "ar-carol");
  await other.click("chat-header .more");
  await other.click("#options .archive");
  await until("nothing is left", async () => (await names(other)).length === 0);
  await other.waitForSelector(".archive-empty:has-text('Nothing archived')");
  await accessible(other);
  await other.click(".archive-head button");
  await lists(other, "ar-bob", "ar-dora", "ar-carol");
  expect(await other.locator(".archive-row").isVisible()).toBe(false);
  // A search finds archived ones, too.
  await choose(page, "ar-dora", "Archive");
  await page.fill("conversation-list input", "dora");
  await lists(page, "ar-dora");
});

test("learns at the next connection what another device arranged meanwhile", async () => {
  const { me } = await user("re-ann", "re-bob", "re-carol", "re-dora");
  const page = await chat.open(me);
  await lists(page, "re-dora", "re-carol", "re-bob");
  await entry(page, "re-bob").click({ button: "right" });
  await item(page, "Pin").waitFor(); // the menu is loaded
  await page.keyboard.press("Escape");
  await page.context().setOffline(true);
  const change = (name: string, changes: object) => me.post("/conversations", { name, ...changes });
  await change("re-bob", { pinned: true, marked_unread: true });
  await change("re-dora", { archived: true });
  await choose(page, "re-carol", "Pin");
  await page.waitForSelector(".toast:has-text('Could not reach the server')");
  await until("it is not pinned", async () => !(await entry(page, "re-carol").locator(".pinned").isVisible()));
  await page.context().setOffline(false);
  await lists(page, "re-bob", "re-carol");
  await until("it is counted", async () => (await page.locator(".archive-row .count").innerText()) === "1");
});

test("marks as unread until the conversation is opened, in every page, and not for the peer", async () => {
  const { me, tabs } = await user("un-ann", "un-bob");
  const [page, other] = [await chat.open(me, "/#un-bob"), await chat.open(me, "/", there())];
  await tabs.get("un-bob")!.next("read");
  await until("it is read", async () => (await other.title()) === "chatify");
  await page.click("chat-header .more");
  await page.click("#options .mark-unread");
  await until("the conversation is closed", async () => !page.url().includes("un-bob"));
  for (const each of [page, other]) {
    await until("it has a dot", () => entry(each, "un-bob").locator(".badge.mark").isVisible());
    expect(await entry(each, "un-bob").locator(".number").innerText()).toBe("");
    await until("the title counts it", async () => (await each.title()) === "(1) chatify");
  }
  await accessible(page);
  await other.reload();
  await until("it has a dot", () => entry(other, "un-bob").locator(".badge.mark").isVisible());
  await entry(other, "un-bob").click();
  for (const each of [page, other])
    await until("the dot disappears", async () => !(await entry(each, "un-bob").locator(".badge").isVisible()));
  const [row] = await me.json<Record<string, unknown>[]>("/conversations");
  expect(row).not.toHaveProperty("marked_unread_seq");
  expect(await me.json<unknown>("/unread_counts/un-ann")).toEqual({});
  // Opened without a network, it is stored once there is one.
  await me.post("/conversations", { name: "un-bob", marked_unread: true });
  await until("it has a dot", () => entry(page, "un-bob").locator(".badge.mark").isVisible());
  await page.route("**/conversations", (route) =>
    route.request().method() === "POST" ? route.abort() : route.continue(),
  );
  await entry(page, "un-bob").click();
  await until("the dot disappears", async () => !(await entry(page, "un-bob").locator(".badge").isVisible()));
  await page.unroute("**/conversations");
  await until(
    "it is stored",
    async () => !("marked_unread_seq" in (await me.json<object[]>("/conversations"))[0]!),
    20_000,
  );
});

test("does everything with the keyboard alone", async () => {
  const { me } = await user("ke-ann", "ke-bob", "ke-carol");
  const page = await chat.open(me);
  await lists(page, "ke-carol", "ke-bob");
  const focused = () => page.evaluate(() => (document.activeElement as HTMLElement)?.innerText.trim());
  const focusedName = () => page.evaluate(() => (document.activeElement as HTMLElement)?.dataset["name"]);
  await page.focus("conversation-list input");
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("ArrowDown");
  expect(await focusedName()).toBe("ke-bob");
  await page.keyboard.press("ArrowRight");
  await until("the menu is open", async () => (await focused()) === "Pin");
  await page.keyboard.press("Enter");
  await lists(page, "ke-bob", "ke-carol");
  await until("the entry has the focus", async () => (await focusedName()) === "ke-bob");
  await page.keyboard.press("Shift+F10");
  await until("the menu is open", async () => (await focused()) === "Unpin");
  await page.keyboard.press("Escape");
  expect(await focusedName()).toBe("ke-bob");
  await page.keyboard.press("ArrowRight");
  await until("the menu is open", async () => (await focused()) === "Unpin");
  await page.keyboard.press("ArrowDown");
  expect(await focused()).toBe("Mute");
  await page.keyboard.press("Enter");
  await until("the times are shown", async () => (await focused()) === "For 8 hours");
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("Enter");
  await until("it is muted", () => entry(page, "ke-bob").locator(".muted").isVisible());
  expect(await focusedName()).toBe("ke-bob");
  await page.keyboard.press("ArrowRight");
  await until("the menu is open", async () => (await focused()) === "Unpin");
  await page.keyboard.press("End");
  expect(await focused()).toBe("Archive");
  await page.keyboard.press("Enter");
  await lists(page, "ke-carol");
  expect(await focusedName()).toBe("ke-carol");
  await page.keyboard.press("Shift+Tab");
  expect(await focused()).toMatch(/^Archived/);
  await page.keyboard.press("Enter");
  await lists(page, "ke-bob");
  await page.keyboard.press("Tab");
  expect(await focusedName()).toBe("ke-bob");
  await page.keyboard.press("Escape");
  await lists(page, "ke-carol");
  expect(await focused()).toMatch(/^Archived/);
  await page.keyboard.press("Control+z");
  await lists(page, "ke-bob", "ke-carol");
});

test("on a phone, a long press opens the menu, and the system's back closes the archive", async () => {
  const { me } = await user("ph-ann", "ph-bob", "ph-carol");
  const page = await chat.open(me, "/", { viewport: { width: 390, height: 800 }, hasTouch: true, isMobile: true });
  await lists(page, "ph-carol", "ph-bob");
  const { x, y } = (await entry(page, "ph-bob").boundingBox())!;
  const session = await page.context().newCDPSession(page);
  const touch = (type: string, points: object[]) =>
    session.send("Input.dispatchTouchEvent", { type: type as "touchStart", touchPoints: points as never });
  await touch("touchStart", [{ x: x + 60, y: y + 20 }]);
  await page.waitForSelector(`${MENU} :text("Archive")`);
  await touch("touchEnd", []);
  await accessible(page);
  await item(page, "Archive").tap();
  await lists(page, "ph-carol");
  await page.locator(".archive-row").tap();
  await lists(page, "ph-bob");
  await entry(page, "ph-bob").tap();
  await page.waitForSelector("chat-header h2:visible");
  await page.fill("message-composer textarea", "back to the list");
  await page.locator("message-composer .send").tap();
  await page.waitForSelector(".message:has-text('back to the list')");
  await page.goBack();
  await page.waitForSelector(".archive-empty:visible");
  await page.goBack();
  await lists(page, "ph-bob", "ph-carol");
});

test("shows an unsent draft in red, in the list only", async () => {
  const { me } = await user("dr-ann", "dr-bob", "dr-carol");
  const page = await chat.open(me, "/#dr-bob");
  await page.keyboard.type("Shall we");
  await entry(page, "dr-carol").click();
  const preview = entry(page, "dr-bob").locator(".preview");
  await until("the draft is shown", async () => (await preview.innerText()) === "Shall we");
  const label = await preview.evaluate((element) => {
    const { content, color } = getComputedStyle(element, "::before");
    return { content, isOther: color !== getComputedStyle(element).color };
  });
  expect(label).toEqual({ content: '"Draft: "', isOther: true });
});
