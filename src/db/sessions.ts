/**
 * Sessions: a row per signed-in browser, found by the hash of its token. Sessions expire after 7
 * idle days and after 30 days at most, at `expires_at` by the database's clock. Activity moves
 * `expires_at`, at most once an hour.
 */

import type { Sql } from "./client.ts";
import type { Database } from "./database.ts";
import { SWEEP_ROWS } from "./sweep.ts";

/** A session, and whether its activity is due to be written. */
export interface SessionLookup {
  readonly session: Session;
  readonly isDue: boolean;
}

export interface Session {
  readonly id: number;
  readonly userId: number;
  readonly username: string;
  readonly nameKey: string;
  /** See `PrivacySettings`. */
  readonly hidesRead: boolean;
  readonly hidesLastSeen: boolean;
  readonly displayName: string | null;
  /** Its version. */
  readonly photo: string | null;
}

/**
 * Starts a session of an account whose password was just verified. Locks the account's row: a
 * concurrent password change or disabling either commits first, and no session starts, or ends the
 * session (`endAll`).
 *
 * @param user.password the PHC string that was verified
 * @param from the user agent and address, shown to the user in the list of sessions
 * @param tokenHash SHA-256 of the cookie's token, hex: the key by which a retry finds its row
 * @returns false if the account was disabled or its password changed meanwhile
 */
export async function start(
  db: Database,
  user: { id: number; password: string },
  tokenHash: string,
  from: { agent: string | null; address: string | null } = { agent: null, address: null },
): Promise<boolean> {
  const { count } = await db.run(
    (sql) => sql`
      insert into sessions (user_id, token, expires_at, agent, address)
      select id, ${tokenHash}, now() + interval '7 days', ${from.agent}, ${from.address}
      from users
      where id = ${user.id} and password = ${user.password} and disabled_at is null
      for share
      on conflict (token) do update set token = excluded.token
    `,
  );
  return count > 0;
}

/** Live sessions by token, in the order of the hashes; undefined where there is none. */
export async function findMany(db: Database, tokenHashes: readonly string[]): Promise<(SessionLookup | undefined)[]> {
  const rows = await db.run(
    (sql) => sql<(Session & { token: string; isDue: boolean })[]>`
      select t.token, s.*
      from unnest(${tokenHashes as string[]}::text[]) as t (token)
      cross join lateral ( -- row by row, which rules out a plan that scans the tables
        select
          s.id, s.user_id as "userId", u.username, u.name_key as "nameKey",
          u.hide_read as "hidesRead", u.hide_last_seen as "hidesLastSeen",
          p.display_name as "displayName", p.photo_version as photo,
          s.expires_at < ${dueBefore(sql)} as "isDue"
        from sessions s
        join users u on u.id = s.user_id
        left join profiles p on p.user_id = s.user_id
        where s.token = t.token collate "C" and s.expires_at > now()
        limit 1
      ) s
    `,
  );
  const byToken = new Map(rows.map(({ token, isDue, ...session }) => [token, { session, isDue }]));
  return tokenHashes.map((hash) => byToken.get(hash));
}

/** Which of these sessions are alive, and whether their activity is due to be written. */
export async function alive(db: Database, ids: readonly number[]): Promise<Map<number, { isDue: boolean }>> {
  const rows = await db.run(
    (sql) => sql<{ id: number; isDue: boolean }[]>`
      select s.id, s.expires_at < ${dueBefore(sql)} as "isDue"
      from sessions s
      where s.id = any(${ids as number[]}::bigint[]) and s.expires_at > now()
    `,
  );
  return new Map(rows.map(({ id, isDue }) => [id, { isDue }]));
}

/**
 * Extends sessions to 7 days from now, or to 30 days after their start. Expired sessions stay
 * expired.
 */
export async function renew(db: Database, ids: readonly number[]): Promise<void> {
  await db.run(
    (sql) => sql`
      update sessions s
      set expires_at = least(now() + interval '7 days', s.created_at + interval '30 days'), last_used_at = now()
      where s.id = any(${ids as number[]}::bigint[]) and s.expires_at > now() and s.expires_at < ${dueBefore(sql)}
    `,
  );
}

