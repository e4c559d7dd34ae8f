/**
 * The page files of other versions, shared through the database. A page loaded before an upgrade,
 * or from another pod during one, loads its remaining files from here, since files of two versions
 * do not work together.
 */

import type { Database } from "../db/database.ts";
import * as versions from "../db/page_versions.ts";
import { errorText, type Log } from "../log.ts";
import { withTimeout } from "../util/timeout.ts";

/**
 * Clients can invent versions, so the list of stored ones is read at most this often, and only
 * their files are loaded.
 */
const LIST_INTERVAL_MS = 1_000;
/** A loading page waits for its file. */
const TIMEOUT_MS = 3_000;

/** By path below `static/`. */
export type VersionFiles = ReadonlyMap<string, Buffer>;

export class OtherVersions {
  readonly #db: Database;
  readonly #log: Log;
  #stored: Promise<readonly string[]> | undefined;
  #listedAt = Number.NEGATIVE_INFINITY;
  /** By version: those that pages requested, about 0.6 MB each, at most as many as are stored. */
  readonly #loaded = new Map<string, Promise<VersionFiles | undefined>>();

  constructor({ db, log }: { db: Database; log: Log }) {
    this.#db = db;
    this.#log = log;
  }

  /** Stores this pod's files for other pods and later versions. Never throws. */
  async save(version: string, files: VersionFiles): Promise<void> {
    try {
      const list = [...files].map(([path, bytes]) => [path, bytes.toString("base64")]);
      await versions.save(this.#db, version, await Bun.zstdCompress(JSON.stringify(list), { level: 9 }));
    } catch (error) {
      this.#log.warn("page files not stored, pages opened before an upgrade will need a reload", {
        error: errorText(error),
      });
    }
  }

  /**
   * The files of a version, or undefined if they are not stored or PostgreSQL is unreachable. Never
   * throws.
   */
  async filesOf(version: string): Promise<VersionFiles | undefined> {
    const loaded = this.#loaded.get(version);
    if (loaded) return loaded;
    if (!(await this.#list()).includes(version)) return undefined;
    const files = this.#loaded.get(version) ?? this.#load(version);
    this.#loaded.set(version, files);
    return files;
  }

  #list(): Promise<readonly string[]> {
    const now = performance.now();
    if (!this.#stored || now - this.#listedAt > LIST_INTERVAL_MS) {
      this.#listedAt = now;
      this.#stored = inTime(versions.list(this.#db)).then((list) => list ?? []);
    }
    return this.#stored;
  }

  async #load(version: string): Promise<VersionFiles | undefined> {
    const packed = await inTime(versions.load(this.#db, version));
    if (!packed) {
      this.#loaded.delete(version);
      return undefined;
    }
    try {
      const list = JSON.parse((await Bun.zstdDecompress(packed)).toString()) as [string, string][];
      return new Map(list.map(([path, base64]) => [path, Buffer.from(base64, "base64")]));
    } catch (error) {
      this.#log.warn("page files of another version are unreadable", { version, error: errorText(error) });
      return undefined; // kept in `#loaded`: reading the same bytes again would not help
    }
  }
}

/** The result of a query, or undefined if it fails or times out. */
function inTime<T>(query: Promise<T>): Promise<T | undefined> {
  return withTimeout(query, TIMEOUT_MS, () => new Error("timed out")).catch(() => undefined);
}
