/**
 * Every state of the pages that people meet, and servers on which all of them can be seen: axe looks at each (`axe_test.ts`), and
 * `bun run screenshots --all` takes a picture of it.
 */

import type { Browser, Page } from "playwright-core";

import { scripted } from "./browser.ts";
import { cookieOf, PASSWORD, Person, post, startApp, type Tab, type TestApp } from "./harness.ts";
import { until } from "./until.ts";

/** As long as names get. */
const LONG = `Μαρία-${"ωραία".repeat(8)}`;
/** Written from right to left. */
const RIGHT = "ليلى";
const WILD = [
  "مرحبا! هل نلتقي غدا في الساعة 10:30؟",
  "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft ".repeat(2).trim(),
  "x".repeat(300),
  "https://example.org/a/very/long/address/that/goes/on/and/on/and/on?with=many&parameters=that&nobody=reads#at-all",
  "🌊",
  "👩‍👩‍👧‍👦🇬🇷👍🏽",
  "one line\n\n\nand another after two empty ones\n    indented",
  "שלום, the sea, θάλασσα, море, 海 — all in one line",
  "try `npx -y bun@1.4.5 run start`, then:\n```sh\nbun run chatify user add ann --admin   # a line of code longer than any phone is wide\n```",
];

type Who = "Ann" | "Newcomer" | "Petros" | "Host" | "Ended";

export interface State {
  readonly name: string;
  /** Who looks; nobody is signed in without one. */
  readonly who?: Who;
  readonly at: string;
  /** Whose door is open to whom; absent: to all. */
  readonly server?: "invite" | "closed";
  /** What there is to see. */
  readonly sees: string;
  /** What to do until it is there. */
  readonly act?: (page: Page, stage: Stage) => Promise<unknown>;
  /** What is there after a reload; absent: the same. */
  readonly stays?: string;
}

const submit = async (page: Page, values: Record<string, string>) => {
  await scripted(page); // till then the browser itself says what is wrong, in a bubble
  for (const [id, value] of Object.entries(values)) await page.fill(`#${id}`, value);
  await page.press(`#${Object.keys(values).at(-1)}`, "Enter");
};

const write = async (page: Page, ...texts: string[]) => {
  for (const text of texts) {
    await page.fill("textarea", text);
    await page.press("textarea", "Enter");
  }
};

const goOffline = async (page: Page) => {
  await page.waitForSelector(".message");
  await page.context().setOffline(true);
  await page.evaluate(() => dispatchEvent(new Event("offline")));
};

