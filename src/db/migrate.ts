/** Brings a database to the schema of `sql/`: every file once, in order, each in a transaction, under one lock for all pods. */

import { readdir } from "node:fs/promises";
import { join } from "node:path";

import type { Log } from "../log.ts";
import { adopt, isOriginal } from "./adopt.ts";
import { codeOf, connect, type Sql, stillCounted, type Target, withDeadline } from "./client.ts";

/** A database that cannot be served from. The message says why and what to do. */
export class DatabaseError extends Error {
  constructor(message: string, cause?: unknown) {
    super(message, { cause });
    this.name = "DatabaseError";
  }
}

interface Migration {
  readonly number: number;
  readonly file: string;
  readonly text: string;
  readonly checksum: string;
  /** Whether a chatify from before it may serve on beside one that knows it. */
  readonly oldRunsOn: boolean;
}

/** What the first line of a file says of that; one that says nothing is not trusted. */
const OLD_RUNS_ON = /^-- Old code runs on\b/;
/** Files from before they said so, all of which it does beside: they add tables, columns with defaults, and columns to what functions return. */
const UNSAID = 6;
/** The names under which pods serve; `…-migrate` and the commands do not. */
const POD_NAME = "^chatify-[0-9a-f]{8}$";

const NO_HURRY = { lock_timeout: 0, statement_timeout: 0, idle_in_transaction_session_timeout: 0 };
/** Any number, the same in every chatify: who holds this advisory lock migrates. */
const LOCK = 4_851_090_217;

/**
 * Applies what is missing. A pod that comes second waits for the first and finds nothing to do. A database of the original demo,
 * which has tables but no record of migrations, is adopted. While older pods serve, nothing is applied that they could not live with;
 * one that starts meanwhile waits, and then finds the database too new.
 *
 * @param options.directory of the numbered files
 * @param options.allowUnsafe serve although `fsync`, `full_page_writes` or `synchronous_commit` is off
 * @param options.say progress for a person
 * @throws DatabaseError out of reach, too old, newer than this program, changed files, older pods that cannot stay
 */
export async function migrate(
  target: Target,
  options: { directory: string; name: string; allowUnsafe: boolean; log: Log; say: (line: string) => void },
): Promise<void> {
  const migrations = await readMigrations(options.directory);
  const sql = connect(target, { name: `${options.name}-migrate`, parameters: NO_HURRY });
  try {
    await withDeadline(checkServer(sql, options.allowUnsafe));
    await takeLock(sql, options.say);
    const applied = await readApplied(sql);
    checkApplied(applied, migrations);
    const missing = migrations.filter(({ number }) => !applied.some((row) => row.number === number));
    if (missing.length === 0) return;
    if (applied.length > 0) await checkOlderPods(sql, missing);
    if (applied.length === 0 && (await isOriginal(sql))) {
      await sql.begin((tx) => adopt(tx, () => applyAll(tx, missing), options));
    } else {
      for (const migration of missing) await sql.begin((tx) => apply(tx, migration));
    }
    options.log.info("database migrated", { to: missing.at(-1)?.number });
  } catch (error) {
    throw explain(error, target);
  } finally {
    await sql.end({ timeout: 1 });
  }
}

/** Held until the connection ends, however it ends. */
async function takeLock(sql: Sql, say: (line: string) => void): Promise<void> {
  const [{ taken }] = await sql<[{ taken: boolean }]>`select pg_try_advisory_lock(${LOCK}::bigint) as taken`;
  if (taken) return;
  say("Waiting for another chatify that prepares the database …");
  await sql`select pg_advisory_lock(${LOCK}::bigint)`;
}

interface Applied {
  readonly number: number;
  readonly file: string;
  readonly checksum: string;
}

async function readApplied(sql: Sql): Promise<Applied[]> {
  const [{ found }] = await sql<[{ found: boolean }]>`select to_regclass('migrations') is not null as found`;
  if (!found) return [];
  return sql<Applied[]>`
    select number, file, checksum
    from migrations
    order by number
  `;
}

