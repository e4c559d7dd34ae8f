/** What the tests of pages share: one Chromium and one server per file, a fresh context per test, and the page's common acts. */

import { afterAll, afterEach, beforeAll } from "bun:test";

import type { Browser, BrowserContext, BrowserContextOptions, Page } from "playwright-core";

import { launch, type LaunchOptions } from "./chromium.ts";
import { PASSWORD, Person, startApp, type TestApp } from "./harness.ts";
import { until } from "./until.ts";

/** A server whose pages are opened. */
interface Site {
  readonly url: string;
  stop(): Promise<unknown>;
}

type ContextOptions = BrowserContextOptions & { /** another address of the server */ url?: string };
/** `ready` is a selector to wait for, in place of the path's own. */
type OpenOptions = ContextOptions & { ready?: string };

/** The address as browsers open it: only there are service workers and `Clear-Site-Data` allowed without https. */
export const localhost = (url: string) => url.replace("127.0.0.1", "localhost");

/**
 * Starts a browser and a server before the tests of a file and stops them afterwards. Contexts close after each test, unless
 * `keepsContexts`.
 */
export function useBrowser(): BrowserFixture<TestApp>;
export function useBrowser<S extends Site>(
  start: () => Promise<S>,
  options?: LaunchOptions & { keepsContexts?: boolean },
): BrowserFixture<S>;
export function useBrowser(
  start: () => Promise<Site> = startApp,
  { keepsContexts = false, ...options }: LaunchOptions & { keepsContexts?: boolean } = {},
): BrowserFixture<Site> {
  const fixture = new BrowserFixture<Site>();
  beforeAll(async () => {
    [fixture.browser, fixture.server] = await Promise.all([launch(options), start()]);
  }, 60_000);
  afterEach(() => (keepsContexts ? undefined : closeContexts(fixture.browser)));
  afterAll(async () => {
    await fixture.browser?.close();
    await fixture.server?.stop();
  });
  return fixture;
}

export class BrowserFixture<S extends Site> {
  browser!: Browser;
  server!: S;

  get url(): string {
    return localhost(this.server.url);
  }

  /** A browser profile in which `user` is signed in. */
  async context(user?: Person, { url = this.url, ...options }: ContextOptions = {}): Promise<BrowserContext> {
    const context = await this.browser.newContext({
      locale: "en-GB",
      viewport: { width: 1_000, height: 700 },
      ...options,
    });
    if (user) await addSession(context, user, url);
    return context;
  }

  /** A blank page in a new context. */
  async page(user?: Person, options: ContextOptions = {}): Promise<Page> {
    return (await this.context(user, options)).newPage();
  }

  /** Opens a page in a context, or in a new one of a user, and waits until it can be used. */
  async open(
    where: BrowserContext | Person | undefined,
    path = "/",
    { ready, ...options }: OpenOptions = {},
  ): Promise<Page> {
    const context = where === undefined || where instanceof Person ? await this.context(where, options) : where;
    const page = await context.newPage();
    await page.goto((options.url ?? this.url) + path);
    if (ready !== undefined) await page.waitForSelector(ready);
    else if (path.startsWith("/#")) await page.waitForSelector(FIELD);
    else if (path === "/") await page.waitForSelector("conversation-list .entry, conversation-list .empty:visible");
    else await scripted(page);
    return page;
  }
}

const COMPOSER = "message-composer textarea";
const FIELD = `${COMPOSER}:visible`;

/** The cookie of a session, as Playwright and `Set-Cookie` want it apart. */
export async function addSession(context: BrowserContext, { cookie }: Person, url: string): Promise<void> {
  const [name = "", value = ""] = cookie.split(/=(.*)/s);
  await context.addCookies([{ name, value, url }]);
}

/** Waits until the scripts of a page run, which `goto` does not. */
export async function scripted(page: Page): Promise<void> {
  await page.waitForSelector("language-choice:defined", { state: "attached" });
}

/** Closes what a test left open, so that a failed test's page cannot fail the next. */
async function closeContexts(browser: Browser): Promise<void> {
  for (const context of browser.contexts()) {
    for (const page of context.pages()) await page.unrouteAll({ behavior: "ignoreErrors" });
    await context.close();
  }
}

