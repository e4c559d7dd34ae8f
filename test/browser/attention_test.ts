/** What a person notices of chatify while looking elsewhere, and how their tabs and devices agree. Real Chromium. */

import { afterAll, afterEach, beforeAll, expect, test } from "bun:test";

import type { Browser, BrowserContext, BrowserContextOptions, Page, Response } from "playwright-core";

import { closeWindows, launch, Server } from "../support/browser.ts";
import { freePort, migratedDatabase, Person } from "../support/harness.ts";
import { until } from "../support/until.ts";

let browser: Browser;
let server: Server;

beforeAll(async () => {
  [browser, server] = [await launch(), new Server(freePort(), await migratedDatabase())];
  await server.start();
}, 60_000);

afterAll(async () => {
  await browser?.close();
  await server?.end("SIGTERM");
});

afterEach(() => closeWindows(browser));

const person = (name: string) => Person.signUp(server.url, name);

/** A browser of a person's own, and what it did to be noticed. */
interface Device {
  readonly context: BrowserContext;
  /** What notifications said, in order. */
  readonly notices: string[];
  /** Tones that were sounded; there are two in a sound. */
  readonly tones: number[];
  readonly badges: number[];
  open(peer?: string): Promise<Page>;
}

/** @param granted whether the person has allowed notifications before; else a request for leave is answered with yes */
async function deviceOf(who: Person, granted = true, options: BrowserContextOptions = {}): Promise<Device> {
  const context = await browser.newContext({ locale: "en-GB", viewport: { width: 1_100, height: 760 }, ...options });
  const [name = "", value = ""] = who.cookie.split(/=(.*)/s);
  await context.addCookies([{ name, value, url: server.url }]);
  const [notices, tones, badges]: [string[], number[], number[]] = [[], [], []];
  await context.exposeFunction("noticed", (text: string) => void notices.push(text));
  await context.exposeFunction("sounded", (hertz: number) => void tones.push(hertz));
  await context.exposeFunction("badged", (count: number) => void badges.push(count));
  await context.addInitScript((allowed) => {
    if (location.protocol === "about:") return;
    const page: any = globalThis; // oxlint-disable-line typescript/no-explicit-any
    let permission = allowed ? "granted" : "default";
    if (allowed) localStorage.setItem("chatify.attention", '{"notifications":true}');
    page.askedForLeave = 0;
    page.Notification = class {
      static get permission() {
        return permission;
      }
      static async requestPermission() {
        page.askedForLeave++;
        return (permission = "granted");
      }
      readonly tag: string;
      readonly data: unknown;
      constructor(title: string, { body, tag, data }: { body: string; tag: string; data: unknown }) {
        [this.tag, this.data] = [tag, data];
        page.noticed(`${title}: ${body} (${tag})`);
      }
      addEventListener() {}
      close() {
        page.noticed(`closed ${this.tag}`);
      }
    };
    const shown = new Map<string, object>();
    ServiceWorkerRegistration.prototype.showNotification = async (title, { body, tag = "", data } = {}) => {
      const close = () => {
        shown.delete(tag);
        page.noticed(`closed ${tag}`);
      };
      shown.set(tag, { tag, data, close });
      await page.noticed(`${title}: ${body} (${tag})`);
    };
    ServiceWorkerRegistration.prototype.getNotifications = async () => [...shown.values()] as Notification[];
    const { start } = AudioScheduledSourceNode.prototype;
    AudioScheduledSourceNode.prototype.start = function (when) {
      page.sounded((this as OscillatorNode).frequency.value);
      start.call(this, when);
    };
    Object.assign(navigator, {
      setAppBadge: async (count: number) => page.badged(count),
      clearAppBadge: async () => page.badged(0),
    });
    // No window is ever behind another one here.
    Object.defineProperty(document, "visibilityState", { get: () => (page.behind ? "hidden" : "visible") });
    document.hasFocus = () => !page.beside;
  }, granted);
  const open = async (peer = "") => {
    const page = await context.newPage();
    await page.goto(`${server.url}/#${encodeURIComponent(peer)}`);
    await page.waitForSelector(
      peer ? "message-composer textarea:visible" : "people-list .line, people-list .empty:visible",
    );
    return page;
  };
  return { context, notices, tones, badges, open };
}

