/** Sessions: a row for each signed-in browser, found by the hash of its token. */

import type { Database } from "./client.ts";

export interface Session {
  readonly id: number;
  readonly userId: number;
  readonly username: string;
  readonly nameKey: string;
}

/** @param tokenHash SHA-256 of the cookie's token, hex: the key by which a second try finds the first's row */
export async function start(db: Database, userId: number, tokenHash: string): Promise<void> {
  await db.run(
    (sql) => sql`
      insert into sessions (user_id, token, expires_at)
      values (${userId}, ${tokenHash}, now() + interval '30 days')
      on conflict (token) do nothing
    `,
  );
}

/** The live sessions of many tokens and whose they are, at the place of each hash; undefined where there is none. */
export async function findMany(db: Database, tokenHashes: readonly string[]): Promise<(Session | undefined)[]> {
  const rows = await db.run(
    (sql) => sql<(Session & { token: string })[]>`
      select t.token, s.*
      from unnest(${tokenHashes as string[]}::text[]) as t (token)
      cross join lateral ( -- one by one: a plan that walks the tables for many hashes at once must not exist
        select s.id, s.user_id as "userId", u.username, u.name_key as "nameKey"
        from sessions s
        join users u on u.id = s.user_id
        where s.token = t.token collate "C" and s.expires_at > now()
        limit 1
      ) s
    `,
  );
  const byToken = new Map(rows.map(({ token, ...session }) => [token, session]));
  return tokenHashes.map((hash) => byToken.get(hash));
}

/** Which of these sessions live. */
export async function alive(db: Database, ids: readonly number[]): Promise<Set<number>> {
  const rows = await db.run(
    (sql) => sql<{ id: number }[]>`
      select id
      from sessions
      where id = any(${ids as number[]}::bigint[]) and expires_at > now()
    `,
  );
  return new Set(rows.map((row) => row.id));
}

/** Ends a session; harmless when it has ended. */
export async function end(db: Database, id: number): Promise<void> {
  await db.run((sql) => sql`delete from sessions where id = ${id}`);
}

/** Deletes what has expired, at most 10,000 rows. @returns how many */
export async function sweep(db: Database): Promise<number> {
  const { count } = await db.run(
    (sql) => sql`
      delete from sessions
      where id in (select id from sessions where expires_at < now() limit 10000)
    `,
  );
  return count;
}
