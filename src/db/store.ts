/** Opens the embedded or configured database, migrates it, and reads the shared secrets. */

import { isAbsolute, join } from "node:path";

import type { Config } from "../config.ts";
import { storedSecret } from "../embedded_postgres/secret.ts";
import type { Log } from "../log.ts";
import { secretsOf } from "../setting_readers.ts";
import { describeServers } from "../util/connection_string.ts";
import { disposeAll } from "../util/disposal.ts";
import { newToken } from "../util/token.ts";
import { settingsOf, type Target } from "./client.ts";
import { Database } from "./database.ts";
import { databaseIdOf } from "./epoch.ts";
import { migrate } from "./migrate.ts";
import { sharedSecret } from "./shared_secrets.ts";
import { startEmbedded } from "./start_embedded.ts";
import { explain } from "./start_failure.ts";

export interface Store extends AsyncDisposable {
  readonly db: Database;
  readonly target: Target;
  /** Cookie signing keys: the first signs new cookies, all are accepted. */
  readonly secrets: readonly string[];
  /** Identifies the cluster and database; see `databaseIdOf`. */
  readonly databaseId: string;
  /** A description of the database for people, without its password. */
  readonly description: string;
}

interface Options {
  /** The directory with `sql/`; a relative `DATA_DIR` is below it. */
  root: string;
  /** `application_name` of the connections. */
  name: string;
  /** Connections of `db`. */
  max: number;
  /** Connections this process needs in total; fewer are an error at startup. */
  connections?: number;
  log: Log;
  /** Prints progress to the terminal. */
  say: (line: string) => void;
  /** Called when a connection of `db` is lost. */
  onLost?: () => void;
  /** Called with the duration of each statement of `db` in milliseconds. */
  onStatement?: (ms: number) => void;
}

/** Stops what it started if it fails. @throws EmbeddedError, DatabaseError */
export async function openStore(config: Config, options: Options): Promise<Store> {
  const { root, name, max, connections, log, say, onLost, onStatement } = options;
  const directory = isAbsolute(config.dataDir) ? config.dataDir : join(root, config.dataDir);
  const embedded = config.databaseUrl === undefined ? await startEmbedded({ directory, log, say }) : undefined;
  const target: Target = embedded?.target ?? (config.databaseUrl as string);
  const parts = new AsyncDisposableStack();
  if (embedded) parts.defer(async () => void (await embedded.stop()));
  try {
    await migrate(target, {
      directory: join(root, "sql"),
      name,
      allowUnsafe: config.unsafeDatabase,
      ...(connections === undefined ? {} : { connections }),
      log,
      say,
    });
    const db = new Database({ target, name, max, log, ...(onLost && { onLost }), ...(onStatement && { onStatement }) });
    parts.defer(() => db.end());
    const secrets =
      config.sessionSecrets ??
      secretsOf(embedded ? storedSecret(directory, newToken()) : await sharedSecret(db, "session_secret", newToken()));
    const databaseId = await databaseIdOf(db);
    const description = embedded
      ? `embedded PostgreSQL, ${embedded.state}, in ${directory}`
      : describeDatabase(config.databaseUrl as string);
    return { db, target, secrets, databaseId, description, [Symbol.asyncDispose]: () => parts.disposeAsync() };
  } catch (error) {
    await disposeAll(parts, (failure) => log.error("stopping a part failed", failure));
    throw explain(error, target);
  }
}

function describeDatabase(databaseUrl: string): string {
  const given = settingsOf(databaseUrl);
  return `PostgreSQL ${describeServers(given)}, database ${given.database}`;
}
