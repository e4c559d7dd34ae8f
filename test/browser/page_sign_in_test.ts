/** Signing in again after a mistake or an ended session, and signing up with a name that is refused. */

import { describe, expect, test } from "bun:test";

import type { Page } from "playwright-core";

import { checkName } from "../../src/util/text.ts";
import { isImpossibleName } from "../../static/js/util/name_rules.js";
import { fillForm, focusedId, localhost, peerOnScreen, scripted, signOut, useBrowser } from "../support/browser.ts";
import { cookieOf, PASSWORD, Person, post, startApp } from "../support/harness.ts";
import { pageErrors } from "../support/page_errors.ts";
import { until } from "../support/until.ts";

const chat = useBrowser();
const EMPTY_LIST = "conversation-list .empty:visible";

/** Opens a conversation, and ends the session from elsewhere. */
async function endElsewhere(person: Person, peer: string, locale = "en-GB"): Promise<Page> {
  const page = await chat.open(person, `/#${peer}`, { locale });
  await person.get("/logout");
  await page.waitForURL(`${chat.url}/login`);
  await scripted(page);
  return page;
}

const signIn = (page: Page, password = PASSWORD) => fillForm(page, { password });

describe("a session that ended elsewhere", () => {
  test.each([
    ["en-GB", "You were signed out, possibly from another device. Sign in to continue where you left off."],
    ["el-GR", "Αποσυνδέθηκες, ίσως από άλλη συσκευή. Συνδέσου για να συνεχίσεις από εκεί που ήσουν."],
  ])("leads to a login with an explanation and the name, then back (%s)", async (locale, words) => {
    const [ann] = await chat.server.people(`Back-Ann-${locale}`, `Back-Bob-${locale}`);
    const page = await endElsewhere(ann!, `Back-Bob-${locale}`, locale);
    expect(await page.locator("header .sentence:visible").allInnerTexts()).toEqual([words]);
    expect([await page.inputValue("#username"), await focusedId(page)]).toEqual([ann!.name, "password"]);
    await page.reload();
    await scripted(page);
    expect([await page.inputValue("#username"), await focusedId(page)]).toEqual([ann!.name, "password"]);
    await signIn(page, "not the password");
    await page.waitForSelector("form > .error:visible");
    await scripted(page);
    await signIn(page);
    await page.waitForURL(`${chat.url}/#Back-Bob-${locale}`);
    await until("the conversation is open", async () => (await peerOnScreen(page)) === `Back-Bob-${locale}`);
  });

  test("leads another user who signs in to their own list", async () => {
    const [ann] = await chat.server.people("Own-Ann", "Own-Bob", "Own-Eve");
    const page = await endElsewhere(ann!, "Own-Bob");
    await page.fill("#username", "Own-Eve");
    await signIn(page);
    await page.waitForURL(`${chat.url}/`);
    await page.waitForSelector(".nothing:visible");
  });

  test("reloads the page in place when the same user signed in again in another tab", async () => {
    const [ann] = await chat.server.people("Anew-Ann", "Anew-Bob");
    const context = await chat.context(ann);
    const [page, other] = [await chat.open(context, "/#Anew-Bob"), await chat.open(context, "/login")];
    await page.evaluate(() => Reflect.set(globalThis, "before", true));
    await other.fill("#username", "Anew-Ann");
    await signIn(other);
    await page.waitForFunction(() => !("before" in globalThis));
    await until("the conversation is open", async () => (await peerOnScreen(page)) === "Anew-Bob");
  });

  test("leads back to the account page", async () => {
    const ann = await chat.server.person("Account-Ann");
    const page = await chat.open(ann);
    await page.goto(`${chat.url}/account`);
    await page.waitForSelector("device-list li");
    await ann.get("/logout");
    await page.waitForURL(`${chat.url}/login`, { timeout: 15_000 });
    await scripted(page);
    expect(await page.inputValue("#username")).toBe("Account-Ann");
    await signIn(page);
    await page.waitForURL(`${chat.url}/account`);
  }, 30_000);

  test("is explained on the next visit, but not after signing out", async () => {
    const ann = await chat.server.person("Day-Ann");
    const page = await chat.open(ann);
    await page.goto("about:blank");
    await ann.get("/logout");
    await page.goto(`${chat.url}/#Day-Bob`);
    await page.waitForSelector(".ended:visible");
    await scripted(page);
    expect(await page.inputValue("#username")).toBe("Day-Ann");
    await signIn(page);
    await page.waitForURL(`${chat.url}/#Day-Bob`);
    await page.waitForSelector(EMPTY_LIST);
    await signOut(page);
    await page.waitForURL(`${chat.url}/login`);
    await scripted(page);
    expect(await page.locator("header .sentence:visible").allInnerTexts()).toEqual(["Good to see you again."]);
    expect([await page.inputValue("#username"), await focusedId(page)]).toEqual(["", "username"]);
  });

  test("is forgotten in all tabs after signing out in one", async () => {
    const [ann] = await chat.server.people("Tabs-Ann", "Tabs-Bob");
    const context = await chat.context(ann);
    const [leaves, other] = [await chat.open(context, "/"), await chat.open(context, "/#Tabs-Bob")];
    await signOut(leaves);
    await other.waitForURL(`${chat.url}/login`);
    await scripted(other);
    expect(await other.locator(".ended:visible").count()).toBe(0);
    expect(await other.inputValue("#username")).toBe("");
    expect(await other.evaluate(() => sessionStorage.length)).toBe(0);
  });

  test.each(["https://evil.example/", "//evil.example", "javascript:alert(1)", "/logout", "#/../logout"])(
    "leads into the chat only, whatever place the tab remembers: %s",
    async (place) => {
      const name = `Lost-${Bun.hash(place).toString(36)}`;
      const [ann] = await chat.server.people(name, `${name}-peer`);
      const page = await endElsewhere(ann!, `${name}-peer`);
      await page.evaluate(
        ([name, place]) => sessionStorage.setItem("chatify.ended", JSON.stringify({ name, place })),
        [name, place],
      );
      await page.reload();
      await scripted(page);
      await signIn(page);
      await page.waitForSelector("conversation-list");
      expect([new URL(page.url()).origin, new URL(page.url()).pathname]).toEqual([chat.url, "/"]);
      expect((await ann!.logIn()).cookie).not.toBe("");
    },
  );
});

