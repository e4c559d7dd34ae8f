/**
 * The pages' files in other versions than this pod's: a page that was loaded before an upgrade, or from another pod during one, loads the
 * rest of its files from here. Files of two versions do not work together.
 */

import type { Database } from "../db/client.ts";
import * as versions from "../db/page_versions.ts";
import { errorText, type Log } from "../log.ts";

/** Clients make up addresses: the database is asked for new versions at most so often, and for files of those it has only. */
const ASKED_EVERY_MS = 1_000;
/** A page waits for its file. */
const GIVE_UP_AFTER_MS = 3_000;

/** By path below `static/`. */
export type VersionFiles = ReadonlyMap<string, Buffer>;

export class OtherVersions {
  readonly #db: Database;
  readonly #log: Log;
  #kept: Promise<readonly string[]> | undefined;
  #askedAt = Number.NEGATIVE_INFINITY;
  /** By version: those that pages asked for, about 0.6 MB each, and no more than are kept. */
  readonly #loaded = new Map<string, Promise<VersionFiles | undefined>>();

  constructor({ db, log }: { db: Database; log: Log }) {
    this.#db = db;
    this.#log = log;
  }

  /** Keeps this pod's files for the others and for later versions. Never throws. */
  async share(version: string, files: VersionFiles): Promise<void> {
    try {
      const list = [...files].map(([path, bytes]) => [path, bytes.toString("base64")]);
      await versions.save(this.#db, version, await Bun.zstdCompress(JSON.stringify(list), { level: 9 }));
    } catch (error) {
      this.#log.warn("pages' files not kept: pages opened before an upgrade will need a reload", {
        error: errorText(error),
      });
    }
  }

  /** The files of a version, undefined when they are not kept or PostgreSQL is out of reach. Never throws. */
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
    if (!this.#kept || now - this.#askedAt > ASKED_EVERY_MS) {
      this.#askedAt = now;
      this.#kept = within(versions.list(this.#db)).then((list) => list ?? []);
    }
    return this.#kept;
  }

  async #load(version: string): Promise<VersionFiles | undefined> {
    const packed = await within(versions.load(this.#db, version));
    if (!packed) {
      this.#loaded.delete(version);
      return undefined;
    }
    const list = JSON.parse((await Bun.zstdDecompress(packed)).toString()) as [string, string][];
    return new Map(list.map(([path, base64]) => [path, Buffer.from(base64, "base64")]));
  }
}

/** What a query returns, undefined when it fails or takes too long. */
function within<T>(query: Promise<T>): Promise<T | undefined> {
  return Promise.race([query.catch(() => undefined), Bun.sleep(GIVE_UP_AFTER_MS).then(() => undefined)]);
}
