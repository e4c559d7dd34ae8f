/** Display name and photo: set on the account page, seen by others on every page that shows the user. */

import { beforeEach, expect, test } from "bun:test";

import type { BrowserContext, Page } from "playwright-core";

import { shows, signOut, useBrowser, write } from "../support/browser.ts";
import type { Person } from "../support/harness.ts";
import { BLUE, phoneJpeg, png, RED } from "../support/images.ts";
import { pageErrors } from "../support/page_errors.ts";
import { until } from "../support/until.ts";

const chat = useBrowser();

beforeEach(() => pageErrors.allow(/status of (404|409|413|422)/));

const row = (name: string) => `conversation-list a[data-name="${name}"]`;
const text = async (page: Page, selector: string) => (await page.locator(selector).textContent())?.trim();
const says = (page: Page, selector: string, wanted: string) =>
  until(`${selector} says ${wanted}`, async () => (await text(page, selector)) === wanted);
const setName = (who: Person, display_name: string) => who.post("/me/profile", { display_name });
const photoOf = (who: Person, image = png(60, 60)) =>
  fetch(`${chat.server.url}/me/photo`, {
    method: "POST",
    body: image as Uint8Array<ArrayBuffer>,
    headers: { cookie: who.cookie, "content-type": "image/png" },
  });
/** Whether an avatar shows a photo that has loaded. */
const hasPhoto = (page: Page, avatar: string) =>
  page.evaluate((selector) => {
    const image = document.querySelector<HTMLImageElement>(`${selector} img.loaded`);
    return image !== null && image.naturalWidth > 0 && getComputedStyle(image).opacity === "1";
  }, avatar);
const photoShown = (page: Page, avatar: string, shown = true) =>
  until(`${avatar} ${shown ? "has" : "has no"} photo`, async () => (await hasPhoto(page, avatar)) === shown);

async function account(where: Person | BrowserContext): Promise<Page> {
  const page = await chat.open(where, "/account", { ready: "device-list li" });
  await page.waitForSelector("#display_name:enabled");
  return page;
}

const choose = (page: Page, name: string, buffer: Buffer) =>
  page.setInputFiles("profile-form .file", { name, mimeType: "image/jpeg", buffer });

test("sets the photo and the display name, previews the square, and removes both", async () => {
  const [ann] = (await chat.server.people("Set-Ann")) as [Person];
  const context = await chat.context(ann);
  const page = await account(context);
  expect(await page.locator("profile-form .remove").isVisible()).toBe(false);
  const turned = await phoneJpeg(
    png(900, 300, (x) => (x < 0.5 ? RED : BLUE)),
    6,
  );
  await choose(page, "holiday.jpg", turned);
  await page.waitForSelector("profile-form canvas:visible");
  const corners = () =>
    page.evaluate(() => {
      const canvas = document.querySelector("canvas")!;
      const at = (y: number) => canvas.getContext("2d")!.getImageData(256, y, 1, 1).data;
      return [at(20), at(490)].map(([red = 0, , blue = 0]) => (red > blue ? "red" : "blue"));
    });
  expect(await corners()).toEqual(["red", "blue"]); // upright, from the center
  await page.click("profile-form .cancel");
  expect((await ann.json<object>("/me")) as object).not.toHaveProperty("photo");
  await choose(page, "holiday.jpg", turned);
  const sent = page.waitForRequest("**/me/photo");
  await page.click("profile-form .use");
  expect(Number((await (await sent).allHeaders())["content-length"])).toBeLessThan(200 * 1024);
  await says(page, "profile-form .done", "Your photo has been saved.");
  await photoShown(page, "profile-form .avatar");
  await page.fill("#display_name", "  Ann   Smith ");
  await page.click("profile-form form button");
  await says(page, "profile-form .done", "Saved.");
  expect(await page.inputValue("#display_name")).toBe("Ann Smith");
  expect([await text(page, "profile-form .name"), await text(page, "profile-form .handle")]).toEqual([
    "Ann Smith",
    "@Set-Ann",
  ]);
  await page.click("profile-form .remove");
  await says(page, "profile-form .done", "Your photo has been removed.");
  await photoShown(page, "profile-form .avatar", false);
  await page.fill("#display_name", "");
  await page.press("#display_name", "Enter");
  await says(page, "profile-form .name", "Set-Ann");
  expect(await ann.json<object>("/me")).not.toHaveProperty("display_name");
}, 30_000);

test.each([
  ["@ann", "A display name has 1 to 50 characters, and no @."],
  ["x".repeat(51), "A display name has 1 to 50 characters, and no @."],
  ["Support", "That name is reserved. Choose another one."],
])("explains why %p cannot be a display name", async (name, error) => {
  const ann = await chat.server.person(`Bad-${name.length}`);
  const page = await account(ann);
  await page.fill("#display_name", name);
  await page.press("#display_name", "Enter");
  await says(page, "#display_name_error", error);
  expect([await page.getAttribute("#display_name", "aria-invalid"), await page.inputValue("#display_name")]).toEqual([
    "true",
    name,
  ]);
});

