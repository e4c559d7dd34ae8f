/** Load as an attack: a flood of messages and a storm of logins, against a server in a process of its own, while others chat on. */

import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import type { Flood } from "../support/flood.ts";
import { freePort, migratedDatabase, PASSWORD, Person, post, ROOT, type Tab } from "../support/harness.ts";
import type { Storm } from "../support/storm.ts";

setDefaultTimeout(60_000);

const MIB = 1024 * 1024;
/** Of one argon2id hash. */
const HASH_BYTES = 19 * MIB;
/** What 200 requests, their answers and a lazy collector take besides; a hash more than two is not the only thing that grows. */
const SLACK_BYTES = 60 * MIB;
/** People who chat on, each well within their limit. */
const PEOPLE = 12;
const EVERY_MS = 300;

let server: Bun.Subprocess;
let url: string;
let tabs: Tab[];

beforeAll(async () => {
  const port = freePort();
  url = `http://127.0.0.1:${port}`;
  server = Bun.spawn([process.execPath, join(ROOT, "src", "main.ts")], {
    env: {
      ...process.env,
      PORT: String(port),
      HOST: "127.0.0.1",
      DATABASE_URL: await migratedDatabase(),
      RATE_LIMIT: "on",
      TRUST_PROXY: "on", // so that a test can come from many addresses
      LOG_LEVEL: "error",
    },
    stdio: ["ignore", "ignore", "inherit"],
  });
  const isReady = () =>
    fetch(`${url}/readyz`).then(
      ({ ok }) => ok,
      () => false,
    );
  for (let i = 0; !(await isReady()); i++) {
    if (i === 500) throw new Error("the server did not become ready");
    await Bun.sleep(20);
  }
  const names = Array.from({ length: PEOPLE }, (_, i) => `chatter${i}`);
  const people: Person[] = [];
  for (const name of names) people.push(await Person.signUp(url, name));
  tabs = await Promise.all(people.map((person) => person.open({ watch: [] })));
});

afterAll(async () => {
  server?.kill("SIGKILL");
  await server?.exited;
});

/** Milliseconds from send to ack, of everybody who chats on until `until` is there, sorted. */
async function acks(until: Promise<unknown>): Promise<number[]> {
  const state = { over: false };
  const ending = until.then(() => (state.over = true));
  const took: number[] = [];
  const chat = async (tab: Tab, i: number) => {
    await Bun.sleep((i / PEOPLE) * EVERY_MS);
    while (!state.over) {
      const sentAt = performance.now();
      await tab.send(`chatter${(i + 1) % PEOPLE}`, "still here");
      took.push(performance.now() - sentAt);
      await Bun.sleep(EVERY_MS);
    }
  };
  await Promise.all([ending, ...tabs.map(chat)]);
  return took.toSorted((a, b) => a - b);
}

const at = (sorted: readonly number[], share: number) => sorted[Math.floor((sorted.length - 1) * share)] ?? 0;

/** Others notice little: twice the time, and some for a machine that does other things beside: hashes alone take both of two cores. */
function expectUndisturbed(what: string, before: readonly number[], during: readonly number[]): void {
  const figures = [before, during].map(
    (ms) => `p50 ${at(ms, 0.5).toFixed(1)}, p99 ${at(ms, 0.99).toFixed(1)} ms of ${ms.length}`,
  );
  console.log(`  acks of the others: before ${figures[0]}; during ${what} ${figures[1]}`);
  expect(during.length).toBeGreaterThan(20);
  expect(at(during, 0.5)).toBeLessThan(2 * at(before, 0.5) + 50);
  expect(at(during, 0.99)).toBeLessThan(2 * at(before, 0.99) + 500);
}

/** The most memory a process had since `forgetPeak`. */
function peakBytes(pid: number): number {
  return Number(/VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]) * 1024;
}

function forgetPeak(pid: number): void {
  writeFileSync(`/proc/${pid}/clear_refs`, "5");
}

test("load of 10,000 messages a second from one user is rejected, then closed with 1008 each time, while others chat on", async () => {
  const flooder = await Person.signUp(url, "flooder");
  const before = await acks(Bun.sleep(2_500));
  const child = Bun.spawn([process.execPath, join(import.meta.dir, "../support/flood.ts")], {
    env: {
      ...process.env,
      FLOOD_URL: `${url.replace("http", "ws")}/ws/flooder`,
      FLOOD_COOKIE: flooder.cookie,
      FLOOD_TO: "chatter0",
      FLOOD_MS: "4000",
    },
    stdout: "pipe",
  });
  const begunAt = performance.now();
  const saying = new Response(child.stdout).text();
  const during = await acks(child.exited);
  const flood = JSON.parse(await saying) as Flood;
  console.log(`  flood: ${JSON.stringify(flood)}`);
  expect(Object.keys(flood.closed)).toEqual(["1008"]);
  expect(Object.keys(flood.refused)).toEqual(["rate_limited"]);
  const { [1008]: closed = 0 } = flood.closed;
  expect(closed).toBeGreaterThan(0);
  expect(flood.refused["rate_limited"]).toBeGreaterThanOrEqual(10 * closed);
  expect(flood.refused["rate_limited"]).toBeLessThanOrEqual(10 * flood.sockets);
  const stored = await flooder.json<unknown[]>("/messages/flooder/chatter0?peek=1");
  expect(stored.length).toBeGreaterThanOrEqual(20);
  expect(stored.length).toBeLessThanOrEqual(20 + 5 * ((performance.now() - begunAt) / 1_000)); // the burst, and five a second
  expectUndisturbed("the flood", before, during);
});

test("load of 200 concurrent logins hashes two at a time and answers 503 to the rest, while others chat on in bounded memory", async () => {
  await post(`${url}/login`, { username: "chatter0", password: PASSWORD });
  const before = await acks(Bun.sleep(2_500));
  forgetPeak(server.pid);
  const base = peakBytes(server.pid);
  const child = Bun.spawn([process.execPath, join(import.meta.dir, "../support/storm.ts")], {
    env: { ...process.env, STORM_URL: `${url}/login`, STORM_NAMES: String(PEOPLE) },
    stdout: "pipe",
  });
  const saying = new Response(child.stdout).text();
  const during = await acks(child.exited);
  const grown = peakBytes(server.pid) - base;
  const { statuses, leastWait } = JSON.parse(await saying) as Storm;
  console.log(`  logins: ${JSON.stringify(statuses)}; memory grew by ${(grown / MIB).toFixed(1)} MiB`);
  const { [401]: wrong = 0, [503]: busy = 0 } = statuses;
  expect(wrong + busy).toBe(600);
  expect(wrong).toBeGreaterThanOrEqual(34);
  expect(busy).toBeGreaterThan(100);
  expect(leastWait).toBeGreaterThan(0);
  expect(grown).toBeLessThan(2 * HASH_BYTES + SLACK_BYTES);
  expectUndisturbed("the storm", before, during);
});
