/** Reads all messages of a user for an export, conversation by conversation, in small pages. */

import { type Message, messageColumns } from "./conversations.ts";
import type { Database } from "./database.ts";
import { bytesBefore, TEXTS_MAX_BYTES } from "./paging.ts";

/** A conversation to export. `hidesRead`: the peer hides read marks. */
export interface ExportedConversation {
  readonly id: number;
  readonly peer: string;
  readonly lastSeq: number;
  readonly hidesRead: boolean;
}

/** The number of messages in a user's conversations, including those with blocked peers. */
export async function count(db: Database, me: string): Promise<number> {
  const [row] = await db.run(
    (sql) => sql<[{ count: number }]>`
      select coalesce(sum(mine.last_seq), 0)::bigint as count
      from (
        select c.last_seq from conversations c where c.low = ${me}
        union all
        select c.last_seq from conversations c where c.high = ${me} and c.low <> c.high
      ) mine
    `,
  );
  return row.count;
}

/** A user's conversations with ids above `after`, in order. */
export async function conversations(
  db: Database,
  me: string,
  after: number,
  limit: number,
): Promise<ExportedConversation[]> {
  return db.run(
    (sql) => sql<ExportedConversation[]>`
      select mine.id, mine.peer, mine.last_seq as "lastSeq", coalesce(u.hide_read, false) as "hidesRead"
      from (
        select c.id, c.high as peer, c.last_seq from conversations c where c.low = ${me}
        union all
        select c.id, c.low, c.last_seq from conversations c where c.high = ${me} and c.low <> c.high
      ) mine
      left join lateral (
        select hide_read from users where username = mine.peer limit 1
      ) u on true
      where mine.id > ${after} and mine.last_seq > 0
      order by mine.id
      limit ${limit}
    `,
  );
}

/** A range of a conversation: messages with seq above `after`, up to `to`. */
export interface ExportPart {
  readonly conversation: ExportedConversation;
  readonly after: number;
  readonly to: number;
}

/**
 * The messages of `parts` in order, with the index of their part; fewer if their texts exceed a
 * page. `count`: the number of messages in all parts.
 */
export async function messages(
  db: Database,
  parts: readonly ExportPart[],
): Promise<(Message & { part: number; count: number })[]> {
  return db.run(
    (sql) => sql<(Message & { part: number; count: number })[]>`
      select
        p.part, p.sender, p.receiver, p.content, p.timestamp, p.read, p.id, p.seq, p.ref, p."replyTo", p."editedAt",
        p."isDeleted", p."senderReaction", p."receiverReaction", p.file, p.revision, p.count
      from (
        select
          t.ord - 1 as part, m.*, count(*) over () as count,
          ${bytesBefore(sql, sql`m.content`, sql`order by t.ord, m.seq`)} as bytes_before
        from unnest(
          ${parts.map(({ conversation }) => conversation.id)}::bigint[],
          ${parts.map(({ after }) => after)}::bigint[],
          ${parts.map(({ to }) => to)}::bigint[]
        ) with ordinality as t (id, after, upto, ord)
        cross join lateral (
          select ${messageColumns(sql, sql`m`)}
          from messages m
          where m.conversation_id = t.id and m.seq > t.after and m.seq <= t.upto
          order by m.seq
          limit t.upto - t.after
        ) m
      ) p
      where p.bytes_before < ${TEXTS_MAX_BYTES}
      order by p.part, p.seq
    `,
  );
}
