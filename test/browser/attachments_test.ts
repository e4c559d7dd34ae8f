/** Sending files from the page, in a real browser, to a real server. */

import { expect, setDefaultTimeout, test } from "bun:test";

import exifr from "exifr";
import type { Page } from "playwright-core";

import { shows, texts, useBrowser, write } from "../support/browser.ts";
import { Person, startApp } from "../support/harness.ts";
import { phoneJpeg, png } from "../support/images.ts";
import { until } from "../support/until.ts";
import { CHUNK, content, fetchFile } from "../support/uploads.ts";

setDefaultTimeout(60_000);

const chat = useBrowser(() => startApp({ env: { FILE_MAX: "4MB" } }));

interface Row {
  readonly content: string;
  readonly file?: { readonly id: string; readonly type: string; readonly size: number; readonly width?: number };
}
const person = (name: string) => Person.signUp(chat.server.url, name);
const rows = (who: Person, peer: Person) => who.json<Row[]>(`/messages/${who.name}/${peer.name}?peek=1`);
const arrived = (who: Person, peer: Person, count: number) =>
  until(`${who.name} has ${count} messages`, async () => (await rows(who, peer)).length === count, 20_000);

/** Chooses files through the menu of the attach button. */
async function attach(
  page: Page,
  item: "Photo or video" | "File",
  ...files: { name: string; mimeType: string; buffer: Buffer }[]
) {
  await page.click(".attach-button");
  const [chooser] = await Promise.all([
    page.waitForEvent("filechooser"),
    page.getByRole("menuitem", { name: item, exact: true }).click(),
  ]);
  await chooser.setFiles(files);
}
const photo = async (name: string, width: number, height: number, orientation = 1) => ({
  name,
  mimeType: "image/jpeg",
  buffer: await phoneJpeg(
    png(width, height, (x, y) => [x * 255, y * 255, 128]),
    orientation,
  ),
});
const binary = (name: string, length: number) => ({
  name,
  mimeType: "application/octet-stream",
  buffer: content(length),
});
const strip = (page: Page) => page.locator(".attachments li .name").allTextContents();
const prepared = (page: Page, count: number) =>
  page.waitForFunction((wanted) => document.querySelectorAll(".attachments li.picture").length === wanted, count);

/** Gives the page files as a drop or a paste does. */
const give = (
  page: Page,
  type: "drop" | "paste",
  files: { name: string; type: string; text: string }[],
  selector = "body",
) =>
  page.evaluate(
    ([event, given, target]) => {
      const data = new DataTransfer();
      for (const { name, type: mime, text } of given) data.items.add(new File([text], name, { type: mime }));
      const init = { bubbles: true, cancelable: true };
      const made =
        event === "drop"
          ? new DragEvent("drop", { ...init, dataTransfer: data })
          : new ClipboardEvent("paste", { ...init, clipboardData: data });
      return !document.querySelector(target)!.dispatchEvent(made);
    },
    [type, files, selector] as const,
  );

test("sends two pictures and a file once and in order after the network and the tab were lost halfway", async () => {
  const [ann, bob] = [await person("Half-Ann"), await person("Half-Bob")];
  const context = await chat.context(ann);
  const page = await chat.open(context, "/#Half-Bob");
  const film = binary("film.bin", 3 * 1024 * 1024 + 5);
  await attach(page, "Photo or video", await photo("one.jpg", 3_000, 1_500), await photo("two.jpg", 400, 200, 6));
  await attach(page, "File", film);
  await prepared(page, 2);
  expect(await strip(page)).toEqual(["one.jpg", "two.jpg", "film.bin"]);
  let chunks = 0;
  await page.route(/\/files\/[^/]+\/\d+$/, async (route) => {
    if (++chunks <= 6) return route.continue();
    await context.setOffline(true);
    return route.abort();
  });
  await write(page, "the first");
  await write(page, "a text after them");
  await until("the network is lost", () => chunks > 6);
  await page.locator(".upload .size", { hasText: "Waiting for the connection" }).first().waitFor();
  await page.close({ runBeforeUnload: false });
  expect((await rows(bob, ann)).length).toBeLessThan(4);

  await context.setOffline(false);
  await chat.open(context, "/#Half-Bob");
  await arrived(bob, ann, 4);
  const sent = await rows(bob, ann);
  expect(sent.map((row) => row.content)).toEqual(["the first", "two.jpg", "film.bin", "a text after them"]);
  expect(sent.map(({ file }) => file?.width)).toEqual([2_560, 200, undefined, undefined]);
  for (const { file } of sent.slice(0, 2)) {
    const { bytes } = await fetchFile(bob, file!.id);
    expect((await exifr.parse(bytes, true).catch(() => undefined))?.latitude).toBeUndefined();
    expect(bytes.includes("GPSLatitude")).toBeFalse();
  }
  expect(Buffer.compare((await fetchFile(bob, sent[2]!.file!.id)).bytes, film.buffer)).toBe(0);
});

