/** What people do without thinking, in Chromium: click fast, type fast, go back, zoom in, sign out on a train, have more conversations than the list has loaded. */

import { afterAll, afterEach, beforeAll, expect, test } from "bun:test";

import type { Browser, BrowserContextOptions, Page } from "playwright-core";

import { TestDatabase } from "../../tools/support/database.ts";
import { cookieOf, nameOf, SESSION_SECRET } from "../../tools/support/users.ts";
import { closeWindows, launch, scripted } from "../support/browser.ts";
import { migratedDatabase, PASSWORD, Person, startApp, type TestApp } from "../support/harness.ts";
import { until } from "../support/until.ts";

/** More than a page of the list has. Each has one unread message. */
const CONVERSATIONS = 70;
const [BOB, CARL, STRANGER] = [nameOf(1), nameOf(2), nameOf(100)];
/** At the very end of the list: one muted, one whose account is no more, two of whom nothing special is to be said. */
const [MUTED, GONE, FAR, AWAY] = [0, 1, 2, 3].map((i) => nameOf(CONVERSATIONS - i)) as [string, string, string, string];

let browser: Browser;
let app: TestApp;
let url: string;

beforeAll(async () => {
  const database = await migratedDatabase();
  const bench = new TestDatabase("habits", database);
  await bench.addUsers(110);
  await bench.addConversations([[0, 1]], 40, 1);
  await bench.addConversations(
    Array.from({ length: CONVERSATIONS - 1 }, (_, i) => [0, 2 + i] as const),
    3,
    1,
  );
  await bench.sql`update conversations set last_at = now() - id * interval '1 minute'`;
  await bench.sql`update messages m set timestamp = c.last_at - (c.last_seq - m.seq) * interval '1 second' from conversations c where c.id = m.conversation_id`;
  await bench.sql`update conversations set low_muted = true where high = ${MUTED}`;
  await bench.sql`update users set deleted_at = now() where username = ${GONE}`;
  await bench.sql.end();
  app = await startApp({ database, env: { SESSION_SECRET } });
  url = app.url.replace("127.0.0.1", "localhost");
  browser = await launch();
}, 60_000);

afterAll(async () => {
  await browser?.close();
  await app?.stop();
});

afterEach(() => closeWindows(browser));

async function enter(address = "", options: BrowserContextOptions = {}, person = 0): Promise<Page> {
  const context = await browser.newContext({ locale: "en-GB", viewport: { width: 1_000, height: 700 }, ...options });
  const [name = "", value = ""] = cookieOf(person).split("=");
  await context.addCookies([{ name, value, url }]);
  const page = await context.newPage();
  await page.goto(`${url}/${address}`);
  await page.waitForSelector(address ? "chat-header h2:visible" : "people-list .conversations > li");
  return page;
}

const header = (page: Page) => page.locator("chat-header h2").innerText();
const line = (page: Page, name: string) => page.locator(`people-list a[data-name="${name}"]`);
const current = async (page: Page) =>
  (await page.locator("people-list [aria-current]").getAttribute("data-name")) ?? "";
const focused = (page: Page) =>
  page.evaluate(() => {
    const { activeElement } = document;
    return (activeElement as HTMLElement).dataset["name"] ?? activeElement?.className ?? "";
  });

test("nobody writes to the one before while it is looked up who is meant", async () => {
  const page = await enter(`#${BOB}`);
  await page.waitForSelector("textarea:visible");
  await page.route("**/get_users*", async (route) => {
    await Bun.sleep(1_500);
    await route.continue();
  });
  await page.evaluate((name) => (location.hash = `#${name}`), STRANGER);
  await until("the header is hers at once", async () => (await header(page)) === STRANGER, 1_000);
  expect(await page.locator("textarea").isVisible()).toBe(false);
  expect(await page.locator("chat-thread .message").count()).toBe(0);
  await page.waitForSelector("textarea:visible");
  expect(await page.locator("textarea").getAttribute("aria-label")).toContain(STRANGER);
}, 30_000);