/** The files, in order. @throws RangeError when the numbers are not 1, 2, 3 … */
async function readMigrations(directory: string): Promise<Migration[]> {
  const files = (await readdir(directory)).filter((file) => /^\d{4}_.*\.sql$/.test(file)).toSorted();
  return Promise.all(
    files.map(async (file, i) => {
      if (Number(file.slice(0, 4)) !== i + 1)
        throw new RangeError(`Cannot migrate: sql/${file} is not number ${i + 1}`);
      const text = await Bun.file(join(directory, file)).text();
      const checksum = new Bun.CryptoHasher("sha256").update(text).digest("hex");
      return { number: i + 1, file, text, checksum, oldRunsOn: i < UNSAID || OLD_RUNS_ON.test(text) };
    }),
  );
}

async function applyAll(sql: Sql, migrations: readonly Migration[]): Promise<void> {
  for (const migration of migrations) await apply(sql, migration);
}

async function apply(tx: Sql, { number, file, text, checksum }: Migration): Promise<void> {
  await tx`
    create table if not exists migrations (
      number int primary key,
      file text not null,
      checksum text not null,
      applied_at timestamptz not null default now()
    )
  `;
  await tx`insert into migrations (number, file, checksum) values (${number}, ${file}, ${checksum})`;
  try {
    await tx.unsafe(text);
  } catch (error) {
    if (codeOf(error) !== "42P07") throw error;
    throw new DatabaseError(
      `This database has tables that are not chatify's (${messageOf(error)}), and nothing was changed. ` +
        "Give chatify a database of its own: create database chatify encoding 'UTF8' template template0",
      error,
    );
  }
}

async function checkServer(sql: Sql, allowUnsafe: boolean): Promise<void> {
  const [server] = await sql<
    [
      {
        version: number;
        name: string;
        encoding: string;
        standby: boolean;
        fsync: string;
        pages: string;
        commit: string;
      },
    ]
  >`
    select
      current_setting('server_version_num')::int as version,
      current_setting('server_version') as name,
      current_setting('server_encoding') as encoding,
      pg_is_in_recovery() as standby,
      current_setting('fsync') as fsync,
      current_setting('full_page_writes') as pages,
      current_setting('synchronous_commit') as commit
  `;
  if (server.version < 150_000) {
    throw new DatabaseError(`chatify needs PostgreSQL 15 or newer, this one is ${server.name}`);
  }
  if (server.encoding !== "UTF8") {
    throw new DatabaseError(
      `The database is encoded ${server.encoding}; chatify needs UTF8: create database chatify encoding 'UTF8' template template0`,
    );
  }
  if (server.standby)
    throw new DatabaseError("This PostgreSQL is a standby, which only reads: DATABASE_URL must name the primary");
  const { fsync, pages, commit } = server;
  const off = Object.entries({ fsync, full_page_writes: pages, synchronous_commit: commit }).filter(
    ([, value]) => value === "off",
  );
  if (off.length > 0 && !allowUnsafe) {
    throw new DatabaseError(
      `This PostgreSQL may lose messages it has confirmed, ${off.map(([name]) => `${name} is off`).join(", ")}. ` +
        "Turn it on, or set UNSAFE_DATABASE=on if its storage makes up for it",
    );
  }
}

function checkApplied(applied: readonly Applied[], known: readonly Migration[]): void {
  for (const row of applied) {
    const migration = known[row.number - 1];
    if (!migration) {
      throw new DatabaseError(
        `The database is newer than this chatify: it has ${row.file}, this program knows up to ${known.at(-1)?.file}. ` +
          "Start the newer chatify, or restore a backup from before the upgrade",
      );
    }
    if (migration.checksum !== row.checksum) {
      throw new DatabaseError(
        `sql/${migration.file} was changed after it was applied to this database: put the old text back`,
      );
    }
  }
}

