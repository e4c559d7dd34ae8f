/** The page behind proxies that have something to say themselves. Real Chromium. */

import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";

import type { Browser, BrowserContext, Page } from "playwright-core";

import { closeWindows, launch, scripted } from "../support/browser.ts";
import { complaints } from "../support/complaints.ts";
import { type Person, startApp, type TestApp } from "../support/harness.ts";
import { html, HttpProxy } from "../support/http_proxy.ts";
import { until } from "../support/until.ts";

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

const WORDS = {
  "en-GB": { socket: /blocks live connections.*another network/, proxy: /sign-in page.*in the way/ },
  "el-GR": { socket: /μπλοκάρει τις ζωντανές συνδέσεις.*άλλο δίκτυο/, proxy: /Μεσολαβεί μια σελίδα σύνδεσης/ },
} as const;
type Locale = keyof typeof WORDS;

const line = async (page: Page) => (await page.locator("connection-line:visible").allInnerTexts()).join();
const says = (page: Page, words: RegExp) =>
  until(`the page says ${words}`, async () => words.test(await line(page)), 15_000);
const connects = (page: Page) =>
  until("the page is connected, and says nothing", async () => (await line(page)) === "", 40_000);

async function open(context: BrowserContext, path = "/#Bob"): Promise<Page> {
  const page = await context.newPage();
  await page.goto(proxy.url + path);
  return page;
}

async function write(page: Page, text: string): Promise<void> {
  await page.fill("message-composer textarea", text);
  await page.press("message-composer textarea", "Enter");
}

/** What companies, hotels and clouds answer instead. */
const INSTEAD: [string, () => Response][] = [
  ["302 to another host", () => Response.redirect("http://localhost:1/login", 302)],
  ["302 to a page of its own", () => Response.redirect("/oauth2/start", 302)],
  ["403 in HTML", () => html("Forbidden", 403)],
  ["401 in HTML", () => html("Sign in", 401)],
  ["200 in HTML", () => html("Welcome to the hotel")],
  ["404 in plain text", () => new Response("no such backend", { status: 404 })],
];

describe.each(Object.keys(WORDS) as Locale[])("a page (%s)", (locale) => {
  test("says that WebSockets do not get through, shows what comes, and sends when they do", async () => {
    const [ann, bob] = await app.people(`Blocked-Ann-${locale}`, `Blocked-Bob-${locale}`);
    proxy.answer = (_, isUpgrade) => (isUpgrade ? new Response("no", { status: 400 }) : undefined);
    const page = await open(await browserOf(ann!, { locale }), `/#${bob!.name}`);
    await says(page, WORDS[locale].socket);
    await page.waitForSelector("message-composer textarea:visible");
    await write(page, "are you there?");
    await (await bob!.open()).send(ann!.name, "I am");
    await page.waitForSelector('chat-thread .message:has-text("I am")', { timeout: 40_000 });
    proxy.answer = () => undefined;
    await connects(page);
    await until("it is sent", async () => {
      const messages = await bob!.json<{ content: string }[]>(`/messages/${ann!.name}/${bob!.name}?peek=1`);
      return messages.map(({ content }) => content).includes("are you there?");
    });
  }, 90_000);

  test("says that it is one tab too many, and connects when another is closed", async () => {
    await using strict = await startApp({ env: { RATE_LIMIT: "on", LIMIT_SOCKETS: "2" } });
    const ann = await strict.person("Many-Ann");
    const url = strict.url.replace("127.0.0.1", "localhost");
    const context = await browser.newContext({ locale });
    const [name = "", value = ""] = ann.cookie.split(/=(.*)/s);
    await context.addCookies([{ name, value, url }]);
    const pages = await Promise.all([1, 2, 3].map(() => context.newPage()));
    for (const page of pages) {
      await page.goto(`${url}/#Many-Ann`);
      await page.waitForSelector("message-composer textarea:visible");
    }
    const [first, , last] = pages as [Page, Page, Page];
    await says(last, locale === "en-GB" ? /too many tabs.*Close one/ : /πάρα πολλές καρτέλες.*Κλείσε μία/);
    expect(await line(first)).toBe("");
    await first.close();
    await connects(last);
  }, 60_000);

  test.each(INSTEAD)(
    "says that a sign-in is in the way of all it asks for: %s",
    async (_, answer) => {
      const ann = await app.person(`Portal-${locale}-${++people}`);
      const context = await browserOf(ann, { locale, serviceWorkers: "block" });
      complaints.allow(/status of (403|404)/);
      const page = await open(context, `/#${ann.name}`);
      await page.waitForSelector("message-composer textarea:visible");
      await connects(page);
      await page.fill("message-composer textarea", "half a thou");
      await cut(answer);
      await says(page, WORDS[locale].proxy);
      await write(page, "written meanwhile");
      expect(new URL(page.url()).pathname).toBe("/"); // it is not signed out
      proxy.answer = () => undefined;
      await connects(page);
      await page.waitForSelector('chat-thread .message .tick[data-state="sent"]');
    },
    90_000,
  );

  test("says so already when it opens with its document and files alone", async () => {
    const ann = await app.person(`Opens-${locale}`);
    complaints.allow(/status of (403|404)/);
    for (const [, answer] of INSTEAD.slice(0, 5)) {
      proxy.answer = (request, isUpgrade) => (isUpgrade || isAsked(request) ? answer() : undefined);
      const context = await browserOf(ann, { locale });
      const page = await open(context, "/");
      await says(page, WORDS[locale].proxy);
      proxy.answer = () => undefined;
      await page.waitForSelector("people-list .empty:visible");
      await connects(page);
      await context.close();
    }
  }, 90_000);

  test("goes to the sign-in by the button, and is whole after it", async () => {
    const ann = await app.person(`Button-${locale}`);
    const page = await open(await browserOf(ann, { locale, serviceWorkers: "block" }), `/#${ann.name}`);
    await page.waitForSelector("message-composer textarea:visible");
    await connects(page);
    complaints.allow(/MIME type/); // what is loaded when the page is touched
    await page.fill("message-composer textarea", "unfinished");
    await page.waitForTimeout(500);
    proxy.answer = (request) => {
      const { pathname } = new URL(request.url);
      if (pathname !== "/sso") return Response.redirect("/sso", 302);
      return html("Company sign-in");
    };
    await cut();
    await says(page, WORDS[locale].proxy);
    await page.click("connection-line:visible button");
    await page.waitForURL(`${proxy.url}/sso**`);
    proxy.answer = () => undefined;
    await page.goto(`${proxy.url}/#${ann.name}`);
    await until("the text is there", async () => (await page.inputValue("message-composer textarea")) === "unfinished");
  }, 60_000);
});

