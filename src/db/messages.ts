/** Conversations and messages: storing a batch, marks, pages. Knows nothing of sockets. Order and numbers are made here only. */

import type { Database, Sql } from "./client.ts";
import { bytesBefore, NAMES_MAX, type Texted, TEXTS_MAX_BYTES } from "./pages.ts";

/**
 * A message to store. `toKey`: the receiver's name key. `attemptId` (column `ticket`): 32 bits, different for each attempt. After a lost
 * reply it distinguishes the row this attempt inserted from one that a resend inserted through another pod.
 */
export interface NewMessage {
  readonly sender: string;
  readonly toKey: string;
  readonly ref: string;
  readonly attemptId: number;
  readonly content: string;
}

/**
 * The outcome for one message. `alreadyStored`: an earlier statement stored its ref. `committedByThisAttempt`: that statement was an earlier
 * run of this attempt. `sameMessage`: the stored row has the same text and receiver. `hidden`: the receiver blocks the sender and must not be
 * notified. `refusedByBlock`: the sender blocks the receiver; nothing was stored, and `id` and `seq` are 0.
 */
export interface Stored {
  readonly receiver: string;
  readonly id: number;
  readonly seq: number;
  readonly timestamp: string;
  readonly alreadyStored: boolean;
  readonly committedByThisAttempt: boolean;
  readonly sameMessage: boolean;
  readonly hidden: boolean;
  readonly refusedByBlock: boolean;
}

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
 * For the connection that stores batches. One plan for ever, made of index look-ups for tables and hash joins for the batch: planned
 * anew each time, planning is a tenth of a batch and most of a single row; left to itself, a plan made while the tables were small
 * reads them whole (measured: 400 rows took 11 ms with this plan, and up to 56 ms on the way from 0 to 50,000 rows without).
 */
export const WRITER_PARAMETERS = {
  plan_cache_mode: "force_generic_plan",
  enable_seqscan: "off",
  enable_nestloop: "off", // the two lateral look-ups stay nested loops: nothing else can run them
  enable_mergejoin: "off",
} as const;

/**
 * Stores a batch in one statement; within a conversation the order given is the order numbered.
 *
 * @param messages no two with the same sender and ref
 * @returns what became of each at its place; undefined where nobody has the receiver's name, or not any more
 */
