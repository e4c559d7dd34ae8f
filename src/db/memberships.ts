/** Users' sides of their conversations, as they arrange them: mutes, pins, the archive, unread marks. */

import type { ErrorCode } from "../errors.ts";
import type { Fragment, Sql } from "./client.ts";
import type { Database } from "./database.ts";
import { NAMES_MAX } from "./paging.ts";

/** A pinned conversation is always in the first page of a list. */
export const PINS_MAX = 20;
/** More archived conversations than these are not counted. */
export const ARCHIVED_COUNT_MAX = 1_000;

/** How a user has arranged a conversation. */
export interface MembershipSettings {
  /** Of two versions, the one with the higher revision is newer. */
  readonly settingsRevision: number;
  readonly muted: boolean;
  /** The end of the mute; null if it has none. */
  readonly mutedUntil: string | null;
  readonly pinnedAt: string | null;
  /** The conversation is archived while its `last_seq` is this one. */
  readonly archivedSeq: number | null;
  /** The conversation is marked as unread while the owner's read mark is this one. */
  readonly markedUnreadSeq: number | null;
}

/** What to change; undefined leaves it as it is. `muteSeconds`: with `muted`, how long. */
export interface MembershipChanges {
  readonly muted?: boolean | undefined;
  readonly muteSeconds?: number | undefined;
  readonly pinned?: boolean | undefined;
  readonly archived?: boolean | undefined;
  readonly markedUnread?: boolean | undefined;
}

/** Whether a membership of alias `m` is muted now. The first part is that of the index of mutes. */
export function isMuted(sql: Sql, m: Fragment): Fragment {
  return sql`((${m}.muted or ${m}.muted_until is not null) and (${m}.muted or ${m}.muted_until > now()))`;
}

/** The columns of `MembershipSettings` that are in `memberships`, whose alias is `m`. */
export function settingsColumns(sql: Sql, m: Fragment): Fragment {
  return sql`
    coalesce(${m}.settings_revision, 0) as "settingsRevision",
    coalesce(${m}.muted or ${m}.muted_until > clock_timestamp(), false) as muted,
    case when not ${m}.muted and ${m}.muted_until > clock_timestamp() then ${m}.muted_until end as "mutedUntil",
    ${m}.marked_unread_seq as "markedUnreadSeq"
  `;
}

/**
 * Changes a user's side of a conversation (see `change_membership` in sql/).
 *
 * @param member, peer usernames
 * @returns how it is now, or the code of the error: `not_found`, `too_many_pins`
 */
export async function changeMembership(
  db: Database,
  [member, peer]: readonly [string, string],
  { muted, muteSeconds, pinned, archived, markedUnread }: MembershipChanges,
): Promise<MembershipSettings | ErrorCode> {
  const [row] = await db.run(
    (sql) => sql<[MembershipSettings & { outcome: string }]>`
      select m.outcome, ${settingsColumns(sql, sql`m`)}, m.pinned_at as "pinnedAt", m.archived_seq as "archivedSeq"
      from change_membership(
        ${member}, ${peer}, ${muted ?? null}, ${muteSeconds ?? null}, ${pinned ?? null}, ${archived ?? null},
        ${markedUnread ?? null}, ${PINS_MAX}
      ) m
    `,
  );
  const { outcome, ...settings } = row;
  return outcome === "changed" ? settings : (outcome as ErrorCode);
}

/** How many conversations these users have archived, at most `ARCHIVED_COUNT_MAX` each, in order. */
export async function archivedCounts(
  sql: Sql,
  lists: readonly { readonly me: string; readonly includeBlocked: boolean }[],
): Promise<number[]> {
  const rows = await sql<{ count: number }[]>`
    select a.count
    from unnest(
      ${lists.map(({ me }) => me)}::text[],
      ${lists.map(({ includeBlocked }) => Number(includeBlocked))}::bigint[]
    ) with ordinality as t (me, include_blocked, ord)
    cross join lateral (
      select count(*) as count
      from (
        (
          select
          from conversations c
          ${blockedSeq(sql, sql`c.low`)}
          where c.low = t.me collate "C" and c.low_archived_seq is not null and c.low_archived_seq = coalesce(b.seq, c.last_seq)
            and (t.include_blocked = 1 or b.seq is null)
          limit ${ARCHIVED_COUNT_MAX}
        )
        union all
        (
          select
          from conversations c
          ${blockedSeq(sql, sql`c.high`)}
          where c.high = t.me collate "C" and c.low <> c.high
            and c.high_archived_seq is not null and c.high_archived_seq = coalesce(b.seq, c.last_seq)
            and (t.include_blocked = 1 or b.seq is null)
          limit ${ARCHIVED_COUNT_MAX}
        )
        limit ${ARCHIVED_COUNT_MAX}
      ) archived
    ) a
    order by t.ord
  `;
  return rows.map(({ count }) => count);
}

/** `b.seq`: where the conversation `c` ended when `owner` blocked the peer, or null. */
const blockedSeq = (sql: Sql, owner: Fragment) => sql`
  left join lateral (
    select blocked_seq as seq
    from memberships
    where c.blocked_by is not null and conversation_id = c.id and owner = ${owner}
      and peer = case when c.low = ${owner} then c.high else c.low end
    limit 1
  ) b on true
`;

/** A conversation that a user has arranged, for their export. */
export interface ArrangedConversation extends MembershipSettings {
  readonly peer: string;
  readonly isArchived: boolean;
  readonly isMarkedUnread: boolean;
}

/** A page of the conversations that a user has arranged, in the order of names. @param after the last name of the previous page */
export async function arrangedConversations(
  db: Database,
  me: string,
  after = "",
  limit = NAMES_MAX,
): Promise<ArrangedConversation[]> {
  return db.run(
    (sql) => sql<ArrangedConversation[]>`
      select
        m.peer, ${settingsColumns(sql, sql`m`)}, c.pinned_at as "pinnedAt", c.archived_seq as "archivedSeq",
        coalesce(c.archived_seq = coalesce(m.blocked_seq, c.last_seq), false) as "isArchived",
        coalesce(m.marked_unread_seq = c.my_read_seq, false) as "isMarkedUnread"
      from memberships m
      cross join lateral ( -- row by row, which rules out a plan that scans the table
        select
          last_seq,
          case when low = high then last_seq when low = m.owner then low_read_seq else high_read_seq end as my_read_seq,
          case when low = m.owner then low_pinned_at else high_pinned_at end as pinned_at,
          case when low = m.owner then low_archived_seq else high_archived_seq end as archived_seq
        from conversations
        where id = m.conversation_id
        limit 1
      ) c
      where m.owner = ${me} and m.peer > ${after} and (m.settings_revision > 0 or m.muted)
      order by m.peer
      limit ${limit}
    `,
  );
}
