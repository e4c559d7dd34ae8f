/**
 * Three users with two pages each, on two pods, edit, delete, react, reply, forward and search at once, while a pod is killed and a page
 * is offline for a minute. In the end, every page and the database show the same. `ACTING_SEED=number` repeats a run.
 */

import { expect, test } from "bun:test";

import type { Page } from "playwright-core";

import { connect } from "../../src/db/client.ts";
import { FaultProxy } from "../../tools/chaos/fault_proxy.ts";
import { Random } from "../../tools/chaos/random.ts";
import { randomSeed } from "../../tools/support/options.ts";
import { goToPeer, peerOnScreen, useBrowser, write } from "../support/browser.ts";
import { freePort, Person } from "../support/harness.ts";
import { MENU } from "../support/message_menu.ts";
import { pageErrors } from "../support/page_errors.ts";
import { ServerProcess, startServerProcess } from "../support/server_process.ts";
import { shownMessages, storedMessages } from "../support/shown_messages.ts";
import { until } from "../support/until.ts";

const NAMES = ["Ann", "Bob", "Zoe"] as const;
const ROUNDS = 24;
const OFFLINE_MS = 60_000;
/** In rounds. */
const [KILLED_AT, RESTARTED_AT, OFFLINE_AT] = [6, 14, 9];
const SEARCH = "conversation-list input[type=search]";
const FIND = ".find-bar input";
const SEARCH_NOTES = "conversation-list :is(.note, .hits-note, .more-hits):visible";
const EMOJI = ["👍", "❤️", "😂"];

const seed = Number(Bun.env["ACTING_SEED"] ?? randomSeed());

/** Two pods behind one address, as behind a load balancer. */
const chat = useBrowser(async () => {
  const one = await startServerProcess();
  const two = new ServerProcess(freePort(), one.database);
  await two.start();
  const pods = [one, two] as const;
  const live = new Set<ServerProcess>(pods);
  let connections = 0;
  const proxy = new FaultProxy(() => {
    const open = [...live];
    const pod = open[connections++ % open.length];
    return pod && { hostname: "127.0.0.1", port: Number(new URL(pod.url).port) };
  });
  const stop = async () => {
    proxy.close();
    await Promise.all(pods.map((pod) => pod.stop()));
  };
  return { url: `http://localhost:${proxy.port}`, pods, live, database: one.database, stop };
});

/** A device of a user, with random choices of its own, so that a seed repeats them however the devices interleave. */
interface Device {
  readonly me: string;
  readonly page: Page;
  readonly random: Random;
  isOffline: boolean;
}

const done = new Map<string, number>();
let written = 0;
let stored = 0;

/** The rendered messages that are stored and not deleted: the user's own, or all. */
const seqsOn = (page: Page, which: "mine" | "all") =>
  page.evaluate(
    (selector) =>
      [...document.querySelectorAll<HTMLElement>(selector)]
        .filter(({ dataset, classList }) => Number(dataset["seq"]) > 0 && !classList.contains("deleted"))
        .map(({ dataset }) => Number(dataset["seq"])),
    which === "mine" ? ".message.mine" : ".message",
  );

/** Opens the menu of a message and chooses an item, unless another user has deleted the message. */
async function choose(page: Page, seq: number, item: RegExp): Promise<boolean> {
  const row = page.locator(`.message[data-seq="${seq}"]`);
  const isDeleted = async () => (await row.count()) === 0 || (await row.getAttribute("class"))!.includes("deleted");
  await page.evaluate(
    (to) => document.querySelector(`.message[data-seq="${to}"]`)?.scrollIntoView({ block: "center" }),
    seq,
  );
  let isChosen = false;
  let reason: unknown;
  const attempt = async () => {
    if (await isDeleted()) return true;
    try {
      if (!(await page.isVisible(MENU))) await row.locator(".text").click({ button: "right", timeout: 1_000 });
      await page.locator(`${MENU} button`, { hasText: item }).first().click({ timeout: 1_000, force: true });
      isChosen = true;
    } catch (error) {
      reason = error; // the message moved and another one's menu opened, or the script was still loading
      if (await page.isVisible(MENU)) await page.keyboard.press("Escape");
      await page.mouse.move(0, 0); // off a toast, which would stay
    }
    return isChosen;
  };
  await until(`${item} is chosen for message ${seq}`, attempt, 20_000).catch((error: Error) => {
    throw new Error(`${error.message}; the last attempt: ${String(reason)}`);
  });
  return isChosen;
}

