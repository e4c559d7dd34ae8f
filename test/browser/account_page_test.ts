/** The account page, and what the user's contacts see of it. */

import { beforeEach, expect, test } from "bun:test";

import type { BrowserContext, Page } from "playwright-core";

import { fillForm, focusedId, useBrowser } from "../support/browser.ts";
import { PASSWORD, type Person, post } from "../support/harness.ts";
import { pageErrors } from "../support/page_errors.ts";
import { until } from "../support/until.ts";

const OTHER = "another horse battery";
const IPHONE =
  "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 Version/18.0 Mobile/15E148 Safari/604.1";

const chat = useBrowser();

// A field's error is also a response that the browser logs.
beforeEach(() => pageErrors.allow(/status of (403|404)/));

async function account(context: BrowserContext): Promise<Page> {
  const page = await chat.open(context, "/account", { ready: "device-list li" });
  await page.waitForSelector("privacy-choice input:enabled");
  return page;
}

const shows = (page: Page, selector: string, text: string) =>
  until(`${selector} shows ${text}`, async () => (await page.locator(selector).innerText()) === text);

test("leads from the menu to the account and back to the conversation", async () => {
  const [ann] = await chat.server.people("Way-Ann", "Way-Bob");
  const page = await chat.open(ann, "/#Way-Bob");
  await page.click(".me");
  await page.click("#menu >> text=Account");
  await page.waitForURL(`${chat.url}/account`);
  await shows(page, ".whose .name", "Way-Ann");
  expect(await page.title()).toBe("Account · chatify");
  await page.click('a[aria-label="Back to conversations"]');
  await page.waitForURL(`${chat.url}/#Way-Bob`);
  expect((await fetch(`${chat.url}/account`, { redirect: "manual" })).headers.get("location")).toBe("/login");
}, 30_000);

test("changes the password with the old one, and signs out other devices", async () => {
  const ann = await chat.server.person("Pass-Ann");
  const elsewhere = await chat.open(await ann.logIn());
  const page = await account(await chat.context(ann));
  await fillForm(page, { old: PASSWORD, new: "short", again: "shorter" });
  await shows(page, "#new_error", "Passwords must have 8 to 128 characters.");
  await shows(page, "#again_error", "The passwords do not match.");
  expect([await focusedId(page), await page.getAttribute("#new", "aria-invalid")]).toEqual(["new", "true"]);
  await fillForm(page, { old: "not my password", new: OTHER, again: OTHER });
  await shows(page, "#old_error", "The password is wrong.");
  expect([await page.locator("#new_error").isVisible(), await focusedId(page)]).toEqual([false, "old"]);
  await page.click("password-form .show-password");
  expect(await page.getAttribute("#again", "type")).toBe("text");
  await fillForm(page, { old: PASSWORD, new: OTHER, again: OTHER });
  await shows(page, "password-form .done", "Password changed. Your other devices have been signed out.");
  expect(await page.inputValue("#new")).toBe("");
  await elsewhere.waitForURL(`${chat.url}/login`);
  await page.reload();
  await shows(page, ".whose .name", "Pass-Ann");
  const tries = await Promise.all(
    [PASSWORD, OTHER].map((password) => post(`${chat.server.url}/login`, { username: "Pass-Ann", password })),
  );
  expect(tries.map(({ status }) => status)).toEqual([401, 302]);
}, 30_000);

test("lists devices, ends them, and goes to the login when its own session ended", async () => {
  const ann = await chat.server.person("Dev-Ann");
  await post(`${chat.server.url}/login`, { username: "Dev-Ann", password: PASSWORD }, { "user-agent": IPHONE });
  const [second, third] = [await ann.logIn(), await ann.logIn()];
  const tabs = [await second.open(), await third.open()];
  const context = await chat.context(ann);
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
  await shows(page, "device-list .done", "One device has been signed out.");
  expect(await rows.count()).toBe(3);
  await page.click("text=Sign out all other devices");
  await shows(page, "device-list .done", "2 devices have been signed out.");
  expect(await Promise.all(tabs.map(async (tab) => (await tab.closed).code))).toEqual([4401, 4401]);
  expect(await page.locator("device-list .others").isVisible()).toBe(false);

  const [last] = await ann.json<{ id: number }[]>("/sessions");
  await ann.post(`/sessions/${last?.id}/end`);
  await page.evaluate(() => document.dispatchEvent(new Event("visibilitychange"))); // as when the user returns to the tab
  await page.waitForURL(`${chat.url}/login`);
}, 30_000);