test("somebody just found is there at once, without being looked up again", async () => {
  const page = await enter(`#${BOB}`);
  await page.fill("people-list input", STRANGER);
  await page.waitForSelector(".found a");
  await page.route("**/get_users*", () => {}); // no answer ever
  await page.click(".found a");
  await until("one can write to her", async () => (await header(page)) === STRANGER, 1_000);
  await page.waitForSelector("textarea:visible");
}, 30_000);

test("the list shows which conversation is open, on the way there, back and forth", async () => {
  const page = await enter(`#${BOB}`);
  const both = async (name: string) => (await header(page)) === name && (await current(page)) === name;
  await until("Bob", () => both(BOB));
  await line(page, CARL).click();
  await until("Carl", () => both(CARL));
  await line(page, BOB).click();
  await until("Bob again", () => both(BOB));
  await page.goBack();
  await until("back to Carl", () => both(CARL));
  await page.goBack();
  await until("back to Bob", () => both(BOB));
  await page.goForward();
  await until("forth to Carl", () => both(CARL));
}, 30_000);

test("Enter finds the first one, though it is pressed before there is anybody", async () => {
  const page = await enter();
  await page.route("**/get_users*", async (route) => {
    await Bun.sleep(500);
    await route.continue();
  });
  await page.focus("people-list input");
  await page.keyboard.type(STRANGER);
  await page.keyboard.press("Enter");
  await until("she is found and opened", async () => (await header(page)) === STRANGER);
}, 30_000);

test("the focus stays on a row that moves up, and Esc in a menu closes no more than the menu", async () => {
  const page = await enter(`#${BOB}`);
  await page.waitForSelector("textarea:visible");
  await line(page, CARL).click();
  await until("it is Carl's", async () => (await header(page)) === CARL);
  await page.waitForSelector("textarea:visible");
  await page.keyboard.press("Escape");
  await until("the row has the focus", async () => (await focused(page)) === CARL);
  await (await new Person(app.url, CARL, cookieOf(2)).open()).send(nameOf(0), "I am first now");
  await until(
    "it is the first",
    async () => (await page.locator("people-list .line").first().getAttribute("data-name")) === CARL,
  );
  expect(await focused(page)).toBe(CARL);

  await page.focus("chat-header .more");
  await page.keyboard.press("Enter");
  await page.waitForSelector("#options:popover-open");
  await page.keyboard.press("Escape");
  await page.waitForSelector("#options:popover-open", { state: "detached" });
  expect(await focused(page)).toContain("more");
}, 30_000);

test("zoomed in, or on a phone lying on its side, every entry of the menu is reached, and there is room to read while one writes", async () => {
  for (const viewport of [
    { width: 640, height: 360 },
    { width: 320, height: 256 },
  ]) {
    const page = await enter("", { viewport });
    await page.click(".me");
    for (const entry of ["#menu .notes", "#menu .sign-out button", "#menu language-choice button >> nth=1"]) {
      await page.locator(entry).scrollIntoViewIfNeeded();
      const box = await page.locator(entry).boundingBox();
      expect(box && box.y >= 0 && box.y + box.height <= viewport.height, `${entry} at ${viewport.height}`).toBe(true);
    }
    await page.goto(`${url}/#${BOB}`);
    await page.fill("textarea", "line\n".repeat(12));
    expect((await page.locator("chat-thread .scroller").boundingBox())?.height).toBeGreaterThan(40);
    expect(await page.evaluate(() => document.documentElement.scrollHeight)).toBe(viewport.height);
    await page.context().close();
  }
}, 60_000);

test("signing out where nobody hears it says so, and keeps everything", async () => {
  const page = await enter(`#${BOB}`, {}, 3);
  await page.waitForSelector("textarea:visible");
  const asked: string[] = [];
  page.on("dialog", (dialog) => {
    asked.push(dialog.message());
    void dialog.accept();
  });
  await page.context().setOffline(true);
  await page.click(".me");
  await page.click("#menu .sign-out button");
  await until("it says so", async () => asked.length === 1);
  expect(asked).toEqual(["Could not reach the server. Try again."]);
  expect(await page.locator("textarea").isVisible()).toBe(true);
  await page.context().setOffline(false);
  await page.click("#menu .sign-out button");
  await page.waitForURL(`${url}/login`);
  expect(asked).toHaveLength(1);
}, 30_000);

