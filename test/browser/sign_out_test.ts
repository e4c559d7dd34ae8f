/** What signing out leaves in a browser, by the menu or by the address, over http and https, while other tabs go on typing. Real Chromium. */

import { afterAll, afterEach, beforeAll, expect, setDefaultTimeout, test } from "bun:test";

import type { Browser, BrowserContext, Page } from "playwright-core";

import { closeWindows, launch, scripted } from "../support/browser.ts";
import { complaints } from "../support/complaints.ts";
import { type Person, startApp, type TestApp } from "../support/harness.ts";
import { until } from "../support/until.ts";

setDefaultTimeout(60_000);

let browser: Browser;
let app: TestApp;

beforeAll(async () => {
  [browser, app] = await Promise.all([launch({ args: ["--host-resolver-rules=MAP chat.test 127.0.0.1"] }), startApp()]);
});
afterAll(async () => {
  await browser?.close();
  await app?.stop();
});
afterEach(() => closeWindows(browser));

/** Browsers heed `Clear-Site-Data` from localhost, as over https, and ignore it from another host over http. */
const HOSTS = ["localhost", "chat.test"];

async function browserOf(person: Person, url: string): Promise<BrowserContext> {
  const context = await browser.newContext({ locale: "en-GB" });
  const [name = "", value = ""] = person.cookie.split(/=(.*)/s);
  await context.addCookies([{ name, value, url }]);
  return context;
}

async function open(context: BrowserContext, url: string, peer: string): Promise<Page> {
  const page = await context.newPage();
  await page.goto(`${url}/#${peer}`);
  await page.waitForSelector("message-composer textarea:visible");
  return page;
}

/** All that a browser keeps of a site, with names and values. */
async function kept(page: Page): Promise<string> {
  return page.evaluate(async () => {
    const all: unknown[] = [{ ...localStorage }, { ...sessionStorage }];
    for (const { name = "" } of await indexedDB.databases()) {
      const database = await new Promise<IDBDatabase>((resolve, reject) => {
        const request = indexedDB.open(name);
        request.addEventListener("success", () => resolve(request.result));
        request.addEventListener("error", () => reject(request.error as Error));
      });
      for (const store of database.objectStoreNames) {
        const objects = database.transaction(store).objectStore(store);
        const got = (request: IDBRequest) =>
          new Promise((resolve) => request.addEventListener("success", () => resolve(request.result)));
        all.push([name, store, await got(objects.getAllKeys()), await got(objects.getAll())]);
      }
      database.close();
    }
    if ("caches" in globalThis) {
      for (const name of await caches.keys()) {
        if ((await (await caches.open(name)).match("/")) !== undefined) all.push([name, "/"]);
      }
    }
    return JSON.stringify(all);
  });
}

const leavesByAddress = async (page: Page, url: string) => {
  await page.goto(`${url}/logout`);
};
const leavesByMenu = async (page: Page) => {
  await page.click("people-list .me");
  await page.click("#menu .sign-out button:enabled");
};

test.each(
  HOSTS.flatMap((host) => [[host, "the address", leavesByAddress] as const, [host, "the menu", leavesByMenu] as const]),
)("signing out on %s by %s leaves no text and no name, though another tab goes on typing", async (host, how, leave) => {
  if (host !== "localhost")
    complaints.allow(/^asked http:..chat\.test|Not supported for insecure|header has been ignored/);
  const [me, peer] = [`Out-${host.slice(0, 4)}-${how.slice(4)}`, `Peer-${host.slice(0, 4)}-${how.slice(4)}`];
  const [ann, bob] = (await app.people(me, peer)) as [Person, Person];
  await (await bob.open()).send(me, "read secret");
  const url = app.url.replace("127.0.0.1", host);
  const context = await browserOf(ann, url);
  const [leaving, other] = [await open(context, url, peer), await open(context, url, peer)];
  await other.waitForSelector("text=read secret");
  await leaving.fill("message-composer textarea", "unsent secret");
  await until("the text is kept", async () => (await kept(leaving)).includes("unsent secret"));
  const typing = (async () => {
    for (let i = 0; !other.isClosed() && new URL(other.url()).pathname === "/"; i++) {
      await other.fill("message-composer textarea", `other secret ${i}`, { timeout: 200 }).catch(() => {});
      await Bun.sleep(20);
    }
  })();
  await leave(leaving, url);
  await leaving.waitForURL(`${url}/login`);
  await other.waitForURL(`${url}/login`);
  await typing;
  await Promise.all([scripted(leaving), scripted(other)]);
  const clean = async () => !/secret|out-|peer-|\["chatify-/i.test(await kept(other));
  await until("nothing is left", clean);
  await Bun.sleep(1_000); // what would be written behind it
  expect(await kept(other)).not.toMatch(/secret|out-|peer-/i);
  expect(await kept(leaving)).not.toMatch(/secret|out-|peer-/i);
});

test("a language that was chosen outlives signing out", async () => {
  const ann = await app.person("Out-Greek");
  const url = app.url.replace("127.0.0.1", "localhost");
  const page = await (await browserOf(ann, url)).newPage();
  await page.goto(`${url}/login`);
  await page.click('language-choice button[lang="el"]');
  await until("the page is Greek", async () => (await page.getAttribute("html", "lang")) === "el");
  for (const _ of [1, 2]) {
    await page.goto(`${url}/logout`);
    await scripted(page);
    expect(await page.getAttribute("html", "lang")).toBe("el");
  }
});