test("refuses a file over the limit in words, and keeps every byte of a picture sent as a file", async () => {
  const [ann, bob] = [await person("Size-Ann"), await person("Size-Bob")];
  const page = await chat.open(ann, "/#Size-Bob");
  await attach(page, "File", binary("big.bin", 4_000_001));
  await page
    .locator(".attachments .error", { hasText: /big\.bin.* is too large\. A file can have at most .4\sMB/ })
    .waitFor();
  expect(await strip(page)).toEqual([]);
  const picture = await photo("whole.jpg", 300, 100);
  await attach(page, "File", picture);
  await page.waitForSelector(".attachments li");
  await page.click(".send");
  await arrived(bob, ann, 1);
  const [row] = await rows(bob, ann);
  expect(Buffer.compare((await fetchFile(bob, row!.file!.id)).bytes, picture.buffer)).toBe(0);
});

test("attaches what is pasted or dropped anywhere, per conversation, and a drop never leaves the page", async () => {
  const [ann] = [await person("Drop-Ann"), await person("Drop-Bob"), await person("Drop-Cid")];
  const page = await chat.open(ann, "/");
  expect(await give(page, "drop", [{ name: "miss.txt", type: "text/plain", text: "x" }])).toBeTrue();
  await page.evaluate(() => (location.hash = "#Drop-Bob"));
  await page.waitForSelector("message-composer textarea:visible");
  expect(await give(page, "drop", [{ name: "a.txt", type: "text/plain", text: "x" }], "conversation-list")).toBeTrue();
  expect(await give(page, "paste", [{ name: "b.txt", type: "text/plain", text: "y" }], "textarea")).toBeTrue();
  await until("both are attached", async () => (await strip(page)).join() === "a.txt,b.txt");
  await page.evaluate(() => (location.hash = "#Drop-Cid"));
  await until("another conversation has none", async () => (await strip(page)).length === 0);
  await page.evaluate(() => (location.hash = "#Drop-Bob"));
  await until("both are still attached", async () => (await strip(page)).length === 2);
  await page.getByRole("button", { name: /^Remove .a\.txt/ }).click();
  expect(await strip(page)).toEqual(["b.txt"]);
});

test("cancels a file while it is uploaded, and sends what follows", async () => {
  const [ann, bob] = [await person("Stop-Ann"), await person("Stop-Bob")];
  const page = await chat.open(ann, "/#Stop-Bob");
  await page.route(/\/files\/[^/]+\/[1-9]$/, () => {}); // never answered
  await attach(page, "File", binary("slow.bin", 4 * CHUNK));
  await page.waitForSelector(".attachments li");
  await page.click(".send");
  await write(page, "after it");
  await page.getByRole("button", { name: /^Cancel sending .slow\.bin/ }).click();
  await shows(page, "after it");
  await arrived(bob, ann, 1);
  expect(await texts(page)).toEqual(["after it"]);
});

test("keeps nothing of a file after signing out", async () => {
  const [ann] = [await person("Out-Ann"), await person("Out-Bob")];
  const context = await chat.context(ann);
  const page = await chat.open(context, "/#Out-Bob");
  await page.route(/\/files$/, (route) => route.abort());
  await attach(page, "File", binary("mine.bin", 10));
  await page.waitForSelector(".attachments li");
  await page.click(".send");
  await page.waitForSelector(".upload");
  const names = () => page.evaluate(async () => (await indexedDB.databases()).map(({ name }) => name));
  await until("it is stored", async () => (await names()).includes("chatify.uploads.Out-Ann"));
  page.on("dialog", (dialog) => void dialog.accept());
  await page.click("conversation-list .me");
  await page.click("#menu .sign-out button:enabled");
  await page.waitForURL("**/login");
  await until("it is erased", async () => !(await names()).includes("chatify.uploads.Out-Ann"));
});

test("another tab continues the upload of a closed one", async () => {
  const [ann, bob] = [await person("Tabs-Ann"), await person("Tabs-Bob")];
  const context = await chat.context(ann);
  const begun: string[] = [];
  context.on("request", (request) => {
    if (request.method() === "POST" && request.url().endsWith("/files")) begun.push(request.url());
  });
  const [first, second] = [await chat.open(context, "/#Tabs-Bob"), await chat.open(context, "/#Tabs-Bob")];
  await first.route(/\/files\/[^/]+\/[1-9]$/, () => {}); // never answered
  const film = binary("film.bin", 5 * CHUNK);
  await attach(first, "File", film);
  await first.waitForSelector(".attachments li");
  await first.click(".send");
  await first.waitForSelector(".upload");
  await until("the first chunk has arrived", async () =>
    (await first.locator(".upload .size").innerText()).includes("20%"),
  );
  await second.evaluate(() => document.dispatchEvent(new Event("visibilitychange"))); // loads the outbox
  await second.waitForSelector(".upload");
  await first.close();
  await arrived(bob, ann, 1);
  expect(begun).toHaveLength(1);
  const [row] = await rows(bob, ann);
  expect(Buffer.compare((await fetchFile(bob, row!.file!.id)).bytes, film.buffer)).toBe(0);
});
