/** The run: people, a server, rounds of frames and requests, the same in small against a server with its limits on, and the checks. */

import { existsSync, readdirSync } from "node:fs";

import { COOKIE, sign } from "../../src/accounts/session_cookie.ts";
import { type Parts, paths } from "../../src/http/router.ts";
import { Problems } from "../bench/load/audit.ts";
import type { Random } from "../chaos/random.ts";
import type { TestDatabase } from "../support/database.ts";
import type { Progress } from "../support/progress.ts";
import { Report, show as figure } from "../support/report.ts";
import type { Sandbox } from "../support/sandbox.ts";
import type { ServerProcess } from "../support/server_process.ts";
import { rssBytes } from "../support/usage.ts";
import { cookieOf, nameOf, SESSION_SECRET } from "../support/users.ts";
import { type FrameCounts, frameCounts, FrameFuzzer } from "./frame_fuzzer.ts";
import { Observers } from "./observers.ts";
import type { Options } from "./options.ts";
import { Oracle } from "./oracle.ts";
import { type RequestCounts, requestCounts, RequestFuzzer } from "./request_fuzzer.ts";
import type { Identity, Target } from "./requests.ts";

const ROUTES = Object.keys(paths({} as Parts)); // nothing of it is called
const CANARIES = [
  [0, 1],
  [2, 3],
] as const;
const FUZZING_USERS = [10, 11, 12, 13, 14, 15, 16, 17];
const LIMITED_USERS = [30, 31, 32, 33];
const ME = 20;
const PEER = 21;
const SPARE_OWNER = 22;
/** Gets full lists of who is online. */
const LISTED = 23;
const PEOPLE = 40;
const CONNECTIONS = 16;
const LIMITED_CONNECTIONS = 4;
const SPARE_SESSIONS = 5_000;
/** Each a part of the frames and requests: memory is measured after each. */
const ROUNDS = 5;
/** Identity asks has no password, and no second session. */
const REFUSED = new Set(["POST /me/password", "POST /me/delete", "POST /sessions/:id/end"]);
/** With fewer frames and requests chance may leave something out. */
const MUCH = 10_000;
/** After so many of them memory has no more reason to grow. */
const WARM_ROUNDS = 2;
/** They have passwords, which nobody else here has. */
const MEMBERS = ["Ζωή", "Алёна", "山田たろう"];
const PASSWORD = "correct horse battery";

/** What the server may grow by after the warm rounds: without a leak it grew by less than half of that. */
const GROWTH_MAX_BYTES = 32 * 2 ** 20;
/** What canary people may wait for an ack while everything is kept busy, be the machine as loaded as it may: about 50 ms on two idle cores. */
const CANARY_ACK_MS = 3_000;

/** About how long each part takes. */
export function plan({ frames, requests }: Options): { name: string; seconds: number }[] {
  return [
    { name: "hostile frames and requests", seconds: 3 + frames / 8_000 + requests / 2_500 },
    { name: "the same with limits on", seconds: 4 },
    { name: "what is left behind", seconds: 2 },
  ];
}

export async function fuzz(options: Options, sandbox: Sandbox, progress: Progress): Promise<Report> {
  const report = new Report();
  const oracle = new Oracle();
  const [frames, requests] = [frameCounts(), requestCounts()];
  progress.part();
  const database = await sandbox.database(PEOPLE);
  await prepare(database);
  const settings = { database, env: { LOG_LEVEL: "error" } };
  const pods = [await sandbox.serve(settings), await sandbox.serve(settings)] as const;
  await signUp(pods[0]);
  const peers = [...MEMBERS, ...FUZZING_USERS.map(nameOf)];
  const endpoints = await endpointsOf(pods[0]);
  await oracle.open(database.url);

  const stage = { options, oracle, peers, frames, requests, report };
  const memory = await free(stage, { sandbox, database, pods, progress });
  progress.part();
  const limited = await limit(stage, { sandbox, database, progress });
  progress.part();
  progress.step("auditing the tables");
  report.check(
    "tables",
    "every row was told to somebody, and nothing else has changed",
    await oracle.audit(database.url),
  );
  if (options.requests >= MUCH && options.frames >= MUCH)
    report.check("coverage", "every route and type of frame, taken and refused", uncovered({ ...stage, endpoints }));
  report.check("servers", "none complained", await sandbox.clear());
  figures(report, { frames, requests, oracle, memory, limited });
  return report;
}