/** Signs a user up through the form and waits for the chat. */
export async function signUp(page: Page, url: string, name: string): Promise<void> {
  await page.goto(`${url}/signup`);
  await fillForm(page, { username: name, password: PASSWORD, confirm: PASSWORD });
  await page.waitForURL(`${url}/`);
  await page.waitForSelector("conversation-list");
}

/** Fills inputs by id and submits their form with Enter. */
export async function fillForm(page: Page, fields: Record<string, string>): Promise<void> {
  for (const [id, value] of Object.entries(fields)) await page.fill(`#${id}`, value);
  await page.press(`#${Object.keys(fields).at(-1)}`, "Enter");
}

/** Signs out through the menu. */
export async function signOut(page: Page): Promise<void> {
  await page.click("conversation-list .me");
  await page.click("#menu .sign-out button:enabled");
}

/** Sends a message from the composer. */
export async function write(page: Page, text: string): Promise<void> {
  await page.fill(COMPOSER, text);
  await page.press(COMPOSER, "Enter");
}

/** The text in the composer. */
export const draft = (page: Page): Promise<string> => page.inputValue(COMPOSER);

/** The texts of the open conversation, in order. */
export const texts = (page: Page): Promise<string[]> => page.locator("chat-thread .message .text").allTextContents();

/** Waits until the open conversation shows exactly these texts. */
export async function shows(page: Page, ...wanted: string[]): Promise<void> {
  const what = `the page shows ${wanted.join(", ").slice(0, 80)}`;
  await until(what, async () => (await texts(page)).join() === wanted.join(), 20_000);
}

/** The name in the header of the open conversation. */
export const peerOnScreen = (page: Page): Promise<string> => page.locator("chat-header h2").innerText();

/** Waits until the page has fetched the files that it loads on demand. */
export const fetchedOnDemandFiles = (page: Page) =>
  until(
    "the page has fetched what it loads on demand",
    () =>
      page.evaluate(async () => {
        const fetched = performance.getEntriesByType("resource").map(({ name }) => name);
        const list = fetched.find((url) => url.endsWith("/js/on_demand.json"));
        if (list === undefined) return false;
        const paths = (await (await fetch(list)).json()) as string[];
        const root = list.replace("js/on_demand.json", "");
        return paths.every((path) => fetched.includes(root + path));
      }),
    20_000,
  );

/** Whether the browser has a file in its HTTP cache. */
export const isCached = (page: Page, path: string): Promise<boolean> =>
  page.evaluate(
    (url) =>
      fetch(url, { cache: "only-if-cached", mode: "same-origin" }).then(
        ({ ok }) => ok,
        () => false,
      ),
    path,
  );

/** The id of the focused element. */
export const focusedId = (page: Page) => page.evaluate(() => document.activeElement?.id);

/** Shows a conversation by its address, in the same document. */
export const goToPeer = (page: Page, name: string) => page.evaluate((to) => (location.hash = `#${to}`), name);

/** Waits until the page has drawn what happened before. */
export const drawn = (page: Page) =>
  page.evaluate(() => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve))));

/** Holds requests back. @returns a function that releases them */
export async function hold(page: Page, url: string | RegExp): Promise<() => void> {
  const held = Promise.withResolvers<void>();
  await page.route(url, async (route) => {
    await held.promise;
    await route.continue();
  });
  return held.resolve;
}

/** The texts of a conversation that the browser stores for offline use. */
export const cachedTexts = (page: Page, me: string, peer: string): Promise<string[]> =>
  page.evaluate(
    async ([name, key]) => {
      if (!(await indexedDB.databases()).some((database) => database.name === name)) return [];
      const opened = indexedDB.open(name);
      await new Promise((resolve) => opened.addEventListener("success", resolve));
      const request = opened.result.transaction("messages").objectStore("messages").get(key);
      await new Promise((resolve) => request.addEventListener("success", resolve));
      opened.result.close();
      const { messages = [] } = (request.result ?? {}) as { messages?: { text: string }[] };
      return messages.map(({ text }) => text);
    },
    [`chatify.reading.${me}`, peer.toLowerCase()] as const,
  );
