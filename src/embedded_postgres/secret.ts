/** A secret stored beside the embedded database, so that backups of `DATA_DIR` include it. */

import { chmodSync, existsSync, linkSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { explain } from "./failure.ts";

/**
 * Reads `<directory>/session_secret`, readable only by its owner, or creates it.
 *
 * @param made stored if there is none. Written atomically; concurrent callers all get the first
 *   one's
 * @throws EmbeddedError if the directory cannot be written, for example on a full disk
 */
export function storedSecret(directory: string, made: string): string {
  const file = join(directory, "session_secret");
  try {
    if (!existsSync(file) || readFileSync(file, "utf8").trim() === "") {
      mkdirSync(directory, { recursive: true });
      const fresh = `${file}-${crypto.randomUUID().slice(0, 8)}`;
      try {
        writeFileSync(fresh, made, { mode: 0o600, flush: true });
        if (existsSync(file) && readFileSync(file, "utf8").trim() === "") rmSync(file); // left empty by a full disk
        linkSync(fresh, file);
      } catch (error) {
        if (!(error instanceof Error && "code" in error && error.code === "EEXIST")) throw error;
      } finally {
        rmSync(fresh, { force: true });
      }
    }
    if (statSync(file).mode & 0o077) chmodSync(file, 0o600); // widened by a backup
    return readFileSync(file, "utf8").trim();
  } catch (error) {
    throw explain(error, directory);
  }
}
