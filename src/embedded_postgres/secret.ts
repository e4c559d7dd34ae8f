/** A secret kept beside the embedded database, which backups of `DATA_DIR` hold with it. */

import { chmodSync, existsSync, linkSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { explain } from "./files.ts";

/**
 * Reads `<directory>/session_secret`, which nobody but its owner can read, or puts it there.
 *
 * @param made the secret when there is none; the file appears with all of it or not at all, and of several at once all get the first's
 * @throws EmbeddedError when the directory cannot be written, such as on a full disk
 */
export function storedSecret(directory: string, made: string): string {
  const file = join(directory, "session_secret");
  try {
    if (!existsSync(file) || readFileSync(file, "utf8").trim() === "") {
      mkdirSync(directory, { recursive: true });
      const fresh = `${file}-${crypto.randomUUID().slice(0, 8)}`;
      try {
        writeFileSync(fresh, made, { mode: 0o600, flush: true });
        if (existsSync(file) && readFileSync(file, "utf8").trim() === "") rmSync(file); // what a full disk once left of it
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
