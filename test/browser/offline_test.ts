/** The page without a network, and with a browser, a server or a tab that ends at the wrong moment. */

import { afterAll, afterEach, expect, setDefaultTimeout, test } from "bun:test";
import { cpSync, mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import type { BrowserContext, Page } from "playwright-core";

import { addSession, draft, fillForm, shows, signOut, texts, useBrowser, write } from "../support/browser.ts";
import { launchProcess } from "../support/chromium.ts";
import { PASSWORD, Person, ROOT } from "../support/harness.ts";
import { ServerProcess, startServerProcess } from "../support/server_process.ts";
import { until } from "../support/until.ts";

setDefaultTimeout(60_000);

const directories: string[] = [];

let server: ServerProcess;
const chat = useBrowser(async () => (server = await startServerProcess()));

afterAll(() => {
  for (const directory of directories) rmSync(directory, { recursive: true, force: true });
});

/** A failed test may have left the server suspended or killed. */
afterEach(async () => {
  server.pause(false);
  const answers = await fetch(`${server.url}/readyz`).then(
    ({ ok }) => ok,
    () => false,
  );
  if (!answers) await server.start();
});

const person = (name: string) => Person.signUp(server.url, name);

const open = (context: BrowserContext, peer: string) => chat.open(context, `/#${encodeURIComponent(peer)}`);

const stored = async (who: Person, peer: string) =>
  (await who.json<{ content: string }[]>(`/messages/${who.name}/${peer}?peek=1`)).map(({ content }) => content);

const has = (who: Person, peer: string, ...wanted: string[]) =>
  until(
    `${peer} has ${wanted.join(", ").slice(0, 80)}`,
    async () => (await stored(who, peer)).join() === wanted.join(),
    15_000,
  );

/** Everything the browser stores of users: non-empty databases, localStorage, versions of the page. */
function stores(page: Page): Promise<Record<string, string[]>> {
  return page.evaluate(async () => {
    const found: Record<string, string[]> = {
      keys: Object.keys(localStorage).filter((key) => key.startsWith("chatify.")),
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
        if (keys.length > 0) found[`${name}/${store}`] = keys.map(String);
      }
      opened.close();
    }
    return found;
  });
}

const pageStored = (page: Page) =>
  until("the page is stored", async () => (await stores(page))["pages"]?.length === 1, 15_000);
/** Waits until the messages are stored too. */
const storedForOffline = async (page: Page, who: string) => {
  await pageStored(page);
  const messages = `chatify.reading.${who}/messages`;
  await until("messages are stored", async () => (await stores(page))[messages] !== undefined, 15_000);
};

/** Takes a browser offline, and reloads the page, whose socket would stay open. */
async function cutOff(page: Page): Promise<void> {
  await pageStored(page);
  await page.context().setOffline(true);
  await page.reload();
  await page.waitForSelector("message-composer textarea:visible");
}

test("shows a blocked conversation offline, and reports that unblocking needs the network", async () => {
  const [ann, bob] = [await person("Wall-Ann"), await person("Wall-Bob")];
  await (await bob.open()).send("Wall-Ann", "one");
  const context = await chat.context(ann);
  const page = await open(context, "Wall-Bob");
  await storedForOffline(page, "Wall-Ann");
  await ann.post("/blocks", { name: "Wall-Bob", blocked: true });
  const isBlocked = async () =>
    (await page.locator("chat-thread[data-blocked]").count()) === 1 &&
    (await page.locator('a.blocked[data-name="Wall-Bob"]').count()) === 1 &&
    (await texts(page)).join() === "one";
  await until("the conversation is closed", isBlocked);
  await until("the block is stored", () =>
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
  await until("a reload shows it closed", isBlocked);
  await page.locator("message-composer .unblock").click();
  await page.waitForSelector(".problem:not(:empty)");
  expect(await isBlocked()).toBe(true);
  await context.setOffline(false);
  await page.locator("message-composer .unblock").click();
  await page.waitForSelector("textarea:visible");
  await shows(page, "one");
  expect(await page.locator("message-composer .problem").innerText()).toBe("");
});

test("stores a message on Enter, even when its tab closes at once", async () => {
  const [ann, bob] = [await person("Hasty-Ann"), await person("Hasty-Bob")];
  const context = await chat.context(ann);
  const other = await context.newPage(); // keeps the browser open
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
        window.close();
      })
      .catch(() => {});
    await page.close();
    await context.setOffline(false);
  }
  const again = await open(context, "Hasty-Bob");
  await shows(again, "online", "offline");
  await has(bob, "Hasty-Ann", "online", "offline");
  await other.close();
});

