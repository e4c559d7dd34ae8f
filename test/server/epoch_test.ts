/** The epoch, which makes pages drop their data, changes whenever the database may have gone back, and only then. */

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { chownSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { type Client, connect } from "../../src/db/client.ts";
import { migrate } from "../../src/db/migrate.ts";
import { migratedDatabase, type Person, ROOT, SILENT, startApp, type TestApp } from "../support/harness.ts";
import { PostgresServer } from "../support/postgres_server.ts";
import { until } from "../support/until.ts";

setDefaultTimeout(60_000);

async function epochOf(person: Person): Promise<string> {
  const tab = await person.open();
  const { epoch } = tab.heard[0] as unknown as { epoch: string };
  await tab.close();
  return epoch;
}

/** A server, and on it a pod with Ann, who has a tab open. */
async function pod(server: PostgresServer) {
  const app = await startApp({ database: server.address() });
  const ann = await app.person("ann");
  const tab = await ann.open();
  return { app, ann, tab, epoch: tab.heard[0]!["epoch"] as string };
}

/** Waits until a pod has looked at its database again. */
async function looked(app: TestApp): Promise<void> {
  await until("the database answers", async () => (await fetch(`${app.url}/readyz`)).ok);
  await Bun.sleep(2_500); // it looks every two seconds
}

function copy(from: string, to: string): void {
  rmSync(to, { recursive: true, force: true });
  Bun.spawnSync(["cp", "-a", from, to]);
}

describe("the epoch stays", () => {
  test.concurrent("while PostgreSQL restarts, crashes or vacuums under a pod, and its sockets stay open", async () => {
    await using server = await PostgresServer.start();
    const { app, ann, tab, epoch } = await pod(server);
    await tab.send("ann", "a note");
    await server.restart();
    await looked(app);
    await server.kill();
    await server.restart();
    await looked(app);
    await server.run((sql) => sql`vacuum (full, freeze) settings`);
    await looked(app);
    expect(await epochOf(ann)).toBe(epoch);
    expect(tab.socket.readyState).toBe(WebSocket.OPEN);
    await app.stop();
  });

  test.concurrent("when a pod is started anew, and on each of several that start at once", async () => {
    const database = await migratedDatabase();
    const apps = await Promise.all([1, 2, 3].map(() => startApp({ database })));
    const ann = await apps[0]!.person("ann");
    const epochs = await Promise.all(apps.map((app) => epochOf(ann.at(app))));
    for (const app of apps) await app.stop();
    await using again = await startApp({ database });
    expect(new Set([...epochs, await epochOf(ann.at(again))]).size).toBe(1);
  });
});

describe("the epoch changes", () => {
  test.concurrent("when a copy of the data directory is put back, whether pods run or not", async () => {
    await using server = await PostgresServer.start();
    const { app, ann, tab, epoch } = await pod(server);
    const kept = `${server.cluster}-kept`;
    await server.stop();
    copy(server.cluster, kept);
    await server.restart();
    await looked(app);
    await tab.send("ann", "lost");
    await looked(app); // the pod has seen that
    await server.stop();
    copy(kept, server.cluster);
    await server.restart();
    expect((await tab.closed).code).toBe(1012);
    const second = await epochOf(ann);
    expect(second).not.toBe(epoch);
    await app.stop();

    await server.stop();
    copy(kept, server.cluster);
    await server.restart();
    await using later = await startApp({ database: server.address() });
    expect([epoch, second]).not.toContain(await epochOf(ann.at(later)));
  });

  test.concurrent("when a snapshot of a running PostgreSQL is put back, on every pod", async () => {
    await using server = await PostgresServer.start();
    const { app, ann, tab, epoch } = await pod(server);
    const other = await startApp({ database: server.address() });
    const elsewhere = await ann.at(other).open();
    const kept = `${server.cluster}-kept`;
    copy(server.cluster, kept);
    await tab.send("ann", "lost");
    await looked(app);
    await server.kill();
    copy(kept, server.cluster);
    await server.restart();
    for (const { closed } of [tab, elsewhere]) expect((await closed).code).toBe(1012);
    await looked(other);
    const now = [await epochOf(ann), await epochOf(ann.at(other))];
    expect(now[0]).not.toBe(epoch);
    expect(now[1]).toBe(now[0]!);
    await Promise.all([app.stop(), other.stop()]);
  });

  test.concurrent("when PostgreSQL was started while no pod ran, which could be a copy", async () => {
    await using server = await PostgresServer.start();
    const { app, ann, epoch } = await pod(server);
    await app.stop();
    await server.restart();
    await using later = await startApp({ database: server.address() });
    expect(await epochOf(ann.at(later))).not.toBe(epoch);
  });

  test.concurrent("by a point-in-time recovery or a promotion", async () => {
    await using server = await PostgresServer.start();
    const { app, ann, tab, epoch } = await pod(server);
    const signal = join(server.cluster, "recovery.signal");
    await server.stop();
    writeFileSync(signal, "");
    const { uid, gid } = statSync(server.cluster);
    if (uid !== statSync(signal).uid) chownSync(signal, uid, gid);
    await server.restart({ settings: { restore_command: "false" } });
    expect((await tab.closed).code).toBe(1012);
    expect(await epochOf(ann)).not.toBe(epoch);
    await app.stop();
  });

  test.concurrent.each([["while pods run"], ["while none runs"]])(
    "when a dump is restored into the same database %s",
    async (when) => {
      const database = await migratedDatabase();
      const [app, other] = [await startApp({ database }), await startApp({ database })];
      const ann = await app.person("ann");
      const tab = await ann.open();
      const epoch = tab.heard[0]!["epoch"] as string;
      const dump = await dumped(app.sql);
      await tab.send("ann", "lost");
      if (when === "while none runs") await Promise.all([app.leave(), other.leave()]);
      await restore(app.sql, dump, database);
      const [one, two] =
        when === "while pods run" ? [app, other] : [await startApp({ database }), await startApp({ database })];
      await until("both pods have looked", async () => {
        const now = [await epochOf(ann.at(one)), await epochOf(ann.at(two))];
        return now[0] === now[1] && now[0] !== epoch;
      });
      expect((await tab.closed).code).toBe(1012);
      const again = await ann.at(one).open();
      expect((await again.send("ann", "the first"))["seq"]).toBe(1);
      for (const pod of new Set([app, other, one, two])) await pod.stop();
    },
  );

  test.concurrent("when the messages alone are exchanged", async () => {
    await using app = await startApp();
    const ann = await app.person("ann");
    const tab = await ann.open();
    await app.sql`truncate messages, conversations, memberships`;
    expect((await tab.closed).code).toBe(1012);
    expect(await epochOf(ann)).not.toBe(tab.heard[0]!["epoch"] as string);
  });
});

type Dump = { table: string; rows: string }[];

/** What pg_dump keeps of each table, the order of rows aside. */
async function dumped(sql: Client): Promise<Dump> {
  const tables = await sql<{ table: string }[]>`
    select relname as table from pg_class where relnamespace = 'public'::regnamespace and relkind = 'r' order by oid
  `;
  return Promise.all(
    tables.map(async ({ table }) => {
      const [row] = await sql.unsafe<{ rows: string }[]>(
        `select coalesce(jsonb_agg(to_jsonb(t)), '[]')::text as rows from "${table}" t`,
      );
      return { table, rows: row!.rows };
    }),
  );
}

/** Makes the tables anew with what a dump has, in one transaction, as `pg_dump --clean` and `psql --single-transaction` do. */
async function restore(sql: Client, dump: Dump, database: string): Promise<void> {
  const admin = connect(database, { name: "restore" });
  await sql`drop schema public cascade`;
  await sql`create schema public`;
  await migrate(database, { directory: join(ROOT, "sql"), name: "restore", allowUnsafe: false, log: SILENT, say() {} });
  await admin.begin(async (tx) => {
    for (const { table, rows } of dump) {
      await tx.unsafe(`delete from "${table}"`);
      await tx.unsafe(
        `insert into "${table}" overriding system value select * from jsonb_populate_recordset(null::"${table}", $1::text::jsonb)`,
        [rows],
      );
    }
  });
  await admin.end({ timeout: 1 });
}
