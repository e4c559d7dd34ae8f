/**
 * A page with a long life behind it, in Chromium: ten thousand messages in a conversation, two thousand conversations, five thousand people. A
 * frame is 1/60 s, so what the page does for one must take less of a processor than that, however many others want it at the moment; what a
 * person sees besides, frames a second and milliseconds to an answer, is told, and bounded for a machine that does other things as well.
 */

import { afterAll, afterEach, beforeAll, expect, test } from "bun:test";

import type { Browser, CDPSession, Page } from "playwright-core";

import { TestDatabase } from "../../tools/support/database.ts";
import { percentile } from "../../tools/support/statistics.ts";
import { cookieOf, nameOf, SESSION_SECRET } from "../../tools/support/users.ts";
import { closeWindows, launch } from "../support/browser.ts";
import { migratedDatabase, Person, startApp, type TestApp } from "../support/harness.ts";
import { until } from "../support/until.ts";

const PEOPLE = 5_000;
const CONVERSATIONS = 2_000;
const MESSAGES = 10_000;
const FRAME_MS = 1_000 / 60;
/** Two test files, their servers and their browsers share two processors. */
const BUSY = 4;
/** Who takes the caches of a processor makes its time dearer for everybody: one of so many tries has to be undisturbed. */
const TRIES = 6;
const READER = nameOf(0);
const LONG = nameOf(1);

let browser: Browser;
let app: TestApp;
let url: string;

beforeAll(async () => {
  const database = await migratedDatabase();
  const bench = new TestDatabase("size", database);
  await bench.addUsers(PEOPLE);
  await bench.addConversations([[0, 1]], MESSAGES);
  const others = Array.from({ length: CONVERSATIONS - 1 }, (_, i) => [0, 2 + i] as const);
  await bench.addConversations(others, 3, 1);
  // One after the other, as in a life.
  await bench.sql`update conversations set last_at = now() - id * interval '1 minute'`;
  await bench.sql`update messages m set timestamp = c.last_at - (c.last_seq - m.seq) * interval '1 second' from conversations c where c.id = m.conversation_id`;
  await bench.settle();
  await bench.sql.end();
  app = await startApp({ database, env: { SESSION_SECRET } });
  url = app.url.replace("127.0.0.1", "localhost");
  browser = await launch();
}, 60_000);

afterAll(async () => {
  await browser?.close();
  await app?.stop();
});

afterEach(() => closeWindows(browser));

async function enter(address = ""): Promise<Page> {
  const context = await browser.newContext({ locale: "en-GB", viewport: { width: 1_000, height: 700 } });
  const [name = "", value = ""] = cookieOf(0).split("=");
  await context.addCookies([{ name, value, url }]);
  const page = await context.newPage();
  await page.goto(`${url}/${address}`);
  await page.waitForSelector(address ? "chat-thread .message" : "people-list .conversations > li");
  return page;
}

interface TraceEvent {
  readonly name: string;
  readonly pid: number;
  readonly tid: number;
  /** Processor time, microseconds. */
  readonly tdur?: number;
  readonly args?: { readonly name?: string };
}

/** What frames cost the page's own thread while something happens, and how far apart they were, in milliseconds. */
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

/** Holds what frames cost against the bounds, and says it. */
async function smooth(what: string, measure: () => ReturnType<typeof frames>): Promise<void> {
  for (let tries = 1; ; tries++) {
    const { words, cost, gap } = await measure();
    process.stdout.write(`${what}: ${words}\n`);
    const holds = cost.p95 < FRAME_MS && cost.p99 < 2 * FRAME_MS && gap < FRAME_MS * BUSY;
    if (!holds && tries < TRIES) continue;
    expect(cost.p95).toBeLessThan(FRAME_MS);
    expect(cost.p99).toBeLessThan(2 * FRAME_MS);
    expect(gap).toBeLessThan(FRAME_MS * BUSY);
    return;
  }
}