test("the title counts what is further down the list than what is loaded, but not what is muted", async () => {
  const page = await enter();
  const title = (count: number) => async () => (await page.title()) === `(${count}) chatify`;
  const [{ count = 0 } = {}] = await app.sql<{ count: number }[]>`
    select sum(low_unread)::int as count from conversations where low = ${nameOf(0)} and not low_muted
  `;
  expect(count).toBeGreaterThan(CONVERSATIONS - 5);
  await until("all are counted", title(count));
  await page.evaluate((name) => (location.hash = `#${name}`), AWAY);
  await until("one fewer, when it is read", title(count - 1));
  await until("the rest of the list changes nothing", async () => {
    await page.evaluate(() => document.querySelector("people-list .scroll")?.scrollBy(0, 10_000));
    return (
      (await page.locator("people-list .conversations > li").last().getAttribute("aria-setsize")) ===
      String(CONVERSATIONS)
    );
  });
  expect(await page.title()).toBe(`(${count - 1}) chatify`);
}, 30_000);

test("a conversation further down the list is muted as it says, and whose account is no more is still found", async () => {
  const page = await enter();
  await page.evaluate(() => {
    Reflect.set(globalThis, "sounds", 0);
    const { start } = AudioScheduledSourceNode.prototype;
    AudioScheduledSourceNode.prototype.start = function (when) {
      Reflect.set(globalThis, "sounds", Reflect.get(globalThis, "sounds") + 1);
      start.call(this, when);
    };
  });
  await page.mouse.click(700, 300); // sound needs a touch
  await until("it is ready to sound", () =>
    page.evaluate(async () => {
      const { held = [] } = await navigator.locks.query();
      return held.some(({ name }) => name?.endsWith("/sound"));
    }),
  );
  const muted = await new Person(app.url, MUTED, cookieOf(CONVERSATIONS)).open();
  await page.route("**/conversations*", async (route) => {
    await Bun.sleep(600);
    await route.continue();
  });
  await muted.send(nameOf(0), "psst");
  await line(page, MUTED).waitFor();
  await Bun.sleep(1_500);
  expect(await page.evaluate(() => Reflect.get(globalThis, "sounds") as number)).toBe(0);
  await page.unrouteAll({ behavior: "wait" });

  await page.evaluate((name) => (location.hash = `#${name}`), GONE);
  await page.waitForSelector("message-composer .closed:visible");
  expect(await page.locator("message-composer .closed").innerText()).toContain("deleted their account");
  await until("what they wrote is there", async () => (await page.locator("chat-thread .message").count()) === 3);

  const other = await enter(`#${MUTED}`);
  await other.waitForSelector("chat-thread .message");
  await other.click("chat-header .more");
  await until("it says that it is muted", async () => (await other.locator("#options .mute").innerText()) === "Unmute");
}, 60_000);

test("a bookmark opens its conversation, though one has to sign in first", async () => {
  await app.people("Keeper", "Kept");
  const context = await browser.newContext({ locale: "en-GB" });
  const page = await context.newPage();
  await page.goto(`${url}/#Kept`);
  await page.waitForURL(/\/login/);
  await scripted(page);
  await page.fill("#username", "Keeper");
  await page.fill("#password", PASSWORD);
  await page.press("#password", "Enter");
  await until("it is open", async () => (await page.locator("chat-header h2").innerText()) === "Kept");
}, 30_000);

test("a notification that is chosen opens its conversation, before anything else was touched", async () => {
  const page = await enter();
  await page.evaluate(
    (peer) => navigator.serviceWorker.dispatchEvent(new MessageEvent("message", { data: { open: peer } })),
    BOB,
  );
  await until("it is open", async () => (await header(page)) === BOB);
}, 30_000);

