/**
 * Blocks and privacy settings. A block is part of the conversation, where the statement that stores
 * a message reads it under the lock.
 */

import type { Fragment, Sql } from "./client.ts";
import type { Database } from "./database.ts";
import { isMuted } from "./memberships.ts";
import { NAMES_MAX } from "./paging.ts";

/** A relation to a peer. */
export type Relation = "block" | "mute";

/** Blocks a peer, or ends the block. @param me, peer usernames */
export async function setBlock(db: Database, me: string, peer: string, on: boolean): Promise<void> {
  await db.run((sql) => (on ? startBlock : endBlock)(sql, me, peer));
}

async function endBlock(sql: Sql, me: string, peer: string): Promise<void> {
  await sql`with ${noteChange(sql, me)} select end_block(${me}, ${peer})`;
}

async function startBlock(sql: Sql, me: string, peer: string): Promise<void> {
  await sql`
    with ${noteChange(sql, me)}, conversation as (
      insert into conversations as c (low, high, last_at, blocked_by)
      values (
        least(${me}::text collate "C", ${peer}), greatest(${me}::text collate "C", ${peer}), to_timestamp(0), array[${me}::text]
      )
      on conflict (low, high) do update
      set blocked_by = array_remove(c.blocked_by, ${me}::text) || ${me}::text
      returning c.id, c.last_seq, c.last_at, c.revision
    )
    insert into memberships as m (owner, peer, conversation_id, blocked_seq, blocked_at, blocked_since, blocked_revision)
    select ${me}, ${peer}, id, last_seq, last_at, clock_timestamp(), revision
    from conversation
    on conflict (owner, peer) do update
    set
      blocked_seq = coalesce(m.blocked_seq, excluded.blocked_seq),
      blocked_at = coalesce(m.blocked_at, excluded.blocked_at),
      blocked_since = case when m.blocked_seq is null then excluded.blocked_since else m.blocked_since end,
      blocked_revision = case when m.blocked_seq is null then excluded.blocked_revision else m.blocked_revision end
  `;
}

/** A CTE that records when the change was made, for pods that missed its event. */
function noteChange(sql: Sql, me: string): Fragment {
  return sql`noted as (update users set changed_at = clock_timestamp() where username = ${me})`;
}

/**
 * A page of the peers a user blocks or mutes, in the order of names.
 *
 * @param after the last name of the previous page
 */
export async function listRelated(
  db: Database,
  relation: Relation,
  me: string,
  after = "",
  limit = NAMES_MAX,
): Promise<string[]> {
  const rows = await db.run(
    (sql) => sql<{ peer: string }[]>`
      select m.peer
      from memberships m
      where m.owner = ${me} and m.peer > ${after} and ${relation === "block" ? sql`m.blocked_seq is not null` : isMuted(sql, sql`m`)}
      order by m.peer
      limit ${limit}
    `,
  );
  return rows.map(({ peer }) => peer);
}

/** Shared, since most users have no such peer. */
const NONE: ReadonlySet<string> = new Set();

/** For each of these users, the name keys of peers they block or are blocked by. */
export async function blockedEitherWay(sql: Sql, names: readonly string[]): Promise<ReadonlySet<string>[]> {
  const rows = await sql<{ ord: number; nameKey: string }[]>`
    select t.ord, u.name_key as "nameKey"
    from unnest(${names as string[]}::text[]) with ordinality as t (name, ord)
    cross join lateral (
      select c.high as peer
      from conversations c
      where c.low = t.name collate "C" and c.blocked_by is not null
      union all
      select c.low
      from conversations c
      where c.high = t.name collate "C" and c.blocked_by is not null
    ) p
    cross join lateral (
      select name_key from users where username = p.peer limit 1
    ) u
  `;
  const peers = new Map<number, Set<string>>();
  for (const { ord, nameKey } of rows) peers.set(ord, (peers.get(ord) ?? new Set()).add(nameKey));
  return names.map((_, i) => peers.get(i + 1) ?? NONE);
}

/** A user by name, and a peer by name key. */
export interface UserAndPeer {
  readonly name: string;
  readonly peerKey: string;
}

/**
 * Checks which peers may be notified of a user's actions.
 *
 * @returns the peers' stored name keys in the order of `pairs`; undefined where the peer does not
 *   exist or one blocks the other
 */
export async function reachableKeys(sql: Sql, pairs: readonly UserAndPeer[]): Promise<(string | undefined)[]> {
  const rows = await sql<{ ord: number; nameKey: string }[]>`
    select t.ord, u.name_key as "nameKey"
    from unnest(
      ${pairs.map(({ name }) => name)}::text[],
      ${pairs.map(({ peerKey }) => peerKey)}::text[]
    ) with ordinality as t (name, peer_key, ord)
    cross join lateral ( -- row by row, which rules out a plan that scans the tables
      select username, name_key, deleted_at from users where name_key = t.peer_key collate "C" limit 1
    ) u
    left join lateral (
      select c.blocked_by is not null as blocked
      from conversations c
      where c.low = least(t.name collate "C", u.username) and c.high = greatest(t.name collate "C", u.username)
      limit 1
    ) c on true
    where u.deleted_at is null and c.blocked is not true
  `;
  const keys: (string | undefined)[] = pairs.map(() => undefined);
  for (const { ord, nameKey } of rows) keys[ord - 1] = nameKey;
  return keys;
}

/** What a user hides. Mutual: a user who hides it cannot see other users' either. */
export interface PrivacySettings {
  readonly hidesRead: boolean;
  readonly hidesLastSeen: boolean;
}

/** Settings to change; undefined leaves a setting unchanged. */
export type PrivacyChanges = { readonly [K in keyof PrivacySettings]: PrivacySettings[K] | undefined };

/** @returns the new settings */
export async function updatePrivacy(db: Database, me: string, changes: PrivacyChanges): Promise<PrivacySettings> {
  const [row] = await db.run(
    (sql) => sql<[PrivacySettings]>`
      update users
      set
        hide_read = coalesce(${changes.hidesRead ?? null}::boolean, hide_read),
        hide_last_seen = coalesce(${changes.hidesLastSeen ?? null}::boolean, hide_last_seen),
        changed_at = clock_timestamp()
      where username = ${me}
      returning hide_read as "hidesRead", hide_last_seen as "hidesLastSeen"
    `,
  );
  return row;
}
