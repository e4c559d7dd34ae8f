/** A PostgreSQL that chatify does not control: role settings, changed passwords, poolers, and servers that store no messages. */

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { connect } from "../../src/db/client.ts";
import { Database } from "../../src/db/database.ts";
import { DatabaseError } from "../../src/db/migrate.ts";
import {
  emptyDatabase,
  migratedDatabase,
  PASSWORD,
  type Person,
  post,
  SILENT,
  startApp,
  type TestApp,
  uniqueName,
} from "../support/harness.ts";
import { holdLock } from "../support/locks.ts";
import { until } from "../support/until.ts";

setDefaultTimeout(60_000);

const SECRET = "hunter22-is-secret";

/** Creates a role and a database that it owns. @param change further statements, `$` standing for the role's name */
async function owner(
  change = "",
  making = emptyDatabase,
): Promise<{ role: string; database: string; admin: ReturnType<typeof connect> }> {
  const made = new URL(await making());
  const [role, admin] = [uniqueName("owner"), connect(made.href, { name: "admin" })];
  await admin.unsafe(`create role ${role} login password '${SECRET}'`);
  await admin.unsafe(`alter database ${made.pathname.slice(1)} owner to ${role}`);
  if (change !== "") await admin.unsafe(change.replaceAll("$", () => role));
  return { role, admin, database: Object.assign(made, { username: role, password: SECRET }).href };
}

/** Ends a role's sessions, so that new ones start with the changed settings. */
function cut(admin: ReturnType<typeof connect>, role: string) {
  return admin`select pg_terminate_backend(pid) from pg_stat_activity where usename = ${role}`;
}

const readyz = async (app: TestApp) => (await fetch(`${app.url}/readyz`)).status;
const turns = (app: TestApp, status: number) =>
  until(`/readyz is ${status}`, async () => (await readyz(app)) === status, 20_000);

/** Asks every route while the database cannot be used: 503 where it is asked, and no defect in the log. */
async function answers503(app: TestApp, ann: Person): Promise<void> {
  const reads =
    "/ /account /me /sessions /blocks /export /drafts /messages/ann/bob /messages/ann/bob?limit=5 /unread_counts/ann /conversations /search?q=hello /online /get_users /ws/ann /logout /readyz";
  const writes: [string, object][] = [
    ["/invites", {}],
    ["/me/settings", { hide_read: true }],
    ["/me/password", { old: PASSWORD, new: PASSWORD }],
    ["/me/delete", { password: PASSWORD }],
    ["/sessions/end_others", {}],
    ["/sessions/1/end", {}],
    ["/blocks", { name: "bob", blocked: true }],
    ["/mutes", { name: "bob", muted: true }],
    ["/logout", {}],
  ];
  const form = { username: "carol", password: PASSWORD };
  const answers = await Promise.all([
    ...reads.split(" ").map(async (path) => [path, await ann.get(path)] as const),
    ...writes.map(async ([path, body]) => [`POST ${path}`, await ann.post(path, body)] as const),
    ...["/login", "/signup"].map(async (path) => [`POST ${path}`, await post(app.url + path, form)] as const),
  ]);
  for (const [path, { status, headers }] of answers) {
    expect([path, status, Number(headers.get("retry-after")) > 0]).toEqual([path, 503, true]);
  }
  for (const path of ["/login", "/signup", "/healthz", "/version", "/test", "/metrics", "/sw.js"]) {
    expect([path, (await fetch(app.url + path)).status]).toEqual([path, 200]);
  }
  expect(app.log.filter((line) => line.includes('"level":"error"'))).toEqual([]);
}