/** Chooses to reply or edit. Returns whether the composer refers to the message: another page may delete it at that moment. */
async function refer(page: Page, seq: number, item: RegExp): Promise<boolean> {
  if (!(await choose(page, seq, item))) return false;
  const isDeleted = () => page.locator(`.message.deleted[data-seq="${seq}"]`).isVisible();
  await until(`${item} refers to ${seq}`, async () => (await page.isVisible(".reference")) || isDeleted());
  return page.isVisible(".reference");
}

const ACTS: Record<string, (device: Device) => Promise<boolean>> = {
  async write({ me, page }) {
    await write(page, `${me} ${++written}`);
    stored++;
    return true;
  },
  async reply({ me, page, random }) {
    const seqs = await seqsOn(page, "all");
    if (seqs.length === 0 || !(await refer(page, random.pick(seqs), /^Reply$/))) return false;
    await write(page, `${me} replies ${++written}`);
    stored++;
    return true;
  },
  async edit({ me, page, random }) {
    const seqs = await seqsOn(page, "mine");
    if (seqs.length === 0 || !(await refer(page, random.pick(seqs), /^Edit$/))) return false;
    await write(page, `${me} edits ${++written}`);
    return true;
  },
  async delete({ page, random }) {
    const seqs = await seqsOn(page, "mine");
    if (seqs.length === 0 || !(await choose(page, random.pick(seqs), /^Delete$/))) return false;
    await page.waitForSelector(".toast button");
    if (random.next() < 0.4) await page.click(".toast button", { timeout: 1_000 }).catch(() => {}); // unless the toast has closed
    return true;
  },
  async react({ page, random }) {
    const seqs = await seqsOn(page, "all");
    return seqs.length > 0 && choose(page, random.pick(seqs), new RegExp(`^${random.pick(EMOJI)}$`));
  },
  async forward({ me, page, random, isOffline }) {
    const seqs = await seqsOn(page, "all");
    if (seqs.length === 0 || !(await choose(page, random.pick(seqs), /^Forward$/))) return false;
    const to = random.shuffled(NAMES.filter((name) => name !== me)).slice(0, 1 + random.below(2));
    await page.waitForSelector(".forward-dialog[open]");
    const chosen: string[] = [];
    for (const name of to) {
      const label = page.locator(".forward-dialog label", { hasText: name });
      // Finding a user without a conversation needs the server.
      if ((await label.count()) === 0 && !isOffline) await page.fill(".forward-dialog input[type=search]", name);
      const isListed = await label.waitFor({ timeout: 5_000 }).then(
        () => true,
        () => false,
      );
      if (isListed) chosen.push(name);
      if (isListed) await label.click();
    }
    if (chosen.length === 0) {
      await page.keyboard.press("Escape");
      await page.waitForSelector(".forward-dialog", { state: "detached" });
      return false;
    }
    await page.click(".forward-dialog .primary");
    await page.waitForSelector(".forward-dialog", { state: "detached" });
    // Nothing is sent if the message was deleted meanwhile.
    if ((await page.locator(".toast").last().textContent())!.startsWith("Forwarded")) stored += chosen.length;
    return true;
  },
  async search({ me, page, random, isOffline }) {
    if (isOffline) return false;
    await page.fill(SEARCH, random.pick([`${me} `, "replies", "edits"]));
    const hits = page.locator(".hit:visible");
    await until("the search has ended", async () => (await hits.or(page.locator(SEARCH_NOTES)).count()) > 0);
    const seqs = await hits.evaluateAll((links) => links.map((link) => (link as HTMLElement).dataset["seq"]!));
    if (seqs.length > 0) {
      const at = random.below(seqs.length);
      const peer = (await hits.nth(at).getAttribute("data-peer"))!;
      await hits.nth(at).click();
      await page.locator(`.message[data-seq="${seqs[at]}"]`).waitFor();
      expect(await peerOnScreen(page)).toBe(peer);
    }
    await page.fill(SEARCH, "");
    return seqs.length > 0;
  },
  /** Within the open conversation. */
  async find({ page, random, isOffline }) {
    if (isOffline) return false;
    await page.keyboard.press("Control+Shift+F");
    await page.fill(FIND, random.pick(["edits", "replies"]));
    const count = page.locator(".find-bar .count");
    await until("the search has ended", async () => !/^(Searching|$)/.test(await count.innerText()));
    const isFound = /^\d/.test(await count.innerText());
    for (let i = random.below(3); i > 0; i--) await page.press(FIND, "ArrowUp");
    await page.press(FIND, "Escape");
    await page.waitForSelector(FIND, { state: "detached" });
    return isFound;
  },
  async open({ me, page, random }) {
    await goToPeer(page, random.pick(NAMES.filter((name) => name !== me)));
    await page.waitForSelector("textarea:visible");
    return true;
  },
};
const LIKELY = [
  "write",
  "write",
  "write",
  "reply",
  "reply",
  "edit",
  "edit",
  "delete",
  "react",
  "react",
  "forward",
  "search",
  "find",
  "open",
];

