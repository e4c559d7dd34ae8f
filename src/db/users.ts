/** Accounts: creation, lookup, listing, disabling, admins, and stored presence. */

import { ChatError } from "../errors.ts";
import { skeletonsOf } from "../util/text.ts";
import type { Sql } from "./client.ts";
import type { Database } from "./database.ts";
import { codeOf } from "./failures.ts";

export interface User {
  readonly id: number;
  readonly username: string;
  readonly password: string;
  /** The user cannot sign in. */
  readonly isDisabled: boolean;
  readonly hidesRead: boolean;
  /** The account was deleted; its name stays taken, and it receives no messages. */
  readonly isDeleted: boolean;
}

/** What permits a sign-up; the last two are consumed by it. */
export type SignupGrant = "open" | { readonly invite: number } | "firstAdmin";

/**
 * Name of the setting stored once there has been an admin, which rules out the grant "firstAdmin"
 * from then on.
 */
const HAD_ADMIN = "had_admin";

/**
 * Creates an account and consumes the grant in one statement: a failed sign-up costs no invitation,
 * and only one of two concurrent sign-ups gets its last use.
 *
 * @param user.password a PHC string. Its salt is random, so a row with this hash was inserted by an
 *   earlier attempt of this call
 * @param user.admin whether it is an admin; with the grant "firstAdmin" it always is
 * @throws ChatError `name_taken`, `name_similar`, `invite_used`, `bad_code`
 */
export async function create(
  db: Database,
  user: { username: string; nameKey: string; searchKey: string; password: string; admin?: boolean },
  grant: SignupGrant = "open",
): Promise<User> {
  const isAdmin = user.admin === true || grant === "firstAdmin";
  const skeletons = skeletonsOf(user.username);
  const findCreated = async () => {
    const found = await find(db, user.nameKey);
    return found?.password === user.password ? found : undefined;
  };
  try {
    const [made] = await db.run(
      (sql) => sql<User[]>`
        with allowed as (${consumeGrant(sql, grant)}), made as (
          insert into users (username, name_key, search_key, password, is_admin, has_skeletons)
          select ${user.username}, ${user.nameKey}, ${user.searchKey}, ${user.password}, ${isAdmin}::boolean, true
          from allowed
          cross join lateral refuse_lookalike(${skeletons}::text[])
          returning id, username, password, is_admin
        ), seen as (
          insert into name_skeletons (user_id, skeleton, is_shown)
          select m.id, s.skeleton, s.place = 1
          from made m
          cross join unnest(${skeletons}::text[]) with ordinality as s (skeleton, place)
        ), noted as (
          ${recordAdmin(sql)}
        )
        select id, username, password, false as "isDisabled", false as "hidesRead", false as "isDeleted" from made
      `,
    );
    const created = made ?? (await findCreated());
    if (created) return created;
    throw new ChatError(grant === "firstAdmin" ? "bad_code" : "invite_used");
  } catch (error) {
    if (codeOf(error) !== "23505") throw error;
    const found = await findCreated();
    if (found) return found;
    throw new ChatError((await find(db, user.nameKey)) ? "name_taken" : "name_similar", { cause: error });
  }
}

/** SQL that consumes one use of a grant; returns a row if the grant is valid. */
function consumeGrant(sql: Sql, grant: SignupGrant) {
  if (grant === "firstAdmin") {
    return sql`
      insert into settings (name, value)
      values (${HAD_ADMIN}, now())
      on conflict (name) do nothing
      returning 1
    `;
  }
  if (typeof grant === "string") return sql`select 1`;
  return sql`
    update invites
    set uses_left = uses_left - 1
    where id = ${grant.invite} and uses_left > 0 and expires_at > now()
    returning 1
  `;
}

/** SQL that records that there has been an admin, if `made` contains one. */
function recordAdmin(sql: Sql) {
  return sql`
    insert into settings (name, value)
    select ${HAD_ADMIN}, now()
    from made
    where is_admin
    on conflict (name) do nothing
  `;
}

/** Whether there is no account and there has never been an admin. */
export async function isFresh(db: Database): Promise<boolean> {
  const [row] = await db.run(
    (sql) => sql<[{ fresh: boolean }]>`
      select
        not exists (select from users)
        and not exists (select from settings where name = ${HAD_ADMIN}) as fresh
    `,
  );
  return row.fresh;
}

/** Makes a user an admin. @returns the username; undefined if there is no such account */
export async function makeAdmin(db: Database, nameKey: string): Promise<string | undefined> {
  const [user] = await db.run(
    (sql) => sql<{ username: string }[]>`
      with made as (
        update users set is_admin = true where name_key = ${nameKey} and deleted_at is null returning username, is_admin
      ), noted as (
        ${recordAdmin(sql)}
      )
      select username from made
    `,
  );
  return user?.username;
}

