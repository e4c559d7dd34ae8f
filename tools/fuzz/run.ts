/** The run: hostile frames and requests against two pods, then against a server with rate limits, and the checks. */

import { existsSync, readdirSync } from "node:fs";

import { COOKIE, sign } from "../../src/accounts/session_cookie.ts";
import { type Parts, paths } from "../../src/http/router.ts";
import { Problems } from "../bench/load/audit.ts";
import type { Random } from "../chaos/random.ts";
import type { TestDatabase } from "../support/database.ts";
import type { Progress } from "../support/progress.ts";
import { Report, show } from "../support/report.ts";
import type { Sandbox } from "../support/sandbox.ts";
import type { ServerProcess } from "../support/server_process.ts";
import { rssBytes } from "../support/usage.ts";
import { cookieOf, nameOf, SESSION_SECRET } from "../support/users.ts";
import { type FrameCounts, frameCounts, FrameFuzzer } from "./frame_fuzzer.ts";
import { Observers } from "./observers.ts";
import type { Options } from "./options.ts";
import { Oracle } from "./oracle.ts";
import { type RequestCounts, requestCounts, RequestFuzzer } from "./request_fuzzer.ts";
import { CHUNK, type Identity, PHOTO, type Target, type TargetFiles } from "./requests.ts";

const ROUTES = Object.keys(paths({} as Parts)); // only its keys are used
const CANARIES = [
  [0, 1],
  [2, 3],
] as const;
const FUZZING_USERS = [10, 11, 12, 13, 14, 15, 16, 17];
const LIMITED_USERS = [30, 31, 32, 33];
const ME = 20;
const PEER = 21;
const SPARE_OWNER = 22;
/** Watches no one, so gets full presence lists. */
const LISTED = 23;
const USERS = 40;
const CONNECTIONS = 16;
const LIMITED_CONNECTIONS = 4;
const SPARE_SESSIONS = 5_000;
/** Memory is measured after each. */
const ROUNDS = 5;
/** The sender has no password and no second session. */
const NEVER_ACCEPTED = new Set(["POST /me/password", "POST /me/delete", "POST /sessions/:id/end"]);
/** With fewer frames or requests, coverage is left to chance. */
const COVERING = 10_000;
/** The rounds in which memory still grows. */
const WARM_UP_ROUNDS = 2;
/** The only users with passwords. */
const MEMBERS = ["Ζωή", "Алёна", "山田たろう"];
const PASSWORD = "correct horse battery";

/** Memory growth after the warm-up; without a leak it was less than half of this. */
const GROWTH_MAX_BYTES = 32 * 2 ** 20;
/** A canary's ack under full load, on a machine as busy as may be; about 50 ms on two idle cores. */
const CANARY_ACK_MS = 3_000;

/** The parts of a run and about how long each takes. */
export function plan({ frames, requests }: Options): { name: string; seconds: number }[] {
  return [
    { name: "hostile frames and requests", seconds: 3 + frames / 8_000 + requests / 2_500 },
    { name: "with rate limits", seconds: 4 },
    { name: "audit", seconds: 2 },
  ];
}

interface Run {
  readonly options: Options;
  readonly sandbox: Sandbox;
  readonly database: TestDatabase;
  readonly progress: Progress;
  readonly report: Report;
  readonly oracle: Oracle;
  readonly files: TargetFiles;
  readonly peers: readonly string[];
  readonly frames: FrameCounts;
  readonly requests: RequestCounts;
}

export async function fuzz(options: Options, sandbox: Sandbox, progress: Progress): Promise<Report> {
  const report = new Report();
  const oracle = new Oracle();
  progress.part();
  const database = await sandbox.database(USERS);
  await prepare(database);
  const settings = { database, env: { LOG_LEVEL: "error" } };
  const pods = [await sandbox.serve(settings), await sandbox.serve(settings)] as const;
  await signUpMembers(pods[0]);
  const endpoints = await endpointsOf(pods[0]);
  await oracle.open(database.url);

  const counts = { frames: frameCounts(), requests: requestCounts() };
  const peers = [...MEMBERS, ...FUZZING_USERS.map(nameOf)];
  const files = await uploadFiles(pods[0]);
  const run = { options, sandbox, database, progress, report, oracle, files, peers, ...counts };
  await fuzzPods(run, pods);
  progress.part();
  const limited = await fuzzLimited(run);
  progress.part();
  progress.step("auditing the tables");
  report.check("tables", "every row was acknowledged, and nothing else changed", await oracle.audit(database.url));
  report.check("tables", "every file belongs to the user who sent requests", await filesOfOthers(database));
  if (options.requests >= COVERING && options.frames >= COVERING)
    report.check("coverage", "every route and type of frame was accepted and rejected", uncovered(run, endpoints));
  report.check("servers", "no errors logged", await sandbox.clear());
  addFigures(run, limited);
  return report;
}