test("opens without a server, queues messages, and later sends them once and in order", async () => {
  const [ann, bob] = [await person("Off-Ann"), await person("Off-Bob")];
  const tab = await bob.open();
  for (const text of ["one", "two"]) await tab.send("Off-Ann", text);
  const context = await chat.context(ann);
  const before = await open(context, "Off-Bob");
  await shows(before, "one", "two");
  await before.fill("message-composer textarea", "not finis");
  await storedForOffline(before, "Off-Ann");
  await before.close();

  await server.end("SIGKILL");
  const page = await open(context, "Off-Bob");
  await shows(page, "one", "two");
  expect(await draft(page)).toBe("not finis");
  expect(await page.locator('conversation-list a[data-name="Off-Bob"] .preview').innerText()).toBe("two");
  await until("the page shows that it reconnects", () => page.locator("connection-banner:visible").first().isVisible());
  await page.fill("conversation-list input", "nobody at all");
  await page.waitForSelector("conversation-list .hits-note:visible >> text=Your messages could not be searched");
  await page.fill("conversation-list input", "");
  for (const text of ["three", "four", "five"]) await write(page, text);
  await page.reload();
  await shows(page, "one", "two", "three", "four", "five");
  expect(await page.locator("chat-thread .message.mine .meta .state").allInnerTexts()).toEqual([
    "Sending",
    "Sending",
    "Sending",
  ]);
  expect(await draft(page)).toBe("");

  await server.start();
  await has(bob, "Off-Ann", "one", "two", "three", "four", "five");
  await shows(page, "one", "two", "three", "four", "five");
});

