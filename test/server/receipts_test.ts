/** Delivered marks that are stored while a pod stops. */

import { expect, test } from "bun:test";

import { Receipts } from "../../src/chat/receipts.ts";
import { Database } from "../../src/db/database.ts";
import { Delivery } from "../../src/delivery/delivery.ts";
import { Hub } from "../../src/delivery/hub.ts";
import { migratedDatabase, type Person, SILENT, startApp } from "../support/harness.ts";
import { holdLock } from "../support/locks.ts";
import { MemoryBus } from "../support/memory_bus.ts";
import { until } from "../support/until.ts";

test("drains only once the delivered marks noted during the last statement are stored", async () => {
  const database = await migratedDatabase();
  await using app = await startApp({ database });
  const [ann] = (await app.people("ann", "bob", "carol")) as [Person];
  const tab = await ann.open();
  for (const receiver of ["bob", "carol"]) await tab.send(receiver, "hello");
  const db = new Database({ target: database, name: "test-receipts", max: 2, log: SILENT });
  const receipts = new Receipts({ db, delivery: new Delivery({ hub: new Hub(), bus: new MemoryBus() }), log: SILENT });
  const lock = (peer: string) =>
    holdLock(app.sql, (tx) => tx`select from conversations where low = 'ann' and high = ${peer} for update`);
  const isWaiting = async () =>
    (
      await db.run(
        (sql) =>
          sql`select from pg_stat_activity where application_name = 'test-receipts' and wait_event_type = 'Lock'`,
      )
    ).length > 0;
  try {
    await using releaseBob = await lock("bob");
    await using releaseCarol = await lock("carol");
    receipts.noteDelivered("bob", "ann", 1);
    await until("bob's mark waits for its lock", isWaiting);
    receipts.noteDelivered("carol", "ann", 1);
    await Bun.sleep(600); // the next flush of the timer waits for the statement
    let isDrained = false;
    const draining = receipts.drain().then(() => (isDrained = true));
    await releaseBob();
    await until("carol's mark waits for its lock", isWaiting);
    expect(isDrained).toBeFalse();
    await releaseCarol();
    await draining;
    const marks = await db.run((sql) => sql<{ seq: number }[]>`select high_delivered_seq as seq from conversations`);
    expect(marks.map(({ seq }) => seq)).toEqual([1, 1]);
  } finally {
    receipts.stop();
    await db.end();
  }
});