describe("a session", () => {
  test.concurrent("ignores settings of the role and the database", async () => {
    const { admin, role, database } = await owner(`
      alter role $ set idle_session_timeout = '1s';
      alter role $ set idle_in_transaction_session_timeout = '1ms';
      alter role $ set statement_timeout = '1ms';
      alter role $ set lock_timeout = '1ms';
      alter role $ set timezone = 'Asia/Kathmandu';
      alter role $ set datestyle = 'German';
      alter role $ set intervalstyle = 'sql_standard';
      alter role $ set bytea_output = 'escape';
      alter role $ set standard_conforming_strings = off;
      alter role $ set default_transaction_isolation = 'serializable';
      alter role $ set client_encoding = 'LATIN1';
      alter role $ set client_min_messages = debug5;
    `);
    await using app = await startApp({ database });
    const [ann, bob] = await app.people("ann", "bob");
    const [a, b] = [await ann!.open(), await bob!.open()];
    const { timestamp } = await a.send("bob", "γειά 👋");
    expect(timestamp).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/);
    expect((await b.next("message"))["message"]).toBe("γειά 👋");
    await Bun.sleep(2_500); // longer than the role's idle_session_timeout
    await a.send("bob", "still here");
    expect(app.log.filter((line) => /"level":"(warn|error)"/.test(line))).toEqual([]);
    expect([...(await admin`select count(*) from pg_stat_activity where usename = ${role}`)]).not.toEqual([
      { count: 0 },
    ]);
    await admin.end();
  });

  test.concurrent("through a pooler that drops its settings is rejected at startup, before taking a lock", async () => {
    const { admin, database } = await owner();
    const pooler = new ForgetfulPooler(new URL(database).searchParams.get("host")!);
    const address = new URL(database);
    address.searchParams.set("host", pooler.directory);
    const error = await startApp({ database: address.href, direct: database }).catch((error: unknown) => error);
    expect(error).toBeInstanceOf(DatabaseError);
    expect((error as Error).message).toBe(
      "A pooler between chatify and PostgreSQL (such as PgBouncer) drops session settings: DATABASE_URL must point to PostgreSQL itself",
    );
    pooler.close();
    await admin.end();
  });

  test.concurrent.each([
    [
      "alter role $ connection limit 3",
      (role: string) =>
        `The role "${role}" is limited to 3 connections, and chatify needs 7: alter role "${role}" connection limit -1`,
    ],
    [
      "alter role $ set default_transaction_read_only = on",
      () =>
        "This PostgreSQL is read-only (default_transaction_read_only is on for the server, the database or the role): turn it off",
    ],
  ])("that cannot store messages is rejected at startup: %s", async (change, words) => {
    const { admin, role, database } = await owner(change, migratedDatabase);
    const begunAt = performance.now();
    const error = await startApp({ database }).catch((error: unknown) => error);
    expect(error).toBeInstanceOf(DatabaseError);
    expect((error as Error).message).toBe(words(role));
    expect(performance.now() - begunAt).toBeLessThan(5_000);
    await admin.end();
  });

  test.concurrent.each([
    [
      "revoke insert on messages from $",
      '"$" lacks a privilege in the database "…" (permission denied for table messages)',
    ],
    [
      "revoke update on sequence messages_id_seq from $; revoke usage on sequence messages_id_seq from $",
      "(permission denied for sequence messages_id_seq): make it the owner",
    ],
    ["revoke execute on all functions in schema public from $, public", "(permission denied for function "],
    [
      "alter table messages enable row level security, force row level security",
      '(new row violates row-level security policy for table "messages")',
    ],
    ["drop table sessions", '(relation "sessions" does not exist): restore a backup'],
    ["drop function mark_read", "(function mark_read(text[], text[], bigint[]) does not exist): restore a backup"],
    [
      "alter table messages drop column attempt_id",
      '(column "attempt_id" of relation "messages" does not exist): restore a backup',
    ],
    [
      "alter table messages add mood text not null",
      "violates not-null constraint (SQLSTATE 23502). Rows violate a constraint: ",
    ],
    [
      "create function refuse() returns trigger language plpgsql as 'begin raise ''closed on Sundays''; end'; create trigger refuse before insert on messages for each row execute function refuse()",
      "reported: closed on Sundays (SQLSTATE P0001). A trigger or function that is not part of chatify raised this: ",
    ],
  ])("in which no message can be stored is rejected at startup: %s", async (change, words) => {
    const { admin, role, database } = await owner();
    await (await startApp({ database })).stop();
    await admin.unsafe(change.replaceAll("$", role));
    const error = await startApp({ database }).catch((error: unknown) => error);
    expect(error).toBeInstanceOf(DatabaseError);
    const name = new URL(database).pathname.slice(1);
    expect((error as Error).message.replace(`"${name}"`, '"…"').replace(`"${role}"`, '"$"')).toContain(words);
    await admin.end();
  });

  test.concurrent(
    "in which a message can be stored starts and keeps no trace of the trial, also while the tables are locked",
    async () => {
      const { admin, database } = await owner();
      await (await startApp({ database })).stop();
      await using release = await holdLock(admin, (tx) => tx`lock table messages`);
      await using app = await startApp({ database });
      await release();
      for (const table of ["users", "sessions", "drafts", "conversations", "memberships", "messages", "change_refs"]) {
        expect([...(await app.sql.unsafe(`select from ${table}`))], table).toEqual([]);
      }
      await admin.end();
    },
  );

  test.concurrent("unreachable for longer than a request waits keeps its sockets and stores their frames", async () => {
    const { admin, role, database } = await owner();
    await using app = await startApp({ database });
    const [ann, bob] = await app.people("ann", "bob");
    const [a, b, desk] = [await ann!.open(), await bob!.open(), await bob!.open()];
    await a.send("bob", "hello");
    await admin.unsafe(`alter role ${role} nologin`);
    await cut(admin, role);
    a.say({ to: "bob", message: "are you there?", ref: a.newRef() });
    b.say({ type: "read", peer: "ann", seq: 1 });
    b.say({ type: "draft", peer: "ann", text: "not yet" });
    b.say({ type: "watch", users: ["carol"] });
    expect((await b.next("presence", 15_000))["users"]).toEqual({ carol: { online: false, last_seen: null } });
    await Bun.sleep(3_000);
    await admin.unsafe(`alter role ${role} login`);
    expect(await a.next("ack")).toMatchObject({ seq: 2, duplicate: false });
    expect(await a.next("read")).toMatchObject({ reader: "bob", seq: 1 });
    expect((await desk.next("draft"))["text"]).toBe("not yet");
    for (const tab of [a, b, desk]) expect(tab.socket.readyState).toBe(WebSocket.OPEN);
    await admin.end();
  });

  test.concurrent("rejected after a password change answers 503 with Retry-After and logs no error", async () => {
    const { admin, role, database } = await owner();
    await using app = await startApp({ database });
    await app.person("ann");
    await admin.unsafe(`alter role ${role} password 'rotated'`);
    await cut(admin, role);
    const answer = await post(`${app.url}/login`, { username: "ann", password: PASSWORD });
    expect([answer.status, answer.headers.get("retry-after")]).toEqual([503, "1"]);
    expect(await readyz(app)).toBe(503);
    await admin.unsafe(`alter role ${role} password '${SECRET}'`);
    await turns(app, 200);
    expect((await post(`${app.url}/login`, { username: "ann", password: PASSWORD })).status).toBe(302);
    expect(app.log.filter((line) => line.includes('"level":"error"'))).toEqual([]);
    await admin.end();
  });

  test.concurrent(
    "rejected after a password change answers 503 on every route that needs it, and only there",
    async () => {
      const { admin, role, database } = await owner();
      await using app = await startApp({ database });
      const [ann] = await app.people("ann", "bob");
      await admin.unsafe(`alter role ${role} password 'rotated'`);
      await cut(admin, role);
      await answers503(app, ann!);
      await admin.end();
    },
  );

  test.concurrent(
    "without its privileges answers 503 on every route that needs it, and resumes with them",
    async () => {
      const { admin, role, database } = await owner();
      await using app = await startApp({ database });
      const [ann] = await app.people("ann", "bob");
      await admin.unsafe(`revoke all on all tables in schema public from ${role}`);
      await answers503(app, ann!);
      await admin.unsafe(`grant all on all tables in schema public to ${role}`);
      await turns(app, 200);
      expect((await ann!.get("/messages/ann/bob")).status).toBe(200);
      await admin.end();
    },
  );

  test.concurrent("that is read-only answers 503 where messages would be marked, without hanging", async () => {
    const { admin, role, database } = await owner();
    await using app = await startApp({ database });
    const [ann, bob] = await app.people("ann", "bob");
    await (await ann!.open()).send("bob", "hello");
    await admin.unsafe(`alter role ${role} set default_transaction_read_only = on`);
    await cut(admin, role);
    const begunAt = performance.now();
    for (const answer of await Promise.all(["", "?limit=5"].map((rest) => bob!.get(`/messages/bob/ann${rest}`)))) {
      expect([answer.status, answer.headers.get("retry-after")]).toEqual([503, "1"]);
    }
    expect(performance.now() - begunAt).toBeLessThan(20_000);
    expect((await bob!.get("/messages/bob/ann?peek=1")).status).toBe(200);
    await admin.end();
  });

  test.concurrent("with a full disk answers 503 at once and logs no error", async () => {
    await using app = await startApp();
    await app.person("ann");
    await app.sql.unsafe(`
      create function refuse() returns trigger language plpgsql as $$ begin
        raise 'could not extend file' using errcode = '53100';
      end $$;
      create trigger refuse before insert on sessions for each row execute function refuse();
    `);
    const begunAt = performance.now();
    const answer = await post(`${app.url}/login`, { username: "ann", password: PASSWORD });
    expect([answer.status, answer.headers.get("retry-after")]).toEqual([503, "1"]);
    expect(performance.now() - begunAt).toBeLessThan(5_000);
    expect(app.log.filter((line) => line.includes('"level":"error"'))).toEqual([]);
  });

  test.concurrent("rejected for any other reason is unreachable, and resumes when allowed", async () => {
    const { admin, role, database } = await owner();
    const name = new URL(database).pathname.slice(1);
    const elsewhere = connect(await emptyDatabase(), { name: "admin" });
    const db = new Database({ target: database, name: "under-test", max: 2, log: SILENT });
    for (const [change, back] of [
      [`alter role ${role} nologin`, `alter role ${role} login`],
      [`alter role ${role} connection limit 0`, `alter role ${role} connection limit -1`],
      [
        `alter role ${role} set work_mem = '64kB'; alter role ${role} rename to gone`,
        `alter role gone rename to ${role}`,
      ],
      [`alter database ${name} allow_connections false`, `alter database ${name} allow_connections true`],
      [`alter database ${name} rename to gone`, `alter database gone rename to ${name}`],
    ] as const) {
      await admin.end();
      await db.run((sql) => sql`select 1`);
      await elsewhere`select pg_terminate_backend(pid) from pg_stat_activity where usename = ${role}`;
      await elsewhere.unsafe(change);
      const error = await db.run((sql) => sql`select 1`, { giveUpAfterMs: 300 }).catch((error: unknown) => error);
      expect(error, change).toMatchObject({ name: "ChatError", code: "not_ready" });
      await elsewhere.unsafe(back);
      await elsewhere.unsafe(`alter role ${role} password '${SECRET}'`);
    }
    await db.run((sql) => sql`select 1`);
    await db.end();
    await elsewhere.end();
  });
});

