/** Pages that load slowly, partly, or in a browser too old for them. */

import { beforeAll, describe, expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

import type { Page, Request } from "playwright-core";

import { fillForm, hold, scripted, useBrowser } from "../support/browser.ts";
import { PASSWORD, type Person, ROOT } from "../support/harness.ts";
import { pageErrors } from "../support/page_errors.ts";
import { until } from "../support/until.ts";

const chat = useBrowser();
let ann: Person;

beforeAll(async () => {
  const [bob] = await chat.server.people("Bob");
  ann = await chat.server.person("Ann");
  await (await bob!.open()).send("Ann", "hello");
});

/** A page without a service worker, so that each of its requests can be held back or fail. */
const blank = (user?: Person, options: Parameters<typeof chat.page>[1] = {}) =>
  chat.page(user, { serviceWorkers: "block", ...options });

/** A page in a browser without `popover` or `light-dark()`. */
async function outdated(missing: string, options: Parameters<typeof chat.page>[1] = {}, user?: Person): Promise<Page> {
  const page = await blank(user, options);
  await page.addInitScript((missing) => {
    if (missing === "popover") Reflect.deleteProperty(HTMLElement.prototype, "popover");
    else CSS.supports = () => false;
  }, missing);
  return page;
}

/** Lets the first `times` requests for a file fail. @returns how many requests there were */
async function fail(page: Page, file: string, times: number): Promise<() => number> {
  let requests = 0;
  await page.route(`**/static/*/${file}`, (route) => (++requests <= times ? route.abort("failed") : route.continue()));
  return () => requests;
}

const SENTENCE = {
  "en-GB": /did not load completely.*too old/s,
  "el-GR": /δεν φορτώθηκε ολόκληρη.*πολύ παλιός/s,
};
const showsFailure = (page: Page, locale: keyof typeof SENTENCE) =>
  until(`the page says in ${locale} that it did not load`, async () => {
    const sentences = page.locator(".not-loaded p:visible");
    const shown = await sentences.allInnerTexts().catch(() => []); // it is being reloaded
    return shown.length === 1 && SENTENCE[locale].test(shown[0]!);
  });

const CHAT = { path: "/#Bob", signedIn: true, works: "chat-thread .message", script: "js/chat.js" };
const ACCOUNT = { path: "/account", signedIn: true, works: "device-list li", script: "js/account.js" };
const LOGIN = { path: "/login", signedIn: false, works: ".show-password:visible", script: "js/form.js" };
const SIGNUP = { path: "/signup", signedIn: false, works: ".show-password:visible", script: "js/signup.js" };
const PAGES = [CHAT, ACCOUNT, LOGIN, SIGNUP];

/** Each page's own script; on one page, the translation and a style sheet. */
const FILES = [
  ...PAGES.map((page) => [page.path, page.script, page] as const),
  [CHAT.path, "js/translations/en.js", CHAT],
  [CHAT.path, "css/base.css", CHAT],
  [LOGIN.path, "js/translations/en.js", LOGIN],
] as const;

test.each(FILES)(
  "reloads a page once when one of its files failed to load: %s, %s",
  async (path, file, { signedIn, works }) => {
    const page = await blank(signedIn ? ann : undefined);
    const requests = await fail(page, file, 1);
    await page.goto(chat.url + path);
    await until("the file was requested again", () => requests() === 2);
    await page.waitForSelector(works);
    await scripted(page);
    expect(await page.locator(".not-loaded:visible").count()).toBe(0);
    expect(page.url()).toBe(chat.url + path);
  },
);

describe("a page that cannot start", () => {
  test.each([...PAGES.map((page) => [page.path, "en-GB", page] as const), [CHAT.path, "el-GR", CHAT] as const])(
    "shows why and a link that reloads it: %s (%s)",
    async (path, locale, { signedIn, works, script }) => {
      pageErrors.allow(/SyntaxError/);
      const page = await blank(signedIn ? ann : undefined, { locale });
      const broken = { contentType: "text/javascript", body: "let a = ;" }; // newer syntax than the browser knows
      await page.route(`**/static/*/${script}`, (route) => route.fulfill(broken));
      await page.goto(chat.url + path);
      await showsFailure(page, locale);
      expect(await page.locator(".skeleton:visible").count()).toBe(0);
      const request = page.waitForEvent("request");
      await page.unroute(`**/static/*/${script}`);
      await page.click(".not-loaded a:visible");
      await request;
      await page.waitForSelector(works);
      expect(page.url()).toBe(chat.url + path);
    },
  );

  test.each([
    ["/", "toSorted"],
    ["/", "ResizeObserver"],
    ["/account", "toSorted"],
  ])("shows why when the browser lacks a feature: %s without %s", async (path, missing) => {
    pageErrors.allow(/toSorted|ResizeObserver/);
    const page = await blank(ann);
    await page.addInitScript((missing) => {
      Reflect.deleteProperty(globalThis, missing);
      Reflect.deleteProperty(Array.prototype, missing);
    }, missing);
    await page.goto(chat.url + path);
    if (path === "/") await showsFailure(page, "en-GB");
    else await page.waitForSelector("device-list .error:visible"); // the rest of the page works
  });

  test.each([
    ["/#Bob", "popover", "en-GB", "Your browser is too old for chatify"],
    ["/account", "light-dark()", "el-GR", "Ο περιηγητής σου είναι πολύ παλιός για το chatify"],
  ])(
    "is replaced by advice in a browser without a required feature: %s without %s",
    async (path, missing, locale, title) => {
      const page = await outdated(missing, { locale }, ann);
      const requested: string[] = [];
      page.on("request", (request) => requested.push(new URL(request.url()).pathname));
      await page.goto(chat.url + path);
      await page.waitForLoadState("networkidle");
      expect(await page.locator("h1:visible").allInnerTexts()).toEqual([title]);
      expect(await page.innerText(".too-old")).toMatch(/Safari\s17\.5/);
      const [box] = await page.locator(".too-old").all();
      expect(await box!.evaluate((each) => getComputedStyle(each).backgroundColor)).not.toBe("rgba(0, 0, 0, 0)");
      expect(requested.filter((each) => !each.startsWith("/static/"))).toEqual([path.replace(/#.*/, "")]);
    },
  );

  test("shows why in both languages when the watching script failed too", async () => {
    const page = await blank(ann);
    const devtools = await page.context().newCDPSession(page);
    await devtools.send("Animation.enable");
    await devtools.send("Animation.setPlaybackRate", { playbackRate: 20 }); // the sentence is delayed by 20 s
    for (const file of ["js/start.js", CHAT.script]) await fail(page, file, Infinity);
    await page.goto(chat.url);
    await until("both sentences show", async () => {
      const shown = await page.locator(".not-loaded p:visible").allInnerTexts();
      return SENTENCE["en-GB"].test(shown[0] ?? "") && SENTENCE["el-GR"].test(shown[1] ?? "");
    });
  });
});

test("keeps a form usable in a browser that is too old", async () => {
  const page = await outdated("popover");
  await page.goto(`${chat.url}/login`);
  await page.waitForSelector(".too-old h1:visible");
  await page.fill("#username", "Ann");
  await fillForm(page, { password: PASSWORD });
  await page.waitForURL(`${chat.url}/`);
  await page.waitForSelector(".too-old h1:visible");
});

test("keeps a form usable, and its input, when its scripts fail", async () => {
  const page = await blank();
  const release = Promise.withResolvers<void>();
  await page.route(`**/static/*/${LOGIN.script}`, async (route) => {
    await release.promise;
    await route.abort("failed");
  });
  await page.goto(`${chat.url}/login`, { waitUntil: "commit" });
  await page.fill("#username", "Ann");
  release.resolve();
  await showsFailure(page, "en-GB");
  expect(await page.inputValue("#username")).toBe("Ann");
  await fillForm(page, { password: "not the password" });
  await page.waitForSelector("form > .error:visible");
  await showsFailure(page, "en-GB"); // a reload would submit the form again
  await fillForm(page, { password: PASSWORD });
  await page.waitForURL(`${chat.url}/`);
});

test("reloads a page that lost its network when the network is back", async () => {
  const page = await blank(ann);
  const pending = new Set<Request>();
  page.on("request", (request) => pending.add(request));
  for (const end of ["requestfinished", "requestfailed"] as const)
    page.on(end as "requestfinished", (request) => pending.delete(request));
  await page.route(`**/static/*/${CHAT.script}`, async (route) => {
    const files = () => [...pending].map((request) => request.url()).filter((url) => url.includes("/static/"));
    await until("the other files have loaded", () => files().every((url) => url.endsWith(CHAT.script)));
    await page.context().setOffline(true);
    await route.abort("internetdisconnected");
  });
  await page.goto(`${chat.url}/#Bob`, { waitUntil: "commit" });
  await showsFailure(page, "en-GB");
  await page.unroute(`**/static/*/${CHAT.script}`);
  await page.context().setOffline(false);
  await page.waitForSelector("chat-thread .message");
});

describe("a conversation in the address", () => {
  const [wide, narrow] = [
    { width: 1_100, height: 700 },
    { width: 390, height: 800 },
  ];

  test.each([
    { held: "the script", url: `**/static/*/${CHAT.script}`, viewport: wide },
    { held: "the script", url: `**/static/*/${CHAT.script}`, viewport: narrow },
    { held: "the translation", url: "**/static/*/js/translations/en.js", viewport: wide },
    { held: "the signed-in user", url: "**/me", viewport: narrow },
    // The list of conversations has the peer's name too, and often arrives first.
    { held: "the peer's name", url: /\/(get_users|conversations)\?/, viewport: wide },
    { held: "the messages", url: "**/messages/**", viewport: wide },
    { held: "the messages", url: "**/messages/**", viewport: narrow },
  ])("shows a skeleton while loading $held ($viewport.width px)", async ({ url, viewport }) => {
    const page = await blank(ann, { viewport });
    const release = await hold(page, url);
    await page.goto(`${chat.url}/#Bob`, { waitUntil: "commit" });
    await page.waitForSelector("chat-thread .skeleton i");
    const box = (await page.locator(".conversation").boundingBox())!;
    const list = await page.locator("conversation-list").boundingBox();
    expect(box.width).toBe(viewport.width - (viewport === wide ? list!.width : 0));
    release();
    await page.waitForSelector("chat-thread .message");
    expect(await page.locator("chat-thread .skeleton:visible").count()).toBe(0);
  });

  test("shows no skeleton for an unknown name", async () => {
    const page = await blank(ann);
    await page.goto(`${chat.url}/#Unknown-name`);
    await page.waitForSelector("chat-thread .greeting:visible");
    expect(await page.locator("chat-thread .skeleton:visible").count()).toBe(0);
  });

  test("shows no skeleton when it loads within 300 ms", async () => {
    const page = await blank(ann);
    await page.addInitScript(() => {
      const look = () => {
        const part = document.querySelector("chat-thread .skeleton i");
        if (part?.checkVisibility({ visibilityProperty: true })) Reflect.set(globalThis, "seen", true);
        requestAnimationFrame(look);
      };
      requestAnimationFrame(look);
    });
    await page.goto(`${chat.url}/#Bob`);
    await page.waitForSelector("chat-thread .message");
    const took = await page.evaluate(() => performance.now());
    if (took < 300) expect(await page.evaluate(() => Reflect.get(globalThis, "seen"))).toBeUndefined();
  });
});

test.each(["not-loaded", "too-old"])("every page has the same text in every language: %s", (name) => {
  const texts = readdirSync(join(ROOT, "static"))
    .filter((file) => file.endsWith(".html") && !["no_signup.html", "not_found.html"].includes(file))
    .map((file) => readFileSync(join(ROOT, "static", file), "utf8"))
    .map((html) => new RegExp(`^    <div class="${name}"[^]*?^    </div>`, "m").exec(html)?.[0]);
  expect(texts).toHaveLength(4);
  expect(new Set(texts).size).toBe(1);
  expect(texts[0]?.match(/lang="\w+"/g)).toEqual(['lang="en"', 'lang="el"']);
});
