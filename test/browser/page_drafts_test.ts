/** Texts that one device has and the server never had, beside what another device writes. Two real browsers. */

import { afterAll, afterEach, beforeAll, expect, test } from "bun:test";

import type { Browser, Page } from "playwright-core";

import { closeWindows, launch } from "../support/browser.ts";
import { type Person, startApp, type TestApp } from "../support/harness.ts";
import { HttpProxy } from "../support/http_proxy.ts";
import { until } from "../support/until.ts";

let browser: Browser;
let app: TestApp;
let proxy: HttpProxy;
let ann: Person;

beforeAll(async () => {
  [browser, app] = [await launch(), await startApp()];
  proxy = new HttpProxy(Number(new URL(app.url).port));
  [ann] = (await app.people("Ann", "Bob", "Carol")) as [Person, Person, Person];
});
afterAll(async () => {
  await browser?.close();
  await proxy?.[Symbol.asyncDispose]();
  await app?.stop();
});
afterEach(async () => {
  proxy.answer = () => undefined;
  await closeWindows(browser);
});

async function device(url: string, peer: string): Promise<Page> {
  const context = await browser.newContext({ locale: "en-GB" });
  const [name = "", value = ""] = ann.cookie.split(/=(.*)/s);
  await context.addCookies([{ name, value, url }]);
  const page = await context.newPage();
  await page.goto(`${url}/#${peer}`);
  await page.waitForSelector("message-composer textarea:visible");
  return page;
}

const text = (page: Page) => page.inputValue("message-composer textarea");
const write = (page: Page, written: string) => page.fill("message-composer textarea", written);
const shows = (page: Page, wanted: string) =>
  until(`the field has ${wanted.slice(0, 40)}`, async () => (await text(page)) === wanted, 15_000);

test("a text too long to be sent stays while another device writes and sends a message", async () => {
  const [laptop, phone] = [
    await device(proxy.url, "Bob"),
    await device(app.url.replace("127.0.0.1", "localhost"), "Bob"),
  ];
  const long = "x".repeat(4_001);
  await write(laptop, long);
  await laptop.reload(); // nobody types it any more
  await shows(laptop, long);
  await write(phone, "ok");
  await shows(laptop, `ok\n\n${long}`);
  await phone.press("message-composer textarea", "Enter");
  await laptop.waitForSelector('chat-thread .message:has-text("ok")');
  await shows(laptop, long);
  await laptop.reload();
  await shows(laptop, long);
});

test("what was written without a connection, here and there, is all there on both devices", async () => {
  const [laptop, phone] = [
    await device(proxy.url, "Carol"),
    await device(app.url.replace("127.0.0.1", "localhost"), "Carol"),
  ];
  proxy.answer = () => new Response("away", { status: 503 });
  proxy.cut();
  await write(laptop, "written in the tunnel");
  await write(phone, "left on the phone");
  await until("the server has one of them", async () => (await ann.json<unknown[]>("/drafts")).length === 1);
  await laptop.waitForTimeout(3_100); // nobody types any more
  proxy.answer = () => undefined;
  const both = "left on the phone\n\nwritten in the tunnel";
  for (const page of [laptop, phone]) await shows(page, both);
  await phone.reload();
  await shows(phone, both);
  expect(await ann.json<{ text: string }[]>("/drafts")).toMatchObject([{ text: both }]);
}, 60_000);
