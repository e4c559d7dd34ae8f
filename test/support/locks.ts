/** Another session of the database: holds what `lock` locks until it is released. */

import type { Client, Sql } from "../../src/db/client.ts";

/** @returns a function that releases the lock, as does the end of `await using`, also when the test fails */
export async function holdLock(
  sql: Client,
  lock: (tx: Sql) => PromiseLike<unknown>,
): Promise<(() => Promise<void>) & AsyncDisposable> {
  const locked = Promise.withResolvers<void>();
  const released = Promise.withResolvers<void>();
  const holding = sql.begin(async (tx) => {
    await lock(tx);
    locked.resolve();
    await released.promise;
  });
  await Promise.race([locked.promise, holding]);
  const release = async () => {
    released.resolve();
    await holding;
  };
  return Object.assign(release, { [Symbol.asyncDispose]: release });
}
