/**
 * Finds users by name: by its beginning, by any part of it, or among the peers of a user's
 * conversations.
 */

import type { Database } from "./database.ts";
import { NAMES_MAX, type RowPages } from "./paging.ts";

/** A search by the user `me`. `part` is a search key (src/util/text.ts). */
export interface Search {
  readonly part: string;
  readonly me: string;
  readonly limit: number;
  /** Include conversations with peers whom `me` blocks. */
  readonly includeBlocked?: boolean;
}

/**
 * Names of other users that contain `part`, those that begin with it first. See `find_names` in
 * sql/.
 */
export async function findNames(db: Database, { part, me, limit }: Search): Promise<string[]> {
  const rows = await db.run(
    (sql) => sql<{ username: string }[]>`
      select username from find_names(${part}, ${me}, ${limit}) as username
    `,
  );
  return rows.map(({ username }) => username);
}

/** As `findNames`, but also those whose display name contains `part`. See `find_people` in sql/. */
export async function findPeople(db: Database, { part, me, limit }: Search): Promise<string[]> {
  const rows = await db.run(
    (sql) => sql<{ username: string }[]>`
      select username from find_people(${part}, ${me}, ${limit}) as username
    `,
  );
  return rows.map(({ username }) => username);
}

/**
 * Peers in conversations of `me` whose names or display names contain `part`, the newest
 * conversation first. Reads each peer once: 5 ms for 2,000. Includes deleted accounts, since their conversations remain;
 * blocked peers only with `includeBlocked`.
 */
export async function findPeers(db: Database, { part, me, limit, includeBlocked = false }: Search): Promise<string[]> {
  const rows = await db.run(
    (sql) => sql<{ username: string }[]>`
      select u.username
      from (
        select c.high as peer, c.last_at
        from conversations c
        where c.low = ${me} and c.last_seq > 0 and (c.blocked_by is null or c.low <> all(c.blocked_by))
        union all
        select c.low, c.last_at
        from conversations c
        where
          c.high = ${me} and c.low <> c.high and c.last_seq > 0 and (c.blocked_by is null or c.high <> all(c.blocked_by))
        union all
        select peer, blocked_at
        from memberships
        where ${includeBlocked} and owner = ${me} and blocked_seq > 0
      ) mine
      cross join lateral ( -- row by row, so that only these users are read
        select id, username, search_key, deleted_at from users where username = mine.peer limit 1
      ) u
      left join lateral shown_profile(${me}, u.id, u.username) s on u.deleted_at is null
      where position(${part} in u.search_key) > 0 or position(${part} in s.display_key) > 0
      order by mine.last_at desc
      limit ${limit}
    `,
  );
  return rows.map(({ username }) => username);
}

/** A position in the sorted list of all names. */
export interface NameCursor {
  readonly searchKey: string;
  readonly id: number;
}

/**
 * A page of names as items of a JSON array (null if it shows none), and the position of the last
 * name read.
 */
export interface NamePage extends NameCursor {
  readonly json: string | null;
  /** The number of names shown, and of names read. */
  readonly count: number;
  readonly read: number;
}

/**
 * Reads a page of names that begin with a search key, without `except` and disabled accounts.
 * Returns JSON, since one row per name made lists of 300,000 eight times as expensive.
 *
 * @param options.limit of names read
 * @param options.after where the previous page ended
 * @returns undefined if there are no more names
 */
export async function namePage(
  db: Database,
  options: { prefix: string; except: string; limit: number; after?: NameCursor | undefined },
): Promise<NamePage | undefined> {
  const { prefix, except, limit, after } = options;
  const [names] = await db.run((sql) => {
    const shown = sql`page.is_shown and page.username <> ${except} and starts_with(page.search_key, ${prefix})`;
    return sql<NamePage[]>`
      with page as materialized (
        select username, search_key, id, is_shown
        from names_after(${after?.searchKey ?? prefix}, ${after?.id ?? 0}, ${limit})
      )
      select
        string_agg(to_json(page.username)::text, ',' order by page.search_key, page.id) filter (where ${shown}) as json,
        count(*) filter (where ${shown}) as count,
        count(*) as read,
        last.search_key as "searchKey",
        last.id
      from page
      cross join (
        select search_key, id from page order by search_key desc, id desc limit 1
      ) last
      group by last.search_key, last.id
    `;
  });
  return names;
}

/** All those names in pages. @param options.limit of names in total */
export async function* namePages(
  db: Database,
  options: { prefix: string; except: string; limit: number },
): RowPages<string> {
  let after: NameCursor | undefined;
  for (let left = options.limit; ;) {
    const limit = Math.min(left, NAMES_MAX);
    const { json = null, count = 0, read = 0, ...place } = (await namePage(db, { ...options, limit, after })) ?? {};
    const page = json === null ? [] : [json];
    left -= count;
    after = place as NameCursor;
    if (left === 0 || read < limit || !after.searchKey.startsWith(options.prefix)) return page;
    yield page;
  }
}
