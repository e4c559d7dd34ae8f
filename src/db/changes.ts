/** Edits and deletions of messages, and reactions to them. */

import type { ErrorCode } from "../errors.ts";
import type { Sql } from "./client.ts";
import type { Message } from "./conversations.ts";
import type { Database } from "./database.ts";
import { SWEEP_ROWS } from "./sweep.ts";

/** A change that `actor` asks for. */
export interface Change {
  readonly actor: string;
  readonly peerKey: string;
  readonly type: "edit" | "delete" | "react";
  readonly seq: number;
  /** The new content, or the emoji; empty for a deletion or to remove a reaction. */
  readonly text: string;
  readonly ref: string;
}

/** How long after it was sent a message may be edited or deleted, in seconds; infinity for no limit. */
export interface ChangeWindows {
  readonly editWindow: number;
  readonly deleteWindow: number;
}

export type ChangeOutcome =
  | { readonly error: ErrorCode }
  | {
      readonly error?: undefined;
      /** The message already was as asked, so no other socket is notified. */
      readonly isUnchanged: boolean;
      readonly peer: string;
      /** Neither blocks the other. */
      readonly isShownToPeer: boolean;
      /** One of the two hides read marks. */
      readonly hidesRead: boolean;
      /** After the change. */
      readonly message: Message;
    };

interface Row extends Message {
  readonly place: number;
  readonly outcome: string;
  readonly peer: string;
  readonly isShownToPeer: boolean;
  readonly hidesRead: boolean;
}

/**
 * Makes changes in the given order (see `change_messages` in sql/). A change that was already made
 * under its ref is not made again.
 *
 * @returns the outcomes, in the order of `changes`
 */
export async function changeMessages(
  sql: Sql,
  changes: readonly Change[],
  { editWindow, deleteWindow }: ChangeWindows,
): Promise<ChangeOutcome[]> {
  const rows = await sql<Row[]>`
    select
      c.place, c.outcome, c.peer, c.is_shown_to_peer as "isShownToPeer", c.hides_read as "hidesRead",
      c.sender, c.receiver, c.content, c.timestamp, c.read, c.id, c.seq, c.ref, c.reply_to as "replyTo", c.edited_at as "editedAt",
      c.deleted_at is not null as "isDeleted", c.sender_reaction as "senderReaction", c.receiver_reaction as "receiverReaction",
      case when c.deleted_at is null then m.file end as file, c.revision
    from change_messages(
      ${changes.map(({ actor }) => actor)}::text[],
      ${changes.map(({ peerKey }) => peerKey)}::text[],
      ${changes.map(({ type }) => type)}::text[],
      ${changes.map(({ seq }) => seq)}::bigint[],
      ${changes.map(({ text }) => text)}::text[],
      ${changes.map(({ ref }) => ref)}::text[],
      ${interval(editWindow)}::interval,
      ${interval(deleteWindow)}::interval
    ) c
    -- The function does not return the file. It never changes, so this older snapshot suffices.
    left join lateral (
      select m.file
      from conversations v
      join messages m on m.conversation_id = v.id and m.seq = c.seq
      where v.low = least(c.sender collate "C", c.receiver) and v.high = greatest(c.sender collate "C", c.receiver)
      limit 1
    ) m on true
    order by place
  `;
  return rows.map(({ outcome, peer, isShownToPeer, hidesRead, place: _place, ...message }) =>
    outcome === "changed" || outcome === "repeated" || outcome === "unchanged"
      ? { isUnchanged: outcome === "unchanged", peer, isShownToPeer, hidesRead, message }
      : { error: outcome as ErrorCode },
  );
}

const interval = (seconds: number) => (Number.isFinite(seconds) ? `${seconds} seconds` : null);

/** Deletes refs older than 30 days. @returns how many, at most `SWEEP_ROWS` */
export async function sweep(db: Database): Promise<number> {
  const { count } = await db.run(
    (sql) => sql`
      delete from change_refs
      where ctid = any(array(
        select ctid from change_refs where at < now() - interval '30 days' order by at limit ${SWEEP_ROWS}
      ))
    `,
  );
  return count;
}
