/** Drafts: what somebody has begun to write to another, the same on all their devices. */

import type { Database, Sql } from "./client.ts";
import { bytesBefore, type Pages, type Texted, TEXTS_MAX_BYTES, withTexts } from "./pages.ts";

/** Of each person the newest are kept. */
export const DRAFTS_MAX = 100;

/** What is to be kept; an empty text: nothing. `peerKey`: the other's name key. */
export interface DraftChange {
  readonly owner: string;
  readonly peerKey: string;
  readonly text: string;
}

/** A draft as it is stored, `peer` as their owner wrote the name. */
export interface Draft {
  readonly peer: string;
  readonly text: string;
  readonly at: string;
}

/**
 * Stores or removes drafts.
 *
 * @param kept no two of the same owner and peer
 * @returns each at its place; undefined where nobody has the peer's name, or the owner is gone
 */
export async function save(sql: Sql, kept: readonly DraftChange[]): Promise<(Draft | undefined)[]> {
  const rows = await sql<(Draft & { ord: number })[]>`
    with input as materialized (
      select t.ord, t.owner collate "C" as owner, u.username as peer, t.text, clock_timestamp() as at
      from unnest(
        ${kept.map(({ owner }) => owner)}::text[],
        ${kept.map(({ peerKey }) => peerKey)}::text[],
        ${kept.map(({ text }) => text)}::text[]
      ) with ordinality as t (owner, peer_key, text, ord)
      cross join lateral ( -- one by one: a plan that walks the tables for many drafts at once must not exist
        select username from users where name_key = t.peer_key collate "C" limit 1
      ) u
      cross join lateral (
        select from users where username = t.owner collate "C" and deleted_at is null limit 1
      ) o
    ), removed as (
      delete from drafts d
      where (d.owner, d.peer) in (select owner, peer from input where text = '')
    ), stored as (
      insert into drafts (owner, peer, text, at)
      select owner, peer, text, at
      from input
      where text <> ''
      order by owner, peer -- in key order, so that pods cannot deadlock
      on conflict (owner, peer) do update
      set text = excluded.text, at = excluded.at
    ), dropped as ( -- of before: what is stored now goes beyond until the next time at most
      delete from drafts
      where ctid = any(array(
        select old.ctid
        from (select distinct owner from input where text <> '') o
        cross join lateral (
          select d.ctid
          from drafts d
          where d.owner = o.owner and not exists (select from input i where i.owner = d.owner and i.peer = d.peer)
          order by d.at desc
          offset ${DRAFTS_MAX}
        ) old
      ))
    )
    select ord, peer, text, at from input
  `;
  const results: (Draft | undefined)[] = kept.map(() => undefined);
  for (const { ord, ...draft } of rows) results[ord - 1] = draft;
  return results;
}

/** A draft in a list. */
export interface ListedDraft extends Texted {
  readonly peer: string;
  readonly at: string;
}

/** The drafts of a person, newest first; of long ones the later ones without their texts. */
export async function list(db: Database, owner: string): Promise<ListedDraft[]> {
  return db.run(
    (sql) => sql<ListedDraft[]>`
      select
        peer, at, octet_length(text) as bytes,
        case when ${bytesBefore(sql, sql`text`, sql`order by at desc, peer`)} < ${TEXTS_MAX_BYTES} then text end as text
      from drafts
      where owner = ${owner}
      order by at desc, peer
      limit ${DRAFTS_MAX}
    `,
  );
}

/** The drafts of a person in pages, newest first, all with their texts. */
export async function* pages(db: Database, owner: string): Pages<ListedDraft & { readonly text: string }> {
  return yield* withTexts(await list(db, owner), (rows) => texts(db, owner, rows));
}

/** The texts of drafts, each at its place; undefined where there is none any more. */
export async function texts(
  db: Database,
  owner: string,
  rows: readonly ListedDraft[],
): Promise<(string | undefined)[]> {
  const found = await db.run(
    (sql) => sql<{ peer: string; text: string }[]>`
      select peer, text from drafts where owner = ${owner} and peer = any(${rows.map(({ peer }) => peer)}::text[])
    `,
  );
  const byPeer = new Map(found.map(({ peer, text }) => [peer, text]));
  return rows.map(({ peer }) => byPeer.get(peer));
}
