/**
 * Deleted accounts. The row remains, so that the name stays taken. Conversations whose users are
 * all deleted, including notes to self, are purged later, in steps.
 */

import type { Database } from "./database.ts";
import { endUnsent } from "./file_upkeep.ts";

/** Messages deleted per statement. */
const STEP_ROWS = 1_000;
/** After this time no statement from before the deletion is still running (`statement_timeout`). */
const SETTLED = "10 seconds";

/**
 * Marks an account as deleted and deletes its sessions, drafts, profile and unsent files. Idempotent. Privacy settings
 * remain in force.
 */
export async function softDelete(db: Database, user: { id: number; username: string }): Promise<void> {
  await db.run(
    (sql) => sql`
      with ended as (
        delete from sessions where user_id = ${user.id}
      ), forgotten as (
        delete from drafts where owner = ${user.username}
      ), unshown as (
        delete from profiles where user_id = ${user.id}
      )
      update users
      set
        password = '!', -- no password verifies against it
        deleted_at = coalesce(deleted_at, now()),
        disabled_at = coalesce(disabled_at, now()),
        is_admin = false,
        is_online = false,
        last_seen_at = null
      where id = ${user.id}
    `,
  );
  await endUnsent(db, user.username);
}

/** Up to 100 deleted accounts that have not been purged. */
export async function accountsToPurge(db: Database): Promise<{ id: number; username: string }[]> {
  return db.run(
    (sql) => sql<{ id: number; username: string }[]>`
      select id, username
      from users
      where deleted_at is not null and purged_at is null and deleted_at < now() - ${SETTLED}::interval
      order by id
      limit 100
    `,
  );
}

/**
 * Purges part of a conversation whose users are all deleted.
 *
 * @returns false if there is none left
 */
export async function purgeStep(db: Database, username: string): Promise<boolean> {
  const [step] = await db.run(
    (sql) => sql<{ id: number; low: string; high: string; purged: number }[]>`
      with conversation as materialized (
        select mine.id, mine.low, mine.high
        from (
          select c.id, c.low, c.high, c.high as peer
          from conversations c
          where c.low = ${username}
          union all
          select c.id, c.low, c.high, c.low
          from conversations c
          where c.high = ${username} and c.low <> c.high
        ) mine
        cross join lateral (
          select
          from users u
          where u.username = mine.peer and u.deleted_at < now() - ${SETTLED}::interval
          limit 1
        ) deleted
        limit 1
      ), purged as (
        delete from messages
        where ctid = any(array(
          select m.ctid
          from conversation c
          cross join lateral (
            select ctid from messages where conversation_id = c.id order by seq limit ${STEP_ROWS}
          ) m
        ))
        returning 1
      )
      select c.id, c.low, c.high, (select count(*) from purged) as purged
      from conversation c
    `,
  );
  if (!step) return false;
  if (step.purged < STEP_ROWS) {
    await db.run(
      (sql) => sql`
        with ended as (
          delete from memberships
          where (owner, peer) in ((${step.low}, ${step.high}), (${step.high}, ${step.low}))
        ), thawed as (
          delete from frozen_messages where conversation_id = ${step.id}
        )
        delete from conversations where low = ${step.low} and high = ${step.high}
      `,
    );
  }
  return true;
}

/**
 * Marks an account as purged. Also deletes its blocks, how it arranged its list, the refs of its
 * changes, and a draft or profile that was being stored during the deletion.
 */
export async function markPurged(db: Database, user: { id: number; username: string }): Promise<void> {
  await db.run(
    (sql) => sql`
      with late as (
        delete from drafts where owner = ${user.username}
      ), late_profile as (
        delete from profiles where user_id = ${user.id}
      ), refs as (
        delete from change_refs where sender = ${user.username}
      ), locked as (
        -- in key order, so that concurrent writers cannot deadlock
        select id
        from conversations
        where low = ${user.username} and (blocked_by is not null or low_pinned_at is not null or low_archived_seq is not null)
          or high = ${user.username} and (blocked_by is not null or high_pinned_at is not null or high_archived_seq is not null)
        order by low, high
        for update
      ), thawed as (
        delete from frozen_messages
        where owner = ${user.username} and conversation_id in (select id from locked)
      ), blocks as (
        update conversations
        set
          blocked_by = nullif(array_remove(blocked_by, ${user.username}::text), '{}'),
          low_pinned_at = case when low <> ${user.username} then low_pinned_at end,
          low_archived_seq = case when low <> ${user.username} then low_archived_seq end,
          high_pinned_at = case when high <> ${user.username} then high_pinned_at end,
          high_archived_seq = case when high <> ${user.username} then high_archived_seq end
        where id in (select id from locked)
      ), arranged as (
        update memberships
        set
          muted = false, muted_until = null, marked_unread_seq = null,
          blocked_seq = null, blocked_at = null, blocked_revision = null
        where owner = ${user.username} and (settings_revision > 0 or muted or blocked_seq is not null)
      )
      update users set purged_at = now() where id = ${user.id}
    `,
  );
}
