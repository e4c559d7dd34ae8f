/**
 * The page with 10,000 messages in a conversation, 2,000 conversations and 5,000 users. Scrolling must reach 60 frames/s. On a machine
 * too busy for that, the CPU time of the page's main thread shows whether it could: it must fit a frame.
 */

import { expect, test } from "bun:test";

import type { CDPSession, Page } from "playwright-core";

import { percentile } from "../../tools/support/statistics.ts";
import { nameOf } from "../../tools/support/users.ts";
import { cachedTexts, useBrowser } from "../support/browser.ts";
import { spreadOverTime, startFilledApp } from "../support/filled_app.ts";
import { until } from "../support/until.ts";

const PEOPLE = 5_000;
const CONVERSATIONS = 2_000;
const MESSAGES = 10_000;
const FRAME_MS = 1_000 / 60;
/** A 95th percentile of the time between frames above this means that frames were dropped. */
const LATE = 1.2;
/** Another test file with its server and browser may share the two cores. */
const BUSY = 4;
/** Programs that evict the CPU's caches raise the cost of a frame: one of so many tries has to be undisturbed. */
const TRIES = 6;
const READER = nameOf(0);
const LONG = nameOf(1);

const chat = useBrowser(() =>
  startFilledApp(async (database) => {
    await database.addUsers(PEOPLE);
    await database.addConversations([[0, 1]], MESSAGES);
    const others = Array.from({ length: CONVERSATIONS - 1 }, (_, i) => [0, 2 + i] as const);
    await database.addConversations(others, 3, 1);
    await spreadOverTime(database);
    await database.settle();
  }),
);

const enter = (peer?: string): Promise<Page> =>
  peer === undefined
    ? chat.open(chat.server.user(0))
    : chat.open(chat.server.user(0), `/#${peer}`, { ready: "chat-thread .message" });

interface TraceEvent {
  readonly name: string;
  readonly pid: number;
  readonly tid: number;
  /** CPU time in microseconds. */
  readonly tdur?: number;
  readonly args?: { readonly name?: string };
}

/** The main thread's CPU time per frame and the gaps between frames during an act, in milliseconds. */
async function frames(page: Page, cdp: CDPSession, happens: () => Promise<void>) {
  const events: TraceEvent[] = [];
  const collect = ({ value }: { value: unknown[] }) => void events.push(...(value as TraceEvent[]));
  cdp.on("Tracing.dataCollected", collect);
  await cdp.send("Tracing.start", { categories: "cc,toplevel,__metadata", transferMode: "ReportEvents" });
  await page.evaluate(() => {
    const seen: number[] = [];
    const frame = (at: number) => {
      seen.push(at);
      if (Reflect.get(globalThis, "watching") === seen) requestAnimationFrame(frame);
    };
    Reflect.set(globalThis, "watching", seen);
    requestAnimationFrame(frame);
  });
  await happens();
  const at = await page.evaluate(() => {
    const seen = Reflect.get(globalThis, "watching") as number[];
    Reflect.set(globalThis, "watching", undefined);
    return seen;
  });
  const complete = new Promise<void>((resolve) => cdp.once("Tracing.tracingComplete", () => resolve()));
  await cdp.send("Tracing.end");
  await complete;
  cdp.off("Tracing.dataCollected", collect);
  const work = events.filter(({ name, tdur }) => name === "ProxyMain::BeginMainFrame" && tdur !== undefined);
  const costs = work.map(({ tdur = 0 }) => tdur / 1_000);
  const gaps = at.slice(1).map((time, i) => time - (at[i] ?? 0));
  expect(costs.length, "frames that were traced").toBeGreaterThan(50);
  return {
    cost: { p95: percentile(costs, 0.95), p99: percentile(costs, 0.99) },
    gap: percentile(gaps, 0.95),
    words: `${((1_000 * gaps.length) / (at.at(-1)! - at[0]!)).toFixed(0)} frames/s, 95 % within ${percentile(gaps, 0.95).toFixed(1)} ms; a frame costs the page p50 ${percentile(costs, 0.5).toFixed(1)}, p95 ${percentile(costs, 0.95).toFixed(1)}, p99 ${percentile(costs, 0.99).toFixed(1)}, at most ${Math.max(...costs).toFixed(1)} ms`,
  };
}

/** Measures until the frames come on time or cost little enough, or fails. */
async function smooth(what: string, measure: () => ReturnType<typeof frames>): Promise<void> {
  for (let tries = 1; ; tries++) {
    const { words, cost, gap } = await measure();
    process.stdout.write(`${what}: ${words}\n`);
    const isSmooth = gap < FRAME_MS * LATE && cost.p99 < 2 * FRAME_MS;
    const isCheap = cost.p95 < FRAME_MS && cost.p99 < 2 * FRAME_MS && gap < FRAME_MS * BUSY;
    if (isSmooth) return;
    if (!isCheap && tries < TRIES) continue;
    expect(cost.p95).toBeLessThan(FRAME_MS);
    expect(cost.p99).toBeLessThan(2 * FRAME_MS);
    expect(gap).toBeLessThan(FRAME_MS * BUSY);
    return;
  }
}

/** Turns the wheel over an element. */
async function wheel(page: Page, cdp: CDPSession, over: string, by: number, forMs: number): Promise<void> {
  const box = await page.locator(over).boundingBox();
  if (!box) throw new Error(`${over} is not visible`);
  const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
  for (const end = performance.now() + forMs; performance.now() < end; await Bun.sleep(30)) {
    await cdp.send("Input.dispatchMouseEvent", { type: "mouseWheel", x, y, deltaX: 0, deltaY: by });
  }
}