/** Adds a conversation to page through, and sessions that may be ended. */
async function prepare(database: TestDatabase): Promise<void> {
  await database.addConversations([[ME, PEER]], 300, 50);
  await database.sql`update users set is_admin = true where username = ${nameOf(ME)}`; // may invite
  await database.sql`
    insert into sessions (user_id, token, expires_at)
    select u.id, encode(sha256(convert_to('spare-' || i, 'UTF8')), 'hex'), now() + interval '1 day'
    from users u, generate_series(0, ${SPARE_SESSIONS}::int - 1) i
    where u.username = ${nameOf(SPARE_OWNER)}
  `;
}

async function signUpMembers({ port }: ServerProcess): Promise<void> {
  for (const username of MEMBERS) {
    const body = new URLSearchParams({ username, password: PASSWORD });
    const response = await fetch(`http://127.0.0.1:${port}/signup`, { method: "POST", body, redirect: "manual" });
    if (response.status !== 302)
      throw new Error(`${username} could not sign up: ${response.status} ${await response.text()}`);
  }
}

/** Every route with each of its methods, from its 405 answer: `POST /login`. */
async function endpointsOf({ port }: ServerProcess): Promise<string[]> {
  const endpoints = ROUTES.map(async (route) => {
    const path = route.replace(/:\w+|\*/g, "x");
    const { status, headers } = await fetch(`http://127.0.0.1:${port}${path}`, { method: "DELETE" });
    const methods = headers.get("allow")?.split(", ") ?? [];
    if (methods.length === 0) throw new Error(`${route} was answered ${status} without an Allow header`);
    return methods.filter((method) => method !== "HEAD").map((method) => `${method} ${route}`);
  });
  return (await Promise.all(endpoints)).flat();
}

type Pods = readonly [ServerProcess, ServerProcess];

/** Fuzzes two pods at full speed, while canaries write from pod to pod. */
async function fuzzPods(run: Run, pods: Pods): Promise<void> {
  const { options, sandbox, database, progress, frames, requests, report, oracle } = run;
  const [server] = pods;
  const descriptors = pods.map(({ pid }) => openFiles(pid));
  const canary = sandbox.canary();
  await canary.ask("start", { ports: [pods[0].port, pods[1].port], pairs: CANARIES });
  const [frameProblems, requestProblems] = [new Problems(), new Problems()];
  const frameFuzzers = FUZZING_USERS.map((user, i) =>
    frameFuzzer(run, { server: pods[i % 2] as ServerProcess, user, problems: frameProblems, limited: false }),
  );
  const observers = await observe(pods);
  const target = await targetOf(run, server);
  const requestFuzzers = Array.from({ length: CONNECTIONS }, (_, number) =>
    requestFuzzer(run, { server, number, problems: requestProblems, target }),
  );
  const onProgress = () => progress.step(`${frames.sent} frames, ${requests.sent} requests`);
  const rss: number[][] = pods.map(() => []);
  const rounds = async () => {
    for (let round = 0; round < ROUNDS; round++) {
      await Promise.all([
        ...frameFuzzers.map((each) => each.run(share(options.frames, FUZZING_USERS.length * ROUNDS), onProgress)),
        ...requestFuzzers.map((each) => each.run(share(options.requests, CONNECTIONS * ROUNDS), onProgress)),
      ]);
      for (const [i, { pid }] of pods.entries()) rss[i]?.push(await settledRss(pid));
    }
  };
  const crash = await untilCrash(pods, rounds());
  for (const each of frameFuzzers) each.close();
  const dropped = crash.length > 0 ? [] : (await Promise.all(pods.map(droppedPackets))).flat();
  observers.close();
  const canaries = await canary.ask("stop", undefined);
  for (const { name, id } of canaries.acks) oracle.acked(name, id, undefined);
  if (canaries.ack.p99 > CANARY_ACK_MS)
    canaries.problems.push(`ack p99 was ${canaries.ack.p99.toFixed(0)} ms, more than ${CANARY_ACK_MS}`);
  const observed = await observers.audit(database.url, new Set(FUZZING_USERS.map(nameOf)), oracle);
  if (options.frames >= COVERING && observers.messageCount < COVERING / 100)
    observed.push(`only ${observers.messageCount} messages came from the other pod`);
  if (options.frames >= COVERING && observers.changeCount < COVERING / 100)
    observed.push(`only ${observers.changeCount} changes came from the other pod`);
  report.check("server", "survives", crash);
  report.check("frames", "each had the outcome that the protocol prescribes", frameProblems.report());
  report.check("requests", "each got an allowed answer", requestProblems.report());
  report.check("canaries", "lost nothing and waited briefly", crash.length > 0 ? [] : canaries.problems);
  report.check("other pod", "only true messages, changes, presence and typing", observed);
  report.check("other pod", "no packet was dropped", dropped);
  for (const [i, pod] of pods.entries()) {
    if (crash.length === 0)
      report.check("server", "holds nothing of closed connections", await leftovers(pod, descriptors[i] ?? 0));
    report.check("server", "memory is flat", memoryGrowth(rss[i] ?? []));
  }
  for (const pod of pods) report.check("server", "exits with 0", await stop(pod, crash));

  const add = report.section("canaries");
  add.figure("messages", { value: canaries.sent, unit: "" });
  const note = `p50 ${show(canaries.ack.p50, "ms")}, max ${show(canaries.maxMs, "ms")}`;
  add.figure("ack, p99", { value: canaries.ack.p99, unit: "ms", note });
  const other = report.section("other pod");
  other.figure("messages received", { value: observers.messageCount, unit: "" });
  other.figure("changes received", { value: observers.changeCount, unit: "" });
  const memory = rss[0] ?? [];
  report.section("server").figure("memory after the last round", {
    value: memory.at(-1) ?? Number.NaN,
    unit: "bytes",
    note: `after each: ${memory.map((bytes) => show(bytes, "bytes")).join(", ")}`,
  });
}