interface Stage {
  readonly options: Options;
  readonly oracle: Oracle;
  readonly peers: readonly string[];
  readonly frames: FrameCounts;
  readonly requests: RequestCounts;
  readonly report: Report;
}

/** A conversation to page through, and sessions to lose. */
async function prepare(database: TestDatabase): Promise<void> {
  await database.addConversations([[ME, PEER]], 300, 50);
  await database.sql`update users set is_admin = true where username = ${nameOf(ME)}`; // who may invite
  await database.sql`
    insert into sessions (user_id, token, expires_at)
    select u.id, encode(sha256(convert_to('spare-' || i, 'UTF8')), 'hex'), now() + interval '1 day'
    from users u, generate_series(0, ${SPARE_SESSIONS}::int - 1) i
    where u.username = ${nameOf(SPARE_OWNER)}
  `;
}

async function signUp({ port }: ServerProcess): Promise<void> {
  for (const username of MEMBERS) {
    const body = new URLSearchParams({ username, password: PASSWORD });
    const answer = await fetch(`http://127.0.0.1:${port}/signup`, { method: "POST", body, redirect: "manual" });
    if (answer.status !== 302)
      throw new Error(`${username} could not sign up: ${answer.status} ${await answer.text()}`);
  }
}

/** Every route with each of its methods, as the 405 tells them: `POST /login`. */
async function endpointsOf({ port }: ServerProcess): Promise<string[]> {
  const endpoints = ROUTES.map(async (route) => {
    const path = route.replace(/:\w+|\*/g, "x");
    const answer = await fetch(`http://127.0.0.1:${port}${path}`, { method: "DELETE" });
    const methods = answer.headers.get("allow")?.split(", ") ?? [];
    if (methods.length === 0) throw new Error(`${route} does not say what it takes: ${answer.status}`);
    return methods.filter((method) => method !== "HEAD").map((method) => `${method} ${route}`);
  });
  return (await Promise.all(endpoints)).flat();
}

interface Memory {
  /** Of one pod, after each round. */
  readonly rss: readonly number[];
  /** Messages that devices got from the other pod. */
  readonly observed: number;
  readonly canary: { readonly sent: number; readonly p50: number; readonly p99: number; readonly longest: number };
}

type Pods = readonly [ServerProcess, ServerProcess];

/** Everything at full speed, while canary people write from pod to pod. */
async function free(
  stage: Stage,
  place: { sandbox: Sandbox; database: TestDatabase; pods: Pods; progress: Progress },
): Promise<Memory> {
  const { options, frames, requests, report, oracle } = stage;
  const { sandbox, database, pods, progress } = place;
  const [server] = pods;
  const descriptors = pods.map(({ pid }) => openFiles(pid));
  const canary = sandbox.canary();
  await canary.ask("start", { ports: [pods[0].port, pods[1].port], pairs: CANARIES });
  const [frameProblems, requestProblems] = [new Problems(), new Problems()];
  const frameFuzzers = FUZZING_USERS.map((person, i) =>
    frameFuzzer(stage, pods[i % 2] as ServerProcess, person, frameProblems, false),
  );
  const observers = await observe(pods);
  const target = await targetOf(stage, server);
  const requestFuzzers = Array.from({ length: CONNECTIONS }, (_, number) =>
    requestFuzzer(stage, server, number, requestProblems, target),
  );
  const step = () => progress.step(`${frames.sent} frames, ${requests.sent} requests`);
  const rss: number[][] = pods.map(() => []);
  const all = async () => {
    for (let round = 0; round < ROUNDS; round++) {
      await Promise.all([
        ...frameFuzzers.map((fuzzer) => fuzzer.run(share(options.frames, FUZZING_USERS.length * ROUNDS), step)),
        ...requestFuzzers.map((fuzzer) => fuzzer.run(share(options.requests, CONNECTIONS * ROUNDS), step)),
      ]);
      for (const [i, { pid }] of pods.entries()) rss[i]?.push(await calmRss(pid));
    }
  };
  const death = await orDeath(pods, all());
  for (const fuzzer of frameFuzzers) fuzzer.close();
  const dropped = death.length > 0 ? [] : (await Promise.all(pods.map(droppedOf))).flat();
  observers.close();
  const told = await canary.ask("stop", undefined);
  for (const { name, id } of told.acks) oracle.acked(name, id, undefined);
  if (told.ack.p99 > CANARY_ACK_MS)
    told.problems.push(
      `one ack in a hundred took ${told.ack.p99.toFixed(0)} ms or more, ${CANARY_ACK_MS} at most were asked`,
    );
  report.check("server", "it is there after all of that", death);
  report.check("frames", "each became what the contract says", frameProblems.report());
  report.check("requests", "each was answered as it may be", requestProblems.report());
  report.check("canary people", "nobody lost anything or waited long", death.length > 0 ? [] : told.problems);
  const observed = await observers.audit(database.url, new Set(FUZZING_USERS.map(nameOf)));
  if (options.frames >= MUCH && observers.counts.messages < MUCH / 100)
    observed.push(`only ${observers.counts.messages} messages came from the other pod`);
  report.check("other pod", "what came from there is true: messages, presence, who types", observed);
  report.check("other pod", "each event that it sent was one", dropped);
  for (const [i, pod] of pods.entries()) {
    if (death.length === 0)
      report.check("server", "it holds nothing of those who are gone", await leftovers(pod, descriptors[i] ?? 0));
    report.check("server", "its memory is flat", grown(rss[i] ?? []));
  }
  for (const pod of pods) report.check("server", "it leaves in order", await leaves(pod, death));
  return {
    rss: rss[0] ?? [],
    observed: observers.counts.messages,
    canary: { sent: told.sent, p50: told.ack.p50, p99: told.ack.p99, longest: told.longest },
  };
}

