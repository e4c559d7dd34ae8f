/** Pages that stay open while their server is replaced by one with other pages. Real processes, real Chromium. */

import { afterAll, afterEach, beforeAll, expect, test } from "bun:test";
import { appendFileSync, cpSync, mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import type { Browser, Page } from "playwright-core";

import { closeWindows, launch, Server } from "../support/browser.ts";
import { freePort, migratedDatabase, Person, ROOT } from "../support/harness.ts";
import { until } from "../support/until.ts";

const root = mkdtempSync(join(tmpdir(), "chatify-upgrade-"));
let browser: Browser;
let old: Server;
let next: Server;
let ann: Person;

beforeAll(async () => {
  const [port, database] = [freePort(), await migratedDatabase()];
  makeNext();
  browser = await launch();
  [old, next] = [new Server(port, database), new Server(port, database, root)];
  await old.start();
  ann = await Person.signUp(old.url, "Ann");
}, 60_000);
afterAll(async () => {
  await browser?.close();
  for (const server of [old, next]) await server?.end("SIGTERM");
  rmSync(root, { recursive: true, force: true });
});
afterEach(async () => {
  await closeWindows(browser);
  await next.end("SIGTERM");
  await old.end("SIGTERM");
  await old.start();
});

/** The next version: a file works only with another one of its version, and one is no more. */
function makeNext(): void {
  for (const part of ["src", "static", "sql", "package.json"])
    cpSync(join(ROOT, part), join(root, part), { recursive: true });
  symlinkSync(join(ROOT, "node_modules"), join(root, "node_modules"));
  const js = join(root, "static", "js");
  appendFileSync(join(js, "util", "dom.js"), "export const next = true;\n");
  appendFileSync(
    join(js, "elements", "keys_sheet.js"),
    `import { next } from "../util/dom.js";\nglobalThis.next = next;\n`,
  );
  rmSync(join(root, "static", "js", "account", "data_export.js"));
}

async function upgrade(): Promise<void> {
  await old.end("SIGTERM");
  await next.start();
}

async function open(hidden = false): Promise<Page> {
  const context = await browser.newContext({ locale: "en-GB" });
  const [name = "", value = ""] = ann.cookie.split(/=(.*)/s);
  await context.addCookies([{ name, value, url: old.url }]);
  const page = await context.newPage();
  await page.clock.install();
  await page.addInitScript((isHidden) => {
    if (isHidden) Object.defineProperty(document, "visibilityState", { get: () => "hidden" });
  }, hidden);
  await page.goto(`${old.url}/#Ann`);
  await page.waitForSelector("message-composer textarea:visible");
  return page;
}

const versionOf = (page: Page) =>
  page.evaluate(() => document.querySelector<HTMLScriptElement>("script[type=module]")?.src.split("/")[4]);
const OFFER = "connection-line[data-state=update]:visible";
const offers = (page: Page) =>
  until("it offers to reload", async () => (await page.locator(OFFER).count()) === 1, 20_000);
/** Waits until the page has been loaded again, whole. */
async function becomes(page: Page, isIt: (version: string | undefined) => boolean): Promise<void> {
  await until("it is the other page", async () => isIt(await versionOf(page).catch(() => undefined)), 20_000);
  await page.waitForSelector("message-composer textarea:visible");
}

test("a page loads the rest of its files in its own version, and offers to reload", async () => {
  const page = await open();
  const before = await versionOf(page);
  await page.fill("message-composer textarea", "half a sent");
  await upgrade();
  await page.waitForSelector(OFFER, { timeout: 20_000 });
  expect(await page.innerText(OFFER)).toContain("has been updated");
  await page.locator("message-composer textarea").blur();
  await page.keyboard.press("?");
  await page.waitForSelector(".keys-sheet");
  expect(await page.evaluate(() => Reflect.get(globalThis, "next"))).toBeUndefined();
  await page.keyboard.press("Escape");
  await page.click(`${OFFER} button`);
  await becomes(page, (version) => version !== undefined && version !== before);
  await until("the text is there", async () => (await page.inputValue("message-composer textarea")) === "half a sent");
  expect(await page.locator(OFFER).count()).toBe(0);
}, 60_000);

test("a page that nobody looks at reloads by itself, once for a version", async () => {
  const page = await open(true);
  const before = await versionOf(page);
  await upgrade();
  await offers(page);
  await page.clock.fastForward(61_000);
  await becomes(page, (version) => version !== undefined && version !== before);
  // In the middle of an upgrade the pages may be those of another pod once more.
  await next.end("SIGTERM");
  await old.start();
  await offers(page);
  await page.clock.fastForward(61_000);
  await becomes(page, (version) => version === before);
  await old.end("SIGTERM");
  await next.start();
  await offers(page);
  await page.clock.fastForward(61_000);
  await Bun.sleep(500);
  expect(await versionOf(page)).toBe(before);
}, 90_000);

test("files of another version are those of that version, also those that are no more; of an unknown one the current", async () => {
  const page = await open();
  const before = await versionOf(page);
  const paths = ["js/elements/keys_sheet.js", "js/account/data_export.js", "css/chat.css"];
  const read = async (version: string | undefined, path: string) => {
    const answer = await fetch(`${old.url}/static/${version}/${path}`);
    return [
      answer.status,
      answer.headers.get("cache-control"),
      answer.headers.get("etag"),
      await answer.text(),
    ] as const;
  };
  const own = await Promise.all(paths.map((path) => read(before, path)));
  await upgrade();
  expect(await Promise.all(paths.map((path) => read(before, path)))).toEqual(own);
  const unknown = await read("AAAAAAAAAAA", "js/elements/keys_sheet.js");
  expect(unknown.slice(0, 2)).toEqual([200, "no-store"]);
  expect(unknown[3]).not.toBe(own[0]![3]);
  for (const path of ["js/no.js", "chat.html", "../../package.json"]) expect((await read(before, path))[0]).toBe(404);
});
