/** Times on a page that stays open while the device travels, midnight passes, or its owner changes how times are written. Real Chromium. */

import { afterAll, afterEach, beforeAll, expect, test } from "bun:test";

import type { Browser, CDPSession, Page } from "playwright-core";

import { closeWindows, launch } from "../support/browser.ts";
import { type Person, startApp, type TestApp } from "../support/harness.ts";
import { until } from "../support/until.ts";

let browser: Browser;
let app: TestApp;
let ann: Person;
let url: string;

/** 23:40 in Athens, where it is summer; 20:40 in London. */
const AT = "2026-07-14T20:40:00Z";

beforeAll(async () => {
  [browser, app] = await Promise.all([launch(), startApp()]);
  url = app.url.replace("127.0.0.1", "localhost");
  const [bob] = await app.people("Bob");
  ann = await app.person("Ann");
  const tab = await bob!.open();
  for (const text of ["good evening", "good night"]) await tab.send("Ann", text);
  await app.sql`update messages set timestamp = ${AT}::timestamptz + seq * interval '15 minutes'`;
  await app.sql`update conversations set last_at = ${AT}::timestamptz + interval '30 minutes'`;
}, 60_000);

afterAll(async () => {
  await browser?.close();
  await app?.stop();
});

afterEach(() => closeWindows(browser));

async function open(path: string, options: Parameters<Browser["newContext"]>[0] = {}): Promise<Page> {
  const context = await browser.newContext({ locale: "en-GB", viewport: { width: 1_100, height: 760 }, ...options });
  const [name = "", value = ""] = ann.cookie.split(/=(.*)/s);
  await context.addCookies([{ name, value, url }]);
  const page = await context.newPage();
  await page.goto(url + path);
  return page;
}

/** The day lines and the times of a conversation, from top to bottom. */
const times = (page: Page) => page.locator("chat-thread .day:not(.new), chat-thread .message time").allTextContents();
async function shows(page: Page, ...wanted: string[]): Promise<void> {
  const same = async () => (await times(page)).join() === wanted.join();
  await until(`the page shows ${wanted.join(", ")}`, same, 5_000).catch(() => {}); // then what it shows instead is of interest
  expect(await times(page)).toEqual(wanted);
}
const sessions = new WeakMap<Page, Promise<CDPSession>>();
/** Puts the device into another time zone. Only the session that has put it into one can do so again. */
const travel = async (page: Page, timezoneId: string) => {
  if (!sessions.has(page)) sessions.set(page, page.context().newCDPSession(page));
  const devtools = await sessions.get(page)!;
  for (const zone of ["", timezoneId]) await devtools.send("Emulation.setTimezoneOverride", { timezoneId: zone });
};

test("a page whose device travels shows all times in the new zone, and its days", async () => {
  const page = await open("/#Bob");
  await travel(page, "Europe/London");
  await shows(page, "Tuesday 14 July", "21:55", "22:10");
  const title = () => page.locator("chat-thread .bubble").first().getAttribute("title");
  expect(await title()).toContain("21:55:00");
  await travel(page, "Asia/Kathmandu");
  await shows(page, "Wednesday 15 July", "2:40", "2:55");
  expect(await title()).toMatch(/\b0?2:40:00/);
  await travel(page, "Europe/Athens");
  await shows(page, "Tuesday 14 July", "23:55", "Wednesday 15 July", "0:10");
}, 60_000);

test("a page that is open at midnight says so in its day lines and its list", async () => {
  const page = await open("/login");
  await travel(page, "Europe/London");
  await page.clock.install({ time: new Date("2026-07-14T22:59:50Z") });
  await page.goto(`${url}/#Bob`);
  await shows(page, "Today", "21:55", "22:10");
  const when = page.locator('people-list a[data-name="Bob"] time');
  expect(await when.innerText()).toBe("22:10");
  await page.clock.runFor(15_000);
  await shows(page, "Yesterday", "21:55", "22:10");
  expect(await when.innerText()).toBe("Yesterday");
}, 60_000);

test("a page whose owner prefers another way to write times follows, and another language where none was chosen", async () => {
  const page = await open("/#Bob", { locale: "en-US" });
  await travel(page, "Europe/London");
  await shows(page, "Tuesday, July 14", "9:55 PM", "10:10 PM");
  const prefer = (...languages: string[]) =>
    page.evaluate((languages) => {
      Object.defineProperty(navigator, "languages", { configurable: true, get: () => languages });
      dispatchEvent(new Event("languagechange"));
    }, languages);
  await prefer("en-GB", "en");
  await shows(page, "Tuesday 14 July", "21:55", "22:10");
  await prefer("el-GR", "el");
  await shows(page, "Τρίτη 14 Ιουλίου", "21:55", "22:10");
  expect(await page.getAttribute("html", "lang")).toBe("el");
  expect(await page.getAttribute('language-choice [lang="el"]', "aria-pressed")).toBe("true");
}, 60_000);

test("the account page's times follow, too", async () => {
  const page = await open("/account");
  await travel(page, "Europe/London");
  const used = page.locator("device-list .use").first();
  await used.waitFor();
  const hour = async () => Number(/(\d\d):\d\d:\d\d/.exec((await used.getAttribute("title")) ?? "")?.[1]);
  await travel(page, "UTC");
  await until("it has a time", async () => !Number.isNaN(await hour()));
  await page.waitForTimeout(1_500);
  const before = await hour();
  await travel(page, "Asia/Tokyo");
  await until("it is nine hours later", async () => (await hour()) === (before + 9) % 24);
}, 60_000);
