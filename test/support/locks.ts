/** Somebody else at work in the database: holds what `lock` locks, until released. */

import type { Client, Sql } from "../../src/db/client.ts";

/** @returns what releases it, and resolves when it is released */
export async function holdLock(sql: Client, lock: (tx: Sql) => PromiseLike<unknown>): Promise<() => Promise<void>> {
  const locked = Promise.withResolvers<void>();
  const release = Promise.withResolvers<void>();
  const holding = sql.begin(async (tx) => {
    await lock(tx);
    locked.resolve();
    await release.promise;
  });
  await Promise.race([locked.promise, holding]);
  return async () => {
    release.resolve();
    await holding;
  };
}
