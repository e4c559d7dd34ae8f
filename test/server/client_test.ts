/** `Database` while its PostgreSQL loses connections, hangs, or is unreachable. */

import { afterAll, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { type Client, connect } from "../../src/db/client.ts";
import { Database } from "../../src/db/database.ts";
import { isLost } from "../../src/db/failures.ts";
import { isResponding } from "../../src/db/readiness.ts";
import { ChatError } from "../../src/errors.ts";
import { Log } from "../../src/log.ts";
import { FaultProxy } from "../../tools/chaos/fault_proxy.ts";
import { emptyDatabase, uniqueName } from "../support/harness.ts";
import { holdLock } from "../support/locks.ts";

setDefaultTimeout(30_000);

const toEnd: { end(options?: { timeout: number }): Promise<void> }[] = [];
afterAll(async () => {
  for (const part of toEnd.splice(0)) await part.end({ timeout: 0 });
});

/** A database, and another client's connection to it. */
async function open(
  options: { max?: number; onLost?: () => void } = {},
): Promise<{ db: Database; admin: Client; log: string[] }> {
  const { url, admin } = await reach();
  const log: string[] = [];
  const db = new Database({
    target: url,
    name: "under-test",
    max: options.max ?? 4,
    log: new Log({ level: "debug", format: "text", write: (line) => log.push(line) }),
    ...(options.onLost ? { onLost: options.onLost } : {}),
  });
  toEnd.push(db);
  return { db, admin, log };
}

/** A database's address, and another client's connection to it. */
async function reach(): Promise<{ url: string; admin: Client }> {
  const url = await emptyDatabase();
  const admin = connect(url, { name: "admin", max: 2 });
  toEnd.push(admin);
  return { url, admin };
}

/** The same database at a place of its own, to which a `FaultProxy` leads, or not; `unix` is where it really is. */
function elsewhere(url: string): { address: URL; directory: string; unix: string } {
  const address = new URL(url);
  const unix = join(address.searchParams.get("host")!, `.s.PGSQL.${address.searchParams.get("port")}`);
  const directory = mkdtempSync(join(tmpdir(), "chatify-client-"));
  address.search = `host=${directory}`;
  toEnd.push({ end: async () => rmSync(directory, { recursive: true }) });
  return { address, directory, unix };
}

/** How many connections `db` has, once those that are closing are gone. */
async function connections(admin: Client, atMost: number): Promise<number> {
  for (const until = performance.now() + 3_000; ; await Bun.sleep(20)) {
    const [{ count }] = await admin<
      [{ count: number }]
    >`select count(*) from pg_stat_activity where application_name = 'under-test' and datname = current_database()`;
    if (count <= atMost || performance.now() > until) return count;
  }
}

async function failure(running: Promise<unknown>): Promise<unknown> {
  return running.then(
    () => undefined,
    (error: unknown) => error,
  );
}

test("database runs every query once while its backends are terminated five times a second", async () => {
  let lost = 0;
  const { db, admin } = await open({ onLost: () => lost++ });
  await admin`create table kept (key text primary key)`;
  const end = performance.now() + 3_000;
  const keys: string[] = [];
  let longestMs = 0;
  const work = async (worker: number) => {
    for (let i = 0; performance.now() < end; i++) {
      const [key, begun] = [`${worker}-${i}`, performance.now()];
      const [row] = await db.run(
        (sql) => sql`
          with made as (insert into kept values (${key}) on conflict do nothing)
          select ${key} as key, pg_sleep(0.002)::text
        `,
      );
      expect(row!["key"]).toBe(key);
      keys.push(key);
      longestMs = Math.max(longestMs, performance.now() - begun);
    }
  };
  const terminate = async () => {
    while (performance.now() < end) {
      await Bun.sleep(200);
      await admin`select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'under-test' and datname = current_database()`;
    }
  };
  await Promise.all([terminate(), ...Array.from({ length: 12 }, (_, worker) => work(worker))]);
  console.log(`  ${keys.length} queries through ${lost} losses, the longest ${Math.round(longestMs)} ms`);
  // 14 losses, 265 ms and 3,200 queries on an idle machine
  expect(lost).toBeGreaterThan(3);
  expect(longestMs).toBeLessThan(5_000);
  expect(keys.length).toBeGreaterThan(200);
  expect([...(await admin`select count(*) from kept`)]).toEqual([{ count: keys.length }]);
  expect(await connections(admin, 4)).toBeLessThanOrEqual(4);
  await db.end();
  expect(await connections(admin, 0)).toBe(0);
});

test.concurrent("database answers within 7 s while a backend hangs, and at once over the others", async () => {
  const { db, admin } = await open();
  const pids = await Promise.all(
    Array.from({ length: 4 }, async () => {
      const [row] = await db.run((sql) => sql<{ pid: number }[]>`select pg_backend_pid() as pid, pg_sleep(0.05)::text`);
      return row!.pid;
    }),
  );
  expect(new Set(pids).size).toBe(4);
  process.kill(pids[0]!, "SIGSTOP");
  try {
    const begun = performance.now();
    let quick = 0;
    const work = async () => {
      while (performance.now() - begun < 5_000) {
        const asked = performance.now();
        await db.run((sql) => sql`select pg_sleep(0.01)::text`);
        const tookMs = performance.now() - asked;
        expect(tookMs).toBeLessThan(7_000);
        if (tookMs < 1_000) quick++;
      }
    };
    await Promise.all(Array.from({ length: 8 }, work));
    console.log(`  ${quick} queries went on beside a backend that stands still`);
    expect(quick).toBeGreaterThan(200);
    expect((await db.run((sql) => sql`select 1 as one`))[0]).toEqual({ one: 1 });
  } finally {
    process.kill(pids[0]!, "SIGCONT");
  }
  expect(await connections(admin, 4)).toBeLessThanOrEqual(4);
});

test.concurrent("database is not ready within a second while all backends hang, and recovers", async () => {
  const { db } = await open({ max: 1 });
  const [row] = await db.run((sql) => sql<{ pid: number }[]>`select pg_backend_pid() as pid`);
  process.kill(row!.pid, "SIGSTOP");
  try {
    const begun = performance.now();
    expect(await isResponding(db)).toBeFalse();
    expect(performance.now() - begun).toBeLessThan(4_500);
  } finally {
    process.kill(row!.pid, "SIGCONT");
  }
  expect(await isResponding(db)).toBeTrue();
});

test.concurrent("an unreachable database fails after the given time, and is logged once", async () => {
  const server = createServer((socket) => socket.destroy());
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  const { port } = server.address() as { port: number };
  await new Promise((closed) => server.close(closed));
  const log: string[] = [];
  const db = new Database({
    target: `postgres://ann:hunter22@127.0.0.1:${port}/chat`,
    name: "under-test",
    max: 4,
    log: new Log({ level: "debug", format: "text", write: (line) => log.push(line) }),
  });
  toEnd.push(db);
  const begun = performance.now();
  const errors = await Promise.all(
    Array.from({ length: 20 }, () => failure(db.run((sql) => sql`select 1`, { giveUpAfterMs: 1_000 }))),
  );
  const tookMs = performance.now() - begun;
  for (const error of errors) expect(error).toMatchObject({ name: "ChatError", code: "not_ready" });
  expect(tookMs).toBeGreaterThan(300);
  expect(tookMs).toBeLessThan(2_000);
  expect(log.map((line) => line.slice(9))).toEqual(["warn database connection lost code=ECONNREFUSED\n"]);
});

test("database continues with fewer connections than it wants, without repeated attempts", async () => {
  const { url, admin } = await reach();
  const role = uniqueName("few");
  await admin.unsafe(`create role ${role} login password 'few' connection limit 2`);
  const { address, directory, unix } = elsewhere(url);
  Object.assign(address, { username: role, password: "few" });
  let [asked, replaced] = [0, 0];
  const door = new FaultProxy(() => (asked++, { unix }), { unix: join(directory, ".s.PGSQL.5432") });
  const log: string[] = [];
  const db = new Database({
    target: address.href,
    name: "under-test",
    max: 6,
    log: new Log({ level: "debug", format: "text", write: (line) => log.push(line) }),
    onLost: () => replaced++,
  });
  toEnd.push(db);
  let done = 0;
  const end = performance.now() + 3_000;
  const work = async () => {
    for (; performance.now() < end; done++) await db.run((sql) => sql`select pg_sleep(0.005)::text`);
  };
  await Promise.all(Array.from({ length: 30 }, work));
  console.log(`  ${done} queries, connections asked for ${asked} times`);
  expect(done).toBeGreaterThan(100);
  expect(replaced).toBe(0);
  expect(log.map((line) => line.slice(9))).toEqual(["warn database refuses further connections code=53300\n"]);
  await db.end();
  door.close();
  await admin.unsafe(`drop role ${role}`);
});

test.concurrent("a client that ends during its reconnect delay opens no connection", async () => {
  const { url } = await reach();
  const { address, directory, unix } = elsewhere(url);
  const client = connect(address.href, { name: "under-test" });
  for (let i = 0; i < 4; i++) expect(await failure(client`select 1`.execute())).toMatchObject({ code: "ENOENT" });
  const waits = failure(client`select 1`.execute()); // 0.4–0.8 s, by the driver's own rule
  await client.end({ timeout: 0 });
  const door = new FaultProxy(() => ({ unix }), { unix: join(directory, ".s.PGSQL.5432") });
  await Bun.sleep(1_200);
  expect(door.connections).toEqual([]);
  expect(isLost(await waits)).toBeTrue();
  door.close();
});

test("database reports errors of PostgreSQL at once, without a retry", async () => {
  let [tries, lost] = [0, 0];
  const { db } = await open({ onLost: () => lost++ });
  const error = await failure(db.run((sql) => (tries++, sql`select 1 / 0`)));
  expect(error).toMatchObject({ code: "22012" });
  expect(error).not.toBeInstanceOf(ChatError);
  expect([tries, lost]).toEqual([1, 0]);
});

test.concurrent("a lock or statement timeout is not_ready, and logged once a minute", async () => {
  const { db, admin, log } = await open();
  await admin`create table held (n int)`;
  await using release = await holdLock(admin, (tx) => tx`lock table held`);
  const held = [1, 2].map(() => failure(db.run((sql) => sql`select from held`)));
  const forEver = failure(db.run((sql) => sql`select from held`, { giveUpAfterMs: Number.POSITIVE_INFINITY }));
  const long = failure(db.run((sql) => sql`select pg_sleep(8)`));
  for (const error of await Promise.all([...held, long])) {
    expect(error).toMatchObject({ name: "ChatError", code: "not_ready", retryAfter: 1 });
  }
  expect(await forEver).toMatchObject({ code: "55P03" });
  await release();
  await db.run((sql) => sql`select from held`);
  expect(log.map((line) => line.slice(9))).toEqual([
    "warn database: lock timeout code=55P03\n",
    "warn database: statement timeout code=57014\n",
  ]);
});

test.concurrent("an ended database rejects running and new queries", async () => {
  const { db, admin } = await open();
  const underWay = failure(db.run((sql) => sql`select pg_sleep(2)`));
  await Bun.sleep(200);
  const begun = performance.now();
  await db.end();
  expect(await underWay).toMatchObject({ code: "not_ready" });
  expect(await failure(db.run((sql) => sql`select 1`))).toMatchObject({ code: "not_ready" });
  expect(performance.now() - begun).toBeLessThan(1_500);
  expect(await connections(admin, 0)).toBe(0);
});

test("a socket's last error without a listener does not end the process", () => {
  const socket = new Socket();
  expect(socket.emit("error", new Error("write after end"))).toBeFalse();
  const heard: Error[] = [];
  socket.on("error", (error) => heard.push(error));
  expect(socket.emit("error", new Error("heard"))).toBeTrue();
  expect(heard.map(({ message }) => message)).toEqual(["heard"]);
});