describe("/readyz answers 503", () => {
  test.concurrent("while the server is read-only", async () => {
    const { admin, role, database } = await owner();
    await using app = await startApp({ database });
    expect(await readyz(app)).toBe(200);
    await admin.unsafe(`alter role ${role} set default_transaction_read_only = on`);
    await cut(admin, role);
    await turns(app, 503);
    await admin.unsafe(`alter role ${role} reset default_transaction_read_only`);
    await turns(app, 200);
    const [ann] = await app.people("ann", "bob");
    await (await ann!.open()).send("bob", "hello");
    await admin.end();
  });

  test.concurrent("while a privilege or table for messages is missing, even before the first", async () => {
    const { admin, role, database } = await owner();
    await using app = await startApp({ database });
    for (const [change, back] of [
      [`revoke insert on messages from ${role}`, `grant insert on messages to ${role}`],
      [`revoke select on users from ${role}`, `grant select on users to ${role}`],
      ["alter table conversations rename to moved", "alter table moved rename to conversations"],
    ] as const) {
      await admin.unsafe(change);
      await turns(app, 503);
      await admin.unsafe(back);
      await turns(app, 200);
    }
    await admin.end();
  });

  test.concurrent("while PostgreSQL fails to store messages", async () => {
    await using app = await startApp();
    const [ann] = await app.people("ann", "bob");
    const tab = await ann!.open();
    await app.sql.unsafe(`
      create function refuse() returns trigger language plpgsql as $$ begin
        raise 'could not extend file' using errcode = '53100';
      end $$;
      create trigger refuse before insert on messages for each row execute function refuse();
    `);
    const sending = tab.send("bob", "hello");
    await turns(app, 503);
    await app.sql`drop trigger refuse on messages`;
    await sending;
    expect(await readyz(app)).toBe(200);
  });

  test.concurrent("while the writer's session hangs although the others answer", async () => {
    const { admin, role, database } = await owner();
    await using app = await startApp({ database });
    const [{ pid }] = await admin<[{ pid: number }]>`
      select pid from pg_stat_activity where usename = ${role} and query like '%pg_logical_emit_message%'
    `;
    process.kill(pid, "SIGSTOP");
    try {
      await turns(app, 503);
      await turns(app, 200); // over a new one
    } finally {
      process.kill(pid, "SIGCONT");
    }
    await admin.end();
  });

  test.concurrent("while the writer's session cannot be opened although the others answer", async () => {
    const { admin, role, database } = await owner();
    await using app = await startApp({ database });
    await admin.unsafe(`alter role ${role} connection limit 0`);
    await admin`select pg_terminate_backend(pid) from pg_stat_activity where usename = ${role} and query like '%pg_logical_emit_message%'`;
    await turns(app, 503);
    const [{ others }] = await admin<
      [{ others: number }]
    >`select count(*) as others from pg_stat_activity where usename = ${role}`;
    expect(others).toBeGreaterThan(1);
    await admin.unsafe(`alter role ${role} connection limit -1`);
    await turns(app, 200);
    await admin.end();
  });

  test.concurrent("while a lock blocks every message", async () => {
    await using app = await startApp();
    const [ann] = await app.people("ann", "bob");
    const tab = await ann!.open();
    await using release = await holdLock(app.sql, (tx) => tx`lock table messages`);
    const sending = tab.send("bob", "hello");
    await turns(app, 503);
    await release();
    await sending;
    await turns(app, 200);
  });

  test.concurrent("or 200 with at most one probe a second", async () => {
    const database = await migratedDatabase();
    await using app = await startApp({ database });
    const commits = async () => {
      await app.sql`select pg_stat_clear_snapshot()`;
      const [row] = await app.sql<
        [{ count: number }]
      >`select xact_commit as count from pg_stat_database where datname = current_database()`;
      return row.count;
    };
    await Bun.sleep(1_500); // sessions report their statistics once a second
    const before = await commits();
    const begunAt = performance.now();
    let asked = 0;
    for (; performance.now() - begunAt < 2_000; asked++) expect(await readyz(app)).toBe(200);
    await Bun.sleep(1_500);
    const made = (await commits()) - before;
    console.log(`  asked ${asked} times, ${made} transactions in 3.5 s, heartbeats included`);
    expect(asked).toBeGreaterThan(100);
    expect(made).toBeLessThan(60);
  });
});

