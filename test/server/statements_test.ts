/** Statements of `src/db/` in situations that users cause only by a race or a lost reply. */

import { afterAll, beforeAll, expect, test } from "bun:test";

import { type Client, connect, type Sql } from "../../src/db/client.ts";
import { Database } from "../../src/db/database.ts";
import { markPurged } from "../../src/db/deleted_accounts.ts";
import { insertMessages } from "../../src/db/insert_messages.ts";
import * as sessions from "../../src/db/sessions.ts";
import { migratedDatabase, SILENT } from "../support/harness.ts";
import { holdLock } from "../support/locks.ts";
import { until } from "../support/until.ts";

let db: Database;
let sql: Client;

beforeAll(async () => {
  const target = await migratedDatabase();
  db = new Database({ target, name: "test", max: 4, log: SILENT });
  sql = connect(target, { name: "test", max: 4 });
});
afterAll(() => Promise.all([db?.end(), sql?.end({ timeout: 0 })]));

async function createUser(name: string): Promise<number> {
  const [row] = await sql<[{ id: number }]>`
    insert into users (username, name_key, search_key, password) values (${name}, ${name}, ${name}, '!') returning id
  `;
  return row.id;
}

async function createSessions(userId: number, count: number): Promise<number[]> {
  const rows = await sql<{ id: number }[]>`
    insert into sessions (user_id, token, expires_at, last_used_at)
    select ${userId}, ${userId} || '-' || n, now() + interval '1 day', now() - n * interval '1 minute'
    from generate_series(1, ${count}::int) n
    returning id
  `;
  return rows.map(({ id }) => id);
}

/** Runs each statement twice, as `Database` does when the reply to the first is lost. */
function losingReplies(): Database {
  const run: Database["run"] = async (query, options) => {
    await db.run(query, options);
    options?.onUnknown?.();
    return db.run(query, options);
  };
  return { run } as Database;
}

test("a batch numbers no message to an account deleted meanwhile", async () => {
  await Promise.all(["ann", "bob"].map(createUser));
  await sql`update users set deleted_at = now() where username = 'bob'`;
  const message = (sender: string, toKey: string) => ({ sender, toKey, ref: sender, sendId: 1, content: "hello" });
  const [toDeleted, fromDeleted] = await insertMessages(sql, [message("ann", "bob"), message("bob", "ann")]);
  expect(toDeleted).toBeUndefined();
  expect(fromDeleted).toMatchObject({ receiver: "ann", seq: 1 });
  expect([...(await sql`select sender, seq from messages`)]).toEqual([{ sender: "bob", seq: 1 }]);
});

test("reports the sessions it ended, also if the reply is lost", async () => {
  const [carol, dave] = [await createUser("carol"), await createUser("dave")];
  const [newest, second, third, fourth] = (await createSessions(carol, 4)) as [number, number, number, number];
  const [stranger] = (await createSessions(dave, 1)) as [number];
  expect(await sessions.endSurplus(losingReplies(), carol, 3)).toEqual([fourth]);
  expect(await sessions.endOwn(losingReplies(), carol, stranger)).toBe(false);
  expect(await sessions.endOwn(losingReplies(), carol, third)).toBe(true);
  expect(await sessions.endOwn(losingReplies(), carol, third)).toBe(false);
  expect(await sessions.endOthers(losingReplies(), carol, newest)).toEqual([second]);
  expect(await sessions.endAll(losingReplies(), carol)).toEqual([newest]);
  expect([...(await sql`select id from sessions`)]).toEqual([{ id: stranger }]);
});

test("a purge locks conversations in key order", async () => {
  const mia = await createUser("mia");
  // The table holds them in another order.
  for (const peer of ["zoe", "abe"]) {
    await createUser(peer);
    const [low, high] = ["mia", peer].toSorted() as [string, string];
    await sql`
      insert into conversations (low, high, last_at, blocked_by) values (${low}, ${high}, now(), ${["mia"]}::text[])
    `;
  }
  const lock = (tx: Sql, low: string) => tx`select from conversations where low = ${low} for update nowait`;
  await using release = await holdLock(sql, (tx) => lock(tx, "abe"));
  const purge = markPurged(db, { id: mia, username: "mia" });
  await until("the purge waits", async () => {
    const waiting =
      await sql`select from pg_stat_activity where wait_event_type = 'Lock' and query like '%locked as (%'`;
    return waiting.length > 0;
  });
  await lock(sql, "mia"); // not held by the waiting purge
  await release();
  await purge;
  expect(await sql`select from conversations where blocked_by is not null`).toHaveLength(0);
});

test("a batch without files is one statement, which does not mention them", async () => {
  await Promise.all(["una", "dan"].map(createUser));
  const texts: string[] = [];
  const watched = new Proxy(sql, {
    apply(target, self, args: [readonly string[]]) {
      if ("raw" in args[0]) texts.push(args[0].join("?"));
      return Reflect.apply(target as unknown as (...args: unknown[]) => unknown, self, args);
    },
  });
  const message = (ref: string) => ({ sender: "una", toKey: "dan", ref, sendId: 1, content: "hello" });
  await insertMessages(watched, [message("first-ref"), message("second-ref")]);
  const statements = texts.filter((text) => text.trim() !== "");
  expect(statements).toHaveLength(1);
  expect(statements[0]).not.toContain("file");
});
