/** Reads conversations: lists, pages of messages, unread counts, recent changes. */

import type { Fragment, Sql } from "./client.ts";
import type { Database } from "./database.ts";
import { bytesBefore, NAMES_MAX, type RowWithText, TEXTS_MAX_BYTES } from "./paging.ts";

export interface Message {
  readonly sender: string;
  readonly receiver: string;
  readonly content: string;
  readonly timestamp: string;
  readonly read: boolean;
  readonly id: number;
  readonly seq: number;
  readonly ref: string | null;
}

/**
 * Which messages of a conversation to read: the newest, those just before `before`, or the first
 * after `after`. With `includeBlocked`, a reader who blocks the peer gets the messages from before
 * the block instead of none.
 */
export type PageRequest = { limit: number; before?: number; after?: number; includeBlocked?: boolean };

/** The rows of a page, oldest first, and how many more rows match the request. */
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
  const conversation = sql`
    select
      c.id, c.blocks_peer,
      case
        when c.blocks_peer then (select blocked_seq from memberships where owner = ${me} and peer = ${other})
        else ${Number.MAX_SAFE_INTEGER}
      end as end_seq
    from (
      select id, blocked_by is not null and ${me} = any(blocked_by) as blocks_peer
      from conversations
      where low = least(${me}::text collate "C", ${other}) and high = greatest(${me}::text collate "C", ${other})
    ) c
    where ${request.includeBlocked ?? false} or not c.blocks_peer
  `;
  const part =
    request.after === undefined
      ? sql`m.seq < ${request.before ?? Number.MAX_SAFE_INTEGER} order by m.seq desc`
      : sql`m.seq > ${request.after} order by m.seq`;
  const rows = await sql<(Message & { count: number })[]>`
    select p.sender, p.receiver, p.content, p.timestamp, p.read, p.id, p.seq, p.ref, p.count
    from (
      select m.*, count(*) over () as count, ${bytesBefore(sql, sql`m.content`, sql`order by m.seq`)} as bytes_before
      from (
        select m.*
        from (${conversation}) c
        cross join lateral (
          select m.sender, m.receiver, m.content, m.timestamp, m.read and not (c.blocks_peer and m.sender = ${me}) as read, m.id, m.seq, m.ref
          from messages m
          where m.conversation_id = c.id and m.seq <= c.end_seq and ${part}
          limit ${request.limit}
        ) m
      ) m
    ) p
    where p.bytes_before < ${TEXTS_MAX_BYTES}
    order by p.seq
  `;
  return { rows, remaining: (rows[0]?.count ?? 0) - rows.length };
}

/**
 * Unread counts of a user by peer, without zeros, one page in the order of names.
 *
 * @param options.muted include muted conversations
 * @param options.after the last name of the previous page
 */
export async function unreadCounts(
  sql: Sql,
  me: string,
  options: { muted: boolean; after?: string; limit?: number },
): Promise<{ peer: string; unread: number }[]> {
  const { muted, after = "", limit = NAMES_MAX } = options;
  const mutes = sql`select peer from memberships where owner = ${me} and muted`;
  return sql<{ peer: string; unread: number }[]>`
    (
      select c.high as peer, c.low_unread as unread
      from conversations c
      where c.low = ${me} and c.high > ${after} and c.low_unread > 0
        and (c.blocked_by is null or c.low <> all(c.blocked_by)) and (${muted} or c.high not in (${mutes}))
      order by c.high
      limit ${limit}
    )
    union all
    (
      select c.low, c.high_unread
      from conversations c
      where c.high = ${me} and c.low > ${after} and c.high_unread > 0
        and (c.blocked_by is null or c.high <> all(c.blocked_by)) and (${muted} or c.low not in (${mutes}))
      order by c.low
      limit ${limit}
    )
    order by peer
    limit ${limit}
  `;
}

/**
 * Returns those of `names` whose conversations were written or marked within `withinMs`, not
 * counting conversations with peers they block, and those who changed a draft or their own settings.
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

/**
 * A row of a user's conversation list. `text`: of the last message; null once the texts of earlier
 * rows fill the page (`lastMessageTexts`).
 */
export interface Conversation extends RowWithText {
  readonly peer: string;
  readonly lastSeq: number;
  readonly sender: string;
  readonly timestamp: string;
  readonly unread: number;
  readonly peerReadSeq: number;
  readonly peerDeliveredSeq: number;
  readonly myReadSeq: number;
  readonly muted: boolean;
  /** The peer's privacy settings: see `users`. */
  readonly hidesRead: boolean;
  readonly hidesLastSeen: boolean;
  /** One of the two users blocks the other. */
  readonly isBlockedEitherWay: boolean;
  /** The user blocks the peer: the row shows the conversation as it was at that moment. */
  readonly blocksPeer: boolean;
  /** The peer's account was deleted. */
  readonly isDeleted: boolean;
  readonly lastSeenAt: string | null;
  readonly lastAt: string;
  readonly conversationId: number;
}

/**
 * Which conversations of `me` to list: the newest; those after the last row of an earlier page
 * (`before`); or the one with `peer`. `includeBlocked` adds those with peers that `me` blocks.
 */
export interface ConversationQuery {
  readonly me: string;
  readonly limit: number;
  readonly peer: string | undefined;
  readonly before: { readonly lastAt: string; readonly conversationId: number } | undefined;
  readonly includeBlocked?: boolean;
}