test("reloads an outdated list of devices when one has ended already", async () => {
  const ann = await chat.server.person("Stale-Ann");
  const phone = await ann.logIn();
  const page = await account(await chat.context(ann));
  const rows = page.locator("device-list li");
  expect(await rows.count()).toBe(2);
  await phone.get("/logout");
  await rows.last().locator(".end").click();
  await until("the list is current", async () => (await rows.count()) === 1);
  expect(await page.locator("device-list .error, device-list .done").allInnerTexts()).toEqual(["", ""]);
}, 30_000);

test("hides read receipts and last seen from the peer", async () => {
  const [ann, bob] = (await chat.server.people("Priv-Ann", "Priv-Bob")) as [Person, Person];
  const tabs = [await ann.open(), await bob.open()] as const;
  await tabs[1].send("Priv-Ann", "hello");
  tabs[0].say({ type: "read", peer: "Priv-Bob", seq: 1 });
  await tabs[1].next("read");
  for (const tab of tabs) await tab.close();
  const context = await chat.context(ann);
  const page = await account(context);
  type Row = { peer_read_seq: number; last_seen: string | null };
  const seen = async () => (await bob.json<Row[]>("/conversations"))[0];
  await until("Bob sees when Ann was last seen", async () => (await seen())?.last_seen !== null, 10_000);
  expect((await seen())?.peer_read_seq).toBe(1);
  for (const label of ["Hide my read receipts", "Hide when I was last seen"]) {
    await page.getByRole("switch", { name: label }).click();
    await shows(page, "privacy-choice .done", "Saved.");
  }
  await until("Bob sees neither mark", async () => {
    const row = await seen();
    return row?.peer_read_seq === 0 && row.last_seen === null;
  });
  await page.reload();
  await page.waitForSelector("privacy-choice input:enabled");
  expect(await page.locator("privacy-choice input:checked").count()).toBe(2);
  await context.setOffline(true);
  await page.click('privacy-choice input[name="hide_read"]');
  await shows(page, "privacy-choice .error", "Could not reach the server. Try again.");
  expect(await page.isChecked('privacy-choice input[name="hide_read"]')).toBe(true);
}, 30_000);

test("blocks and unblocks a user, whose messages from between are then there", async () => {
  const [ann, bob] = (await chat.server.people("Block-Ann", "Block-Bob")) as [Person, Person];
  const context = await chat.context(ann);
  const page = await account(context);
  await page.waitForSelector("text=You have not blocked anyone.");
  await fillForm(page, { block_name: "Block-Eve" });
  await shows(page, "#block_name_error", "No one here is called \u2068Block-Eve\u2069.");
  await fillForm(page, { block_name: "block-bob" });
  await shows(page, "blocked-people .done", "\u2068Block-Bob\u2069 is blocked.");
  expect(await page.locator("blocked-people .empty").isVisible()).toBe(false);
  await (await bob.open()).send("Block-Ann", "are you there?");
  expect(await ann.json<unknown[]>("/conversations")).toEqual([]);
  await page.getByRole("button", { name: "Unblock \u2068Block-Bob\u2069" }).click();
  await page.waitForSelector("text=You have not blocked anyone.");
  expect(await ann.json<unknown[]>("/conversations")).toHaveLength(1);
  expect(await focusedId(page)).toBe("block_name");

  // A second submission during the first sends nothing, and announces nothing.
  const held: (() => Promise<void>)[] = [];
  await page.route("**/blocks", (route) =>
    route.request().method() === "POST" ? void held.push(() => route.continue()) : route.continue(),
  );
  await fillForm(page, { block_name: "block-bob" });
  await until("the request is held", async () => held.length === 1);
  await fillForm(page, { block_name: "Block-Eve" });
  expect(await page.locator("blocked-people .done").innerText()).toBe("");
  await held[0]!();
  await shows(page, "blocked-people .done", "\u2068Block-Bob\u2069 is blocked.");
  expect(held).toHaveLength(1);
}, 30_000);

