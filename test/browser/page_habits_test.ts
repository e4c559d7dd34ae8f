/** Everyday use: fast clicks and keys, going back, zoom, touch, and a list longer than its first page. */

import { expect, setDefaultTimeout, test } from "bun:test";

import type { BrowserContextOptions, Page } from "playwright-core";

import { nameOf } from "../../tools/support/users.ts";
import { fillForm, goToPeer, hold, peerOnScreen, scripted, signOut, useBrowser } from "../support/browser.ts";
import { spreadOverTime, startFilledApp } from "../support/filled_app.ts";
import { PASSWORD } from "../support/harness.ts";
import { until } from "../support/until.ts";

setDefaultTimeout(30_000);

/** More than the list's first page; each has one unread message. */
const CONVERSATIONS = 70;
const [BOB, CARL, STRANGER] = [nameOf(1), nameOf(2), nameOf(100)];
/** At the end of the list: a muted one, a deleted account, and two ordinary ones. */
const [MUTED, DELETED, FAR, AWAY] = [0, 1, 2, 3].map((i) => nameOf(CONVERSATIONS - i)) as [
  string,
  string,
  string,
  string,
];

const chat = useBrowser(() =>
  startFilledApp(async (database) => {
    await database.addUsers(110);
    await database.addConversations([[0, 1]], 40, 1);
    await database.addConversations(
      Array.from({ length: CONVERSATIONS - 1 }, (_, i) => [0, 2 + i] as const),
      3,
      1,
    );
    await spreadOverTime(database);
    await database.sql`update memberships set muted = true where peer = ${MUTED}`;
    await database.sql`update users set deleted_at = now() where username = ${DELETED}`;
  }),
);

const enter = (peer?: string, options: BrowserContextOptions = {}, user = 0): Promise<Page> =>
  chat.open(chat.server.user(user), peer === undefined ? "/" : `/#${peer}`, options);

const entry = (page: Page, name: string) => page.locator(`conversation-list a[data-name="${name}"]`);
const current = async (page: Page) =>
  (await page.locator("conversation-list [aria-current]").getAttribute("data-name")) ?? "";
const focused = (page: Page) =>
  page.evaluate(() => {
    const { activeElement } = document;
    return (activeElement as HTMLElement).dataset["name"] ?? activeElement?.className ?? "";
  });

test("hides the previous conversation while a name is resolved", async () => {
  const page = await enter(BOB);
  const release = await hold(page, "**/get_users*");
  await goToPeer(page, STRANGER);
  await until("the header has the new name", async () => (await peerOnScreen(page)) === STRANGER, 1_000);
  expect(await page.locator("textarea").isVisible()).toBe(false);
  expect(await page.locator("chat-thread .message").count()).toBe(0);
  release();
  await page.waitForSelector("textarea:visible");
  expect(await page.locator("textarea").getAttribute("aria-label")).toContain(STRANGER);
});

test("opens a search result without resolving its name again", async () => {
  const page = await enter(BOB);
  await page.fill("conversation-list input", STRANGER);
  await page.waitForSelector(".found a");
  await page.route("**/get_users*", () => {}); // never answered
  await page.click(".found a");
  await until("the header has the name", async () => (await peerOnScreen(page)) === STRANGER, 1_000);
  await page.waitForSelector("textarea:visible");
});

test("marks the open conversation in the list, forward and back", async () => {
  const page = await enter(BOB);
  const both = async (name: string) => (await peerOnScreen(page)) === name && (await current(page)) === name;
  await until("Bob is open", () => both(BOB));
  await entry(page, CARL).click();
  await until("Carl is open", () => both(CARL));
  await entry(page, BOB).click();
  await until("Bob is open again", () => both(BOB));
  await page.goBack();
  await until("Carl is open after going back", () => both(CARL));
  await page.goBack();
  await until("Bob is open after going back", () => both(BOB));
  await page.goForward();
  await until("Carl is open after going forward", () => both(CARL));
});

test("opens the first result on Enter, even before results arrive", async () => {
  const page = await enter();
  const release = await hold(page, "**/get_users*");
  const request = page.waitForRequest("**/get_users*");
  await page.focus("conversation-list input");
  await page.keyboard.type(STRANGER);
  await page.keyboard.press("Enter");
  await request;
  release();
  await until("the result is open", async () => (await peerOnScreen(page)) === STRANGER);
});