async function act(device: Device): Promise<void> {
  const name = device.random.pick(LIKELY);
  const isDone = await ACTS[name]!(device);
  if (isDone) done.set(name, (done.get(name) ?? 0) + 1);
  // Left open by an act whose message was deleted meanwhile.
  if (await device.page.isVisible(".reference")) await device.page.press("textarea", "Escape");
}

async function setOffline(device: Device, isOffline: boolean): Promise<void> {
  device.isOffline = isOffline;
  await device.page.context().setOffline(isOffline);
  await device.page.evaluate((off) => {
    const saved = globalThis as unknown as { send?: typeof WebSocket.prototype.send };
    saved.send ??= WebSocket.prototype.send;
    // An open socket outlives the network until its probe times out.
    WebSocket.prototype.send = off
      ? function (this: WebSocket) {
          this.close();
        }
      : saved.send;
    dispatchEvent(new Event(off ? "offline" : "online"));
  }, isOffline);
}

test("all pages and the database end the same", async () => {
  pageErrors.allow(/status of (500|502|503|404)/);
  process.stdout.write(`ACTING_SEED=${seed}\n`);
  const people = await Promise.all(NAMES.map((name) => Person.signUp(chat.url, name)));
  const devices: Device[] = [];
  for (const person of people)
    for (const peer of NAMES.filter((name) => name !== person.name))
      devices.push({
        me: person.name,
        page: await chat.open(person, `/#${peer}`),
        random: new Random(seed + devices.length),
        isOffline: false,
      });
  for (const { page } of devices) page.setDefaultTimeout(15_000);

  const [killed] = chat.server.pods;
  const offline = new Random(seed).pick(devices);
  let back: Promise<void> | undefined;
  for (let round = 0; round < ROUNDS; round++) {
    if (round === KILLED_AT) {
      chat.server.live.delete(killed);
      await killed.end("SIGKILL");
    }
    if (round === RESTARTED_AT) {
      await killed.start();
      chat.server.live.add(killed);
    }
    if (round === OFFLINE_AT) {
      await setOffline(offline, true);
      back = Bun.sleep(OFFLINE_MS).then(() => setOffline(offline, false));
    }
    await Promise.all(devices.map(act));
  }
  await back;
  process.stdout.write(`${JSON.stringify(Object.fromEntries(done))}, ${stored} messages\n`);
  for (const name of Object.keys(ACTS)) expect([name, done.get(name) ?? 0]).not.toEqual([name, 0]);

  for (const { page } of devices)
    await until(
      "nothing waits",
      async () => (await page.locator(".message.waiting, .toast button").count()) === 0,
      60_000,
    );
  await using disposers = new AsyncDisposableStack();
  const sql = disposers.adopt(connect(chat.server.database, { name: "test", max: 1 }), (client) => client.end());
  const count = async () => (await sql<[{ n: number }]>`select count(*)::int as n from messages`)[0].n;
  await until(`${stored} messages are stored`, async () => (await count()) >= stored, 60_000);
  expect(await count()).toBe(stored);
  for (const { me, page } of devices)
    for (const peer of NAMES.filter((name) => name !== me)) {
      await goToPeer(page, peer);
      await until(`${me} sees ${peer}`, async () => (await peerOnScreen(page)) === peer);
      // Older messages are rendered when the user scrolls to them.
      await until(`${me} has scrolled to the first message`, async () => {
        await page.locator(".scroller").evaluate((each) => each.scrollTo(0, 0));
        return (await page.locator('.message[data-seq="1"]').count()) > 0;
      });
      const same = async () => Bun.deepEquals(await shownMessages(page), await storedMessages(sql, me, peer));
      await until(`${me} and the database agree on ${peer}`, same, 30_000).catch(() => {});
      expect({ me, peer, shown: await shownMessages(page) }).toEqual({
        me,
        peer,
        shown: await storedMessages(sql, me, peer),
      });
      expect(await page.locator("chat-thread .failure").count()).toBe(0);
    }
}, 400_000);