test("saves the export as one complete file with progress, and reports cancelling and a lost connection", async () => {
  const [ann] = await chat.server.people("Data-Ann", "Data-Bob");
  const count = 6_000;
  await chat.server.sql`
    with conversation as (
      insert into conversations (low, high, last_seq, last_at) values ('Data-Ann', 'Data-Bob', ${count}, now()) returning id
    )
    insert into messages (conversation_id, seq, sender, receiver, content, timestamp, read)
    select id, n, 'Data-Ann', 'Data-Bob', n || repeat(' and on', 60), now(), true
    from conversation, generate_series(1, ${count}::int) n
  `;
  const context = await chat.context(ann!);
  await context.addInitScript(() => {
    Reflect.deleteProperty(globalThis, "showSaveFilePicker"); // a system dialog, out of a test's reach
    Object.assign(globalThis, { progress: [] });
    addEventListener("DOMContentLoaded", () => {
      const count = document.querySelector("data-export .count")!;
      const note = () => (globalThis as unknown as { progress: string[] }).progress.push(count.textContent);
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
  await shows(page, "data-export .done", "The complete file has been saved.");
  const progress = (await page.evaluate("progress")) as string[];
  expect(progress.at(-1)).toBe("6,000 of 6,000 messages");
  expect(progress.length).toBeGreaterThan(2); // during the download too

  await page.route("**/export", () => {}); // never answered
  await page.click("data-export .start");
  await page.click("data-export .cancel");
  await shows(page, "data-export .done", "Canceled. Nothing was saved.");
  await page.unrouteAll();
  await page.route("**/export", (route) => route.abort());
  await page.click("data-export .start");
  await shows(page, "data-export .error", "The connection was lost, so nothing was saved. Try again.");
  await page.unrouteAll();

  // Where the browser lets the page write a file, a lost connection aborts the writing.
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
  await shows(page, "data-export .done", "The complete file has been saved.");
  await page.evaluate(() => {
    const full = () => Promise.reject(new DOMException("full", "QuotaExceededError"));
    const file = { write: full, close: full, abort: () => {} };
    Object.assign(globalThis, {
      picker: Reflect.get(globalThis, "showSaveFilePicker"),
      showSaveFilePicker: () => Promise.resolve({ createWritable: () => file }),
    });
  });
  await page.route("**/export", (route) => route.fulfill({ json: {} }));
  await page.click("data-export .start");
  await shows(
    page,
    "data-export .error",
    "The file could not be written. Check that there is enough space, then try again.",
  );
  await page.unrouteAll();
  await page.evaluate(() => {
    Object.assign(globalThis, { showSaveFilePicker: Reflect.get(globalThis, "picker") });
    const real = fetch;
    const broken = (answer: Response) => {
      const reader = answer.body!.getReader();
      let pulls = 0;
      const pull = async (controller: ReadableStreamDefaultController) => {
        const { value } = await reader.read();
        if (++pulls > 2)
          controller.error(new TypeError("network error")); // as of a response that was cut off
        else controller.enqueue(value);
      };
      return new Response(new ReadableStream({ pull }), { headers: answer.headers });
    };
    Object.assign(globalThis, {
      fetch: async (...request: Parameters<typeof fetch>) => broken(await real(...request)),
    });
  });
  await page.click("data-export .start");
  await shows(page, "data-export .error", "The connection was lost, so nothing was saved. Try again.");
  expect(await page.evaluate("acts")).toEqual(["write", "close", "write", "abort"]);
}, 30_000);

test("deletes the account after a password and a confirmation, and leaves nothing in the browser", async () => {
  const [ann, bob] = (await chat.server.people("Gone-Ann", "Gone-Bob")) as [Person, Person];
  await (await ann.open()).send("Gone-Bob", "goodbye");
  const context = await chat.context(ann);
  const conversation = await chat.open(context, "/#Gone-Bob");
  await conversation.fill("message-composer textarea", "never said");
  const page = await account(context);
  const dialog = page.locator("account-deletion dialog");
  const press = () => page.press("#deletion_password", "Enter");
  await press();
  await shows(page, "#deletion_password_error", "Enter your password.");
  await page.fill("#deletion_password", "not my password");
  await press();
  await shows(page, "dialog h2", "Delete the account of \u2068Gone-Ann\u2069?");
  await page.keyboard.press("Enter"); // the focused button cancels
  expect(await dialog.isVisible()).toBe(false);
  expect((await ann.get("/me")).status).toBe(200);
  await press();
  await dialog.getByRole("button", { name: "Delete permanently" }).click();
  await shows(page, "#deletion_password_error", "The password is wrong.");
  await page.fill("#deletion_password", PASSWORD);
  await press();
  await dialog.getByRole("button", { name: "Delete permanently" }).click();
  await page.waitForSelector("text=Your account has been deleted. Take care!");
  expect(page.url()).toBe(`${chat.url}/login`);
  await conversation.waitForURL(`${chat.url}/login`);
  const kept = () =>
    page.evaluate(async () => [
      ...Object.keys(localStorage),
      ...(await caches.keys()),
      ...(await indexedDB.databases()).map(({ name }) => name),
    ]);
  await until("the browser stores nothing", async () => (await kept()).length === 0);
  expect(await bob.json("/conversations")).toMatchObject([{ peer: "Gone-Ann", gone: true }]);
}, 30_000);
