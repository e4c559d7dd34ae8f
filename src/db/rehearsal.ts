/** Before serving: signs somebody up and in, sends and reads once, in a transaction that is rolled back. */

import { connect, isHeldUp, type Sql, type Target, withDeadline } from "./client.ts";
import { save } from "./drafts.ts";
import { isConflict } from "./failures.ts";
import { insertMany, markDelivered, markRead } from "./messages.ts";

const PATIENCE = { statement_timeout: 4_000, lock_timeout: 2_000 };

class RolledBack extends Error {}

/**
 * Finds what users would: missing rights, tables, columns and functions, row-level security, triggers and constraints that are not chatify's.
 * A lock that another session holds proves nothing and is ignored.
 *
 * @throws PostgreSQL's error
 */
export async function rehearse(target: Target, name: string): Promise<void> {
  const client = connect(target, { name: `${name}-rehearsal`, parameters: PATIENCE });
  try {
    await withDeadline(
      client.begin(async (tx) => {
        await play(tx);
        throw new RolledBack();
      }),
    );
  } catch (error) {
    if (!(error instanceof RolledBack) && !isHeldUp(error) && !isConflict(error)) throw error;
  } finally {
    await client.end({ timeout: 1 });
  }
}

async function play(sql: Sql): Promise<void> {
  const [ann, bob] = [crypto.randomUUID(), crypto.randomUUID()];
  await sql`
    with made as (
      insert into users (username, name_key, search_key, password)
      select name, name, name, '' from unnest(${[ann, bob]}::text[]) as name
      returning id, username
    )
    insert into sessions (user_id, token, expires_at) select id, username, now() from made
  `;
  await save(sql, [{ owner: ann, peerKey: bob, text: "hello" }]);
  await insertMany(sql, [{ sender: ann, toKey: bob, ref: ann, attemptId: 0, content: "hello" }]);
  await markDelivered(sql, [{ receiver: bob, sender: ann, seq: 1 }]);
  await markRead(sql, [{ reader: bob, peerKey: ann, seq: 1 }]);
}