/** Puts a tab behind, or in front again. The person has touched it before, else it may not sound. */
async function put(page: Page, place: "behind" | "in front"): Promise<void> {
  await page.bringToFront();
  if (place === "behind") await page.mouse.click(700, 30);
  await page.evaluate((behind) => {
    Object.assign(globalThis, { behind });
    document.dispatchEvent(new Event("visibilitychange"));
  }, place === "behind");
}

/** Lets another window beside the tab's have the focus, or gives it back. The tab is seen all the time. */
const focus = (page: Page, place: "beside" | "here") =>
  page.evaluate((beside) => {
    Object.assign(globalThis, { beside });
    dispatchEvent(new Event(beside ? "blur" : "focus"));
  }, place === "beside");

const listening = (page: Page) =>
  until("the tab is ready to sound", () =>
    page.evaluate(() => {
      const mine = `test/${crypto.randomUUID()}`; // by which a tab finds its own among those of all
      return navigator.locks.request(mine, async () => {
        const { held = [], pending = [] } = await navigator.locks.query();
        const me = held.find(({ name }) => name === mine)?.clientId;
        return [...held, ...pending].some(({ name, clientId }) => clientId === me && name?.endsWith("/sound"));
      });
    }),
  );

test("three tabs behind other windows notify once, sound once and count; what is on the screen does neither", async () => {
  const [ann, bob] = [await person("Three-Ann"), await person("Three-Bob")];
  const wire = await bob.open();
  await wire.send("Three-Ann", "first");
  const device = await deviceOf(ann);
  const pages = [await device.open(), await device.open(), await device.open()];
  for (const page of pages) {
    await put(page, "behind");
    await listening(page);
  }
  await wire.send("Three-Ann", "hello Ann");
  await until("Ann is told", async () => device.notices.length > 0 && device.tones.length > 1);
  await Bun.sleep(700);
  expect(device.notices).toEqual(["Three-Bob: hello Ann (chatify.Three-Ann/three-bob)"]);
  expect(device.tones.length).toBe(2);
  const titles = (title: string) => async () =>
    (await Promise.all(pages.map((page) => page.title()))).every((each) => each === title);
  await until("all tabs count it", titles("(2) chatify")); // those behind paint once a second
  expect(device.badges.at(-1)).toBe(2);

  const [front] = pages;
  await front!.goto(`${server.url}/#Three-Bob`);
  await put(front!, "in front");
  await until("it is read in every tab", titles("chatify"));
  expect(device.badges.at(-1)).toBe(0);
  await until("the notification goes", async () => device.notices.length > 1);
  expect(device.notices[1]).toBe("closed chatify.Three-Ann/three-bob");
  await Bun.sleep(1_000); // between two sounds there are two seconds
  await wire.send("Three-Ann", "you see this");
  await Bun.sleep(1_200);
  expect([device.notices.length, device.tones.length]).toEqual([2, 2]);
  await device.context.close();
}, 60_000);

test("a window that is seen and has not the focus marks nothing as read and notifies; when the focus is back the mark goes out", async () => {
  const [ann, bob] = [await person("Beside-Ann"), await person("Beside-Bob")];
  const wire = await bob.open();
  await wire.send("Beside-Ann", "first");
  const device = await deviceOf(ann);
  const page = await device.open("Beside-Bob");
  await page.mouse.click(700, 30);
  await listening(page);
  expect(await wire.next("read")).toMatchObject({ reader: "Beside-Ann", seq: 1 });
  await focus(page, "beside");
  await wire.send("Beside-Ann", "while you write a letter");
  await until("Ann is told", async () => device.notices.length > 0 && device.tones.length > 1);
  expect(device.notices).toEqual(["Beside-Bob: while you write a letter (chatify.Beside-Ann/beside-bob)"]);
  await page.locator("chat-thread .day.new + .message", { hasText: "while you write a letter" }).waitFor();
  expect(await page.title()).toBe("(1) chatify");
  await wire.hearsNo("read", 0);
  await page.evaluate(() => document.querySelector("chat-thread .scroller")?.dispatchEvent(new Event("scroll")));
  await wire.hearsNo("read", 300);

  await focus(page, "here");
  expect(await wire.next("read")).toMatchObject({ reader: "Beside-Ann", seq: 2 });
  await until("the notification goes", async () => device.notices[1] === "closed chatify.Beside-Ann/beside-bob");
  await focus(page, "beside");
  await wire.send("Beside-Ann", "the drag took the focus, and no event brought it back");
  await until("it is counted", async () => (await page.title()) === "(1) chatify");
  await page.evaluate(() => Object.assign(globalThis, { beside: false }));
  await page.mouse.click(700, 30);
  expect(await wire.next("read")).toMatchObject({ reader: "Beside-Ann", seq: 3 });
  await device.context.close();
}, 60_000);

