/** Times on an open page while the device travels, midnight passes, or the time format changes. */

import { beforeAll, expect, test } from "bun:test";

import type { BrowserContextOptions, CDPSession, Page } from "playwright-core";

import { useBrowser } from "../support/browser.ts";
import type { Person } from "../support/harness.ts";
import { until } from "../support/until.ts";

const chat = useBrowser();
let ann: Person;

/** 23:40 in Athens, where it is summer; 20:40 in London. */
const AT = "2026-07-14T20:40:00Z";

beforeAll(async () => {
  const [bob] = await chat.server.people("Bob");
  ann = await chat.server.person("Ann");
  const tab = await bob!.open();
  for (const text of ["good evening", "good night"]) await tab.send("Ann", text);
  await chat.server.sql`update messages set timestamp = ${AT}::timestamptz + seq * interval '15 minutes'`;
  await chat.server.sql`update conversations set last_at = ${AT}::timestamptz + interval '30 minutes'`;
});

async function open(path: string, options: BrowserContextOptions = {}): Promise<Page> {
  const page = await chat.page(ann, options);
  await page.goto(chat.url + path);
  return page;
}

/** The day lines and the times of a conversation, from top to bottom. */
const times = (page: Page) => page.locator("chat-thread .day:not(.new), chat-thread .message time").allTextContents();
async function shows(page: Page, ...wanted: string[]): Promise<void> {
  const same = async () => (await times(page)).join() === wanted.join();
  await until(`the page shows ${wanted.join(", ")}`, same, 5_000).catch(() => {}); // the next line reports what it shows instead
  expect(await times(page)).toEqual(wanted);
}
const sessions = new WeakMap<Page, Promise<CDPSession>>();
/** Moves the device to another time zone. Only the session that set one can change it. */
const travel = async (page: Page, timezoneId: string) => {
  if (!sessions.has(page)) sessions.set(page, page.context().newCDPSession(page));
  const devtools = await sessions.get(page)!;
  for (const zone of ["", timezoneId]) await devtools.send("Emulation.setTimezoneOverride", { timezoneId: zone });
};

test("shows times and days in the zone that the device travels to", async () => {
  const page = await open("/#Bob");
  await travel(page, "Europe/London");
  await shows(page, "Tuesday 14 July", "21:55", "22:10");
  const title = () => page.locator("chat-thread .bubble").first().getAttribute("title");
  expect(await title()).toContain("21:55:00");
  await travel(page, "Asia/Kathmandu");
  await shows(page, "Wednesday 15 July", "02:40", "02:55");
  expect(await title()).toMatch(/\b0?2:40:00/);
  await travel(page, "Europe/Athens");
  await shows(page, "Tuesday 14 July", "23:55", "Wednesday 15 July", "00:10");
});

test("updates its day lines and its list at midnight", async () => {
  const page = await open("/login");
  await travel(page, "Europe/London");
  await page.clock.install({ time: new Date("2026-07-14T22:59:50Z") });
  await page.goto(`${chat.url}/#Bob`);
  await shows(page, "Today", "21:55", "22:10");
  const when = page.locator('conversation-list a[data-name="Bob"] time');
  expect(await when.innerText()).toBe("22:10");
  await page.clock.runFor(15_000);
  await shows(page, "Yesterday", "21:55", "22:10");
  expect(await when.innerText()).toBe("Yesterday");
});

test("follows the browser's time format, and its language unless one was chosen", async () => {
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
});

test("shows the account page's times in the new zone", async () => {
  const page = await open("/account");
  const used = page.locator("device-list .last-used").first();
  await used.waitFor();
  const hour = async () => Number(/(\d\d):\d\d:\d\d/.exec((await used.getAttribute("title")) ?? "")?.[1]);
  const [device] = await ann.json<{ last_used_at: string }[]>("/sessions");
  const utc = new Date(device!.last_used_at).getUTCHours();
  for (const [zone, offset] of [
    ["UTC", 0],
    ["Asia/Tokyo", 9],
  ] as const) {
    await travel(page, zone);
    await until(`the time is that of ${zone}`, async () => (await hour()) === (utc + offset) % 24);
  }
});
