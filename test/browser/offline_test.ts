/** The page without a network, and with a browser, a server or a tab that goes away at the wrong moment. Real Chromium. */

import { afterAll, afterEach, beforeAll, expect, test } from "bun:test";
import { cpSync, mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import type { Browser, BrowserContext, Page } from "playwright-core";

import { closeWindows, launch, launchProcess, Server } from "../support/browser.ts";
import { freePort, migratedDatabase, PASSWORD, Person, ROOT } from "../support/harness.ts";
import { until } from "../support/until.ts";

let browser: Browser;
let server: Server;
let database: string;
const directories: string[] = [];

beforeAll(async () => {
  database = await migratedDatabase();
  [browser, server] = [await launch(), new Server(freePort(), database)];
  await server.start();
}, 60_000);

afterAll(async () => {
  await browser?.close();
  await server?.end("SIGTERM");
  for (const directory of directories) rmSync(directory, { recursive: true, force: true });
});

/** A test that failed may have left the server as it was then. */
afterEach(async () => {
  await closeWindows(browser);
  server.pause(false);
  const answers = await fetch(`${server.url}/readyz`).then(
    ({ ok }) => ok,
    () => false,
  );
  if (!answers) await server.start();
});

const person = (name: string) => Person.signUp(server.url, name);

/** A browser in which somebody is signed in. */
async function browserOf(who: Person, options: Parameters<Browser["newContext"]>[0] = {}): Promise<BrowserContext> {
  const context = await browser.newContext({ locale: "en-GB", viewport: { width: 1_100, height: 760 }, ...options });
  await signIn(context, who);
  return context;
}

async function signIn(context: BrowserContext, who: Person): Promise<void> {
  const [name = "", value = ""] = who.cookie.split(/=(.*)/s);
  await context.addCookies([{ name, value, url: server.url }]);
}

/** Opens a conversation in a new tab. */
async function open(context: BrowserContext, peer: string): Promise<Page> {
  const page = await context.newPage();
  await page.goto(`${server.url}/#${encodeURIComponent(peer)}`);
  await page.waitForSelector("message-composer textarea:visible");
  return page;
}

async function write(page: Page, text: string): Promise<void> {
  await page.fill("message-composer textarea", text);
  await page.press("message-composer textarea", "Enter");
}

/** The texts on the screen, in order. */
const texts = (page: Page) => page.locator("chat-thread .message .text").allTextContents();
const stored = async (who: Person, peer: string) =>
  (await who.json<{ content: string }[]>(`/messages/${who.name}/${peer}?peek=1`)).map(({ content }) => content);

const shows = (page: Page, ...wanted: string[]) =>
  until(
    `the page shows ${wanted.join(", ").slice(0, 80)}`,
    async () => (await texts(page)).join() === wanted.join(),
    15_000,
  );
const has = (who: Person, peer: string, ...wanted: string[]) =>
  until(
    `${peer} has ${wanted.join(", ").slice(0, 80)}`,
    async () => (await stored(who, peer)).join() === wanted.join(),
    15_000,
  );

/** Everything the browser keeps of people: databases with something in them, localStorage, versions of the page. */
function keeps(page: Page): Promise<Record<string, string[]>> {
  return page.evaluate(async () => {
    const kept: Record<string, string[]> = {
      shelf: Object.keys(localStorage).filter((key) => key.startsWith("chatify.")),
      pages: (
        await Promise.all(
          (await caches.keys()).map(async (name) => ((await caches.match("/", { cacheName: name })) ? name : "")),
        )
      ).filter(Boolean),
    };
    for (const { name = "" } of await indexedDB.databases()) {
      const opened = await new Promise<IDBDatabase>((resolve, reject) => {
        const request = indexedDB.open(name);
        request.addEventListener("success", () => resolve(request.result));
        request.addEventListener("error", () => reject(new Error(`could not open ${name}`)));
      });
      for (const store of opened.objectStoreNames) {
        const keys = await new Promise<IDBValidKey[]>((resolve) => {
          const request = opened.transaction(store).objectStore(store).getAllKeys();
          request.addEventListener("success", () => resolve(request.result));
        });
        if (keys.length > 0) kept[`${name}/${store}`] = keys.map(String);
      }
      opened.close();
    }
    return kept;
  });
}

const pageKept = (page: Page) =>
  until("the page is kept", async () => (await keeps(page))["pages"]?.length === 1, 15_000);
/** Until what can be read of a conversation is kept, too. */
const keptForOffline = async (page: Page, who: string) => {
  await pageKept(page);
  const messages = `chatify.reading.${who}/messages`;
  await until("messages are kept", async () => (await keeps(page))[messages] !== undefined, 15_000);
};

/** Takes the network from a browser, and from this page the socket it still had. */
async function cutOff(page: Page): Promise<void> {
  await pageKept(page);
  await page.context().setOffline(true);
  await page.reload();
  await page.waitForSelector("message-composer textarea:visible");
}

test("a blocked conversation is still there without a network, and unblocking says that it has to wait", async () => {
  const [ann, bob] = [await person("Wall-Ann"), await person("Wall-Bob")];
  await (await bob.open()).send("Wall-Ann", "one");
  const context = await browserOf(ann);
  const page = await open(context, "Wall-Bob");
  await keptForOffline(page, "Wall-Ann");
  await ann.post("/blocks", { name: "Wall-Bob", blocked: true });
  const isBlocked = async () =>
    (await page.locator("chat-thread[data-blocked]").count()) === 1 &&
    (await page.locator('a.blocked[data-name="Wall-Bob"]').count()) === 1 &&
    (await texts(page)).join() === "one";
  await until("it is closed", isBlocked);
  await until("it is kept so", () =>
    page.evaluate(async () => {
      const opened = await new Promise<IDBDatabase>((resolve) => {
        const request = indexedDB.open("chatify.reading.Wall-Ann");
        request.addEventListener("success", () => resolve(request.result));
      });
      const row = await new Promise<{ row: { blocked?: boolean } } | undefined>((resolve) => {
        const request = opened.transaction("rows").objectStore("rows").get("wall-bob");
        request.addEventListener("success", () => resolve(request.result));
      });
      opened.close();
      return row?.row.blocked === true;
    }),
  );
  await context.setOffline(true);
  await page.reload();
  await until("it is so after a reload", isBlocked);
  await page.locator("message-composer .unblock").click();
  await page.waitForSelector(".problem:not(:empty)");
  expect(await isBlocked()).toBe(true);
  await context.setOffline(false);
  await page.locator("message-composer .unblock").click();
  await page.waitForSelector("textarea:visible");
  await shows(page, "one");
  expect(await page.locator("message-composer .problem").innerText()).toBe("");
  await context.close();
}, 30_000);

test("a text is kept from the moment Enter is pressed, though its tab closes at once", async () => {
  const [ann, bob] = [await person("Hasty-Ann"), await person("Hasty-Bob")];
  const context = await browserOf(ann);
  const other = await context.newPage(); // keeps the browser open; knows nothing of chats
  for (const [text, offline] of [
    ["online", false],
    ["offline", true],
  ] as const) {
    const page = await open(context, "Hasty-Bob");
    if (offline) await cutOff(page);
    await page.fill("message-composer textarea", text);
    await page
      .evaluate(() => {
        document.querySelector<HTMLFormElement>("message-composer form")?.requestSubmit();
        window.close(); // in the same breath
      })
      .catch(() => {});
    await page.close();
    await context.setOffline(false);
  }
  const again = await open(context, "Hasty-Bob");
  await shows(again, "online", "offline");
  await has(bob, "Hasty-Ann", "online", "offline");
  await other.close();
  await context.close();
}, 30_000);

test("the page opens without a server, shows what was said, takes texts, and sends them in order, once", async () => {
  const [ann, bob] = [await person("Off-Ann"), await person("Off-Bob")];
  const tab = await bob.open();
  for (const text of ["one", "two"]) await tab.send("Off-Ann", text);
  const context = await browserOf(ann);
  const before = await open(context, "Off-Bob");
  await shows(before, "one", "two");
  await before.fill("message-composer textarea", "not finis");
  await keptForOffline(before, "Off-Ann");
  await before.close();

  await server.end("SIGKILL");
  const page = await open(context, "Off-Bob");
  await shows(page, "one", "two");
  expect(await page.inputValue("message-composer textarea")).toBe("not finis");
  expect(await page.locator('people-list a[data-name="Off-Bob"] .last').innerText()).toBe("two");
  await until("it says that it connects", () => page.locator("connection-line:visible").first().isVisible());
  await page.fill("people-list input", "nobody at all");
  await until(
    "the search says what it needs",
    async () => (await page.locator("people-list .note").innerText()) !== "",
  );
  await page.fill("people-list input", "");
  for (const text of ["three", "four", "five"]) await write(page, text);
  await page.reload();
  await shows(page, "one", "two", "three", "four", "five");
  expect(await page.locator("chat-thread .message.mine .meta .state").allInnerTexts()).toEqual([
    "Sending",
    "Sending",
    "Sending",
  ]);
  expect(await page.inputValue("message-composer textarea")).toBe("");

  await server.start();
  await has(bob, "Off-Ann", "one", "two", "three", "four", "five");
  await shows(page, "one", "two", "three", "four", "five");
  await context.close();
}, 60_000);

test("a server that hangs shows the kept page, and a new version of it comes whole or not at all", async () => {
  const ann = await person("New-Ann");
  await (await ann.open()).send("New-Ann", "note");
  const context = await browserOf(ann);
  const page = await open(context, "New-Ann");
  await keptForOffline(page, "New-Ann");
  const [old] = (await keeps(page))["pages"] ?? [];
  server.pause(true);
  await page.goto("about:blank");
  await page.goto(`${server.url}/#New-Ann`, { timeout: 20_000 }); // it waits for the server first
  await shows(page, "note");
  server.pause(false);

  const root = mkdtempSync(join(tmpdir(), "chatify-next-"));
  directories.push(root);
  for (const part of ["src", "static", "sql", "package.json"])
    cpSync(join(ROOT, part), join(root, part), { recursive: true });
  symlinkSync(join(ROOT, "node_modules"), join(root, "node_modules"));
  const names = join(root, "static", "js", "util", "names.js");
  await Bun.write(names, `${await Bun.file(names).text()}\nglobalThis.version = "next";\n`);
  const chat = join(root, "static", "chat.html");
  await Bun.write(chat, (await Bun.file(chat).text()).replace("<main ", '<main data-version="next" '));
  await server.end("SIGTERM");
  const next = new Server(Number(new URL(server.url).port), database, root);
  await next.start();
  /** What the page and one of its files are of. */
  const versions = () =>
    page.evaluate(() => [document.querySelector("main")?.dataset.version, Reflect.get(globalThis, "version")]);
  /** Reloads until it is of a version: a server that has just started may take longer than the page waits for it. It is never of two. */
  const becomes = (version: string | undefined) =>
    until(
      `it is of the ${version ?? "first"} version`,
      async () => {
        await page.reload();
        const [document, file] = await versions();
        expect(file).toBe(document);
        return document === version;
      },
      20_000,
    );
  try {
    await becomes("next");
    await until("the new one is kept and the old one is gone", async () => {
      const { pages = [] } = await keeps(page);
      return pages.length === 1 && pages[0] !== old;
    });
    const paths = await page.evaluate(async () => {
      const requests = await Promise.all((await caches.keys()).map(async (name) => (await caches.open(name)).keys()));
      return requests.flat().map(({ url }) => new URL(url).pathname);
    });
    expect(new Set(paths.map((path) => path.split("/")[2])).size).toBe(2); // "/" and one version
  } finally {
    await next.end("SIGKILL");
  }
  await page.reload();
  expect(await versions()).toEqual(["next", "next"]);
  await shows(page, "note");
  await server.start();
  await becomes(undefined);
  await context.close();
}, 60_000);

test("nothing is lost when the browser is killed, nor what an older page left behind", async () => {
  const [ann, bob] = [await person("Kill-Ann"), await person("Kill-Bob")];
  const profile = mkdtempSync(join(tmpdir(), "chatify-profile-"));
  directories.push(profile);
  const first = await launchProcess(profile);
  const context = first.browser.contexts()[0] as BrowserContext;
  await signIn(context, ann);
  const page = await open(context, "Kill-Bob");
  await page.evaluate(() => {
    const left = {
      ref: "0190aaaabbbbccccdddd",
      peer: "Kill-Bob",
      text: "from an older page",
      at: 1,
      state: "failed",
      code: "busy",
    };
    localStorage.setItem(`chatify.draft.Kill-Ann.${left.ref}`, JSON.stringify(left));
  });
  await page.reload();
  await shows(page, "from an older page");
  await server.end("SIGKILL"); // so that nothing of it is sent
  await write(page, "to be killed");
  await until("the database has it", async () => {
    const kept = await keeps(page);
    return kept["chatify.texts.Kill-Ann/outbox"]?.length === 2 && kept["shelf"]?.length === 1;
  });
  await first.kill();
  await server.start();
  const second = await launchProcess(profile);
  try {
    const context = second.browser.contexts()[0] as BrowserContext;
    await signIn(context, ann); // a browser writes cookies down now and then only
    const page = await open(context, "Kill-Bob");
    await until("the new one is sent", async () => (await stored(bob, "Kill-Ann")).join() === "to be killed");
    await until("both are shown", async () => {
      const shown = await texts(page);
      return shown.includes("from an older page") && shown.includes("to be killed");
    });
    await page.click("chat-thread .failure .retry");
    await has(bob, "Kill-Ann", "to be killed", "from an older page");
  } finally {
    await second.kill();
  }
}, 60_000);

test("two tabs: what one sent or threw away leaves the other, and what a closed one left is sent by the other", async () => {
  const [ann, bob] = [await person("Tab-Ann"), await person("Tab-Bob")];
  const context = await browserOf(ann);
  const [one, two] = [await open(context, "Tab-Bob"), await open(context, "Tab-Bob")];
  await one.evaluate(() => {
    const left = { ref: "0190aaaabbbbccccdddd", peer: "Tab-Bob", text: "failed", at: 1, state: "failed", code: "busy" };
    localStorage.setItem(`chatify.draft.Tab-Ann.${left.ref}`, JSON.stringify(left));
  });
  await Promise.all([one.reload(), two.reload()]);
  await shows(one, "failed");
  await shows(two, "failed");
  await one.click("chat-thread .failure .discard");
  await shows(two);

  await one.fill("message-composer textarea", "half");
  await until(
    "the other tab has the unfinished text",
    async () => (await two.inputValue("message-composer textarea")) === "half",
  );
  await cutOff(one);
  await two.reload();
  await write(one, "from one");
  await write(two, "from two");
  await one.close({ runBeforeUnload: true });
  await until("the other tab has taken it over", async () => (await texts(two)).length === 2);
  const three = await context.newPage(); // offline, it opens from what is kept, and sends the same texts too
  await context.setOffline(false);
  await three.goto(`${server.url}/#Tab-Bob`);
  await has(bob, "Tab-Ann", "from one", "from two");
  await shows(two, "from one", "from two");
  await shows(three, "from one", "from two");
  await until(
    "nothing is left in the store",
    async () => (await keeps(two))["chatify.texts.Tab-Ann/outbox"] === undefined,
  );
  expect(await stored(bob, "Tab-Ann")).toEqual(["from one", "from two"]);
  await context.close();
}, 60_000);

test("signing out leaves nothing behind; a session that ended elsewhere nothing but what its person had written", async () => {
  for (const elsewhere of [false, true]) {
    const [ann, bob] = [await person(`Leave-Ann-${elsewhere}`), await person(`Leave-Bob-${elsewhere}`)];
    await (await bob.open()).send(ann.name, "secret");
    const context = await browserOf(ann);
    const page = await open(context, bob.name);
    await shows(page, "secret");
    await page.evaluate(() => localStorage.setItem("chatify.language", "en"));
    await page.fill("message-composer textarea", "unfinished secret");
    await keptForOffline(page, ann.name);
    await until(
      "the unfinished text is kept",
      async () => (await keeps(page))[`chatify.texts.${ann.name}/unfinished`] !== undefined,
    );
    if (elsewhere) {
      await ann.get("/logout");
    } else {
      await page.click("people-list .me");
      await page.click("#menu .sign-out button");
    }
    await page.waitForURL(`${server.url}/login`);
    const unfinished = elsewhere ? { [`chatify.texts.${ann.name}/unfinished`]: [bob.name.toLowerCase()] } : {};
    await until("what is to go is gone", async () =>
      Bun.deepEquals(await keeps(page), { shelf: ["chatify.language"], pages: [], ...unfinished }),
    );
    await context.setOffline(true);
    expect(
      await page.goto(`${server.url}/`).then(
        () => "opened",
        () => "refused",
      ),
    ).toBe("refused");
    await context.setOffline(false);
    if (elsewhere) {
      await page.goto(`${server.url}/login`);
      await page.fill('input[name="username"]', ann.name);
      await page.fill('input[name="password"]', PASSWORD);
      await page.press('input[name="password"]', "Enter");
      await page.click(`people-list a[data-name="${bob.name}"]`);
      await until(
        "she can go on writing",
        async () => (await page.inputValue("message-composer textarea")) === "unfinished secret",
      );
    }
    await context.close();
  }
}, 60_000);

test("another person at the same browser never sees what the one before wrote or read", async () => {
  const [ann, bob] = [await person("Next-Ann"), await person("Next-Bob")];
  await (await bob.open()).send("Next-Ann", "for Ann only");
  const context = await browserOf(ann);
  const first = await open(context, "Next-Bob");
  await keptForOffline(first, "Next-Ann");
  await cutOff(first);
  await write(first, "unsent");
  await first.close();
  await context.setOffline(false);
  const page = await context.newPage();
  await page.goto(`${server.url}/login`);
  await page.fill('input[name="username"]', "Next-Bob");
  await page.fill('input[name="password"]', PASSWORD);
  await page.press('input[name="password"]', "Enter");
  await page.waitForSelector('people-list a[data-name="Next-Ann"]');
  await page.click('people-list a[data-name="Next-Ann"]');
  await shows(page, "for Ann only"); // he wrote it
  await until("nothing of Ann's is kept", async () => !JSON.stringify(await keeps(page)).includes("Next-Ann/"));
  expect(JSON.stringify(await keeps(page))).not.toContain("chatify.draft.Next-Ann");
  expect(await stored(bob, "Next-Ann")).toEqual(["for Ann only"]);
  await context.close();
}, 60_000);

test("somebody Greek has Greek without a network, and so has who chose it; nobody else loads it", async () => {
  const ann = await person("Greek-Ann");
  await person("Greek-Bob");
  for (const locale of ["el-GR", "en-GB"]) {
    const context = await browserOf(ann, { locale });
    let page = await open(context, "Greek-Bob");
    const files = await page.evaluate(() => performance.getEntriesByType("resource").map(({ name }) => name));
    expect(files.some((name) => name.endsWith("/words/el.js"))).toBe(locale === "el-GR");
    if (locale === "en-GB") {
      await pageKept(page);
      await page.click("people-list .me");
      await page.click('language-choice button[lang="el"]');
      await until("the words have come", async () => (await page.getAttribute("html", "lang")) === "el");
      await page.close();
      page = await open(context, "Greek-Bob");
    }
    await cutOff(page);
    expect(await page.getAttribute("html", "lang")).toBe("el");
    expect(await page.getAttribute("message-composer textarea", "placeholder")).toBe("Γράψε ένα μήνυμα");
    const line = page.locator("connection-line:visible").first();
    await until("it says in Greek that it is offline", async () => /εκτός σύνδεσης/.test(await line.innerText()));
    await context.close();
  }
}, 60_000);

test("two hundred texts of four thousand characters wait for the network and go out in order", async () => {
  const [ann, bob] = [await person("Long-Ann"), await person("Long-Bob")];
  const context = await browserOf(ann);
  const page = await open(context, "Long-Bob");
  await cutOff(page);
  const wrote = Array.from({ length: 200 }, (_, i) => `${i} `.padEnd(4_000, "xyz"));
  await page.evaluate((wrote) => {
    const area = document.querySelector<HTMLTextAreaElement>("message-composer textarea")!;
    for (const text of wrote) {
      area.value = text;
      area.form?.requestSubmit();
    }
  }, wrote);
  await page.close();
  const again = await open(context, "Long-Bob");
  await until("all are there", async () => (await texts(again)).length === 200, 15_000);
  expect(await texts(again)).toEqual(wrote);
  await context.setOffline(false);
  await again.reload();
  await until("they go out", async () => (await stored(bob, "Long-Ann")).length >= 25, 20_000); // five a second and no more
  const sent = await stored(bob, "Long-Ann");
  expect(sent).toEqual(wrote.slice(0, sent.length));
  await context.close();
}, 60_000);

test("a browser that keeps nothing can chat, and is told what that means", async () => {
  const [ann, bob] = [await person("Bare-Ann"), await person("Bare-Bob")];
  const context = await browserOf(ann);
  await context.addInitScript(() => {
    for (const name of ["indexedDB", "localStorage", "caches"]) {
      Object.defineProperty(globalThis, name, {
        get: () => {
          throw new DOMException("forbidden", "SecurityError");
        },
      });
    }
  });
  const page = await open(context, "Bare-Bob");
  await write(page, "hello");
  await has(bob, "Bare-Ann", "hello");
  await server.end("SIGKILL");
  await write(page, "waiting");
  await until("it says so", async () =>
    /cannot save/.test(
      await page
        .locator("connection-line:visible")
        .first()
        .innerText()
        .catch(() => ""),
    ),
  );
  await server.start();
  await has(bob, "Bare-Ann", "hello", "waiting");
  await context.close();
}, 60_000);
