/**
 * Finds messages by any part of their text, newest first. A search reads the user's messages, in
 * statements of some milliseconds, until it has enough. An index (GIN, pg_trgm) would make each
 * send cost PostgreSQL 2.6 times the CPU and four times the WAL.
 */

import type { Fragment, Sql } from "./client.ts";
import { type Message, messageColumns } from "./conversations.ts";
import type { Database } from "./database.ts";
import { bytesBefore, type RowPages, TEXTS_MAX_BYTES } from "./paging.ts";

/** Runs the statements of a search. */
export type Queries = Pick<Database, "run">;

/** The place of a message in a user's messages, newest first. */
export interface Position {
  readonly timestamp: string;
  readonly conversationId: number;
  readonly seq: number;
}

export interface MessageQuery {
  /** Usernames. */
  readonly me: string;
  readonly peer: string | undefined;
  /** A regular expression (src/util/search_pattern.ts). */
  readonly pattern: string;
  /** Find only older messages. */
  readonly before: Position | undefined;
  readonly limit: number;
}

/** `next`: set if the search ended before it found `limit` hits; the place where it would continue. */
export interface Found {
  readonly hits: Position[];
  readonly next: Position | undefined;
}

export interface FoundMessage extends Message {
  readonly peer: string;
  readonly conversationId: number;
  /** The peer hides read marks. */
  readonly peerHidesRead: boolean;
}

/** The messages of a conversation that are still to be searched: the one at this position, and older ones. */
interface Unsearched extends Position {
  /** How many of them the next step reads. */
  readonly window: number;
}

/** Messages of a conversation that a step reads, both ends included. */
interface Window {
  readonly conversationId: number;
  readonly first: number;
  readonly last: number;
}

/** Conversations in a pass: 1.5 MB of memory. */
const CONVERSATIONS_MAX = 10_000;
/** A search ends with the first step that exceeds this: each request makes progress. */
const SEARCH_MS = 1_500;
/** Messages in a step; adapted to the texts, the disk and the load. */
const STEP = { first: 2_000, least: 250, most: 8_000 };
const [FAST_MS, SLOW_MS] = [25, 75];
/** Messages of a conversation in its first step, doubled at each further one. */
const FIRST_WINDOW = 64;

/**
 * The newest messages that match. Merges the user's conversations: a hit is final when no
 * conversation has an unsearched message that is newer.
 *
 * @param isCancelled ends the search after the current step
 */
export async function searchMessages(
  db: Queries,
  query: MessageQuery,
  isCancelled: () => boolean = () => false,
): Promise<Found> {
  const endAt = performance.now() + SEARCH_MS;
  let { before } = query;
  let hits: Position[] = [];
  let stepSize = STEP.first;
  let isOver = isCancelled();
  for (;;) {
    let open = await unsearched(db, { ...query, before });
    // A user with more conversations needs another pass from here on: others have newer messages.
    const passEnd = open.length > CONVERSATIONS_MAX ? open.pop() : undefined;
    for (;;) {
      const newest = open[0] && !(passEnd && isNewer(passEnd, open[0])) ? open[0] : passEnd;
      const worst = hits.length === query.limit ? hits.at(-1) : undefined;
      if (!newest || (worst && isNewer(worst, newest))) return { hits, next: undefined };
      if (isOver || newest === passEnd) {
        hits = hits.filter((hit) => isNewer(hit, newest));
        before = { ...newest, seq: newest.seq + 1 };
        if (isOver) return { hits, next: before };
        break;
      }
      const windows = chooseWindows(open, stepSize, worst);
      const step = await searchWindows(db, query, windows);
      hits = [...hits, ...step.hits].toSorted(byAge).slice(0, query.limit);
      open = open.slice(windows.length);
      if (step.rest.length > 0) open = [...step.rest, ...open].toSorted(byAge);
      if (step.tookMs < FAST_MS) stepSize = Math.min(stepSize * 2, STEP.most);
      if (step.tookMs > SLOW_MS) stepSize = Math.max(stepSize / 2, STEP.least);
      isOver = performance.now() > endAt || isCancelled();
    }
  }
}

function isNewer(one: Position, other: Position): boolean {
  return byAge(one, other) < 0;
}

/** The order of all of a user's messages, newest first. */
function byAge(one: Position, other: Position): number {
  if (one.timestamp !== other.timestamp) return one.timestamp > other.timestamp ? -1 : 1;
  return other.conversationId - one.conversationId || other.seq - one.seq;
}

/**
 * What the next step reads: the newest messages of the first conversations, `size` in total.
 *
 * @param open newest first
 * @param worst the oldest hit that may still be returned
 */
function chooseWindows(open: readonly Unsearched[], size: number, worst: Position | undefined): Window[] {
  const windows: Window[] = [];
  const share = Math.floor(size / open.length);
  for (const { conversationId, seq, window, ...position } of open) {
    if (size <= 0 || (worst && isNewer(worst, { conversationId, seq, ...position }))) break;
    const count = Math.min(Math.max(share, window), size, seq);
    windows.push({ conversationId, first: seq - count + 1, last: seq });
    size -= count;
  }
  return windows;
}

/**
 * The user's conversations with messages older than `before`, by the newest such message, newest
 * first; one more than a pass can search.
 */