test("on a touch screen what is seen is read, whatever the browser says of the focus", async () => {
  const [ann, bob] = [await person("Touch-Ann"), await person("Touch-Bob")];
  const wire = await bob.open();
  const device = await deviceOf(ann, true, { hasTouch: true, isMobile: true, viewport: { width: 390, height: 760 } });
  const page = await device.open("Touch-Bob");
  await focus(page, "beside");
  await wire.send("Touch-Ann", "hello");
  expect(await wire.next("read")).toMatchObject({ reader: "Touch-Ann", seq: 1 });
  await device.context.close();
}, 60_000);

test("a muted conversation is quiet: no notice, no sound, no number in the title, on every device", async () => {
  const [ann, bob] = [await person("Mute-Ann"), await person("Mute-Bob")];
  const wire = await bob.open();
  await wire.send("Mute-Ann", "blah");
  const [device, other] = [await deviceOf(ann), await deviceOf(ann)];
  const [page, elsewhere] = [await device.open("Mute-Bob"), await other.open()];
  await page.click("chat-header .more");
  await page.click("#options .mute");
  await elsewhere.waitForSelector('people-list a[data-name="Mute-Bob"] .muted:visible');
  await page.goto(`${server.url}/#`);
  for (const tab of [page, elsewhere]) {
    await put(tab, "behind");
    await listening(tab);
  }
  await wire.send("Mute-Ann", "blah blah");
  await page.waitForSelector('people-list a[data-name="Mute-Bob"] .badge.low:visible');
  await Bun.sleep(1_200);
  expect([...device.notices, ...other.notices, ...device.tones, ...other.tones]).toEqual([]);
  expect([await page.title(), await elsewhere.title()]).toEqual(["chatify", "chatify"]);
  await page.goto(`${server.url}/#Mute-Bob`);
  await page.click("chat-header .more");
  await page.click("#options .mute:has-text('Unmute')");
  await elsewhere.waitForSelector('people-list a[data-name="Mute-Bob"] .muted', { state: "hidden" });
  await Promise.all([device.context.close(), other.context.close()]);
}, 60_000);

test("the page asks after the first message, by a line of its own, and never again", async () => {
  const ann = await person("Ask-Ann");
  await person("Ask-Bob");
  const device = await deviceOf(ann, false);
  const page = await device.open("Ask-Bob");
  const asked = () => page.evaluate(() => (globalThis as unknown as { askedForLeave: number }).askedForLeave);
  const line = page.locator(".ask-notifications");
  await page.fill("message-composer textarea", "hello");
  expect(await line.isVisible()).toBeFalse();
  await page.press("message-composer textarea", "Enter");
  await line.waitFor({ state: "visible" });
  expect(await asked()).toBe(0);
  await line.locator(".yes").click();
  await line.waitFor({ state: "hidden" });
  expect(await asked()).toBe(1);
  await page.click("people-list .me");
  const [notices, sound] = [page.locator("#menu .notifications"), page.locator("#menu .sound")];
  expect(await notices.getAttribute("aria-checked")).toBe("true");
  expect(await sound.getAttribute("aria-checked")).toBe("true");
  await notices.click();
  await sound.click();
  expect(await page.evaluate(() => localStorage.getItem("chatify.attention"))).toBe(
    '{"notifications":false,"sound":false}',
  );
  await page.reload();
  await page.fill("message-composer textarea", "hello again");
  await page.press("message-composer textarea", "Enter");
  await page.click("people-list .me");
  await page.waitForSelector("#menu .sound[aria-checked=false]");
  expect(await line.isVisible()).toBeFalse();
  await device.context.close();
}, 60_000);

