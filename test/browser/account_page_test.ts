/** The account page, as the person sees it and those they write with. Real Chromium. */

import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "bun:test";

import axe from "axe-core";
import type { Browser, BrowserContext, Page } from "playwright-core";

import { closeWindows, launch } from "../support/browser.ts";
import { complaints } from "../support/complaints.ts";
import { PASSWORD, type Person, post, startApp, type TestApp } from "../support/harness.ts";
import { until } from "../support/until.ts";

const OTHER = "another horse battery";
const IPHONE =
  "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 Version/18.0 Mobile/15E148 Safari/604.1";

let browser: Browser;
let app: TestApp;
let url: string;

beforeAll(async () => {
  [browser, app] = [await launch(), await startApp()];
  url = app.url.replace("127.0.0.1", "localhost");
}, 60_000);

// Errors that the page shows beside a field are answers that a browser notes.
beforeEach(() => complaints.allow(/status of (403|404)/));

afterAll(async () => {
  await browser?.close();
  await app?.stop();
});

afterEach(() => closeWindows(browser));

/** A browser in which somebody is signed in. */
async function browserOf(who: Person, options: Parameters<Browser["newContext"]>[0] = {}): Promise<BrowserContext> {
  const context = await browser.newContext({ locale: "en-GB", ...options });
  context.setDefaultTimeout(15_000);
  const [name = "", value = ""] = who.cookie.split(/=(.*)/s);
  await context.addCookies([{ name, value, url }]);
  return context;
}

async function account(context: BrowserContext): Promise<Page> {
  const page = await context.newPage();
  await page.goto(`${url}/account`);
  await page.waitForSelector("device-list li");
  await page.waitForSelector("privacy-choice input:enabled");
  return page;
}

const says = (page: Page, selector: string, text: string) =>
  until(`${selector} says ${text}`, async () => (await page.locator(selector).innerText()) === text);

/** Fills the fields of a form by their ids, and sends it by Enter. */
async function submit(page: Page, fields: Record<string, string>): Promise<void> {
  for (const [id, value] of Object.entries(fields)) await page.fill(`#${id}`, value);
  await page.press(`#${Object.keys(fields).at(-1)}`, "Enter");
}

const focused = (page: Page) => page.evaluate(() => document.activeElement?.id);

test("the menu leads to the account, and its arrow back to the conversation", async () => {
  const [ann] = await app.people("Way-Ann", "Way-Bob");
  const context = await browserOf(ann!);
  const page = await context.newPage();
  await page.goto(`${url}/#Way-Bob`);
  await page.click(".me");
  await page.click("#menu >> text=Account");
  await page.waitForURL(`${url}/account`);
  await says(page, ".whose .name", "Way-Ann");
  expect(await page.title()).toBe("Account · chatify");
  await page.click('a[aria-label="Back to conversations"]');
  await page.waitForURL(`${url}/#Way-Bob`);
  await context.close();
  expect((await fetch(`${url}/account`, { redirect: "manual" })).headers.get("location")).toBe("/login");
}, 30_000);

test("the password is changed by who knows the old one; the chat on another device ends", async () => {
  const ann = await app.person("Pass-Ann");
  const elsewhere = await browserOf(await ann.logIn());
  const chat = await elsewhere.newPage();
  await chat.goto(`${url}/`);
  await chat.waitForSelector("people-list .empty:visible");
  const context = await browserOf(ann);
  const page = await account(context);
  await submit(page, { old: PASSWORD, new: "short", again: "shorter" });
  await says(page, "#new_error", "Passwords must have 8 to 128 characters.");
  await says(page, "#again_error", "The passwords do not match.");
  expect([await focused(page), await page.getAttribute("#new", "aria-invalid")]).toEqual(["new", "true"]);
  await submit(page, { old: "not my password", new: OTHER, again: OTHER });
  await says(page, "#old_error", "The password is wrong.");
  expect([await page.locator("#new_error").isVisible(), await focused(page)]).toEqual([false, "old"]);
  await page.click("password-form .show-password");
  expect(await page.getAttribute("#again", "type")).toBe("text");
  await submit(page, { old: PASSWORD, new: OTHER, again: OTHER });
  await says(page, "password-form .done", "Password changed. Your other devices have been signed out.");
  expect(await page.inputValue("#new")).toBe("");
  await chat.waitForURL(`${url}/login`);
  await page.reload();
  await says(page, ".whose .name", "Pass-Ann");
  const tries = await Promise.all(
    [PASSWORD, OTHER].map((password) => post(`${app.url}/login`, { username: "Pass-Ann", password })),
  );
  expect(tries.map(({ status }) => status)).toEqual([401, 302]);
  await Promise.all([context.close(), elsewhere.close()]);
}, 30_000);

