/**
 * Imports a database of the original demo: plain-text passwords, timestamps without time zone, no
 * sequence numbers. In one transaction, moves the old tables to another schema, creates the schema
 * of `sql/`, copies every row, including columns that only the original demo has, and drops the old
 * tables.
 */

import type { Log } from "../log.ts";
import { hashPassword } from "../util/password.ts";
import { keyOfReference, nameKey, searchKey, trimName } from "../util/text.ts";
import type { Sql } from "./client.ts";
import { codeOf } from "./failures.ts";
import { DatabaseError } from "./start_failure.ts";

const ASIDE = "chatify_original";
const HASHES_AT_ONCE = 4;

/** Whether the tables are the original demo's, not another program's with the same names. */
export async function isOriginal(sql: Sql): Promise<boolean> {
  const [{ count }] = await sql<[{ count: number }]>`
    select count(*)
    from pg_attribute
    where
      attrelid = to_regclass('users') and attname in ('id', 'username', 'password', 'created_at')
      or attrelid = to_regclass('messages') and attname in ('id', 'sender', 'receiver', 'content', 'timestamp', 'read')
  `;
  return count === 10;
}

/**
 * @param tx the transaction of the import
 * @param makeSchema creates the schema of `sql/`
 * @throws DatabaseError if the original demo is still running; SQLSTATE 2BP01 if a view or key
 *   depends on its tables
 */
export async function adopt(
  tx: Sql,
  makeSchema: () => Promise<void>,
  options: { log: Log; say: (line: string) => void },
): Promise<void> {
  try {
    await importAll(tx, makeSchema, options);
  } catch (error) {
    if (codeOf(error) !== "55P03") throw error; // lock_not_available
    throw new DatabaseError(
      "Another session is using the original demo's tables: stop it, then start chatify again. Nothing was changed",
      error,
    );
  }
}

async function importAll(
  tx: Sql,
  makeSchema: () => Promise<void>,
  options: { log: Log; say: (line: string) => void },
): Promise<void> {
  const { log, say } = options;
  say("This is a database of the original demo. Importing it …");
  await tx`set local lock_timeout = '3s'`;
  await tx`savepoint trial`; // fail now, not after minutes of hashing, if they cannot be dropped
  await tx`drop table if exists sessions, messages, users`;
  await tx`rollback to savepoint trial`;
  await tx`create schema ${tx(ASIDE)}`;
  for (const table of ["users", "messages", "sessions"]) {
    await tx`alter table if exists ${tx(table)} set schema ${tx(ASIDE)}`;
  }
  await makeSchema();
  const people = await copyUsers(tx, options);
  const messages = await copyMessages(tx);
  // Sessions are not copied: their tokens were never signed.
  await tx`drop table if exists chatify_original.sessions, chatify_original.messages, chatify_original.users`;
  await tx`drop schema ${tx(ASIDE)}`;
  log.info("original database imported", { people, messages });
  say(`Imported ${people} users and ${messages} messages. Users must sign in again, with their old passwords.`);
}

interface OldUser {
  readonly id: number;
  /** Null: the account has none. */
  readonly username: string | null;
  readonly password: string | null;
}