export async function insertMany(sql: Sql, messages: readonly NewMessage[]): Promise<(Stored | undefined)[]> {
  const rows = await sql<(Stored & { ord: number })[]>`
    with input as materialized (
      select
        t.ord,
        t.sender collate "C" as sender,
        u.username as receiver,
        least(t.sender collate "C", u.username) as low,
        greatest(t.sender collate "C", u.username) as high,
        t.ref collate "C" as ref,
        t.ticket,
        t.content,
        k.id as known_id,
        k.seq as known_seq,
        k.timestamp as known_timestamp,
        k.receiver as known_receiver,
        k.content = t.content and k.receiver = u.username as same,
        coalesce(k.ticket = t.ticket, false) as own,
        u.deleted_at is null as is_here
      from unnest(
        ${messages.map((message) => message.sender)}::text[],
        ${messages.map((message) => message.toKey)}::text[],
        ${messages.map((message) => message.ref)}::text[],
        ${messages.map((message) => message.attemptId)}::bigint[],
        ${messages.map((message) => message.content)}::text[]
      ) with ordinality as t (sender, to_key, ref, ticket, content, ord)
      cross join lateral (
        select username, deleted_at from users where name_key = t.to_key collate "C" limit 1
      ) u
      left join lateral (
        select id, seq, timestamp, receiver, content, ticket
        from messages
        where sender = t.sender collate "C" and ref = t.ref collate "C"
        limit 1
      ) k on true
    ), numbered as (
      insert into conversations as c (low, high, last_seq, last_at, low_unread, high_unread)
      select
        i.low,
        i.high,
        count(*),
        clock_timestamp(),
        count(*) filter (where i.receiver = i.low and i.low <> i.high),
        count(*) filter (where i.receiver = i.high and i.low <> i.high)
      from input i
      where i.known_id is null and i.is_here
      group by i.low, i.high
      order by i.low, i.high -- in key order, so that pods cannot deadlock
      on conflict (low, high) do update
      set
        -- less what is refused: of somebody who blocks the other
        last_seq = c.last_seq + excluded.last_seq
          - case when c.low_blocks then excluded.high_unread else 0 end
          - case when c.high_blocks then excluded.low_unread else 0 end,
        -- never back, even when the clock goes back; a microsecond for each message
        last_at = case
          when c.low <> c.high and (c.low_blocks or excluded.high_unread = 0) and (c.high_blocks or excluded.low_unread = 0)
            then c.last_at -- nothing is left
          else greatest(clock_timestamp(), c.last_at + excluded.last_seq * interval '1 microsecond')
        end,
        low_unread = c.low_unread + case when c.high_blocks then 0 else excluded.low_unread end,
        high_unread = c.high_unread + case when c.low_blocks then 0 else excluded.high_unread end
      returning c.id, c.low, c.high, c.last_seq, c.last_at, c.low_blocks, c.high_blocks
    ), placed as materialized (
      -- ids are drawn here and not by the insert, so that nothing has to be joined to its rows afterwards
      select nextval('messages_id_seq') as id, p.*
      from (
        select
          i.ord, i.sender, i.receiver, i.ref, i.ticket, i.content, n.id as conversation_id, n.last_seq, n.last_at,
          (n.low_blocks or n.high_blocks) as hidden, -- by the receiver, then
          count(*) over (partition by n.id) - row_number() over (partition by n.id order by i.ord) as behind
        from input i
        join numbered n on n.low = i.low and n.high = i.high
        where i.known_id is null and not case when i.sender = n.low then n.low_blocks else n.high_blocks end
      ) p
    ), stored as (
      insert into messages (id, conversation_id, seq, sender, receiver, content, timestamp, read, ref, ticket)
      select
        p.id,
        p.conversation_id,
        p.last_seq - p.behind,
        p.sender,
        p.receiver,
        p.content,
        p.last_at - p.behind * interval '1 microsecond',
        p.sender = p.receiver,
        p.ref,
        p.ticket
      from placed p
    )
    select
      p.ord, p.receiver, p.id, p.last_seq - p.behind as seq, p.last_at - p.behind * interval '1 microsecond' as timestamp,
      false as "alreadyStored", false as "committedByThisAttempt", true as "sameMessage", p.hidden, false as "refusedByBlock"
    from placed p
    union all
    select i.ord, i.known_receiver, i.known_id, i.known_seq, i.known_timestamp, true, i.own, i.same, false, false
    from input i
    where i.known_id is not null
  `;
  const results: (Stored | undefined)[] = messages.map(() => undefined);
  for (const row of rows) results[row.ord - 1] = row;
  // Apart, since they hardly ever are: even as branches that find nothing to do they cost each statement a twentieth.
  if (rows.length < messages.length || rows.some((row) => row.alreadyStored)) await fillRare(sql, messages, results);
  return results;
}

/** Fills in what blocks have to do with messages that were stored before, or not at all. */
async function fillRare(sql: Sql, messages: readonly NewMessage[], results: (Stored | undefined)[]): Promise<void> {
  const rare = messages.flatMap((message, i) => (results[i] && !results[i].alreadyStored ? [] : [{ i, ...message }]));
  const rows = await sql<{ i: number; receiver: string; hidden: boolean; at: string }[]>`
    select t.i, u.username as receiver, c.hidden, c.last_at as at
    from unnest(
      ${rare.map(({ i }) => i)}::bigint[],
      ${rare.map(({ sender }) => sender)}::text[],
      ${rare.map(({ toKey }) => toKey)}::text[]
    ) as t (i, sender, to_key)
    cross join lateral (
      select username, deleted_at from users where name_key = t.to_key collate "C" limit 1
    ) u
    cross join lateral (
      select
        case when low = t.sender then high_blocks else low_blocks end as hidden, last_at
      from conversations
      where low = least(t.sender collate "C", u.username) and high = greatest(t.sender collate "C", u.username)
      limit 1
    ) c
    where u.deleted_at is null
  `;
  for (const { i, receiver, hidden, at } of rows) {
    const known = results[i];
    if (known) results[i] = { ...known, hidden };
    else {
      // Somebody is there to have it, and there is a conversation: it was refused, even if the block has gone since.
      const flags = { alreadyStored: false, committedByThisAttempt: false, sameMessage: true, hidden: false };
      results[i] = { receiver, id: 0, seq: 0, timestamp: at, ...flags, refusedByBlock: true };
    }
  }
}

/** A read mark as asked: `reader` has seen what the person with `peerKey` wrote, up to `seq`. */
export interface ReadMark {
  readonly reader: string;
  readonly peerKey: string;
  seq: number;
}

