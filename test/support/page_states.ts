/**
 * Every distinct state of the pages, and servers on which each can be shown: `axe_test.ts` checks them, `bun run screenshots --all`
 * takes pictures.
 */

import type { Browser, BrowserContextOptions, Page } from "playwright-core";

import { addSession, fillForm, localhost, scripted, write } from "./browser.ts";
import { PASSWORD, type Person, post, startApp, type Tab, type TestApp } from "./harness.ts";
import { BLUE, GREEN, png } from "./images.ts";
import { until } from "./until.ts";

/** The longest name that is allowed. */
const LONG = `Μαρία-${"ωραία".repeat(8)}`;
const LONG_BLOCKED = `blocked-${"bob".repeat(14)}`;
const RIGHT_TO_LEFT = "ليلى";
const IPHONE =
  "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 Version/18.0 Mobile/15E148 Safari/604.1";
const UNUSUAL_TEXTS = [
  "مرحبا! هل نلتقي غدا في الساعة 10:30؟",
  "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft ".repeat(2).trim(),
  "x".repeat(300),
  "https://example.org/a/very/long/address/that/goes/on/and/on/and/on?with=many&parameters=in&its=query#and-a-fragment",
  "🌊",
  "👩‍👩‍👧‍👦🇬🇷👍🏽",
  "one line\n\n\nand another after two empty ones\n    indented",
  "שלום, the sea, θάλασσα, море, 海 — all in one line",
  "try `npx -y bun@1.4.5 run start`, then:\n```sh\nbun run chatify user add ann --admin   # a line of code longer than any phone is wide\n```",
];

type User = "Ann" | "Newcomer" | "Petros" | "Host" | "Ended" | "First";

export interface State {
  readonly name: string;
  /** The signed-in user. */
  readonly user?: User;
  readonly path: string;
  /** The server's sign-up policy; open by default. */
  readonly server?: "invite" | "closed";
  /** A selector of what the state shows. */
  readonly shows: string;
  /** Changes the network before the page loads. */
  readonly prepare?: (page: Page) => Promise<unknown>;
  /** Brings the loaded page into the state. */
  readonly act?: (page: Page, stage: Stage) => Promise<unknown>;
  /** What a reload shows; the same by default. */
  readonly reloaded?: string;
  /** The page's script does not load. */
  readonly lacksScript?: true;
}

const submit = async (page: Page, values: Record<string, string>) => {
  await scripted(page); // before, the browser validates the form itself
  await fillForm(page, values);
};

const openEntryMenu = async (page: Page, name = "Bob") => {
  await page.click(`.entry[data-name="${name}"]`, { button: "right" });
  await page.waitForSelector(".message-menu");
};

const goOffline = async (page: Page) => {
  await page.waitForSelector(".message");
  await page.context().setOffline(true);
  await page.evaluate(() => {
    WebSocket.prototype.send = function () {
      this.close(); // an open socket outlives the network until its probe times out
    };
    dispatchEvent(new Event("offline"));
  });
};

