/** Applies the missing files of `sql/` in one transaction, under a lock that all pods share. */

import { readdir } from "node:fs/promises";
import { join } from "node:path";

import type { Log } from "../log.ts";
import { connect, remainingConnections, type Sql, type Target, withDeadline } from "./client.ts";
import { codeOf, isConflict } from "./failures.ts";
import { adopt, isOriginal } from "./import_original.ts";
import { POD_APPLICATION_NAME } from "./pods.ts";
import { DatabaseError, explain, foreignTables } from "./start_failure.ts";

export { DatabaseError };

interface Migration {
  readonly number: number;
  readonly file: string;
  /**
   * With LF line endings, even if git made them CRLF: PostgreSQL stores function bodies verbatim.
   */
  readonly text: string;
  readonly checksum: string;
  /** With CRLF line endings, as earlier versions recorded it on Windows. */
  readonly checksumWindows: string;
  /** Whether pods of the previous version can keep serving after this migration. */
  readonly oldRunsOn: boolean;
}

/** First line of a compatible file; any other is assumed to break older pods. */
const OLD_RUNS_ON = /^-- Old code runs on\b/;
/** The first file of development versions, whose tables cannot be migrated. */
const DEVELOPMENT_FILE = "0001_users_sessions.sql";

/**
 * Practically unlimited, yet recognizable: `checkServer` reads it back to detect a pooler that drops
 * session settings.
 */
const UNLIMITED_MS = 2_147_483_647;
const UNLIMITED = { lock_timeout: UNLIMITED_MS, statement_timeout: UNLIMITED_MS };
/** For a transaction that deadlocks with running pods. */
const ATTEMPTS = 5;
/** Key of the advisory lock; arbitrary, but the same in every version. */
const LOCK = 4_851_090_217;

/**
 * Applies missing migrations, or imports a database of the original demo. A second pod waits for
 * the first. Rejects migrations that would break older pods while any are serving; an older pod that
 * starts meanwhile waits, then rejects the database as too new.
 *
 * @param options.directory contains the numbered files
 * @param options.allowUnsafe serve although `fsync`, `full_page_writes` or `synchronous_commit` is
 *   off
 * @param options.connections how many connections this process needs
 * @param options.say prints progress to the terminal
 * @throws DatabaseError if PostgreSQL is unreachable or too old, the schema too new, an applied
 *   file has changed, or a migration would break running pods
 */
export async function migrate(
  target: Target,
  options: {
    directory: string;
    name: string;
    allowUnsafe: boolean;
    connections?: number;
    log: Log;
    say: (line: string) => void;
  },
): Promise<void> {
  const migrations = await readMigrations(options.directory);
  const sql = connect(target, { name: `${options.name}-migrate`, parameters: UNLIMITED });
  try {
    await withDeadline(checkServer(sql, options.allowUnsafe));
    await checkLimits(sql, options.connections ?? 1);
    await checkCommit(sql);
    await sql`
      select set_config('transaction_timeout', '0', false)
      where current_setting('server_version_num')::int >= 170000 -- older versions lack the setting
    `;
    await takeLock(sql, options.say);
    const applied = await readApplied(sql);
    checkApplied(applied, migrations);
    const missing = migrations.filter(({ number }) => !applied.some((row) => row.number === number));
    if (missing.length === 0) return;
    if (applied.length > 0) await checkOlderPods(sql, missing);
    const original = applied.length === 0 && (await isOriginal(sql));
    if (applied.length === 0 && !original) await checkSequence(sql);
    await retryConflicts(() =>
      sql.begin((tx) => (original ? adopt(tx, () => applyAll(tx, missing), options) : applyAll(tx, missing))),
    );
    options.log.info("database migrated", { to: missing.at(-1)?.number });
  } catch (error) {
    throw explain(error, target);
  } finally {
    await sql.end({ timeout: 1 });
  }
}

/** If its name were taken, PostgreSQL would name the sequence of `messages.id` differently. */
async function checkSequence(sql: Sql): Promise<void> {
  const [{ isTaken }] = await sql<
    [{ isTaken: boolean }]
  >`select to_regclass('messages_id_seq') is not null and to_regclass('messages') is null as "isTaken"`;
  if (isTaken) throw new DatabaseError(foreignTables('relation "messages_id_seq" already exists'));
}

