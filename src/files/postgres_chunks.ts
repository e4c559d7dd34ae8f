/** Chunks in PostgreSQL: with the messages in one backup, and on every pod. */

import type { Database } from "../db/database.ts";
import * as chunks from "../db/file_chunks.ts";
import { FairQueue } from "../util/fair_queue.ts";
import type { ChunkStore } from "./chunk_store.ts";

/**
 * Two of the pool's connections at a time, so that the other two serve everything else. Blobs take
 * turns. A rejected read would cut a download, so callers bound how many wait: uploads by PUTs,
 * downloads by responses.
 */
const TRANSFERS = { concurrency: 2, waiting: 10_000, client: { keys: 1, waiting: 10_000 } };

export class PostgresChunks implements ChunkStore {
  readonly kind = "postgres";
  readonly #db: Database;
  readonly #transfers = new FairQueue(TRANSFERS);

  constructor(db: Database) {
    this.#db = db;
  }

  put(blob: string, n: number, bytes: Uint8Array): Promise<void> {
    return this.#transfers.run([blob], () => chunks.put(this.#db, blob, n, bytes));
  }

  get(blob: string, n: number): Promise<Uint8Array | undefined> {
    return this.#transfers.run([blob], () => chunks.get(this.#db, blob, n));
  }

  async sizes(blob: string): Promise<ReadonlyMap<number, number>> {
    return new Map((await chunks.sizes(this.#db, blob)).map(({ n, bytes }) => [n, bytes]));
  }

  async remove(blob: string): Promise<void> {
    while (await this.#transfers.run([blob], () => chunks.removeSome(this.#db, blob)));
  }

  blobs(after: string, limit: number): Promise<string[]> {
    return chunks.blobs(this.#db, after, limit);
  }
}