const TROUBLE = "connection-banner[data-state=trouble]:visible";
const refuseSockets = (page: Page, code?: number) =>
  page.routeWebSocket(/\/ws\//, (socket) => socket.close(code === undefined ? {} : { code }));
const breakScripts = (page: Page) =>
  page.route(/\/js\/(?:chat|account|form|signup)\.js$/, (route) => route.abort("failed"));

/** Opens the menu once its buttons work, with all its parts. */
const openMenu = async (page: Page) => {
  await page.waitForSelector("conversation-list .entry");
  await page.click(".me");
  await page.waitForSelector("#menu .sound:enabled", { state: "attached" });
};

/** Moves the pointer over a message until its bar is shown: it loads, and quotes that load move the message. */
const showBar = async (page: Page, message: string) => {
  const text = page.locator(`${message} .text`).last();
  let x = 0;
  await until("the bar is shown", async () => {
    await text.hover({ position: { x: 2 + (x++ % 2), y: 4 } });
    return page.locator(message).last().locator(".message-bar").isVisible();
  });
  return text;
};

/** Opens the menu of a message. */
const openMessageMenu = async (page: Page, message = ".message:not(.mine)") => {
  const text = await showBar(page, message);
  await text.click({ button: "right" });
  await page.waitForSelector(".message-menu");
};

const SELECT = /Select|Επιλογή/;

const select = async (page: Page) => {
  await openMessageMenu(page);
  await page.locator(".message-menu .row", { hasText: SELECT }).click();
  await page.locator(".message .bubble").first().click();
};

export const STATES: readonly State[] = [
  { name: "login", path: "/login", shows: "#username" },
  {
    name: "login, wrong password",
    path: "/login",
    shows: "form > [role=alert]:visible",
    act: (page) => submit(page, { username: "Ann", password: "not my password" }),
  },
  { name: "login, after a session ended elsewhere", user: "Ended", path: "/login", shows: ".ended:visible" },
  { name: "sign-up", path: "/signup", shows: "#confirm" },
  {
    name: "sign-up, all fields invalid",
    path: "/signup",
    shows: "#confirm_error:visible",
    reloaded: "#username",
    act: (page) => submit(page, { username: "!", password: "short", confirm: "shorter" }),
  },
  {
    name: "sign-up, name taken",
    path: "/signup",
    shows: "#username_error:visible",
    reloaded: "#username",
    act: (page) => submit(page, { username: "ANN", password: PASSWORD, confirm: PASSWORD }),
  },
  { name: "sign-up, closed", path: "/signup", server: "closed", shows: ".why:visible" },
  { name: "sign-up, invitation required", path: "/signup", server: "invite", shows: ".why:visible" },
  { name: "no conversations", user: "Newcomer", path: "/", shows: "conversation-list .empty:visible" },
  {
    name: "no one else here",
    user: "First",
    server: "invite",
    path: "/",
    shows: "conversation-list .alone .ask:visible",
  },
  { name: "unknown address", path: "/nothing", shows: ".not-found" },
  { name: "conversations", user: "Ann", path: "/", shows: "conversation-list .entry" },
  {
    name: "conversations, menu of one",
    user: "Ann",
    path: "/",
    shows: ".message-menu",
    reloaded: "conversation-list .entry",
    act: (page) => openEntryMenu(page),
  },
  {
    name: "conversations, for how long to mute",
    user: "Ann",
    path: "/",
    shows: ".message-menu",
    reloaded: "conversation-list .entry",
    act: async (page) => {
      await openEntryMenu(page);
      await page.locator(".message-menu [aria-haspopup]").click();
    },
  },
  {
    name: "conversations, archive",
    user: "Ann",
    path: "/",
    shows: ".archive-head:visible",
    reloaded: "conversation-list .entry",
    act: (page) => page.click(".archive-row"),
  },
  {
    name: "conversations, archive is empty",
    user: "Petros",
    path: "/",
    shows: ".archive-empty:visible",
    reloaded: "conversation-list .entry",
    act: async (page) => {
      await openEntryMenu(page, "Host");
      await page.locator(".message-menu [role=menuitem]").last().click();
      await page.click(".archive-row");
      await page.click(".toast button");
    },
  },
  {
    name: "conversations, archiving that can be undone",
    user: "Petros",
    path: "/",
    shows: ".toast",
    reloaded: "conversation-list .entry, .archive-row:visible",
    act: async (page) => {
      await page.waitForSelector(".entry, .archive-row:visible");
      if (await page.locator(".archive-row").isVisible()) await page.click(".archive-row");
      await openEntryMenu(page, "Host");
      await page.locator(".message-menu [role=menuitem]").last().click();
    },
  },
  { name: "conversation, empty", user: "Newcomer", path: "/#Ann", shows: ".greeting:visible" },
  { name: "conversation, unknown name", user: "Ann", path: "/#unknown-name", shows: ".greeting:visible" },
  { name: "conversation, history", user: "Ann", path: "/#Bob", shows: ".message pre" },
  { name: "conversation, unread messages", user: "Ann", path: `/#${encodeURIComponent(LONG)}`, shows: ".day.new" },
  {
    name: "conversation, failed message",
    user: "Ann",
    path: "/#Bob",
    shows: ".failure:visible",
    reloaded: '.message:has-text("cannot be sent")',
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
    user: "Ann",
    path: "/#Bob",
    shows: "connection-banner:visible",
    reloaded: ".message",
    act: goOffline,
  },
  {
    name: "offline, pending messages",
    user: "Petros",
    path: "/#Host",
    shows: ".message.waiting + .message.waiting",
    reloaded: '.message:has-text("Back in an hour")',
    act: async (page) => {
      await page.waitForSelector(".message");
      await goOffline(page);
      for (const text of ["I am on the ferry", "Back in an hour"]) await write(page, text);
      await page.waitForSelector("connection-banner:visible");
    },
  },
  {
    name: "server unreachable",
    user: "Ann",
    path: "/#Bob",
    shows: "connection-banner:visible",
    act: async (page) => {
      await page.route("**/me", (route) => route.abort("failed"));
      await refuseSockets(page);
      await page.reload(); // the browser remembers the user by now
    },
  },
  {
    name: "WebSockets blocked",
    user: "Ann",
    path: "/#Bob",
    shows: TROUBLE,
    reloaded: ".message",
    prepare: (page) => refuseSockets(page),
  },
  {
    name: "update available",
    user: "Ann",
    path: "/#Bob",
    shows: "connection-banner[data-state=update]:visible",
    reloaded: ".message",
    prepare: (page) =>
      page.routeWebSocket(/\/ws\//, (socket) => {
        const server = socket.connectToServer();
        server.onMessage((frame) => socket.send(String(frame).replace(/"version":"[^"]*"/, '"version":"newer"')));
      }),
  },
  {
    name: "too many tabs",
    user: "Ann",
    path: "/#Bob",
    shows: TROUBLE,
    reloaded: ".message",
    prepare: (page) => refuseSockets(page, 4_429),
  },
  {
    name: "captive portal",
    user: "Ann",
    path: "/",
    shows: TROUBLE,
    reloaded: ".entry",
    act: async (page) => {
      await page.route("**/me", (route) => route.fulfill({ contentType: "text/html", body: "Welcome to the hotel" }));
      await refuseSockets(page);
      await page.reload(); // the browser remembers the user by now
    },
  },
  {
    name: "page loading slowly",
    user: "Ann",
    path: "/#Bob",
    shows: "chat-thread .skeleton i:visible",
    reloaded: ".message",
    prepare: (page) => page.route("**/messages/**", () => {}),
  },
  {
    name: "page failed to load",
    user: "Ann",
    path: "/#Bob",
    shows: ".not-loaded p:visible",
    reloaded: ".message",
    prepare: breakScripts,
    lacksScript: true,
  },
  {
    name: "form failed to load its scripts",
    path: "/login",
    shows: ".not-loaded p:visible",
    reloaded: "#username",
    prepare: breakScripts,
    lacksScript: true,
  },
  {
    name: "peer typing",
    user: "Ann",
    path: "/#Bob",
    shows: "chat-header .status:text-matches('typing|γράφει')",
    reloaded: "chat-header .status.live",
    act: async (page, stage) => {
      const status = page.locator("chat-header .status", { hasText: /typing|γράφει/ });
      // Before the socket is open, the frame is lost; the server passes on one in 2 s.
      await until(
        "the page shows that Bob is typing",
        () => {
          stage.bob.say({ type: "typing", peer: "Ann" });
          return status.waitFor({ timeout: 2_100 }).then(
            () => true,
            () => false,
          );
        },
        15_000,
      );
    },
  },
  {
    name: "conversation, unusual texts",
    user: "Ann",
    path: `/#${encodeURIComponent(RIGHT_TO_LEFT)}`,
    shows: ".message .text pre",
  },
  { name: "notes, empty", user: "Ann", path: "/#Ann", shows: ".greeting:visible" },
  {
    name: "composer, text too long",
    user: "Ann",
    path: "/#Bob",
    shows: "message-composer .problem:visible",
    act: (page) => page.fill("textarea", "x".repeat(4_001)),
  },
  {
    name: "search, results",
    user: "Ann",
    path: "/",
    shows: ".found a",
    reloaded: "conversation-list .entry",
    act: (page) => page.fill("conversation-list input", "newc"),
  },
  {
    name: "search, no results",
    user: "Ann",
    path: "/",
    shows: "conversation-list .note:not(:empty)",
    reloaded: "conversation-list .entry",
    act: (page) => page.fill("conversation-list input", "unknown-name"),
  },
  {
    name: "menu",
    user: "Ann",
    path: "/",
    shows: "#menu:popover-open",
    reloaded: "conversation-list .entry",
    act: openMenu,
  },
  {
    name: "menu, invitation",
    user: "Host",
    path: "/",
    shows: "invite-link .made:visible",
    reloaded: "conversation-list .entry",
    act: async (page) => {
      await openMenu(page);
      await page.click("invite-link .ask");
    },
  },
  {
    name: "keyboard shortcuts",
    user: "Ann",
    path: "/",
    shows: ".keys-sheet",
    reloaded: "conversation-list .entry",
    act: async (page) => {
      await openMenu(page);
      await page.click("#menu .keys");
    },
  },
  {
    name: "conversation menu",
    user: "Ann",
    path: "/#Bob",
    shows: "#options:popover-open",
    reloaded: ".message",
    act: (page) => page.click("chat-header .more"),
  },
  {
    name: "message, bar",
    user: "Ann",
    path: "/#Bob",
    shows: ".message-bar",
    reloaded: ".message",
    act: (page) => showBar(page, ".message"),
  },
  {
    name: "message, menu",
    user: "Ann",
    path: "/#Bob",
    shows: ".message-menu:popover-open",
    reloaded: ".message",
    act: (page) => openMessageMenu(page),
  },
  {
    name: "message, reply",
    user: "Ann",
    path: "/#Bob",
    shows: ".reference",
    reloaded: ".message",
    act: async (page) => {
      await openMessageMenu(page);
      await page.locator(".message-menu .row").first().click();
    },
  },
  {
    name: "message, edit",
    user: "Ann",
    path: "/#Bob",
    shows: ".reference",
    reloaded: ".message",
    act: async (page) => {
      await page.waitForSelector(".message.mine");
      await page.press("textarea", "ArrowUp");
    },
  },
  {
    name: "message, deletion that can be undone",
    user: "Petros",
    path: "/#Petros",
    shows: ".toast button",
    reloaded: "message-composer",
    act: async (page) => {
      await page.fill("textarea", "a note");
      await page.click("message-composer .send");
      await openMessageMenu(page, ".message:not(.deleted)");
      await page.click(".message-menu .danger");
    },
  },
  {
    name: "messages, selection",
    user: "Ann",
    path: "/#Bob",
    shows: ".selection-bar",
    reloaded: ".message",
    act: select,
  },
  {
    name: "messages, forward",
    user: "Ann",
    path: "/#Bob",
    shows: ".forward-dialog[open]",
    reloaded: ".message",
    act: async (page) => {
      await select(page);
      await page.click(".selection-bar .forward");
      await page.locator(".forward-dialog label").first().click();
    },
  },
  {
    name: "messages, deletion question",
    user: "Petros",
    path: "/#Petros",
    shows: ".question[open]",
    reloaded: "message-composer",
    act: async (page) => {
      await page.fill("textarea", "a note");
      await page.click("message-composer .send");
      await openMessageMenu(page, ".message:not(.deleted)");
      await page.locator(".message-menu .row", { hasText: SELECT }).click();
      await page.click(".selection-bar .delete");
    },
  },
  {
    name: "block confirmation",
    user: "Ann",
    path: "/#Bob",
    shows: "dialog.question",
    reloaded: ".message",
    act: async (page) => {
      await page.click("chat-header .more");
      await page.click("#options .block");
    },
  },
  {
    name: "notification prompt",
    user: "Ann",
    path: "/#Bob",
    shows: ".ask-notifications:visible",
    reloaded: ".message",
    act: (page) => page.evaluate(() => document.querySelector(".ask-notifications")?.removeAttribute("hidden")),
  },
  { name: "conversation, long display name", user: "Ann", path: "/#Quiet", shows: "chat-header .handle:visible" },
  {
    name: "search, found by display name",
    user: "Newcomer",
    path: "/",
    shows: "conversation-list .found .handle:visible",
    reloaded: "conversation-list .empty:visible",
    act: (page) => page.fill("conversation-list input", "Smith"),
  },
  { name: "conversation, peer blocked", user: "Ann", path: "/#Blocked", shows: "chat-thread[data-blocked] .message a" },
  { name: "conversation, peer deleted", user: "Ann", path: "/#Gone", shows: ".closed:visible" },
  { name: "account", user: "Ann", path: "/account", shows: "blocked-people li" },
  {
    name: "account, a photo before it is saved, and an invalid display name",
    user: "Ann",
    path: "/account",
    shows: "profile-form canvas:visible",
    reloaded: "profile-form .remove:visible",
    act: async (page) => {
      await page.waitForSelector("profile-form #display_name:enabled");
      await page.setInputFiles("profile-form .file", { name: "a.png", mimeType: "image/png", buffer: png(64, 64) });
      await page.waitForSelector("profile-form canvas:visible");
      await submit(page, { display_name: "@ann" });
      await page.waitForSelector("#display_name_error:visible");
    },
  },
  {
    name: "account, a file that is no image",
    user: "Ann",
    path: "/account",
    shows: "profile-form .photo-error:visible",
    reloaded: "profile-form .remove:visible",
    act: async (page) => {
      await page.waitForSelector("profile-form #display_name:enabled");
      const buffer = Buffer.from("<svg/>");
      await page.setInputFiles("profile-form .file", { name: "a.png", mimeType: "image/png", buffer });
    },
  },
  {
    name: "account, errors",
    user: "Ann",
    path: "/account",
    shows: "#new_error:visible",
    reloaded: "blocked-people li",
    act: async (page) => {
      await page.waitForSelector("blocked-people li");
      await submit(page, { old: "x", new: "short", again: "shorter" });
    },
  },
  {
    name: "account, deletion confirmation",
    user: "Ann",
    path: "/account",
    shows: "account-deletion dialog:visible",
    reloaded: "blocked-people li",
    act: async (page) => {
      await page.waitForSelector("blocked-people li");
      await submit(page, { deletion_password: "x" });
    },
  },
];

/** Servers on which every state can be shown. */
export class Stage {
  readonly #apps: Readonly<Record<"open" | "invite" | "closed", TestApp>>;
  readonly #people: ReadonlyMap<string, Person>;
  /** A device of Bob, with whom Ann has a conversation. */
  readonly bob: Tab;

  private constructor(apps: Record<"open" | "invite" | "closed", TestApp>, people: readonly Person[], bob: Tab) {
    this.#apps = apps;
    this.#people = new Map(people.map((person) => [person.name, person]));
    this.bob = bob;
  }

  static async start(): Promise<Stage> {
    const [open, invite, closed] = await Promise.all([
      startApp(),
      startApp({ env: { SIGNUP: "invite" } }),
      startApp({ env: { SIGNUP: "closed" } }),
    ]);
    const [host, first] = [await open.admin("Host"), await invite.admin("First")];
    const [ann, ...others] = await open.people("Ann", "Newcomer", "Petros", "Ended");
    await others.at(-1)!.get("/logout");
    const bob = await populate(open, ann!);
    await (await host.open()).send("Petros", "Welcome! Where are you?");
    return new Stage({ open, invite, closed }, [ann!, ...others, host, first], bob);
  }

  get url(): string {
    return this.#apps.open.url;
  }

  /** A blank page of the user who sees a state. Without a service worker, routes reach every request. */
  async page(browser: Browser, state: State, options: BrowserContextOptions): Promise<Page> {
    const context = await browser.newContext({ reducedMotion: "reduce", serviceWorkers: "block", ...options });
    context.setDefaultTimeout(15_000);
    if (state.user) await addSession(context, this.#people.get(state.user)!, this.#urlOf(state));
    return context.newPage();
  }

  /** Brings a page into a state, whatever it showed before. */
  async show(page: Page, state: State): Promise<void> {
    await release(page);
    await page.goto("about:blank");
    await state.prepare?.(page);
    await page.goto(this.#urlOf(state) + state.path, { waitUntil: state.prepare ? "commit" : "load" });
    await state.act?.(page, this);
    await page.waitForSelector(state.shows);
    if (state.path !== "/nothing" && !state.lacksScript) await scripted(page); // what a form says without scripts shows before its translation
  }

  async stop(): Promise<void> {
    await Promise.all(Object.values(this.#apps).map((app) => app.stop()));
  }

  #urlOf(state: State): string {
    return localhost(this.#apps[state.server ?? "open"].url);
  }
}

/** Undoes what a state does to the network. */
export async function release(page: Page): Promise<void> {
  await page.context().setOffline(false);
  await page.unrouteAll({ behavior: "ignoreErrors" });
}

async function givePhoto(app: TestApp, { cookie }: Person): Promise<void> {
  const body = png(64, 64, (_, y) => (y < 0.5 ? BLUE : GREEN)) as Uint8Array<ArrayBuffer>;
  await fetch(`${app.url}/me/photo`, { method: "POST", headers: { cookie, "content-type": "image/png" }, body });
}

/** Lets users write to Ann, delete their account, and be blocked. @returns Bob's device */
async function populate(app: TestApp, ann: Person): Promise<Tab> {
  const names = ["Bob", "Put-away", "Gone", "Blocked", "Quiet", LONG, RIGHT_TO_LEFT, LONG_BLOCKED];
  const [bob, away, gone, blocked, quiet, long, right] = await app.people(...names);
  const mine = await ann.open();
  for (const person of [bob!, away!, gone!, blocked!, quiet!]) await (await person.open()).send("Ann", "hello");
  const theirs = await long!.open();
  for (let i = 0; i < 120; i++) theirs.say({ to: "Ann", message: `${i}: `.padEnd(200, "long ") });
  const wild = await right!.open();
  for (const [i, text] of UNUSUAL_TEXTS.entries())
    await (i % 3 ? wild.send("Ann", text) : mine.send(RIGHT_TO_LEFT, text));
  await right!.post("/me/profile", { display_name: "ليلى من الجزيرة البعيدة" });
  await quiet!.post("/me/profile", { display_name: "Dr. Ann-Sophie Smith-Papadopoulou of the Far Isles" });
  await blocked!.post("/me/profile", { display_name: "Someone Else" });
  await givePhoto(app, ann);
  await givePhoto(app, bob!);
  const tab = await bob!.open();
  for (const text of ["see https://example.org and `let a`", "```ts\nlet a = 1;\n```", "🙂", "one more\nline"]) {
    await mine.send("Bob", text);
    await tab.send("Ann", text);
  }
  for (const [from, peer, seq, emoji] of [
    [tab, "Ann", 2, "👍"],
    [mine, "Bob", 2, "❤️"],
    [mine, "Bob", 3, "😂"],
    [tab, "Ann", 4, "👍"],
    [mine, "Bob", 4, "👍"],
  ] as const)
    from.say({ type: "react", peer, seq, emoji, ref: from.newRef() });
  tab.say({ to: "Ann", message: "That one, yes", reply_to: 2 });
  await mine.send("Blocked", "please stop, see https://example.org and `let a`");
  await gone!.post("/me/delete", { password: PASSWORD });
  for (const name of ["Blocked", LONG_BLOCKED]) await ann.post("/blocks", { name, blocked: true });
  await ann.post("/mutes", { name: "Quiet", muted: true });
  for (const [name, changes] of [
    ["Quiet", { pinned: true }],
    [LONG, { pinned: true }],
    ["Gone", { marked_unread: true }],
    ["Put-away", { archived: true }],
  ] as const)
    await ann.post("/conversations", { name, ...changes });
  await post(`${app.url}/login`, { username: "Ann", password: PASSWORD }, { "user-agent": IPHONE });
  await mine.close();
  return tab;
}
