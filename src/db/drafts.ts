/** Drafts: unsent text of a user to a peer, synchronized between devices. */

import type { Sql } from "./client.ts";
import type { Database } from "./database.ts";
import { bytesBefore, type RowPages, type RowWithText, TEXTS_MAX_BYTES, withTexts } from "./paging.ts";

/**
 * The newest drafts of each user are kept, and the same number of the most recently deleted ones.
 */
export const DRAFTS_MAX = 100;

/**
 * A draft to store; an empty text deletes it: its row remains with the time, without the text.
 * `peerKey`: the peer's name key.
 */
export interface DraftChange {
  readonly owner: string;
  readonly peerKey: string;
  readonly text: string;
}

/** A stored draft. `peer`: the username. */
export interface Draft {
  readonly peer: string;
  readonly text: string;
  readonly at: string;
}

/**
 * Stores or deletes drafts.
 *
 * @param changes no two with the same owner and peer
 * @returns the drafts in the order of `changes`; undefined where the peer does not exist or the
 *   owner was deleted
 */
export async function save(sql: Sql, changes: readonly DraftChange[]): Promise<(Draft | undefined)[]> {
  const rows = await sql<(Draft & { ord: number })[]>`
    with input as materialized (
      select t.ord, t.owner collate "C" as owner, u.username as peer, t.text, clock_timestamp() as at
      from unnest(
        ${changes.map(({ owner }) => owner)}::text[],
        ${changes.map(({ peerKey }) => peerKey)}::text[],
        ${changes.map(({ text }) => text)}::text[]
      ) with ordinality as t (owner, peer_key, text, ord)
      cross join lateral ( -- row by row, which rules out a plan that scans the tables
        select username from users where name_key = t.peer_key collate "C" limit 1
      ) u
      cross join lateral (
        select from users where username = t.owner collate "C" and deleted_at is null limit 1
      ) o
    ), stored as (
      insert into drafts (owner, peer, text, at)
      select i.owner, i.peer, i.text, i.at
      from input i
      left join lateral ( -- row by row, which rules out a plan that scans the table
        select true as exists from drafts d where d.owner = i.owner and d.peer = i.peer limit 1
      ) d on true
      where i.text <> '' or d.exists
      order by i.owner, i.peer -- in key order, so pods cannot deadlock
      on conflict (owner, peer) do update
      set text = excluded.text, at = excluded.at
    ), dropped as (
      -- among earlier drafts only: those stored now may exceed the limit until the next call
      delete from drafts
      where ctid = any(array(
        select old.ctid
        from (select distinct owner from input) o
        cross join lateral (
          select d.ctid, row_number() over (partition by d.text = '' order by d.at desc) as place
          from drafts d
          where d.owner = o.owner and not exists (select from input i where i.owner = d.owner and i.peer = d.peer)
        ) old
        where old.place > ${DRAFTS_MAX}
      ))
    )
    select ord, peer, text, at from input
  `;
  const results: (Draft | undefined)[] = changes.map(() => undefined);
  for (const { ord, ...draft } of rows) results[ord - 1] = draft;
  return results;
}

/** A row of a list of drafts. */
export interface ListedDraft extends RowWithText {
  readonly peer: string;
  readonly at: string;
}

/** A user's drafts, newest first. `text` is null once the texts of earlier rows fill a page. */
export async function list(db: Database, owner: string): Promise<ListedDraft[]> {
  return db.run(
    (sql) => sql<ListedDraft[]>`
      select
        peer, at, octet_length(text) as bytes,
        case when ${bytesBefore(sql, sql`text`, sql`order by at desc, peer`)} < ${TEXTS_MAX_BYTES} then text end as text
      from drafts
      where owner = ${owner} and text <> ''
      order by at desc, peer
      limit ${DRAFTS_MAX}
    `,
  );
}

/** A user's drafts in pages, newest first, all with texts. */
export async function* pages(db: Database, owner: string): RowPages<ListedDraft & { readonly text: string }> {
  return yield* withTexts(await list(db, owner), (rows) => texts(db, owner, rows));
}

/** The texts of drafts in the order of `rows`; undefined where a draft was deleted meanwhile. */
export async function texts(
  db: Database,
  owner: string,
  rows: readonly ListedDraft[],
): Promise<(string | undefined)[]> {
  const found = await db.run(
    (sql) => sql<{ peer: string; text: string }[]>`
      select peer, text
      from drafts
      where owner = ${owner} and text <> '' and peer = any(${rows.map(({ peer }) => peer)}::text[])
    `,
  );
  const byPeer = new Map(found.map(({ peer, text }) => [peer, text]));
  return rows.map(({ peer }) => byPeer.get(peer));
}
