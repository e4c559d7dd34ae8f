/** Pages that stay open while their server is replaced by another version. */

import { afterAll, afterEach, beforeAll, expect, test } from "bun:test";
import { appendFileSync, cpSync, mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import type { Page } from "playwright-core";

import { draft, useBrowser } from "../support/browser.ts";
import { freePort, migratedDatabase, Person, ROOT } from "../support/harness.ts";
import { ServerProcess } from "../support/server_process.ts";
import { until } from "../support/until.ts";

const root = mkdtempSync(join(tmpdir(), "chatify-upgrade-"));
let old: ServerProcess;
let next: ServerProcess;
let ann: Person;

const chat = useBrowser(async () => {
  const [port, database] = [freePort(), await migratedDatabase()];
  [old, next] = [new ServerProcess(port, database), new ServerProcess(port, database, root)];
  await old.start();
  return old;
});

beforeAll(async () => {
  makeNext();
  ann = await Person.signUp(old.url, "Ann");
});
afterAll(async () => {
  await next?.stop();
  rmSync(root, { recursive: true, force: true });
});
afterEach(async () => {
  await next.stop();
  await old.stop();
  await old.start();
});

/** The next version: one file needs another of its version, and one file is deleted. */
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
  appendFileSync(join(root, "static", "css", "chat.css"), ".next { color: red; }\n");
  rmSync(join(root, "static", "css", "account.css"));
}

async function upgrade(): Promise<void> {
  await old.stop();
  await next.start();
}

async function open(hidden = false): Promise<Page> {
  const page = await chat.page(ann);
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
const OFFER = "connection-banner[data-state=update]:visible";
const offers = (page: Page) =>
  until("the page offers to reload", async () => (await page.locator(OFFER).count()) === 1, 20_000);
/** Waits until the page has reloaded completely. */
async function becomes(page: Page, isWanted: (version: string | undefined) => boolean): Promise<void> {
  await until(
    "the page has the other version",
    async () => isWanted(await versionOf(page).catch(() => undefined)),
    20_000,
  );
  await page.waitForSelector("message-composer textarea:visible");
}

test("loads later files in the page's own version, and offers to reload", async () => {
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
  await until("the draft is there", async () => (await draft(page)) === "half a sent");
  expect(await page.locator(OFFER).count()).toBe(0);
}, 60_000);

test("reloads a hidden page by itself, once per version", async () => {
  const page = await open(true);
  const before = await versionOf(page);
  await upgrade();
  await offers(page);
  await page.clock.fastForward(61_000);
  await becomes(page, (version) => version !== undefined && version !== before);
  // During an upgrade, the page may reach an old pod again.
  await next.stop();
  await old.start();
  await offers(page);
  await page.clock.fastForward(61_000);
  await becomes(page, (version) => version === before);
  await old.stop();
  await next.start();
  await offers(page);
  await page.clock.fastForward(61_000);
  await Bun.sleep(500);
  expect(await versionOf(page)).toBe(before);
}, 90_000);

test("serves the files of an older version, deleted ones included, and the current styles for an unknown version", async () => {
  const page = await open();
  const before = await versionOf(page);
  const paths = ["js/elements/keys_sheet.js", "css/account.css", "css/chat.css"];
  const read = async (version: string | undefined, path: string) => {
    // Uncompressed: compression takes a moment after the start and changes the ETag.
    const headers = { "accept-encoding": "identity" };
    const answer = await fetch(`${old.url}/static/${version}/${path}`, { headers });
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
  const unknown = await read("AAAAAAAAAAA", "css/chat.css");
  expect(unknown.slice(0, 2)).toEqual([200, "no-store"]);
  expect(unknown[3]).not.toBe(own[2]![3]);
  expect((await read("AAAAAAAAAAA", "js/elements/keys_sheet.js"))[0]).toBe(404);
  for (const path of ["js/no.js", "chat.html", "../../package.json"]) expect((await read(before, path))[0]).toBe(404);
});