function memoryGrowth(rss: readonly number[]): string[] {
  const growth = (rss.at(-1) ?? 0) - (rss[WARM_UP_ROUNDS - 1] ?? 0);
  return growth > GROWTH_MAX_BYTES ? [`it grew: ${rss.map((bytes) => show(bytes, "bytes")).join(", ")}`] : [];
}

/** Opens, on each pod, a second device of each user who fuzzes the other pod, and one that gets full presence lists. */
async function observe(pods: Pods): Promise<Observers> {
  const observers = new Observers();
  const watch = [...CANARIES.flat(), ...FUZZING_USERS].map(nameOf);
  for (const [i, user] of FUZZING_USERS.entries())
    await observers.open((pods[1 - (i % 2)] as ServerProcess).port, user, watch);
  for (const pod of pods) await observers.open(pod.port, LISTED);
  return observers;
}

/** Packets that a pod dropped, other than before the pods knew each other. */
async function droppedPackets({ port }: ServerProcess): Promise<string[]> {
  const metrics = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
  const counts = [...metrics.matchAll(/^chatify_bus_dropped_total\{reason="(\w+)"\} (\d+)$/gm)];
  return counts.flatMap(([line, reason, count]) => (reason === "unproven" || count === "0" ? [] : [line]));
}

/** Fuzzes a server with rate limits, as hosts run it. */
async function fuzzLimited(run: Run): Promise<FrameCounts> {
  const { options, sandbox, database, progress, report } = run;
  const server = await sandbox.serve({ database, env: { LOG_LEVEL: "error", RATE_LIMIT: "on" } });
  const problems = new Problems();
  const [frames, requests] = [frameCounts(), requestCounts()];
  const limited = { ...run, frames, requests };
  const frameFuzzers = LIMITED_USERS.map((user) => frameFuzzer(limited, { server, user, problems, limited: true }));
  const target = await targetOf(run, server);
  const requestFuzzers = Array.from({ length: LIMITED_CONNECTIONS }, (_, number) =>
    requestFuzzer(limited, { server, number: CONNECTIONS + number, problems, target }),
  );
  const onProgress = () => progress.step(`${frames.sent} frames, ${requests.sent} requests`);
  const crash = await untilCrash(
    [server],
    Promise.all([
      ...frameFuzzers.map((each) => each.run(share(options.frames / 20, LIMITED_USERS.length), onProgress)),
      ...requestFuzzers.map((each) => each.run(share(options.requests / 20, LIMITED_CONNECTIONS), onProgress)),
    ]),
  );
  for (const each of frameFuzzers) each.close();
  if (options.frames >= COVERING && !frames.closed["1008"]) problems.add("no socket was closed with 1008");
  report.check("rate limits", "excess is rejected, and nothing breaks", [...problems.report(), ...crash]);
  report.check("rate limits", "the server exits with 0", await stop(server, crash));
  return frames;
}

