/**
 * How heavy the page is, and how soon there is something to read: a real Chromium that has nothing, and a wire between it and the
 * server that counts every byte, whoever asked for it: the page, its workers, the service worker.
 */

import { afterAll, afterEach, beforeAll, expect, test } from "bun:test";

import type { Socket } from "bun";
import type { Browser, Page } from "playwright-core";

import { download } from "../../tools/bench/parts/page.ts";
import { closeWindows, launch } from "../support/browser.ts";
import { PASSWORD, type Person, startApp, type TestApp } from "../support/harness.ts";
import { until } from "../support/until.ts";

const MOST = 75 * 1024;
const MOST_READABLE_MS = 500;
/** Other programs may take the machine at any moment: one visit within this time has to be undisturbed. */
const TRIED_MS = 40_000;
/** What browsers with a window ask for as well: without one they leave the tab's picture and the manifest out. */
const WITH_A_WINDOW = ["favicon.svg", "chatify.webmanifest"];

/** A wire to a server, which counts. Sockets for messages are counted apart. */
class Wire implements Disposable {
  /** What came from the server to the browser, headers included, by the path that was asked for. */
  readonly came = new Map<string, number>();
  readonly #listener: Bun.TCPSocketListener<End>;

  constructor(to: number) {
    const back = {
      data: (server: Socket<End>, bytes: Buffer) => {
        if (!server.data.isSocket) this.count(server.data.other?.data.asked ?? "", bytes.length);
        if (bytes.includes("HTTP/1.1 101 ")) server.data.isSocket = true;
        server.data.other?.write(new Uint8Array(bytes));
      },
      close: (server: Socket<End>) => void server.data.other?.end(),
    };
    this.#listener = Bun.listen<End>({
      hostname: "127.0.0.1",
      port: 0,
      socket: {
        open(browser) {
          browser.data = { isSocket: false };
          const end: End = { other: browser, isSocket: false };
          browser.data.opening = Bun.connect({ hostname: "127.0.0.1", port: to, data: end, socket: back });
        },
        async data(browser, bytes) {
          const asked = /^GET (\S+) HTTP/.exec(bytes.toString("latin1"));
          if (asked) browser.data.asked = asked[1] ?? "";
          const copy = new Uint8Array(bytes);
          (await browser.data.opening)?.write(copy);
        },
        close: async (browser) => void (await browser.data.opening)?.end(),
      },
    });
  }

  get bytes(): number {
    return [...this.came.values()].reduce((sum, bytes) => sum + bytes, 0);
  }

  count(path: string, bytes: number): void {
    this.came.set(path, (this.came.get(path) ?? 0) + bytes);
  }

  get url(): string {
    return `http://localhost:${this.#listener.port}`;
  }

  [Symbol.dispose](): void {
    this.#listener.stop(true);
  }
}

interface End {
  other?: Socket<End>;
  opening?: Promise<Socket<End>>;
  /** One answer after another: what was asked for last. */
  asked?: string;
  isSocket: boolean;
}

let browser: Browser;
let app: TestApp;
let ann: Person;

beforeAll(async () => {
  [browser, app] = [await launch(), await startApp()];
  const [bob] = await app.people("Bob");
  ann = await app.person("Ann");
  const tab = await bob!.open();
  for (let i = 1; i <= 30; i++) await tab.send("Ann", `message ${i}`);
  // Files are compressed in the second after the start.
  await until("files are compressed", async () => {
    const answer = await fetch(`${app.url}/login`, { headers: { "accept-encoding": "br" } });
    return answer.headers.get("content-encoding") === "br";
  });
}, 60_000);

afterAll(async () => {
  await browser?.close();
  await app?.stop();
});

afterEach(() => closeWindows(browser));

/** A browser with nothing in it. */
async function visitor(url: string, locale: string, who?: Person): Promise<Page> {
  const context = await browser.newContext({ locale });
  await context.addInitScript(() => {
    const look = () => {
      const message = document.querySelector("chat-thread .message");
      if (message?.checkVisibility({ opacityProperty: true })) performance.mark("first message");
      else requestAnimationFrame(look);
    };
    requestAnimationFrame(look);
  });
  const [name = "", value = ""] = who?.cookie.split(/=(.*)/s) ?? [];
  if (who) await context.addCookies([{ name, value, url }]);
  return context.newPage();
}