test("keeps the focus on a row that moves up, and closes only the menu on Escape", async () => {
  const page = await enter(BOB);
  await entry(page, CARL).click();
  await until("Carl is on screen", async () => (await peerOnScreen(page)) === CARL);
  await page.waitForSelector("textarea:visible");
  await page.keyboard.press("Escape");
  await until("the row has the focus", async () => (await focused(page)) === CARL);
  await (await chat.server.user(2).open()).send(nameOf(0), "I am first now");
  await until(
    "the row is the first",
    async () => (await page.locator("conversation-list .entry").first().getAttribute("data-name")) === CARL,
  );
  expect(await focused(page)).toBe(CARL);

  await page.focus("chat-header .more");
  await page.keyboard.press("Enter");
  await page.waitForSelector("#options:popover-open");
  await page.keyboard.press("Escape");
  await page.waitForSelector("#options:popover-open", { state: "detached" });
  expect(await focused(page)).toContain("more");
});

test.each([
  { width: 640, height: 360 },
  { width: 320, height: 256 },
])("reaches every menu entry, and leaves room to read while writing, at $width × $height", async (viewport) => {
  const page = await enter(undefined, { viewport });
  await page.click(".me");
  for (const entry of ["#menu .notes", "#menu .sign-out button", "#menu language-choice button >> nth=1"]) {
    await page.locator(entry).scrollIntoViewIfNeeded();
    const box = await page.locator(entry).boundingBox();
    expect(box && box.y >= 0 && box.y + box.height <= viewport.height, entry).toBe(true);
  }
  await page.goto(`${chat.url}/#${BOB}`);
  await page.fill("textarea", "line\n".repeat(12));
  expect((await page.locator("chat-thread .scroller").boundingBox())?.height).toBeGreaterThan(40);
  expect(await page.evaluate(() => document.documentElement.scrollHeight)).toBe(viewport.height);
});

test("reports an unreachable server at sign-out, and erases nothing", async () => {
  const page = await enter(BOB, {}, 3);
  await page.waitForSelector("textarea:visible");
  const dialogs: string[] = [];
  page.on("dialog", (dialog) => {
    dialogs.push(dialog.message());
    void dialog.accept();
  });
  await page.context().setOffline(true);
  await signOut(page);
  await until("the page reports it", async () => dialogs.length === 1);
  expect(dialogs).toEqual(["Could not reach the server. Try again."]);
  expect(await page.locator("textarea").isVisible()).toBe(true);
  await page.context().setOffline(false);
  await page.click("#menu .sign-out button");
  await page.waitForURL(`${chat.url}/login`);
  expect(dialogs).toHaveLength(1);
});

test("counts unread messages of unloaded conversations in the title, but not of muted ones", async () => {
  const page = await enter();
  const title = (count: number) => async () => (await page.title()) === `(${count}) chatify`;
  const [{ count = 0 } = {}] = await chat.server.sql<{ count: number }[]>`
    select sum(c.low_unread)::int as count
    from conversations c
    join memberships m on m.owner = c.low and m.peer = c.high
    where c.low = ${nameOf(0)} and not m.muted
  `;
  expect(count).toBeGreaterThan(CONVERSATIONS - 5);
  await until("all are counted", title(count));
  await goToPeer(page, AWAY);
  await until("one fewer after reading", title(count - 1));
  await until("the rest of the list changes nothing", async () => {
    await page.evaluate(() => document.querySelector("conversation-list .scroll")?.scrollBy(0, 10_000));
    return (
      (await page.locator("conversation-list .conversations > li").last().getAttribute("aria-setsize")) ===
      String(CONVERSATIONS)
    );
  });
  expect(await page.title()).toBe(`(${count - 1}) chatify`);
});

test("respects mute and deleted accounts of unloaded conversations", async () => {
  const page = await enter();
  await page.evaluate(() => {
    Reflect.set(globalThis, "sounds", 0);
    const { start } = AudioScheduledSourceNode.prototype;
    AudioScheduledSourceNode.prototype.start = function (when) {
      Reflect.set(globalThis, "sounds", Reflect.get(globalThis, "sounds") + 1);
      start.call(this, when);
    };
  });
  await page.mouse.click(700, 300); // sound needs a click
  await until("the page can play sound", () =>
    page.evaluate(async () => {
      const { held = [] } = await navigator.locks.query();
      return held.some(({ name }) => name?.endsWith("/sound"));
    }),
  );
  const muted = await chat.server.user(CONVERSATIONS).open();
  const release = await hold(page, "**/conversations*");
  const request = page.waitForRequest("**/conversations*");
  await muted.send(nameOf(0), "psst");
  await request;
  release();
  await entry(page, MUTED).waitFor();
  await Bun.sleep(500); // a sound would play within this time
  expect(await page.evaluate(() => Reflect.get(globalThis, "sounds") as number)).toBe(0);

  await goToPeer(page, DELETED);
  await page.waitForSelector("message-composer .closed:visible");
  expect(await page.locator("message-composer .closed").innerText()).toContain("deleted their account");
  await until("their messages are there", async () => (await page.locator("chat-thread .message").count()) === 3);

  const other = await enter(MUTED);
  await other.waitForSelector("chat-thread .message");
  await other.click("chat-header .more");
  await until(
    "the menu shows that it is muted",
    async () => (await other.locator("#options .mute").innerText()) === "Unmute",
  );
});

