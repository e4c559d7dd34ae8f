/** Files in the page: photos, their viewer, and what is left of deleted ones. */

import { expect, setDefaultTimeout, test } from "bun:test";

import type { Page } from "playwright-core";

import { cachedTexts, drawn, goToPeer, hold, isCached, useBrowser } from "../support/browser.ts";
import type { Person, Tab } from "../support/harness.ts";
import { choose } from "../support/message_menu.ts";
import { pageErrors } from "../support/page_errors.ts";
import { seaside, sendFile, tone } from "../support/states/files.ts";
import { until } from "../support/until.ts";

setDefaultTimeout(40_000);

const chat = useBrowser();

interface Sender {
  readonly person: Person;
  readonly tab: Tab;
}

/** Two new users, the second with an open socket. */
async function pair(name: string): Promise<{ ann: Person; bob: Sender; from: string }> {
  const [ann, bob] = (await chat.server.people(`${name}-ann`, `${name}-bob`)) as [Person, Person];
  return { ann, bob: { person: bob, tab: await bob.open() }, from: bob.name };
}

const send = (bob: Sender, to: Person, name: string, rest: { words?: string; width?: number } = {}) =>
  sendFile(bob, to.name, { bytes: seaside(rest.width ?? 480, 360), name, ...rest });

const photos = (page: Page) => page.locator("chat-thread .picture img.loaded");
const viewer = (page: Page) => page.locator(".file-viewer[open]");
const shownPhoto = (page: Page) => viewer(page).getAttribute("aria-label");

test("reserves the room of a photo before it has loaded", async () => {
  const { ann, bob, from } = await pair("room");
  for (let i = 0; i < 3; i++) await send(bob, ann, `${i}.png`, { words: `photo ${i}`, width: 200 + 300 * i });
  const page = await chat.page(ann);
  const release = await hold(page, "**/preview");
  await page.addInitScript(() => {
    Reflect.set(globalThis, "shifts", 0);
    new PerformanceObserver((list) => {
      for (const entry of list.getEntries())
        Reflect.set(globalThis, "shifts", Reflect.get(globalThis, "shifts") + Reflect.get(entry, "value"));
    }).observe({ type: "layout-shift", buffered: true });
  });
  await page.goto(`${chat.url}/#${from}`);
  await page.waitForSelector("chat-thread .picture canvas");
  await drawn(page);
  const tops = () =>
    page.locator(".message .file").evaluateAll((all) => all.map((each) => each.getBoundingClientRect().toJSON()));
  const before = await tops();
  release();
  await until("the photos have loaded", async () => (await photos(page).count()) === 3);
  expect(await tops()).toEqual(before);
  expect(before[2].width / before[2].height).toBeCloseTo(800 / 360, 1);
  expect(await page.evaluate(() => Reflect.get(globalThis, "shifts") as number)).toBeLessThan(0.02);
});

test("shows photos of a run as a grid, and a caption below its photo", async () => {
  const { ann, bob, from } = await pair("grid");
  for (const name of ["a.png", "b.png", "c.png"]) await send(bob, ann, name);
  await send(bob, ann, "d.png", { words: "the last one" });
  const page = await chat.open(ann, `/#${from}`, { ready: ".message .picture" });
  const boxes = await page
    .locator(".message .file")
    .evaluateAll((all) => all.map((each) => each.getBoundingClientRect().toJSON()));
  const [a, b, c, d] = boxes as DOMRect[];
  expect(b!.top).toBe(a!.top);
  expect(b!.left).toBeGreaterThanOrEqual(a!.right);
  expect(c!.top).toBeGreaterThanOrEqual(a!.bottom);
  expect(Math.round(c!.right)).toBe(Math.round(b!.right));
  expect(d!.top).toBeGreaterThan(c!.bottom);
  expect(await page.locator(".message .text:visible").allInnerTexts()).toEqual(["the last one"]);
  // Each can be pointed at.
  await page.locator(".open-picture").first().click();
  expect(await shownPhoto(page)).toBe("Photo 1 of 4");
});