test("devices are told apart and ended; a page whose session has ended goes to the login", async () => {
  const ann = await app.person("Dev-Ann");
  await post(`${app.url}/login`, { username: "Dev-Ann", password: PASSWORD }, { "user-agent": IPHONE });
  const [second, third] = [await ann.logIn(), await ann.logIn()];
  const tabs = [await second.open(), await third.open()];
  const context = await browserOf(ann);
  const page = await account(context);
  const rows = page.locator("device-list li");
  expect(await rows.count()).toBe(4);
  expect(await rows.first().innerText()).toContain("This device");
  expect(await rows.locator("button:visible").count()).toBe(3);
  const phone = rows.filter({ hasText: "iPhone" });
  const text = (await phone.innerText()).replace(/[\u2068\u2069]/g, "");
  expect(text).toContain("Safari on iPhone");
  expect(text).toContain("Used within the last hour · 127.0.0.1");
  await phone.locator(".end").click();
  await says(page, "device-list .done", "One device has been signed out.");
  expect(await rows.count()).toBe(3);
  await page.click("text=Sign out all other devices");
  await says(page, "device-list .done", "2 devices have been signed out.");
  expect(await Promise.all(tabs.map(async (tab) => (await tab.closed).code))).toEqual([4401, 4401]);
  expect(await page.locator("device-list .others").isVisible()).toBe(false);

  const [last] = await ann.json<{ id: number }[]>("/sessions");
  await ann.post(`/sessions/${last?.id}/end`);
  await page.evaluate(() => document.dispatchEvent(new Event("visibilitychange"))); // as when somebody comes back to it
  await page.waitForURL(`${url}/login`);
  await context.close();
}, 30_000);

test("what somebody hides is hidden, and what others hide from them is theirs to see again later", async () => {
  const [ann, bob] = (await app.people("Priv-Ann", "Priv-Bob")) as [Person, Person];
  const tabs = [await ann.open(), await bob.open()] as const;
  await tabs[1].send("Priv-Ann", "hello");
  tabs[0].say({ type: "read", peer: "Priv-Bob", seq: 1 });
  await tabs[1].next("read");
  for (const tab of tabs) await tab.close();
  const context = await browserOf(ann);
  const page = await account(context);
  type Row = { peer_read_seq: number; last_seen: string | null };
  const seen = async () => (await bob.json<Row[]>("/conversations"))[0];
  await until("Bob sees when Ann was here", async () => (await seen())?.last_seen !== null, 10_000);
  expect((await seen())?.peer_read_seq).toBe(1);
  for (const label of ["Hide my read receipts", "Hide when I was last seen"]) {
    await page.getByRole("switch", { name: label }).click();
    await says(page, "privacy-choice .done", "Saved.");
  }
  await until("Bob sees neither", async () => {
    const row = await seen();
    return row?.peer_read_seq === 0 && row.last_seen === null;
  });
  await page.reload();
  await page.waitForSelector("privacy-choice input:enabled");
  expect(await page.locator("privacy-choice input:checked").count()).toBe(2);
  await context.setOffline(true);
  await page.click('privacy-choice input[name="hide_read"]');
  await says(page, "privacy-choice .error", "Could not reach the server. Try again.");
  expect(await page.isChecked('privacy-choice input[name="hide_read"]')).toBe(true);
  await context.close();
}, 30_000);