/**
 * A mark that moved: `seq` as stored. `more`: only part of the way, ask again. `told`: the peer may know that it was read. `reached`: that it
 * arrived, of which nobody has told them.
 */
export interface ReadMoved {
  readonly reader: string;
  readonly peer: string;
  readonly seq: number;
  readonly more: boolean;
  readonly told: boolean;
  readonly reached: boolean;
}

/** Moves read marks, at most 5,000 numbers each (see `mark_read` in sql/). Marks that passed nothing are left out. */
export async function markRead(sql: Sql, marks: readonly ReadMark[]): Promise<ReadMoved[]> {
  return sql<ReadMoved[]>`
    select reader, peer, read_seq as seq, more, told, reached
    from mark_read(
      ${marks.map((mark) => mark.reader)}::text[],
      ${marks.map((mark) => mark.peerKey)}::text[],
      ${marks.map((mark) => mark.seq)}::bigint[]
    )
  `;
}

/** `receiver` has on some device what `sender` wrote, up to `seq`. */
export interface DeliveredMark {
  readonly receiver: string;
  readonly sender: string;
  readonly seq: number;
}

/** Raises delivered marks; never lowers one, nor raises one of a receiver who blocks the sender. @returns those that rose and the sender may hear of */
export async function markDelivered(sql: Sql, marks: readonly DeliveredMark[]): Promise<DeliveredMark[]> {
  return sql<DeliveredMark[]>`
    with marks as (
      select
        t.receiver collate "C" as receiver,
        t.sender collate "C" as sender,
        max(t.seq) as seq,
        least(t.receiver collate "C", t.sender collate "C") as low,
        greatest(t.receiver collate "C", t.sender collate "C") as high
      from unnest(
        ${marks.map((mark) => mark.receiver)}::text[],
        ${marks.map((mark) => mark.sender)}::text[],
        ${marks.map((mark) => mark.seq)}::bigint[]
      ) as t (receiver, sender, seq)
      group by t.receiver, t.sender
    ), locked as (
      select c.low, c.high
      from conversations c
      where (c.low, c.high) in (select m.low, m.high from marks m) and c.low <> c.high
      order by c.low, c.high -- in key order, as every writer takes them
      for update
    ), sides as (
      select
        l.low,
        l.high,
        max(m.seq) filter (where m.receiver = l.low) as low_seq,
        max(m.seq) filter (where m.receiver = l.high) as high_seq
      from locked l
      join marks m on m.low = l.low and m.high = l.high
      group by l.low, l.high
    ), risen as (
      update conversations c
      set
        low_delivered_seq = case when c.low_blocks then c.low_delivered_seq else greatest(c.low_delivered_seq, least(s.low_seq, c.last_seq)) end,
        high_delivered_seq = case when c.high_blocks then c.high_delivered_seq else greatest(c.high_delivered_seq, least(s.high_seq, c.last_seq)) end,
        marked_at = clock_timestamp()
      from sides s
      where
        c.low = s.low
        and c.high = s.high
        and (s.low_seq > c.low_delivered_seq and not c.low_blocks or s.high_seq > c.high_delivered_seq and not c.high_blocks)
      returning c.low, c.high, c.low_delivered_seq, c.high_delivered_seq, c.low_blocks, c.high_blocks
    )
    select m.receiver, m.sender, case when m.receiver = r.low then r.low_delivered_seq else r.high_delivered_seq end as seq
    from risen r
    join marks m on m.low = r.low and m.high = r.high
    where not (r.low_blocks or r.high_blocks)
  `;
}

/**
 * Which part of a conversation: the newest, those just before `before`, or the first after `after`. `frozen`: of a peer whom the reader blocks, what
 * was said before the block, instead of nothing.
 */
export type Window = { limit: number; before?: number; after?: number; frozen?: boolean };

/** The first rows of a window, oldest first, and how many of it are left behind them. */
export interface Page {
  readonly rows: Message[];
  readonly left: number;
}