/** Lists conversations of many users, newest first, in the order of `queries`. */
export async function listConversations(sql: Sql, queries: readonly ConversationQuery[]): Promise<Conversation[][]> {
  const rows = await sql<(Conversation & { ord: number })[]>`
    select
      t.ord, p.peer, p.last_seq as "lastSeq", m.sender, m.timestamp, octet_length(m.content) as bytes,
      case
        when ${bytesBefore(sql, sql`m.content`, sql`partition by t.ord order by p.last_at desc, p.id desc`)} < ${TEXTS_MAX_BYTES}
        then m.content
      end as text,
      p.unread, p.peer_read_seq as "peerReadSeq", p.peer_delivered_seq as "peerDeliveredSeq", p.my_read_seq as "myReadSeq",
      exists (select from memberships where owner = t.me collate "C" and peer = p.peer and muted) as muted, u.last_seen_at as "lastSeenAt",
      coalesce(u.hide_read, false) as "hidesRead", coalesce(u.hide_last_seen, false) as "hidesLastSeen", p.blocked as "isBlockedEitherWay", p.blocks_peer as "blocksPeer",
      u.username is null or u.deleted_at is not null as "isDeleted",
      p.last_at as "lastAt", p.id as "conversationId"
    from unnest(
      ${queries.map(({ me }) => me)}::text[],
      ${queries.map(({ limit }) => limit)}::bigint[],
      ${queries.map(({ before }) => before?.lastAt ?? "infinity")}::text[],
      ${queries.map(({ before }) => before?.conversationId ?? 0)}::bigint[],
      ${queries.map(({ peer }) => peer ?? "")}::text[],
      ${queries.map(({ includeBlocked }) => Number(includeBlocked ?? false))}::bigint[]
    ) with ordinality as t (me, most, last_at, id, peer, include_blocked, ord)
    cross join lateral (
      select mine.*
      from (
        select
          c.id, c.high as peer, false as blocks_peer, c.blocked_by is not null as blocked, c.last_seq, c.last_at, c.low_unread as unread,
          c.high_read_seq as peer_read_seq, c.high_delivered_seq as peer_delivered_seq,
          case when c.low = c.high then c.last_seq else c.low_read_seq end as my_read_seq
        from conversations c
        where c.low = t.me collate "C" and (c.blocked_by is null or c.low <> all(c.blocked_by))
        union all
        select
          c.id, c.low, false, c.blocked_by is not null, c.last_seq, c.last_at, c.high_unread,
          c.low_read_seq, c.low_delivered_seq,
          c.high_read_seq
        from conversations c
        where c.high = t.me collate "C" and c.low <> c.high and (c.blocked_by is null or c.high <> all(c.blocked_by))
        ${queries.some(({ includeBlocked }) => includeBlocked) ? blockedConversations(sql) : sql``}
      ) mine
      where
        (mine.last_at, mine.id) < (t.last_at::timestamptz, t.id)
        and (t.peer = '' or mine.peer = t.peer collate "C")
        and mine.last_seq > 0
      order by mine.last_at desc, mine.id desc
      limit t.most
    ) p
    cross join lateral (
      select sender, content, timestamp from messages where conversation_id = p.id and seq = p.last_seq limit 1
    ) m
    left join lateral (
      select username, last_seen_at, hide_read, hide_last_seen, deleted_at from users where username = p.peer limit 1
    ) u on true
    order by t.ord, p.last_at desc, p.id desc
  `;
  const pages: Conversation[][] = queries.map(() => []);
  for (const row of rows) pages[row.ord - 1]?.push(row);
  return pages;
}

/** The conversations with peers that `t.me` blocks, as of the start of each block. */
function blockedConversations(sql: Sql): Fragment {
  return sql`
    union all
    select
      c.id, m.peer, true, true, m.blocked_seq, m.blocked_at, case when c.low = m.owner then c.low_unread else c.high_unread end,
      case when c.low = m.owner then c.high_read_seq else c.low_read_seq end,
      case when c.low = m.owner then c.high_delivered_seq else c.low_delivered_seq end,
      case when c.low = m.owner then c.low_read_seq else c.high_read_seq end
    from memberships m
    cross join lateral ( -- row by row, which rules out a plan that scans the table
      select * from conversations where id = m.conversation_id limit 1
    ) c
    where t.include_blocked = 1 and m.owner = t.me collate "C" and m.blocked_seq is not null
  `;
}

/** Texts of last messages in the order of `rows`; undefined where the conversation was deleted. */
export async function lastMessageTexts(sql: Sql, rows: readonly Conversation[]): Promise<(string | undefined)[]> {
  const found = await sql<{ id: number; content: string }[]>`
    select t.id, m.content
    from unnest(
      ${rows.map(({ conversationId }) => conversationId)}::bigint[],
      ${rows.map(({ lastSeq }) => lastSeq)}::bigint[]
    ) as t (id, seq)
    cross join lateral ( -- row by row, which rules out a plan that scans the table
      select content from messages where conversation_id = t.id and seq = t.seq limit 1
    ) m
  `;
  const texts = new Map(found.map(({ id, content }) => [id, content]));
  return rows.map(({ conversationId }) => texts.get(conversationId));
}