test("a notification that is chosen shows its conversation", async () => {
  const [ann, bob] = [await person("Choose-Ann"), await person("Choose-Bob")];
  const wire = await bob.open();
  await wire.send("Choose-Ann", "hello");
  const device = await deviceOf(ann);
  const page = await device.open();
  await put(page, "behind");
  await listening(page);
  const worker = device.context.serviceWorkers()[0] ?? (await device.context.waitForEvent("serviceworker"));
  await worker.evaluate(() => {
    const scope: any = globalThis; // oxlint-disable-line typescript/no-explicit-any
    const notification = { close: () => {}, data: { peer: "Choose-Bob" } };
    scope.dispatchEvent(Object.assign(new scope.ExtendableEvent("notificationclick"), { notification }));
  });
  await page.waitForURL(`${server.url}/#Choose-Bob`);
  await page.waitForSelector("chat-thread .message");
  await device.context.close();
}, 60_000);

test("notifications of what was read while no page was open go when one is", async () => {
  const [ann, bob] = [await person("Late-Ann"), await person("Late-Bob")];
  await (await ann.open()).send("Late-Bob", "hello");
  await (await bob.open()).send("Late-Ann", "still unread");
  const device = await deviceOf(bob);
  const page = await device.open();
  await page.evaluate(async () => {
    await navigator.serviceWorker.ready;
    const { showNotification } = ServiceWorkerRegistration.prototype;
    const leave = (peer: string) => showNotification(peer, { tag: `chatify.Late-Bob/${peer}`, data: { peer } });
    return Promise.all([leave("Late-Ann"), leave("Read-Elsewhere")]);
  });
  await page.mouse.click(700, 30);
  await until("that of the other is gone", async () =>
    device.notices.includes("closed chatify.Late-Bob/Read-Elsewhere"),
  );
  expect(device.notices).not.toContain("closed chatify.Late-Bob/Late-Ann");
  await device.context.close();
}, 60_000);

test("signing out takes the notifications away", async () => {
  const [ann, bob] = [await person("Leave-Ann"), await person("Leave-Bob")];
  const wire = await bob.open();
  const device = await deviceOf(ann);
  const page = await device.open();
  await put(page, "behind");
  await listening(page);
  await wire.send("Leave-Ann", "for your eyes");
  await until("Ann is told", async () => device.notices.length === 1);
  await put(page, "in front");
  await page.click("people-list .me");
  await page.click("#menu .sign-out button");
  await page.waitForURL(`${server.url}/login`);
  expect(device.notices.slice(1)).toEqual(["closed chatify.Leave-Ann/leave-bob"]);
  expect(device.badges.at(-1)).toBe(0);
  await device.context.close();
}, 60_000);

/** A conversation with somebody blocked: its texts, all grey, and where one would write only the way to unblock. */
async function isClosed(page: Page, ...texts: string[]): Promise<boolean> {
  const grey = page.locator("chat-thread[data-blocked] .messages");
  const shown = await grey.locator(".message .text").allInnerTexts();
  const isGrey =
    (await grey.count()) === 1 && (await grey.evaluate((each) => getComputedStyle(each).filter)) === "grayscale(1)";
  const canUnblock = await page.locator("message-composer .unblock").isVisible();
  return shown.join() === texts.join() && isGrey && canUnblock && !(await page.locator("textarea").isVisible());
}
const blockedRow = (page: Page, name: string) =>
  page.locator(`people-list .conversations a.blocked[data-name="${name}"] .last:text-is("Blocked")`);

