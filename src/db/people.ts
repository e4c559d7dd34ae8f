/** Finds people by any part of their name: among all, and among those a user has a conversation with. */

import type { Database } from "./client.ts";

/** What is searched for, and by whom: `part` is a search key (src/util/text.ts), `me` the username of the one who searches. */
export interface Search {
  readonly part: string;
  readonly me: string;
  readonly limit: number;
  /** Among conversations also those with peers whom `me` blocks. */
  readonly frozen?: boolean;
}

/** Names of others that hold `part`; first those that begin with it. See `find_names` in sql/. */
export async function findNames(db: Database, { part, me, limit }: Search): Promise<string[]> {
  const rows = await db.run(
    (sql) => sql<{ username: string }[]>`
      select username from find_names(${part}, ${me}, ${limit}) as username
    `,
  );
  return rows.map(({ username }) => username);
}

/**
 * Of the names that hold `part` those with whom `me` has a conversation, the newest conversation first. Reads each of them once: 5 ms for 2,000.
 * Deleted accounts are among them, since their conversations stay; blocked ones only if asked for.
 */
export async function findPeers(db: Database, { part, me, limit, frozen = false }: Search): Promise<string[]> {
  const rows = await db.run(
    (sql) => sql<{ username: string }[]>`
      select u.username
      from (
        select c.high as peer, case when c.low_blocks then c.low_frozen_at else c.last_at end as last_at
        from conversations c
        where c.low = ${me} and c.last_seq > 0 and (not c.low_blocks or ${frozen} and c.low_frozen_seq > 0)
        union all
        select c.low, case when c.high_blocks then c.high_frozen_at else c.last_at end
        from conversations c
        where
          c.high = ${me} and c.low <> c.high and c.last_seq > 0 and (not c.high_blocks or ${frozen} and c.high_frozen_seq > 0)
      ) mine
      cross join lateral ( -- one by one, so that only these people are read
        select username, search_key from users where username = mine.peer limit 1
      ) u
      where position(${part} in u.search_key) > 0
      order by mine.last_at desc
      limit ${limit}
    `,
  );
  return rows.map(({ username }) => username);
}