/** Turns the wheel over something, as fast as people do. */
async function wheel(page: Page, cdp: CDPSession, over: string, by: number, forMs: number): Promise<void> {
  const box = await page.locator(over).boundingBox();
  if (!box) throw new Error(`${over} is not to be seen`);
  const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
  for (const end = performance.now() + forMs; performance.now() < end; await Bun.sleep(30)) {
    await cdp.send("Input.dispatchMouseEvent", { type: "mouseWheel", x, y, deltaX: 0, deltaY: by });
  }
}

const firstSeq = (page: Page) =>
  page.evaluate(() => Number(document.querySelector<HTMLElement>("chat-thread .message")?.dataset["seq"]));

test("ten thousand messages scroll at 60 frames a second, up and down", async () => {
  const page = await enter(`#${LONG}`);
  const cdp = await page.context().newCDPSession(page);
  await page.waitForTimeout(2_000); // what it keeps for offline
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
  await page.context().close();
}, 60_000);

test("two thousand conversations scroll at 60 frames a second, to the very last and back", async () => {
  const page = await enter();
  const cdp = await page.context().newCDPSession(page);
  const rows = page.locator("people-list .conversations > li");
  const turn = (by: number, forMs: number) => wheel(page, cdp, "people-list .scroll", by, forMs);
  const last = async () => (await rows.last().getAttribute("aria-posinset")) === String(CONVERSATIONS);
  const first = async () => (await rows.first().getAttribute("aria-posinset")) === "1";
  const reach = async (by: number, there: () => Promise<boolean>) => {
    const gets = async () => (await there()) || (await turn(by * 8, 200), await there());
    await until("the end is there", gets, 60_000);
    expect(await rows.count()).toBeLessThan(100);
  };
  for (const [way, by, begin, end] of [
    ["down", 400, first, last],
    ["up", -400, last, first],
  ] as const) {
    await smooth(`the list, ${way}`, async () => {
      await reach(-by, begin); // tried once more, it is at the other end
      const measured = await frames(page, cdp, () => turn(by, 3_000));
      await reach(by, end);
      return measured;
    });
  }
  await page.context().close();
}, 180_000);

test("a name is found among five thousand people while it is typed, accents or not", async () => {
  const page = await enter();
  const found = page.locator("people-list .found a");
  const took: number[] = [];
  for (const query of ["p04", "p049", "p0499", "p04999"]) {
    await page.fill("people-list input", "");
    await page.fill("people-list input", query);
    const begun = performance.now();
    await found.first().waitFor();
    took.push(performance.now() - begun);
    for (const name of await found.allInnerTexts()) expect(name).toStartWith(query);
  }
  process.stdout.write(
    `people found after ${took.map((ms) => ms.toFixed(0)).join(", ")} ms, 120 of which it waits for the next letter\n`,
  );
  expect(percentile(took, 0.5)).toBeLessThan(250 * BUSY);
  await page.context().close();
}, 60_000);

test("typing waits for nothing, though forty messages a second come in and two thousand conversations are listed", async () => {
  const page = await enter(`#${LONG}`);
  await until(
    "the whole list is loaded",
    () =>
      page.evaluate(async (all) => {
        const scroll = document.querySelector("people-list .scroll");
        scroll?.scrollTo(0, scroll.scrollHeight);
        await new Promise(requestAnimationFrame);
        return document.querySelector("people-list li:last-child")?.getAttribute("aria-setsize") === String(all);
      }, CONVERSATIONS),
    60_000,
  );
  await page.evaluate(() => document.querySelector("people-list .scroll")?.scrollTo(0, 0));
  const tabs = await Promise.all([1, 2, 3, 4].map((one) => new Person(app.url, nameOf(one), cookieOf(one)).open()));
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
    // From the key to the frame that shows it.
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
  await until("all of them are there", () =>
    page.evaluate(
      (last) => [...document.querySelectorAll("people-list .last")].some(({ textContent }) => textContent === last),
      `and ${sent}`,
    ),
  );
  await page.context().close();
}, 60_000);
