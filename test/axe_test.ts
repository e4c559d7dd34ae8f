/**
 * Every page in every state that people meet, through axe: light and dark, in English and Greek, as narrow as a small phone and as wide
 * as a desk. One browser and one server for all of it.
 */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";

import axe from "axe-core";
import type { Browser, Page } from "playwright-core";

import { launch } from "./browser.ts";
import { complaints } from "./complaints.ts";
import { PASSWORD, type Person, startApp, type TestApp } from "./harness.ts";

const LANGUAGES = ["en-GB", "el-GR"] as const;
const SCHEMES = ["light", "dark"] as const;
const WIDTHS = [320, 1_280] as const;
/** As long as names get. */
const LONG = `Μαρία-${"ωραία".repeat(8)}`;

let browser: Browser;
let app: TestApp;
let invited: TestApp;
let closed: TestApp;
let ann: Person;
let newcomer: Person;
const local = ({ url }: TestApp) => url.replace("127.0.0.1", "localhost");

beforeAll(async () => {
  [browser, app, invited, closed] = await Promise.all([
    launch(),
    startApp(),
    startApp({ env: { SIGNUP: "invite" } }),
    startApp({ env: { SIGNUP: "closed" } }),
  ]);
  ann = await app.person("Ann");
  newcomer = await app.person("Newcomer");
  const [bob, gone, blocked, quiet, long] = await app.people("Bob", "Gone", "Blocked", "Quiet", LONG);
  const mine = await ann.open();
  for (const person of [bob!, gone!, blocked!, quiet!]) await (await person.open()).send("Ann", "hello");
  const theirs = await long!.open();
  for (let i = 0; i < 120; i++) theirs.say({ to: "Ann", message: `${i}: `.padEnd(200, "long ") });
  const tab = await bob!.open();
  for (const text of ["see https://example.org and `let a`", "```ts\nlet a = 1;\n```", "🙂", "one more\nline"]) {
    await mine.send("Bob", text);
    await tab.send("Ann", text);
  }
  await gone!.post("/me/delete", { password: PASSWORD });
  await ann.post("/blocks", { name: "Blocked", blocked: true });
  await ann.post("/mutes", { name: "Quiet", muted: true });
  await mine.close();
}, 60_000);

afterAll(async () => {
  await browser?.close();
  await Promise.all([app, invited, closed].map((each) => each?.stop()));
});

interface State {
  readonly name: string;
  /** Who looks; nobody is signed in without one. */
  readonly who?: () => Person;
  readonly at: string;
  readonly server?: () => TestApp;
  /** What there is to see. */
  readonly sees: string;
  /** What to do until it is there. */
  readonly act?: (page: Page) => Promise<unknown>;
}

const submit = async (page: Page, values: Record<string, string>) => {
  for (const [id, value] of Object.entries(values)) await page.fill(`#${id}`, value);
  await page.press(`#${Object.keys(values).at(-1)}`, "Enter");
};
const me = () => ann;

