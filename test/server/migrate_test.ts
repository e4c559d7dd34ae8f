/** From any database to the schema of sql/, or plain words why not. Faults are made in real PostgreSQL and on real sockets. */

import { afterAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { appendFileSync, cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { type Client, connect } from "../../src/db/client.ts";
import { DatabaseError, migrate } from "../../src/db/migrate.ts";
import { emptyDatabase, migratedDatabase, type Person, ROOT, SILENT, startApp } from "../support/harness.ts";
import { PostgresServer } from "../support/postgres_server.ts";
import { until } from "../support/until.ts";

setDefaultTimeout(30_000);

const directory = mkdtempSync(join(tmpdir(), "chatify-migrate-"));
afterAll(() => rmSync(directory, { recursive: true }));

/** The files before any that says whether older code runs on. */
const WITHOUT_OLDER_CODE = 5;
const FILES = readdirSync(join(ROOT, "sql")).toSorted();

/** The name of a file that comes so many places after the last. */
function numbered(after: number, name: string): string {
  return `${String(FILES.length + after).padStart(4, "0")}_${name}.sql`;
}

/** A copy of sql/, to be spoiled. */
function copyOfSql(): string {
  const copy = join(directory, crypto.randomUUID());
  cpSync(join(ROOT, "sql"), copy, { recursive: true });
  return copy;
}

function run(
  url: string,
  options: { directory?: string; allowUnsafe?: boolean; connections?: number; said?: string[] } = {},
): Promise<void> {
  return migrate(url, {
    directory: options.directory ?? join(ROOT, "sql"),
    name: "test",
    allowUnsafe: options.allowUnsafe ?? false,
    connections: options.connections ?? 1,
    log: SILENT,
    say: (line) => options.said?.push(line),
  });
}

/** What a host reads when it fails. */
async function refusal(migrating: Promise<void>): Promise<string> {
  const error = await migrating.then(
    () => undefined,
    (error: unknown) => error,
  );
  expect(error).toBeInstanceOf(DatabaseError);
  return (error as DatabaseError).message;
}

async function ask<T>(url: string, question: (sql: Client) => PromiseLike<T>): Promise<T> {
  const sql = connect(url, { name: "test" });
  try {
    return await question(sql);
  } finally {
    await sql.end({ timeout: 1 });
  }
}

/** All objects of a database that are not PostgreSQL's own. */
function contents(url: string): Promise<string[]> {
  return ask(url, async (sql) => {
    const rows = await sql<{ name: string }[]>`
      select relkind::text || ' ' || relname as name from pg_class where relnamespace = 'public'::regnamespace
      union all
      select 'function ' || proname from pg_proc where pronamespace = 'public'::regnamespace
      union all
      select 'schema ' || nspname from pg_namespace where nspname !~ '^(pg_|information_schema|public)'
      order by 1
    `;
    return rows.map(({ name }) => name);
  });
}

/** An address with one part changed. */
function but(url: string, change: (url: URL) => void): string {
  const changed = new URL(url);
  change(changed);
  return changed.href;
}

const applied = (url: string) =>
  ask(
    url,
    (sql) => sql<{ number: number; at: string }[]>`select number, applied_at::text as at from migrations order by 1`,
  );

describe("migrate", () => {
  test("migrate makes the schema once", async () => {
    const url = await emptyDatabase();
    await run(url);
    const [made, first] = [await contents(url), await applied(url)];
    expect(made).toContain("r messages");
    await run(url);
    expect(await contents(url)).toEqual(made);
    expect(await applied(url)).toEqual(first);
  });

  test("migrate creates one schema when three pods start at once, and the later ones print what they wait for", async () => {
    const url = await emptyDatabase();
    const slow = copyOfSql();
    appendFileSync(join(slow, "0001_users.sql"), "select pg_sleep(1.5);\n");
    const said: string[] = [];
    await Promise.all([1, 2, 3].map(() => run(url, { directory: slow, said })));
    expect((await applied(url)).map(({ number }) => number)).toEqual(FILES.map((_, i) => i + 1));
    expect(said).toEqual(Array(2).fill("Waiting for another chatify process to migrate the database …"));
  });

  test("migrate refuses a file that was changed after it was applied", async () => {
    const url = await emptyDatabase();
    const changed = copyOfSql();
    await run(url);
    appendFileSync(join(changed, "0001_users.sql"), "-- harmless\n");
    expect(await refusal(run(url, { directory: changed }))).toBe(
      "sql/0001_users.sql was changed after it was applied to this database: restore its old content",
    );
  });

  test("migrate refuses a database of a newer chatify, and leaves it be", async () => {
    const url = await emptyDatabase();
    const newer = copyOfSql();
    writeFileSync(join(newer, numbered(1, "later")), "create table later ();\n");
    await run(url, { directory: newer });
    const before = await contents(url);
    expect(await refusal(run(url))).toStartWith(
      `The database is newer than this chatify: it has ${numbered(1, "later")}`,
    );
    expect(await contents(url)).toEqual(before);
  });

  test("migrate refuses a record of files with a hole, and leaves it be", async () => {
    const url = await migratedDatabase();
    await ask(url, (sql) => sql`delete from migrations where number = 3`);
    expect(await refusal(run(url))).toBe(
      `The table "migrations" lists a later file but not sql/${FILES[2]}: restore a backup. Nothing was changed`,
    );
    expect((await applied(url)).length).toBe(FILES.length - 1);
  });

  test("migrate refuses a database of a development version, and changes nothing", async () => {
    const url = await emptyDatabase();
    await ask(url, (sql) =>
      sql.unsafe(`
        create table users (id bigint);
        create table migrations (number int, file text, checksum text);
        insert into migrations values (1, '0001_users_sessions.sql', 'a'), (2, '0002_messages.sql', 'b');
      `),
    );
    const before = await contents(url);
    expect(await refusal(run(url))).toBe(
      "A development version of chatify, from before the first release, made this database, and this version cannot migrate it: " +
        "start with an empty database (another DATA_DIR or DATABASE_URL). Nothing was changed",
    );
    expect(await contents(url)).toEqual(before);
  });

  test("migrate rolls back a file that fails, and continues once it is fixed", async () => {
    const url = await emptyDatabase();
    const broken = copyOfSql();
    await run(url);
    const before = await contents(url);
    writeFileSync(join(broken, numbered(1, "broken")), "create table half ();\nselect no_such_column from half;\n");
    await expect(run(url, { directory: broken })).rejects.toThrow('column "no_such_column" does not exist');
    expect(await contents(url)).toEqual(before);
    expect((await applied(url)).length).toBe(FILES.length);
    writeFileSync(join(broken, numbered(1, "broken")), "create table whole ();\n");
    await run(url, { directory: broken });
    expect(await contents(url)).toContain("r whole");
  });

  test.each([
    ["create table settings (theme text)", 'relation "settings" already exists'],
    ["create table drafts (theme text)", 'relation "drafts" already exists'], // of a later file
    ["create view invites as select 1", 'relation "invites" already exists'],
    ["create sequence messages_id_seq", 'relation "messages_id_seq" already exists'], // which PostgreSQL would evade
    [
      "create table migrations (number int, file text, checksum text); insert into migrations values (1, '0001_init.sql', 'a')",
      'the table "migrations" lists 0001_init.sql',
    ],
    ["create sequence messages_ref", 'relation "messages_ref" already exists'], // an index here
    ["create table migrations (id text)", 'relation "migrations" already exists'], // of many frameworks
    ["create type conversations as enum ('a')", 'type "conversations" already exists'],
    [
      "create function mark_read(text[], text[], bigint[]) returns int language sql as 'select 1'",
      'function "mark_read" already exists with same argument types',
    ],
  ])("migrate refuses a database of something else, and leaves it be: %s", async (statement, words) => {
    const url = await emptyDatabase();
    await ask(url, (sql) => sql.unsafe(statement));
    const before = await contents(url);
    expect(await refusal(run(url))).toStartWith(
      `This database has tables that are not chatify's (${words}), and nothing was changed.`,
    );
    expect(await contents(url)).toEqual(before);
  });

  test("migrate changes nothing when a later file of several cannot be applied", async () => {
    const url = await emptyDatabase();
    await run(url);
    const [before, files] = [await contents(url), await applied(url)];
    const newer = copyOfSql();
    writeFileSync(join(newer, numbered(1, "first")), "create table first ();\n");
    writeFileSync(join(newer, numbered(2, "second")), "create table second ();\n");
    await ask(url, (sql) => sql`create table second (theme text)`);
    expect(await refusal(run(url, { directory: newer }))).toContain(
      '(relation "second" already exists), and nothing was changed',
    );
    expect(await contents(url)).toEqual([...before, "r second"].toSorted());
    expect(await applied(url)).toEqual(files);
  });

  test("git checks files out with LF although core.autocrlf is on", () => {
    const [here, there] = [join(directory, "committed"), join(directory, "checked-out")];
    cpSync(join(ROOT, "sql"), join(here, "sql"), { recursive: true });
    cpSync(join(ROOT, ".gitattributes"), join(here, ".gitattributes"));
    const git = (...words: string[]) => {
      const identity = ["-c", "user.name=ann", "-c", "user.email=ann@localhost", "-c", "core.autocrlf=true"];
      const { success, stderr } = Bun.spawnSync(["git", ...identity, ...words], {
        cwd: here,
        env: { PATH: Bun.env["PATH"] },
      });
      if (!success) throw new Error(stderr.toString());
    };
    git("init", "--quiet");
    git("add", ".");
    git("commit", "--quiet", "--message", "all");
    git("clone", "--quiet", here, there);
    for (const name of FILES) expect(readFileSync(join(there, "sql", name), "utf8"), name).not.toContain("\r");
  });

  test("migrate ignores the line endings of its files", async () => {
    const windows = copyOfSql();
    for (const name of FILES) {
      const path = join(windows, name);
      writeFileSync(path, readFileSync(path, "utf8").replaceAll("\n", "\r\n"));
    }
    const [here, there] = [await emptyDatabase(), await emptyDatabase()];
    const sources = (url: string) =>
      ask(url, (sql) => sql`select prosrc from pg_proc where pronamespace = 'public'::regnamespace order by 1`);
    await run(here);
    await run(here, { directory: windows });
    await run(there, { directory: windows });
    await run(there);
    expect([...(await sources(there))]).toEqual([...(await sources(here))]);
    // As recorded by earlier versions, which hashed the bytes as they were:
    await ask(there, async (sql) => {
      for (const name of FILES) {
        const checksum = new Bun.CryptoHasher("sha256").update(readFileSync(join(windows, name))).digest("hex");
        await sql`update migrations set checksum = ${checksum} where file = ${name}`;
      }
    });
    await run(there);
    await run(there, { directory: windows });
  });

  test("migrate refuses files that are not numbered one after the other", async () => {
    const holed = copyOfSql();
    const later = numbered(2, "later");
    writeFileSync(join(holed, later), "select 1;\n");
    await expect(run(await emptyDatabase(), { directory: holed })).rejects.toThrow(
      `sql/${later} is not number ${FILES.length + 1}`,
    );
  });
});

describe("migrate beside pods that serve", () => {
  /** A chatify that comes after this one. @param first what the first line of its file says */
  function newer(first: string, statement = "alter table users add column shoe_size int;"): string {
    const sql = copyOfSql();
    writeFileSync(join(sql, numbered(1, "newer")), `${first}\n${statement}\n`);
    return sql;
  }

  /** Waits until so many pods are connected: PostgreSQL ends the sessions of one that left a moment after it. */
  async function ended(database: string, left: number): Promise<void> {
    const connected = (sql: Client) => sql<{ pods: number }[]>`
      select count(distinct application_name)::int as pods
      from pg_stat_activity
      where datname = current_database() and application_name ~ '^chatify-[0-9a-f]{8}$'
    `;
    await until(`${left} pods are connected`, async () => (await ask(database, connected))[0]!.pods === left);
  }

  test("migrate runs beside compatible older pods, which serve on, while users write", async () => {
    const database = await migratedDatabase();
    await using pods = await twoPods(database);
    const [ann, bob] = (await pods.one.people("ann", "bob")) as [Person, Person];
    const [there, here] = [await ann.open(), await bob.at(pods.other).open()];
    for (const [user, peer] of [
      [ann, "bob"],
      [bob.at(pods.other), "ann"],
    ] as const) {
      // Until two pods have proved to each other that they run, a message crosses by `sync`.
      await until(`${user.name}'s pod knows of ${peer}`, async () =>
        (await user.json<string[]>("/online")).includes(peer),
      );
    }
    let migrated = false;
    const migrating = run(database, { directory: newer("-- Old code runs on: it names the columns it wants.") });
    void migrating.then(() => (migrated = true));
    let said = 0;
    for (let after = 0; after < 20; after += migrated ? 1 : 0) {
      await there.send("bob", `number ${++said}`);
      expect(await here.next("message")).toMatchObject({ message: `number ${said}`, seq: said });
    }
    await migrating;
    expect(await ann.json("/messages/ann/bob")).toHaveLength(said);
    await pods.one.person("carol"); // the changed table too
    await ann.logIn();
  });

  test("migrate waits for the last older pod before an incompatible change", async () => {
    for (const first of ["-- Old code stops: it writes a column that is gone.", "-- Whatever"]) {
      const database = await migratedDatabase();
      await using pods = await twoPods(database);
      const directory = newer(first, "alter table users rename column is_online to is_here;");
      const before = await applied(database);
      for (const [serving, pod] of [
        [2, pods.one],
        [1, pods.other],
      ] as const) {
        expect(await refusal(run(database, { directory }))).toBe(
          `The upgrade applies sql/${numbered(1, "newer")}, which breaks older versions, and ${serving === 1 ? "1 older pod is" : "2 older pods are"} running: ` +
            "stop them, then start this version (docs/upgrading.md). Nothing was changed",
        );
        expect(await applied(database)).toEqual(before);
        await pod.person(`visitor-${serving}`); // undisturbed
        await pod.leave();
        await ended(database, serving - 1);
      }
      await run(database, { directory });
      expect(await applied(database)).toHaveLength(FILES.length + 1);
    }
  });

  test("migrate continues after an older pod whose connections PostgreSQL still counts", async () => {
    const database = await migratedDatabase();
    const leaving = connect(database, { name: "chatify-01234567" });
    await leaving`select`;
    const migrating = run(database, { directory: newer("-- Old code stops") });
    await Bun.sleep(500);
    await leaving.end();
    await migrating;
    expect(await applied(database)).toHaveLength(FILES.length + 1);
  });

  test("migrate starts on an empty database whatever its files say, several pods at once", async () => {
    const database = await emptyDatabase();
    const pods = await Promise.all([1, 2, 3].map(() => startApp({ database })));
    const [ann] = await pods[0]!.people("ann", "bob");
    const tab = await ann!.at(pods[2]!).open();
    expect(await tab.send("bob", "hello")).toMatchObject({ seq: 1 });
    expect((await applied(database)).map(({ number }) => number)).toEqual(FILES.map((_, i) => i + 1));
    for (const pod of pods) await pod.stop();
  });

  test("migration files state whether old code runs on, in agreement with docs/upgrading.md", async () => {
    const told = await Bun.file(join(ROOT, "docs", "upgrading.md")).text();
    const rows = [...told.matchAll(/^\| `(\d{4}_\w+\.sql)` \| (runs on|stops) \|/gm)].map(([, file, what]) => [
      file,
      what,
    ]);
    const said = await Promise.all(
      FILES.map(async (file) => {
        const text = await Bun.file(join(ROOT, "sql", file)).text();
        if (Number(file.slice(0, 4)) <= WITHOUT_OLDER_CODE) return []; // no older code exists
        const [, what] = /^-- Old code (runs on|stops)\b/.exec(text) ?? [];
        if (what === undefined)
          throw new Error(`the first line of sql/${file} must say: -- Old code runs on, or: -- Old code stops`);
        const takes = /\b(drop (table|column|view)|rename|set not null|alter column \w+ (set data )?type)\b/i.exec(
          text,
        );
        if (what === "runs on" && takes) throw new Error(`sql/${file} takes something away from old code: ${takes[0]}`);
        return [[file, what]];
      }),
    );
    expect(rows).toEqual(said.flat());
  });

  async function twoPods(database: string) {
    const [one, other] = await Promise.all([startApp({ database }), startApp({ database })]);
    const end = async () => {
      await one.stop();
      await other.stop();
    };
    return { one, other, [Symbol.asyncDispose]: end };
  }
});

describe("migrate refuses a server", () => {
  // A real one of version 14 is not at hand: this database's own current_setting() says it is one.
  test("migrate refuses PostgreSQL 14", async () => {
    const url = await emptyDatabase();
    await ask(url, (sql) =>
      sql.unsafe(`
        create schema old;
        create function old.current_setting(name text) returns text language sql as $$
          select case name when 'server_version_num' then '140011' when 'server_version' then '14.11'
            else pg_catalog.current_setting(name) end
        $$;
        do $$ begin execute format('alter database %I set search_path = old, pg_catalog, public', current_database()); end $$
      `),
    );
    expect(await refusal(run(url))).toBe("chatify needs PostgreSQL 15 or newer; this server runs 14.11");
  });

  test("migrate rejects a database that cannot store every text", async () => {
    const url = await emptyDatabase();
    await ask(url, (sql) => sql`create database ascii encoding 'SQL_ASCII' locale 'C' template template0`);
    expect(await refusal(run(but(url, (url) => (url.pathname = "/ascii"))))).toBe(
      "The database's encoding is SQL_ASCII, but chatify needs UTF8: create database chatify encoding 'UTF8' template template0",
    );
  });

  test("migrate rejects a database without durability, unless UNSAFE_DATABASE allows it", async () => {
    await using server = await PostgresServer.start({ settings: { fsync: "off" } });
    expect(await refusal(run(server.address()))).toBe(
      "This PostgreSQL may lose committed messages: fsync is off. Turn it on, or set UNSAFE_DATABASE=on if its storage guarantees durability",
    );
    expect(await contents(server.address())).toEqual([]);
    await run(server.address(), { allowUnsafe: true });
    const url = await emptyDatabase();
    await ask(url, (sql) =>
      sql.unsafe(
        `do $$ begin execute format('alter database %I set synchronous_commit = off', current_database()); end $$`,
      ),
    );
    expect(await refusal(run(url))).toContain("synchronous_commit is off");
  });
});

describe("migrate reports", () => {
  const SECRET = "hunter22-is-secret";

  /** Creates a role and a database that it owns. @returns the address */
  async function role(name: string, attributes = ""): Promise<string> {
    const url = await emptyDatabase();
    await ask(url, (sql) =>
      sql.unsafe(`
        create role ${name} login password '${SECRET}' ${attributes};
        do $$ begin execute format('alter database %I owner to ${name}', current_database()); end $$
      `),
    );
    return but(url, (url) => Object.assign(url, { username: name, password: SECRET }));
  }

  test("migrate explains every SQLSTATE with PostgreSQL's message, its meaning and a remedy", async () => {
    const url = await role("sentences");
    const sockets = new URL(url).searchParams.get("host")!;
    const drds = "the settings of the role and the database (\\drds in psql)";
    const told = async (rest = "") => (await refusal(run(url + rest))).replace(sockets, "…");
    expect(await told("&search_path=nowhere")).toBe(
      "PostgreSQL in … reported: no schema has been selected to create in (SQLSTATE 3F000). The search_path contains no schema that exists and that this user may use: " +
        "create it, grant usage on it, or change search_path in DATABASE_URL, of the role or of the database",
    );
    expect(await told("&options=-c%20nonsense%3D1")).toBe(
      'PostgreSQL in … reported: unrecognized configuration parameter "nonsense" (SQLSTATE 42704). The database is not set up as chatify expects: ' +
        `check options in DATABASE_URL and ${drds}, or give chatify its own database`,
    );
    expect(await told("&options=-c%20work_mem%3Dlots")).toBe(
      'PostgreSQL in … reported: invalid value for parameter "work_mem": "lots" (SQLSTATE 22023). A setting has an invalid value: ' +
        `check options in DATABASE_URL and ${drds}`,
    );
    const database = new URL(url).pathname.slice(1);
    const superuser = await emptyDatabase();
    const change = (statement: string) => ask(superuser, (sql) => sql.unsafe(statement));
    await change(`alter database ${database} allow_connections false`);
    expect(await told()).toBe(
      `PostgreSQL in … reported: database "${database}" is not currently accepting connections (SQLSTATE 55000). ` +
        "The database cannot do this right now: wait for the other operation to finish, then start chatify again",
    );
    await change(`alter database ${database} allow_connections true`);
    await change(`alter role sentences connection limit 0`);
    expect(await told()).toBe(
      'PostgreSQL in … has no free connections (too many connections for role "sentences"). ' +
        'Raise max_connections or the connection limit of "sentences", or close some',
    );
    await change("alter role sentences connection limit -1 nologin");
    expect(await told()).toBe(
      'PostgreSQL in … does not accept connections of "sentences" from this host (role "sentences" is not permitted to log in). Check DATABASE_URL, and pg_hba.conf',
    );
    await change("alter role sentences login");
    const guarded = but(superuser, (url) => Object.assign(url, { username: "sentences", password: SECRET }));
    await change(`
      create function refuse() returns event_trigger language plpgsql as $$ begin
        if session_user = 'sentences' then raise 'closed on Sundays'; end if;
      end $$;
      create event trigger sundays on login execute function refuse();
    `);
    expect((await refusal(run(guarded))).replace(sockets, "…")).toBe(
      "PostgreSQL in … reported: closed on Sundays (SQLSTATE P0001). A trigger or function that is not part of chatify raised this: " +
        "remove it, or give chatify its own database",
    );
  });

  test("migrate ignores the role's timeouts", async () => {
    const url = await role("hasty");
    await ask(url, (sql) =>
      sql.unsafe("alter role hasty set transaction_timeout = '1s'; alter role hasty set statement_timeout = '1s'"),
    );
    const slow = copyOfSql();
    appendFileSync(join(slow, "0001_users.sql"), "select pg_sleep(1.5);\n");
    await run(url, { directory: slow });
    expect(await contents(url)).toContain("r messages");
  });

  test("migrate reports a connection limit that is too low", async () => {
    const url = await role("few", "connection limit 3");
    expect(await refusal(run(url, { connections: 7 }))).toBe(
      'The role "few" is limited to 3 connections, and chatify needs 7: alter role "few" connection limit -1',
    );
    const name = new URL(url).pathname.slice(1);
    const superuser = await emptyDatabase();
    await ask(superuser, (sql) =>
      sql.unsafe(`alter role few connection limit -1; alter database ${name} connection limit 6`),
    );
    expect(await refusal(run(url, { connections: 7 }))).toBe(
      `The database "${name}" is limited to 6 connections, and chatify needs 7: alter database "${name}" connection limit -1`,
    );
    await run(url, { connections: 6 });
    expect(await contents(url)).toContain("r messages");
  });

  test("migrate distinguishes a wrong password, unknown user, unknown database, missing privilege and missing socket", async () => {
    const url = await emptyDatabase();
    const sockets = new URL(url).searchParams.get("host")!;
    const database = new URL(url).pathname.slice(1);
    await ask(url, (sql) => sql.unsafe(`create role reader login password '${SECRET}'`));
    const asked = await Promise.all([
      refusal(run(but(url, (url) => (url.password = SECRET)))),
      refusal(run(but(url, (url) => ((url.username = "stranger"), (url.password = SECRET))))),
      refusal(run(but(url, (url) => (url.pathname = "/nowhere")))),
      refusal(run(but(url, (url) => ((url.username = "reader"), (url.password = SECRET))))),
      refusal(run(but(url, (url) => url.searchParams.set("host", "/nowhere")))),
    ]);
    expect(asked).toEqual([
      `PostgreSQL in ${sockets} rejected the password of "chatify". Check DATABASE_URL`,
      `PostgreSQL in ${sockets} rejected the password of "stranger". Check DATABASE_URL`,
      `PostgreSQL in ${sockets} has no database "nowhere": create it (createdb nowhere), or change DATABASE_URL`,
      `"reader" lacks a privilege in the database "${database}" (permission denied for schema public): make it the owner of the database and of its tables`,
      "There is no PostgreSQL socket in /nowhere. Is the server running? Check DATABASE_URL",
    ]);
    expect(asked.join()).not.toContain(SECRET);
  });

  test("migrate distinguishes a closed port, an unknown host, and servers that are silent, hang up or are no PostgreSQL", async () => {
    const servers = {
      silent: createServer(() => {}),
      hangsUp: createServer((socket) => socket.end()),
      web: createServer((socket) => socket.on("data", () => socket.end("HTTP/1.1 400 Bad Request\r\n\r\n"))),
    };
    const ports = await Promise.all(Object.values(servers).map(listen));
    const closed = await listen(createServer());
    const silence = (port: number) =>
      `The server at 127.0.0.1:${port} did not respond in time. Check DATABASE_URL, and whether a firewall blocks the connection`;
    try {
      const begun = performance.now();
      const to = (host: string) => refusal(run(`postgres://ann:${SECRET}@${host}/chat`));
      const asked = await Promise.all([
        to(`127.0.0.1:${closed}`),
        to("no-such-host.invalid"),
        ...ports.map((port) => to(`127.0.0.1:${port}`)),
      ]);
      expect(asked).toEqual([
        `Nothing is listening at 127.0.0.1:${closed}. Is PostgreSQL running there? Check DATABASE_URL`,
        "The host name does not exist (at no-such-host.invalid:5432). Check DATABASE_URL",
        ...ports.map(silence),
      ]);
      expect(performance.now() - begun).toBeLessThan(15_000);
    } finally {
      for (const server of Object.values(servers)) server.close();
    }
  });
});

/** Listens on a free port. @returns it; a server without a listener for connections is closed again at once */
async function listen(server: ReturnType<typeof createServer>): Promise<number> {
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  const { port } = server.address() as { port: number };
  if (server.listenerCount("connection") === 0) await new Promise((closed) => server.close(closed));
  return port;
}
