/** Accounts: create, find, list, and what the table shows of presence. */

import { ChatError } from "../errors.ts";
import type { Database } from "./client.ts";
import { codeOf } from "./client.ts";

export interface User {
  readonly id: number;
  readonly username: string;
  readonly password: string;
}

/**
 * Makes an account.
 *
 * @param user.password a PHC string. Its salt is random, so a row that holds this very hash was made by an earlier try of this call
 * @throws ChatError `name_taken`
 */
export async function create(
  db: Database,
  user: { username: string; nameKey: string; searchKey: string; password: string },
): Promise<User> {
  try {
    const [made] = await db.run(
      (sql) => sql<[User]>`
        insert into users (username, name_key, search_key, password)
        values (${user.username}, ${user.nameKey}, ${user.searchKey}, ${user.password})
        returning id, username, password
      `,
    );
    return made;
  } catch (error) {
    if (codeOf(error) !== "23505") throw error;
    const found = await find(db, user.nameKey);
    if (found?.password === user.password) return found;
    throw new ChatError("name_taken", { cause: error });
  }
}

/** The account with this name key. */
export async function find(db: Database, nameKey: string): Promise<User | undefined> {
  const [user] = await db.run(
    (sql) => sql<User[]>`
      select id, username, password
      from users
      where name_key = ${nameKey}
    `,
  );
  return user;
}

/** Names as their owners wrote them, by key; unknown keys are left out. */
export async function findMany(
  db: Database,
  nameKeys: readonly string[],
): Promise<{ nameKey: string; username: string; lastSeenAt: string | null }[]> {
  return db.run(
    (sql) => sql<{ nameKey: string; username: string; lastSeenAt: string | null }[]>`
      select name_key as "nameKey", username, last_seen_at as "lastSeenAt"
      from users
      where name_key = any(${nameKeys as string[]}::text[])
    `,
  );
}

/** Names that begin with a search key, in its order, one left out. `limit` undefined: all. */
export async function list(
  db: Database,
  options: { prefix: string; except: string; limit: number | undefined },
): Promise<string[]> {
  const { prefix, except, limit } = options;
  const rows = await db.run(
    (sql) => sql<{ username: string }[]>`
      select username
      from users
      where
        search_key >= ${prefix}
        and search_key < ${prefix} || chr(1114111) -- no name holds the last code point
        and username <> ${except}
      order by search_key, id
      limit ${limit ?? null}
    `,
  );
  return rows.map((row) => row.username);
}

/** Writes who came and who went: `is_online` for both, `last_seen_at` for those who went. */
export async function markOnline(
  db: Database,
  cameKeys: readonly string[],
  wentKeys: readonly string[],
): Promise<void> {
  await db.run(
    (sql) => sql`
      update users
      set
        is_online = name_key = any(${cameKeys as string[]}::text[]),
        last_seen_at = case when name_key = any(${wentKeys as string[]}::text[]) then now() else last_seen_at end
      where name_key = any(${[...cameKeys, ...wentKeys]}::text[])
    `,
  );
}

/** Who is online according to the table, by name key. */
export async function onlineKeys(db: Database): Promise<Set<string>> {
  const rows = await db.run(
    (sql) => sql<{ nameKey: string }[]>`select name_key as "nameKey" from users where is_online`,
  );
  return new Set(rows.map((row) => row.nameKey));
}