function grown(rss: readonly number[]): string[] {
  const growth = (rss.at(-1) ?? 0) - (rss[WARM_ROUNDS - 1] ?? 0);
  return growth > GROWTH_MAX_BYTES ? [`it grew: ${rss.map((bytes) => figure(bytes, "bytes")).join(", ")}`] : [];
}

/** On each pod a second device of everyone whose frames arrive at the other, and one that gets full lists. */
async function observe(pods: Pods): Promise<Observers> {
  const observers = new Observers();
  const watch = [...CANARIES.flat(), ...FUZZING_USERS].map(nameOf);
  for (const [i, person] of FUZZING_USERS.entries())
    await observers.open((pods[1 - (i % 2)] as ServerProcess).port, person, watch);
  for (const pod of pods) await observers.open(pod.port, LISTED);
  return observers;
}

/** What a pod dropped of the other's, other than before they knew each other. */
async function droppedOf({ port }: ServerProcess): Promise<string[]> {
  const metrics = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
  const counts = [...metrics.matchAll(/^chatify_bus_dropped_total\{reason="(\w+)"\} (\d+)$/gm)];
  return counts.flatMap(([line, why, count]) => (why === "unproven" || count === "0" ? [] : [line]));
}

/** A server as people run it: what is too much is refused, nothing else is different. */
async function limit(
  stage: Stage,
  place: { sandbox: Sandbox; database: TestDatabase; progress: Progress },
): Promise<FrameCounts> {
  const { options, report } = stage;
  const server = await place.sandbox.serve({ database: place.database, env: { LOG_LEVEL: "error", RATE_LIMIT: "on" } });
  const problems = new Problems();
  const counts = frameCounts();
  const small = { ...stage, frames: counts, requests: requestCounts() };
  const frameFuzzers = LIMITED_USERS.map((person) => frameFuzzer(small, server, person, problems, true));
  const target = await targetOf(stage, server);
  const requestFuzzers = Array.from({ length: LIMITED_CONNECTIONS }, (_, number) =>
    requestFuzzer(small, server, CONNECTIONS + number, problems, target),
  );
  const step = () => place.progress.step(`${counts.sent} frames, ${small.requests.sent} requests`);
  const death = await orDeath(
    [server],
    Promise.all([
      ...frameFuzzers.map((fuzzer) => fuzzer.run(share(options.frames / 20, LIMITED_USERS.length), step)),
      ...requestFuzzers.map((fuzzer) => fuzzer.run(share(options.requests / 20, LIMITED_CONNECTIONS), step)),
    ]),
  );
  for (const fuzzer of frameFuzzers) fuzzer.close();
  if (options.frames >= MUCH && !counts.closed["1008"]) problems.add("no socket was closed with 1008");
  report.check("limits", "what is too much is refused, and nothing breaks", [...problems.report(), ...death]);
  report.check("limits", "the server leaves in order", await leaves(server, death));
  return counts;
}