test("opens a photo, and goes to the others by keys; the back button closes it and returns the focus", async () => {
  const { ann, bob, from } = await pair("viewer");
  for (const name of ["a.png", "b.png"]) await send(bob, ann, name, { words: name.slice(0, 1) });
  const page = await chat.open(ann, "/");
  await page.click(`conversation-list a[data-name="${from}"]`);
  await page.locator(".open-picture").first().click();
  await viewer(page).waitFor();
  expect(await shownPhoto(page)).toBe("Photo 1 of 2");
  expect(await viewer(page).locator("img[alt]:not([alt=''])").getAttribute("alt")).toContain(
    `Photo from ${"\u2068"}${from}`,
  );
  await page.keyboard.press("ArrowRight");
  expect(await shownPhoto(page)).toBe("Photo 2 of 2");
  expect(await viewer(page).locator(".next").isHidden()).toBe(true);
  await page.keyboard.press("+");
  expect(
    await viewer(page)
      .locator(".frame")
      .evaluate((frame) => (frame as HTMLElement).style.transform),
  ).toContain("scale(1.5)");
  const download = page.waitForEvent("download");
  await viewer(page).locator(".download").click();
  expect((await download).suggestedFilename()).toBe("b.png");
  await page.goBack();
  await viewer(page).waitFor({ state: "detached" });
  expect(new URL(page.url()).hash).toBe(`#${from}`);
  expect(await page.evaluate(() => document.activeElement?.className)).toBe("open-picture");
  await page.keyboard.press("Enter");
  await viewer(page).waitFor();
  await page.keyboard.press("Escape");
  await viewer(page).waitFor({ state: "detached" });
  expect(await page.evaluate(() => document.activeElement?.className)).toBe("open-picture");
  // Escape has removed its entry from the history.
  await page.goBack();
  await until("the list is shown", async () => new URL(page.url()).hash === "");
});

test("swipes between photos on a phone", async () => {
  const { ann, bob, from } = await pair("swipe");
  for (const name of ["a.png", "b.png"]) await send(bob, ann, name);
  const page = await chat.open(ann, `/#${from}`, {
    ready: ".message .picture",
    hasTouch: true,
    isMobile: true,
    viewport: { width: 390, height: 844 },
  });
  await page.locator(".open-picture").first().tap();
  await viewer(page).waitFor();
  const client = await page.context().newCDPSession(page);
  const touch = (type: "touchStart" | "touchMove" | "touchEnd", x: number) =>
    client.send("Input.dispatchTouchEvent", { type, touchPoints: type === "touchEnd" ? [] : [{ x, y: 400 }] });
  await touch("touchStart", 300);
  for (const x of [240, 160, 90]) await touch("touchMove", x);
  await touch("touchEnd", 90);
  await until("the next photo is shown", async () => (await shownPhoto(page)) === "Photo 2 of 2");
});

test("offers to load a photo again that failed", async () => {
  const { ann, bob, from } = await pair("failed");
  await send(bob, ann, "a.png");
  const page = await chat.page(ann);
  await page.route("**/preview", (route) => route.abort("failed"), { times: 1 });
  await page.goto(`${chat.url}/#${from}`);
  await page.click(".load-failed button");
  await photos(page).waitFor();
  expect(await page.locator(".load-failed").count()).toBe(0);
});

test("plays audio, and offers other files as cards", async () => {
  const { ann, bob, from } = await pair("other");
  await sendFile(bob, ann.name, { bytes: tone(), name: "bells.wav" });
  await sendFile(bob, ann.name, {
    bytes: new TextEncoder().encode("x".repeat(1_400)),
    name: "list.txt",
    words: "for you",
  });
  const page = await chat.open(ann, `/#${from}`, { ready: ".card" });
  await until("the length of the audio is known", () =>
    page.locator("audio").evaluate((audio) => (audio as HTMLAudioElement).duration === 0.5),
  );
  const card = page.locator(".card");
  expect((await card.innerText()).split("\n")).toEqual(["list.txt", "1 kB", "Download"]);
  const download = page.waitForEvent("download");
  await card.click();
  expect((await download).suggestedFilename()).toBe("list.txt");
  expect(await page.locator(`a[data-name="${from}"] .preview`).innerText()).toBe("📎 for you");
});

test("says what a file is in the list and in quotes, in the user's language", async () => {
  const { ann, bob, from } = await pair("said");
  const { seq } = await send(bob, ann, "a.png");
  const page = await chat.open(ann, `/#${from}`, { ready: ".message .picture", locale: "el-GR" });
  expect(await page.locator(`a[data-name="${from}"] .preview`).innerText()).toBe("📷 Φωτογραφία");
  bob.tab.say({ to: ann.name, message: "that one", reply_to: seq, ref: bob.tab.newRef() });
  await until(
    "the quote is shown",
    async () => (await page.locator(".quote .line").allInnerTexts()).join() === "📷 Φωτογραφία",
  );
});

