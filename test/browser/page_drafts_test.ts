/** Drafts that never reached the server, beside those of another device. */

import { afterAll, afterEach, beforeAll, expect, test } from "bun:test";

import type { Page } from "playwright-core";

import { draft, useBrowser } from "../support/browser.ts";
import type { Person } from "../support/harness.ts";
import { HttpProxy } from "../support/http_proxy.ts";
import { until } from "../support/until.ts";

const chat = useBrowser();
let proxy: HttpProxy;
let ann: Person;

beforeAll(async () => {
  proxy = new HttpProxy(chat.server.port);
  [ann] = (await chat.server.people("Ann", "Bob", "Carol")) as [Person, Person, Person];
});
afterAll(() => proxy?.[Symbol.asyncDispose]());
afterEach(() => void (proxy.answer = () => undefined));

/** Ann's laptop, behind the proxy, and her phone. */
const devices = async (peer: string): Promise<[Page, Page]> => [
  await chat.open(ann, `/#${peer}`, { url: proxy.url }),
  await chat.open(ann, `/#${peer}`),
];
const write = (page: Page, written: string) => page.fill("message-composer textarea", written);
const shows = (page: Page, wanted: string) =>
  until(`the field has ${wanted.slice(0, 40)}`, async () => (await draft(page)) === wanted, 15_000);

test("keeps a draft too long to send while another device writes and sends", async () => {
  const [laptop, phone] = await devices("Bob");
  const long = "x".repeat(4_001);
  await write(laptop, long);
  await laptop.reload(); // the user stopped typing
  await shows(laptop, long);
  await write(phone, "ok");
  await shows(laptop, `ok\n\n${long}`);
  await phone.press("message-composer textarea", "Enter");
  await laptop.waitForSelector('chat-thread .message:has-text("ok")');
  await shows(laptop, long);
  await laptop.reload();
  await shows(laptop, long);
});

test("merges the drafts that two devices wrote without a connection", async () => {
  const [laptop, phone] = await devices("Carol");
  proxy.answer = () => new Response("away", { status: 503 });
  proxy.cut();
  await write(laptop, "written in the tunnel");
  await write(phone, "left on the phone");
  await until("the server has one of them", async () => (await ann.json<unknown[]>("/drafts")).length === 1);
  await laptop.waitForTimeout(3_100); // longer than the user counts as typing
  proxy.answer = () => undefined;
  const both = "left on the phone\n\nwritten in the tunnel";
  for (const page of [laptop, phone]) await shows(page, both);
  await phone.reload();
  await shows(phone, both);
  expect(await ann.json<{ text: string }[]>("/drafts")).toMatchObject([{ text: both }]);
}, 60_000);
