/** Signing in again, after a mistake or from where a session ended, and signing up with a name that cannot be had. Real Chromium. */

import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";

import type { Browser, BrowserContext, Page } from "playwright-core";

import { checkName } from "../../src/util/text.ts";
import { isImpossibleName } from "../../static/js/util/name_rules.js";
import { closeWindows, launch, scripted } from "../support/browser.ts";
import { complaints } from "../support/complaints.ts";
import { PASSWORD, type Person, startApp, type TestApp } from "../support/harness.ts";
import { until } from "../support/until.ts";

let browser: Browser;
let app: TestApp;
let url: string;

beforeAll(async () => {
  [browser, app] = await Promise.all([launch(), startApp()]);
  url = app.url.replace("127.0.0.1", "localhost");
}, 60_000);

afterAll(async () => {
  await browser?.close();
  await app?.stop();
});

afterEach(() => closeWindows(browser));

async function browserOf(person?: Person, options: Parameters<Browser["newContext"]>[0] = {}): Promise<BrowserContext> {
  const context = await browser.newContext({ locale: "en-GB", ...options });
  const [name = "", value = ""] = person?.cookie.split(/=(.*)/s) ?? [];
  if (person) await context.addCookies([{ name, value, url }]);
  return context;
}

async function open(context: BrowserContext, path: string): Promise<Page> {
  const page = await context.newPage();
  await page.goto(url + path);
  return page;
}

/** Opens a conversation, and then the person's session ends elsewhere. */
async function endElsewhere(person: Person, peer: string, locale = "en-GB"): Promise<Page> {
  const page = await open(await browserOf(person, { locale }), `/#${peer}`);
  await page.waitForSelector("message-composer textarea:visible");
  await person.get("/logout");
  await page.waitForURL(`${url}/login`);
  await scripted(page);
  return page;
}

const focused = (page: Page) => page.evaluate(() => document.activeElement?.id);
const peerOnScreen = (page: Page) => page.locator("chat-header h2").innerText();

async function signIn(page: Page, password = PASSWORD): Promise<void> {
  await page.fill("#password", password);
  await page.press("#password", "Enter");
}

