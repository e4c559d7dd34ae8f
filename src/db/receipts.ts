/** Read and delivered marks of conversations. */

import type { Sql } from "./client.ts";

/** A requested read mark: `reader` has read the messages of the user with `peerKey` up to `seq`. */
export interface ReadMark {
  readonly reader: string;
  readonly peerKey: string;
  seq: number;
}

/** A read mark that advanced to `seq`. */
export interface MovedReadMark {
  readonly reader: string;
  readonly peer: string;
  readonly seq: number;
  /** Only part of the request was done: call again. */
  readonly hasMore: boolean;
  /** The peer may be notified of the read mark. */
  readonly isShownToPeer: boolean;
  /** The peer was not yet notified that the messages were delivered. */
  readonly isNewlyDelivered: boolean;
}

/**
 * Advances read marks by at most 5,000 messages each (see `mark_read` in sql/). Returns only marks
 * that advanced.
 */
export async function markRead(sql: Sql, marks: readonly ReadMark[]): Promise<MovedReadMark[]> {
  return sql<MovedReadMark[]>`
    select
      reader, peer, read_seq as seq, has_more as "hasMore", is_shown_to_peer as "isShownToPeer",
      is_newly_delivered as "isNewlyDelivered"
    from mark_read(
      ${marks.map((mark) => mark.reader)}::text[],
      ${marks.map((mark) => mark.peerKey)}::text[],
      ${marks.map((mark) => mark.seq)}::bigint[]
    )
  `;
}

/** A socket of `receiver` accepted the messages of `sender` up to `seq`, or a request fetched them. */
export interface DeliveredMark {
  readonly receiver: string;
  readonly sender: string;
  readonly seq: number;
}

/**
 * Raises delivered marks. Never lowers one, and ignores marks of receivers who block the sender.
 *
 * @returns the raised marks of which the sender may be notified
 */
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
      order by c.low, c.high -- in key order, as every writer locks them
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
        low_delivered_seq = case
          when c.low = any(c.blocked_by) then c.low_delivered_seq
          else greatest(c.low_delivered_seq, least(s.low_seq, c.last_seq))
        end,
        high_delivered_seq = case
          when c.high = any(c.blocked_by) then c.high_delivered_seq
          else greatest(c.high_delivered_seq, least(s.high_seq, c.last_seq))
        end,
        marked_at = clock_timestamp()
      from sides s
      where
        c.low = s.low
        and c.high = s.high
        and (
          s.low_seq > c.low_delivered_seq and (c.blocked_by is null or c.low <> all(c.blocked_by))
          or s.high_seq > c.high_delivered_seq and (c.blocked_by is null or c.high <> all(c.blocked_by))
        )
      returning c.low, c.high, c.low_delivered_seq, c.high_delivered_seq, c.blocked_by
    )
    select m.receiver, m.sender, case when m.receiver = r.low then r.low_delivered_seq else r.high_delivered_seq end as seq
    from risen r
    join marks m on m.low = r.low and m.high = r.high
    where r.blocked_by is null
  `;
}