/** A page of somebody's conversation with another. Empty when they never wrote. While `me` blocks the other, nothing tells what the other reads. */
export async function page(sql: Sql, me: string, other: string, window: Window): Promise<Page> {
  const conversation = sql`
    select c.id, c.blocks, case when c.blocks then c.frozen_seq else ${Number.MAX_SAFE_INTEGER} end as end_seq
    from (
      select
        id,
        case when low = ${me} then low_blocks else high_blocks end as blocks,
        case when low = ${me} then low_frozen_seq else high_frozen_seq end as frozen_seq
      from conversations
      where low = least(${me}::text collate "C", ${other}) and high = greatest(${me}::text collate "C", ${other})
    ) c
    where ${window.frozen ?? false} or not c.blocks
  `;
  const part =
    window.after === undefined
      ? sql`m.seq < ${window.before ?? Number.MAX_SAFE_INTEGER} order by m.seq desc`
      : sql`m.seq > ${window.after} order by m.seq`;
  const rows = await sql<(Message & { count: number })[]>`
    select p.sender, p.receiver, p.content, p.timestamp, p.read, p.id, p.seq, p.ref, p.count
    from (
      select m.*, count(*) over () as count, ${bytesBefore(sql, sql`m.content`, sql`order by m.seq`)} as bytes_before
      from (
        select m.*
        from (${conversation}) c
        cross join lateral (
          select m.sender, m.receiver, m.content, m.timestamp, m.read and not (c.blocks and m.sender = ${me}) as read, m.id, m.seq, m.ref
          from messages m
          where m.conversation_id = c.id and m.seq <= c.end_seq and ${part}
          limit ${window.limit}
        ) m
      ) m
    ) p
    where p.bytes_before < ${TEXTS_MAX_BYTES}
    order by p.seq
  `;
  return { rows, left: (rows[0]?.count ?? 0) - rows.length };
}

/**
 * Unread messages of a person by who wrote them, only those that have any; a page, in the order of names.
 *
 * @param options.after the last name of the page before
 */
export async function unreadCounts(
  sql: Sql,
  me: string,
  options: { muted: boolean; after?: string; limit?: number },
): Promise<{ peer: string; unread: number }[]> {
  const { muted, after = "", limit = NAMES_MAX } = options;
  return sql<{ peer: string; unread: number }[]>`
    (
      select c.high as peer, c.low_unread as unread
      from conversations c
      where c.low = ${me} and c.high > ${after} and c.low_unread > 0 and not c.low_blocks and (${muted} or not c.low_muted)
      order by c.high
      limit ${limit}
    )
    union all
    (
      select c.low, c.high_unread
      from conversations c
      where c.high = ${me} and c.low > ${after} and c.high_unread > 0 and not c.high_blocks and (${muted} or not c.high_muted)
      order by c.low
      limit ${limit}
    )
    order by peer
    limit ${limit}
  `;
}

/**
 * Those of some people in whose conversations something was stored or marked lately, whom they block left out; and those who changed something of their own.
 *
 * @param names as their owners wrote them @param withinMs how long ago at most
 */
export async function peopleWithChanges(db: Database, names: readonly string[], withinMs: number): Promise<string[]> {
  const rows = await db.run(
    (sql) => sql<{ name: string }[]>`
      select t.name
      from unnest(${names as string[]}::text[]) as t (name)
      cross join lateral ( -- one by one, so that only these people's conversations are read
        (select from conversations c where c.low = t.name collate "C" and not c.low_blocks and greatest(c.last_at, c.marked_at) > clock_timestamp() - ${withinMs} * interval '1 millisecond' limit 1)
        union all
        (select from conversations c where c.high = t.name collate "C" and not c.high_blocks and greatest(c.last_at, c.marked_at) > clock_timestamp() - ${withinMs} * interval '1 millisecond' limit 1)
        union all
        (select from users u where u.username = t.name collate "C" and u.changed_at > clock_timestamp() - ${withinMs} * interval '1 millisecond')
        limit 1
      ) changed
    `,
  );
  return rows.map((row) => row.name);
}

/** A row of somebody's list; `text`: of the last message, null where those before it are long (`lastTexts`). */
export interface Conversation extends Texted {
  readonly peer: string;
  readonly lastSeq: number;
  readonly sender: string;
  readonly timestamp: string;
  readonly unread: number;
  readonly peerReadSeq: number;
  readonly peerDeliveredSeq: number;
  readonly myReadSeq: number;
  readonly muted: boolean;
  /** The peer's: see `users`. */
  readonly hidesRead: boolean;
  readonly hidesLastSeen: boolean;
  /** One of the two users blocks the other. */
  readonly blocked: boolean;
  /** The user blocks the peer: the row shows the conversation as it was then. */
  readonly blocks: boolean;
  readonly gone: boolean;
  readonly lastSeenAt: string | null;
  readonly lastAt: string;
  readonly conversationId: number;
}

