/**
 * Finds users by any part of their name: among all, or among the peers of a user's conversations.
 */

import type { Database } from "./database.ts";

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

/**
 * Peers in conversations of `me` whose names contain `part`, the newest conversation first. Reads
 * each peer once: 5 ms for 2,000. Includes deleted accounts, since their conversations remain;
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
        select username, search_key from users where username = mine.peer limit 1
      ) u
      where position(${part} in u.search_key) > 0
      order by mine.last_at desc
      limit ${limit}
    `,
  );
  return rows.map(({ username }) => username);
}