test("somebody is blocked and unblocked, and what they wrote meanwhile is there", async () => {
  const [ann, bob] = (await app.people("Block-Ann", "Block-Bob")) as [Person, Person];
  const context = await browserOf(ann);
  const page = await account(context);
  await page.waitForSelector("text=You have not blocked anyone.");
  await submit(page, { whom: "Block-Eve" });
  await says(page, "#whom_error", "No one here is called \u2068Block-Eve\u2069.");
  await submit(page, { whom: "block-bob" });
  await says(page, "blocked-people .done", "\u2068Block-Bob\u2069 is blocked.");
  expect(await page.locator("blocked-people .empty").isVisible()).toBe(false);
  await (await bob.open()).send("Block-Ann", "are you there?");
  expect(await ann.json<unknown[]>("/conversations")).toEqual([]);
  await page.getByRole("button", { name: "Unblock \u2068Block-Bob\u2069" }).click();
  await page.waitForSelector("text=You have not blocked anyone.");
  expect(await ann.json<unknown[]>("/conversations")).toHaveLength(1);
  expect(await focused(page)).toBe("whom");
  await context.close();
}, 30_000);

test("the data come as one whole file with progress, can be cancelled, and a connection that breaks is told", async () => {
  const [ann] = await app.people("Data-Ann", "Data-Bob");
  const count = 6_000;
  await app.sql`
    with conversation as (
      insert into conversations (low, high, last_seq, last_at) values ('Data-Ann', 'Data-Bob', ${count}, now()) returning id
    )
    insert into messages (conversation_id, seq, sender, receiver, content, timestamp, read)
    select id, n, 'Data-Ann', 'Data-Bob', n || repeat(' and on', 60), now(), true
    from conversation, generate_series(1, ${count}::int) n
  `;
  const context = await browserOf(ann!);
  await context.addInitScript(() => {
    Reflect.deleteProperty(globalThis, "showSaveFilePicker"); // a window of the system, which no test can press
    Object.assign(globalThis, { told: [] });
    addEventListener("DOMContentLoaded", () => {
      const count = document.querySelector("data-export .count")!;
      const note = () => (globalThis as unknown as { told: string[] }).told.push(count.textContent);
      new MutationObserver(note).observe(count, { childList: true });
    });
  });
  const page = await account(context);
  const download = page.waitForEvent("download");
  await page.click("data-export .start");
  const file = await download;
  expect(file.suggestedFilename()).toMatch(/^chatify-Data-Ann-\d{4}-\d\d-\d\d\.json$/);
  const { username, messages } = (await Bun.file(await file.path()).json()) as {
    username: string;
    messages: { seq: number }[];
  };
  expect(username).toBe("Data-Ann");
  expect(messages.map(({ seq }) => seq)).toEqual(Array.from({ length: count }, (_, i) => i + 1));
  await says(page, "data-export .done", "The complete file has been saved.");
  const told = (await page.evaluate("told")) as string[];
  expect(told.at(-1)).toBe("6,000 of 6,000 messages");
  expect(told.length).toBeGreaterThan(2); // on the way, too

  await page.route("**/export", () => {}); // an answer that does not come
  await page.click("data-export .start");
  await page.click("data-export .cancel");
  await says(page, "data-export .done", "Cancelled. Nothing was saved.");
  await page.unrouteAll();
  await page.route("**/export", (route) => route.abort());
  await page.click("data-export .start");
  await says(page, "data-export .error", "The connection was lost, so nothing was saved. Try again.");
  await page.unrouteAll();

  // Where the browser lets the page write a file, it goes there, and is taken back when it breaks off.
  await page.evaluate(() => {
    const acts = ((globalThis as unknown as { acts: string[] }).acts = []) as string[];
    const file = {
      write: (bytes: Uint8Array) => void (acts.at(-1) !== "write" && bytes.length > 0 && acts.push("write")),
      close: () => void acts.push("close"),
      abort: () => void acts.push("abort"),
    };
    Object.assign(globalThis, { showSaveFilePicker: () => Promise.resolve({ createWritable: () => file }) });
  });
  await page.click("data-export .start");
  await says(page, "data-export .done", "The complete file has been saved.");
  await page.evaluate(() => {
    const real = fetch;
    const broken = (answer: Response) => {
      const reader = answer.body!.getReader();
      let pulls = 0;
      const pull = async (controller: ReadableStreamDefaultController) => {
        const { value } = await reader.read();
        if (++pulls > 2)
          controller.error(new TypeError("network error")); // as of an answer that was cut
        else controller.enqueue(value);
      };
      return new Response(new ReadableStream({ pull }), { headers: answer.headers });
    };
    Object.assign(globalThis, { fetch: async (...asked: Parameters<typeof fetch>) => broken(await real(...asked)) });
  });
  await page.click("data-export .start");
  await says(page, "data-export .error", "The connection was lost, so nothing was saved. Try again.");
  expect(await page.evaluate("acts")).toEqual(["write", "close", "write", "abort"]);
  await context.close();
}, 30_000);