const firstSeq = (page: Page) =>
  page.evaluate(() => Number(document.querySelector<HTMLElement>("chat-thread .message")?.dataset["seq"]));

test("scrolls ten thousand messages at 60 frames/s", async () => {
  const page = await enter(LONG);
  const cdp = await page.context().newCDPSession(page);
  await until("messages are stored", async () => (await cachedTexts(page, READER, LONG)).length > 0);
  for (const [way, by] of [
    ["up", -400],
    ["up, fast", -1_200],
    ["down", 400],
  ] as const) {
    await smooth(way, async () => {
      const before = await firstSeq(page);
      const measured = await frames(page, cdp, () => wheel(page, cdp, "chat-thread .scroller", by, 3_000));
      const after = await firstSeq(page);
      expect(Math.sign(after - before)).toBe(Math.sign(by));
      return { ...measured, words: `${Math.abs(after - before)} messages on, ${measured.words}` };
    });
  }
}, 60_000);

test("scrolls two thousand conversations at 60 frames/s, to the last and back", async () => {
  const page = await enter();
  const cdp = await page.context().newCDPSession(page);
  const rows = page.locator("conversation-list .conversations > li");
  const turn = (by: number, forMs: number) => wheel(page, cdp, "conversation-list .scroll", by, forMs);
  const last = async () => (await rows.last().getAttribute("aria-posinset")) === String(CONVERSATIONS);
  const first = async () => (await rows.first().getAttribute("aria-posinset")) === "1";
  const reach = async (by: number, there: () => Promise<boolean>) => {
    const gets = async () => (await there()) || (await turn(by * 8, 200), await there());
    await until("the end is reached", gets, 60_000);
    expect(await rows.count()).toBeLessThan(100);
  };
  for (const [way, by, begin, end] of [
    ["down", 400, first, last],
    ["up", -400, last, first],
  ] as const) {
    await smooth(`the list, ${way}`, async () => {
      await reach(-by, begin); // another try begins at the other end
      const measured = await frames(page, cdp, () => turn(by, 3_000));
      await reach(by, end);
      return measured;
    });
  }
}, 180_000);

test("finds a name among five thousand users while it is typed", async () => {
  const page = await enter();
  const found = page.locator("conversation-list .found a");
  const took: number[] = [];
  for (const query of ["p04", "p049", "p0499", "p04999"]) {
    await page.fill("conversation-list input", "");
    await page.fill("conversation-list input", query);
    const begun = performance.now();
    await found.first().waitFor();
    took.push(performance.now() - begun);
    for (const name of await found.allInnerTexts()) expect(name).toStartWith(query);
  }
  process.stdout.write(
    `people found after ${took.map((ms) => ms.toFixed(0)).join(", ")} ms, 120 of which wait for the next letter\n`,
  );
  expect(percentile(took, 0.5)).toBeLessThan(250 * BUSY);
}, 60_000);

test("types without delay while forty messages a second arrive", async () => {
  const page = await enter(LONG);
  await until(
    "the whole list is loaded",
    () =>
      page.evaluate(async (all) => {
        const scroll = document.querySelector("conversation-list .scroll");
        scroll?.scrollTo(0, scroll.scrollHeight);
        await new Promise(requestAnimationFrame);
        return document.querySelector("conversation-list li:last-child")?.getAttribute("aria-setsize") === String(all);
      }, CONVERSATIONS),
    60_000,
  );
  await page.evaluate(() => document.querySelector("conversation-list .scroll")?.scrollTo(0, 0));
  const tabs = await Promise.all([1, 2, 3, 4].map((one) => chat.server.user(one).open()));
  const turn = { over: false };
  const writing = (async () => {
    let sent = 0;
    for (; !turn.over; await Bun.sleep(100))
      for (const tab of tabs) void tab.say({ to: READER, message: `and ${++sent}` });
    return sent;
  })();
  await page.evaluate(() => {
    const delays: number[] = [];
    Reflect.set(globalThis, "delays", delays);
    const field = document.querySelector("textarea");
    // From the key to the frame that shows its letter.
    field?.addEventListener("beforeinput", (event) => {
      requestAnimationFrame(() => setTimeout(() => delays.push(performance.now() - event.timeStamp), 0));
    });
  });
  const text = "what somebody writes while others write too ".repeat(3).trim();
  await page.focus("textarea");
  await page.keyboard.type(text, { delay: 50 });
  turn.over = true;
  const sent = await writing;
  await page.waitForFunction((all) => Reflect.get(globalThis, "delays").length >= all, text.length);
  const delays = await page.evaluate(() => Reflect.get(globalThis, "delays") as number[]);
  process.stdout.write(
    `${text.length} letters while ${sent} messages came: shown after p50 ${percentile(delays, 0.5).toFixed(0)}, p95 ${percentile(delays, 0.95).toFixed(0)}, at most ${Math.max(...delays).toFixed(0)} ms\n`,
  );
  expect(await page.inputValue("textarea")).toBe(text);
  expect(delays).toHaveLength(text.length);
  expect(percentile(delays, 0.95)).toBeLessThan(50 * BUSY);
  await until("all messages are listed", () =>
    page.evaluate(
      (last) =>
        [...document.querySelectorAll("conversation-list .preview")].some(({ textContent }) => textContent === last),
      `and ${sent}`,
    ),
  );
}, 60_000);
