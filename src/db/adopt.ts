/**
 * Takes over a database of the original demo: `users` and `messages` with plain-text passwords, times without a zone and no
 * numbers, perhaps `sessions`. The tables step aside, the schema of `sql/` is made, every row is copied over, columns that only
 * they had included, and the old tables go, all in one transaction: it is done, or nothing has happened.
 */

import type { Log } from "../log.ts";
import { nameKey, searchKey } from "../text.ts";
import type { Sql } from "./client.ts";

const ASIDE = "chatify_original";
/** See `ARGON2` in src/http/auth.ts. */
const ARGON2 = { algorithm: "argon2id", memoryCost: 19_456, timeCost: 2 } as const;
const HASHES_AT_ONCE = 4;

/** Whether the tables of the original are here. */
export async function isOriginal(sql: Sql): Promise<boolean> {
  const [found] = await sql<[{ found: boolean }]>`
    select to_regclass('users') is not null and to_regclass('messages') is not null as found
  `;
  return found.found;
}

/**
 * @param tx the transaction that everything happens in
 * @param makeSchema makes the tables of `sql/`
 */
export async function adopt(
  tx: Sql,
  makeSchema: () => Promise<void>,
  options: { log: Log; say: (line: string) => void },
): Promise<void> {
  const { log, say } = options;
  say("This database was made by the original demo: taking it over …");
  await tx`create schema ${tx(ASIDE)}`;
  for (const table of ["users", "messages", "sessions"]) {
    const [{ found }] = await tx<[{ found: boolean }]>`select to_regclass(${table}) is not null as found`;
    if (found) await tx`alter table ${tx(table)} set schema ${tx(ASIDE)}`;
  }
  await makeSchema();
  const people = await copyUsers(tx, options);
  const messages = await copyMessages(tx);
  await tx`drop table if exists chatify_original.sessions`; // of no use: their tokens were never signed
  await tx`drop table chatify_original.messages`;
  await tx`drop table chatify_original.users`;
  await tx`drop schema ${tx(ASIDE)}`;
  log.info("database of the original adopted", { people, messages });
  say(`Took over ${people} people and ${messages} messages. Everybody signs in again, with the password they had.`);
}

/** Copies accounts: passwords hashed, names that are one name by their key told apart. */
async function copyUsers(tx: Sql, { log, say }: { log: Log; say: (line: string) => void }): Promise<number> {
  const users = await tx<{ id: number; username: string | null; password: string | null }[]>`
    select id::bigint, username, password
    from chatify_original.users
    order by id
  `;
  const names = tellApart(users);
  for (const { id, username } of users) {
    const name = names.get(id);
    if (name === username || username === null) continue;
    log.warn("two names of the original are one here, the later account got another", { id, was: username, is: name });
    say(`"${username}" (id ${id}) has the name of another account but for case or form: it is called "${name}" now.`);
  }
  const hashes = await hashAll(users, say);
  const { columns, selected } = await extraColumns(tx, "users", USERS);
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

/** A name for each account: its own, or one with a number behind where an earlier account has the key. */
function tellApart(users: readonly { id: number; username: string | null }[]): Map<number, string> {
  const taken = new Set(users.map(({ username }) => nameKey(username ?? "")));
  const given = new Set<string>();
  const names = new Map<number, string>();
  for (const { id, username } of users) {
    let name = username ?? `user.${id}`;
    for (let n = 2; given.has(nameKey(name)); n++) {
      name = `${username}.${n}`;
      if (taken.has(nameKey(name))) name = `${username}.${id}.${n}`;
    }
    given.add(nameKey(name));
    names.set(id, name);
  }
  return names;
}

/** PHC strings of plain passwords, a few at a time; what is a hash already stays. */
async function hashAll(users: readonly { password: string | null }[], say: (line: string) => void): Promise<string[]> {
  const hashes: string[] = [];
  let saidAt = performance.now();
  for (let i = 0; i < users.length; i += HASHES_AT_ONCE) {
    const few = users.slice(i, i + HASHES_AT_ONCE).map(({ password }) => {
      if (!password) return "!"; // nothing verifies against it
      return /^\$(argon2|2[aby]\$)/.test(password) ? password : Bun.password.hash(password, ARGON2);
    });
    hashes.push(...(await Promise.all(few)));
    if (performance.now() - saidAt < 2_000) continue;
    saidAt = performance.now();
    say(`Hashing passwords: ${hashes.length} of ${users.length}`);
  }
  return hashes;
}

/** Copies messages, numbered by (timestamp, id) in each conversation; whoever read a message has read those before it. */
async function copyMessages(tx: Sql): Promise<number> {
  const { columns, selected } = await extraColumns(tx, "messages", MESSAGES);
  await tx`
    create temporary table numbered on commit drop as
    with named as (
      select
        o.id,
        o.timestamp::timestamptz as timestamp,
        coalesce(o.read, false) as read,
        coalesce(s.username, o.sender, '') collate "C" as sender,
        coalesce(r.username, o.receiver, '') collate "C" as receiver
      from chatify_original.messages o
      left join chatify_original.users os on os.username = o.sender
      left join users s on s.id = os.id
      left join chatify_original.users orr on orr.username = o.receiver
      left join users r on r.id = orr.id
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

/** Gives a new table the columns that only the original's had. @returns their names as lists that begin with a comma, or empty */
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
    await tx`alter table ${tx(table)} add column if not exists ${tx(name)} ${tx.unsafe(type)}`;
    columns = tx`${columns}, ${tx(name)}`;
    selected = tx`${selected}, o.${tx(name)}`;
  }
  return { columns, selected };
}