test("an account is deleted after a password and a second word, and nothing of it stays in the browser", async () => {
  const [ann, bob] = (await app.people("Gone-Ann", "Gone-Bob")) as [Person, Person];
  await (await ann.open()).send("Gone-Bob", "goodbye");
  const context = await browserOf(ann);
  const chat = await context.newPage();
  await chat.goto(`${url}/#Gone-Bob`);
  await chat.fill("message-composer textarea", "never said");
  const page = await account(context);
  const dialog = page.locator("account-deletion dialog");
  const press = () => page.press("#last", "Enter");
  await press();
  await says(page, "#last_error", "Enter your password.");
  await page.fill("#last", "not my password");
  await press();
  await says(page, "dialog h2", "Delete the account of \u2068Gone-Ann\u2069?");
  await page.keyboard.press("Enter"); // what has the focus is the way back
  expect(await dialog.isVisible()).toBe(false);
  expect((await ann.get("/me")).status).toBe(200);
  await press();
  await dialog.getByRole("button", { name: "Delete permanently" }).click();
  await says(page, "#last_error", "The password is wrong.");
  await page.fill("#last", PASSWORD);
  await press();
  await dialog.getByRole("button", { name: "Delete permanently" }).click();
  await page.waitForSelector("text=Your account has been deleted. Take care!");
  expect(page.url()).toBe(`${url}/login`);
  await chat.waitForURL(`${url}/login`);
  const kept = () =>
    page.evaluate(async () => [
      ...Object.keys(localStorage),
      ...(await caches.keys()),
      ...(await indexedDB.databases()).map(({ name }) => name),
    ]);
  await until("nothing is kept", async () => (await kept()).length === 0);
  expect(await bob.json("/conversations")).toMatchObject([{ peer: "Gone-Ann", gone: true }]);
  await context.close();
}, 30_000);

test("the account page passes axe and fits, light and dark, wide and narrow, in English and Greek", async () => {
  const [ann] = await app.people("Axe-Ann", "Κωνσταντίνα-Μαρία", `axe-${"bob".repeat(15)}`);
  await post(`${app.url}/login`, { username: "Axe-Ann", password: PASSWORD }, { "user-agent": IPHONE });
  await ann!.post("/blocks", { name: `axe-${"bob".repeat(15)}`, blocked: true });
  for (const locale of ["en-GB", "el-GR"]) {
    const context = await browserOf(ann!, { locale, bypassCSP: true }); // axe brings its own script
    const page = await account(context);
    expect(await page.getAttribute("html", "lang")).toBe(locale.slice(0, 2));
    await page.waitForSelector("blocked-people li");
    await page.click("password-form .action"); // with its errors
    await page.addScriptTag({ content: axe.source });
    for (const colorScheme of ["light", "dark"] as const) {
      for (const width of [320, 1_280]) {
        await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
        await page.setViewportSize({ width, height: 700 });
        expect(await passes(page)).toEqual({ width, violations: [] });
      }
    }
    await page.fill("#last", "something");
    await page.press("#last", "Enter");
    await page.waitForSelector("dialog:visible");
    expect((await passes(page)).violations).toEqual([]);
    await context.close();
  }
}, 60_000);

/** How wide the page is, and what axe has to say of it. */
function passes(page: Page): Promise<{ width: number; violations: string[] }> {
  return page.evaluate(async () => {
    // oxlint-disable-next-line typescript/no-explicit-any
    const { violations } = await (globalThis as any).axe.run(document, { resultTypes: ["violations"] });
    return {
      width: document.documentElement.scrollWidth,
      violations: violations.map((v: { id: string; nodes: { html: string }[] }) => `${v.id}: ${v.nodes[0]?.html}`),
    };
  });
}
