/** Locks between processes. Unlike a pid file, such a lock cannot outlive its holder. */

import { Database } from "bun:sqlite";

const POLL_MS = 10;
const NOTICE_MS = 1_000;

/** A lock, held until it is disposed of; the kernel releases it when the process dies. */
export type HeldLock = Disposable;

/**
 * Locks an empty file through SQLite, Bun's only API for kernel locks.
 *
 * @param kind `exclusive` conflicts with every lock, `shared` only with exclusive ones
 * @returns undefined if another process holds a conflicting lock
 */
export function tryLock(path: string, kind: "exclusive" | "shared"): HeldLock | undefined {
  const database = new Database(path, { create: true });
  try {
    database.run("pragma busy_timeout = 0");
    database.run("pragma journal_mode = memory"); // a journal file would fail on a full disk
    database.run(kind === "exclusive" ? "begin exclusive" : "begin");
    if (kind === "shared") database.query("select count(*) from sqlite_master").get(); // `begin` alone locks nothing
    return { [Symbol.dispose]: () => database.close() };
  } catch (error) {
    database.close();
    if (error instanceof Error && "code" in error && String(error.code).startsWith("SQLITE_BUSY")) return undefined;
    throw error;
  }
}

/**
 * Waits for an exclusive lock.
 *
 * @param options.onWait called once after a second
 * @returns undefined after `timeoutMs`
 */
export async function waitForLock(
  path: string,
  options: { onWait: () => void; timeoutMs?: number },
): Promise<HeldLock | undefined> {
  const { onWait, timeoutMs = Number.POSITIVE_INFINITY } = options;
  const startedAt = performance.now();
  for (let isNoticed = false; ; await Bun.sleep(POLL_MS)) {
    const held = tryLock(path, "exclusive");
    const waitedMs = performance.now() - startedAt;
    if (held || waitedMs > timeoutMs) return held;
    if (waitedMs > NOTICE_MS && !isNoticed) onWait();
    isNoticed = waitedMs > NOTICE_MS;
  }
}
