/** Pages of which something fails to load, or takes long, and browsers that are too old for them. Real Chromium. */

import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

import type { Browser, Page } from "playwright-core";

import { closeWindows, launch, scripted } from "../support/browser.ts";
import { complaints } from "../support/complaints.ts";
import { PASSWORD, type Person, ROOT, startApp, type TestApp } from "../support/harness.ts";
import { until } from "../support/until.ts";

let browser: Browser;
let app: TestApp;
let url: string;
let ann: Person;

beforeAll(async () => {
  [browser, app] = await Promise.all([launch(), startApp()]);
  url = app.url.replace("127.0.0.1", "localhost");
  const [bob] = await app.people("Bob");
  ann = await app.person("Ann");
  await (await bob!.open()).send("Ann", "hello");
}, 60_000);

afterAll(async () => {
  await browser?.close();
  await app?.stop();
});

afterEach(() => closeWindows(browser));

/** A window in which nothing is kept and nothing answers for the network. */
async function window(person?: Person, options: Parameters<Browser["newContext"]>[0] = {}): Promise<Page> {
  const context = await browser.newContext({ locale: "en-GB", serviceWorkers: "block", ...options });
  const [name = "", value = ""] = person?.cookie.split(/=(.*)/s) ?? [];
  if (person) await context.addCookies([{ name, value, url }]);
  return context.newPage();
}

/** Lets the first so many requests for a file fail. @returns how many there were */
async function fail(page: Page, file: string, times: number): Promise<() => number> {
  let asked = 0;
  await page.route(`**/static/*/${file}`, (route) => (++asked <= times ? route.abort("failed") : route.continue()));
  return () => asked;
}

const SENTENCE = {
  "en-GB": /did not load completely.*too old/s,
  "el-GR": /δεν φορτώθηκε ολόκληρη.*πολύ παλιός/s,
};
const says = (page: Page, locale: keyof typeof SENTENCE) =>
  until(`it says in ${locale} that it did not load`, async () => {
    const sentences = page.locator(".not-loaded p:visible");
    const shown = await sentences.allInnerTexts().catch(() => []); // it is being loaded once more
    return shown.length === 1 && SENTENCE[locale].test(shown[0]!);
  });

/** The pages, who sees them, and what is there when they work. */
const PAGES = [
  { path: "/#Bob", person: () => ann, works: "chat-thread .message" },
  { path: "/account", person: () => ann, works: "device-list li" },
  { path: "/login", person: () => undefined, works: ".show-password:visible" },
  { path: "/signup", person: () => undefined, works: ".show-password:visible" },
];
const OWN = ["js/chat.js", "js/account.js", "js/form.js", "js/signup.js"];
const CASES = PAGES.flatMap(({ path, person, works }, i) =>
  ["js/util/names.js", "js/util/language.js", "js/words/en.js", "css/base.css", OWN[i]!].map((file) => ({
    path,
    person,
    works,
    file,
  })),
);

test.each(CASES)("$path is loaded once more when $file failed to load", async ({ path, person, works, file }) => {
  const page = await window(person());
  const asked = await fail(page, file, 1);
  await page.goto(url + path);
  await until("it was loaded once more", () => asked() === 2);
  await page.waitForSelector(works);
  await scripted(page);
  expect(await page.locator(".not-loaded:visible").count()).toBe(0);
  expect(new URL(page.url()).pathname + new URL(page.url()).hash).toBe(path);
});

describe.each(["en-GB", "el-GR"] as const)("a page that cannot start says so (%s)", (locale) => {
  test.each(PAGES)("$path", async ({ path, person, works }) => {
    complaints.allow(/SyntaxError/);
    const page = await window(person(), { locale });
    const broken = { contentType: "text/javascript", body: "let a = ;" }; // too new
    await page.route("**/static/*/js/util/names.js", (route) => route.fulfill(broken));
    await page.goto(url + path);
    await says(page, locale);
    expect(await page.locator(".skeleton:visible").count()).toBe(0);
    const request = page.waitForEvent("request");
    await page.unroute("**/static/*/js/util/names.js");
    await page.click(".not-loaded a:visible");
    await request;
    await page.waitForSelector(works);
    expect(new URL(page.url()).pathname + new URL(page.url()).hash).toBe(path);
  });

  test("in a browser without something that it needs", async () => {
    complaints.allow(/toSorted|ResizeObserver/);
    for (const [path, missing] of [
      ["/", "toSorted"],
      ["/", "ResizeObserver"],
      ["/account", "toSorted"],
    ] as const) {
      const page = await window(ann, { locale });
      await page.addInitScript((missing) => {
        Reflect.deleteProperty(globalThis, missing);
        Reflect.deleteProperty(Array.prototype, missing);
      }, missing);
      await page.goto(url + path);
      if (path === "/") await says(page, locale);
      else await page.waitForSelector("device-list .error:visible"); // the rest of the page works
      await page.context().close();
    }
  });

  test("though the script that watches over it did not load, either", async () => {
    const page = await window(ann, { locale });
    const devtools = await page.context().newCDPSession(page);
    await devtools.send("Animation.enable");
    await devtools.send("Animation.setPlaybackRate", { playbackRate: 20 }); // the sentence waits for 20 s
    for (const file of ["js/start.js", "js/util/names.js"]) await fail(page, file, Infinity);
    await page.goto(url);
    await until("it says so in both languages", async () => {
      const shown = await page.locator(".not-loaded p:visible").allInnerTexts();
      return SENTENCE["en-GB"].test(shown[0] ?? "") && SENTENCE["el-GR"].test(shown[1] ?? "");
    });
  });
});

