/** The weight of a first visit, in bytes on the wire, and the time until the first message can be read. */

import { beforeAll, expect, test } from "bun:test";

import type { Socket } from "bun";
import type { Page } from "playwright-core";

import { download } from "../../tools/bench/parts/page.ts";
import { fetchedOnDemandFiles, fillForm, useBrowser } from "../support/browser.ts";
import { PASSWORD, type Person } from "../support/harness.ts";
import { until } from "../support/until.ts";

const MOST = 75 * 1024;
/** Fetched in idle time after the page has loaded, for offline use. */
const MOST_IN_IDLE_TIME = 150 * 1024;
const MOST_READABLE_MS = 500;
const MOST_SLOW_MS = 2_500;
/** Cumulative layout shift. */
const MOST_SHIFT = 0.02;
/** A distant user with a bad connection. */
const SLOW = { offline: false, latency: 400, downloadThroughput: 50_000, uploadThroughput: 50_000 };
/** Other programs may use the machine; one visit within this time has to be undisturbed. */
const TRIED_MS = 40_000;
/** Requested only by browsers with a window. */
const WITH_A_WINDOW = ["favicon.svg", "chatify.webmanifest"];

/** A TCP relay to the server that counts bytes, except those of WebSockets. */
class Wire implements Disposable {
  /** Bytes from the server, headers included, by requested path. */
  readonly received = new Map<string, number>();
  readonly #listener: Bun.TCPSocketListener<End>;

  constructor(to: number) {
    const back = {
      data: (server: Socket<End>, bytes: Buffer) => {
        if (!server.data.isSocket) this.count(server.data.other?.data.requested ?? "", bytes.length);
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
          const requested = /^GET (\S+) HTTP/.exec(bytes.toString("latin1"));
          if (requested) browser.data.requested = requested[1] ?? "";
          const copy = new Uint8Array(bytes);
          (await browser.data.opening)?.write(copy);
        },
        close: async (browser) => void (await browser.data.opening)?.end(),
      },
    });
  }

  get bytes(): number {
    return [...this.received.values()].reduce((sum, bytes) => sum + bytes, 0);
  }

  /** Paths that the page fetched in idle time: the list of files, and those of them requested after it. */
  async inIdleTime(): Promise<Set<string>> {
    const paths = [...this.received.keys()];
    const at = paths.findIndex((path) => path.endsWith("/js/on_demand.json"));
    const list = paths[at] ?? "";
    const files = (await (await fetch(this.url + list)).json()) as string[];
    const listed = new Set(files.map((file) => list.replace("js/on_demand.json", file)));
    return new Set(paths.slice(at).filter((path) => path === list || listed.has(path)));
  }

  count(path: string, bytes: number): void {
    this.received.set(path, (this.received.get(path) ?? 0) + bytes);
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
  /** The path requested last, whose response is under way. */
  requested?: string;
  isSocket: boolean;
}

const chat = useBrowser();
let ann: Person;

beforeAll(async () => {
  const [bob] = await chat.server.people("Bob");
  ann = await chat.server.person("Ann");
  const tab = await bob!.open();
  for (let i = 1; i <= 30; i++) await tab.send("Ann", `message ${i}`);
  // Files are compressed in the first second.
  await until("files are compressed", async () => {
    const answer = await fetch(`${chat.server.url}/login`, { headers: { "accept-encoding": "br" } });
    return answer.headers.get("content-encoding") === "br";
  });
});

/** A fresh browser. */
async function visitor(url: string, locale: string, who?: Person): Promise<Page> {
  const context = await chat.context(who, { url, locale });
  await context.addInitScript(() => {
    const look = () => {
      const message = document.querySelector("chat-thread .message");
      if (message?.checkVisibility({ opacityProperty: true })) performance.mark("first message");
      else requestAnimationFrame(look);
    };
    requestAnimationFrame(look);
  });
  return context.newPage();
}

/** Waits until the page is stored for offline use and the network is idle. */
async function idle(page: Page, wire: Wire): Promise<void> {
  await fetchedOnDemandFiles(page);
  await page.waitForFunction(async () => (await caches.match("/")) !== undefined);
  for (let before = -1; before !== wire.bytes; await Bun.sleep(1_000)) before = wire.bytes;
  const icon = await page.getAttribute("link[rel=icon]", "href");
  for (const name of WITH_A_WINDOW) {
    const path = icon?.replace("favicon.svg", name) ?? "";
    if (!wire.received.has(path)) await fetch(wire.url + path, { headers: { "accept-encoding": "br" } });
  }
}