test("on touch no keyboard is raised that nobody asked for, and Enter breaks the line", async () => {
  const page = await enter(`#${BOB}`, { hasTouch: true, isMobile: true, viewport: { width: 390, height: 700 } });
  // Some browsers without a window deny notifications, and then there is no question.
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
  await page.goto(`${url}/#${STRANGER}`);
  await until("it is hers", async () => (await header(page)) === STRANGER);
  await page.waitForSelector("textarea:visible");
  await page.tap(".back");
  await page.waitForSelector("people-list:visible");
  expect(await writes()).toBe(false);
}, 30_000);

test("each message says its full time when it is pointed at, within a run too", async () => {
  const page = await enter(`#${BOB}`);
  await page.waitForSelector("chat-thread .message");
  const bubbles = page.locator("chat-thread .bubble");
  const titles = await bubbles.evaluateAll((all) => all.map((each) => (each as HTMLElement).title));
  expect(titles.length).toBeGreaterThan(10);
  for (const title of titles) expect(title).toMatch(/\d{1,2} \w+ \d{4}.*\d\d:\d\d/);
}, 30_000);

/** Presses a key that an input method takes: within a composition, and as Safari sends the one that ends it. */
const pressComposing = (page: Page, key: string) =>
  page.evaluate((key) => {
    for (const told of [{ isComposing: true }, { keyCode: 229 }]) {
      const event = new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true, ...told });
      document.activeElement?.dispatchEvent(event);
    }
  }, key);