async function unsearched(db: Queries, { me, peer, before }: MessageQuery): Promise<Unsearched[]> {
  return db.run(
    (sql) => sql<Unsearched[]>`
      select c.id as "conversationId", p.seq, p.timestamp, ${FIRST_WINDOW}::bigint as window
      from (
        select c.id, c.last_seq, c.last_at
        from conversations c
        where
          -- mutation: own messages only
          c.low = ${me}
          ${peer === undefined ? sql`` : sql`and c.high = ${peer}`}
          -- mutation: no blocked peers
          and (c.blocked_by is null or c.low <> all(c.blocked_by))
        union all
        select c.id, c.last_seq, c.last_at
        from conversations c
        where
          c.high = ${me}
          and c.low <> c.high
          ${peer === undefined ? sql`` : sql`and c.low = ${peer}`}
          and (c.blocked_by is null or c.high <> all(c.blocked_by))
      ) c
      cross join lateral (
        ${before === undefined ? sql`select c.last_seq as seq, c.last_at as timestamp` : newestBefore(sql, before)}
      ) p
      where p.seq > 0
      order by p.timestamp desc, c.id desc
      limit ${CONVERSATIONS_MAX + 1}
    `,
  );
}

/** The newest message of the conversation `c` before a position: a binary search by `seq`. */
function newestBefore(sql: Sql, before: Position): Fragment {
  const position = sql`(${before.timestamp}::timestamptz, ${before.conversationId}::bigint)`;
  return sql`
    with recursive part (low, high) as (
      select
        case when s.is_whole then s.last_seq else 0 end, s.last_seq
      from (
        select
          least(c.last_seq, case when c.id = ${before.conversationId} then ${before.seq - 1} else c.last_seq end) as last_seq,
          c.id = ${before.conversationId} or (c.last_at, c.id) < ${position} as is_whole
      ) s
      union all
      select
        case when m.is_before then n.middle else n.low end,
        case when m.is_before then n.high else n.middle - 1 end
      from (
        select low, high, (low + high + 1) / 2 as middle from part where low < high
      ) n
      cross join lateral (
        select (timestamp, conversation_id) < ${position} as is_before from messages where conversation_id = c.id and seq = n.middle limit 1
      ) m
    )
    select m.seq, m.timestamp
    from part
    cross join lateral (
      select seq, timestamp from messages where conversation_id = c.id and seq = part.low limit 1
    ) m
    where part.low = part.high
  `;
}

/**
 * Searches some messages.
 *
 * @returns the newest hits, for each conversation the newest message before its window, and the
 *   duration of the statement
 */
async function searchWindows(
  db: Queries,
  { pattern, limit }: MessageQuery,
  windows: readonly Window[],
): Promise<{ hits: Position[]; rest: Unsearched[]; tookMs: number }> {
  let startedAt = 0; // without the time in a queue
  const rows = await db.run((sql) => {
    startedAt = performance.now();
    return sql<(Unsearched & { isHit: boolean })[]>`
      with windows as (
        select t.id, t.first, t.last
        from unnest(
          ${windows.map(({ conversationId }) => conversationId)}::bigint[],
          ${windows.map(({ first }) => first)}::bigint[],
          ${windows.map(({ last }) => last)}::bigint[]
        ) as t (id, first, last)
      )
      (
        select true as "isHit", w.id as "conversationId", m.seq, m.timestamp, 0::bigint as window
        from windows w
        cross join lateral (
          select seq, timestamp
          from messages
          where conversation_id = w.id and seq >= w.first and seq <= w.last and content collate "C" ~ ${pattern}
          order by seq desc
          limit ${limit}
        ) m
        order by m.timestamp desc, w.id desc, m.seq desc
        limit ${limit}
      )
      union all
      select false, w.id, m.seq, m.timestamp, 2 * (w.last - w.first + 1)
      from windows w
      cross join lateral (
        select seq, timestamp from messages where conversation_id = w.id and seq = w.first - 1 limit 1
      ) m
    `;
  });
  const tookMs = performance.now() - startedAt;
  return { hits: rows.filter(({ isHit }) => isHit), rest: rows.filter(({ isHit }) => !isHit), tookMs };
}

/** The messages of hits, in pages. Omits those that were deleted or changed meanwhile. */
export async function* foundMessages(
  db: Database,
  { me, pattern }: Pick<MessageQuery, "me" | "pattern">,
  hits: readonly Position[],
): RowPages<FoundMessage> {
  for (let rest = hits; rest.length > 0;) {
    const some = rest;
    const rows = await db.run(
      (sql) => sql<(FoundMessage & { ord: number; count: number })[]>`
        select
          p.ord, p.count, p.sender, p.receiver, p.content, p.timestamp, p.read, p.id, p.seq, p.ref, p."replyTo", p."editedAt",
          p."isDeleted", p."senderReaction", p."receiverReaction", p.file, p.revision, p."conversationId", p.peer, coalesce(u.hide_read, false) as "peerHidesRead"
        from (
          select
            t.ord, t.conversation_id as "conversationId", m.*, case when m.sender = ${me} then m.receiver else m.sender end as peer, count(*) over () as count,
            ${bytesBefore(sql, sql`m.content`, sql`order by t.ord`)} as bytes_before
          from unnest(
            ${some.map(({ conversationId }) => conversationId)}::bigint[],
            ${some.map(({ seq }) => seq)}::bigint[]
          ) with ordinality as t (conversation_id, seq, ord)
          cross join lateral ( -- row by row, which rules out a plan that scans the table
            select ${messageColumns(sql, sql`m`)}
            from messages m
            where m.conversation_id = t.conversation_id and m.seq = t.seq and m.content collate "C" ~ ${pattern}
            limit 1
          ) m
        ) p
        left join lateral (
          select hide_read from users where username = p.peer limit 1
        ) u on true
        where p.bytes_before < ${TEXTS_MAX_BYTES}
        order by p.ord
      `,
    );
    const last = rows.at(-1);
    if (!last || rows.length === last.count) return rows;
    yield rows;
    rest = some.slice(last.ord);
  }
  return [];
}
