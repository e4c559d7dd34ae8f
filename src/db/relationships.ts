/**
 * Blocks, mutes and privacy settings. Blocks and mutes are stored on the conversation's row, per side, so that statements that store
 * or list messages need no further lookup.
 */

import type { Sql } from "./client.ts";
import type { Database } from "./database.ts";
import { NAMES_MAX } from "./pages.ts";

/** A relation to a peer: the column name after `low_` or `high_`. */
export type Relation = "blocks" | "muted";

/** Blocks or mutes a peer, or lifts the block or mute. @param me, peer usernames */
export async function setRelation(
  db: Database,
  relation: Relation,
  me: string,
  peer: string,
  on: boolean,
): Promise<void> {
  await db.run((sql) => {
    const [low, high] = [sql(`low_${relation}`), sql(`high_${relation}`)];
    const noted = sql`noted as (update users set changed_at = clock_timestamp() where username = ${me})`;
    const pair = sql`least(${me}::text collate "C", ${peer}) as low, greatest(${me}::text collate "C", ${peer}) as high`;
    if (!on) {
      return sql`
        with ${noted}
        update conversations c
        set ${low} = c.${low} and c.low <> ${me}, ${high} = c.${high} and c.high <> ${me}
        from (select ${pair}) pair
        where c.low = pair.low and c.high = pair.high
      `;
    }
    return sql`
      with ${noted}
      insert into conversations as c (low, high, last_at, ${low}, ${high})
      select low, high, to_timestamp(0), low = ${me}, high = ${me} and low <> high
      from (select ${pair}) pair
      on conflict (low, high) do update
      set ${low} = c.${low} or excluded.${low}, ${high} = c.${high} or excluded.${high} ${relation === "blocks" ? freeze(sql) : sql``}
    `;
  });
}

/** SQL that records where the conversation ends for a user who starts blocking. The row is locked, so later messages are hidden. */
function freeze(sql: Sql) {
  return sql`,
      low_frozen_seq = case when excluded.low_blocks and not c.low_blocks then c.last_seq else c.low_frozen_seq end,
      low_frozen_at = case when excluded.low_blocks and not c.low_blocks then c.last_at else c.low_frozen_at end,
      high_frozen_seq = case when excluded.high_blocks and not c.high_blocks then c.last_seq else c.high_frozen_seq end,
      high_frozen_at = case when excluded.high_blocks and not c.high_blocks then c.last_at else c.high_frozen_at end`;
}

/** A page of the peers a user blocks or mutes, in the order of names. @param after the last name of the previous page */
export async function listRelated(
  db: Database,
  relation: Relation,
  me: string,
  after = "",
  limit = NAMES_MAX,
): Promise<string[]> {
  const rows = await db.run(
    (sql) => sql<{ peer: string }[]>`
      (
        select c.high as peer
        from conversations c
        where c.low = ${me} and c.high > ${after} and c.${sql(`low_${relation}`)}
        order by c.high
        limit ${limit}
      )
      union all
      (
        select c.low
        from conversations c
        where c.high = ${me} and c.low > ${after} and c.low <> c.high and c.${sql(`high_${relation}`)}
        order by c.low
        limit ${limit}
      )
      order by peer
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
      where c.low = t.name collate "C" and (c.low_blocks or c.high_blocks)
      union all
      select c.low
      from conversations c
      where c.high = t.name collate "C" and (c.low_blocks or c.high_blocks)
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
 * @returns the peers' stored name keys in the order of `pairs`; undefined where the peer does not exist or one blocks the other
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
      select c.low_blocks or c.high_blocks as blocked
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

/** What a user hides from others. A user who hides something cannot see it of others either. */
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