/** Disables or enables an account. @returns the user; undefined if there is no such account */
export async function setDisabled(
  db: Database,
  nameKey: string,
  disabled: boolean,
): Promise<{ id: number; username: string } | undefined> {
  const [user] = await db.run(
    (sql) => sql<{ id: number; username: string }[]>`
      update users
      set disabled_at = case when ${disabled}::boolean then coalesce(disabled_at, now()) end
      where name_key = ${nameKey} and deleted_at is null
      returning id, username
    `,
  );
  return user;
}

/** @param password a PHC string */
export async function setPassword(db: Database, id: number, password: string): Promise<void> {
  await db.run((sql) => sql`update users set password = ${password} where id = ${id}`);
}

/**
 * Replaces the hash `user.password` by a new hash of the same password.
 *
 * @returns false if the stored hash has changed
 */
export async function renewHash(db: Database, user: Pick<User, "id" | "password">, phc: string): Promise<boolean> {
  const renewed = await db.run(
    (sql) => sql`update users set password = ${phc} where id = ${user.id} and password = ${user.password} returning 1`,
  );
  return renewed.length > 0;
}

export async function isAdmin(db: Database, id: number): Promise<boolean> {
  const [user] = await db.run((sql) => sql`select from users where id = ${id} and is_admin`);
  return user !== undefined;
}

/** The account with this name key, including deleted ones. */
export async function find(db: Database, nameKey: string): Promise<User | undefined> {
  const [user] = await db.run(
    (sql) => sql<User[]>`
      select
        id, username, password, disabled_at is not null as "isDisabled", hide_read as "hidesRead", deleted_at is not null as "isDeleted"
      from users
      where name_key = ${nameKey}
    `,
  );
  return user;
}

/** The name of an account that looks like or equals this name. */
export async function findLookalike(db: Database, name: string): Promise<string | undefined> {
  const [row] = await db.run(
    (sql) => sql<[{ name: string | null }]>`select lookalike_of(${skeletonsOf(name)}::text[]) as name`,
  );
  return row.name ?? undefined;
}

/** An account as shown to admins. */
export interface Account {
  readonly id: number;
  readonly username: string;
  readonly isAdmin: boolean;
  readonly isDisabled: boolean;
  readonly createdAt: string;
  readonly isOnline: boolean;
  readonly lastSeenAt: string | null;
}

/** Accounts with ids above `after`, in order of creation. */
export async function accounts(db: Database, page: { after: number; limit: number }): Promise<Account[]> {
  return db.run(
    (sql) => sql<Account[]>`
      select
        id,
        username,
        is_admin as "isAdmin",
        disabled_at is not null as "isDisabled",
        created_at as "createdAt",
        is_online as "isOnline",
        last_seen_at as "lastSeenAt"
      from users
      where id > ${page.after} and deleted_at is null
      order by id
      limit ${page.limit}
    `,
  );
}

/** Users by name key; omits unknown keys and deleted accounts. */
export async function findMany(
  db: Database,
  nameKeys: readonly string[],
): Promise<{ nameKey: string; username: string; lastSeenAt: string | null; hidesLastSeen: boolean }[]> {
  return db.run(
    (sql) => sql<{ nameKey: string; username: string; lastSeenAt: string | null; hidesLastSeen: boolean }[]>`
      select name_key as "nameKey", username, last_seen_at as "lastSeenAt", hide_last_seen as "hidesLastSeen"
      from users
      where name_key = any(${nameKeys as string[]}::text[]) and deleted_at is null
    `,
  );
}

/** Updates `is_online`, and `last_seen_at` of users who went offline. */
export async function markOnline(
  db: Database,
  onlineKeys: readonly string[],
  offlineKeys: readonly string[],
): Promise<void> {
  await db.run(
    (sql) => sql`
      update users
      set
        is_online = name_key = any(${onlineKeys as string[]}::text[]),
        last_seen_at = case when name_key = any(${offlineKeys as string[]}::text[]) then now() else last_seen_at end
      where name_key = any(${[...onlineKeys, ...offlineKeys]}::text[]) and deleted_at is null
    `,
  );
}

/** Name keys of users who are online according to the table. */
export async function onlineKeys(db: Database): Promise<Set<string>> {
  const rows = await db.run(
    (sql) => sql<{ nameKey: string }[]>`select name_key as "nameKey" from users where is_online`,
  );
  return new Set(rows.map((row) => row.nameKey));
}