/** The lock is held until the connection closes. */
async function takeLock(sql: Sql, say: (line: string) => void): Promise<void> {
  const [{ taken }] = await sql<[{ taken: boolean }]>`select pg_try_advisory_lock(${LOCK}::bigint) as taken`;
  if (taken) return;
  say("Waiting for another chatify process to migrate the database …");
  await sql`select pg_advisory_lock(${LOCK}::bigint)`;
}

interface Applied {
  readonly number: number;
  readonly file: string;
  readonly checksum: string;
}

async function readApplied(sql: Sql): Promise<Applied[]> {
  const [{ columns }] = await sql<[{ columns: number | null }]>`
    select case when to_regclass('migrations') is not null then (
      select count(*)
      from pg_attribute
      where attrelid = to_regclass('migrations') and attname in ('number', 'file', 'checksum')
    ) end as columns
  `;
  if (columns === null) return [];
  if (columns < 3) throw new DatabaseError(foreignTables('relation "migrations" already exists'));
  return sql<Applied[]>`
    select number, file, checksum
    from migrations
    order by number
  `;
}

/** The files in order. @throws RangeError unless they are numbered 1, 2, 3 … */
async function readMigrations(directory: string): Promise<Migration[]> {
  const files = (await readdir(directory)).filter((file) => /^\d{4}_.*\.sql$/.test(file)).toSorted();
  return Promise.all(
    files.map(async (file, i) => {
      if (Number(file.slice(0, 4)) !== i + 1)
        throw new RangeError(`Cannot migrate: sql/${file} is not number ${i + 1}`);
      const text = (await Bun.file(join(directory, file)).text()).replaceAll("\r\n", "\n");
      const checksum = sha256(text);
      const checksumWindows = sha256(text.replaceAll("\n", "\r\n"));
      return {
        number: i + 1,
        file,
        text,
        checksum,
        checksumWindows,
        oldRunsOn: OLD_RUNS_ON.test(text),
      };
    }),
  );
}

function sha256(text: string): string {
  return new Bun.CryptoHasher("sha256").update(text).digest("hex");
}

/** Retries after a deadlock with a running pod, which rolled the attempt back. */
async function retryConflicts(change: () => Promise<unknown>): Promise<void> {
  for (let tries = 1; ; tries++) {
    try {
      return void (await change());
    } catch (error) {
      if (!isConflict(error) || tries === ATTEMPTS) throw error;
    }
  }
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
  await tx.unsafe(text);
}

async function checkServer(sql: Sql, allowUnsafe: boolean): Promise<void> {
  const [server] = await sql<
    [
      {
        version: number;
        name: string;
        encoding: string;
        standby: boolean;
        readOnly: boolean;
        lockTimeout: number;
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
      current_setting('transaction_read_only')::boolean as "readOnly",
      (select setting::bigint from pg_settings where name = 'lock_timeout') as "lockTimeout",
      current_setting('fsync') as fsync,
      current_setting('full_page_writes') as pages,
      current_setting('synchronous_commit') as commit
  `;
  if (server.version < 150_000) {
    throw new DatabaseError(`chatify needs PostgreSQL 15 or newer; this server runs ${server.name}`);
  }
  if (server.encoding !== "UTF8") {
    throw new DatabaseError(
      `The database's encoding is ${server.encoding}, but chatify needs UTF8: create database chatify encoding 'UTF8' template template0`,
    );
  }
  if (server.standby)
    throw new DatabaseError("This PostgreSQL is a read-only standby: DATABASE_URL must name the primary");
  if (server.readOnly) {
    throw new DatabaseError(
      "This PostgreSQL is read-only (default_transaction_read_only is on for the server, the database or the role): turn it off",
    );
  }
  if (server.lockTimeout !== UNLIMITED_MS) {
    throw new DatabaseError(
      "A pooler between chatify and PostgreSQL (such as PgBouncer) drops session settings: DATABASE_URL must point to PostgreSQL itself",
    );
  }
  const { fsync, pages, commit } = server;
  const off = Object.entries({ fsync, full_page_writes: pages, synchronous_commit: commit }).filter(
    ([, value]) => value === "off",
  );
  if (off.length > 0 && !allowUnsafe) {
    throw new DatabaseError(
      `This PostgreSQL may lose committed messages: ${off.map(([name]) => `${name} is off`).join(", ")}. ` +
        "Turn it on, or set UNSAFE_DATABASE=on if its storage guarantees durability",
    );
  }
}

