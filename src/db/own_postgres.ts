/** The embedded PostgreSQL as chatify uses it: asked over the same driver as any other, and stopped only when no chatify is connected. */

import {
  type Embedded,
  type Options,
  type SocketTarget,
  startPostgres,
} from "../embedded_postgres/embedded_postgres.ts";
import { connect, remainingConnections } from "./client.ts";

/** The `application_name` of these questions, so that they do not count as a chatify at work. */
const QUESTION = "chatify-stop";

/**
 * Starts the PostgreSQL below `DATA_DIR`, or joins one that runs there already.
 *
 * @throws EmbeddedError in plain words, with the way out
 */
export function startEmbedded(options: Omit<Options, "query" | "isInUse">): Promise<Embedded> {
  return startPostgres({ ...options, query, isInUse });
}

async function query<Row extends object>(target: Readonly<SocketTarget>, statement: string): Promise<Row[]> {
  const sql = connect(target, { name: QUESTION, max: 1 });
  try {
    return await sql.unsafe<Row[]>(statement);
  } finally {
    await sql.end({ timeout: 1 });
  }
}

async function isInUse(target: Readonly<SocketTarget>): Promise<boolean> {
  const others = await remainingConnections(async () => {
    const [row] = await query<{ count: number }>(
      target,
      `select count(*)::int as count
       from pg_stat_activity
       where backend_type = 'client backend'
         and application_name like 'chatify%'
         and application_name <> '${QUESTION}'`,
    );
    return row?.count ?? 0;
  });
  return others > 0;
}