/** Copies accounts, hashes their passwords, and renames those whose name keys collide. */
async function copyUsers(tx: Sql, { log, say }: { log: Log; say: (line: string) => void }): Promise<number> {
  const users = await tx<OldUser[]>`
    select id::bigint, nullif(username, '') as username, password
    from chatify_original.users
    order by id
  `;
  const mentioned = await tx<{ name: string }[]>`
    select sender as name from chatify_original.messages where sender is not null
    union
    select receiver from chatify_original.messages where receiver is not null
  `;
  const names = assignNames(
    users,
    mentioned.map(({ name }) => name),
  );
  for (const { id, username } of users) {
    const name = names.get(id);
    if (name === username) continue;
    log.warn("imported account renamed", { id, from: username, to: name });
    say(`Account ${id} ${whyRenamed(username)}. Its new name is "${name}".`);
  }
  const hashes = await hashAll(users, say);
  const { columns, selected } = await extraColumns(tx, "users", USERS);
  await tx`
    create temporary table names on commit drop as
    select *
    from unnest(
      ${users.map(({ id }) => id)}::bigint[],
      ${users.map(({ username }) => username)}::text[],
      ${users.map(({ id }) => names.get(id) ?? "")}::text[]
    ) as t (id, was, name)
  `;
  await tx`
    insert into users (id, username, name_key, search_key, password, created_at ${columns})
    overriding system value
    select o.id, t.username, t.name_key, t.search_key, t.password, coalesce(o.created_at::timestamptz, now()) ${selected}
    from chatify_original.users o
    join unnest(
      ${users.map(({ id }) => id)}::bigint[],
      ${users.map(({ id }) => names.get(id) ?? "")}::text[],
      ${users.map(({ id }) => nameKey(names.get(id) ?? ""))}::text[],
      ${users.map(({ id }) => searchKey(names.get(id) ?? ""))}::text[],
      ${hashes}::text[]
    ) as t (id, username, name_key, search_key, password) on t.id = o.id
  `;
  await tx`select setval(pg_get_serial_sequence('users', 'id'), greatest(1, (select max(id) from users)))`;
  return users.length;
}

function whyRenamed(username: string | null): string {
  if (username === null) return "has no name";
  const isAmbiguous = keyOfReference(username) !== undefined;
  return isAmbiguous
    ? `has the name "${username}", which differs from another name only in case or Unicode form`
    : `has the name ${JSON.stringify(username)}, which contains a control character`;
}

/**
 * A name for each account: the first with a given name key keeps its name, later ones get a number
 * appended. Accounts whose name cannot be referenced (`keyOfReference`) get a new one.
 *
 * @param mentioned names in messages; an account given one of them could read those messages
 */
function assignNames(users: readonly OldUser[], mentioned: readonly string[]): Map<number, string> {
  const names = new Map<number, string>();
  const taken = new Set<string>();
  for (const { id, username } of users) {
    if (username === null || keyOfReference(username) === undefined || taken.has(nameKey(username))) continue;
    taken.add(nameKey(username));
    names.set(id, username);
  }
  for (const name of mentioned) taken.add(nameKey(name));
  for (const { id, username } of users) {
    if (names.has(id)) continue;
    const base = username === null || keyOfReference(username) === undefined ? `user.${id}` : trimName(username);
    let name = base;
    for (let n = 2; taken.has(nameKey(name)); n++) name = `${base}.${n}`;
    taken.add(nameKey(name));
    names.set(id, name);
  }
  return names;
}

/** Hashes plain-text passwords, a few at a time; keeps existing hashes. */
async function hashAll(users: readonly { password: string | null }[], say: (line: string) => void): Promise<string[]> {
  const hashes: string[] = [];
  let saidAt = performance.now();
  for (let i = 0; i < users.length; i += HASHES_AT_ONCE) {
    const few = users.slice(i, i + HASHES_AT_ONCE).map(({ password }) => {
      if (!password) return "!"; // no password verifies against it
      return /^\$(argon2|2[aby]\$)/.test(password) ? password : hashPassword(password);
    });
    hashes.push(...(await Promise.all(few)));
    if (performance.now() - saidAt < 2_000) continue;
    saidAt = performance.now();
    say(`Hashing passwords: ${hashes.length} of ${users.length}`);
  }
  return hashes;
}

/**
 * Copies messages, numbered by (timestamp, id) within their conversation. A read message marks all
 * earlier ones as read.
 */