test("removes a deleted photo from the page and from the browser's caches", async () => {
  pageErrors.allow(/status of 404|ERR_CACHE_MISS/); // what the caches have to answer
  const { ann, bob, from } = await pair("deleted");
  const { id, seq } = await send(bob, ann, "secret.png", { words: "for now" });
  const page = await chat.open(ann, `/#${from}`, { ready: ".picture img.loaded" });
  await page.locator(".open-picture").click();
  await viewer(page).locator("img[alt]:not([alt='']).loaded").waitFor();
  const cached = (path: string) => isCached(page, `/files/${id}${path}`);
  expect([await cached(""), await cached("/preview")]).toEqual([true, true]); // else this test shows nothing
  await until("the message is stored offline", async () =>
    (await cachedTexts(page, ann.name, from)).includes("for now"),
  );
  bob.tab.say({ type: "delete", peer: ann.name, seq, ref: bob.tab.newRef() });
  await page.waitForSelector(".message.deleted");
  await viewer(page).waitFor({ state: "detached" });
  expect(await page.locator(".message .file").count()).toBe(0);
  await until("the caches are empty", async () => !(await cached("")) && !(await cached("/preview")));
  await until("nothing is stored offline", async () => !(await cachedTexts(page, ann.name, from)).includes("for now"));
});

test("forwards a photo with its caption as a copy", async () => {
  const { ann, bob, from } = await pair("forward");
  const { id } = await send(bob, ann, "a.png", { words: "look" });
  const page = await chat.open(ann, `/#${from}`, { ready: ".picture img.loaded" });

  await choose(page, "look", "Save to notes");
  await goToPeer(page, ann.name);
  await photos(page).waitFor();
  expect(await page.locator(".message .text").allInnerTexts()).toEqual(["look"]);
  expect(await photos(page).getAttribute("src")).not.toContain(id);
});

test.each([
  ["in the open conversation", true],
  ["in another", false],
])("removes a photo from the browser's caches that was deleted while the page was closed, %s", async (_, isOpen) => {
  pageErrors.allow(/status of 404|ERR_CACHE_MISS/);
  const { ann, bob, from } = await pair(isOpen ? "closed" : "listed");
  const { id, seq } = await send(bob, ann, "secret.png", { words: "for now" });
  const page = await chat.open(ann, `/#${from}`, { ready: ".picture img.loaded" });
  await until("the message is stored offline", async () =>
    (await cachedTexts(page, ann.name, from)).includes("for now"),
  );
  expect(await isCached(page, `/files/${id}/preview`)).toBe(true);
  await page.goto("about:blank");
  bob.tab.say({ type: "delete", peer: ann.name, seq, ref: bob.tab.newRef() });
  await bob.tab.next("changed");
  await page.goto(`${chat.url}/${isOpen ? `#${from}` : ""}`);
  await page.waitForSelector(isOpen ? ".message.deleted" : "conversation-list .entry");
  await until("the cache is empty", async () => !(await isCached(page, `/files/${id}/preview`)), 20_000);
});

test("reaches a photo from its message by the keyboard", async () => {
  const { ann, bob, from } = await pair("keys");
  await send(bob, ann, "a.png");
  const page = await chat.open(ann, `/#${from}`, { ready: ".picture img.loaded" });
  await page.press("message-composer textarea", "Alt+ArrowUp");
  await until("the photo is focused", async () => {
    await page.keyboard.press("ArrowRight");
    return page.evaluate(() => document.activeElement?.className === "open-picture");
  });
  await page.keyboard.press("Enter");
  await viewer(page).waitFor();
});

test("stays where it is while photos above load", async () => {
  const { ann, bob, from } = await pair("scroll");
  for (let i = 0; i < 6; i++) {
    await send(bob, ann, `${i}.png`, { words: `photo ${i}`, width: 300 });
    await bob.tab.send(ann.name, `text ${i}`);
  }
  const page = await chat.page(ann);
  const release = await hold(page, "**/preview");
  await page.goto(`${chat.url}/#${from}`);
  await page.waitForSelector(".message .picture canvas");
  await page.evaluate(() => document.querySelector("chat-thread .scroller")?.scrollTo(0, 900));
  await drawn(page);
  const top = () => page.locator(".message", { hasText: "text 3" }).evaluate((row) => row.getBoundingClientRect().top);
  const before = await top();
  release();
  await until("photos have loaded", async () => (await photos(page).count()) > 2);
  expect(Math.abs((await top()) - before)).toBeLessThan(1);
});