test("opens a bookmarked conversation after signing in", async () => {
  await chat.server.people("Keeper", "Kept");
  const page = await chat.page();
  await page.goto(`${chat.url}/#Kept`);
  await page.waitForURL(/\/login/);
  await scripted(page);
  await fillForm(page, { username: "Keeper", password: PASSWORD });
  await until("the conversation is open", async () => (await peerOnScreen(page)) === "Kept");
});

test("opens the conversation of a clicked notification on an untouched page", async () => {
  const page = await enter();
  await page.evaluate(
    (peer) => navigator.serviceWorker.dispatchEvent(new MessageEvent("message", { data: { open: peer } })),
    BOB,
  );
  await until("the conversation is open", async () => (await peerOnScreen(page)) === BOB);
});

test("raises no unrequested keyboard on touch, where Enter breaks the line", async () => {
  const page = await enter(BOB, { hasTouch: true, isMobile: true, viewport: { width: 390, height: 700 } });
  // Headless browsers may deny notifications, and then there is no prompt.
  await page.addInitScript(() => Object.defineProperty(Notification, "permission", { get: () => "default" }));
  await page.reload();
  await page.waitForSelector("chat-thread .message");
  const writes = () => page.evaluate(() => document.activeElement?.matches("input, textarea") === true);
  expect(await writes()).toBe(false);
  await page.fill("textarea", "");
  await page.tap("textarea");
  await page.keyboard.type("one");
  await page.keyboard.press("Enter");
  await page.keyboard.type("two");
  expect(await page.inputValue("textarea")).toBe("one\ntwo");
  await page.tap(".send");
  await page.waitForSelector(".ask-notifications:visible");
  await page.evaluate(() => (document.activeElement as HTMLElement).blur());
  await page.tap(".ask-notifications .no");
  expect(await writes()).toBe(false);
  await page.goto(`${chat.url}/#${STRANGER}`);
  await until("the header has the name", async () => (await peerOnScreen(page)) === STRANGER);
  await page.waitForSelector("textarea:visible");
  await page.tap(".back");
  await page.waitForSelector("conversation-list:visible");
  expect(await writes()).toBe(false);
});

test("shows the full time of every message on hover", async () => {
  const page = await enter(BOB);
  await page.waitForSelector("chat-thread .message");
  const bubbles = page.locator("chat-thread .bubble");
  const titles = await bubbles.evaluateAll((all) => all.map((each) => (each as HTMLElement).title));
  expect(titles.length).toBeGreaterThan(10);
  for (const title of titles) expect(title).toMatch(/\d{1,2} \w+ \d{4}.*\d\d:\d\d/);
});

/** Presses a key that an input method consumes: within a composition, and as Safari sends the one that ends it. */
const pressComposing = (page: Page, key: string) =>
  page.evaluate((key) => {
    for (const how of [{ isComposing: true }, { keyCode: 229 }]) {
      const event = new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true, ...how });
      document.activeElement?.dispatchEvent(event);
    }
  }, key);

test("ignores keys of an input method everywhere", async () => {
  const page = await enter(BOB);
  await page.waitForSelector("chat-thread .message");
  const state = () =>
    page.evaluate(() => ({
      hash: location.hash,
      focused: document.activeElement?.localName,
      texts: [...document.querySelectorAll<HTMLTextAreaElement>("textarea, conversation-list input")].map(
        (each) => each.value,
      ),
      sheets: document.querySelectorAll("dialog").length,
    }));
  for (const [place, keys] of [
    ["conversation-list input", ["Enter", "ArrowDown", "ArrowUp", "Escape"]],
    ["message-composer textarea", ["Enter", "ArrowUp", "Escape"]],
    ["conversation-list .entry[tabindex='0']", ["ArrowDown", "Escape", "/", "?"]],
    ["chat-thread .message:last-child", ["ArrowUp", "Home", "Escape"]],
  ] as const) {
    if (place.endsWith("input")) {
      await page.fill(place, CARL);
      await page.waitForSelector(`.conversations a[data-name="${CARL}"]`);
    }
    await page.locator(place).evaluate((element: HTMLElement) => {
      if (!element.matches("a, input, textarea")) element.tabIndex = -1;
      element.focus();
    });
    const before = await state();
    for (const key of keys) {
      await pressComposing(page, key);
      expect([place, key, await state()]).toEqual([place, key, before]);
    }
    if (place.endsWith("input")) {
      await page.keyboard.press("Escape");
      expect(await page.inputValue(place)).toBe(""); // the key by itself works
    }
  }
});