describe("a session that ended elsewhere", () => {
  test.each([
    ["en-GB", "You were signed out, possibly from another device. Sign in to continue where you left off."],
    ["el-GR", "Αποσυνδέθηκες, ίσως από άλλη συσκευή. Συνδέσου για να συνεχίσεις από εκεί που ήσουν."],
  ])("leads to a login that says so, knows the name, and leads back (%s)", async (locale, words) => {
    const [ann] = await app.people(`Back-Ann-${locale}`, `Back-Bob-${locale}`);
    const page = await endElsewhere(ann!, `Back-Bob-${locale}`, locale);
    expect(await page.locator("header .sentence:visible").allInnerTexts()).toEqual([words]);
    expect([await page.inputValue("#username"), await focused(page)]).toEqual([ann!.name, "password"]);
    await page.reload();
    await scripted(page);
    expect([await page.inputValue("#username"), await focused(page)]).toEqual([ann!.name, "password"]);
    await signIn(page, "not the password");
    await page.waitForSelector("form > .error:visible");
    await scripted(page);
    await signIn(page);
    await page.waitForURL(`${url}/#Back-Bob-${locale}`);
    await until("the conversation is open", async () => (await peerOnScreen(page)) === `Back-Bob-${locale}`);
  });

  test("leads somebody else who signs in there to their own list", async () => {
    const [ann] = await app.people("Own-Ann", "Own-Bob", "Own-Eve");
    const page = await endElsewhere(ann!, "Own-Bob");
    await page.fill("#username", "Own-Eve");
    await signIn(page);
    await page.waitForURL(`${url}/`);
    await page.waitForSelector(".nothing:visible");
  });

  test("since the same person signed in anew in another tab leaves the page where it was", async () => {
    const [ann] = await app.people("Anew-Ann", "Anew-Bob");
    const context = await browserOf(ann);
    const [page, other] = [await open(context, "/#Anew-Bob"), await open(context, "/login")];
    await page.waitForSelector("message-composer textarea:visible");
    await page.evaluate(() => Reflect.set(globalThis, "before", true));
    await other.fill("#username", "Anew-Ann");
    await signIn(other);
    await page.waitForFunction(() => !("before" in globalThis));
    await until("the conversation is open", async () => (await peerOnScreen(page)) === "Anew-Bob");
  });

  test("leads back to the account page", async () => {
    const ann = await app.person("Account-Ann");
    const context = await browserOf(ann);
    const page = await open(context, "/");
    await page.waitForSelector("people-list .empty:visible");
    await page.goto(`${url}/account`);
    await page.waitForSelector("device-list li");
    await ann.get("/logout");
    await page.waitForURL(`${url}/login`, { timeout: 15_000 });
    await scripted(page);
    expect(await page.inputValue("#username")).toBe("Account-Ann");
    await signIn(page);
    await page.waitForURL(`${url}/account`);
  }, 30_000);

  test("is told to who comes back the next day, and not to who signed out", async () => {
    const ann = await app.person("Day-Ann");
    const context = await browserOf(ann);
    const page = await open(context, "/");
    await page.waitForSelector("people-list .empty:visible");
    await page.goto("about:blank");
    await ann.get("/logout");
    await page.goto(`${url}/#Day-Bob`);
    await page.waitForSelector(".ended:visible");
    await scripted(page);
    expect(await page.inputValue("#username")).toBe("Day-Ann");
    await signIn(page);
    await page.waitForURL(`${url}/#Day-Bob`);
    await page.waitForSelector("people-list .empty:visible");
    await page.click(".me");
    await page.click("#menu .sign-out button");
    await page.waitForURL(`${url}/login`);
    await scripted(page);
    expect(await page.locator("header .sentence:visible").allInnerTexts()).toEqual(["Good to see you again."]);
    expect([await page.inputValue("#username"), await focused(page)]).toEqual(["", "username"]);
  });

  test("keeps no place for the other tabs of a browser where somebody signs out", async () => {
    const [ann] = await app.people("Tabs-Ann", "Tabs-Bob");
    const context = await browserOf(ann);
    const [leaves, other] = [await open(context, "/"), await open(context, "/#Tabs-Bob")];
    await other.waitForSelector("message-composer textarea:visible");
    await leaves.click(".me");
    await leaves.click("#menu .sign-out button:enabled");
    await other.waitForURL(`${url}/login`);
    await scripted(other);
    expect(await other.locator(".ended:visible").count()).toBe(0);
    expect(await other.inputValue("#username")).toBe("");
    expect(await other.evaluate(() => sessionStorage.length)).toBe(0);
  });

  test.each(["https://evil.example/", "//evil.example", "javascript:alert(1)", "/logout", "#/../logout"])(
    "leads nowhere but into the chat, though its tab remembers %s",
    async (place) => {
      const name = `Lost-${Bun.hash(place).toString(36)}`;
      const [ann] = await app.people(name, `${name}-peer`);
      const page = await endElsewhere(ann!, `${name}-peer`);
      await page.evaluate(
        ([name, place]) => sessionStorage.setItem("chatify.ended", JSON.stringify({ name, place })),
        [name, place],
      );
      await page.reload();
      await scripted(page);
      await signIn(page);
      await page.waitForSelector("people-list");
      expect([new URL(page.url()).origin, new URL(page.url()).pathname]).toEqual([url, "/"]);
      expect((await ann!.logIn()).cookie).not.toBe("");
    },
  );
});

describe("a login that was wrong", () => {
  test.each([true, false])("has the name still and waits for another password (scripts: %p)", async (scripts) => {
    const name = `Wrong-${scripts}`;
    await app.person(name);
    const page = await open(await browserOf(undefined, { javaScriptEnabled: scripts }), "/login");
    await page.fill("#username", name);
    await signIn(page, "not the password");
    await page.waitForSelector("form > .error:visible");
    expect(await page.inputValue("#username")).toBe(name);
    await page.keyboard.type(PASSWORD); // where the focus is
    await page.keyboard.press("Enter");
    await page.waitForURL(`${url}/`);
  });
});