function frameFuzzer(
  { options, oracle, frames: counts, peers }: Run,
  parts: { server: ServerProcess; user: number; problems: Problems; limited: boolean },
): FrameFuzzer {
  const victims = FUZZING_USERS.map(nameOf);
  return new FrameFuzzer({ port: parts.server.port, seed: options.seed, peers, victims, oracle, counts, ...parts });
}

function requestFuzzer(
  { options, oracle, requests: counts }: Run,
  parts: { server: ServerProcess; number: number; problems: Problems; target: Target },
): RequestFuzzer {
  return new RequestFuzzer({ port: parts.server.port, seed: options.seed, oracle, counts, tokenOf, ...parts });
}

async function targetOf({ files, peers }: Run, { port }: ServerProcess): Promise<Target> {
  const page = await (await fetch(`http://127.0.0.1:${port}/login`)).text();
  const [, file] = /"(\/static\/[^"]+\.css)"/.exec(page) ?? [];
  if (file === undefined) throw new Error("The login page links no stylesheet");
  const users = { me: nameOf(ME), peers: [nameOf(PEER), ...peers], members: MEMBERS, password: PASSWORD };
  return { routes: ROUTES, file, files, host: `127.0.0.1:${port}`, cookie, spareSessions: SPARE_SESSIONS, ...users };
}

async function uploadFiles({ port }: ServerProcess): Promise<TargetFiles> {
  const send = async (method: string, path: string, body: string | Buffer<ArrayBuffer>) => {
    const headers = { cookie: cookieOf(ME), "content-type": "application/json" };
    const response = await fetch(`http://127.0.0.1:${port}${path}`, { method, body, headers });
    if (!response.ok) throw new Error(`${method} ${path} was answered ${response.status}: ${await response.text()}`);
    return response;
  };
  const begin = async (size: number) => {
    const response = await send("POST", "/files", JSON.stringify({ name: "fuzz", size }));
    return ((await response.json()) as { id: string }).id;
  };
  const files = { picture: await begin(PHOTO.length), upload: await begin(CHUNK.length), removable: await begin(1) };
  await send("PUT", `/files/${files.picture}/0`, PHOTO);
  return files;
}

function tokenOf(identity: Identity): string | undefined {
  return typeof identity === "object" ? `spare-${identity.spare}` : undefined;
}

function cookie(identity: Identity, random: Random): string {
  if (identity === "anonymous") return "";
  if (identity === "me") return random.next() < 0.1 ? `a=b; ${cookieOf(ME)}; __Host-x="y"` : cookieOf(ME);
  if (typeof identity === "object") return `${COOKIE}=${sign(`spare-${identity.spare}`, SESSION_SECRET)}`;
  const valid = cookieOf(ME).slice(COOKIE.length + 1);
  const [token = "", signature = ""] = valid.split(".");
  const at = random.below(valid.length);
  const forged = random.pick([
    sign(token, "another secret of thirty-two characters"),
    `${token}.`,
    `.${signature}`,
    token,
    `${nameOf(PEER)}.${signature}`,
    `${valid.slice(0, at)}${valid[at] === "A" ? "B" : "A"}${valid.slice(at + 1)}`,
    `${valid}${"A".repeat(random.pick([1, 100, 7_000]))}`,
    valid.toUpperCase(),
    encodeURIComponent("\0"),
    "%",
    `"' or 1=1 --"`,
  ]);
  return `${"a=b; ".repeat(random.next() < 0.1 ? 500 : 0)}${COOKIE}=${forged}`;
}

function share(total: number, among: number): number {
  return Math.ceil(total / among);
}

/** @returns how a server crashed before the work was done, or why the work failed */
async function untilCrash(servers: readonly ServerProcess[], work: Promise<unknown>): Promise<string[]> {
  let finished = false;
  const crashes = servers.map(async (server) => {
    const code = await server.exited;
    return finished ? [] : [`it exited with ${code ?? "a signal"} during the run`, ...server.loggedErrors];
  });
  const crash = Promise.race(crashes);
  const done = work.then(
    () => [],
    async (error: unknown) => {
      const crashed = await Promise.race([crash, Bun.sleep(2_000).then(() => [])]); // a client may notice first
      return crashed.length > 0 ? crashed : [error instanceof Error ? (error.stack ?? error.message) : String(error)];
    },
  );
  const problems = await Promise.race([done, crash]);
  finished = true;
  return problems;
}

