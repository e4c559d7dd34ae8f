/** The configured store, and the other one as long as files are there. */

import type { StoreKind } from "../db/files.ts";
import { ChatError } from "../errors.ts";
import { CHUNK_BYTES, type ChunkStore } from "./chunk_store.ts";

/** Where the bytes of a file are. */
export interface Place {
  readonly store: StoreKind;
  readonly blob: string;
  readonly size: number;
}

export class Stores {
  /** Where new files are stored. */
  readonly current: ChunkStore;
  readonly all: readonly ChunkStore[];

  /** @param all the first is the current one */
  constructor(all: readonly [ChunkStore, ...ChunkStore[]]) {
    this.all = all;
    this.current = all[0];
  }

  /** @throws ChatError `not_ready` if this pod is not configured for the store of a file */
  of({ store }: Pick<Place, "store">): ChunkStore {
    const found = this.all.find(({ kind }) => kind === store);
    if (!found) throw new ChatError("not_ready", { message: `This server is not configured for ${store}` });
    return found;
  }

  /**
   * A chunk of a complete file or upload.
   *
   * @throws Error if it is missing or has another size: the bytes were changed outside of chatify
   */
  async chunk(place: Place, n: number): Promise<Uint8Array> {
    const bytes = await this.of(place).get(place.blob, n);
    if (bytes?.length !== Math.min(CHUNK_BYTES, place.size - n * CHUNK_BYTES)) {
      throw new Error(`chunk ${n} of ${place.blob} has ${bytes?.length ?? "no"} bytes`);
    }
    return bytes;
  }

  /** All bytes. Only for files of a bounded size. */
  async whole(place: Place): Promise<Uint8Array> {
    const all = new Uint8Array(place.size);
    for (let n = 0; n < chunkCount(place.size); n++) all.set(await this.chunk(place, n), n * CHUNK_BYTES);
    return all;
  }

  /** The bytes from `start` to `end`, exclusive, in pieces of at most a chunk. */
  async *bytes(place: Place, start: number, end: number): AsyncGenerator<Uint8Array> {
    for (let n = Math.floor(start / CHUNK_BYTES); n * CHUNK_BYTES < end; n++) {
      const chunk = await this.chunk(place, n);
      const from = Math.max(0, start - n * CHUNK_BYTES);
      yield from === 0 && (n + 1) * CHUNK_BYTES <= end ? chunk : chunk.subarray(from, end - n * CHUNK_BYTES);
    }
  }
}

export function chunkCount(size: number): number {
  return Math.ceil(size / CHUNK_BYTES);
}
