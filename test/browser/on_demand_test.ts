/** Files that the page loads on demand: fetched in idle time, so that their first use works offline, and again after a failure. */

import { expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";

import type { Page } from "playwright-core";

import { fetchedOnDemandFiles, hold, shows, useBrowser } from "../support/browser.ts";
import { type Person, ROOT } from "../support/harness.ts";
import { choose, MENU, openMenu, row } from "../support/message_menu.ts";
import { until } from "../support/until.ts";

setDefaultTimeout(60_000);

const chat = useBrowser();

async function talk(first: string, second: string, workers: "allow" | "block"): Promise<[Page, Person]> {
  const [ann, bob] = (await chat.server.people(first, second)) as [Person, Person];
  const [a, b] = [await ann.open({ watch: [] }), await bob.open({ watch: [] })];
  await a.send(second, "mine");
  await b.send(first, "yours");
  const page = await chat.open(ann, `/#${second}`, { serviceWorkers: workers });
  await shows(page, "mine", "yours");
  return [page, bob];
}

/** The paths below `static/` that the chat page's sources import on demand, load as styles, or use as icons and data. */
async function onDemandInSources(): Promise<string[]> {
  const transpiler = new Bun.Transpiler({ loader: "js" });
  const found = new Set<string>();
  const seen = new Set<string>();
  const read = async (path: string): Promise<void> => {
    if (seen.has(path)) return;
    seen.add(path);
    const text = await Bun.file(join(ROOT, "static", path)).text();
    for (const [, name] of text.matchAll(/loadStyle\("([^"]+)"\)/g)) found.add(`css/${name}`);
    for (const [, name] of text.matchAll(/fileUrl\("([^"]+\.(?:svg|json|css))"\)/g)) found.add(name!);
    for (const { kind, path: to } of transpiler.scanImports(text)) {
      const imported = join(path, "..", to);
      if (kind === "dynamic-import") found.add(imported);
      await read(imported);
    }
  };
  await read("js/chat.js");
  return [...found].toSorted();
}

test.each(["allow", "block"] as const)(
  "has all files that it loads on demand when the network fails (service workers: %s)",
  async (workers) => {
    const [page] = await talk(`all-ann-${workers}`, `all-bob-${workers}`, workers);
    await fetchedOnDemandFiles(page);
    const files = await onDemandInSources();
    expect(files).toContain("js/elements/forwarding.js");
    expect(files).toContain("css/dialogs.css");
    expect(files.length).toBeGreaterThan(12);
    await page.context().setOffline(true);
    const missing = await page.evaluate(async (paths) => {
      const script = document.querySelector<HTMLScriptElement>('script[src$="/js/chat.js"]')!.src;
      const load = async (path: string) => {
        const url = script.replace("js/chat.js", path);
        return path.endsWith(".js") ? import(url) : fetch(url);
      };
      const failed: string[] = [];
      for (const path of paths) await load(path).catch(() => failed.push(path));
      return failed;
    }, files);
    expect(missing).toEqual([]);
  },
);

test.each([true, false])("fetches no files in idle time while the browser saves data: %p", async (saveData) => {
  const [ann] = (await chat.server.people(`data-ann-${saveData}`)) as [Person];
  const page = await chat.page(ann, { serviceWorkers: "allow" });
  await page.addInitScript((value) => {
    Object.defineProperty(navigator, "connection", { value: { saveData: value } });
  }, saveData);
  let isListed = false;
  page.on("request", (request) => (isListed ||= request.url().endsWith("/js/on_demand.json")));
  await page.goto(chat.url);
  // The page is stored after the files would have been fetched.
  const isStored = () => page.evaluate(async () => (await caches.match("/", { ignoreVary: true })) !== undefined);
  await until("the page is stored for offline use", isStored, 20_000);
  expect(isListed).toBe(!saveData);
});

test("stores the page again at the next connection, if files failed to load", async () => {
  const [ann] = (await chat.server.people("again-ann")) as [Person];
  const page = await chat.page(ann, { serviceWorkers: "allow" });
  let cut = () => {};
  await page.routeWebSocket(/\/ws\//, (socket) => {
    const server = socket.connectToServer();
    cut = () => void server.close().then(() => socket.close({ code: 1001 }));
  });
  let lists = 0;
  await page.route("**/js/on_demand.json", (route) =>
    ++lists === 1 ? route.abort("internetdisconnected") : route.continue(),
  );
  await page.goto(chat.url);
  const isStored = () => page.evaluate(async () => (await caches.match("/", { ignoreVary: true })) !== undefined);
  await until("the page is stored without the files", isStored, 20_000);
  expect(lists).toBe(1);
  await page.evaluate(async () => {
    for (const name of await caches.keys()) await caches.delete(name);
  });
  cut();
  await until("the page is stored again", isStored, 20_000);
  await fetchedOnDemandFiles(page);
});

test.each(["allow", "block"] as const)("acts offline on first use (service workers: %s)", async (workers) => {
  const [page, bob] = await talk(`off-ann-${workers}`, `off-bob-${workers}`, workers);
  const me = `off-ann-${workers}`;
  await fetchedOnDemandFiles(page);
  await page.context().setOffline(true);

  await choose(page, "yours", "👍");
  await page.waitForSelector(".reaction");
  await choose(page, "yours", "Reply");
  await page.fill("message-composer textarea", "a reply");
  await page.press("message-composer textarea", "Enter");
  await shows(page, "mine", "yours", "a reply");
  await choose(page, "yours", "Forward");
  await page.locator(".forward-dialog label", { hasText: bob.name }).click();
  await page.click(".forward-dialog .primary");
  await shows(page, "mine", "yours", "a reply", "yours");
  await choose(page, "mine", "Select");
  await page.click(".selection-bar .delete");
  await page.click("dialog.question .confirm");
  await until(
    "it is deleted",
    async () => (await page.locator(".message.deleted, .message:has-text('Message deleted')").count()) === 1,
  );

  const entry = page.locator(`.conversations .entry[data-name="${bob.name}"]`);
  await entry.click({ button: "right" });
  await page.locator(`${MENU} [role=menuitem]`, { hasText: "Pin" }).waitFor();
  await page.keyboard.press("Escape");
  await page.click("conversation-list .me");
  await page.click("#menu .keys");
  await page.waitForSelector("dialog[open]");
  await page.keyboard.press("Escape");
  await page.click("conversation-list .me");
  await page.click('language-choice button[lang="el"]');
  await page.locator("#menu .keys", { hasText: /[Α-ω]/ }).waitFor();

  await page.context().setOffline(false);
  await until(
    "the other user has all of it",
    async () => {
      const rows = await bob.json<{ content: string; reactions?: unknown[] }[]>(`/messages/${bob.name}/${me}?peek=1`);
      return rows.map(({ content }) => content).join() === ",yours,a reply,yours";
    },
    30_000,
  );
});

test("acts on messages once the network recovers, if files failed to load", async () => {
  const [ann, bob] = (await chat.server.people("late-ann", "late-bob")) as [Person, Person];
  await (await bob.open({ watch: [] })).send("late-ann", "yours");
  const page = await chat.page(ann, { serviceWorkers: "block" });
  const cutOff = new Set<string>();
  await page.route("**/js/on_demand.json", (route) => route.abort("internetdisconnected"));
  await page.goto(`${chat.url}/#late-bob`);
  await shows(page, "yours");
  await page.route(/\/static\/.*\.(?:js|css|svg)$/, (route) => {
    cutOff.add(new URL(route.request().url()).pathname);
    return route.abort("internetdisconnected");
  });
  await row(page, "yours").hover();
  await page.locator(".conversations .entry").first().click({ button: "right" });
  await until("both were tried", () => cutOff.size > 1);
  await page.unrouteAll();
  await page.mouse.move(0, 0);
  await openMenu(page, "yours");
  await page.locator(`${MENU} button`, { hasText: "Forward" }).click();
  await page.waitForSelector(".forward-dialog[open]");
  expect(await page.locator(".forward-dialog").evaluate((each) => getComputedStyle(each).borderRadius)).not.toBe("0px");
});

test("acts on messages once the network recovers, if only shared code failed to load", async () => {
  const [ann, bob] = (await chat.server.people("part-ann", "part-bob")) as [Person, Person];
  const tab = await bob.open({ watch: [] });
  await tab.send("part-ann", "yours");
  const page = await chat.page(ann, { serviceWorkers: "block" });
  const cutOff = new Set<string>();
  await page.route("**/js/on_demand.json", (route) => route.abort("internetdisconnected"));
  await page.route(/\/js\/chat-\w+\.js$/, (route) => {
    cutOff.add(new URL(route.request().url()).pathname);
    return route.abort("internetdisconnected");
  });
  await page.goto(`${chat.url}/#part-bob`);
  await shows(page, "yours");
  await row(page, "yours").hover();
  await until("shared code was requested", () => cutOff.size > 0);
  await page.unrouteAll();
  tab.say({ type: "react", peer: "part-ann", seq: 1, emoji: "👍", ref: "react-after-loss" });
  await page.waitForSelector(".reaction");
  await page.mouse.move(0, 0);
  await openMenu(page, "yours");
});

test("shows reactions in the conversation that is open when their module has loaded", async () => {
  const [ann, bob, carol] = (await chat.server.people("two-ann", "two-bob", "two-carol")) as [Person, Person, Person];
  const a = await ann.open({ watch: [] });
  for (const peer of [bob, carol]) {
    await (await peer.open({ watch: [] })).send("two-ann", "yours");
    a.say({ type: "react", peer: peer.name, seq: 1, emoji: "👍", ref: `react-to-${peer.name}` });
    await a.next("changed");
  }
  const page = await chat.page(ann, { serviceWorkers: "block" });
  const release = await hold(page, /message_extras\.js$/);
  const requested = page.waitForRequest(/message_extras\.js$/);
  await page.goto(`${chat.url}/#two-bob`);
  await requested;
  await page.click('.conversations .entry[data-name="two-carol"]');
  await until("it is open", () => page.url().endsWith("#two-carol"));
  await shows(page, "yours");
  release();
  await page.waitForSelector(".reaction");
});

test("styles what is open once a style that failed has loaded", async () => {
  const [ann, bob] = (await chat.server.people("style-ann", "style-bob")) as [Person, Person];
  await (await bob.open({ watch: [] })).send("style-ann", "yours");
  const page = await chat.page(ann, { serviceWorkers: "block" });
  const failed = new Set<string>();
  await page.route(/\/css\/(?:actions|dialogs)\.css$/, (route) => {
    const url = route.request().url();
    if (failed.has(url) || route.request().resourceType() === "fetch") return route.continue();
    failed.add(url);
    return route.abort("internetdisconnected");
  });
  await page.goto(`${chat.url}/#style-bob`);
  await choose(page, "yours", "Forward");
  await page.waitForSelector(".forward-dialog[open]");
  expect(failed.size).toBe(2);
  const corners = () => page.locator(".forward-dialog").evaluate((each) => getComputedStyle(each).borderRadius);
  await until("the dialog has its style", async () => (await corners()) !== "0px");
});