async function stop(server: ServerProcess, crash: readonly string[]): Promise<string[]> {
  await server.stop();
  const code = await server.exited;
  return code === 0 || crash.length > 0 ? [] : [`its exit code is ${code}`];
}

/** The least of several readings: uncollected garbage is no growth. */
async function settledRss(pid: number): Promise<number> {
  const readings: number[] = [];
  for (let i = 0; i < 5; i++) {
    await Bun.sleep(100);
    readings.push(rssBytes(pid));
  }
  return Math.min(...readings);
}

function openFiles(pid: number): number {
  const directory = `/proc/${pid}/fd`;
  return existsSync(directory) ? readdirSync(directory).length : 0;
}

/** What remains after every client disconnected. @param descriptors the server's open files at the start */
async function leftovers(server: ServerProcess, descriptors: number): Promise<string[]> {
  let problems: string[] = [];
  for (let tries = 0; tries < 50; tries++) {
    await Bun.sleep(100);
    const metrics = await (await fetch(`http://127.0.0.1:${server.port}/metrics`)).text();
    const gauges = metrics.matchAll(
      /^(chatify_websocket_connections|chatify_users_connected|chatify_send_queue_messages) (\S+)$/gm,
    );
    problems = [...gauges].flatMap(([line, , value]) => (value === "0" ? [] : [`${line} after every client left`]));
    const more = openFiles(server.pid) - descriptors;
    if (more > 10) problems.push(`it has ${more} more files open than at the start`); // 10: database pool, keep-alive
    if (problems.length === 0) break;
  }
  return problems;
}

async function filesOfOthers({ sql }: TestDatabase): Promise<string[]> {
  const rows = await sql<{ owner: string }[]>`select distinct owner from files where owner <> ${nameOf(ME)}`;
  return rows.map(({ owner }) => `${owner} owns a file`);
}

/** What was never tried or never accepted: input rejected at the first check never reaches the code behind it. */
function uncovered({ frames, requests }: Run, endpoints: readonly string[]): string[] {
  const problems: string[] = [];
  for (const type of ["message", "reply", "edit", "delete", "react", "read", "typing", "watch", "ping"])
    if (!frames.accepted[type]) problems.push(`no ${type} frame was accepted`);
  for (const code of ["bad_request", "invalid_text", "no_such_user", "no_such_message", "not_yours", "ref_reused"])
    if (!frames.rejected[code]) problems.push(`no frame was rejected with ${code}`);
  if (frames.duplicates === 0) problems.push("nothing was sent twice");
  for (const code of ["1003", "1007", "1009"])
    if (!frames.closed[code]) problems.push(`no socket was closed with ${code}`);
  for (const endpoint of endpoints) {
    if (!requests.tried[endpoint]) problems.push(`${endpoint} was not tried`);
    else if (!requests.accepted[endpoint] && !NEVER_ACCEPTED.has(endpoint))
      problems.push(`no ${endpoint} was accepted`);
  }
  return problems;
}

function addFigures({ report, frames, requests, oracle }: Run, limited: FrameCounts): void {
  const { acks, duplicates } = frames;
  const { unknown, users, sessions, ended } = oracle.counts;
  const list = (counts: Record<string, number>) => {
    const entries = Object.entries(counts).toSorted(([one], [other]) => one.localeCompare(other));
    return entries.map(([key, count]) => `${key} ${count}`).join(", ");
  };
  const add = (part: string, name: string, value: number, note: string) =>
    report.add({ part, name, value, unit: "", note });
  const rejected = Object.values(frames.rejected).reduce((sum, count) => sum + count, 0);
  const limitedNote = `${limited.rateLimited} rate limited, closed with: ${list(limited.closed)}`;
  add("frames", "sent", frames.sent, `closed with: ${list(frames.closed)}`);
  add("frames", "messages acknowledged", acks, `${duplicates} duplicates, ${unknown} of unknown outcome`);
  add("frames", "messages changed", oracle.counts.changed, "");
  add("frames", "rejected", rejected, list(frames.rejected));
  add("frames", "with rate limits", limited.sent, limitedNote);
  add("requests", "sent", requests.sent, list(requests.statuses));
  add("requests", "accounts created", users, `sessions: ${sessions} in total, ${ended} ended`);
}