const TROUBLE = "connection-line[data-state=trouble]:visible";
const refuseSockets = async (page: Page, code?: number) => {
  await page.routeWebSocket(/\/ws\//, (socket) => socket.close(code === undefined ? {} : { code }));
  await page.reload();
};

/** Lets a page that is loaded again ask the network for its files. */
const noCache = async (page: Page) => {
  await page.evaluate(async () => {
    const { serviceWorker } = navigator;
    await serviceWorker.ready;
    for (const registration of await serviceWorker.getRegistrations()) await registration.unregister();
  });
  const devtools = await page.context().newCDPSession(page);
  await devtools.send("Network.setCacheDisabled", { cacheDisabled: true });
};

/** Lets a page wait for one of its scripts. */
const hold = async (page: Page) => {
  await noCache(page);
  await page.route("**/js/elements/chat_thread.js", () => {});
  await page.reload({ waitUntil: "commit" });
};

/** Lets a module fail however often it is asked for. */
const breakScripts = async (page: Page) => {
  await noCache(page);
  await page.route("**/js/util/names.js", (route) => route.abort("failed"));
  await page.reload();
};

/** Opens the menu once its buttons do something, with all that is in it. */
const openMenu = async (page: Page) => {
  await page.waitForSelector("people-list .line");
  await page.click(".me");
  await page.waitForSelector("#menu .sound:enabled", { state: "attached" });
};

export const STATES: readonly State[] = [
  { name: "login", at: "/login", sees: "#username" },
  {
    name: "login, wrong",
    at: "/login",
    sees: "form > [role=alert]:visible",
    act: (page) => submit(page, { username: "Ann", password: "not my password" }),
  },
  { name: "login, after a session ended elsewhere", who: "Ended", at: "/login", sees: ".ended:visible" },
  { name: "sign-up", at: "/signup", sees: "#confirm" },
  {
    name: "sign-up, all wrong",
    at: "/signup",
    sees: "#confirm_error:visible",
    stays: "#username",
    act: (page) => submit(page, { username: "!", password: "short", confirm: "shorter" }),
  },
  {
    name: "sign-up, a name that is taken",
    at: "/signup",
    sees: "#username_error:visible",
    stays: "#username",
    act: (page) => submit(page, { username: "ANN", password: PASSWORD, confirm: PASSWORD }),
  },
  { name: "sign-up, closed", at: "/signup", server: "closed", sees: ".why:visible" },
  { name: "sign-up, without an invitation", at: "/signup", server: "invite", sees: ".why:visible" },
  { name: "no conversations", who: "Newcomer", at: "/", sees: "people-list .empty:visible" },
  { name: "conversations", who: "Ann", at: "/", sees: "people-list .line" },
  { name: "an empty conversation", who: "Newcomer", at: "/#Ann", sees: ".greeting:visible" },
  { name: "somebody who does not exist", who: "Ann", at: "/#nobody-of-that-name", sees: ".greeting:visible" },
  { name: "history", who: "Ann", at: "/#Bob", sees: ".message pre" },
  { name: "unread", who: "Ann", at: `/#${encodeURIComponent(LONG)}`, sees: ".day.new" },
  {
    name: "a failed message",
    who: "Ann",
    at: "/#Bob",
    sees: ".failure:visible",
    stays: '.message:has-text("cannot be sent")',
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
      await write(page, "cannot be sent");
    },
  },
  {
    name: "offline",
    who: "Ann",
    at: "/#Bob",
    sees: "connection-line:visible",
    stays: ".message",
    act: goOffline,
  },
  {
    name: "offline, with texts that wait",
    who: "Petros",
    at: "/#Host",
    sees: ".message.waiting + .message.waiting",
    stays: '.message:has-text("Back in an hour")',
    act: async (page) => {
      await page.waitForSelector(".message");
      await goOffline(page);
      await write(page, "I am on the ferry", "Back in an hour");
      await page.waitForSelector("connection-line:visible");
    },
  },
  {
    name: "a server that is away",
    who: "Ann",
    at: "/#Bob",
    sees: "connection-line:visible",
    act: async (page) => {
      await page.route("**/me", (route) => route.abort("failed"));
      await refuseSockets(page);
    },
  },
  {
    name: "WebSockets that are blocked",
    who: "Ann",
    at: "/#Bob",
    sees: TROUBLE,
    stays: ".message",
    act: (page) => refuseSockets(page),
  },
  {
    name: "newer pages on the server",
    who: "Ann",
    at: "/#Bob",
    sees: "connection-line[data-state=update]:visible",
    stays: ".message",
    act: async (page) => {
      await page.routeWebSocket(/\/ws\//, (socket) => {
        const server = socket.connectToServer();
        server.onMessage((frame) => socket.send(String(frame).replace(/"version":"[^"]*"/, '"version":"newer"')));
      });
      await page.reload();
    },
  },
  {
    name: "one tab too many",
    who: "Ann",
    at: "/#Bob",
    sees: TROUBLE,
    stays: ".message",
    act: (page) => refuseSockets(page, 4_429),
  },
  {
    name: "a sign-in in the way",
    who: "Ann",
    at: "/",
    sees: TROUBLE,
    stays: ".line",
    act: async (page) => {
      await page.route("**/me", (route) => route.fulfill({ contentType: "text/html", body: "Welcome to the hotel" }));
      await refuseSockets(page);
    },
  },
  {
    name: "the page on a slow network",
    who: "Ann",
    at: "/#Bob",
    sees: "chat-thread .skeleton i:visible",
    stays: ".message",
    act: hold,
  },
  {
    name: "a page that cannot start",
    who: "Ann",
    at: "/#Bob",
    sees: ".not-loaded p:visible",
    stays: ".message",
    act: breakScripts,
  },
  {
    name: "a form without its scripts",
    at: "/login",
    sees: ".not-loaded p:visible",
    stays: "#username",
    act: breakScripts,
  },
  {
    name: "somebody typing",
    who: "Ann",
    at: "/#Bob",
    sees: "chat-header .status:text-matches('typing|γράφει')",
    stays: "chat-header .status.live",
    act: async (page, stage) => {
      const status = page.locator("chat-header .status", { hasText: /typing|γράφει/ });
      // Whether a page is connected is not to be seen, only that it is not.
      await until(
        "it is connected and hears of it",
        async () => {
          await Bun.sleep(2_000); // twice in 2 s would be passed on once
          stage.bob.say({ type: "typing", peer: "Ann" });
          return status.waitFor({ timeout: 1_000 }).then(
            () => true,
            () => false,
          );
        },
        15_000,
      );
    },
  },
  { name: "texts of all kinds", who: "Ann", at: `/#${encodeURIComponent(RIGHT)}`, sees: ".message .text pre" },
  { name: "notes to oneself, none yet", who: "Ann", at: "/#Ann", sees: ".greeting:visible" },
  {
    name: "a text that is too long",
    who: "Ann",
    at: "/#Bob",
    sees: "message-composer .problem:visible",
    act: (page) => page.fill("textarea", "x".repeat(4_001)),
  },
  {
    name: "people found",
    who: "Ann",
    at: "/",
    sees: ".found a",
    stays: "people-list .line",
    act: (page) => page.fill("people-list input", "newc"),
  },
  {
    name: "nobody found",
    who: "Ann",
    at: "/",
    sees: "people-list .note:not(:empty)",
    stays: "people-list .line",
    act: (page) => page.fill("people-list input", "nobody-of-that-name"),
  },
  {
    name: "the menu",
    who: "Ann",
    at: "/",
    sees: "#menu:popover-open",
    stays: "people-list .line",
    act: openMenu,
  },
  {
    name: "an invitation",
    who: "Host",
    at: "/",
    sees: "invite-link .made:visible",
    stays: "people-list .line",
    act: async (page) => {
      await openMenu(page);
      await page.click("invite-link .ask");
    },
  },
  {
    name: "the keys",
    who: "Ann",
    at: "/",
    sees: ".keys-sheet",
    stays: "people-list .line",
    act: async (page) => {
      await openMenu(page);
      await page.click("#menu .keys");
    },
  },
  {
    name: "the menu of a conversation",
    who: "Ann",
    at: "/#Bob",
    sees: "#options:popover-open",
    stays: ".message",
    act: (page) => page.click("chat-header .more"),
  },
  {
    name: "the question before blocking",
    who: "Ann",
    at: "/#Bob",
    sees: "dialog.question",
    stays: ".message",
    act: async (page) => {
      await page.click("chat-header .more");
      await page.click("#options .block");
    },
  },
  {
    name: "the question of notifications",
    who: "Ann",
    at: "/#Bob",
    sees: ".ask-notifications:visible",
    stays: ".message",
    act: (page) => page.evaluate(() => document.querySelector(".ask-notifications")?.removeAttribute("hidden")),
  },
  { name: "somebody blocked", who: "Ann", at: "/#Blocked", sees: "chat-thread[data-blocked] .message a" },
  { name: "somebody who has left", who: "Ann", at: "/#Gone", sees: ".closed:visible" },
  { name: "the account", who: "Ann", at: "/account", sees: "blocked-people li" },
  {
    name: "the account, its errors",
    who: "Ann",
    at: "/account",
    sees: "#new_error:visible",
    stays: "blocked-people li",
    act: async (page) => {
      await page.waitForSelector("blocked-people li");
      await submit(page, { old: "x", new: "short", again: "shorter" });
    },
  },
  {
    name: "the account, its last question",
    who: "Ann",
    at: "/account",
    sees: "account-deletion dialog:visible",
    stays: "blocked-people li",
    act: async (page) => {
      await page.waitForSelector("blocked-people li");
      await submit(page, { last: "x" });
    },
  },
];

/** Servers with people in every state. */
export class Stage {
  readonly #apps: Readonly<Record<"open" | "invite" | "closed", TestApp>>;
  readonly #cookies: Readonly<Record<string, string>>;
  /** A device of somebody Ann talks with. */
  readonly bob: Tab;

  private constructor(apps: Record<"open" | "invite" | "closed", TestApp>, people: readonly Person[], bob: Tab) {
    this.#apps = apps;
    this.#cookies = Object.fromEntries(people.map(({ name, cookie }) => [name, cookie]));
    this.bob = bob;
  }

  static async set(): Promise<Stage> {
    const [open, invite, closed] = await Promise.all([
      startApp(),
      startApp({ env: { SIGNUP: "invite" } }),
      startApp({ env: { SIGNUP: "closed" } }),
    ]);
    const fields = { username: "Host", password: PASSWORD, code: open.adminCode ?? "" };
    const host = new Person(open.url, "Host", cookieOf(await post(`${open.url}/signup`, fields)));
    const [ann, ...others] = await open.people("Ann", "Newcomer", "Petros", "Ended");
    await others.at(-1)!.get("/logout");
    const bob = await populate(open, ann!);
    await (await host.open()).send("Petros", "Welcome! Where are you?");
    return new Stage({ open, invite, closed }, [ann!, ...others, host], bob);
  }

  /** A window of whoever looks at a state. */
  async window(browser: Browser, state: State, options: Parameters<Browser["newContext"]>[0]): Promise<Page> {
    const context = await browser.newContext({ reducedMotion: "reduce", ...options });
    context.setDefaultTimeout(15_000);
    if (state.who) {
      const [name = "", value = ""] = this.#cookies[state.who]!.split(/=(.*)/s);
      await context.addCookies([{ name, value, url: this.#url(state) }]);
    }
    return context.newPage();
  }

  /** Brings a page into a state. */
  async show(page: Page, state: State): Promise<void> {
    await page.context().setOffline(false);
    await page.unrouteAll({ behavior: "ignoreErrors" });
    await page.goto("about:blank");
    await page.goto(this.#url(state) + state.at);
    await state.act?.(page, this);
    await page.waitForSelector(state.sees);
    // What a form says without a script is there before the words of the language are.
    await scripted(page);
  }

  async end(): Promise<void> {
    await Promise.all(Object.values(this.#apps).map((app) => app.stop()));
  }

  #url(state: State): string {
    return this.#apps[state.server ?? "open"].url.replace("127.0.0.1", "localhost");
  }
}

/** Lets people write to Ann, leave, and be blocked. @returns Bob's device */
async function populate(app: TestApp, ann: Person): Promise<Tab> {
  const names = ["Bob", "Gone", "Blocked", "Quiet", LONG, RIGHT];
  const [bob, gone, blocked, quiet, long, right] = await app.people(...names);
  const mine = await ann.open();
  for (const person of [bob!, gone!, blocked!, quiet!]) await (await person.open()).send("Ann", "hello");
  const theirs = await long!.open();
  for (let i = 0; i < 120; i++) theirs.say({ to: "Ann", message: `${i}: `.padEnd(200, "long ") });
  const wild = await right!.open();
  for (const [i, text] of WILD.entries()) await (i % 3 ? wild.send("Ann", text) : mine.send(RIGHT, text));
  const tab = await bob!.open();
  for (const text of ["see https://example.org and `let a`", "```ts\nlet a = 1;\n```", "🙂", "one more\nline"]) {
    await mine.send("Bob", text);
    await tab.send("Ann", text);
  }
  await mine.send("Blocked", "please stop, see https://example.org and `let a`");
  await gone!.post("/me/delete", { password: PASSWORD });
  await ann.post("/blocks", { name: "Blocked", blocked: true });
  await ann.post("/mutes", { name: "Quiet", muted: true });
  await mine.close();
  return tab;
}
