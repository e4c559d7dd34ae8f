/**
 * Detects that the database may have been restored to an earlier state, which invalidates the
 * pages' copies. Replaces the epoch, a random id in `settings`, after a change of cluster or
 * database, a restored dump, a promotion, or a start of PostgreSQL for which no running pod can
 * prove that nothing was lost: a restored data directory looks like an ordinary start.
 */

import { errorText, type Log } from "../log.ts";
import type { Database } from "./database.ts";

const CHECKED_EVERY_MS = 2_000;

/** The state of the database at one check. */
export interface EpochReading {
  readonly epoch: string;
  /** Identifies the database; changes with a restored dump, another cluster or a promotion. */
  readonly identity: string;
  /** Start time of PostgreSQL, as text. */
  readonly startedAt: string;
  /** Position in bytes up to which the WAL was flushed: nothing before it may be lost. */
  readonly flushed: bigint;
}

/** The value stored in `settings`. */
interface StoredEpoch {
  readonly epoch: string;
  readonly identity: string;
  readonly startedAt: string;
  /** Where the WAL ended when this PostgreSQL started. */
  readonly startedWith: string;
  /** The transaction that wrote this value. Restoring a dump writes it in another one. */
  readonly xid: string;
}

/**
 * Reads the epoch. Registers a new one if the database may have gone back; pods that do so
 * concurrently all get the same one.
 *
 * @param seen the last reading of this process, which can prove that nothing up to it was lost
 */
export async function readEpoch(db: Database, seen?: EpochReading): Promise<EpochReading> {
  for (;;) {
    const { stored, now, version } = await readState(db);
    if (seen && !now.isWhole) return seen; // a dump is being restored
    const { identity, startedAt, flushed } = now;
    const sameStart = stored?.identity === identity && stored.startedAt === startedAt;
    const provesNoLoss = seen !== undefined && seen.epoch === stored?.epoch && seen.identity === identity;
    if (sameStart && !(provesNoLoss && wentBack(seen, stored, now)))
      return { epoch: stored.epoch, identity, startedAt, flushed };
    const continues = !sameStart && provesNoLoss && seen.flushed <= now.checkpoint;
    const epoch = continues ? stored.epoch : crypto.randomUUID();
    const registered = { epoch, identity, startedAt, startedWith: String(now.checkpoint) };
    if (await register(db, registered, version)) return { epoch, identity, startedAt, flushed };
  }
}

/** Identifies the cluster and database, regardless of content. */
export async function databaseIdOf(db: Database): Promise<string> {
  const [row] = await db.run(
    (sql) => sql<[{ identity: string }]>`
      select system_identifier || '.' || (select oid from pg_database where datname = current_database()) as identity
      from pg_control_system()
    `,
  );
  return row.identity;
}

/** Whether the database lost changes that this process has seen. */
function wentBack(seen: EpochReading, stored: StoredEpoch, now: { startedAt: string; flushed: bigint }): boolean {
  return seen.startedAt === now.startedAt ? now.flushed < seen.flushed : seen.flushed > BigInt(stored.startedWith);
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

async function readState(db: Database) {
  const [row] = await db.run(
    // A promotion changes the timeline, restoring a dump over the table its file node. A restore
    // creates the primary key last. The checkpoint marks what this start found: it is the last one
    // before the start, or the one that ended recovery.
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
        stored.xmin::text as xmin
      from (select) as one
      left join settings stored on name = 'epoch'
    `,
  );
  const { identity, isWhole, startedAt, value, xmin } = row;
  const stored = value === null ? undefined : (JSON.parse(value) as StoredEpoch);
  const isWrittenHere = stored !== undefined && BigInt.asUintN(32, BigInt(stored.xid)) === BigInt(xmin ?? 0);
  return {
    stored: isWrittenHere ? stored : undefined,
    now: { identity, isWhole, startedAt, checkpoint: BigInt(row.checkpoint), flushed: BigInt(row.flushed) },
    version: { value, xmin },
  };
}

/** Replaces the stored epoch unless it changed since `version` was read. */
async function register(
  db: Database,
  stored: Omit<StoredEpoch, "xid">,
  version: { value: string | null; xmin: string | null },
): Promise<boolean> {
  const rows = await db.run(
    (sql) => sql`
      insert into settings (name, value)
      values ('epoch', (${JSON.stringify(stored)}::text::jsonb || jsonb_build_object('xid', pg_current_xact_id()::text))::text)
      on conflict (name) do update
      set value = excluded.value
      where settings.value = ${version.value} and settings.xmin::text = ${version.xmin}
      returning name
    `,
  );
  return rows.length > 0;
}

/** Checks the epoch periodically while a pod serves. */
export class EpochWatch {
  readonly #db: Database;
  readonly #log: Log;
  readonly #changed: () => void;
  #timer: Timer | undefined;
  #reading: EpochReading | undefined;
  #checking: Promise<void> | undefined;

  /** @param parts.changed called when the epoch changes: clients must reload */
  constructor({ db, log, changed }: { db: Database; log: Log; changed: () => void }) {
    this.#db = db;
    this.#log = log;
    this.#changed = changed;
  }

  /** @throws as `Database.run` */
  async start(): Promise<void> {
    this.#reading = await readEpoch(this.#db);
    this.#timer = setInterval(() => void this.check(), CHECKED_EVERY_MS);
  }

  /** "" before the start. */
  get epoch(): string {
    return this.#reading?.epoch ?? "";
  }

  /** Checks now, or joins a running check. Never throws: a failed check is repeated later. */
  check(): Promise<void> {
    this.#checking ??= this.#check().finally(() => {
      this.#checking = undefined;
    });
    return this.#checking;
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#reading = undefined;
  }

  async #check(): Promise<void> {
    const seen = this.#reading;
    if (!seen) return;
    try {
      const now = await readEpoch(this.#db, seen);
      if (!this.#reading) return; // stopped meanwhile
      this.#reading = now;
      if (now.epoch === seen.epoch) return;
      this.#log.warn("the database may have been restored to an earlier state, all pages reload", {
        from: seen.epoch,
        to: now.epoch,
      });
      this.#changed();
    } catch (error) {
      this.#log.debug("epoch check failed, will retry", { error: errorText(error) });
    }
  }
}
