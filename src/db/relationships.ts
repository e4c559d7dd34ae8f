/**
 * What people decide: whom they block, whom they mute, what they show of themselves. Blocks and mutes stand on the row of the conversation, a
 * side each, so that whoever stores or lists has them at hand.
 */

import type { Sql } from "./client.ts";
import type { Database } from "./database.ts";
import { NAMES_MAX } from "./pages.ts";

/** What may be decided about another person: the names of the columns behind `low_` and `high_`. */
export type Relation = "blocks" | "muted";

/** @param me, peer names as their owners wrote them */
export async function setRelation(
  db: Database,
  choice: Relation,
  me: string,
  peer: string,
  on: boolean,
): Promise<void> {
  await db.run((sql) => {
    const [low, high] = [sql(`low_${choice}`), sql(`high_${choice}`)];
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
      set ${low} = c.${low} or excluded.${low}, ${high} = c.${high} or excluded.${high} ${choice === "blocks" ? freeze(sql) : sql``}
    `;
  });
}

/** Notes where the conversation ends for the one who begins to block: the row is locked, so everything later is stored as hidden. */
function freeze(sql: Sql) {
  return sql`,
      low_frozen_seq = case when excluded.low_blocks and not c.low_blocks then c.last_seq else c.low_frozen_seq end,
      low_frozen_at = case when excluded.low_blocks and not c.low_blocks then c.last_at else c.low_frozen_at end,
      high_frozen_seq = case when excluded.high_blocks and not c.high_blocks then c.last_seq else c.high_frozen_seq end,
      high_frozen_at = case when excluded.high_blocks and not c.high_blocks then c.last_at else c.high_frozen_at end`;
}

/** Whom somebody blocks, or mutes: a page, in the order of names. @param after the last name of the page before */
export async function listRelated(
  db: Database,
  choice: Relation,
  me: string,
  after = "",
  limit = NAMES_MAX,
): Promise<string[]> {
  const rows = await db.run(
    (sql) => sql<{ peer: string }[]>`
      (
        select c.high as peer
        from conversations c
        where c.low = ${me} and c.high > ${after} and c.${sql(`low_${choice}`)}
        order by c.high
        limit ${limit}
      )
      union all
      (
        select c.low
        from conversations c
        where c.high = ${me} and c.low > ${after} and c.low <> c.high and c.${sql(`high_${choice}`)}
        order by c.low
        limit ${limit}
      )
      order by peer
      limit ${limit}
    `,
  );
  return rows.map(({ peer }) => peer);
}

/** Shared, since most users have no blocked peer. */
const NONE: ReadonlySet<string> = new Set();

/** For each of these users the keys of the peers that they block or are blocked by. */
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

/** Somebody by their name, and another by the key of theirs. */
export interface UserAndPeer {
  readonly name: string;
  readonly peerKey: string;
}

/**
 * Who of the named peers may be told of what somebody does.
 *
 * @returns at the place of each pair the stored key of the peer; undefined where nobody has that name, or one blocks the other
 */
export async function reachableKeys(sql: Sql, pairs: readonly UserAndPeer[]): Promise<(string | undefined)[]> {
  const rows = await sql<{ ord: number; nameKey: string }[]>`
    select t.ord, u.name_key as "nameKey"
    from unnest(
      ${pairs.map(({ name }) => name)}::text[],
      ${pairs.map(({ peerKey }) => peerKey)}::text[]
    ) with ordinality as t (name, peer_key, ord)
    cross join lateral ( -- one by one: a plan that walks the tables for many pairs at once must not exist
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

/** What somebody shows of themselves; hidden from others, it is not seen of others either. */
export interface PrivacySettings {
  readonly hidesRead: boolean;
  readonly hidesLastSeen: boolean;
}

/** What of it is to change; undefined: stays as it is. */
export type PrivacyChanges = { readonly [K in keyof PrivacySettings]: PrivacySettings[K] | undefined };

/** @returns how it is now */
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