test("a form without its scripts works, and what was typed into it stays", async () => {
  const page = await window();
  const release = Promise.withResolvers<void>();
  await page.route("**/static/*/js/util/names.js", async (route) => {
    await release.promise;
    await route.abort("failed");
  });
  await page.goto(`${url}/login`, { waitUntil: "commit" });
  await page.fill("#username", "Ann");
  release.resolve();
  await says(page, "en-GB");
  expect(await page.inputValue("#username")).toBe("Ann");
  await page.fill("#password", "not the password");
  await page.press("#password", "Enter");
  await page.waitForSelector("form > .error:visible");
  await says(page, "en-GB"); // loading it again would send the form again
  await page.fill("#password", PASSWORD);
  await page.press("#password", "Enter");
  await page.waitForURL(`${url}/`);
});

test("a page whose network is gone is loaded again when it is back", async () => {
  const page = await window(ann);
  await page.route("**/static/*/js/util/names.js", async (route) => {
    await page.waitForTimeout(500); // the other files are there
    await page.context().setOffline(true);
    await route.abort("internetdisconnected");
  });
  await page.goto(`${url}/#Bob`);
  await says(page, "en-GB");
  await page.unroute("**/static/*/js/util/names.js");
  await page.context().setOffline(false);
  await page.waitForSelector("chat-thread .message");
});

describe("a conversation in the address", () => {
  const skeleton = (page: Page) => page.waitForSelector("chat-thread .skeleton i", { timeout: 5_000 });

  test.each([
    ["a script", "**/static/*/js/elements/chat_thread.js"],
    ["the words", "**/static/*/js/words/en.js"],
    ["who is signed in", "**/me"],
    ["whose conversation it is", "**/get_users**"],
    ["the messages", "**/messages/**"],
  ])("has its place while %s is on the way", async (_, what) => {
    for (const viewport of [
      { width: 1_100, height: 700 },
      { width: 390, height: 800 },
    ]) {
      const page = await window(ann, { viewport });
      const release = Promise.withResolvers<void>();
      await page.route(what, async (route) => {
        await release.promise;
        await route.continue();
      });
      await page.goto(`${url}/#Bob`, { waitUntil: "commit" });
      await skeleton(page);
      const box = (await page.locator(".conversation").boundingBox())!;
      expect(box.width).toBe(viewport.width < 720 ? viewport.width : viewport.width - (await listWidth(page)));
      release.resolve();
      await page.waitForSelector("chat-thread .message");
      expect(await page.locator("chat-thread .skeleton:visible").count()).toBe(0);
      await page.context().close();
    }
  });

  const listWidth = async (page: Page) => (await page.locator("people-list").boundingBox())!.width;

  test("that is not there leaves no place behind", async () => {
    const page = await window(ann);
    await page.goto(`${url}/#Nobody-of-that-name`);
    await page.waitForSelector("chat-thread .greeting:visible");
    expect(await page.locator("chat-thread .skeleton:visible").count()).toBe(0);
  });

  test("is not shown for less than a blink", async () => {
    const page = await window(ann);
    await page.addInitScript(() => {
      const look = () => {
        const part = document.querySelector("chat-thread .skeleton i");
        if (part?.checkVisibility({ visibilityProperty: true })) Reflect.set(globalThis, "seen", true);
        requestAnimationFrame(look);
      };
      requestAnimationFrame(look);
    });
    await page.goto(`${url}/#Bob`);
    await page.waitForSelector("chat-thread .message");
    const took = await page.evaluate(() => performance.now());
    if (took < 300) expect(await page.evaluate(() => Reflect.get(globalThis, "seen"))).toBeUndefined();
  });
});

test("every page holds the same sentence, in every language there is", () => {
  const sentences = readdirSync(join(ROOT, "static"))
    .filter((name) => name.endsWith(".html") && name !== "no_signup.html")
    .map((name) => /<div class="not-loaded"[^]*?<\/div>/.exec(readFileSync(join(ROOT, "static", name), "utf8"))?.[0]);
  expect(sentences).toHaveLength(4);
  expect(new Set(sentences).size).toBe(1);
  expect(sentences[0]?.match(/<p lang="(\w+)">/g)).toEqual(['<p lang="en">', '<p lang="el">']);
});
