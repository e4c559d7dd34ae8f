/** Notifications, sound and unread counts, and how a user's tabs and devices agree on reads, mutes, blocks and drafts. */

import { expect, setDefaultTimeout, test } from "bun:test";

import type { BrowserContext, BrowserContextOptions, Page, Response } from "playwright-core";

import { draft, signOut, useBrowser, write } from "../support/browser.ts";
import { Person } from "../support/harness.ts";
import { startServerProcess } from "../support/server_process.ts";
import { until } from "../support/until.ts";

setDefaultTimeout(60_000);

const chat = useBrowser(startServerProcess);

const person = (name: string) => Person.signUp(chat.url, name);

/** A user's browser, and the attention it asked for. */
interface Device {
  readonly context: BrowserContext;
  /** Notifications shown and closed, in order. */
  readonly notices: string[];
  /** Frequencies of the tones played; a sound has two. */
  readonly tones: number[];
  readonly badges: number[];
  open(peer?: string): Promise<Page>;
}

/** @param granted whether notifications were allowed before; otherwise the request is granted */
async function deviceOf(who: Person, granted = true, options: BrowserContextOptions = {}): Promise<Device> {
  const context = await chat.context(who, options);
  const [notices, tones, badges]: [string[], number[], number[]] = [[], [], []];
  await context.exposeFunction("noticed", (text: string) => void notices.push(text));
  await context.exposeFunction("sounded", (hertz: number) => void tones.push(hertz));
  await context.exposeFunction("badged", (count: number) => void badges.push(count));
  await context.addInitScript((allowed) => {
    if (location.protocol === "about:") return;
    const page: any = globalThis; // oxlint-disable-line typescript/no-explicit-any
    let permission = allowed ? "granted" : "default";
    if (allowed) localStorage.setItem("chatify.attention", '{"notifications":true}');
    page.permissionRequests = 0;
    page.Notification = class {
      static get permission() {
        return permission;
      }
      static async requestPermission() {
        page.permissionRequests++;
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
    // A headless window is never behind another.
    Object.defineProperty(document, "visibilityState", { get: () => (page.behind ? "hidden" : "visible") });
    document.hasFocus = () => !page.beside;
  }, granted);
  const open = (peer?: string) => chat.open(context, peer === undefined ? "/" : `/#${encodeURIComponent(peer)}`);
  return { context, notices, tones, badges, open };
}

/** Hides a tab, or shows it again. It is clicked first, because a page without a click may not play sound. */
async function put(page: Page, place: "behind" | "in front"): Promise<void> {
  await page.bringToFront();
  if (place === "behind") await page.mouse.click(700, 30);
  await page.evaluate((behind) => {
    Object.assign(globalThis, { behind });
    document.dispatchEvent(new Event("visibilitychange"));
  }, place === "behind");
}

/** Moves the focus to another window beside the visible tab, or back. */
const focus = (page: Page, place: "beside" | "here") =>
  page.evaluate((beside) => {
    Object.assign(globalThis, { beside });
    dispatchEvent(new Event(beside ? "blur" : "focus"));
  }, place === "beside");

const listening = (page: Page) =>
  until("the tab can play sound", () =>
    page.evaluate(() => {
      const mine = `test/${crypto.randomUUID()}`; // identifies this tab's client id
      return navigator.locks.request(mine, async () => {
        const { held = [], pending = [] } = await navigator.locks.query();
        const me = held.find(({ name }) => name === mine)?.clientId;
        return [...held, ...pending].some(({ name, clientId }) => clientId === me && name?.endsWith("/sound"));
      });
    }),
  );

test("the title of a notification has the display name, and the name that identifies the sender", async () => {
  const [ann, bob] = [await person("Title-Ann"), await person("Title-Bob")];
  await bob.post("/me/profile", { display_name: "Bob Young" });
  const wire = await bob.open();
  await wire.send("Title-Ann", "first");
  const device = await deviceOf(ann);
  const page = await device.open();
  await put(page, "behind");
  await listening(page);
  await wire.send("Title-Ann", "second");
  await until("the notification", () => device.notices.length > 0);
  expect(device.notices[0]?.replace(/[\u2066-\u2069]/g, "")).toStartWith("Bob Young (@Title-Bob): second");
}, 30_000);

test("notifies and sounds once for three hidden tabs, and not for a visible message", async () => {
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
  await until("Ann is notified", async () => device.notices.length > 0 && device.tones.length > 1);
  await Bun.sleep(700);
  expect(device.notices).toEqual(["Three-Bob: hello Ann (chatify.Three-Ann/three-bob)"]);
  expect(device.tones.length).toBe(2);
  const titles = (title: string) => async () =>
    (await Promise.all(pages.map((page) => page.title()))).every((each) => each === title);
  await until("all tabs count the message", titles("(2) chatify")); // hidden tabs paint once a second
  expect(device.badges.at(-1)).toBe(2);

  const [front] = pages;
  await front!.goto(`${chat.url}/#Three-Bob`);
  await put(front!, "in front");
  await until("the message is read in every tab", titles("chatify"));
  expect(device.badges.at(-1)).toBe(0);
  await until("the notification closes", async () => device.notices.length > 1);
  expect(device.notices[1]).toBe("closed chatify.Three-Ann/three-bob");
  await Bun.sleep(1_000); // between two sounds there are two seconds
  await wire.send("Three-Ann", "you see this");
  await Bun.sleep(1_200);
  expect([device.notices.length, device.tones.length]).toEqual([2, 2]);
});

test("notifies and marks nothing read while the visible window lacks the focus", async () => {
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
  await until("Ann is notified", async () => device.notices.length > 0 && device.tones.length > 1);
  expect(device.notices).toEqual(["Beside-Bob: while you write a letter (chatify.Beside-Ann/beside-bob)"]);
  await page.locator("chat-thread .day.new + .message", { hasText: "while you write a letter" }).waitFor();
  expect(await page.title()).toBe("(1) chatify");
  await wire.hearsNo("read", 0);
  await page.evaluate(() => document.querySelector("chat-thread .scroller")?.dispatchEvent(new Event("scroll")));
  await wire.hearsNo("read", 300);

  await focus(page, "here");
  expect(await wire.next("read")).toMatchObject({ reader: "Beside-Ann", seq: 2 });
  await until("the notification closes", async () => device.notices[1] === "closed chatify.Beside-Ann/beside-bob");
  await focus(page, "beside");
  await wire.send("Beside-Ann", "the drag took the focus, and no event brought it back");
  await until("the message is counted", async () => (await page.title()) === "(1) chatify");
  await page.evaluate(() => Object.assign(globalThis, { beside: false }));
  await page.mouse.click(700, 30);
  expect(await wire.next("read")).toMatchObject({ reader: "Beside-Ann", seq: 3 });
});

test("marks visible messages read on a touch screen without the focus", async () => {
  const [ann, bob] = [await person("Touch-Ann"), await person("Touch-Bob")];
  const wire = await bob.open();
  const device = await deviceOf(ann, true, { hasTouch: true, isMobile: true, viewport: { width: 390, height: 760 } });
  const page = await device.open("Touch-Bob");
  await focus(page, "beside");
  await wire.send("Touch-Ann", "hello");
  expect(await wire.next("read")).toMatchObject({ reader: "Touch-Ann", seq: 1 });
});

test("keeps a muted conversation quiet on every device", async () => {
  const [ann, bob] = [await person("Mute-Ann"), await person("Mute-Bob")];
  const wire = await bob.open();
  await wire.send("Mute-Ann", "blah");
  const [device, other] = [await deviceOf(ann), await deviceOf(ann)];
  const [page, elsewhere] = [await device.open("Mute-Bob"), await other.open()];
  await page.click("chat-header .more");
  await page.click("#options .mute");
  await page.click(".message-menu :text('Always')");
  await elsewhere.waitForSelector('conversation-list a[data-name="Mute-Bob"] .muted:visible');
  await page.goto(`${chat.url}/#`);
  for (const tab of [page, elsewhere]) {
    await put(tab, "behind");
    await listening(tab);
  }
  await wire.send("Mute-Ann", "blah blah");
  await page.waitForSelector('conversation-list a[data-name="Mute-Bob"] .badge.low:visible');
  await Bun.sleep(1_200);
  expect([...device.notices, ...other.notices, ...device.tones, ...other.tones]).toEqual([]);
  expect([await page.title(), await elsewhere.title()]).toEqual(["chatify", "chatify"]);
  await page.goto(`${chat.url}/#Mute-Bob`);
  await page.click("chat-header .more");
  await page.click("#options .mute:has-text('Unmute')");
  await elsewhere.waitForSelector('conversation-list a[data-name="Mute-Bob"] .muted', { state: "hidden" });
});

test("asks about notifications once, after the first message", async () => {
  const ann = await person("Ask-Ann");
  await person("Ask-Bob");
  const device = await deviceOf(ann, false);
  const page = await device.open("Ask-Bob");
  const requests = () =>
    page.evaluate(() => (globalThis as unknown as { permissionRequests: number }).permissionRequests);
  const line = page.locator(".ask-notifications");
  await page.fill("message-composer textarea", "hello");
  expect(await line.isVisible()).toBeFalse();
  await page.press("message-composer textarea", "Enter");
  await line.waitFor({ state: "visible" });
  expect(await requests()).toBe(0);
  await line.locator(".yes").click();
  await line.waitFor({ state: "hidden" });
  expect(await requests()).toBe(1);
  await page.click("conversation-list .me");
  const [notices, sound] = [page.locator("#menu .notifications"), page.locator("#menu .sound")];
  expect(await notices.getAttribute("aria-checked")).toBe("true");
  expect(await sound.getAttribute("aria-checked")).toBe("true");
  await notices.click();
  await sound.click();
  expect(await page.evaluate(() => localStorage.getItem("chatify.attention"))).toBe(
    '{"notifications":false,"sound":false}',
  );
  await page.reload();
  await write(page, "hello again");
  await page.click("conversation-list .me");
  await page.waitForSelector("#menu .sound[aria-checked=false]");
  expect(await line.isVisible()).toBeFalse();
});

test("opens the conversation of a clicked notification", async () => {
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
  await page.waitForURL(`${chat.url}/#Choose-Bob`);
  await page.waitForSelector("chat-thread .message");
});

test("closes notifications of messages read elsewhere once a page opens", async () => {
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
  await until("the other notification is closed", async () =>
    device.notices.includes("closed chatify.Late-Bob/Read-Elsewhere"),
  );
  expect(device.notices).not.toContain("closed chatify.Late-Bob/Late-Ann");
});

test("closes all notifications at sign-out", async () => {
  const [ann, bob] = [await person("Leave-Ann"), await person("Leave-Bob")];
  const wire = await bob.open();
  const device = await deviceOf(ann);
  const page = await device.open();
  await put(page, "behind");
  await listening(page);
  await wire.send("Leave-Ann", "for your eyes");
  await until("Ann is notified", async () => device.notices.length === 1);
  await put(page, "in front");
  await signOut(page);
  await page.waitForURL(`${chat.url}/login`);
  expect(device.notices.slice(1)).toEqual(["closed chatify.Leave-Ann/leave-bob"]);
  expect(device.badges.at(-1)).toBe(0);
});

/** Whether a blocked conversation shows these texts in gray, and Unblock in place of the composer. */
async function isClosed(page: Page, ...texts: string[]): Promise<boolean> {
  const grey = page.locator("chat-thread[data-blocked] .messages");
  const shown = await grey.locator(".message .text").allInnerTexts();
  const isGrey =
    (await grey.count()) === 1 && (await grey.evaluate((each) => getComputedStyle(each).filter)) === "grayscale(1)";
  const canUnblock = await page.locator("message-composer .unblock").isVisible();
  return shown.join() === texts.join() && isGrey && canUnblock && !(await page.locator("textarea").isVisible());
}
const blockedRow = (page: Page, name: string) =>
  page.locator(`conversation-list .conversations a.blocked[data-name="${name}"] .preview:text-is("Blocked")`);

test("asks before blocking, then grays the conversation out on every device until it is unblocked", async () => {
  const [ann, bob] = [await person("Block-Ann"), await person("Block-Bob")];
  const wire = await bob.open();
  await wire.send("Block-Ann", "buy this");
  const device = await deviceOf(ann);
  const [other, page] = [await device.open(), await device.open("Block-Bob")]; // the last is in front; hidden tabs paint once a second
  await page.click("chat-header .more");
  await page.click("#options .block");
  const dialog = page.locator("dialog.question");
  expect((await dialog.innerText()).replaceAll(/[\u2068\u2069]/g, "")).toContain("Block Block-Bob?");
  await dialog.locator(".cancel").click();
  expect(await blockedRow(page, "Block-Bob").count()).toBe(0);
  await page.click("chat-header .more");
  await page.click("#options .block");
  await dialog.locator(".confirm").click();
  for (const tab of [page, other]) await blockedRow(tab, "Block-Bob").waitFor();
  await until("the conversation is closed", () => isClosed(page, "buy this"));

  await wire.send("Block-Ann", "and this");
  await Bun.sleep(500);
  expect([await page.title(), await isClosed(page, "buy this")]).toEqual(["chatify", true]);
  await page.reload();
  await until("a reload shows it closed", () => isClosed(page, "buy this"));
  await blockedRow(page, "Block-Bob").waitFor();
  await other.locator('a[data-name="Block-Bob"]').click();
  await until("the other tab shows it closed", () => isClosed(other, "buy this"));
  const phone = await deviceOf(ann, true, { viewport: { width: 390, height: 700 } });
  const fresh = await phone.open();
  await blockedRow(fresh, "Block-Bob").click();
  await until("a new device shows it closed", () => isClosed(fresh, "buy this"));

  await page.locator("message-composer .unblock").click();
  for (const tab of [page, other, fresh]) {
    await until("the conversation is open again", async () => {
      const texts = await tab.locator("chat-thread:not([data-blocked]) .message .text").allInnerTexts();
      return texts.join() === "buy this,and this" && (await tab.locator("textarea").isVisible());
    });
    await until("the list shows it unblocked", async () => (await blockedRow(tab, "Block-Bob").count()) === 0);
  }
});

test("closes the open conversation when another device blocks the peer", async () => {
  const [ann, bob] = [await person("Far-Ann"), await person("Far-Bob")];
  const device = await deviceOf(ann);
  const page = await device.open("Far-Bob");
  await put(page, "behind");
  await (await bob.open()).send("Far-Ann", "hello?");
  await until("one is unread", async () => (await page.title()) === "(1) chatify");
  await page.waitForSelector("chat-thread .day.new");
  await ann.post("/blocks", { name: "Far-Bob", blocked: true });
  await until("the conversation is closed", () => isClosed(page, "hello?"));
  await until("nothing is unread", async () => (await page.title()) === "chatify");
  expect(await page.locator("chat-thread .day.new, conversation-list .badge:visible").count()).toBe(0);
  await put(page, "in front");
  await page.reload();
  await until("a reload shows it closed", () => isClosed(page, "hello?"));
  expect(await page.locator("chat-thread .day.new, conversation-list .badge:visible").count()).toBe(0);
  await ann.post("/blocks", { name: "Far-Bob", blocked: false });
  await page.waitForSelector("textarea:visible");
  await until("the message is read", async () => {
    const [row] = await ann.json<{ unread: number }[]>("/conversations");
    return row?.unread === 0;
  });
});

test("syncs a draft to other devices, but not into a composer in use, and clears it once sent", async () => {
  const ann = await person("Draft-Ann");
  await person("Draft-Bob");
  const [desk, phone] = [await deviceOf(ann), await deviceOf(ann)];
  const open = async ({ context, open }: Device) => {
    const predicate = (answer: Response) => answer.url().endsWith("/drafts");
    const [page] = await Promise.all([
      open("Draft-Bob"),
      context.waitForEvent("response", { predicate, timeout: 15_000 }), // drafts sync from now on
    ]);
    return page;
  };
  const [here, there] = [await open(desk), await open(phone)];
  await here.focus("message-composer textarea");
  await here.keyboard.type("Shall we");
  await until("the phone shows the start", async () => (await draft(there)) === "Shall we");
  await here.keyboard.type(" meet");
  await until("the phone shows it", async () => (await draft(there)) === "Shall we meet");
  await here.keyboard.type(" at");
  await there.focus("message-composer textarea");
  await there.keyboard.type(" now", { delay: 100 });
  await Bun.sleep(1_000);
  expect(await draft(there)).toMatch(/^Shall we meet.* now$/);
  await until("the desktop shows it", async () => (await draft(here)) === (await draft(there)), 12_000);
  await there.press("message-composer textarea", "Enter");
  await until("the desktop's composer is empty", async () => (await draft(here)) === "", 12_000);

  await here.keyboard.type("left open");
  await here.locator("message-composer textarea").blur();
  await Bun.sleep(1_300);
  await here.goto("about:blank");
  const later = await (await deviceOf(ann)).open("Draft-Bob");
  await until("a new device shows it", async () => (await draft(later)) === "left open");
  expect(await draft(there)).toBe("left open"); // a recent send must not hide it
});