const root = process.getuid?.() === 0;

test.concurrent.if(root)("/readyz answers 503 while the disk is full, even before a message was sent", async () => {
  const place = mkdtempSync(join(tmpdir(), "chatify-disk-"));
  const mounted = Bun.spawnSync(["mount", "-t", "tmpfs", "-o", "size=24m,mode=777", "tmpfs", place]).success;
  if (!mounted) return console.log("  no file system can be mounted here");
  try {
    await fillAndFree(place);
  } finally {
    Bun.spawnSync(["umount", "--lazy", place]);
    rmSync(place, { recursive: true, force: true });
  }
});

/** Fills and frees the small disk of a database while chatify serves. */
async function fillAndFree(place: string): Promise<void> {
  const { admin, role, database } = await owner();
  const [space, name] = [join(place, "space"), new URL(database).pathname.slice(1)];
  mkdirSync(space, { mode: 0o777 });
  const [{ directory }] = await admin<[{ directory: string }]>`select current_setting('data_directory') as directory`;
  Bun.spawnSync(["chown", `--reference=${directory}`, space]);
  const elsewhere = connect(await emptyDatabase(), { name: "admin" });
  await elsewhere.unsafe(`create tablespace small location '${space}'`);
  await admin.end();
  await elsewhere.unsafe(`alter database ${name} set tablespace small`);
  {
    await using app = await startApp({ database });
    const [ann] = await app.people("ann", "bob");
    const tab = await ann!.open();
    await tab.send("bob", "hello");
    expect(await readyz(app)).toBe(200);
    Bun.spawnSync(["dd", "if=/dev/zero", `of=${join(place, "filler")}`, "bs=4k"]); // until there is no room
    await turns(app, 503);
    rmSync(join(place, "filler"));
    await turns(app, 200);
    await tab.send("bob", "hello again");
  }
  await elsewhere.unsafe(`drop database ${name}`);
  await elsewhere.unsafe("drop tablespace small");
  await elsewhere.unsafe(`drop role ${role}`);
  await elsewhere.end();
}