/** Pods of an older version serve on during a rollout: what would break them has to wait until they are stopped. */
async function checkOlderPods(sql: Sql, missing: readonly Migration[]): Promise<void> {
  const breaking = missing.find(({ oldRunsOn }) => !oldRunsOn);
  if (!breaking) return;
  const pods = await stillCounted(async () => {
    const [row] = await sql<[{ pods: number }]>`
      select count(distinct application_name)::int as pods
      from pg_stat_activity
      where datname = current_database() and application_name ~ ${POD_NAME}
    `;
    return row.pods;
  });
  if (pods === 0) return;
  throw new DatabaseError(
    `The upgrade needs sql/${breaking.file}, which the older chatify cannot live with, and ${pods} of it serve: stop them, then ` +
      "start this one (docs/upgrading.md). Nothing was changed",
  );
}

/** Failures a host can mend, in plain words; the password of the target is never repeated. */
function explain(error: unknown, target: Target): unknown {
  const code = codeOf(error);
  const { where, user, database } = describe(target);
  const look = "Check DATABASE_URL";
  const silent = `The server ${where} did not answer in time. ${look}: is it a PostgreSQL, and is there a firewall between?`;
  const words: Record<string, string> = {
    ECONNREFUSED: `Nothing answers ${where}. Is PostgreSQL running there? ${look}`,
    ENOENT: `There is no PostgreSQL ${where}. Is it running? ${look}`,
    ENOTFOUND: `There is no host of that name (${where}). ${look}`,
    EHOSTUNREACH: `No way leads to the server ${where}. ${look}, and the network`,
    ENETUNREACH: `No way leads to the server ${where}. ${look}, and the network`,
    ETIMEDOUT: silent,
    CONNECT_TIMEOUT: silent,
    DEADLINE: silent,
    CONNECTION_CLOSED: `The server ${where} closed the connection. Is it a PostgreSQL, and does it take connections from here?`,
    ECONNRESET: `The server ${where} closed the connection. Is it a PostgreSQL, and does it speak TLS if DATABASE_URL asks for it?`,
    "08P01": `The server ${where} refuses how chatify speaks to it. A pooler (PgBouncer) cannot stand between: name PostgreSQL itself in DATABASE_URL`,
    "25006": `PostgreSQL ${where} only reads: DATABASE_URL must name the primary, and a database that may be written`,
    "2BP01": `Things of yours depend on the tables of the original (${detailOf(error)}): drop them, start chatify, make them again. Nothing was changed`,
    "28P01": `PostgreSQL ${where} refused the password of "${user}". ${look}`,
    "28000": `PostgreSQL ${where} does not let "${user}" in from here (pg_hba.conf), or knows no such user. ${look}`,
    "3D000": `PostgreSQL ${where} has no database "${database}": create it (createdb ${database}), or change DATABASE_URL`,
    "42501": `"${user}" lacks a right in the database "${database}" (${messageOf(error)}): make it the owner of the database and of its tables`,
    "53100": `The disk of PostgreSQL ${where} is full: free some space`,
    "53300": `PostgreSQL ${where} has no connection left. Raise max_connections, or end some`,
    "55P03": "Something is using the tables of the original: stop it, then start chatify again. Nothing was changed",
    "57P03": `PostgreSQL ${where} is starting or stopping. Try again in a moment`,
  };
  const plain = words[code];
  return plain === undefined ? error : new DatabaseError(plain, error);
}

/** A target as a host knows it, without the password. */
function describe(target: Target): { where: string; user: string; database: string } {
  if (typeof target !== "string") {
    return { where: `in ${target.host}`, user: target.username, database: target.database };
  }
  const url = new URL(target);
  const socket = url.searchParams.get("host");
  return {
    where: socket?.startsWith("/") ? `in ${socket}` : `at ${url.hostname || "localhost"}:${url.port || 5432}`,
    user: decodeURIComponent(url.username),
    database: decodeURIComponent(url.pathname.slice(1)),
  };
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** What PostgreSQL adds to its message: which things, one a line. */
function detailOf(error: unknown): string {
  const detail = error instanceof Error && "detail" in error ? String(error.detail) : messageOf(error);
  return detail.replaceAll("\n", ", ");
}