describe("a sign-up", () => {
  const filled = async (page: Page) => [await page.inputValue("#password"), await page.inputValue("#confirm")];
  const submit = async (page: Page, name: string) => {
    await page.fill("#username", name);
    for (const id of ["#password", "#confirm"]) if (!(await page.inputValue(id))) await page.fill(id, PASSWORD);
    await page.press("#username", "Enter");
  };
  const wrong = (page: Page, code: string) =>
    page.waitForSelector(`#username_error[data-error="${code}"]:visible, form > .error[data-error="${code}"]:visible`);

  test("whose name cannot be had keeps both passwords and says why, whoever finds out", async () => {
    await app.person("Taken");
    const page = await open(await browserOf(), "/signup");
    await scripted(page);
    const asked: string[] = [];
    page.on("request", (request) => request.method() === "POST" && asked.push(request.url()));
    for (const name of ["!", "x", "two words", "Αnn", "x".repeat(51), "..", "\u0301ann"]) {
      await submit(page, name);
      await wrong(page, "bad_name");
      expect([name, await focused(page), ...(await filled(page))]).toEqual([name, "username", PASSWORD, PASSWORD]);
    }
    expect(asked).toEqual([]);
    for (const [name, code] of [
      ["TAKEN", "name_taken"],
      ["annन", "bad_name"],
    ] as const) {
      await submit(page, name);
      await wrong(page, code);
      expect([name, await focused(page), ...(await filled(page))]).toEqual([name, "username", PASSWORD, PASSWORD]);
    }
    expect(new URL(page.url()).pathname).toBe("/signup");
    await submit(page, "Free");
    await page.waitForURL(`${url}/`);
  });

  test("while the server is out of reach keeps all of it, in words", async () => {
    const page = await open(await browserOf(undefined, { locale: "el-GR" }), "/signup");
    await scripted(page);
    await page.context().setOffline(true);
    await submit(page, "Offline");
    await wrong(page, "no_connection");
    expect(await page.locator("form > .error").innerText()).toMatch(/επικοινωνία/);
    expect(await filled(page)).toEqual([PASSWORD, PASSWORD]);
    await page.context().setOffline(false);
    await submit(page, "Offline");
    await page.waitForURL(`${url}/`);
  });

  test("too many says how long to wait", async () => {
    await using strict = await startApp({ env: { RATE_LIMIT: "on", LIMIT_SIGNUPS: "1/h" } });
    await strict.person("first");
    complaints.allow(/status of 429/);
    const page = await (await browserOf()).newPage();
    await page.goto(`${strict.url.replace("127.0.0.1", "localhost")}/signup`);
    await scripted(page);
    await submit(page, "second");
    await page.waitForSelector("form > .error:has-text('hour'):visible, form > .error:has-text('minutes'):visible");
    expect(await filled(page)).toEqual([PASSWORD, PASSWORD]);
  });

  test("is refused by the page only when the server would refuse it", () => {
    const accepted = [
      "ann",
      "Ζωή",
      "Иван",
      "ann_b.c-1",
      "  ann  ",
      "ann\u00a0",
      "山田",
      "김철수",
      "ümit",
      "ﬁn",
      "नमस्ते",
      "𝓪nn",
      "٣٤",
    ];
    for (const name of accepted) {
      expect([name, isImpossibleName(name)]).toEqual([name, false]);
    }
    for (const name of ["", "a", "!", "a b", "annа", "Αnn", "..", "\u0301a", "x".repeat(51), "a\u202eb"]) {
      expect([name, isImpossibleName(name)]).toEqual([name, true]);
      expect(() => checkName(name), name).toThrow();
    }
  });
});