test("a person who is blocked stays on every device, greyed and with Unblock in place, after a question that says what it means", async () => {
  const [ann, bob] = [await person("Block-Ann"), await person("Block-Bob")];
  const wire = await bob.open();
  await wire.send("Block-Ann", "buy this");
  const device = await deviceOf(ann);
  const [other, page] = [await device.open(), await device.open("Block-Bob")]; // the last is in front: others paint once a second
  await page.click("chat-header .more");
  await page.click("#options .block");
  const dialog = page.locator("dialog.question");
  expect((await dialog.innerText()).replaceAll(/[\u2068\u2069]/g, "")).toContain("Block Block-Bob?");
  await dialog.locator(".cancel").click();
  expect(await blockedRow(page, "Block-Bob").count()).toBe(0);
  await page.click("chat-header .more");
  await page.click("#options .block");
  await dialog.locator(".do").click();
  for (const tab of [page, other]) await blockedRow(tab, "Block-Bob").waitFor();
  await until("it is closed", () => isClosed(page, "buy this"));

  await wire.send("Block-Ann", "and this");
  await Bun.sleep(500);
  expect([await page.title(), await isClosed(page, "buy this")]).toEqual(["chatify", true]);
  await page.reload();
  await until("it is so after a reload", () => isClosed(page, "buy this"));
  await blockedRow(page, "Block-Bob").waitFor();
  await other.locator('a[data-name="Block-Bob"]').click();
  await until("it is so in the other tab", () => isClosed(other, "buy this"));
  const phone = await deviceOf(ann, true, { viewport: { width: 390, height: 700 } });
  const fresh = await phone.open();
  await blockedRow(fresh, "Block-Bob").click();
  await until("it is so on a device that never had it", () => isClosed(fresh, "buy this"));

  await page.locator("message-composer .unblock").click();
  for (const tab of [page, other, fresh]) {
    await until("everything is there", async () => {
      const texts = await tab.locator("chat-thread:not([data-blocked]) .message .text").allInnerTexts();
      return texts.join() === "buy this,and this" && (await tab.locator("textarea").isVisible());
    });
    await until("and in the list", async () => (await blockedRow(tab, "Block-Bob").count()) === 0);
  }
  await phone.context.close();
  await device.context.close();
}, 60_000);

test("a block made elsewhere closes the conversation that is open, counts nothing and takes the line of what is new away", async () => {
  const [ann, bob] = [await person("Far-Ann"), await person("Far-Bob")];
  const device = await deviceOf(ann);
  const page = await device.open("Far-Bob");
  await put(page, "behind");
  await (await bob.open()).send("Far-Ann", "hello?");
  await until("one is unread", async () => (await page.title()) === "(1) chatify");
  await page.waitForSelector("chat-thread .day.new");
  await ann.post("/blocks", { name: "Far-Bob", blocked: true });
  await until("it is closed", () => isClosed(page, "hello?"));
  await until("nothing is unread", async () => (await page.title()) === "chatify");
  expect(await page.locator("chat-thread .day.new, people-list .badge:visible").count()).toBe(0);
  await put(page, "in front");
  await page.reload();
  await until("it is so after a reload", () => isClosed(page, "hello?"));
  expect(await page.locator("chat-thread .day.new, people-list .badge:visible").count()).toBe(0);
  await ann.post("/blocks", { name: "Far-Bob", blocked: false });
  await page.waitForSelector("textarea:visible");
  await until("it is read now", async () => {
    const [row] = await ann.json<{ unread: number }[]>("/conversations");
    return row?.unread === 0;
  });
  await device.context.close();
}, 60_000);

test("a draft appears on the other device, never under the fingers, and goes when it is sent", async () => {
  const ann = await person("Draft-Ann");
  await person("Draft-Bob");
  const [desk, phone] = [await deviceOf(ann), await deviceOf(ann)];
  const text = (page: Page) => page.inputValue("message-composer textarea");
  const open = async ({ context, open }: Device) => {
    const predicate = (answer: Response) => answer.url().endsWith("/drafts");
    const [page] = await Promise.all([
      open("Draft-Bob"),
      context.waitForEvent("response", { predicate, timeout: 15_000 }), // it shares them from now on
    ]);
    return page;
  };
  const [here, there] = [await open(desk), await open(phone)];
  await here.focus("message-composer textarea");
  await here.keyboard.type("Shall we meet");
  await until("the phone shows it", async () => (await text(there)) === "Shall we meet");
  await here.keyboard.type(" at");
  await there.focus("message-composer textarea");
  await there.keyboard.type(" now", { delay: 100 });
  await Bun.sleep(1_000);
  expect(await text(there)).toMatch(/^Shall we meet.* now$/);
  await until("the desk shows it in the end", async () => (await text(here)) === (await text(there)), 12_000);
  await there.press("message-composer textarea", "Enter");
  await until("nothing is left to be sent at the desk", async () => (await text(here)) === "", 12_000);

  await here.keyboard.type("left open");
  await here.locator("message-composer textarea").blur();
  await Bun.sleep(1_300);
  await here.goto("about:blank");
  const later = await (await deviceOf(ann)).open("Draft-Bob");
  await until("a device that comes later shows it", async () => (await text(later)) === "left open");
  expect(await text(there)).toBe("left open"); // though something was sent from it a moment ago
  await Promise.all([desk.context.close(), phone.context.close(), later.context().close()]);
}, 60_000);