test("explains that a file is no image, and sends nothing", async () => {
  const page = await account(await chat.server.person("Svg-Ann"));
  const posted: string[] = [];
  page.on("request", (request) => request.method() === "POST" && posted.push(request.url()));
  await choose(page, "a.jpg", Buffer.from("just a text"));
  await says(
    page,
    "profile-form .photo-error",
    "This image cannot be used. Choose a complete JPEG, PNG or WebP image.",
  );
  expect(await page.locator("profile-form canvas").isVisible()).toBe(false);
  expect(posted).toEqual([]);
});

test("shows a change in every open page within seconds: list, header, thread, own menu", async () => {
  const [ann, bob] = (await chat.server.people("All-Ann", "All-Bob")) as [Person, Person];
  const tab = await ann.open();
  await tab.send("All-Bob", "hello");
  const page = await chat.open(bob, "/#All-Ann");
  const own = await chat.open(ann, "/");
  await shows(page, "hello");
  await setName(ann, "Ann Smith");
  await photoOf(ann);
  await says(page, `${row("All-Ann")} .name`, "Ann Smith");
  expect(await text(page, `${row("All-Ann")} .handle`)).toBe("@All-Ann");
  await says(page, "chat-header h2", "Ann Smith");
  expect(await text(page, "chat-header .handle")).toBe("@All-Ann");
  await until("the author", async () => (await text(page, ".message .author")) === "Ann Smith:");
  expect(await page.getAttribute("message-composer textarea", "aria-label")).toContain("Ann Smith");
  await photoShown(page, `${row("All-Ann")} .avatar`);
  await photoShown(page, "chat-header .avatar");
  await photoShown(own, "conversation-list .me .avatar");
  await own.click(".me");
  await says(own, "#menu .name", "Ann Smith");
  expect(await text(own, "#menu .handle")).toBe("@All-Ann");
  expect(await page.locator(`${row("All-Ann")} img`).getAttribute("loading")).toBe("lazy");
  // a reply's quote
  await tab.send("All-Bob", "and bye");
  const bye = page.locator(".message .text", { hasText: "and bye" });
  await bye.hover();
  await page.waitForSelector(".message-bar");
  await bye.click({ button: "right" });
  await page.locator(".message-menu button", { hasText: "Reply" }).click();
  await page.waitForSelector(".reference");
  expect(await text(page, ".reference b")).toContain("Ann Smith");
  await write(page, "indeed");
  await until("the quote", async () => (await text(page, ".quote b")) === "Ann Smith");
  await ann.post("/me/photo/remove");
  await photoShown(page, "chat-header .avatar", false);
}, 60_000);

test("finds by display name, and shows the name beside it", async () => {
  const [ann, bob] = (await chat.server.people("Find-Ann", "Find-Bob")) as [Person, Person];
  await setName(ann, "Ζωή Παπαδοπούλου");
  await photoOf(ann);
  const page = await chat.open(bob, "/");
  await page.fill("conversation-list input", "παπαδ");
  await page.waitForSelector(row("Find-Ann"));
  expect([await text(page, `${row("Find-Ann")} .name`), await text(page, `${row("Find-Ann")} .handle`)]).toEqual([
    "Ζωή Παπαδοπούλου",
    "@Find-Ann",
  ]);
  await photoShown(page, `${row("Find-Ann")} .avatar`);
  await page.click(row("Find-Ann"));
  await says(page, "chat-header h2", "Ζωή Παπαδοπούλου");
  await until("the greeting", async () => (await text(page, ".greeting"))?.includes("Ζωή Παπαδοπούλου") === true);
}, 30_000);

test("initials stay while a photo cannot be loaded, and the photo comes back", async () => {
  const [ann, bob] = (await chat.server.people("Fail-Ann", "Fail-Bob")) as [Person, Person];
  await photoOf(ann);
  await setName(ann, "Zoe Young");
  await (await ann.open()).send("Fail-Bob", "hello");
  const page = await chat.page(bob, { serviceWorkers: "block" });
  await page.route("**/photos/**", (route) => route.abort());
  pageErrors.allow(/Failed to load resource/);
  await page.goto(`${chat.url}/`);
  const avatar = `${row("Fail-Ann")} .avatar`;
  await page.waitForSelector(avatar);
  expect(await page.getAttribute(avatar, "data-initials")).toBe("ZY");
  expect(await hasPhoto(page, avatar)).toBe(false);
  await page.unroute("**/photos/**");
  await until("the photo is requested again", () => hasPhoto(page, avatar), 30_000);
}, 60_000);