test("keys that belong to an input method do nothing here, wherever they are pressed", async () => {
  const page = await enter(`#${BOB}`);
  await page.waitForSelector("chat-thread .message");
  const state = () =>
    page.evaluate(() => ({
      hash: location.hash,
      focused: document.activeElement?.localName,
      texts: [...document.querySelectorAll<HTMLTextAreaElement>("textarea, people-list input")].map(
        (each) => each.value,
      ),
      sheets: document.querySelectorAll("dialog").length,
    }));
  for (const [place, keys] of [
    ["people-list input", ["Enter", "ArrowDown", "ArrowUp", "Escape"]],
    ["message-composer textarea", ["Enter", "ArrowUp", "Escape"]],
    ["people-list .line[tabindex='0']", ["ArrowDown", "Escape", "/", "?"]],
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
}, 30_000);

test("Ctrl+Enter and ⌘+Enter send, on a desk and on a tablet with a keyboard", async () => {
  for (const options of [{}, { hasTouch: true, isMobile: true, viewport: { width: 820, height: 1_100 } }]) {
    const page = await enter(`#${BOB}`, options);
    await page.waitForSelector("chat-thread .message");
    for (const key of ["Control+Enter", "Meta+Enter", "Control+Shift+Enter"]) {
      const text = `${key} ${JSON.stringify(options)}`;
      await page.fill("textarea", text);
      await page.press("textarea", key);
      await page.locator("chat-thread .message .text", { hasText: text }).waitFor();
      expect(await page.inputValue("textarea")).toBe("");
    }
  }
}, 60_000);

test("any part of a name finds its conversation, though the list has not loaded it, and people without one", async () => {
  const page = await enter();
  expect(await line(page, FAR).count()).toBe(0);
  await page.fill("people-list input", FAR.slice(-3));
  await page.waitForSelector(`.conversations a[data-name="${FAR}"] .last:text-matches("Message 3 of")`);
  expect(await page.locator(`.found a[data-name="${FAR}"]`).count()).toBe(0);
  await page.fill("people-list input", STRANGER.slice(2).toUpperCase());
  await page.waitForSelector(`.found a[data-name="${STRANGER}"]`);
  await page.fill("people-list input", "nobody at all");
  await page.waitForSelector("people-list .note:not(:empty)");
  await page.fill("people-list input", "");
  await page.waitForSelector(`.conversations a[data-name="${BOB}"]`);
}, 30_000);

test("what begins like the search comes before what contains it", async () => {
  const [zoe, ross, other] = await app.people("Zoe-S", "zzrossana", "ross-peter");
  for (const person of [ross!, other!].toReversed()) await (await person.open()).send("Zoe-S", "hello");
  const context = await browser.newContext({ locale: "en-GB", viewport: { width: 1_000, height: 700 } });
  const [name = "", value = ""] = zoe!.cookie.split(/=(.*)/s);
  await context.addCookies([{ name, value, url }]);
  const page = await context.newPage();
  await page.goto(url);
  await line(page, "zzrossana").waitFor();
  const names = () =>
    page.locator("people-list .line").evaluateAll((all) => all.map((each) => (each as HTMLElement).dataset["name"]));
  expect(await names()).toEqual(["zzrossana", "ross-peter"]);
  await page.fill("people-list input", "ros");
  await until("the one that begins so is first", async () => (await names()).join() === "ross-peter,zzrossana");
  await page.fill("people-list input", "ross-");
  await until("one is left", async () => (await names()).join() === "ross-peter");
}, 30_000);

test("whoever signs up appears among the people here, and in a search that had found nobody, without a reload", async () => {
  const newcomer = await app.person("Live-Ann");
  const context = await browser.newContext({ locale: "en-GB", viewport: { width: 1_000, height: 700 } });
  const [name = "", value = ""] = newcomer.cookie.split(/=(.*)/s);
  await context.addCookies([{ name, value, url }]);
  const page = await context.newPage();
  await page.goto(url);
  await page.waitForSelector("people-list .found a");
  await app.person("000-first");
  await page.waitForSelector('people-list .found li:first-child a[data-name="000-first"]');
  await page.fill("people-list input", "newly");
  await page.waitForSelector("people-list .note:not(:empty)");
  await app.people("very-newly", "unlike");
  await page.waitForSelector('people-list .found a[data-name="very-newly"]');
  expect(await page.locator("people-list .found a").count()).toBe(1);
  // The answer that suggests people is lost, and while the connection is gone, somebody signs up.
  const lost = page.waitForRequest(/get_users\?q=&/);
  await page.route("**/get_users?q=&*", (route) => route.abort(), { times: 1 });
  await page.fill("people-list input", "");
  await lost;
  await page.waitForSelector('people-list .found a[data-name="000-first"]');
  await page.context().setOffline(true);
  await app.person("000-second");
  await page.context().setOffline(false);
  await page.waitForSelector('people-list .found a[data-name="000-second"]');
}, 30_000);

test("after a reload the row of the open conversation is in sight, however far down the list", async () => {
  const isInSight = (page: Page, name: string) =>
    page.evaluate((name) => {
      const row = document.querySelector(`people-list a[data-name="${name}"]`)?.getBoundingClientRect();
      const list = document.querySelector("people-list .scroll")?.getBoundingClientRect();
      return row !== undefined && list !== undefined && row.top >= list.top && row.bottom <= list.bottom;
    }, name);
  const [near, far] = [nameOf(45), AWAY]; // the second is on the next page of the list
  const page = await enter(`#${near}`);
  await until("it is in sight", () => isInSight(page, near));
  await page.reload();
  await until("it is in sight again", () => isInSight(page, near));
  await page.evaluate((name) => (location.hash = `#${name}`), far);
  await until("another one is, opened by its address", () => isInSight(page, far));
  await page.reload();
  await until("and after a reload", () => isInSight(page, far));

  // Whoever scrolls away is not brought back.
  await page.mouse.move(100, 400);
  await until("it is out of sight", async () => {
    await page.mouse.wheel(0, -10_000); // to the top, where the list changes
    return !(await isInSight(page, far));
  });
  await (await new Person(app.url, CARL, cookieOf(2)).open()).send(nameOf(0), "the list changes");
  await page.locator("people-list .last", { hasText: "the list changes" }).waitFor();
  expect(await isInSight(page, far)).toBe(false);
}, 30_000);