/** Waits until the page is kept for offline and nothing has come for so long that nothing will. */
async function still(page: Page, wire: Wire): Promise<void> {
  await page.waitForFunction(async () => (await caches.match("/")) !== undefined);
  for (let before = -1; before !== wire.bytes; await Bun.sleep(1_500)) before = wire.bytes;
  const icon = await page.getAttribute("link[rel=icon]", "href");
  for (const name of WITH_A_WINDOW) {
    const path = icon?.replace("favicon.svg", name) ?? "";
    if (!wire.came.has(path)) await fetch(wire.url + path, { headers: { "accept-encoding": "br" } });
  }
}

/** Says what came, and how much; holds it against the bound. */
function weigh(what: string, { bytes, came }: Wire): void {
  process.stdout.write(`${what}: ${(bytes / 1024).toFixed(1)} KiB, ${came.size} answers\n`);
  const heaviest = [...came].toSorted(([, a], [, b]) => b - a).slice(0, 12);
  expect(bytes, `${what}; the heaviest: ${heaviest.map(([path, size]) => `${path} ${size}`).join(", ")}`).toBeLessThan(
    MOST,
  );
}

for (const locale of ["en-GB", "el-GR"]) {
  const name = `New-${locale}`;

  test(`a first visit is at most 75 KiB on the wire: login, chat and service worker (${locale})`, async () => {
    await app.person(name);
    using wire = new Wire(app.port);
    const page = await visitor(wire.url, locale);
    await page.goto(`${wire.url}/`);
    await page.fill("#username", name);
    await page.evaluate(async () => void (await navigator.serviceWorker.ready)); // nobody types faster
    await page.fill("#password", PASSWORD);
    await page.press("#password", "Enter");
    await page.waitForSelector("people-list .empty:visible");
    await still(page, wire);
    weigh(`${locale}, login and chat`, wire);
    expect([...wire.came.keys()].filter((path) => path.includes("/words/"))).toHaveLength(1);
    await page.context().close();
  }, 60_000);

  test(`so is that of somebody who is signed in (${locale})`, async () => {
    using wire = new Wire(app.port);
    const page = await visitor(wire.url, locale, await app.person(`${name}-in`));
    await page.goto(`${wire.url}/`);
    await page.waitForSelector("people-list .empty:visible");
    await still(page, wire);
    weigh(`${locale}, chat`, wire);
    if (locale === "en-GB") {
      const cookie = (await page.context().cookies()).map(({ name, value }) => `${name}=${value}`).join("; ");
      const { files } = await download(app.port, "/", { Cookie: cookie });
      const all = [...wire.came.keys()].filter((path) => /^\/static\/|^\/(?:sw\.js)?$/.test(path));
      expect([...files.keys()].toSorted(), "what the benchmark counts").toEqual(all.toSorted());
    }
    await page.context().close();
  }, 60_000);
}

test("the first message can be read within half a second after the document, on a machine that has the time", async () => {
  const page = await visitor(app.url.replace("127.0.0.1", "localhost"), "en-GB", ann);
  const url = app.url.replace("127.0.0.1", "localhost");
  const took: number[] = [];
  const end = performance.now() + TRIED_MS;
  while (took.length < 3 || (Math.min(...took) > MOST_READABLE_MS && performance.now() < end)) {
    await page.goto("about:blank");
    await page.goto(`${url}/#Bob`);
    await page.waitForFunction(() => performance.getEntriesByName("first message").length > 0);
    const ms = await page.evaluate(() => {
      const [document] = performance.getEntriesByType("navigation") as PerformanceNavigationTiming[];
      const [shown] = performance.getEntriesByName("first message");
      return (shown?.startTime ?? Number.NaN) - (document?.responseEnd ?? 0);
    });
    took.push(Math.round(ms));
  }
  process.stdout.write(`the first message can be read ${took.join(", ")} ms after the document\n`);
  expect(Math.min(...took)).toBeLessThanOrEqual(MOST_READABLE_MS);
  await page.context().close();
}, 90_000);