test("the account page says it, too, and does not take another's 401 for the end of the session", async () => {
  const ann = await app.person("Portal-Account");
  complaints.allow(/status of 403/);
  for (const [, answer] of INSTEAD.slice(0, 5)) {
    const page = await open(await browserOf(ann), "/account");
    await page.waitForSelector("device-list li");
    proxy.answer = (request) => (isAsked(request) ? answer() : undefined);
    await page.check("privacy-choice [name=hide_read]", { force: true }).catch(() => {}); // it goes back by itself
    await page.waitForSelector(".error:visible:has-text('in the way')");
    expect(new URL(page.url()).pathname).toBe("/account");
    proxy.answer = () => undefined;
    await page.context().close();
  }
});

test("a login behind a portal forgets nothing of the person it is for", async () => {
  const ann = await app.person("Portal-Login");
  const context = await browserOf(ann);
  const page = await open(context, "/");
  await page.waitForSelector("people-list .empty:visible");
  proxy.answer = ({ url }) => (new URL(url).pathname === "/me" ? html("Sign in", 401) : undefined);
  proxy.asked.length = 0;
  await page.goto(`${proxy.url}/login`);
  await scripted(page);
  await until("it has asked", () => proxy.asked.includes("/me"));
  await page.waitForTimeout(300);
  expect(await page.evaluate(() => localStorage.getItem("chatify.me"))).toBe("Portal-Login");
});

test("a server that its proxy cannot reach is only away", async () => {
  const ann = await app.person("Away-Ann");
  for (const status of [502, 503, 504]) {
    const page = await open(await browserOf(ann), `/#${ann.name}`);
    await page.waitForSelector("message-composer textarea:visible");
    await connects(page);
    complaints.allow(/status of 50[24]/);
    await cut(() => html("Bad gateway", status));
    await says(page, /Connecting/);
    proxy.answer = () => undefined;
    await connects(page);
    await page.context().close();
  }
}, 90_000);

let people = 0;

/** What scripts ask for, and no browser by itself. */
function isAsked(request: Request): boolean {
  return request.headers.get("accept")?.startsWith("application/json") ?? false;
}

/** The proxy answers everything itself from now on, and what passed through it ends. */
async function cut(answer?: () => Response): Promise<void> {
  if (answer) proxy.answer = (request, isUpgrade) => (isUpgrade || isAsked(request) ? answer() : undefined);
  proxy.cut();
}