test.each([
  ["a desktop", {}],
  ["a tablet", { hasTouch: true, isMobile: true, viewport: { width: 820, height: 1_100 } }],
])("sends on Ctrl+Enter and ⌘+Enter on %s", async (device, options) => {
  const page = await enter(BOB, options);
  for (const key of ["Control+Enter", "Meta+Enter", "Control+Shift+Enter"]) {
    const text = `${key} on ${device}`;
    await page.fill("textarea", text);
    await page.press("textarea", key);
    await page.locator("chat-thread .message .text", { hasText: text }).waitFor();
    expect(await page.inputValue("textarea")).toBe("");
  }
});

test("finds unloaded conversations and users by any part of a name", async () => {
  const page = await enter();
  expect(await entry(page, FAR).count()).toBe(0);
  await page.fill("conversation-list input", FAR.slice(-3));
  await page.waitForSelector(`.conversations a[data-name="${FAR}"] .preview:text-matches("Message 3 of")`);
  expect(await page.locator(`.found a[data-name="${FAR}"]`).count()).toBe(0);
  await page.fill("conversation-list input", STRANGER.slice(2).toUpperCase());
  await page.waitForSelector(`.found a[data-name="${STRANGER}"]`);
  await page.fill("conversation-list input", "nobody at all");
  await page.waitForSelector("conversation-list .note:not(:empty)");
  await page.fill("conversation-list input", "");
  await page.waitForSelector(`.conversations a[data-name="${BOB}"]`);
});

test("lists names that start with the search before those that contain it", async () => {
  const [zoe, ross, other] = await chat.server.people("Zoe-S", "zzrossana", "ross-peter");
  for (const person of [ross!, other!].toReversed()) await (await person.open()).send("Zoe-S", "hello");
  const page = await chat.open(zoe);
  await entry(page, "zzrossana").waitFor();
  const names = () =>
    page
      .locator("conversation-list .entry")
      .evaluateAll((all) => all.map((each) => (each as HTMLElement).dataset["name"]));
  expect(await names()).toEqual(["zzrossana", "ross-peter"]);
  await page.fill("conversation-list input", "ros");
  await until("the name that starts so is first", async () => (await names()).join() === "ross-peter,zzrossana");
  await page.fill("conversation-list input", "ross-");
  await until("one name is left", async () => (await names()).join() === "ross-peter");
});

test("shows a new user among suggestions and in an open search", async () => {
  const newcomer = await chat.server.person("Live-Ann");
  const page = await chat.open(newcomer);
  await page.waitForSelector("conversation-list .found a");
  await chat.server.person("000-first");
  await page.waitForSelector('conversation-list .found li:first-child a[data-name="000-first"]');
  await page.fill("conversation-list input", "newly");
  await page.waitForSelector("conversation-list .note:not(:empty)");
  await chat.server.people("very-newly", "unlike");
  await page.waitForSelector('conversation-list .found a[data-name="very-newly"]');
  expect(await page.locator("conversation-list .found a").count()).toBe(1);
  // The response with suggestions is lost, and a user signs up while the page is offline.
  const lost = page.waitForRequest(/get_users\?q=&/);
  await page.route("**/get_users?q=&*", (route) => route.abort(), { times: 1 });
  await page.fill("conversation-list input", "");
  await lost;
  await page.waitForSelector('conversation-list .found a[data-name="000-first"]');
  await page.context().setOffline(true);
  await chat.server.person("000-second");
  await page.context().setOffline(false);
  await page.waitForSelector('conversation-list .found a[data-name="000-second"]');
});

test("scrolls the list to the open conversation after a reload", async () => {
  const isInSight = (page: Page, name: string) =>
    page.evaluate((name) => {
      const row = document.querySelector(`conversation-list a[data-name="${name}"]`)?.getBoundingClientRect();
      const list = document.querySelector("conversation-list .scroll")?.getBoundingClientRect();
      return row !== undefined && list !== undefined && row.top >= list.top && row.bottom <= list.bottom;
    }, name);
  const [near, far] = [nameOf(45), AWAY]; // the second is on the next page of the list
  const page = await enter(near);
  await until("the row is visible", () => isInSight(page, near));
  await page.reload();
  await until("the row is visible again", () => isInSight(page, near));
  await goToPeer(page, far);
  await until("the other row is visible", () => isInSight(page, far));
  await page.reload();
  await until("the other row is visible after a reload", () => isInSight(page, far));

  // After scrolling away, the list stays.
  await page.mouse.move(100, 400);
  await until("the row is hidden", async () => {
    await page.mouse.wheel(0, -10_000); // to the top, where the list changes
    return !(await isInSight(page, far));
  });
  await (await chat.server.user(2).open()).send(nameOf(0), "the list changes");
  await page.locator("conversation-list .preview", { hasText: "the list changes" }).waitFor();
  expect(await isInSight(page, far)).toBe(false);
});
