/** Reads conversations: pages of messages, unread counts, recent changes. */

import type { Fragment, Sql } from "./client.ts";
import type { Database } from "./database.ts";
import type { FileInfo } from "./files.ts";
import { isMuted } from "./memberships.ts";
import { bytesBefore, NAMES_MAX, TEXTS_MAX_BYTES } from "./paging.ts";

export interface Message {
  readonly sender: string;
  readonly receiver: string;
  readonly content: string;
  readonly timestamp: string;
  readonly read: boolean;
  readonly id: number;
  readonly seq: number;
  readonly ref: string | null;
  /** The `seq` of the message that this one answers. */
  readonly replyTo: number | null;
  readonly editedAt: string | null;
  /** The content is empty, then. */
  readonly isDeleted: boolean;
  readonly senderReaction: string | null;
  readonly receiverReaction: string | null;
  /** Null, too, once the message is deleted. */
  readonly file: FileInfo | null;
  /** Of the last change; null if there was none. */
  readonly revision: number | null;
}

/**
 * The columns of `Message`. Of a frozen message, those that changes affect are as before the first
 * change after the block.
 *
 * @param m, frozen aliases of `messages` and `frozen_messages`
 */
export function messageColumns(sql: Sql, m: Fragment, frozen?: Fragment): Fragment {
  const changing = (column: Fragment) =>
    frozen
      ? sql`case when ${frozen}.seq is null then ${m}.${column} else ${frozen}.${column} end`
      : sql`${m}.${column}`;
  return sql`
    ${m}.sender, ${m}.receiver, ${changing(sql`content`)} as content, ${m}.timestamp, ${m}.read, ${m}.id, ${m}.seq, ${m}.ref,
    ${m}.reply_to as "replyTo", ${changing(sql`edited_at`)} as "editedAt",
    ${changing(sql`deleted_at`)} is not null as "isDeleted", ${changing(sql`sender_reaction`)} as "senderReaction",
    ${changing(sql`receiver_reaction`)} as "receiverReaction", ${m}.file, ${changing(sql`revision`)} as revision
  `;
}

/**
 * Which messages of a conversation to read: the newest, those just before `before`, the first
 * after `after`, or the first that changed after revision `changedAfter`, in the order of their
 * revisions. With `includeBlocked`, a reader who blocks the peer gets the messages from before
 * the block instead of none.
 */
export type PageRequest = {
  limit: number;
  before?: number;
  after?: number;
  changedAfter?: number;
  includeBlocked?: boolean;
};

/** The rows of a page, oldest first unless by revision, and how many more rows match the request. */
export interface MessagePage {
  readonly rows: Message[];
  readonly remaining: number;
}

/**
 * A page of the conversation between `me` and `other`; empty if there is none. While `me` blocks
 * `other`, own messages are reported as unread, so that the page does not reveal what `other`
 * reads.
 */
export async function messagePage(sql: Sql, me: string, other: string, request: PageRequest): Promise<MessagePage> {
  const between = sql`low = least(${me}::text collate "C", ${other}) and high = greatest(${me}::text collate "C", ${other})`;
  const { before, after, changedAfter, includeBlocked = false } = request;
  // `ends_at`, `ends_at_revision`: where a block by `me` began
  const conversation = includeBlocked
    ? sql`
        select c.id, b.owner is not null as blocks_peer, b.blocked_seq as ends_at, b.blocked_revision as ends_at_revision
        from conversations c
        left join memberships b on b.owner = ${me} and b.peer = ${other} and ${me} = any(c.blocked_by)
        where ${between}
      `
    : sql`
        select id, false as blocks_peer, null::bigint as ends_at, null::bigint as ends_at_revision
        from conversations
        where ${between} and (blocked_by is null or ${me} <> all(blocked_by))
      `;
  const frozen = includeBlocked
    ? sql`left join frozen_messages f on f.conversation_id = c.id and f.owner = ${me} and f.seq = m.seq and c.blocks_peer`
    : sql``;
  const columns = messageColumns(sql, sql`m`, includeBlocked ? sql`f` : undefined);
  let part = sql`m.seq < ${before ?? Number.MAX_SAFE_INTEGER} order by m.seq desc`;
  let order = sql`seq`;
  if (after !== undefined) part = sql`m.seq > ${after} order by m.seq`;
  if (changedAfter !== undefined) {
    const revision = includeBlocked
      ? sql`case when f.seq is null then m.revision else f.revision end`
      : sql`m.revision`;
    part = sql`m.revision > ${changedAfter} and ${revision} > ${changedAfter} and (c.ends_at_revision is null or ${revision} <= c.ends_at_revision) order by ${revision}`;
    order = sql`revision`;
  }
  const rows = await sql<(Message & { count: number })[]>`
    select
      p.sender, p.receiver, p.content, p.timestamp, p.read and not (p.blocks_peer and p.sender = ${me}) as read,
      p.id, p.seq, p.ref, p."replyTo", p."editedAt", p."isDeleted",
      p."senderReaction", p."receiverReaction", p.file, p.revision, p.count
    from (
      select m.*, count(*) over () as count, ${bytesBefore(sql, sql`m.content`, sql`order by m.${order}`)} as bytes_before
      from (
        select m.*
        from (${conversation}) c
        cross join lateral (
          select ${columns}, c.blocks_peer
          from messages m
          ${frozen}
          where m.conversation_id = c.id and (c.ends_at is null or m.seq <= c.ends_at) and ${part}
          limit ${request.limit}
        ) m
      ) m
    ) p
    where p.bytes_before < ${TEXTS_MAX_BYTES}
    order by p.${order}
  `;
  return { rows, remaining: (rows[0]?.count ?? 0) - rows.length };
}

