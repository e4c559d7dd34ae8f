/** Bytes of text that each user sent per day (UTC). */

import type { Database } from "./database.ts";
import { SWEEP_ROWS } from "./sweep.ts";

/** Rows per statement. */
export const ROWS_MAX = 1_000;

/** Failed additions are repeated later, and a stopping pod must not wait longer. */
const GIVE_UP_AFTER_MS = 2_000;

/** Bytes of text of a user on a day such as `2026-11-22`. */
export interface TextSent {
  readonly day: string;
  readonly sender: string;
  readonly bytes: number;
}

/**
 * Adds to the stored sums. After a lost reply the bytes are added again, so a user may be charged
 * twice for those seconds.
 *
 * @param sent at most `ROWS_MAX`, no two of the same user and day
 * @returns the sums over all pods
 */
export async function add(db: Database, sent: readonly TextSent[]): Promise<TextSent[]> {
  return db.run(
    (sql) => sql<TextSent[]>`
      insert into text_sent as t (day, sender, bytes)
      select s.day::date, s.sender collate "C" as sender, s.bytes
      from unnest(
        ${sent.map(({ day }) => day)}::text[],
        ${sent.map(({ sender }) => sender)}::text[],
        ${sent.map(({ bytes }) => bytes)}::bigint[]
      ) as s (day, sender, bytes)
      order by 1, 2 -- in key order, so that pods cannot deadlock
      on conflict (day, sender) do update
      set bytes = t.bytes + excluded.bytes
      returning t.day::text, t.sender, t.bytes
    `,
    { giveUpAfterMs: GIVE_UP_AFTER_MS },
  );
}

/** Bytes that users sent on a day; omits users who sent nothing. */
export async function find(db: Database, day: string, senders: readonly string[]): Promise<Map<string, number>> {
  const rows = await db.run(
    (sql) => sql<TextSent[]>`
      select sender, bytes
      from text_sent
      where day = ${day}::date and sender = any(${senders as string[]}::text[])
    `,
  );
  return new Map(rows.map(({ sender, bytes }) => [sender, bytes]));
}

/** Deletes rows of days before `day`, at most `SWEEP_ROWS`. @returns how many */
export async function sweep(db: Database, day: string): Promise<number> {
  const { count } = await db.run(
    (sql) => sql`
      delete from text_sent
      where ctid = any(array(select ctid from text_sent where day < ${day}::date limit ${SWEEP_ROWS}))
    `,
  );
  return count;
}
