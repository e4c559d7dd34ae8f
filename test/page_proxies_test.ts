/** The page behind proxies that have something to say themselves. Real Chromium. */

import { afterAll, afterEach, beforeAll, expect, test } from "bun:test";

import type { Browser, BrowserContext } from "playwright-core";

import { closeWindows, launch } from "./browser.ts";
import { type Person, startApp, type TestApp } from "./harness.ts";
import { html, HttpProxy } from "./http_proxy.ts";

let browser: Browser;
let app: TestApp;
let proxy: HttpProxy;

beforeAll(async () => {
  [browser, app] = await Promise.all([launch(), startApp()]);
  proxy = new HttpProxy(app.port);
}, 60_000);

afterAll(async () => {
  await browser?.close();
  await proxy?.[Symbol.asyncDispose]();
  await app?.stop();
});

afterEach(async () => {
  await closeWindows(browser);
  proxy.answer = () => undefined;
});

async function browserOf(person: Person, options: Parameters<Browser["newContext"]>[0] = {}): Promise<BrowserContext> {
  const context = await browser.newContext({ locale: "en-GB", ...options });
  const [name = "", value = ""] = person.cookie.split(/=(.*)/s);
  await context.addCookies([{ name, value, url: proxy.url }]);
  return context;
}

test("behind Basic Auth every file of every page is asked for with the password, the manifest too", async () => {
  const ann = await app.person("Basic-Ann");
  const expected = `Basic ${btoa("guest:door code")}`;
  const refused: string[] = [];
  proxy.answer = (request) => {
    if (request.headers.get("authorization") === expected) return undefined;
    refused.push(new URL(request.url).pathname);
    return html("Who are you?", 401, { "www-authenticate": 'Basic realm="staging"' });
  };
  const context = await browserOf(ann, { httpCredentials: { username: "guest", password: "door code" } });
  for (const path of ["/", "/account", "/login", "/signup"]) {
    const page = await context.newPage();
    await page.goto(proxy.url + path);
    await page.waitForSelector("language-choice:defined", { state: "attached" });
    refused.length = 0; // browsers ask once without
    const devtools = await context.newCDPSession(page);
    const { data } = await devtools.send("Page.getAppManifest");
    expect([path, JSON.parse(data || "{}").name, refused]).toEqual([path, "chatify", []]);
    await page.close();
  }
}, 60_000);