/** Rejects too low connection limits now; otherwise connections would fail only under load. */
async function checkLimits(sql: Sql, needed: number): Promise<void> {
  const [limit] = await sql<[{ user: string; database: string; ofRole: number; ofDatabase: number; ofServer: number }]>`
    select
      r.rolname as user,
      d.datname as database,
      case when r.rolsuper then -1 else r.rolconnlimit end as "ofRole",
      case when r.rolsuper then -1 else d.datconnlimit end as "ofDatabase",
      current_setting('max_connections')::int - case when r.rolsuper then 0 else
        current_setting('superuser_reserved_connections')::int + coalesce(current_setting('reserved_connections', true)::int, 0)
      end as "ofServer"
    from pg_roles r, pg_database d
    where r.rolname = session_user and d.datname = current_database()
  `;
  const { user, database, ofRole, ofDatabase, ofServer } = limit;
  const tooFew = (have: number) => have >= 0 && have < needed;
  const limitError = (what: string, have: number, way: string) =>
    new DatabaseError(`${what} ${have} connections, and chatify needs ${needed}: ${way}`);
  if (tooFew(ofRole))
    throw limitError(`The role "${user}" is limited to`, ofRole, `alter role "${user}" connection limit -1`);
  if (tooFew(ofDatabase))
    throw limitError(
      `The database "${database}" is limited to`,
      ofDatabase,
      `alter database "${database}" connection limit -1`,
    );
  if (tooFew(ofServer)) throw limitError("This PostgreSQL accepts", ofServer, "raise max_connections");
}

/** Detects a missing synchronous standby, for which every commit would wait forever. */
async function checkCommit(sql: Sql): Promise<void> {
  const [{ standbys }] = await sql<
    [{ standbys: string }]
  >`select current_setting('synchronous_standby_names') as standbys`;
  if (standbys === "") return;
  try {
    await withDeadline(sql`select pg_logical_emit_message(true, 'chatify', '')`);
  } catch (error) {
    if (codeOf(error) !== "DEADLINE") throw error;
    throw new DatabaseError(
      `PostgreSQL cannot commit: it is waiting for a synchronous standby (synchronous_standby_names is ${standbys}): start the standby, or change the setting`,
    );
  }
}

function checkApplied(applied: readonly Applied[], known: readonly Migration[]): void {
  if (applied[0]?.file === DEVELOPMENT_FILE) {
    throw new DatabaseError(
      "A development version of chatify, from before the first release, made this database, and this version cannot migrate it: " +
        "start with an empty database (another DATA_DIR or DATABASE_URL). Nothing was changed",
    );
  }
  for (const row of applied) {
    const migration = known[row.number - 1];
    const hasChanged = ![migration?.checksum, migration?.checksumWindows].includes(row.checksum);
    if (row.number < 1 || (migration && hasChanged && migration.file !== row.file))
      throw new DatabaseError(foreignTables(`the table "migrations" lists ${row.file}`));
    if (!migration) {
      throw new DatabaseError(
        `The database is newer than this chatify: it has ${row.file}, this version knows up to ${known.at(-1)?.file}. ` +
          "Start the newer chatify, or restore a backup from before the upgrade",
      );
    }
    if (hasChanged) {
      throw new DatabaseError(
        `sql/${migration.file} was changed after it was applied to this database: restore its old content`,
      );
    }
  }
  const lost = known.find(({ number }, i) => i < applied.length && applied[i]?.number !== number);
  if (lost) {
    throw new DatabaseError(
      `The table "migrations" lists a later file but not sql/${lost.file}: restore a backup. Nothing was changed`,
    );
  }
}

/** Rejects migrations that would break older pods, which keep serving during a rollout. */
async function checkOlderPods(sql: Sql, missing: readonly Migration[]): Promise<void> {
  const breaking = missing.find(({ oldRunsOn }) => !oldRunsOn);
  if (!breaking) return;
  const pods = await remainingConnections(async () => {
    const [row] = await sql<[{ pods: number }]>`
      select count(distinct application_name)::int as pods
      from pg_stat_activity
      where datname = current_database() and application_name ~ ${POD_APPLICATION_NAME}
    `;
    return row.pods;
  });
  if (pods === 0) return;
  const older = pods === 1 ? "1 older pod is" : `${pods} older pods are`;
  throw new DatabaseError(
    `The upgrade applies sql/${breaking.file}, which breaks older versions, and ${older} running: ` +
      "stop them, then start this version (docs/upgrading.md). Nothing was changed",
  );
}