function frameFuzzer(
  stage: Stage,
  server: ServerProcess,
  person: number,
  problems: Problems,
  limited: boolean,
): FrameFuzzer {
  const { options, oracle, frames: counts, peers } = stage;
  const victims = FUZZING_USERS.map(nameOf);
  return new FrameFuzzer({
    port: server.port,
    seed: options.seed,
    person,
    peers,
    victims,
    oracle,
    counts,
    problems,
    limited,
  });
}

function requestFuzzer(
  stage: Stage,
  server: ServerProcess,
  number: number,
  problems: Problems,
  target: Target,
): RequestFuzzer {
  const { options, oracle, requests: counts } = stage;
  return new RequestFuzzer({
    port: server.port,
    seed: options.seed,
    number,
    target,
    oracle,
    counts,
    problems,
    tokenOf,
  });
}

async function targetOf({ peers }: Stage, { port }: ServerProcess): Promise<Target> {
  const page = await (await fetch(`http://127.0.0.1:${port}/login`)).text();
  const [, file] = /"(\/static\/[^"]+\.css)"/.exec(page) ?? [];
  if (file === undefined) throw new Error("The login page names no style");
  return {
    routes: ROUTES,
    file,
    host: `127.0.0.1:${port}`,
    me: nameOf(ME),
    peers: [nameOf(PEER), ...peers],
    cookie,
    spareSessions: SPARE_SESSIONS,
    members: MEMBERS,
    password: PASSWORD,
  };
}

function tokenOf(who: Identity): string | undefined {
  return typeof who === "object" ? `spare-${who.spare}` : undefined;
}

function cookie(who: Identity, random: Random): string {
  if (who === "anonymous") return "";
  if (who === "me") return random.next() < 0.1 ? `a=b; ${cookieOf(ME)}; __Host-x="y"` : cookieOf(ME);
  if (typeof who === "object") return `${COOKIE}=${sign(`spare-${who.spare}`, SESSION_SECRET)}`;
  const good = cookieOf(ME).slice(COOKIE.length + 1);
  const [token = "", signature = ""] = good.split(".");
  const at = random.below(good.length);
  const forged = random.pick([
    sign(token, "another secret of thirty-two characters"),
    `${token}.`,
    `.${signature}`,
    token,
    `${nameOf(PEER)}.${signature}`,
    `${good.slice(0, at)}${good[at] === "A" ? "B" : "A"}${good.slice(at + 1)}`,
    `${good}${"A".repeat(random.pick([1, 100, 7_000]))}`,
    good.toUpperCase(),
    encodeURIComponent("\0"),
    "%",
    `"' or 1=1 --"`,
  ]);
  return `${"a=b; ".repeat(random.next() < 0.1 ? 500 : 0)}${COOKIE}=${forged}`;
}

/** Whole requests or frames for each of so many. */
function share(all: number, among: number): number {
  return Math.ceil(all / among);
}

/** @returns what happened to a server before the work was done */
async function orDeath(servers: readonly ServerProcess[], work: Promise<unknown>): Promise<string[]> {
  let over = false;
  const deaths = servers.map(async (server) => {
    const code = await server.exited;
    return over ? [] : [`it died with ${code ?? "a signal"} in the middle`, ...server.loggedErrors];
  });
  const death = Promise.race(deaths);
  const done = work.then(
    () => [],
    async (error: unknown) => {
      const died = await Promise.race([death, Bun.sleep(2_000).then(() => [])]); // whoever messageLoads to it notices first
      return died.length > 0 ? died : [error instanceof Error ? (error.stack ?? error.message) : String(error)];
    },
  );
  const words = await Promise.race([done, death]);
  over = true;
  return words;
}

async function leaves(server: ServerProcess, death: readonly string[]): Promise<string[]> {
  await server.stop();
  const code = await server.exited;
  return code === 0 || death.length > 0 ? [] : [`its exit code is ${code}`];
}

