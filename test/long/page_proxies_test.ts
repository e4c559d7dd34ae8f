/** The page behind proxies that answer in the server's place, as captive portals, company sign-ins and gateways do. */

import { afterAll, afterEach, beforeAll, expect, test } from "bun:test";

import type { BrowserContextOptions, Page } from "playwright-core";

import { draft, drawn, localhost, scripted, useBrowser, write } from "../support/browser.ts";
import { type Person, startApp } from "../support/harness.ts";
import { html, HttpProxy } from "../support/http_proxy.ts";
import { pageErrors } from "../support/page_errors.ts";
import { until } from "../support/until.ts";

const chat = useBrowser();
let proxy: HttpProxy;

beforeAll(() => void (proxy = new HttpProxy(chat.server.port)));
afterAll(() => proxy?.[Symbol.asyncDispose]());
afterEach(() => void (proxy.answer = () => undefined));

/** Opens a page through the proxy. */
async function open(user: Person, path: string, options: BrowserContextOptions = {}): Promise<Page> {
  const page = await chat.page(user, { url: proxy.url, ...options });
  await page.goto(proxy.url + path);
  return page;
}

const trouble = async (page: Page) => (await page.locator("connection-banner:visible").allInnerTexts()).join();
const shows = (page: Page, words: RegExp) =>
  until(`the page shows ${words}`, async () => words.test(await trouble(page)), 15_000);
const connects = (page: Page) => until("the page is connected", async () => (await trouble(page)) === "", 40_000);

/** What companies, hotels and clouds answer instead of the server. */
const INSTEAD: [string, () => Response][] = [
  ["302 to another host", () => Response.redirect("http://localhost:1/login", 302)],
  ["302 to its own page", () => Response.redirect("/oauth2/start", 302)],
  ["403 in HTML", () => html("Forbidden", 403)],
  ["401 in HTML", () => html("Sign in", 401)],
  ["200 in HTML", () => html("Welcome to the hotel")],
  ["404 in plain text", () => new Response("no such backend", { status: 404 })],
];
const INTERCEPTED = /sign-in page.*in the way/;

/** Scripts request JSON; the browser itself does not. */
const isFromScript = (request: Request) => request.headers.get("accept")?.startsWith("application/json") ?? false;

/** Cuts the sockets, and answers all that scripts request from now on. */
function intercept(answer: () => Response): void {
  proxy.answer = (request, isUpgrade) => (isUpgrade || isFromScript(request) ? answer() : undefined);
  proxy.cut();
}

const blockSockets = () => void (proxy.answer = (_, isUpgrade) => (isUpgrade ? html("no", 400) : undefined));

test("sends the password of Basic Auth with every file of every page, the manifest included", async () => {
  const ann = await chat.server.person("Basic-Ann");
  const expected = `Basic ${btoa("guest:door code")}`;
  const refused: string[] = [];
  proxy.answer = (request) => {
    if (request.headers.get("authorization") === expected) return undefined;
    refused.push(new URL(request.url).pathname);
    return html("Who are you?", 401, { "www-authenticate": 'Basic realm="staging"' });
  };
  const httpCredentials = { username: "guest", password: "door code" };
  const context = await chat.context(ann, { url: proxy.url, httpCredentials });
  for (const path of ["/", "/account", "/login", "/signup"]) {
    const page = await context.newPage();
    await page.goto(proxy.url + path);
    await scripted(page);
    refused.length = 0; // a browser's first request has no password
    const devtools = await context.newCDPSession(page);
    const { data } = await devtools.send("Page.getAppManifest");
    expect([path, JSON.parse(data || "{}").name, refused]).toEqual([path, "chatify", []]);
    await page.close();
  }
});

test("names blocked WebSockets, fetches new messages by HTTP, and sends once sockets open", async () => {
  const [ann, bob] = await chat.server.people("Blocked-Ann", "Blocked-Bob");
  blockSockets();
  const page = await open(ann!, `/#${bob!.name}`);
  await shows(page, /blocks live connections.*another network/);
  await page.waitForSelector("message-composer textarea:visible");
  await write(page, "are you there?");
  await (await bob!.open()).send(ann!.name, "I am");
  await page.waitForSelector('chat-thread .message:has-text("I am")', { timeout: 40_000 });
  proxy.answer = () => undefined;
  await connects(page);
  await until("the message is sent", async () => {
    const messages = await bob!.json<{ content: string }[]>(`/messages/${ann!.name}/${bob!.name}?peek=1`);
    return messages.map(({ content }) => content).includes("are you there?");
  });
}, 90_000);

test("names too many tabs, and connects when one closes", async () => {
  await using strict = await startApp({ env: { RATE_LIMIT: "on", LIMIT_SOCKETS: "2" } });
  const url = localhost(strict.url);
  const context = await chat.context(await strict.person("Many-Ann"), { url });
  const pages: Page[] = [];
  for (let tabs = 0; tabs < 3; tabs++) {
    const page = await context.newPage();
    await page.goto(`${url}/#Many-Ann`);
    await page.waitForSelector("message-composer textarea:visible");
    pages.push(page);
  }
  const [first, , last] = pages as [Page, Page, Page];
  await shows(last, /too many tabs.*Close one/);
  expect(await trouble(first)).toBe("");
  await first.close();
  await connects(last);
}, 60_000);

