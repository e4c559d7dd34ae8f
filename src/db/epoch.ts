/**
 * Whether the database is still the one that pages hold copies of. Its epoch is a random id in `settings`, replaced when the database may
 * have gone back: another cluster or database, a restored dump, a promotion, and any start of PostgreSQL across which no running pod can
 * vouch for it, since a copy of the data directory that was put back looks like an ordinary start.
 */

import { errorText, type Log } from "../log.ts";
import type { Database } from "./client.ts";

const CHECKED_EVERY_MS = 2_000;

/** What one look at the database found. */
export interface EpochReading {
  readonly epoch: string;
  /** The database: what a restored dump, another cluster or a promotion changes. */
  readonly identity: string;
  /** Of PostgreSQL, as text. */
  readonly startedAt: string;
  /** The write-ahead log that was on the disk, in bytes: what PostgreSQL may not lose. */
  readonly flushed: bigint;
}

/** What `settings` keeps. */
interface StoredEpoch {
  readonly epoch: string;
  readonly identity: string;
  readonly startedAt: string;
  /** Where the write-ahead log ended when this PostgreSQL started. */
  readonly startedWith: string;
  /** The transaction that wrote it. A dump that is restored is written by another. */
  readonly xid: string;
}

/**
 * The epoch of the database, and what was seen with it. Registers another epoch when the database may have gone back; of several pods that do
 * so at once all get the same.
 *
 * @param seen the last sighting of this process: it vouches that nothing it saw has been lost
 */
export async function readEpoch(db: Database, seen?: EpochReading): Promise<EpochReading> {
  for (;;) {
    const { kept, now, version } = await look(db);
    if (seen && !now.isWhole) return seen; // a dump is being restored
    const { identity, startedAt, flushed } = now;
    const sameStart = kept?.identity === identity && kept.startedAt === startedAt;
    const vouches = seen !== undefined && seen.epoch === kept?.epoch && seen.identity === identity;
    if (sameStart && !(vouches && wentBack(seen, kept, now)))
      return { epoch: kept.epoch, identity, startedAt, flushed };
    const goesOn = !sameStart && vouches && seen.flushed <= now.checkpoint;
    const epoch = goesOn ? kept.epoch : crypto.randomUUID();
    const registered = { epoch, identity, startedAt, startedWith: String(now.checkpoint) };
    if (await register(db, registered, version)) return { epoch, identity, startedAt, flushed };
  }
}

/** The same cluster and database, whatever happened to its content. */
export async function identityOf(db: Database): Promise<string> {
  const [row] = await db.run(
    (sql) => sql<[{ identity: string }]>`
      select system_identifier || '.' || (select oid from pg_database where datname = current_database()) as identity
      from pg_control_system()
    `,
  );
  return row.identity;
}

/** Whether less is there than this process has seen. */
function wentBack(seen: EpochReading, kept: StoredEpoch, now: { startedAt: string; flushed: bigint }): boolean {
  return seen.startedAt === now.startedAt ? now.flushed < seen.flushed : seen.flushed > BigInt(kept.startedWith);
}

interface Row {
  readonly identity: string;
  readonly isWhole: boolean;
  readonly startedAt: string;
  readonly checkpoint: string;
  readonly flushed: string;
  readonly value: string | null;
  readonly xmin: string | null;
}

async function look(db: Database) {
  const [row] = await db.run(
    // Timeline: a promotion. File of the table: a dump restored over it. The primary key is made last, so without it a restore is under way.
    // The checkpoint is the last before this start or the one that ended its recovery: all that this start found.
    (sql) => sql<[Row]>`
      select
        concat_ws('.',
          (select system_identifier from pg_control_system()),
          (select oid from pg_database where datname = current_database()),
          substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8),
          pg_relation_filenode(to_regclass('messages'))
        ) as identity,
        exists (
          select from pg_index where indrelid = to_regclass('messages') and indisprimary
        ) as "isWhole",
        extract(epoch from pg_postmaster_start_time())::text as "startedAt",
        ((select checkpoint_lsn from pg_control_checkpoint()) - '0/0')::text as checkpoint,
        (pg_current_wal_flush_lsn() - '0/0')::text as flushed,
        value,
        kept.xmin::text as xmin
      from (select) as one
      left join settings kept on name = 'epoch'
    `,
  );
  const { identity, isWhole, startedAt, value, xmin } = row;
  const kept = value === null ? undefined : (JSON.parse(value) as StoredEpoch);
  const isWrittenHere = kept !== undefined && BigInt.asUintN(32, BigInt(kept.xid)) === BigInt(xmin ?? 0);
  return {
    kept: isWrittenHere ? kept : undefined,
    now: { identity, isWhole, startedAt, checkpoint: BigInt(row.checkpoint), flushed: BigInt(row.flushed) },
    version: { value, xmin },
  };
}

/** Replaces what is kept, if it is still the version that was read. */
async function register(
  db: Database,
  kept: Omit<StoredEpoch, "xid">,
  version: { value: string | null; xmin: string | null },
): Promise<boolean> {
  const rows = await db.run(
    (sql) => sql`
      insert into settings (name, value)
      values ('epoch', (${JSON.stringify(kept)}::text::jsonb || jsonb_build_object('xid', pg_current_xact_id()::text))::text)
      on conflict (name) do update
      set value = excluded.value
      where settings.value = ${version.value} and settings.xmin::text = ${version.xmin}
      returning name
    `,
  );
  return rows.length > 0;
}

/** Keeps an eye on the epoch while a pod serves. */
export class EpochWatch {
  readonly #db: Database;
  readonly #log: Log;
  readonly #changed: () => void;
  #timer: Timer | undefined;
  #sighting: EpochReading | undefined;
  #checking: Promise<void> | undefined;

  /** @param parts.changed told of another epoch: pages have to come back */
  constructor({ db, log, changed }: { db: Database; log: Log; changed: () => void }) {
    this.#db = db;
    this.#log = log;
    this.#changed = changed;
  }

  /** @throws what `Database.run` does */
  async start(): Promise<void> {
    this.#sighting = await readEpoch(this.#db);
    this.#timer = setInterval(() => void this.check(), CHECKED_EVERY_MS);
  }

  /** "" before the start. */
  get epoch(): string {
    return this.#sighting?.epoch ?? "";
  }

  /** Looks now, or shares the look that is under way. Never throws: a database out of reach is looked at again. */
  check(): Promise<void> {
    this.#checking ??= this.#look().finally(() => {
      this.#checking = undefined;
    });
    return this.#checking;
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#sighting = undefined;
  }

  async #look(): Promise<void> {
    const seen = this.#sighting;
    if (!seen) return;
    try {
      const now = await readEpoch(this.#db, seen);
      if (!this.#sighting) return; // stopped meanwhile
      this.#sighting = now;
      if (now.epoch === seen.epoch) return;
      this.#log.warn("the database may have gone back, all pages reload", { was: seen.epoch, is: now.epoch });
      this.#changed();
    } catch (error) {
      this.#log.debug("epoch not read, trying again", { error: errorText(error) });
    }
  }
}
