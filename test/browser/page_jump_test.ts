/** Going from a found message anywhere in a conversation of thousands. On two pods. */

import { beforeAll, expect, setDefaultTimeout, test } from "bun:test";

import type { Page } from "playwright-core";

import { peerOnScreen, texts, useBrowser, write } from "../support/browser.ts";
import { type Person, startTwoPods } from "../support/harness.ts";
import { fillConversation, focusAt, isContiguous, isSeen, seqs } from "../support/long_conversation.ts";
import { pageErrors } from "../support/page_errors.ts";
import { until } from "../support/until.ts";

setDefaultTimeout(60_000);

const COUNT = 3_000;

const chat = useBrowser(startTwoPods);
let ann: Person;

beforeAll(async () => {
  [ann] = (await chat.server.one.people("ann", "bob")) as [Person, Person];
  const special = { 1_500: "I am 100 % sure: 50_50", 2_700: "Our trip to Crème brûlée town" };
  await fillConversation(chat.server.one, ["ann", "bob"], { count: COUNT, special });
});

const SEARCH = "conversation-list input[type=search]";
const hit = (page: Page) => page.locator(".hit");
const jump = (page: Page) => page.locator(".jump");
/** Searches, opens the only hit, and waits until its message is focused. */
async function openHit(page: Page, text: string, seq: number): Promise<void> {
  await page.fill(SEARCH, text);
  await until(`one hit for ${text}`, async () => (await hit(page).count()) === 1);
  await hit(page).click();
  await focusAt(page, seq);
}

test("opens a conversation at a message far away, scrolls on both ways, and returns to the newest", async () => {
  const page = await chat.open(ann, "/");
  const requested: string[] = [];
  page.on("request", (request) => requested.push(request.url()));
  await openHit(page, "0 %", 1_500);
  expect(await peerOnScreen(page)).toBe("bob");
  expect(await isSeen(page, 1_500)).toBe(true);
  expect(await page.locator(".message.found").getAttribute("data-seq")).toBe("1500");
  expect(await page.inputValue(SEARCH)).toBe("0 %"); // the results stay
  // Not everything up to it.
  expect(requested.filter((url) => url.includes("/messages/")).length).toBeLessThanOrEqual(5);

  const scroller = page.locator("chat-thread .scroller");
  for (const [what, to] of [
    ["older", (all: number[]) => all[0]! < 1_300],
    ["newer", (all: number[]) => all.at(-1)! > 1_700],
  ] as const) {
    await until(`${what} messages`, async () => {
      await scroller.evaluate((element, way) => element.scrollBy(0, way * 700), what === "older" ? -1 : 1);
      return to(await seqs(page));
    });
    expect(isContiguous(await seqs(page))).toBe(true);
  }
  await jump(page).click();
  await until("the newest are shown", async () => (await seqs(page)).at(-1) === COUNT);
  expect(isContiguous(await seqs(page))).toBe(true);
  await until("the end is on screen", () => isSeen(page, COUNT));
  expect(await jump(page).isVisible()).toBe(false);
});

test("scrolls from a distant message to the newest without a hole", async () => {
  const page = await chat.open(ann, "/#bob");
  await openHit(page, "creme", 2_700);
  const scroller = page.locator("chat-thread .scroller");
  await until("the newest message", async () => {
    await scroller.evaluate((element) => element.scrollBy(0, 1_500));
    const all = await seqs(page);
    if (!isContiguous(all)) throw new Error(`a hole: ${all.join()}`);
    return all.at(-1) === COUNT && !(await jump(page).isVisible());
  });
});

test("keeps messages that arrive meanwhile unread until the user returns to them", async () => {
  const [dora, eve] = (await chat.server.one.people("dora", "eve")) as [Person, Person];
  await fillConversation(chat.server.one, ["dora", "eve"], { count: COUNT, special: { 1_000: "needle" } });
  const page = await chat.open(dora, "/");
  await openHit(page, "needle", 1_000);
  const before = await seqs(page);
  const tab = await eve.at(chat.server.two).open({ watch: [] });
  for (const text of ["first news", "second news", "third news"]) await tab.send("dora", text);
  await until("the button counts them", async () => (await jump(page).innerText()).includes("3 new"));
  expect(await seqs(page)).toEqual(before);
  expect(await isSeen(page, 1_000)).toBe(true);
  expect(await page.title()).toBe("(3) chatify");
  expect(await dora.json("/unread_counts/dora")).toEqual({ eve: 3 });
  await tab.send("dora", "fourth news");
  await jump(page).click();
  await until(
    "they are shown",
    async () => (await texts(page)).slice(-4).join() === "first news,second news,third news,fourth news",
  );
  expect(await page.locator(".day.new").count()).toBe(1);
  expect(isContiguous(await seqs(page))).toBe(true);
  await until("they are read", async () => JSON.stringify(await dora.json("/unread_counts/dora")) === "{}");

  // A distant message shows its changes; sending returns to the newest.
  await hit(page).click();
  await focusAt(page, 1_000);
  tab.say({ type: "react", peer: "dora", seq: 1_000, emoji: "👍", ref: "react-far-away" });
  await page.waitForSelector('.message[data-seq="1000"] .reaction');
  await write(page, "my answer");
  await until("the answer is shown", async () => (await texts(page)).at(-1) === "my answer");
  expect(isContiguous((await seqs(page)).filter((seq) => seq > 0))).toBe(true);
});

test("keeps the distant messages over a reconnect, and loads missed ones", async () => {
  const [fay, guy] = (await chat.server.one.people("fay", "guy")) as [Person, Person];
  await fillConversation(chat.server.one, ["fay", "guy"], { count: COUNT, special: { 500: "needle" } });
  const page = await chat.open(fay, "/");
  await openHit(page, "needle", 500);
  await page.context().setOffline(true);
  await page.evaluate(() => {
    const { send } = WebSocket.prototype;
    WebSocket.prototype.send = function () {
      this.close(); // an open socket outlives the network until its probe times out
    };
    addEventListener("online", () => (WebSocket.prototype.send = send));
    dispatchEvent(new Event("offline"));
  });
  await page.waitForSelector("connection-banner:visible");
  const tab = await guy.at(chat.server.two).open({ watch: [] });
  await tab.send("fay", "missed");
  tab.say({ type: "react", peer: "fay", seq: 500, emoji: "❤️", ref: "react-while-away" });
  await tab.next("changed");
  const before = await seqs(page);
  await page.context().setOffline(false);
  await page.waitForSelector('.message[data-seq="500"] .reaction', { timeout: 6000 });
  await until("the button counts it", async () => (await jump(page).innerText()).includes("1 new"));
  expect(await seqs(page)).toEqual(before);
  await jump(page).click();
  await until("it is shown", async () => (await texts(page)).at(-1) === "missed");
  expect(isContiguous(await seqs(page))).toBe(true);
});

test("opens a conversation at its end when a message cannot be loaded", async () => {
  const page = await chat.open(ann, "/");
  pageErrors.allow(/ERR_FAILED/);
  await page.route(/\/messages\/.*after=/, (route) => route.abort("failed"));
  await page.fill(SEARCH, "0 %");
  await hit(page).click();
  await page.locator(".toast", { hasText: "could not be loaded" }).waitFor();
  await until("the newest are shown", async () => (await seqs(page)).at(-1) === COUNT);
  expect(await page.locator("chat-thread .skeleton").isVisible()).toBe(false);
});
