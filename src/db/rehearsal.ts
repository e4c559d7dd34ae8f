/** Before serving, runs a sign-up, login, send and read in a transaction that is rolled back. */

import { changeMessages } from "./changes.ts";
import { connect, type Sql, type Target, withDeadline } from "./client.ts";
import { save } from "./drafts.ts";
import { isConflict, isTimeout } from "./failures.ts";
import { insertMessages } from "./insert_messages.ts";
import { markDelivered, markRead } from "./receipts.ts";

const PATIENCE = { statement_timeout: 4_000, lock_timeout: 2_000 };

class RolledBack extends Error {}

/**
 * Detects missing privileges, tables, columns and functions, row-level security, and triggers and
 * constraints that are not chatify's, before users do. A lock held by another session proves
 * nothing and is ignored.
 *
 * @throws PostgreSQL's error
 */
export async function rehearse(target: Target, name: string): Promise<void> {
  const client = connect(target, { name: `${name}-rehearsal`, parameters: PATIENCE });
  try {
    await withDeadline(
      client.begin(async (tx) => {
        await exerciseStatements(tx);
        throw new RolledBack();
      }),
    );
  } catch (error) {
    if (!(error instanceof RolledBack) && !isTimeout(error) && !isConflict(error)) throw error;
  } finally {
    await client.end({ timeout: 1 });
  }
}

/**
 * Ids are negative: drawing them from the sequences would leave gaps, since a rollback does not
 * give them back.
 */
async function exerciseStatements(sql: Sql): Promise<void> {
  const [ann, bob] = [crypto.randomUUID(), crypto.randomUUID()];
  const [low, high] = [ann, bob].toSorted() as [string, string];
  const id = -1 - (crypto.getRandomValues(new Uint32Array(1))[0] as number);
  await sql`
    with made as (
      insert into users (id, username, name_key, search_key, password)
      select ${id}::bigint - place, name, name, name, ''
      from unnest(${[ann, bob]}::text[]) with ordinality as t (name, place)
      returning id, username
    )
    insert into sessions (id, user_id, token, expires_at) select id, id, username, now() from made
  `;
  await save(sql, [{ owner: ann, peerKey: bob, text: "hello" }]);
  await sql`
    with numbered as (
      insert into conversations (id, low, high, last_seq, last_at, low_unread, high_unread)
      values (${id}, ${low}, ${high}, 1, now(), ${low === bob ? 1 : 0}, ${high === bob ? 1 : 0})
      returning id
    )
    insert into messages (id, conversation_id, seq, sender, receiver, content, timestamp, read, ref, attempt_id)
    select id, id, 1, ${ann}, ${bob}, 'hello', now(), false, ${ann}, 0 from numbered
  `;
  await insertMessages(sql, [{ sender: ann, toKey: bob, ref: ann, sendId: 0, content: "hello" }]); // finds it stored, and checks every right
  await sql`
    do $$
    begin
      if not has_sequence_privilege('messages_id_seq', 'usage') and not has_sequence_privilege('messages_id_seq', 'update') then
        raise insufficient_privilege using message = 'permission denied for sequence messages_id_seq';
      end if;
    end
    $$
  `;
  await markDelivered(sql, [{ receiver: bob, sender: ann, seq: 1 }]);
  await markRead(sql, [{ reader: bob, peerKey: ann, seq: 1 }]);
  const change = { actor: bob, peerKey: ann, type: "react", seq: 1, text: "👍", ref: bob } as const;
  await changeMessages(sql, [change], { editWindow: 0, deleteWindow: 0 });
}