test.each([
  ["blocked WebSockets", blockSockets, /μπλοκάρει τις ζωντανές συνδέσεις.*άλλο δίκτυο/],
  ["an interception", () => intercept(() => html("Welcome to the hotel")), /Μεσολαβεί μια σελίδα σύνδεσης/],
] as const)("names %s in Greek", async (_, interfere, words) => {
  const ann = await chat.server.person(`Greek-${Bun.hash(words.source).toString(36)}`);
  const page = await open(ann, `/#${ann.name}`, { locale: "el-GR" });
  await page.waitForSelector("message-composer textarea:visible");
  await connects(page);
  interfere();
  proxy.cut();
  await shows(page, words);
});

test.each(INSTEAD)(
  "names an interception of everything, stays signed in, and sends after it: %s",
  async (what, answer) => {
    const ann = await chat.server.person(`Portal-${Bun.hash(what).toString(36)}`);
    pageErrors.allow(/status of (403|404)/);
    const page = await open(ann, `/#${ann.name}`, { serviceWorkers: "block" });
    await page.waitForSelector("message-composer textarea:visible");
    await connects(page);
    await page.fill("message-composer textarea", "half a thou");
    intercept(answer);
    await shows(page, INTERCEPTED);
    await write(page, "written meanwhile");
    expect(new URL(page.url()).pathname).toBe("/");
    proxy.answer = () => undefined;
    await page.evaluate(() => dispatchEvent(new Event("online"))); // rather than wait for the backoff
    await connects(page);
    await page.waitForSelector('chat-thread .message .tick[data-state="sent"]');
  },
  60_000,
);

// A redirect fails as a lost network does; a 401 could be taken for the end of the session.
const AT_LOAD = INSTEAD.filter(([what]) => what === "302 to another host" || what === "401 in HTML");

test.each(AT_LOAD)(
  "names an interception when only the document and its files load: %s",
  async (what, answer) => {
    const ann = await chat.server.person(`Opens-${Bun.hash(what).toString(36)}`);
    intercept(answer);
    const page = await open(ann, "/");
    await shows(page, INTERCEPTED);
    proxy.answer = () => undefined;
    await page.waitForSelector("conversation-list .empty:visible");
    await connects(page);
  },
  60_000,
);

test("leads to the sign-in by a button, and keeps the draft", async () => {
  const ann = await chat.server.person("Button");
  const page = await open(ann, `/#${ann.name}`, { serviceWorkers: "block" });
  await page.waitForSelector("message-composer textarea:visible");
  await connects(page);
  pageErrors.allow(/MIME type/); // what loads when the page is touched
  await page.fill("message-composer textarea", "unfinished");
  proxy.answer = ({ url }) => {
    return new URL(url).pathname === "/sso" ? html("Company sign-in") : Response.redirect("/sso", 302);
  };
  proxy.cut();
  await shows(page, INTERCEPTED);
  await page.click("connection-banner:visible button");
  await page.waitForURL(`${proxy.url}/sso**`);
  proxy.answer = () => undefined;
  await page.goto(`${proxy.url}/#${ann.name}`);
  await until("the draft is there", async () => (await draft(page)) === "unfinished");
}, 60_000);

test.each(INSTEAD.filter(([what]) => what.endsWith("HTML")))(
  "names an interception on the account page, which stays open: %s",
  async (what, answer) => {
    const ann = await chat.server.person(`Account-${Bun.hash(what).toString(36)}`);
    pageErrors.allow(/status of 403/);
    const page = await open(ann, "/account");
    await page.waitForSelector("device-list li");
    proxy.answer = (request) => (isFromScript(request) ? answer() : undefined);
    await page.check("privacy-choice [name=hide_read]", { force: true }).catch(() => {}); // unchecks itself
    await page.waitForSelector(".error:visible:has-text('in the way')");
    expect(new URL(page.url()).pathname).toBe("/account");
  },
);

test("remembers the user on an intercepted login page", async () => {
  const ann = await chat.server.person("Portal-Login");
  const page = await open(ann, "/");
  await page.waitForSelector("conversation-list .empty:visible");
  proxy.answer = ({ url }) => (new URL(url).pathname === "/me" ? html("Sign in", 401) : undefined);
  const answered = page.waitForResponse("**/me");
  await page.goto(`${proxy.url}/login`);
  await (await answered).finished();
  await scripted(page);
  await drawn(page);
  expect(await page.evaluate(() => localStorage.getItem("chatify.me"))).toBe("Portal-Login");
});

test("shows an unreachable server behind its proxy as connecting", async () => {
  const ann = await chat.server.person("Away-Ann");
  const page = await open(ann, `/#${ann.name}`);
  await page.waitForSelector("message-composer textarea:visible");
  await connects(page);
  pageErrors.allow(/status of 502/);
  intercept(() => html("Bad gateway", 502));
  await shows(page, /Connecting/);
  proxy.answer = () => undefined;
  await connects(page);
}, 60_000);