/**
 * A session (`s`) that expires before this time was renewed more than an hour ago and can be
 * extended.
 */
function dueBefore(sql: Sql) {
  return sql`least(now() + interval '7 days' - interval '1 hour', s.created_at + interval '30 days')`;
}

/** A session as shown to its user. */
export interface ListedSession {
  readonly id: number;
  readonly agent: string | null;
  readonly address: string | null;
  readonly createdAt: string;
  readonly lastUsedAt: string;
}

/** The live sessions of an account, most recently used first. */
export async function list(db: Database, userId: number): Promise<ListedSession[]> {
  return db.run(
    (sql) => sql<ListedSession[]>`
      select id, agent, address, created_at as "createdAt", last_used_at as "lastUsedAt"
      from sessions
      where user_id = ${userId} and expires_at > now()
      order by last_used_at desc, id desc
      limit 1000
    `,
  );
}

/** Ends one session of an account. @returns whether it existed */
export async function endOwn(db: Database, userId: number, id: number): Promise<boolean> {
  const ids = await endOf(
    db,
    userId,
    (sql) => sql`delete from sessions where id = ${id} and user_id = ${userId} returning id`,
  );
  return ids.includes(id);
}

/** Ends all sessions of an account but one. @returns their ids */
export function endOthers(db: Database, userId: number, keptId: number): Promise<number[]> {
  return endOf(
    db,
    userId,
    (sql) => sql`delete from sessions where user_id = ${userId} and id <> ${keptId} returning id`,
  );
}

/** Ends the least recently used sessions of an account beyond `most`. @returns their ids */
export function endSurplus(db: Database, userId: number, most: number): Promise<number[]> {
  return endOf(
    db,
    userId,
    (sql) => sql`
      with surplus as (
        select id
        from sessions
        where user_id = ${userId} and expires_at > now()
        order by last_used_at desc, id desc
        offset ${most}
      ), locked as (
        -- in order, so that concurrent calls cannot deadlock
        select id from sessions where id in (select id from surplus) order by id for update
      )
      delete from sessions where id in (select id from locked) returning id
    `,
  );
}

/** Ends every session of an account. @returns their ids */
export function endAll(db: Database, userId: number): Promise<number[]> {
  return endOf(db, userId, (sql) => sql`delete from sessions where user_id = ${userId} returning id`);
}

/**
 * Deletes sessions of an account. If a reply is lost, the retry finds the rows already deleted, so
 * the ids are then those that existed before and no longer do.
 *
 * @param statement deletes the sessions and returns their ids
 */
async function endOf(
  db: Database,
  userId: number,
  statement: (sql: Sql) => PromiseLike<readonly Record<string, unknown>[]>,
): Promise<number[]> {
  const before = await idsOf(db, userId);
  let isReplyLost = false;
  const rows = await db.run(statement, { onUnknown: () => (isReplyLost = true) });
  const ended = rows.map(({ id }) => id as number);
  if (!isReplyLost) return ended;
  const left = new Set(await idsOf(db, userId));
  return [...new Set([...before.filter((id) => !left.has(id)), ...ended])];
}

async function idsOf(db: Database, userId: number): Promise<number[]> {
  const rows = await db.run((sql) => sql<{ id: number }[]>`select id from sessions where user_id = ${userId}`);
  return rows.map(({ id }) => id);
}

/** Ends a session. Idempotent. */
export async function end(db: Database, id: number): Promise<void> {
  await db.run((sql) => sql`delete from sessions where id = ${id}`);
}

/** Deletes expired sessions, at most `SWEEP_ROWS`. @returns how many */
export async function sweep(db: Database): Promise<number> {
  const { count } = await db.run(
    (sql) => sql`
      delete from sessions
      where id in (select id from sessions where expires_at < now() limit ${SWEEP_ROWS})
    `,
  );
  return count;
}