/** Prints the weights, compares them with their bounds, and returns the paths of the first visit. */
async function weigh(what: string, wire: Wire): Promise<string[]> {
  const later = await wire.inIdleTime();
  const [first, idle] = [false, true].map((isLater) =>
    [...wire.received].filter(([path]) => later.has(path) === isLater),
  ) as [Weights, Weights];
  for (const [when, weights, most] of [
    [what, first, MOST],
    [`${what}, in idle time`, idle, MOST_IN_IDLE_TIME],
  ] as const) {
    const bytes = weights.reduce((sum, [, each]) => sum + each, 0);
    process.stdout.write(`${when}: ${(bytes / 1024).toFixed(1)} KiB, ${weights.length} responses\n`);
    const heaviest = weights.toSorted(([, a], [, b]) => b - a).slice(0, 12);
    expect(
      bytes,
      `${when}; the heaviest: ${heaviest.map(([path, size]) => `${path} ${size}`).join(", ")}`,
    ).toBeLessThan(most);
  }
  return first.map(([path]) => path);
}

/** Bytes by path. */
type Weights = [string, number][];

test.each(["en-GB", "el-GR"])(
  "weighs at most 75 KiB on a first visit: login, chat and service worker (%s)",
  async (locale) => {
    const username = `New-${locale}`;
    await chat.server.person(username);
    using wire = new Wire(chat.server.port);
    const page = await visitor(wire.url, locale);
    await page.goto(`${wire.url}/`);
    await page.evaluate(async () => void (await navigator.serviceWorker.ready)); // no one types faster
    await fillForm(page, { username, password: PASSWORD });
    await page.waitForSelector("conversation-list .empty:visible");
    await idle(page, wire);
    const paths = await weigh(`${locale}, login and chat`, wire);
    expect(paths.filter((path) => path.includes("/translations/"))).toHaveLength(1);
  },
  60_000,
);

test("loads exactly the files that the benchmark counts when signed in, within 75 KiB", async () => {
  using wire = new Wire(chat.server.port);
  const user = await chat.server.person("Signed-in");
  const page = await visitor(wire.url, "en-GB", user);
  await page.goto(`${wire.url}/`);
  await page.waitForSelector("conversation-list .empty:visible");
  await idle(page, wire);
  const paths = await weigh("chat", wire);
  const { files } = await download(chat.server.port, "/", { Cookie: user.cookie });
  const all = paths.filter((path) => /^\/static\/|^\/(?:sw\.js)?$/.test(path));
  expect([...files.keys()].toSorted()).toEqual(all.toSorted());
}, 60_000);

test("shows the first message within 500 ms after the document", async () => {
  const page = await visitor(chat.url, "en-GB", ann);
  const took: number[] = [];
  const end = performance.now() + TRIED_MS;
  while (took.length < 3 || (Math.min(...took) > MOST_READABLE_MS && performance.now() < end)) {
    await page.goto("about:blank");
    await page.goto(`${chat.url}/#Bob`);
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
}, 90_000);

test("shows the first message within 2.5 s on a slow network with an empty cache, without shifting", async () => {
  const took: number[] = [];
  const end = performance.now() + TRIED_MS;
  while (took.length === 0 || (Math.min(...took) > MOST_SLOW_MS && performance.now() < end)) {
    const page = await visitor(chat.url, "en-GB", ann);
    await page.addInitScript(() => {
      Reflect.set(globalThis, "shift", 0);
      new PerformanceObserver((list) => {
        for (const entry of list.getEntries())
          Reflect.set(globalThis, "shift", Reflect.get(globalThis, "shift") + Reflect.get(entry, "value"));
      }).observe({ type: "layout-shift", buffered: true });
    });
    const devtools = await page.context().newCDPSession(page);
    await devtools.send("Network.emulateNetworkConditions", SLOW);
    await page.goto(`${chat.url}/#Bob`, { waitUntil: "commit" });
    await page.waitForFunction(() => performance.getEntriesByName("first message").length > 0);
    took.push(await page.evaluate(() => performance.getEntriesByName("first message")[0]!.startTime));
    const urls = await page.evaluate(() => performance.getEntriesByType("resource").map(({ name }) => name));
    const paths = urls.map((url) => new URL(url).pathname);
    // Once: the page uses the responses requested early.
    for (const path of ["/me", "/messages/Ann/Bob"]) expect(paths.filter((each) => each === path)).toHaveLength(1);
    await page.waitForLoadState();
    expect(await page.evaluate(() => Reflect.get(globalThis, "shift"))).toBeLessThanOrEqual(MOST_SHIFT);
    await page.context().close();
  }
  process.stdout.write(
    `on a slow network, the first message can be read after ${took.map(Math.round).join(", ")} ms\n`,
  );
  expect(Math.min(...took)).toBeLessThanOrEqual(MOST_SLOW_MS);
}, 90_000);
