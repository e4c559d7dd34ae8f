/** A fair queue of logins when more passwords arrive than can be hashed; a server process without rate limits. */

import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";

import { freePort, migratedDatabase, PASSWORD, post } from "../support/harness.ts";
import { ServerProcess } from "../support/server_process.ts";

setDefaultTimeout(60_000);

const VICTIM = "203.0.113.7";
const TRIES = 20;
const BOUND_MS = 1_500;

let server: ServerProcess;
/** The known-device cookie of the victim's browser. */
let known: string;

beforeAll(async () => {
  server = new ServerProcess(freePort(), await migratedDatabase(), undefined, { TRUST_PROXY: "on" });
  await server.start();
  const form = { username: "victim", password: PASSWORD };
  const answer = await post(`${server.url}/signup`, form, { "x-forwarded-for": VICTIM });
  known = answer.headers.getSetCookie()[1]?.split(";")[0] ?? "";
  expect((await send("/signup", "attacker", { address: VICTIM })).status).toBe(302);
});
afterAll(() => server.end("SIGKILL"));

function send(
  path: "/login" | "/signup",
  username: string,
  { address, password = PASSWORD, cookie = "" }: { address: string; password?: string; cookie?: string },
): Promise<Response> {
  return post(server.url + path, { username, password }, { "x-forwarded-for": address, cookie });
}

/** Signs the victim in again and again while attackers send round after round. @returns the victim's statuses, and the longest wait */
async function underAttack(
  attack: (i: number) => Promise<Response>,
  { atOnce, cookie = "" }: { atOnce: number; cookie?: string },
): Promise<{ statuses: number[]; longestMs: number; attackers: number[] }> {
  const state = { over: false };
  const attackers: number[] = [];
  const attacking = (async () => {
    while (!state.over) {
      const answers = await Promise.all(Array.from({ length: atOnce }, (_, i) => attack(i)));
      attackers.push(...answers.map(({ status }) => status));
    }
  })();
  await Bun.sleep(100);
  const statuses: number[] = [];
  let longestMs = 0;
  for (let i = 0; i < TRIES; i++) {
    const begunAt = performance.now();
    statuses.push((await send("/login", "victim", { address: VICTIM, cookie })).status);
    longestMs = Math.max(longestMs, performance.now() - begunAt);
  }
  state.over = true;
  await attacking;
  console.log(`  ${attackers.length} attackers; the victim waited ${Math.round(longestMs)} ms at most`);
  return { statuses, longestMs, attackers };
}

const ALL_IN = Array.from({ length: TRIES }, () => 302);

test.each([
  ["fifty correct logins at once from one address", 50, () => send("/login", "attacker", { address: "192.0.2.1" })],
  ["fifty correct logins at once from their own address", 50, () => send("/login", "attacker", { address: VICTIM })],
  [
    "fifty wrong passwords at once from one address",
    50,
    () => send("/login", "victim", { address: "192.0.2.1", password: "wrong" }),
  ],
  [
    "fifty sign-ups at once from one address",
    50,
    () => send("/signup", `new-${crypto.randomUUID().slice(0, 20)}`, { address: "192.0.2.1" }),
  ],
  [
    "two hundred addresses of one /48, each a /56 of its own",
    200,
    (i: number) => send("/login", "attacker", { address: `2001:db8:1:${(i * 256).toString(16)}::1` }),
  ],
  [
    "three hundred addresses of one /32, each a /48 of its own",
    300,
    (i: number) => send("/login", "attacker", { address: `2001:db8:${i.toString(16)}::1` }),
  ],
] as const)("lets a user in every time beside %s", async (_, atOnce, attack) => {
  const { statuses, longestMs, attackers } = await underAttack(attack, { atOnce });
  expect(statuses).toEqual(ALL_IN);
  expect(longestMs).toBeLessThan(BOUND_MS);
  expect(attackers).toContain(503); // more arrived than could be hashed
});

const botnet = (i: number) => send("/login", "attacker", { address: `198.51.100.${(i % 30) + 1}` });

test("serves a known device every second turn beside thirty addresses with five logins each", async () => {
  const { statuses, longestMs } = await underAttack(botnet, { atOnce: 150, cookie: known });
  expect(statuses).toEqual(ALL_IN);
  expect(longestMs).toBeLessThan(BOUND_MS);
});

test("serves a new device after one turn of each of thirty addresses", async () => {
  const { statuses } = await underAttack(botnet, { atOnce: 150 });
  expect(statuses).toEqual(ALL_IN);
});
