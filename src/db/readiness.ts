/** Probes whether a message sent now would be acknowledged. */

import type { Log } from "../log.ts";
import type { Sql } from "./client.ts";
import type { Database } from "./database.ts";
import { codeOf } from "./failures.ts";
import { insertMessages } from "./insert_messages.ts";

/** How long a result is cached: the route is public, and load balancers request it every second. */
const CACHED_MS = 1_000;
/** A slower probe counts as failed. */
const PROBE_TIMEOUT_MS = 1_000;
/** The SQLSTATE of a write in a read-only session. */
const READ_ONLY = "25006";

export class Readiness {
  readonly #options: { db: Database; writer: Database; isFailing: () => boolean; log: Log };
  #probing: Promise<boolean> | undefined;
  #known: { isReady: boolean; at: number } | undefined;

  /**
   * @param options.db the pool for everything else
   * @param options.writer the pool that stores messages
   * @param options.isFailing whether the last attempt to store messages failed for a reason that
   *   affects all of them
   */
  constructor(options: { db: Database; writer: Database; isFailing: () => boolean; log: Log }) {
    this.#options = options;
  }

  /** Resolves within about a second. */
  async isReady(): Promise<boolean> {
    if (this.#options.isFailing()) return false;
    if (this.#known && performance.now() - this.#known.at < CACHED_MS) return this.#known.isReady;
    this.#probing ??= this.#probe().finally(() => (this.#probing = undefined)); // at most one at a time, however late
    return Promise.race([this.#probing, Bun.sleep(PROBE_TIMEOUT_MS).then(() => false)]);
  }

  async #probe(): Promise<boolean> {
    const { db, writer, log } = this.#options;
    const [reads, writes] = await Promise.all([isResponding(db), failureCodeOf(writer)]);
    const isReady = reads && writes === undefined;
    if (!isReady && this.#known?.isReady !== false) log.warn("not ready, messages cannot be stored", { code: writes });
    this.#known = { isReady, at: performance.now() };
    return isReady;
  }
}

/** Whether PostgreSQL responds within a second. */
export async function isResponding(db: Database): Promise<boolean> {
  const responded = db
    .run((sql) => sql`select 1`, { giveUpAfterMs: 500, isProbe: true })
    .then(
      () => true,
      () => false,
    );
  return Promise.race([responded, Bun.sleep(PROBE_TIMEOUT_MS).then(() => false)]);
}

/** Error code of a failed probe; undefined when messages can be stored. */
async function failureCodeOf(writer: Database): Promise<string | undefined> {
  const options = { giveUpAfterMs: 500, isProbe: true };
  try {
    await writer.run((sql) => insertMessages(sql, []), options); // fails without the necessary privileges and tables
    await checkStores(writer, options);
    return undefined;
  } catch (error) {
    return codeOf(error instanceof Error && error.cause !== undefined ? error.cause : error) || "unknown";
  }
}

/**
 * Exercises what storing a message needs and leaves nothing behind: writes and flushes a WAL
 * record, confirmed by a synchronous standby if there is one, and spills some kilobytes to a
 * temporary file, since WAL segments may have room while the disk is full.
 *
 * @throws as `Database.run`
 */
export async function checkStores(writer: Database, options: { giveUpAfterMs?: number } = {}): Promise<void> {
  await writer.run(store, { ...options, isProbe: true });
}

async function store(sql: Sql): Promise<void> {
  const [row] = await sql<[{ readOnly: boolean }]>`
    select
      current_setting('transaction_read_only')::boolean as "readOnly",
      pg_logical_emit_message(true, 'chatify', ''),
      case when set_config('work_mem', '64kB', true) <> '' then (select count(*) from generate_series(1, 5000)) end
  `;
  if (row.readOnly) throw Object.assign(new Error("The session is read-only"), { code: READ_ONLY });
}
