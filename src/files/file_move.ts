/** Moves the bytes of files into the store that `FILES` names. */

import type { Database } from "../db/database.ts";
import * as files from "../db/file_upkeep.ts";
import type { ChunkStore } from "./chunk_store.ts";
import type { Stores } from "./stores.ts";

const FILES_PER_PAGE = 100;

/**
 * Moves complete files, one after another, while pods serve them; every pod must already be
 * configured for the new store. What is left of an interrupted run, the next one moves. The old
 * bytes remain for downloads under way, until a sweep finds them without a file.
 *
 * @returns how many files were moved
 */
export async function moveFiles(db: Database, stores: Stores): Promise<number> {
  const to = stores.current;
  let moved = 0;
  for (let after = "", page: files.CheckedFile[]; ; after = page.at(-1)?.id ?? "") {
    page = await files.completeFiles(db, after, FILES_PER_PAGE);
    for (const file of page) {
      if (file.store === to.kind) continue;
      await copyBlob(file.blob, stores.of(file), to);
      await files.moveBlob(db, file.blob, { from: file.store, to: to.kind });
      moved++;
    }
    if (page.length < FILES_PER_PAGE) return moved;
  }
}

async function copyBlob(blob: string, from: ChunkStore, to: ChunkStore): Promise<void> {
  for (const n of (await from.sizes(blob)).keys()) {
    const bytes = await from.get(blob, n);
    if (bytes) await to.put(blob, n, bytes); // undefined if the file was deleted meanwhile
  }
}