/**
 * A page of somebody's conversations: the newest, or those after a place of an earlier page, its last row's; or the one with `peer`. `frozen`: with
 * those of peers whom the user blocks.
 */
export interface ConversationsAsked {
  readonly me: string;
  readonly limit: number;
  readonly peer: string | undefined;
  readonly before: { readonly lastAt: string; readonly conversationId: number } | undefined;
  readonly frozen?: boolean;
}

/** Pages of many people's conversations, newest first, each at the place of what was asked. */
export async function conversations(sql: Sql, asked: readonly ConversationsAsked[]): Promise<Conversation[][]> {
  const rows = await sql<(Conversation & { ord: number })[]>`
    select
      t.ord, p.peer, p.last_seq as "lastSeq", m.sender, m.timestamp, octet_length(m.content) as bytes,
      case
        when ${bytesBefore(sql, sql`m.content`, sql`partition by t.ord order by p.last_at desc, p.id desc`)} < ${TEXTS_MAX_BYTES}
        then m.content
      end as text,
      p.unread, p.peer_read_seq as "peerReadSeq", p.peer_delivered_seq as "peerDeliveredSeq", p.my_read_seq as "myReadSeq", p.muted, u.last_seen_at as "lastSeenAt",
      coalesce(u.hide_read, false) as "hidesRead", coalesce(u.hide_last_seen, false) as "hidesLastSeen", p.blocked, p.blocks,
      u.username is null or u.deleted_at is not null as gone,
      p.last_at as "lastAt", p.id as "conversationId"
    from unnest(
      ${asked.map(({ me }) => me)}::text[],
      ${asked.map(({ limit }) => limit)}::bigint[],
      ${asked.map(({ before }) => before?.lastAt ?? "infinity")}::text[],
      ${asked.map(({ before }) => before?.conversationId ?? 0)}::bigint[],
      ${asked.map(({ peer }) => peer ?? "")}::text[],
      ${asked.map(({ frozen }) => Number(frozen ?? false))}::bigint[]
    ) with ordinality as t (me, most, last_at, id, peer, frozen, ord)
    cross join lateral (
      select mine.*
      from (
        select
          c.id, c.high as peer, c.low_blocks as blocks,
          case when c.low_blocks then c.low_frozen_seq else c.last_seq end as last_seq,
          case when c.low_blocks then c.low_frozen_at else c.last_at end as last_at,
          c.low_unread as unread,
          c.high_read_seq as peer_read_seq, c.high_delivered_seq as peer_delivered_seq,
          case when c.low = c.high then c.last_seq else c.low_read_seq end as my_read_seq, c.low_muted as muted,
          c.low_blocks or c.high_blocks as blocked
        from conversations c
        where c.low = t.me collate "C"
        union all
        select
          c.id, c.low, c.high_blocks,
          case when c.high_blocks then c.high_frozen_seq else c.last_seq end,
          case when c.high_blocks then c.high_frozen_at else c.last_at end,
          c.high_unread,
          c.low_read_seq, c.low_delivered_seq,
          c.high_read_seq, c.high_muted,
          c.low_blocks or c.high_blocks
        from conversations c
        where c.high = t.me collate "C" and c.low <> c.high
      ) mine
      where
        (mine.last_at, mine.id) < (t.last_at::timestamptz, t.id)
        and (t.peer = '' or mine.peer = t.peer collate "C")
        and mine.last_seq > 0
        and (t.frozen = 1 or not mine.blocks)
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
  const pages: Conversation[][] = asked.map(() => []);
  for (const row of rows) pages[row.ord - 1]?.push(row);
  return pages;
}

/** The texts of last messages, each at the place of its row; undefined where the conversation is gone. */
export async function lastTexts(sql: Sql, rows: readonly Conversation[]): Promise<(string | undefined)[]> {
  const found = await sql<{ id: number; content: string }[]>`
    select t.id, m.content
    from unnest(
      ${rows.map(({ conversationId }) => conversationId)}::bigint[],
      ${rows.map(({ lastSeq }) => lastSeq)}::bigint[]
    ) as t (id, seq)
    cross join lateral ( -- one by one: a plan that walks the table for many at once must not exist
      select content from messages where conversation_id = t.id and seq = t.seq limit 1
    ) m
  `;
  const texts = new Map(found.map(({ id, content }) => [id, content]));
  return rows.map(({ conversationId }) => texts.get(conversationId));
}
