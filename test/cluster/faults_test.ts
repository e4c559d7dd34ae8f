/** The delivery guarantees while PostgreSQL misbehaves: sessions killed, locks held, replies lost. */

import { expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { type Frame, migratedDatabase, startApp, type Tab, type TestApp } from "../support/harness.ts";
import { holdLock } from "../support/locks.ts";
import { until } from "../support/until.ts";

/** Terminates the server's database sessions, but not the test's. */
function cutSessions(app: TestApp) {
  return app.sql`
    select pg_terminate_backend(pid)
    from pg_stat_activity
    where datname = current_database() and application_name like 'chatify%'
  `;
}

/** Checks that every ack was stored once with its seq, and every stored message delivered once, in order. */
async function audit(app: TestApp, acks: Frame[], receiver: Tab): Promise<void> {
  const rows = await app.sql<{ seq: number; ref: string; content: string }[]>`
    select seq, ref, content from messages order by conversation_id, seq
  `;
  expect(rows.map(({ ref }) => ref).toSorted()).toEqual(acks.map(({ ref }) => ref).toSorted());
  for (const ack of acks) expect(rows.find(({ ref }) => ref === ack["ref"])?.seq).toBe(ack["seq"]);
  expect(acks.filter(({ duplicate }) => duplicate)).toEqual([]);
  const delivered = receiver.heard.filter(({ type }) => type === "message");
  expect(delivered.map(({ seq, ref, message }) => ({ seq, ref, content: message }))).toEqual(rows as never);
}

test("stores, acks and delivers messages once while database sessions are killed", async () => {
  await using app = await startApp();
  const [ann, bob] = await app.people("ann", "bob");
  const [a, b] = [await ann!.open(), await bob!.open()];
  const cutting = new AbortController();
  const cutter = (async () => {
    while (!cutting.signal.aborted) {
      await cutSessions(app);
      await Bun.sleep(150);
    }
  })();
  const acks: Promise<Frame>[] = [];
  for (let i = 0; i < 400; i++) {
    a.say({ to: "bob", message: `m${i}`, ref: a.newRef() });
    acks.push(a.next("ack", 15_000));
    await Bun.sleep(5);
  }
  cutting.abort(); // a slow machine may need longer for the rest than the cuts allow
  await cutter;
  const heard = await Promise.all(acks);
  await until("all are delivered", () => b.heard.filter(({ type }) => type === "message").length >= heard.length);
  await Bun.sleep(200);
  await audit(app, heard, b);
});

/**
 * A proxy before PostgreSQL's socket. While `mute`, it drops replies and closes the connection: the statement may have been
 * committed.
 */
class LossySocket implements AsyncDisposable {
  readonly directory = mkdtempSync(join(tmpdir(), "chatify-lossy-"));
  mute = false;
  lost = 0;
  #listener: Bun.UnixSocketListener<{ upstream?: Bun.Socket; early: Uint8Array[] }>;

  constructor(real: string) {
    const lose = (down: Bun.Socket<unknown>, up: Bun.Socket<unknown>) => {
      this.lost++;
      down.terminate();
      up.terminate();
    };
    this.#listener = Bun.listen<{ upstream?: Bun.Socket; early: Uint8Array[] }>({
      unix: join(this.directory, ".s.PGSQL.5432"),
      socket: {
        open: async (down) => {
          down.data = { early: [] };
          const upstream = await Bun.connect({
            unix: join(real, ".s.PGSQL.5432"),
            socket: {
              data: (up, bytes) => void (this.mute ? lose(down, up) : down.write(bytes)),
              close: () => void down.end(),
              error: () => void down.end(),
            },
          });
          for (const bytes of down.data.early) upstream.write(bytes);
          down.data.upstream = upstream;
        },
        data: (down, bytes) => {
          if (down.data.upstream) down.data.upstream.write(bytes);
          else down.data.early.push(new Uint8Array(bytes));
        },
        close: (down) => void down.data?.upstream?.end(),
        error: () => {},
      },
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#listener.stop(true);
    rmSync(this.directory, { recursive: true, force: true });
  }
}

async function startLossy(): Promise<{ app: TestApp; lossy: LossySocket } & AsyncDisposable> {
  const database = new URL(await migratedDatabase());
  const lossy = new LossySocket(database.searchParams.get("host") ?? "");
  const direct = database.href;
  database.searchParams.set("host", lossy.directory);
  const app = await startApp({ database: database.href, direct });
  const end = async () => {
    await app.stop();
    await lossy[Symbol.asyncDispose]();
  };
  return { app, lossy, [Symbol.asyncDispose]: end };
}

test("a batch whose commit reply was lost is acked as new, stored once and delivered once", async () => {
  await using stage = await startLossy();
  const { app, lossy } = stage;
  const [ann, bob] = await app.people("ann", "bob");
  const [a, b] = [await ann!.open(), await bob!.open()];
  const acks: Promise<Frame>[] = [];
  for (let i = 0; i < 200; i++) {
    if (i % 40 === 20) {
      lossy.mute = true;
      setTimeout(() => (lossy.mute = false), 50);
    }
    a.say({ to: "bob", message: `m${i}`, ref: a.newRef() });
    acks.push(a.next("ack", 15_000));
    await Bun.sleep(5);
  }
  const heard = await Promise.all(acks);
  expect(lossy.lost).toBeGreaterThan(0);
  await Bun.sleep(200);
  await audit(app, heard, b);
});

test("delivers a message once when a client resends it to another pod while the first is blocked", async () => {
  const database = await migratedDatabase();
  await using app = await startApp({ database });
  await using second = await startApp({ database });
  const [ann, bob] = await app.people("ann", "bob");
  const [a, b] = [await ann!.open(), await bob!.open()];
  const [elsewhere, bElsewhere] = [await ann!.at(second).open(), await bob!.at(second).open()];
  await a.send("bob", "first");
  await bElsewhere.next("message");
  const waiting = () => app.sql<{ pid: number }[]>`
    select pid from pg_stat_activity
    where datname = current_database() and wait_event_type = 'Lock' and query like '%unnest(%ordinality%'
  `;
  await using release = await holdLock(
    app.sql,
    (tx) => tx`select from conversations where low = 'ann' and high = 'bob' for update`,
  );
  const ref = a.newRef();
  a.say({ to: "bob", message: "second", ref });
  await until("the first pod waits for the conversation", async () => (await waiting()).length === 1);
  const [first] = await waiting();
  elsewhere.say({ to: "bob", message: "second", ref });
  await until("the second pod waits for it", async () => (await waiting()).length === 2);
  await app.sql`select pg_terminate_backend(${first!.pid})`; // its next try comes after what the other pod waits to store
  await until("the first pod tries again", async () => {
    const pids = (await waiting()).map(({ pid }) => pid);
    return pids.length === 2 && !pids.includes(first!.pid);
  });
  await release();
  expect(await elsewhere.next("ack")).toMatchObject({ ref, seq: 2, duplicate: false });
  expect(await a.next("ack")).toMatchObject({ ref, seq: 2, duplicate: true });
  await b.next("sync"); // as for every resend
  await a.send("bob", "third");
  for (const tab of [b, bElsewhere]) {
    await until("the third arrives", () => tab.heard.some(({ message }) => message === "third"));
    const told = tab.heard.flatMap(({ type, message }) => (type === "message" ? [message] : []));
    expect(told).toEqual(["first", "second", "third"]);
  }
}, 90_000);

test("notifies of marks whose commit reply was lost", async () => {
  await using stage = await startLossy();
  const { app, lossy } = stage;
  const [ann, bob] = await app.people("ann", "bob");
  const [a, b, other] = [await ann!.open(), await bob!.open(), await bob!.open()];
  /** Whether a tab received a mark, or a sync in its place. */
  const isNotified = (tab: Tab) => tab.heard.some(({ type }) => ["delivered", "read", "sync"].includes(type));
  // Which connection is used, and how much of its reply is lost, is random.
  for (let seq = 1; seq <= 12; seq++) {
    await a.send("bob", "hello");
    for (const what of ["delivered", "read"]) {
      for (const tab of [a, b, other]) tab.heard.length = 0;
      const enough = lossy.lost + (seq > 4 ? 1 : 0); // until then each connection prepares the statements
      lossy.mute = lossy.lost < enough;
      if (what === "read") b.say({ type: "read", peer: "ann", seq });
      while (lossy.lost < enough) await Bun.sleep(1);
      lossy.mute = false;
      const concerned = what === "read" ? [a, b, other] : [a];
      await until(`${what} ${seq} arrives`, () => concerned.every(isNotified));
    }
  }
}, 90_000);

test.concurrent(
  "a locked conversation waits in order while others continue",
  async () => {
    await using app = await startApp();
    const [ann, bob, carol] = await app.people("ann", "bob", "carol");
    const [a, b, c] = [await ann!.open(), await bob!.open(), await carol!.open()];
    await a.send("bob", "first");
    await using release = await holdLock(
      app.sql,
      (tx) => tx`select from conversations where low = 'ann' and high = 'bob' for update`,
    );
    for (let i = 0; i < 5; i++) a.say({ to: "bob", message: `held ${i}` });
    const startedAt = performance.now();
    const ack = await c.send("ann", "meanwhile").catch(() => c.next("ack", 5_000));
    expect(ack).toMatchObject({ peer: "ann", seq: 1 });
    expect(performance.now() - startedAt).toBeLessThan(7_000);
    for (let i = 0; i < 3; i++) expect((await c.send("ann", `more ${i}`))["seq"]).toBe(i + 2); // at once now
    a.say({ to: "bob", message: "held 5" });
    await b.hearsNo("error", 0);
    await release();
    const seqs = [];
    for (let i = 0; i < 6; i++) seqs.push((await a.next("ack", 8_000))["seq"]);
    expect(seqs).toEqual([2, 3, 4, 5, 6, 7]);
    const rows = await app.sql`select content from messages where receiver = 'bob' order by seq`;
    expect(rows.map(({ content }) => content)).toEqual(["first", ...[0, 1, 2, 3, 4, 5].map((i) => `held ${i}`)]);
  },
  90_000,
);

test.concurrent(
  "two locked conversations do not delay the rest of their batch",
  async () => {
    await using app = await startApp();
    const [ann] = await app.people("ann", "bob", "carol", "dave", "erin");
    const a = await ann!.open();
    for (const name of ["bob", "carol", "dave", "erin"]) await a.send(name, "first");
    await using release = await holdLock(
      app.sql,
      (tx) => tx`select from conversations where low = 'ann' and high in ('bob', 'carol') for update`,
    );
    for (const name of ["bob", "carol", "dave", "erin"]) a.say({ to: name, message: "second" });
    const peers = [(await a.next("ack", 20_000))["peer"], (await a.next("ack", 20_000))["peer"]];
    expect(peers.toSorted()).toEqual(["dave", "erin"]);
    await release();
    for (let i = 0; i < 2; i++) expect(await a.next("ack", 20_000)).toMatchObject({ seq: 2 });
  },
  90_000,
);

test.concurrent(
  "a lock timeout answers 503 over HTTP and closes the socket with 1013, without logging an error",
  async () => {
    await using app = await startApp();
    const [ann, bob] = await app.people("ann", "bob");
    const [a, b] = [await ann!.open(), await bob!.open()];
    await a.send("bob", "hello");
    await b.next("message");
    await using release = await holdLock(app.sql, (tx) => tx`lock table messages in access exclusive mode`);
    b.say({ type: "read", peer: "ann", seq: 1 });
    const answer = await bob!.get("/messages/ann/bob?peek=1&limit=50");
    expect([answer.status, answer.headers.get("retry-after")]).toEqual([503, "1"]);
    expect(await answer.json()).toMatchObject({ error: { code: "not_ready" } });
    expect(await b.closed).toMatchObject({ code: 1013 });
    await release();
    expect((await bob!.get("/messages/ann/bob?peek=1&limit=50")).status).toBe(200);
    expect(app.log.filter((line) => line.includes('"level":"error"'))).toEqual([]);
    expect(app.log.filter((line) => line.includes("database: lock timeout"))).toHaveLength(1);
  },
  90_000,
);

test.concurrent("a row that PostgreSQL rejects fails alone", async () => {
  await using app = await startApp();
  const [ann, bob] = await app.people("ann", "bob");
  const [a, b] = [await ann!.open(), await bob!.open()];
  await app.sql.unsafe(`
    create function refuse() returns trigger language plpgsql as $$
    begin
      if new.content = 'poison' then raise 'refused' using errcode = '22000'; end if;
      return new;
    end $$;
    create trigger refuse before insert on messages for each row execute function refuse();
  `);
  for (let i = 0; i < 100; i++) a.say({ to: "bob", message: i === 61 ? "poison" : `m${i}`, ref: `poison-ref-${i}` });
  expect(await a.next("error")).toMatchObject({ code: "invalid_text", ref: "poison-ref-61" });
  const seqs = [];
  for (let i = 0; i < 99; i++) seqs.push((await a.next("ack"))["seq"]);
  expect(seqs).toEqual(Array.from({ length: 99 }, (_, i) => i + 1));
  for (let i = 0; i < 99; i++) expect((await b.next("message"))["seq"]).toBe(i + 1);
});

test("rejects sends beyond ten thousand pending ones as busy, and stores every accepted one", async () => {
  await using app = await startApp();
  const [ann, bob] = await app.people("ann", "bob");
  const a = await ann!.open();
  await bob!.open({ watch: [] });
  await using release = await holdLock(app.sql, (tx) => tx`lock table conversations in access exclusive mode`);
  for (let i = 0; i < 10_050; i++) a.say({ to: "bob", message: `m${i}`, ref: `busy-ref-${i}` });
  expect(await a.next("error", 5_000)).toMatchObject({ code: "busy", ref: "busy-ref-10000", retry_after: 1 });
  await release();
  for (let i = 0; i < 10_000; i++) await a.next("ack", 15_000);
  const [{ count, last }] = await app.sql<[{ count: number; last: number }]>`
    select count(*), max(seq) as last from messages
  `;
  expect([count, last]).toEqual([10_000, 10_000]);
}, 90_000);

test.concurrent("a stopping server rejects new sends as restarting", async () => {
  await using app = await startApp();
  const [ann] = await app.people("ann", "bob");
  const a = await ann!.open();
  await using release = await holdLock(app.sql, (tx) => tx`lock table conversations in access exclusive mode`);
  a.say({ to: "bob", message: "accepted", ref: "accepted-ref" });
  a.say({ type: "ping" });
  await a.next("pong");
  const stopping = app.leave();
  await Bun.sleep(50);
  a.say({ to: "bob", message: "too late", ref: "too-late-ref" });
  expect(await a.next("error")).toMatchObject({ code: "restarting", ref: "too-late-ref" });
  const upgrade = {
    upgrade: "websocket",
    "sec-websocket-version": "13",
    "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
  };
  const refused = await ann!.get("/ws/ann", { connection: "Upgrade", ...upgrade });
  expect([refused.status, refused.headers.get("retry-after")]).toEqual([503, "2"]);
  expect((await ann!.get("/readyz")).status).toBe(503);
  expect((await ann!.get("/healthz")).status).toBe(200);
  await release();
  expect(await a.next("ack", 8_000)).toMatchObject({ ref: "accepted-ref" });
  await stopping;
  expect(await a.closed).toMatchObject({ code: 1012 });
  expect(await app.sql`select ref from messages`).toEqual([{ ref: "accepted-ref" }] as never);
});
