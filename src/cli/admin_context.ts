/** What admin commands need: the database, opened as at startup, and a way to notify pods. */

import { SignupPolicy } from "../accounts/signup_policy.ts";
import type { BusEvent } from "../cluster/bus.ts";
import { announce } from "../cluster/open_bus.ts";
import type { Config } from "../config.ts";
import type { Database } from "../db/database.ts";
import { codeOf } from "../db/failures.ts";
import { fillSkeletons } from "../db/skeletons.ts";
import { explain } from "../db/start_failure.ts";
import { openStore } from "../db/store.ts";
import { PostgresChunks } from "../files/postgres_chunks.ts";
import { S3Chunks } from "../files/s3_chunks.ts";
import { Stores } from "../files/stores.ts";
import type { Log } from "../log.ts";

export interface AdminContext extends AsyncDisposable {
  readonly db: Database;
  readonly signupPolicy: SignupPolicy;
  readonly stores: Stores;
  /** Notifies the running pods. Pods that cannot be reached notice within a minute. */
  notifyPods(events: readonly BusEvent[]): Promise<void>;
}

/**
 * Opens the database without serving, whether or not chatify is running. An embedded PostgreSQL is
 * shared with a running server.
 *
 * @throws EmbeddedError, DatabaseError
 */
export async function openAdminContext(
  config: Config,
  options: { root: string; log: Log; say: (line: string) => void },
): Promise<AdminContext> {
  const { root, log, say } = options;
  const name = `chatify-command-${crypto.randomUUID().slice(0, 8)}`;
  const store = await openStore(config, { root, name, max: 1, log, say });
  const { db, target, secrets, databaseId } = store;
  try {
    await fillSkeletons(db, log);
  } catch (error) {
    await store[Symbol.asyncDispose]();
    throw explain(error, target);
  }
  const postgresChunks = new PostgresChunks(db);
  return {
    db,
    stores: new Stores(config.fileStore ? [new S3Chunks(config.fileStore, { log }), postgresChunks] : [postgresChunks]),
    signupPolicy: new SignupPolicy({ db, signup: config.signup, secrets, databaseId }),
    async notifyPods(events) {
      try {
        await announce(config.bus, { db, target, name, log }, events);
      } catch (error) {
        log.warn("pods not notified, they will notice within a minute", { code: codeOf(error) });
      }
    },
    [Symbol.asyncDispose]: () => store[Symbol.asyncDispose](),
  };
}
