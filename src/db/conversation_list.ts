/** Reads a user's list of conversations. */

import type { Fragment, Sql } from "./client.ts";
import type { FileInfo } from "./files.ts";
import { type MembershipSettings, settingsColumns } from "./memberships.ts";
import { bytesBefore, type RowWithText, TEXTS_MAX_BYTES } from "./paging.ts";
import { type Profile, profileColumns } from "./profiles.ts";

/**
 * A row of a user's conversation list. `text`: of the last message; null once the texts of earlier
 * rows fill the page (`lastMessageTexts`).
 */
export interface Conversation extends RowWithText, MembershipSettings, Profile {
  readonly peer: string;
  readonly lastSeq: number;
  readonly revision: number;
  readonly isLastDeleted: boolean;
  /** Of the last message. */
  readonly file: FileInfo | null;
  readonly sender: string;
  readonly timestamp: string;
  readonly unread: number;
  readonly peerReadSeq: number;
  readonly peerDeliveredSeq: number;
  readonly myReadSeq: number;
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
  /** Whether the row is among the pinned ones at the start of the list. */
  readonly isListedAsPinned: boolean;
}

/** The last row of a page. `at`: when it was pinned if it `isListedAsPinned`, otherwise its last message. */
export interface ListPosition {
  readonly at: string;
  readonly conversationId: number;
  readonly isListedAsPinned: boolean;
}

/**
 * Which conversations of `me` to list: all, newest first; without the archived ones, in the order
 * of the list, the pinned ones first in the order they were pinned (`archived: false`); only the
 * archived ones, newest first (`archived: true`); or the one with `peer`. `before`: those after the
 * last row of an earlier page. `includeBlocked` adds those with peers that `me` blocks.
 */
export interface ConversationQuery {
  readonly me: string;
  readonly limit: number;
  readonly peer: string | undefined;
  readonly before: ListPosition | undefined;
  readonly includeBlocked?: boolean;
  readonly archived?: boolean | undefined;
}

