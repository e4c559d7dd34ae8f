/** Profiles: display names and photos, and what of them a user may see. */

import type { Photo } from "../util/photo.ts";
import type { Fragment, Sql } from "./client.ts";
import type { Database } from "./database.ts";

/** Profiles read after a loss between pods; more than change in a minute. */
const RECENT_MAX = 1_000;

/** What is shown of a user beside the name. `photo`: its version. */
export interface Profile {
  readonly displayName: string | null;
  readonly photo: string | null;
}

/** A user with a profile. */
export interface PersonProfile extends Profile {
  readonly nameKey: string;
  readonly username: string;
}

/** SQL for the fields of `Profile`. @param shown alias of `shown_profile` or `profiles` */
export function profileColumns(sql: Sql, shown: Fragment): Fragment {
  return sql`${shown}.display_name as "displayName", ${shown}.photo_version as photo`;
}

/**
 * Sets a display name; undefined removes it.
 *
 * @returns the profile; undefined if the account was deleted
 */
export async function setDisplayName(
  db: Database,
  userId: number,
  display: { readonly name: string; readonly key: string } | undefined,
): Promise<Profile | undefined> {
  const [profile] = await db.run(
    (sql) => sql<Profile[]>`
      insert into profiles as p (user_id, display_name, display_key, named_at, changed_at)
      select id, ${display?.name ?? null}, ${display?.key ?? null}, clock_timestamp(), clock_timestamp()
      from (${activeUser(sql, userId)}) u
      on conflict (user_id) do update
      set
        display_name = excluded.display_name,
        display_key = excluded.display_key,
        named_at = excluded.named_at,
        changed_at = excluded.changed_at
      returning ${profileColumns(sql, sql`p`)}
    `,
  );
  return profile;
}

/** Sets a photo; undefined removes it. @returns as for `setDisplayName` */
export async function setPhoto(db: Database, userId: number, photo: Photo | undefined): Promise<Profile | undefined> {
  const bytes = photo ? Buffer.from(photo.bytes).toString("base64") : null;
  const [profile] = await db.run(
    (sql) => sql<Profile[]>`
      insert into profiles as p (user_id, photo, photo_version, photo_at, changed_at)
      select id, decode(${bytes}, 'base64'), ${photo?.version ?? null}, clock_timestamp(), clock_timestamp()
      from (${activeUser(sql, userId)}) u
      on conflict (user_id) do update
      set
        photo = excluded.photo,
        photo_version = excluded.photo_version,
        photo_at = excluded.photo_at,
        changed_at = excluded.changed_at
      returning ${profileColumns(sql, sql`p`)}
    `,
  );
  return profile;
}

/** Locked, so that a deletion of the account cannot miss what is being stored. */
function activeUser(sql: Sql, userId: number): Fragment {
  return sql`select id from users where id = ${userId} and deleted_at is null for no key update`;
}

/** The profiles of users as `viewer` sees them, in the order of `names` (usernames). */
export async function shownProfiles(db: Database, viewer: string, names: readonly string[]): Promise<Profile[]> {
  if (names.length === 0) return [];
  const rows = await db.run(
    (sql) => sql<(Profile & { ord: number })[]>`
      select t.ord, ${profileColumns(sql, sql`s`)}
      from unnest(${names as string[]}::text[]) with ordinality as t (name, ord)
      cross join lateral ( -- row by row, which rules out a plan that scans the table
        select id, username from users where username = t.name collate "C" and deleted_at is null limit 1
      ) u
      cross join lateral shown_profile(${viewer}, u.id, u.username) s
    `,
  );
  const shown: Profile[] = names.map(() => NONE);
  for (const { ord, displayName, photo } of rows) shown[ord - 1] = { displayName, photo };
  return shown;
}

const NONE: Profile = { displayName: null, photo: null };

/** The photo of a user as `viewer` sees it; undefined without one. */
export async function shownPhoto(db: Database, viewer: string, nameKey: string): Promise<Photo | undefined> {
  const [photo] = await db.run(
    (sql) => sql<{ version: string; base64: string }[]>`
      select s.photo_version as version, encode(p.photo, 'base64') as base64
      from users u
      cross join lateral shown_profile(${viewer}, u.id, u.username) s
      join profiles p on p.user_id = u.id and p.photo_version = s.photo_version
      where u.name_key = ${nameKey} and u.deleted_at is null
    `,
  );
  return photo && { version: photo.version, bytes: Buffer.from(photo.base64, "base64") };
}

/** Profiles changed within `withinMs`, including removed ones. */
export async function recentProfiles(db: Database, withinMs: number): Promise<PersonProfile[]> {
  return db.run(
    (sql) => sql<PersonProfile[]>`
      select u.name_key as "nameKey", u.username, ${profileColumns(sql, sql`p`)}
      from profiles p
      join users u on u.id = p.user_id
      where p.changed_at > clock_timestamp() - ${withinMs} * interval '1 millisecond' and u.deleted_at is null
      order by p.changed_at desc
      limit ${RECENT_MAX}
    `,
  );
}
