/** Signing out leaves nothing in the browser, over http and https, while other tabs are in use. */

import { expect, test } from "bun:test";

import type { BrowserContext, Page } from "playwright-core";

import { isCached, scripted, signOut, useBrowser } from "../support/browser.ts";
import { type Person, startApp } from "../support/harness.ts";
import { png } from "../support/images.ts";
import { pageErrors } from "../support/page_errors.ts";
import { until } from "../support/until.ts";

const chat = useBrowser(startApp, { args: ["--host-resolver-rules=MAP chat.test 127.0.0.1"] });

/** Browsers obey `Clear-Site-Data` from localhost, as over https, and ignore it from other hosts over http. */
const HOSTS = ["localhost", "chat.test"];

const open = (context: BrowserContext, url: string, peer: string) => chat.open(context, `/#${peer}`, { url });

/** All that a browser stores of a site, with names and values. */
async function stored(page: Page): Promise<string> {
  return page.evaluate(async () => {
    const all: unknown[] = [{ ...localStorage }, { ...sessionStorage }];
    for (const { name = "" } of await indexedDB.databases()) {
      const database = await new Promise<IDBDatabase>((resolve, reject) => {
        const request = indexedDB.open(name);
        request.addEventListener("success", () => resolve(request.result));
        request.addEventListener("error", () => reject(request.error as Error));
      });
      for (const store of database.objectStoreNames) {
        const objects = database.transaction(store).objectStore(store);
        const got = (request: IDBRequest) =>
          new Promise((resolve) => request.addEventListener("success", () => resolve(request.result)));
        all.push([name, store, await got(objects.getAllKeys()), await got(objects.getAll())]);
      }
      database.close();
    }
    if ("caches" in globalThis) {
      for (const name of await caches.keys()) {
        if ((await (await caches.open(name)).match("/")) !== undefined) all.push([name, "/"]);
      }
    }
    return JSON.stringify(all);
  });
}

/** Sets a user's photo. @returns its version */
async function photoOf({ cookie }: Person): Promise<string> {
  const headers = { cookie, "content-type": "image/png" };
  const answer = await fetch(`${chat.server.url}/me/photo`, {
    method: "POST",
    body: png(60, 60) as Uint8Array<ArrayBuffer>,
    headers,
  });
  return ((await answer.json()) as { photo: string }).photo;
}

const WAYS = [
  ["the address", async (page: Page, url: string) => void (await page.goto(`${url}/logout`))],
  ["the menu", signOut],
] as const;

test.each(HOSTS.flatMap((host) => WAYS.map(([how, leave]) => [host, how, leave] as const)))(
  "leaves no text, name or photo after signing out on %s by %s, though another tab is typing",
  async (host, how, leave) => {
    if (host !== "localhost")
      pageErrors.allow(/^requested http:..chat\.test|Not supported for insecure|header has been ignored/);
    pageErrors.allow(/ERR_CACHE_MISS/);
    const [me, peer] = [`Out-${host.slice(0, 4)}-${how.slice(4)}`, `Peer-${host.slice(0, 4)}-${how.slice(4)}`];
    const [ann, bob] = (await chat.server.people(me, peer)) as [Person, Person];
    await (await bob.open()).send(me, "read secret");
    const photo = `/photos/${peer}?v=${await photoOf(bob)}`;
    const url = chat.server.url.replace("127.0.0.1", host);
    const context = await chat.context(ann, { url });
    const [leaving, other] = [await open(context, url, peer), await open(context, url, peer)];
    await other.waitForSelector("text=read secret");
    await other.waitForSelector("chat-header img.loaded");
    expect(await isCached(other, photo)).toBe(host === "localhost");
    await leaving.fill("message-composer textarea", "unsent secret");
    await until("the draft is stored", async () => (await stored(leaving)).includes("unsent secret"));
    const typing = (async () => {
      for (let i = 0; !other.isClosed() && new URL(other.url()).pathname === "/"; i++) {
        await other.fill("message-composer textarea", `other secret ${i}`, { timeout: 200 }).catch(() => {});
        await Bun.sleep(20);
      }
    })();
    await leave(leaving, url);
    await leaving.waitForURL(`${url}/login`);
    await other.waitForURL(`${url}/login`);
    await typing;
    await Promise.all([scripted(leaving), scripted(other)]);
    const clean = async () => !/secret|out-|peer-|\["chatify-/i.test(await stored(other));
    await until("nothing is left", clean);
    await Bun.sleep(1_000); // a late write would come within this time
    expect(await stored(other)).not.toMatch(/secret|out-|peer-/i);
    expect(await stored(leaving)).not.toMatch(/secret|out-|peer-/i);
    expect(await isCached(leaving, photo)).toBe(false);
  },
);

test("keeps the chosen language after signing out", async () => {
  const ann = await chat.server.person("Out-Greek");
  const page = await chat.open(ann, "/login");
  await page.click('language-choice button[lang="el"]');
  await until("the page is Greek", async () => (await page.getAttribute("html", "lang")) === "el");
  for (const _ of [1, 2]) {
    await page.goto(`${chat.url}/logout`);
    await scripted(page);
    expect(await page.getAttribute("html", "lang")).toBe("el");
  }
});