/** Lists conversations of many users, in the order of `queries`. */
export async function listConversations(sql: Sql, queries: readonly ConversationQuery[]): Promise<Conversation[][]> {
  const order = sql`p.list_pinned_at, case when p.list_pinned_at is not null then p.id end, p.last_at desc, p.id desc`;
  const rows = await sql<(Conversation & { ord: number })[]>`
    select
      t.ord, p.peer, p.last_seq as "lastSeq", p.revision, m.deleted_at is not null as "isLastDeleted", m.file, m.sender, m.timestamp, octet_length(m.content) as bytes,
      case
        when ${bytesBefore(sql, sql`m.content`, sql`partition by t.ord order by ${order}`)} < ${TEXTS_MAX_BYTES}
        then m.content
      end as text,
      p.unread, p.peer_read_seq as "peerReadSeq", p.peer_delivered_seq as "peerDeliveredSeq", p.my_read_seq as "myReadSeq",
      ${settingsColumns(sql, sql`own`)}, p.pinned_at as "pinnedAt", p.archived_seq as "archivedSeq", u.last_seen_at as "lastSeenAt",
      coalesce(u.hide_read, false) as "hidesRead", coalesce(u.hide_last_seen, false) as "hidesLastSeen", p.blocked as "isBlockedEitherWay", p.blocks_peer as "blocksPeer",
      u.username is null or u.deleted_at is not null as "isDeleted", ${profileColumns(sql, sql`s`)},
      p.last_at as "lastAt", p.id as "conversationId", p.list_pinned_at is not null as "isListedAsPinned"
    from unnest(
      ${queries.map(({ me }) => me)}::text[],
      ${queries.map(({ limit }) => limit)}::bigint[],
      ${queries.map(({ before }) => before?.at ?? "infinity")}::text[],
      ${queries.map(({ before }) => before?.conversationId ?? 0)}::bigint[],
      ${queries.map(({ before }) => (before ? Number(before.isListedAsPinned) : -1))}::bigint[],
      ${queries.map(({ peer }) => peer ?? "")}::text[],
      ${queries.map(({ includeBlocked }) => Number(includeBlocked ?? false))}::bigint[],
      ${queries.map(({ archived }) => (archived === undefined ? -1 : Number(archived)))}::bigint[]
    ) with ordinality as t (me, most, at, id, after_pin, peer, include_blocked, archived, ord)
    cross join lateral (
      select p.*
      from (
        select mine.*, case when t.archived = 0 then mine.pinned_at end as list_pinned_at
        from (
          select
            c.id, c.high as peer, false as blocks_peer, c.blocked_by is not null as blocked, c.last_seq, c.revision, c.last_at, c.low_unread as unread, c.low_pinned_at as pinned_at, c.low_archived_seq as archived_seq,
            c.high_read_seq as peer_read_seq, c.high_delivered_seq as peer_delivered_seq,
            case when c.low = c.high then c.last_seq else c.low_read_seq end as my_read_seq
          from conversations c
          where c.low = t.me collate "C" and (c.blocked_by is null or c.low <> all(c.blocked_by))
          union all
          select
            c.id, c.low, false, c.blocked_by is not null, c.last_seq, c.revision, c.last_at, c.high_unread, c.high_pinned_at, c.high_archived_seq,
            c.low_read_seq, c.low_delivered_seq,
            c.high_read_seq
          from conversations c
          where c.high = t.me collate "C" and c.low <> c.high and (c.blocked_by is null or c.high <> all(c.blocked_by))
          ${queries.some(({ includeBlocked }) => includeBlocked) ? blockedConversations(sql) : sql``}
        ) mine
        where
          (t.peer = '' or mine.peer = t.peer collate "C")
          and mine.last_seq > 0
          and (t.archived = -1 or (t.archived = 1) = coalesce(mine.archived_seq = mine.last_seq, false))
      ) p
      where
        t.after_pin = -1
        or t.after_pin = 0 and p.list_pinned_at is null and (p.last_at, p.id) < (t.at::timestamptz, t.id)
        or t.after_pin = 1 and (p.list_pinned_at is null or (p.list_pinned_at, p.id) > (t.at::timestamptz, t.id))
      order by ${order}
      limit t.most
    ) p
    cross join lateral (${queries.some(({ includeBlocked }) => includeBlocked) ? lastMessageOrFrozen(sql) : lastMessage(sql)}) m
    left join lateral (
      select muted, muted_until, marked_unread_seq, settings_revision
      from memberships
      where owner = t.me collate "C" and peer = p.peer
      limit 1
    ) own on true
    left join lateral (
      select id, username, last_seen_at, hide_read, hide_last_seen, deleted_at from users where username = p.peer limit 1
    ) u on true
    left join lateral shown_profile(t.me, u.id, u.username) s on u.deleted_at is null
    order by t.ord, ${order}
  `;
  const pages: Conversation[][] = queries.map(() => []);
  for (const row of rows) pages[row.ord - 1]?.push(row);
  return pages;
}

const lastMessage = (sql: Sql) => sql`
  select sender, content, file, deleted_at, timestamp from messages where conversation_id = p.id and seq = p.last_seq limit 1
`;

/** As of the start of a block by `t.me`. */
const lastMessageOrFrozen = (sql: Sql) => sql`
  select
    m.sender, coalesce(f.content, m.content) as content, m.file, m.timestamp,
    case when f.seq is null then m.deleted_at else f.deleted_at end as deleted_at
  from messages m
  left join frozen_messages f
    on f.conversation_id = p.id and f.owner = t.me collate "C" and f.seq = p.last_seq and p.blocks_peer
  where m.conversation_id = p.id and m.seq = p.last_seq
  limit 1
`;

/** The conversations with peers that `t.me` blocks, as of the start of each block. */
function blockedConversations(sql: Sql): Fragment {
  return sql`
    union all
    select
      c.id, m.peer, true, true, m.blocked_seq, coalesce(m.blocked_revision, c.revision), m.blocked_at, case when c.low = m.owner then c.low_unread else c.high_unread end,
      case when c.low = m.owner then c.low_pinned_at else c.high_pinned_at end,
      case when c.low = m.owner then c.low_archived_seq else c.high_archived_seq end,
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

/**
 * Texts of last messages in `me`'s list, in the order of `rows`; undefined where the conversation
 * was deleted.
 */
export async function lastMessageTexts(
  sql: Sql,
  me: string,
  rows: readonly Conversation[],
): Promise<(string | undefined)[]> {
  const found = await sql<{ id: number; content: string }[]>`
    select
      t.id,
      coalesce(
        (select content from frozen_messages where conversation_id = t.id and owner = ${me} and seq = t.seq), m.content
      ) as content
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
