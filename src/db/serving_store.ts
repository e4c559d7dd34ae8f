/** The database of a serving pod: checked for all it needs, with a connection for messages. */

import type { Config } from "../config.ts";
import type { Log } from "../log.ts";
import type { Metrics } from "../metrics.ts";
import { disposeAll } from "../util/disposal.ts";
import { Database } from "./database.ts";
import { EpochWatch } from "./epoch.ts";
import { WRITER_PARAMETERS } from "./insert_messages.ts";
import { checkStores } from "./readiness.ts";
import { rehearse } from "./rehearsal.ts";
import { SkeletonFiller } from "./skeletons.ts";
import { explain } from "./start_failure.ts";
import { openStore, type Store } from "./store.ts";

const POOL_MAX = 4;
/** Batches of messages are stored one after another. */
const WRITER_MAX = 1;
/**
 * How long a start after an upgrade waits for name skeletons: enough for 40,000 accounts. The rest
 * follows while serving.
 */
const FILLED_BEFORE_MS = 3_000;

export interface ServingStore extends Store {
  /** Stores batches of messages. */
  readonly writer: Database;
  readonly epochWatch: EpochWatch;
}

/**
 * @param options.connections the bus needs, beside those of this store
 * @param options.restored called when the database may have been restored to an earlier state
 * @throws EmbeddedError, DatabaseError
 */
export async function openServingStore(
  config: Config,
  options: {
    root: string;
    name: string;
    connections: number;
    metrics: Metrics;
    log: Log;
    say: (line: string) => void;
    restored: () => void;
  },
): Promise<ServingStore> {
  const { name, connections, metrics, log, restored } = options;
  const { querySeconds, dbLosses } = metrics;
  const parts = new AsyncDisposableStack();
  let epochWatch: EpochWatch | undefined;
  const store = await openStore(config, {
    ...options,
    max: POOL_MAX,
    connections: POOL_MAX + WRITER_MAX + connections,
    onLost() {
      dbLosses.add();
      void epochWatch?.check(); // a failover may have lost changes
    },
    onStatement: (ms) => querySeconds.rest.observe(ms / 1_000),
  });
  parts.use(store);
  const { db, target } = store;
  try {
    await rehearse(target, name);
    const watch = (epochWatch = new EpochWatch({ db, log, changed: restored }));
    parts.defer(() => watch.stop());
    const skeletons = new SkeletonFiller({ db, log });
    parts.defer(() => skeletons.stop());
    await Promise.race([skeletons.fill(), Bun.sleep(FILLED_BEFORE_MS)]);
    const writer = new Database({
      target,
      name,
      max: WRITER_MAX,
      log,
      parameters: WRITER_PARAMETERS,
      onLost: () => dbLosses.add(),
      onStatement: (ms) => querySeconds.messages.observe(ms / 1_000),
    });
    parts.defer(() => writer.end());
    await checkStores(writer);
    await watch.start();
    return { ...store, writer, epochWatch: watch, [Symbol.asyncDispose]: () => parts.disposeAsync() };
  } catch (error) {
    await disposeAll(parts, (failure) => log.error("stopping a part failed", failure));
    throw explain(error, target);
  }
}
