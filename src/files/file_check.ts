/** Compares the files in the database with the bytes in the stores. */

import type { Database } from "../db/database.ts";
import * as files from "../db/file_upkeep.ts";
import { CHUNK_BYTES, type ChunkStore, PREVIEW } from "./chunk_store.ts";
import { eraseDeleted, oldOrphans } from "./file_sweeper.ts";
import { chunkCount, type Stores } from "./stores.ts";

const FILES_PER_PAGE = 500;
const BLOBS_PER_PAGE = 500;

export interface CheckedFiles {
  readonly files: number;
  /** Files whose bytes are missing, in part or all. */
  readonly damaged: number;
  /** Deleted files whose bytes were still stored, and are deleted now. */
  readonly erased: number;
  /** Blobs without a file, older than a day, deleted now. */
  readonly orphans: number;
}

/**
 * Checks every file, and deletes bytes that no file has. Safe while pods are serving.
 *
 * @param report called with each damaged file and what it lacks; nothing can restore that
 */
export async function checkFiles(
  db: Database,
  stores: Stores,
  report: (file: files.CheckedFile, fault: string) => Promise<void>,
): Promise<CheckedFiles> {
  const counts = { files: 0, damaged: 0, erased: 0, orphans: 0 };
  for (let after = "", page: files.CheckedFile[]; ; after = page.at(-1)?.id ?? "") {
    page = await files.completeFiles(db, after, FILES_PER_PAGE);
    for (const file of page) {
      counts.files++;
      const store = stores.all.find(({ kind }) => kind === file.store);
      const fault = store ? await faultOf(store, file) : `its bytes are in ${file.store}, which FILES does not name`;
      if (fault === undefined) continue;
      counts.damaged++;
      await report(file, fault);
    }
    if (page.length < FILES_PER_PAGE) break;
  }
  for (const store of stores.all) {
    counts.erased += await eraseDeleted(db, store);
    for (let after = "", blobs: string[]; ; after = blobs.at(-1) ?? "") {
      blobs = await store.blobs(after, BLOBS_PER_PAGE);
      for (const blob of await oldOrphans(db, store, blobs)) {
        await store.remove(blob);
        counts.orphans++;
      }
      if (blobs.length < BLOBS_PER_PAGE) break;
    }
  }
  return counts;
}

async function faultOf(store: ChunkStore, { blob, size, hasPreview }: files.CheckedFile): Promise<string | undefined> {
  const sizes = await store.sizes(blob);
  const count = chunkCount(size);
  let missing = 0;
  for (let n = 0; n < count; n++) if (sizes.get(n) !== Math.min(CHUNK_BYTES, size - n * CHUNK_BYTES)) missing++;
  if (missing > 0) return `${missing} of its ${count} chunks are missing or have another size`;
  return hasPreview && !sizes.has(PREVIEW) ? "its preview is missing" : undefined;
}