test("photos are shown offline, and nothing is kept after sign-out", async () => {
  const [ann, bob] = (await chat.server.people("Off-Ann", "Off-Bob")) as [Person, Person];
  await setName(ann, "Ann Smith");
  await setName(bob, "Bob Young");
  for (const who of [ann, bob]) await photoOf(who);
  await (await ann.open()).send("Off-Bob", "hello");
  const context = await chat.context(bob);
  const page = await chat.open(context, "/#Off-Ann");
  await shows(page, "hello");
  const avatars = [`${row("Off-Ann")} .avatar`, "chat-header .avatar", "conversation-list .me .avatar"];
  for (const avatar of avatars) await photoShown(page, avatar);
  const src = (await page.getAttribute(`${avatars[0]} img`, "src"))!;
  await until("the page is stored", () =>
    page.evaluate(async () => (await caches.match("/", { ignoreVary: true })) !== undefined),
  );
  await until("the row is stored", () =>
    page.evaluate(async () => {
      const opened = indexedDB.open("chatify.reading.Off-Bob");
      await new Promise((resolve) => opened.addEventListener("success", resolve));
      const rows = opened.result.transaction("rows").objectStore("rows").getAll();
      await new Promise((resolve) => rows.addEventListener("success", resolve));
      opened.result.close();
      return rows.result.some(({ row }: { row: { photo?: string } }) => row.photo !== undefined);
    }),
  );
  pageErrors.allow(/Failed to load resource|net::ERR/);
  await context.setOffline(true);
  await page.reload();
  await says(page, `${row("Off-Ann")} .name`, "Ann Smith");
  for (const avatar of avatars) await photoShown(page, avatar);
  await context.setOffline(false);
  await page.reload();
  await page.waitForSelector(row("Off-Ann"));
  await signOut(page);
  await page.waitForURL("**/login");
  const kept = await page.evaluate(async (photo) => {
    const cached = await fetch(photo, { cache: "only-if-cached", mode: "same-origin" }).then(
      ({ status }) => status,
      () => "none",
    );
    return { cached, storage: JSON.stringify(localStorage), databases: await indexedDB.databases() };
  }, src);
  expect(kept.cached).not.toBe(200);
  expect(kept.storage).not.toContain("Young");
  expect(kept.databases.map(({ name }) => name)).not.toContain("chatify.reading.Off-Bob");
}, 60_000);

test("a display name cannot break the layout or the direction of what is beside it", async () => {
  const [ann, bob] = (await chat.server.people("Wild-Ann", "Wild-Bob")) as [Person, Person];
  await (await ann.open()).send("Wild-Bob", "hello");
  const page = await chat.open(bob, "/#Wild-Ann", { viewport: { width: 390, height: 700 } });
  await shows(page, "hello");
  for (const name of [
    "W".repeat(50),
    "﷽".repeat(50),
    `Z${"\u0335\u0300\u0316\u0489".repeat(12)}`,
    "ליאת 1234 (א)",
    "<b>x</b>",
  ]) {
    expect((await setName(ann, name)).status).toBe(200);
    const { display_name: stored } = await ann.json<{ display_name: string }>("/me");
    await says(page, "chat-header h2", stored);
    const box = await page.evaluate(() => {
      const header = document.querySelector("chat-header")!.getBoundingClientRect();
      const handle = document.querySelector("chat-header .handle")!.getBoundingClientRect();
      return {
        wide: document.documentElement.scrollWidth,
        high: Math.round(header.height),
        inside: handle.top >= header.top && handle.bottom <= header.bottom,
      };
    });
    expect([name.slice(0, 5), box]).toEqual([name.slice(0, 5), { wide: 390, high: 64, inside: true }]);
    expect(await text(page, "chat-header .handle")).toBe("@Wild-Ann");
  }
}, 30_000);

test("the blocked list and the question before it show both names", async () => {
  const [ann, bob] = (await chat.server.people("Block-Ann", "Block-Bob")) as [Person, Person];
  await setName(ann, "Ann Smith");
  await photoOf(ann);
  await (await ann.open()).send("Block-Bob", "hello");
  const page = await chat.open(bob, "/#Block-Ann");
  await shows(page, "hello");
  await page.click("chat-header .more");
  await page.click("#options .block");
  expect((await text(page, "#block-title"))?.replace(/[\u2066-\u2069]/g, "")).toBe("Block Ann Smith (@Block-Ann)?");
  await page.click("dialog .confirm");
  await page.waitForSelector("chat-thread[data-blocked]");
  const own = await account(bob);
  await own.waitForSelector("blocked-people li");
  expect([await text(own, "blocked-people li .name"), await text(own, "blocked-people li .handle")]).toEqual([
    "Ann Smith",
    "@Block-Ann",
  ]);
  await photoShown(own, "blocked-people li .avatar");
  await setName(ann, "You cannot hide"); // after the block
  await own.reload();
  await says(own, "blocked-people li .name", "Block-Ann");
}, 30_000);