test("shows the stored page while the server hangs, and never mixes two versions", async () => {
  const ann = await person("New-Ann");
  await (await ann.open()).send("New-Ann", "note");
  const context = await chat.context(ann);
  const page = await open(context, "New-Ann");
  await storedForOffline(page, "New-Ann");
  const [old] = (await stores(page))["pages"] ?? [];
  server.pause(true);
  await page.goto("about:blank");
  await page.goto(`${server.url}/#New-Ann`, { timeout: 20_000 }); // it waits for the server at first
  await shows(page, "note");
  server.pause(false);

  const root = mkdtempSync(join(tmpdir(), "chatify-next-"));
  directories.push(root);
  for (const part of ["src", "static", "sql", "package.json"])
    cpSync(join(ROOT, part), join(root, part), { recursive: true });
  symlinkSync(join(ROOT, "node_modules"), join(root, "node_modules"));
  const names = join(root, "static", "js", "util", "names.js");
  await Bun.write(names, `${await Bun.file(names).text()}\nglobalThis.version = "next";\n`);
  const html = join(root, "static", "chat.html");
  await Bun.write(html, (await Bun.file(html).text()).replace("<main ", '<main data-version="next" '));
  await server.end("SIGTERM");
  const next = new ServerProcess(Number(new URL(server.url).port), server.database, root);
  await next.start();
  /** The versions of the page and of one of its files. */
  const versions = () =>
    page.evaluate(() => [document.querySelector("main")?.dataset.version, Reflect.get(globalThis, "version")]);
  /** Reloads until the page has a version: a starting server may take longer than the page waits for it. */
  const becomes = (version: string | undefined) =>
    until(
      `the page has the ${version ?? "first"} version`,
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
    await until("only the new version is stored", async () => {
      const { pages = [] } = await stores(page);
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
});

test("keeps pending messages when the browser is killed, and those stored by an older version", async () => {
  const [ann, bob] = [await person("Kill-Ann"), await person("Kill-Bob")];
  const profile = mkdtempSync(join(tmpdir(), "chatify-profile-"));
  directories.push(profile);
  const first = await launchProcess(profile);
  const context = first.browser.contexts()[0] as BrowserContext;
  await addSession(context, ann, server.url);
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
  await server.end("SIGKILL"); // so that nothing is sent
  await write(page, "to be killed");
  await until("the message is stored", async () => {
    const kept = await stores(page);
    return kept["chatify.texts.Kill-Ann/outbox"]?.length === 2 && kept["keys"]?.length === 1;
  });
  await first.kill();
  await server.start();
  const second = await launchProcess(profile);
  try {
    const context = second.browser.contexts()[0] as BrowserContext;
    await addSession(context, ann, server.url); // browsers store cookies only now and then
    const page = await open(context, "Kill-Bob");
    await until("the new message is sent", async () => (await stored(bob, "Kill-Ann")).join() === "to be killed");
    await until("both messages show", async () => {
      const shown = await texts(page);
      return shown.includes("from an older page") && shown.includes("to be killed");
    });
    await page.click("chat-thread .failure .retry");
    await has(bob, "Kill-Ann", "to be killed", "from an older page");
  } finally {
    await second.kill();
  }
});

test("shares pending messages and drafts between tabs, and sends those of a closed tab", async () => {
  const [ann, bob] = [await person("Tab-Ann"), await person("Tab-Bob")];
  const context = await chat.context(ann);
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
  await until("the other tab shows the draft", async () => (await draft(two)) === "half");
  await cutOff(one);
  await two.reload();
  await write(one, "from one");
  await write(two, "from two");
  await one.close({ runBeforeUnload: true });
  await until("the other tab has the message", async () => (await texts(two)).length === 2);
  const three = await context.newPage(); // opens from storage and sends the same messages
  await context.setOffline(false);
  await three.goto(`${server.url}/#Tab-Bob`);
  await has(bob, "Tab-Ann", "from one", "from two");
  await shows(two, "from one", "from two");
  await shows(three, "from one", "from two");
  await until(
    "no pending message is stored",
    async () => (await stores(two))["chatify.texts.Tab-Ann/outbox"] === undefined,
  );
  expect(await stored(bob, "Tab-Ann")).toEqual(["from one", "from two"]);
});

test("erases everything at sign-out, and all but drafts when the session ends elsewhere", async () => {
  for (const elsewhere of [false, true]) {
    const [ann, bob] = [await person(`Leave-Ann-${elsewhere}`), await person(`Leave-Bob-${elsewhere}`)];
    await (await bob.open()).send(ann.name, "secret");
    const context = await chat.context(ann);
    const page = await open(context, bob.name);
    await shows(page, "secret");
    await page.evaluate(() => localStorage.setItem("chatify.language", "en"));
    await page.fill("message-composer textarea", "unfinished secret");
    await storedForOffline(page, ann.name);
    await until(
      "the draft is stored",
      async () => (await stores(page))[`chatify.texts.${ann.name}/unfinished`] !== undefined,
    );
    if (elsewhere) {
      await ann.get("/logout");
    } else {
      await signOut(page);
    }
    await page.waitForURL(`${server.url}/login`);
    const unfinished = elsewhere ? { [`chatify.texts.${ann.name}/unfinished`]: [bob.name.toLowerCase()] } : {};
    await until("only the rest is stored", async () =>
      Bun.deepEquals(await stores(page), { keys: ["chatify.language"], pages: [], ...unfinished }),
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
      await fillForm(page, { username: ann.name, password: PASSWORD });
      await page.click(`conversation-list a[data-name="${bob.name}"]`);
      await until("the draft is there", async () => (await draft(page)) === "unfinished secret");
    }
    await context.close();
  }
});

test("erases the previous user's data when another signs in", async () => {
  const [ann, bob] = [await person("Next-Ann"), await person("Next-Bob")];
  await (await bob.open()).send("Next-Ann", "for Ann only");
  const context = await chat.context(ann);
  const first = await open(context, "Next-Bob");
  await storedForOffline(first, "Next-Ann");
  await cutOff(first);
  await write(first, "unsent");
  await first.close();
  await context.setOffline(false);
  const page = await context.newPage();
  await page.goto(`${server.url}/login`);
  await fillForm(page, { username: "Next-Bob", password: PASSWORD });
  await page.waitForSelector('conversation-list a[data-name="Next-Ann"]');
  await page.click('conversation-list a[data-name="Next-Ann"]');
  await shows(page, "for Ann only"); // Bob wrote it
  await until("nothing of Ann's is stored", async () => !JSON.stringify(await stores(page)).includes("Next-Ann/"));
  expect(JSON.stringify(await stores(page))).not.toContain("chatify.draft.Next-Ann");
  expect(await stored(bob, "Next-Ann")).toEqual(["for Ann only"]);
});

test("shows Greek offline, by the browser's language or by choice, and preloads it only then", async () => {
  const ann = await person("Greek-Ann");
  await person("Greek-Bob");
  for (const locale of ["el-GR", "en-GB"]) {
    const context = await chat.context(ann, { locale });
    let page = await open(context, "Greek-Bob");
    const files = await page.evaluate(() => performance.getEntriesByType("resource").map(({ name }) => name));
    const later = files.findIndex((name) => name.endsWith("/on_demand.json")); // in idle time
    const first = later < 0 ? files : files.slice(0, later);
    expect(first.some((name) => name.endsWith("/translations/el.js"))).toBe(locale === "el-GR");
    if (locale === "en-GB") {
      await pageStored(page);
      await page.click("conversation-list .me");
      await page.click('language-choice button[lang="el"]');
      await until("the page is Greek", async () => (await page.getAttribute("html", "lang")) === "el");
      await page.close();
      page = await open(context, "Greek-Bob");
    }
    await cutOff(page);
    expect(await page.getAttribute("html", "lang")).toBe("el");
    expect(await page.getAttribute("message-composer textarea", "placeholder")).toBe("Μήνυμα");
    const banner = page.locator("connection-banner:visible").first();
    await until("the page shows in Greek that it is offline", async () =>
      /εκτός σύνδεσης/.test(await banner.innerText()),
    );
    await context.close();
  }
});

test("sends two hundred long pending messages in order", async () => {
  const [ann, bob] = [await person("Long-Ann"), await person("Long-Bob")];
  const context = await chat.context(ann);
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
  await until("all messages show", async () => (await texts(again)).length === 200, 15_000);
  expect(await texts(again)).toEqual(wrote);
  await context.setOffline(false);
  await again.reload();
  await until("some are sent", async () => (await stored(bob, "Long-Ann")).length >= 25, 20_000); // five a second at most
  const sent = await stored(bob, "Long-Ann");
  expect(sent).toEqual(wrote.slice(0, sent.length));
});

test("works in a browser without storage, and warns about pending messages", async () => {
  const [ann, bob] = [await person("Bare-Ann"), await person("Bare-Bob")];
  const context = await chat.context(ann);
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
  await until("the page warns", async () =>
    /cannot save/.test(
      await page
        .locator("connection-banner:visible")
        .first()
        .innerText()
        .catch(() => ""),
    ),
  );
  await server.start();
  await has(bob, "Bare-Ann", "hello", "waiting");
});