/** Forwards connections but drops all startup parameters except user and database, as poolers can. */
class ForgetfulPooler {
  readonly directory = mkdtempSync(join(tmpdir(), "chatify-pooler-"));
  readonly #listener: Bun.UnixSocketListener<{ up?: Bun.Socket; early: Buffer[] }>;

  constructor(real: string) {
    this.#listener = Bun.listen<{ up?: Bun.Socket; early: Buffer[] }>({
      unix: join(this.directory, ".s.PGSQL.5432"),
      socket: {
        open: async (down) => {
          down.data = { early: [] };
          const socket = {
            data: (_: Bun.Socket, bytes: Buffer) => void down.write(bytes),
            close: () => void down.end(),
          };
          const up = await Bun.connect({ unix: join(real, ".s.PGSQL.5432"), socket });
          for (const bytes of down.data.early) up.write(bytes);
          down.data.up = up;
        },
        data: (down, bytes) => {
          const passed = bytes.readUInt32BE(4) === 196_608 ? withoutSettings(bytes) : Buffer.from(bytes);
          if (down.data.up) down.data.up.write(passed);
          else down.data.early.push(passed);
        },
        close: (down) => void down.data?.up?.end(),
        error: () => {},
      },
    });
  }

  close(): void {
    this.#listener.stop(true);
    rmSync(this.directory, { recursive: true });
  }
}

/** A StartupMessage (manual §54.7) with user and database only. */
function withoutSettings(message: Buffer): Buffer {
  const words = message.subarray(8).toString().split("\0");
  const kept = ["user", "database"].flatMap((name) => [name, words[words.indexOf(name) + 1] ?? ""]);
  const body = Buffer.from([...kept, "", ""].join("\0"));
  const head = Buffer.alloc(8);
  head.writeUInt32BE(8 + body.length);
  head.writeUInt32BE(196_608, 4);
  return Buffer.concat([head, body]);
}
