/**
 * Deletes unreadable bytes: of deleted files, within seconds; of files never sent, after a
 * day; and blobs without a file. One pod at a time, in small steps; all are safe to repeat.
 */

import type { Database } from "../db/database.ts";
import * as files from "../db/file_upkeep.ts";
import { sweepAll } from "../db/sweep.ts";
import { errorText, type Log } from "../log.ts";
import { blobTime, type ChunkStore } from "./chunk_store.ts";
import type { Stores } from "./stores.ts";

const EVERY_MS = 15_000;
const FILES_PER_STEP = 50;
/** Blobs checked per step, every ten minutes: S3 charges for lists. */
const BLOBS_PER_STEP = 500;
const ORPHANS_EVERY_MS = 600_000;
/** An upload may still use a younger blob. */
const ORPHAN_AGE_MS = 24 * 3_600_000;

export class FileSweeper {
  readonly #db: Database;
  readonly #stores: Stores;
  readonly #log: Log;
  readonly #isElected: () => boolean;
  readonly #timer: Timer;
  /** Where the next search for orphans begins, by store. */
  readonly #positions = new Map<ChunkStore, string>();
  #orphansAt = 0;
  #running: Promise<void> | undefined;
  #isStopped = false;

  /**
   * @param parts.isElected whether this pod is the one that sweeps
   * @param parts.everyMs between two sweeps; for tests
   */
  constructor(parts: { db: Database; stores: Stores; log: Log; isElected: () => boolean; everyMs?: number }) {
    this.#db = parts.db;
    this.#stores = parts.stores;
    this.#log = parts.log;
    this.#isElected = parts.isElected;
    this.#timer = setInterval(() => void this.sweep(), parts.everyMs ?? EVERY_MS);
  }

  /** Sweeps now, unless a sweep is under way or another pod is elected. Never throws. */
  sweep(): Promise<void> {
    if (!this.#isElected() || this.#isStopped) return Promise.resolve();
    this.#running ??= this.#sweepAll().finally(() => (this.#running = undefined));
    return this.#running;
  }

  /** A sweep under way ends with its current step, or when the database closes. */
  stop(): void {
    this.#isStopped = true;
    clearInterval(this.#timer);
  }

  async #sweepAll(): Promise<void> {
    await this.#attempt(() => sweepAll(() => files.sweepUnsent(this.#db)));
    const looksForOrphans = Date.now() >= this.#orphansAt;
    if (looksForOrphans) this.#orphansAt = Date.now() + ORPHANS_EVERY_MS;
    for (const store of this.#stores.all) {
      // one store may be unreachable
      await this.#attempt(() => eraseDeleted(this.#db, store, () => this.#isStopped));
      if (looksForOrphans) await this.#attempt(() => this.#sweepOrphans(store));
    }
  }

  async #sweepOrphans(store: ChunkStore): Promise<void> {
    const blobs = await store.blobs(this.#positions.get(store) ?? "", BLOBS_PER_STEP);
    this.#positions.set(store, blobs.length < BLOBS_PER_STEP ? "" : (blobs.at(-1) ?? ""));
    for (const blob of await oldOrphans(this.#db, store, blobs)) {
      if (this.#isStopped) return;
      await store.remove(blob);
      this.#log.info("deleted bytes without a file", { store: store.kind });
    }
  }

  async #attempt(step: () => Promise<unknown>): Promise<void> {
    if (this.#isStopped) return;
    try {
      await step();
    } catch (error) {
      if (!this.#isStopped) this.#log.warn("sweeping files failed, will retry", { error: errorText(error) });
    }
  }
}

/** Deletes the bytes of a store's deleted files, then their rows. @returns how many */
export async function eraseDeleted(db: Database, store: ChunkStore, isStopped = () => false): Promise<number> {
  let erased = 0;
  for (;;) {
    const found = await files.deleted(db, store.kind, FILES_PER_STEP);
    for (const file of found) {
      if (isStopped()) return erased;
      if (!(await files.isShared(db, file))) await store.remove(file.blob);
      await files.forget(db, file.id);
      erased++;
    }
    if (found.length < FILES_PER_STEP) return erased;
  }
}

/** Which of a store's blobs have no file, and are too old to belong to an upload. */
export async function oldOrphans(db: Database, store: ChunkStore, blobs: readonly string[]): Promise<string[]> {
  const before = Date.now() - ORPHAN_AGE_MS;
  return files.orphans(
    db,
    store.kind,
    blobs.filter((blob) => blobTime(blob) < before), // other names are NaN: kept
  );
}