const STATES: State[] = [
  { name: "login", at: "/login", sees: "#username" },
  {
    name: "login, wrong",
    at: "/login",
    sees: "form > [role=alert]:visible",
    act: (page) => submit(page, { username: "Ann", password: "not my password" }),
  },
  { name: "sign-up", at: "/signup", sees: "#confirm" },
  {
    name: "sign-up, all wrong",
    at: "/signup",
    sees: "#confirm_error:visible",
    act: (page) => submit(page, { username: "!", password: "short", confirm: "shorter" }),
  },
  { name: "sign-up, closed", at: "/signup", server: () => closed, sees: ".why:visible" },
  { name: "sign-up, without an invitation", at: "/signup", server: () => invited, sees: ".why:visible" },
  { name: "no conversations", who: () => newcomer, at: "/", sees: "people-list .empty:visible" },
  { name: "conversations", who: me, at: "/", sees: "people-list .line" },
  { name: "an empty conversation", who: () => newcomer, at: "/#Ann", sees: ".greeting:visible" },
  { name: "somebody who does not exist", who: me, at: "/#nobody-of-that-name", sees: ".greeting:visible" },
  { name: "history", who: me, at: "/#Bob", sees: ".message pre" },
  { name: "unread", who: me, at: `/#${encodeURIComponent(LONG)}`, sees: ".day.new" },
  {
    name: "a failed message",
    who: me,
    at: "/#Bob",
    sees: ".failure:visible",
    act: async (page) => {
      await page.waitForSelector(".message");
      await page.evaluate(() => {
        const send = WebSocket.prototype.send;
        WebSocket.prototype.send = function (data) {
          const { ref } = JSON.parse(String(data));
          if (!ref) return send.call(this, data);
          const refusal = { type: "error", code: "invalid_text", message: "", ref };
          this.dispatchEvent(new MessageEvent("message", { data: JSON.stringify(refusal) }));
        };
      });
      await page.fill("textarea", "cannot be sent");
      await page.press("textarea", "Enter");
    },
  },
  {
    name: "offline",
    who: me,
    at: "/#Bob",
    sees: "connection-line:visible",
    act: async (page) => {
      await page.waitForSelector(".message");
      await page.context().setOffline(true);
      await page.evaluate(() => dispatchEvent(new Event("offline")));
    },
  },
  {
    name: "a text that is too long",
    who: me,
    at: "/#Bob",
    sees: "message-composer .problem:visible",
    act: (page) => page.fill("textarea", "x".repeat(4_001)),
  },
  {
    name: "people found",
    who: me,
    at: "/",
    sees: ".found a",
    act: (page) => page.fill("people-list input", "newc"),
  },
  {
    name: "nobody found",
    who: me,
    at: "/",
    sees: "people-list .note:not(:empty)",
    act: (page) => page.fill("people-list input", "nobody-of-that-name"),
  },
  { name: "the menu", who: me, at: "/", sees: "#menu:popover-open", act: (page) => page.click(".me") },
  {
    name: "the keys",
    who: me,
    at: "/",
    sees: ".keys-sheet",
    act: async (page) => {
      await page.click(".me");
      await page.click("#menu .keys");
    },
  },
  {
    name: "the menu of a conversation",
    who: me,
    at: "/#Bob",
    sees: "#options:popover-open",
    act: (page) => page.click("chat-header .more"),
  },
  {
    name: "the question before blocking",
    who: me,
    at: "/#Bob",
    sees: "dialog.question",
    act: async (page) => {
      await page.click("chat-header .more");
      await page.click("#options .block");
    },
  },
  {
    name: "the question of notifications",
    who: me,
    at: "/#Bob",
    sees: ".ask-attention:visible",
    act: (page) => page.evaluate(() => document.querySelector(".ask-attention")?.removeAttribute("hidden")),
  },
  { name: "somebody blocked", who: me, at: "/#Blocked", sees: ".closed:visible" },
  { name: "somebody who has left", who: me, at: "/#Gone", sees: ".closed:visible" },
  { name: "the account", who: me, at: "/account", sees: "blocked-people li" },
  {
    name: "the account, its errors",
    who: me,
    at: "/account",
    sees: "#new_error:visible",
    act: async (page) => {
      await page.waitForSelector("blocked-people li");
      await submit(page, { old: "x", new: "short", again: "shorter" });
    },
  },
  {
    name: "the account, its last question",
    who: me,
    at: "/account",
    sees: "account-deletion dialog:visible",
    act: async (page) => {
      await page.waitForSelector("blocked-people li");
      await submit(page, { last: "x" });
    },
  },
];

describe.each(STATES)("$name", ({ who, at, server, sees, act }) => {
  test.each(LANGUAGES)(
    "%s",
    async (locale) => {
      complaints.allow(/status of (403|404)/);
      const context = await browser.newContext({
        locale,
        reducedMotion: "reduce",
        viewport: { width: 1_280, height: 700 },
      });
      context.setDefaultTimeout(15_000);
      const url = local(server?.() ?? app);
      const [name = "", value = ""] = who?.().cookie.split(/=(.*)/s) ?? [];
      if (who) await context.addCookies([{ name, value, url }]);
      const page = await context.newPage();
      const opens = async () => {
        await page.goto("about:blank");
        await page.goto(url + at);
        await act?.(page);
        await page.waitForSelector(sees);
        await page.evaluate(axe.source);
      };
      for (const width of WIDTHS) {
        await page.setViewportSize({ width, height: 700 });
        if (width === WIDTHS[0] || act) await context.setOffline(false);
        if (width === WIDTHS[0] || act) await opens();
        expect(await page.getAttribute("html", "lang")).toBe(locale.slice(0, 2));
        for (const colorScheme of SCHEMES) {
          await page.emulateMedia({ colorScheme });
          const seen = await page.evaluate(async () => {
            // oxlint-disable-next-line typescript/no-explicit-any
            const { violations } = await (globalThis as any).axe.run(document, { resultTypes: ["violations"] });
            return {
              wide: document.documentElement.scrollWidth,
              violations: violations.map(
                (v: { id: string; nodes: { html: string }[] }) => `${v.id}: ${v.nodes[0]?.html}`,
              ),
            };
          });
          expect({ width, colorScheme, ...seen }).toEqual({ width, colorScheme, wide: width, violations: [] });
        }
      }
      await context.close();
    },
    60_000,
  );
});