describe("a wrong login", () => {
  test.each([true, false])("keeps the name and focuses the password (scripts: %p)", async (scripts) => {
    const name = `Wrong-${scripts}`;
    await chat.server.person(name);
    const page = await chat.page(undefined, { javaScriptEnabled: scripts });
    await page.goto(`${chat.url}/login`);
    await fillForm(page, { username: name, password: "not the password" });
    await page.waitForSelector("form > .error:visible");
    expect(await page.inputValue("#username")).toBe(name);
    await page.keyboard.type(PASSWORD); // where the focus is
    await page.keyboard.press("Enter");
    await page.waitForURL(`${chat.url}/`);
  });
});

test("creates an invitation in an admin's menu, which works without scripts", async () => {
  await using app = await startApp({ env: { SIGNUP: "invite" } });
  const url = localhost(app.url);
  const signedUp = async (username: string, fields: Record<string, string>) => {
    const response = await post(`${app.url}/signup`, { username, password: PASSWORD, ...fields });
    return new Person(app.url, username, cookieOf(response));
  };
  const boss = await signedUp("Boss", { code: app.adminCode! });
  const invitation = (await (await boss.post("/invites")).json()) as { url: string };
  const plain = await signedUp("Plain", { invite: new URL(invitation.url).searchParams.get("invite")! });
  const openMenu = async (user: Person) => {
    const page = await chat.page(user, { url, permissions: ["clipboard-read", "clipboard-write"] });
    await page.goto(url);
    const response = page.waitForResponse(`${url}/me`);
    await page.click(".me");
    await response;
    return page;
  };
  const other = await openMenu(plain);
  await other.waitForSelector(".sign-out:visible");
  expect(await other.locator("invite-link").isVisible()).toBe(false);

  const page = await openMenu(boss);
  await page.click("invite-link .ask");
  const link = await page.locator("invite-link input:visible").inputValue();
  expect(link).toStartWith(`${url}/signup?invite=`);
  await page.click("invite-link .copy");
  await page.waitForSelector("invite-link .copy:has-text('Copied')");
  expect(await page.evaluate("navigator.clipboard.readText()")).toBe(link);
  expect(await page.locator("invite-link .until").innerText()).toMatch(
    /^It works for one account, until .\d+ \w+.\.$/u,
  );

  const guest = await chat.page(undefined, { javaScriptEnabled: false });
  await guest.goto(link);
  await fillForm(guest, { username: "No-Script", password: PASSWORD, confirm: PASSWORD });
  await guest.waitForURL(`${url}/`);
  const users = await app.sql`select username from users order by id`;
  expect(users.map(({ username }) => username)).toEqual(["Boss", "Plain", "No-Script"]);
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

  test("keeps both passwords and shows why a name is refused, by the page or the server", async () => {
    await chat.server.person("Taken");
    const page = await chat.open(undefined, "/signup");
    const asked: string[] = [];
    page.on("request", (request) => request.method() === "POST" && asked.push(request.url()));
    for (const name of ["!", "x", "two words", "Αnn", "x".repeat(51), "..", "\u0301ann"]) {
      await submit(page, name);
      await wrong(page, "bad_name");
      expect([name, await focusedId(page), ...(await filled(page))]).toEqual([name, "username", PASSWORD, PASSWORD]);
    }
    expect(asked).toEqual([]);
    for (const [name, code] of [
      ["TAKEN", "name_taken"],
      ["annन", "bad_name"],
    ] as const) {
      await submit(page, name);
      await wrong(page, code);
      expect([name, await focusedId(page), ...(await filled(page))]).toEqual([name, "username", PASSWORD, PASSWORD]);
    }
    expect(new URL(page.url()).pathname).toBe("/signup");
    await submit(page, "Free");
    await page.waitForURL(`${chat.url}/`);
  });

  test("keeps all input while the server is unreachable", async () => {
    const page = await chat.open(undefined, "/signup", { locale: "el-GR" });
    await page.context().setOffline(true);
    await submit(page, "Offline");
    await wrong(page, "no_connection");
    expect(await page.locator("form > .error").innerText()).toMatch(/επικοινωνία/);
    expect(await filled(page)).toEqual([PASSWORD, PASSWORD]);
    await page.context().setOffline(false);
    await submit(page, "Offline");
    await page.waitForURL(`${chat.url}/`);
  });

  test("shows why the server rejects a foreign origin, and the id of an internal error", async () => {
    pageErrors.allow(/status of (403|500)/);
    const page = await chat.open(undefined, "/signup");
    const error = page.locator("form > .error");
    const origin = "https://other.example";
    await page.route("**/signup", async (route) => {
      const response = await post(`${chat.server.url}/signup`, {}, { origin, accept: "application/json" });
      await route.fulfill({ status: response.status, json: await response.json() });
    });
    await submit(page, "Foreign");
    await wrong(page, "foreign_origin");
    expect(await error.innerText()).toContain("set ALLOWED_ORIGINS");
    await page.unrouteAll();
    const message = "Something went wrong on our side. Request id: 0123-abcd";
    await page.route("**/signup", (route) =>
      route.fulfill({ status: 500, json: { error: { code: "internal", message } } }),
    );
    await submit(page, "Broken");
    await wrong(page, "internal");
    expect(await error.innerText()).toBe("Something went wrong on our side. Try again. (0123-abcd)");
  });

  test("beyond the limit shows how long to wait", async () => {
    await using strict = await startApp({ env: { RATE_LIMIT: "on", LIMIT_SIGNUPS: "1/h" } });
    await strict.person("first");
    pageErrors.allow(/status of 429/);
    const page = await chat.open(undefined, "/signup", { url: localhost(strict.url) });
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