async function copyMessages(tx: Sql): Promise<number> {
  const { columns, selected } = await extraColumns(tx, "messages", MESSAGES);
  await tx`
    create temporary table numbered on commit drop as
    with first_names as (
      select distinct on (was) was, name
      from names
      order by was, id
    ), named as (
      select
        o.id,
        o.timestamp::timestamptz as timestamp,
        coalesce(o.read, false) as read,
        coalesce(s.name, o.sender, '') collate "C" as sender,
        coalesce(r.name, o.receiver, '') collate "C" as receiver
      from chatify_original.messages o
      left join first_names s on s.was = o.sender
      left join first_names r on r.was = o.receiver
    ), placed as (
      select
        n.*,
        least(n.sender, n.receiver) as low,
        greatest(n.sender, n.receiver) as high,
        row_number() over (
          partition by least(n.sender, n.receiver), greatest(n.sender, n.receiver)
          order by n.timestamp nulls first, n.id
        ) as seq
      from named n
    )
    select
      p.*,
      p.sender = p.receiver
        or p.seq <= coalesce(max(p.seq) filter (where p.read) over (partition by p.low, p.high, p.receiver), 0) as seen
    from placed p
  `;
  await tx`
    insert into conversations (
      low, high, last_seq, last_at,
      low_read_seq, high_read_seq, low_delivered_seq, high_delivered_seq, low_unread, high_unread
    )
    select
      n.low, n.high, max(n.seq), coalesce(max(n.timestamp), to_timestamp(0)),
      coalesce(max(n.seq) filter (where n.receiver = n.low and n.seen and n.low <> n.high), 0),
      coalesce(max(n.seq) filter (where n.receiver = n.high and n.seen and n.low <> n.high), 0),
      coalesce(max(n.seq) filter (where n.receiver = n.low and n.seen and n.low <> n.high), 0),
      coalesce(max(n.seq) filter (where n.receiver = n.high and n.seen and n.low <> n.high), 0),
      count(*) filter (where n.receiver = n.low and not n.seen),
      count(*) filter (where n.receiver = n.high and not n.seen)
    from numbered n
    group by n.low, n.high
    order by n.low, n.high
  `;
  const { count } = await tx`
    insert into messages (id, conversation_id, seq, sender, receiver, content, timestamp, read ${columns})
    overriding system value
    select
      n.id, c.id, n.seq, n.sender, n.receiver, coalesce(o.content, ''), coalesce(n.timestamp, to_timestamp(0)), n.seen ${selected}
    from numbered n
    join chatify_original.messages o on o.id = n.id
    join conversations c on c.low = n.low and c.high = n.high
    order by c.id, n.seq
  `;
  await tx`select setval(pg_get_serial_sequence('messages', 'id'), greatest(1, (select max(id) from messages)))`;
  return count;
}

const USERS = ["id", "username", "password", "is_online", "created_at"];
const MESSAGES = ["id", "sender", "receiver", "content", "timestamp", "read"];

/**
 * Adds the columns that only the original demo's table has, as `original_x` where `x` is taken.
 *
 * @returns their names in the new and the old table, each list starting with a comma, or empty
 */
async function extraColumns(tx: Sql, table: string, known: readonly string[]) {
  const extra = await tx<{ name: string; type: string }[]>`
    select a.attname as name, format_type(a.atttypid, a.atttypmod) as type
    from pg_attribute a
    where
      a.attrelid = ${`chatify_original.${table}`}::regclass
      and a.attnum > 0
      and not a.attisdropped
      and a.attname <> all(${known as string[]}::text[])
    order by a.attnum
  `;
  let columns = tx``;
  let selected = tx``;
  for (const { name, type } of extra) {
    const [{ taken }] = await tx<[{ taken: boolean }]>`
      select exists (select from pg_attribute where attrelid = ${table}::regclass and attname = ${name}) as taken
    `;
    const kept = taken ? `original_${name}` : name;
    await tx`alter table ${tx(table)} add column ${tx(kept)} ${tx.unsafe(type)}`;
    columns = tx`${columns}, ${tx(kept)}`;
    selected = tx`${selected}, o.${tx(name)}`;
  }
  return { columns, selected };
}