/**
 * The seq of the last message between `me` and `other` before an instant; 0 if there is none. A
 * binary search, since timestamps rise with `seq`: `insertMessages` sees to that under the
 * conversation's lock. An index on timestamps would make each send write one more.
 */
export async function lastSeqBefore(sql: Sql, me: string, other: string, at: string): Promise<number> {
  const rows = await sql<{ seq: number }[]>`
    with recursive part (id, low, high) as (
      select id, 0::bigint, last_seq
      from conversations
      where low = least(${me}::text collate "C", ${other}) and high = greatest(${me}::text collate "C", ${other})
      union all
      select
        n.id,
        case when m.is_before then n.middle else n.low end,
        case when m.is_before then n.high else n.middle - 1 end
      from (
        select id, low, high, (low + high + 1) / 2 as middle from part where low < high
      ) n
      cross join lateral (
        select timestamp < ${at}::timestamptz as is_before from messages where conversation_id = n.id and seq = n.middle limit 1
      ) m
    )
    select low as seq from part where low = high
  `;
  return rows[0]?.seq ?? 0;
}

/**
 * Unread counts of a user by peer, without zeros, one page in the order of names.
 *
 * @param options.muted include muted conversations
 * @param options.archived include archived conversations
 * @param options.after the last name of the previous page
 */
export async function unreadCounts(
  sql: Sql,
  me: string,
  options: { muted: boolean; archived: boolean; after?: string; limit?: number },
): Promise<{ peer: string; unread: number }[]> {
  const { muted, archived, after = "", limit = NAMES_MAX } = options;
  const mutes = sql`select m.peer from memberships m where m.owner = ${me} and ${isMuted(sql, sql`m`)}`;
  return sql<{ peer: string; unread: number }[]>`
    (
      select c.high as peer, c.low_unread as unread
      from conversations c
      where c.low = ${me} and c.high > ${after} and c.low_unread > 0
        and (c.blocked_by is null or c.low <> all(c.blocked_by)) and (${muted} or c.high not in (${mutes}))
        and (${archived} or c.low_archived_seq is distinct from c.last_seq)
      order by c.high
      limit ${limit}
    )
    union all
    (
      select c.low, c.high_unread
      from conversations c
      where c.high = ${me} and c.low > ${after} and c.high_unread > 0
        and (c.blocked_by is null or c.high <> all(c.blocked_by)) and (${muted} or c.low not in (${mutes}))
        and (${archived} or c.high_archived_seq is distinct from c.last_seq)
      order by c.low
      limit ${limit}
    )
    order by peer
    limit ${limit}
  `;
}

/**
 * Returns the users among `names` who, within `withinMs`, changed a draft or a setting, or had a
 * message, change or mark in a conversation whose peer they do not block.
 *
 * @param names usernames
 */
export async function usersWithRecentChanges(
  db: Database,
  names: readonly string[],
  withinMs: number,
): Promise<string[]> {
  const rows = await db.run(
    (sql) => sql<{ name: string }[]>`
      select t.name
      from unnest(${names as string[]}::text[]) as t (name)
      cross join lateral ( -- row by row, so that only these users' conversations are read
        (select from conversations c where c.low = t.name collate "C" and (c.blocked_by is null or c.low <> all(c.blocked_by)) and greatest(c.last_at, c.marked_at) > clock_timestamp() - ${withinMs} * interval '1 millisecond' limit 1)
        union all
        (select from conversations c where c.high = t.name collate "C" and (c.blocked_by is null or c.high <> all(c.blocked_by)) and greatest(c.last_at, c.marked_at) > clock_timestamp() - ${withinMs} * interval '1 millisecond' limit 1)
        union all
        (select from drafts d where d.owner = t.name collate "C" and d.at > clock_timestamp() - ${withinMs} * interval '1 millisecond' limit 1)
        union all
        (select from users u where u.username = t.name collate "C" and u.changed_at > clock_timestamp() - ${withinMs} * interval '1 millisecond')
        limit 1
      ) changed
    `,
  );
  return rows.map((row) => row.name);
}
