/** Where the bytes of files are: one interface, implemented by PostgreSQL and S3. */

/** Size of each chunk but the last. */
export const CHUNK_BYTES = 256 * 1024;
/** The number of the chunk that holds the preview of an image. */
export const PREVIEW = -1;

/**
 * Stores blobs in chunks. All methods are safe to repeat. What a blob contains is known to `files`
 * alone; a blob without a row there is an orphan.
 *
 * Methods throw a ChatError, `not_ready` or `busy`, while the store cannot be reached or has too much to do.
 */
export interface ChunkStore {
  readonly kind: "postgres" | "s3";
  /** Stores a chunk durably. Whether one that is there is replaced is undefined: callers store the same bytes. */
  put(blob: string, n: number, bytes: Uint8Array): Promise<void>;
  /** A chunk, undefined if there is none. Never part of one. */
  get(blob: string, n: number): Promise<Uint8Array | undefined>;
  /** The sizes of a blob's chunks by their numbers. */
  sizes(blob: string): Promise<ReadonlyMap<number, number>>;
  /** Deletes all chunks of a blob. */
  remove(blob: string): Promise<void>;
  /** The blobs after `after` in byte order, at most `limit`. */
  blobs(after: string, limit: number): Promise<string[]>;
}

/**
 * A new name of a blob: 128 random bits after the time, so that a sweep knows how old an orphan is,
 * whatever the store.
 */
export function newBlob(now = Date.now()): string {
  const seconds = Math.floor(now / 1_000)
    .toString(16)
    .padStart(10, "0");
  return seconds + Buffer.from(crypto.getRandomValues(new Uint8Array(16))).toString("hex");
}

/** When a blob was named, in ms. NaN for names that are not of `newBlob`. */
export function blobTime(blob: string): number {
  return /^[0-9a-f]{42}$/.test(blob) ? Number.parseInt(blob.slice(0, 10), 16) * 1_000 : Number.NaN;
}
