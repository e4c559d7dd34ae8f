/**
 * Starts the embedded PostgreSQL with chatify's driver, which it needs to run queries and to check
 * whether other processes use it.
 */

import {
  type Embedded,
  type Options,
  type SocketTarget,
  startPostgres,
} from "../embedded_postgres/embedded_postgres.ts";
import { connect, remainingConnections } from "./client.ts";

/** `application_name` of these queries, so that they do not count as a running chatify. */
const QUERY_NAME = "chatify-stop";

/**
 * Starts the PostgreSQL in `DATA_DIR`, or connects to one already running there.
 *
 * @throws EmbeddedError with the reason and a remedy
 */
export function startEmbedded(options: Omit<Options, "query" | "isInUse">): Promise<Embedded> {
  return startPostgres({ ...options, query, isInUse });
}

async function query<Row extends object>(target: Readonly<SocketTarget>, statement: string): Promise<Row[]> {
  const sql = connect(target, { name: QUERY_NAME, max: 1 });
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
         and application_name <> '${QUERY_NAME}'`,
    );
    return row?.count ?? 0;
  });
  return others > 0;
}
