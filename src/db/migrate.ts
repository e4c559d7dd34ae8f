/** Brings a database to the schema of `sql/`: every file once, in order, each in a transaction, under one lock for all pods. */

import { readdir } from "node:fs/promises";
import { join } from "node:path";

import type { Log } from "../log.ts";
import { adopt, isOriginal } from "./adopt.ts";
import { codeOf, connect, type Sql, type Target } from "./client.ts";

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
}

/** Any number, the same in every chatify: who holds this advisory lock migrates. */
const LOCK = 4_851_090_217;

/**
 * Applies what is missing. A pod that comes second waits for the first and finds nothing to do. A database of the original demo,
 * which has tables but no record of migrations, is adopted.
 *
 * @param options.directory of the numbered files
 * @param options.allowUnsafe serve although `fsync` or `full_page_writes` is off
 * @param options.say progress for a person
 * @throws DatabaseError out of reach, too old, newer than this program, changed files
 */
export async function migrate(
  target: Target,
  options: { directory: string; name: string; allowUnsafe: boolean; log: Log; say: (line: string) => void },
): Promise<void> {
  const migrations = await readMigrations(options.directory);
  const sql = connect(target, { name: `${options.name}-migrate`, parameters: { lock_timeout: 0, statement_timeout: 0 } });
  try {
    await checkServer(sql, options.allowUnsafe);
    await sql`select pg_advisory_lock(${LOCK}::bigint)`;
    await sql`
      create table if not exists migrations (
        number int primary key,
        file text not null,
        checksum text not null,
        applied_at timestamptz not null default now()
      )
    `;
    const applied = await sql<{ number: number; file: string; checksum: string }[]>`
      select number, file, checksum
      from migrations
      order by number
    `;
    checkApplied(applied, migrations);
    const missing = migrations.filter(({ number }) => !applied.some((row) => row.number === number));
    if (applied.length === 0 && (await isOriginal(sql))) {
      await sql.begin((tx) => adopt(tx, () => applyAll(tx, missing), options));
    } else {
      for (const migration of missing) await sql.begin((tx) => apply(tx, migration));
    }
    if (missing.length > 0) options.log.info("database migrated", { to: missing.at(-1)?.number });
  } catch (error) {
    throw explain(error, target);
  } finally {
    await sql.end({ timeout: 1 });
  }
}

/** The files, in order. @throws RangeError when the numbers are not 1, 2, 3 … */
async function readMigrations(directory: string): Promise<Migration[]> {
  const files = (await readdir(directory)).filter((file) => /^\d{4}_.*\.sql$/.test(file)).toSorted();
  return Promise.all(
    files.map(async (file, i) => {
      if (Number(file.slice(0, 4)) !== i + 1) throw new RangeError(`Cannot migrate: sql/${file} is not number ${i + 1}`);
      const text = await Bun.file(join(directory, file)).text();
      return { number: i + 1, file, text, checksum: new Bun.CryptoHasher("sha256").update(text).digest("hex") };
    }),
  );
}

async function applyAll(sql: Sql, migrations: readonly Migration[]): Promise<void> {
  for (const migration of migrations) await apply(sql, migration);
}

async function apply(sql: Sql, { number, file, text, checksum }: Migration): Promise<void> {
  await sql`insert into migrations (number, file, checksum) values (${number}, ${file}, ${checksum})`;
  await sql.unsafe(text);
}

async function checkServer(sql: Sql, allowUnsafe: boolean): Promise<void> {
  const [server] = await sql<[{ version: number; encoding: string; fsync: string; pages: string; name: string }]>`
    select
      current_setting('server_version_num')::int as version,
      current_setting('server_version') as name,
      current_setting('server_encoding') as encoding,
      current_setting('fsync') as fsync,
      current_setting('full_page_writes') as pages
  `;
  if (server.version < 150_000) {
    throw new DatabaseError(`chatify needs PostgreSQL 15 or newer, this one is ${server.name}`);
  }
  if (server.encoding !== "UTF8") {
    throw new DatabaseError(
      `The database is encoded ${server.encoding}; chatify needs UTF8: create database chatify encoding 'UTF8' template template0`,
    );
  }
  if (!allowUnsafe && (server.fsync !== "on" || server.pages !== "on")) {
    throw new DatabaseError(
      `This PostgreSQL may lose messages it has confirmed: fsync is ${server.fsync}, full_page_writes is ${server.pages}. ` +
        "Turn both on, or set UNSAFE_DATABASE=on if its storage makes up for it",
    );
  }
}

function checkApplied(applied: readonly { number: number; file: string; checksum: string }[], known: readonly Migration[]): void {
  for (const row of applied) {
    const migration = known[row.number - 1];
    if (!migration) {
      throw new DatabaseError(
        `The database is newer than this chatify: it has ${row.file}, this program knows up to ${known.at(-1)?.file}. ` +
          "Start the newer chatify, or restore a backup from before the upgrade",
      );
    }
    if (migration.checksum !== row.checksum) {
      throw new DatabaseError(`sql/${migration.file} was changed after it was applied to this database: put the old text back`);
    }
  }
}

/** Failures a host can mend, in plain words; the password of the target is never repeated. */
function explain(error: unknown, target: Target): unknown {
  const code = codeOf(error);
  const url = typeof target === "string" ? URL.parse(target) : undefined;
  const where = url ? `${url.hostname || "localhost"}:${url.port || 5432}` : "the embedded PostgreSQL";
  const name = url ? decodeURIComponent(url.pathname.slice(1)) : "";
  const words: Record<string, string> = {
    ECONNREFUSED: `Nothing answers at ${where}. Is PostgreSQL running there? DATABASE_URL says where to look`,
    ENOTFOUND: `There is no host ${url?.hostname}. Check DATABASE_URL`,
    CONNECT_TIMEOUT: `${where} did not answer within 5 s. Check DATABASE_URL, and any firewall between`,
    CONNECTION_CLOSED: `${where} closed the connection. Is it a PostgreSQL, and does it take connections from here?`,
    "28P01": `PostgreSQL at ${where} refused the password of "${url?.username}". Check DATABASE_URL`,
    "28000": `PostgreSQL at ${where} lets "${url?.username}" in from elsewhere only (pg_hba.conf), or there is no such user`,
    "3D000": `PostgreSQL at ${where} has no database "${name}": create it (createdb ${name}), or change DATABASE_URL`,
    "42501": `"${url?.username}" may not make tables in "${name}": grant create on schema public, or make it the owner`,
    "53300": `PostgreSQL at ${where} has no connection left. Raise max_connections, or end some`,
    "57P03": `PostgreSQL at ${where} is starting or stopping. Try again in a moment`,
  };
  const plain = words[code];
  return plain === undefined ? error : new DatabaseError(plain, error);
}