/** The least of some looks: what one turn leaves to collect is no growth. */
async function calmRss(pid: number): Promise<number> {
  const looks: number[] = [];
  for (let i = 0; i < 5; i++) {
    await Bun.sleep(100);
    looks.push(rssBytes(pid));
  }
  return Math.min(...looks);
}

function openFiles(pid: number): number {
  const directory = `/proc/${pid}/fd`;
  return existsSync(directory) ? readdirSync(directory).length : 0;
}

/** Sockets, people and waiting sends, once everybody has gone. @param descriptors how many the server had when it began */
async function leftovers(server: ServerProcess, descriptors: number): Promise<string[]> {
  let problems: string[] = [];
  for (let tries = 0; tries < 50; tries++) {
    await Bun.sleep(100);
    const metrics = await (await fetch(`http://127.0.0.1:${server.port}/metrics`)).text();
    const gauges = metrics.matchAll(/^(chatify_websocket_connections|chatify_people|chatify_sends_waiting) (\S+)$/gm);
    problems = [...gauges].flatMap(([line, , value]) => (value === "0" ? [] : [`${line}, and everybody has gone`]));
    const more = openFiles(server.pid) - descriptors;
    if (more > 10) problems.push(`it has ${more} more files open than when it began`); // the pool of the database, kept-alive requests
    if (problems.length === 0) break;
  }
  return problems;
}

/** What was never tried, and what was never let through: a fuzzer that is stopped at the first check finds nothing behind it. */
function uncovered(stage: Stage & { endpoints: readonly string[] }): string[] {
  const { frames, requests } = stage;
  const problems: string[] = [];
  for (const type of ["message", "read", "typing", "watch", "ping"]) {
    if (!frames.accepted[type]) problems.push(`no frame of the type ${type} was taken`);
  }
  for (const code of ["bad_request", "invalid_text", "no_such_user", "ref_reused"]) {
    if (!frames.refused[code]) problems.push(`no frame was refused with ${code}`);
  }
  if (frames.duplicates === 0) problems.push("nothing was sent twice");
  for (const code of ["1003", "1007", "1009"])
    if (!frames.closed[code]) problems.push(`no socket was closed with ${code}`);
  for (const route of stage.endpoints) {
    if (!requests.tried[route]) problems.push(`${route} was not tried`);
    else if (!requests.accepted[route] && !REFUSED.has(route)) problems.push(`no ${route} was let through`);
  }
  return problems;
}

function figures(
  report: Report,
  found: { frames: FrameCounts; requests: RequestCounts; oracle: Oracle; memory: Memory; limited: FrameCounts },
): void {
  const { frames, requests, oracle, memory, limited } = found;
  const { counts } = oracle;
  const list = (counted: Record<string, number>) =>
    Object.entries(counted)
      .toSorted(([one], [other]) => one.localeCompare(other))
      .map(([what, count]) => `${what} ${count}`)
      .join(", ");
  const add = (part: string, name: string, value: number, note = "") =>
    report.add({ part, name, value, unit: "", note });
  add("frames", "sent", frames.sent, `closed with: ${list(frames.closed)}`);
  add(
    "frames",
    "messages acknowledged",
    frames.acks,
    `and ${frames.duplicates} again, ${counts.unknown} on sockets that closed`,
  );
  add(
    "frames",
    "refused",
    Object.values(frames.refused).reduce((sum, count) => sum + count, 0),
    list(frames.refused),
  );
  add(
    "frames",
    "with limits on",
    limited.sent,
    `${limited.rateLimited} told to wait, closed with: ${list(limited.closed)}`,
  );
  add("requests", "sent", requests.sent, list(requests.statuses));
  add("requests", "accounts made", counts.people, `sessions: ${counts.sessions} in all, ${counts.ended} ended`);
  add("other pod", "messages from there", memory.observed);
  add("canary people", "messages", memory.canary.sent);
  report.add({
    part: "canary people",
    name: "ack, p99",
    value: memory.canary.p99,
    unit: "ms",
    note: `p50 ${figure(memory.canary.p50, "ms")}, longest ${figure(memory.canary.longest, "ms")}`,
  });
  const rounds = memory.rss.map((bytes) => figure(bytes, "bytes")).join(", ");
  report.add({
    part: "server",
    name: "memory after the last round",
    value: memory.rss.at(-1) ?? Number.NaN,
    unit: "bytes",
    note: `after each: ${rounds}`,
  });
}
