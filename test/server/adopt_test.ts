/** Adoption of the original demo's database: no data is lost, and its users continue. */

import { beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";

import { type Client, connect } from "../../src/db/client.ts";
import { migrate } from "../../src/db/migrate.ts";
import { Log } from "../../src/log.ts";
import { cookieOf, emptyDatabase, Person, post, ROOT, SILENT, startApp } from "../support/harness.ts";
import { until } from "../support/until.ts";

setDefaultTimeout(30_000);

const ORIGINAL = join(import.meta.dir, "../support/original.sql");

/** A database in the shape of the original demo. @param also statements of its host */
async function original(also = ""): Promise<string> {
  const url = await emptyDatabase();
  await ask(url, async (sql) => {
    await sql.file(ORIGINAL);
    await sql.unsafe(also);
  });
  return url;
}

async function ask<T>(url: string, question: (sql: Client) => PromiseLike<T>): Promise<T> {
  const sql = connect(url, { name: "test" });
  try {
    return await question(sql);
  } finally {
    await sql.end({ timeout: 1 });
  }
}

function run(url: string, options: { log?: Log; say?: (line: string) => void } = {}): Promise<void> {
  return migrate(url, {
    directory: join(ROOT, "sql"),
    name: "test",
    allowUnsafe: false,
    log: SILENT,
    say: () => {},
    ...options,
  });
}

/** Every user table, with all its rows. */
function everything(url: string): Promise<unknown[]> {
  return ask(url, async (sql) => {
    const tables = await sql<{ name: string }[]>`
      select format('%I.%I', schemaname, tablename) as name
      from pg_tables
      where schemaname not in ('pg_catalog', 'information_schema')
      order by 1
    `;
    const rows = [];
    for (const { name } of tables) {
      const [{ sum }] = await sql.unsafe<[{ sum: string }]>(
        `select md5(string_agg(t::text, E'\\n' order by t::text)) as sum from ${name} t`,
      );
      rows.push([name, sum]);
    }
    return rows;
  });
}

async function logIn(url: string, username: string, password: string): Promise<Person> {
  const answer = await post(`${url}/login`, { username, password });
  if (answer.status !== 302) throw new Error(`login of ${username} answered ${answer.status}`);
  return new Person(url, username, cookieOf(answer));
}

type Row = {
  id: number;
  seq: number;
  sender: string;
  receiver: string;
  content: string;
  timestamp: string;
  read: boolean;
};

describe("adopt", () => {
  let url: string;
  let before: { id: number; content: string | null }[];
  const said: string[] = [];
  const logged: string[] = [];

  beforeAll(async () => {
    url = await original(
      "create table sessions (id serial primary key, user_id int references users, token varchar, created_at timestamp, expires_at timestamp); insert into sessions (user_id, token) values (1, 'old')",
    );
    before = await ask(url, (sql) => sql`select id::bigint, content from messages order by id`);
    const log = new Log({ level: "info", format: "text", write: (line) => logged.push(line) });
    await run(url, { log, say: (line) => said.push(line) });
  });

  test("adopt keeps every message once, with its number, in UTC", async () => {
    const rows = await ask(
      url,
      (sql) => sql<Row[]>`select id, seq, sender, receiver, content, timestamp, read from messages order by id`,
    );
    expect(rows.map(({ id, content }) => ({ id, content }))).toEqual(
      before.map(({ id, content }) => ({ id, content: content ?? "" })),
    );
    const between = (one: string, other: string) =>
      rows
        .filter(
          ({ sender, receiver }) => (sender === one && receiver === other) || (sender === other && receiver === one),
        )
        .toSorted((a, b) => a.seq - b.seq)
        .map(({ seq, content, timestamp, read }) => [seq, content, timestamp, read]);
    expect(between("alice", "Bob")).toEqual([
      [1, "first", "2024-03-01T10:00:00.500000Z", true], // unread in the original demo, but Bob's fourth was read
      [2, "second", "2024-03-01T12:00:00.000000Z", true],
      [3, "third", "2024-03-01T12:00:00.000000Z", true],
      [4, "fourth", "2024-03-01T13:00:00.000000Z", true],
      [5, "fifth", "2024-03-01T14:00:00.000000Z", false],
      [6, "sixth", "2024-03-01T15:00:00.000000Z", false],
    ]);
    expect(between("alice", "bob.3")).toEqual([[1, "from the other Bob", "2024-03-02T10:00:00.000000Z", false]]);
    expect(between("alice", "bob.2")).toEqual([[1, "to somebody deleted", "2024-03-03T11:00:00.000000Z", false]]);
    expect(between("John Smith", "John Smith")).toEqual([[1, "buy milk", "2024-03-04T10:00:00.000000Z", true]]);
    expect(between("", "alice")).toEqual([[1, "from nobody", "2024-03-04T11:00:00.000000Z", false]]);
    expect(between("ΟΔΟΣ", "οδος.2")).toEqual([[1, "καλημέρα", "2024-03-04T13:00:00.000000Z", false]]);
    const long = between("alice", "John Smith");
    expect(long.map(([seq]) => seq)).toEqual(Array.from({ length: 5_002 }, (_, i) => i + 1));
    expect(long.slice(0, 3).map(([, content]) => content)).toEqual(["without a time", "", "message 1"]);
  });

  test("adopt leaves marks, unread counts and rows that agree", async () => {
    const wrong = await ask(
      url,
      (sql) => sql`
      with counted as (
        select
          c.low, c.high, c.last_seq, c.last_at, c.low_unread, c.high_unread, c.low_read_seq, c.high_read_seq,
          c.low_delivered_seq, c.high_delivered_seq,
          count(*) as messages,
          max(m.timestamp) as last_message_at,
          count(*) filter (where m.receiver = c.low and not m.read) as low_false,
          count(*) filter (where m.receiver = c.high and not m.read and c.low <> c.high) as high_false,
          count(*) filter (where m.receiver = c.low and m.seq > c.low_read_seq and c.low <> c.high) as low_above,
          count(*) filter (where m.receiver = c.high and m.seq > c.high_read_seq and c.low <> c.high) as high_above
        from conversations c
        join messages m on m.conversation_id = c.id
        group by c.id, c.low, c.high
      )
      select *
      from counted
      where
        (low_unread, high_unread) <> (low_false, high_false)
        or (low_unread, high_unread) <> (low_above, high_above)
        or low_read_seq > low_delivered_seq or high_read_seq > high_delivered_seq or low_delivered_seq > last_seq or high_delivered_seq > last_seq
        or last_seq <> messages or last_at <> last_message_at
    `,
    );
    expect([...wrong]).toEqual([]);
    const odd = await ask(
      url,
      (sql) => sql`
      select c.low, c.high
      from conversations c
      where
        (select array_agg(owner order by owner) from memberships where conversation_id = c.id)
        <> case when c.low = c.high then array[c.low] else array[c.low, c.high] end
    `,
    );
    expect([...odd]).toEqual([]);
    const unread = await ask(
      url,
      (sql) =>
        sql`select count(*) from messages where not read and sender in ('alice', 'John Smith') and receiver in ('alice', 'John Smith')`,
    );
    expect(unread[0]).toEqual({ count: 100 });
  });

  test("adopt hashes every password, and logs renamed accounts", async () => {
    const users = await ask(
      url,
      (sql) => sql<{ id: number; username: string; password: string; created_at: string }[]>`
      select id, username, password, created_at from users order by id
    `,
    );
    expect(users.map(({ id, username }) => [id, username])).toEqual([
      [1, "alice"],
      [2, "Bob"],
      [3, "bob.3"],
      [4, "ΟΔΟΣ"],
      [5, "οδος.2"],
      [6, "John Smith"],
      [7, "nopass"],
      [9, "user.9.2"],
      [12, "user.9"],
    ]);
    expect(users[0]!.created_at).toBe("2024-01-31T23:30:00.250000Z");
    for (const { password } of users) expect(password).toMatch(/^(\$argon2id\$v=19\$m=19456,t=2,p=1\$|!$)/);
    expect(said.filter((line) => !line.startsWith("Hashing passwords: "))).toEqual([
      "This is a database of the original demo. Importing it …",
      'Account 3 has the name "bob", which differs from another name only in case or Unicode form. Its new name is "bob.3".',
      'Account 5 has the name "οδος", which differs from another name only in case or Unicode form. Its new name is "οδος.2".',
      'Account 9 has no name. Its new name is "user.9.2".',
      "Imported 9 users and 5015 messages. Users must sign in again, with their old passwords.",
    ]);
    expect(logged.join("")).toContain("warn imported account renamed id=3 from=bob to=bob.3");
    expect(logged.join("")).not.toContain("password");
  });

  test("adopt keeps the columns that the host added, apart from those that chatify has of that name", async () => {
    const [alice] = await ask(
      url,
      (sql) => sql`select "Real Name" as name, last_seen_at, original_last_seen_at as seen from users where id = 1`,
    );
    expect(alice).toEqual({ name: "Alice Liddell", last_seen_at: null, seen: "on Monday" });
    const rows = await ask(
      url,
      (sql) => sql`select id, starred, original_seq from messages where id in (2, 5) order by id`,
    );
    expect([...rows]).toEqual([
      { id: 2, starred: true, original_seq: 102 },
      { id: 5, starred: false, original_seq: 105 },
    ]);
  });

  test("adopt leaves nothing of the original demo behind, and a second start finds nothing to do", async () => {
    const tables = await everything(url);
    expect(tables.map((row) => (row as [string])[0])).toEqual(
      [
        "change_refs",
        "conversations",
        "drafts",
        "file_chunks",
        "files",
        "frozen_messages",
        "invites",
        "memberships",
        "messages",
        "migrations",
        "name_skeletons",
        "page_versions",
        "profiles",
        "sessions",
        "settings",
        "text_sent",
        "users",
      ].map((name) => `public.${name}`),
    );
    expect(await ask(url, (sql) => sql`select from sessions`)).toHaveLength(0);
    await run(url, { say: (line) => expect(line).toBe("silence") });
    expect(await everything(url)).toEqual(tables);
  });

  test("adopt lets users sign in with their old passwords and continue their conversations", async () => {
    await using app = await startApp({ database: url });
    for (const [name, password] of [
      ["Bob", "Bob-password"],
      ["bob.3", "bob-password"],
      ["οδος.2", "οδος-password"],
      ["ΟΔΟΣ", "ΟΔΟΣ-password"],
    ] as const) {
      await logIn(app.url, name, password);
    }
    for (const password of ["", " ", "!", "null"]) {
      expect((await post(`${app.url}/login`, { username: "nopass", password })).status).toBe(401);
    }
    expect((await post(`${app.url}/login`, { username: "bob", password: "bob-password" })).status).toBe(401);
    const john = await logIn(app.url, "John Smith", "pw"); // shorter than a new one may be
    const alice = await logIn(app.url, "alice", "alice-password");

    expect(await alice.json<Record<string, number>>("/unread_counts/alice")).toMatchObject({
      "John Smith": 50,
      Bob: 1,
      "bob.3": 1,
    });
    const history = await alice.json<Row[]>("/messages/alice/John%20Smith?peek=1");
    expect(history).toHaveLength(5_002);
    expect(history.at(-1)).toMatchObject({
      seq: 5_002,
      content: "message 5000",
      timestamp: "2024-04-04T11:20:00.000000Z",
      read: false,
    });

    const tab = await alice.open();
    const ack = await (await john.open()).send("Alice", "still here");
    expect(ack).toMatchObject({ id: 5_101, seq: 5_003, peer: "alice" });
    expect(await tab.next("message")).toMatchObject({ from: "John Smith", seq: 5_003 });
    await alice.json("/messages/alice/John%20Smith?limit=1");
    const counts = async () => alice.json<Record<string, number>>("/unread_counts/alice");
    await until("messages of the original demo are read", async () => !("John Smith" in (await counts())));
    const [{ count }] = await app.sql<
      [{ count: number }]
    >`select count(*) from messages where receiver = 'alice' and sender = 'John Smith' and not read`;
    expect(count).toBe(0);
    await app.people("newcomer");
    expect([...(await app.sql`select id from users where username = 'newcomer'`)]).toEqual([{ id: 13 }]);
  });
});

test("adopt renames an account whose name has a control character", async () => {
  const url = await original(String.raw`
    insert into users (id, username, password) values (20, E'tab\there', 'pw-of-20');
    insert into messages (id, sender, receiver, content, timestamp) values (9000, E'tab\there', 'alice', 'hi', now());
  `);
  const said: string[] = [];
  await run(url, { say: (line) => said.push(line) });
  expect(said.join("\n")).toContain(
    'Account 20 has the name "tab\\there", which contains a control character. Its new name is "user.20".',
  );
  await using app = await startApp({ database: url });
  const renamed = await logIn(app.url, "user.20", "pw-of-20");
  expect(await renamed.json<Row[]>("/messages/user.20/alice")).toMatchObject([{ sender: "user.20", content: "hi" }]);
});

describe("adopt changes nothing", () => {
  test("adopt refuses and names a view that depends on the tables, before hashing", async () => {
    const url = await original("create view latest as select * from messages");
    const before = await everything(url);
    await expect(run(url)).rejects.toThrow(
      "Other objects depend on the original demo's tables (view latest depends on table messages): drop them, start chatify, then create them again. Nothing was changed",
    );
    expect(await everything(url)).toEqual(before);
    await ask(url, (sql) => sql`drop view latest`);
    await run(url);
  });

  test("adopt refuses tables that only share their names with the original demo's", async () => {
    const url = await emptyDatabase();
    await ask(url, (sql) =>
      sql.unsafe(
        "create table users (id serial, email text); create table messages (id serial, body text); insert into users values (1, 'a')",
      ),
    );
    const before = await everything(url);
    await expect(run(url)).rejects.toThrow(
      'This database has tables that are not chatify\'s (relation "users" already exists), and nothing was changed',
    );
    expect(await everything(url)).toEqual(before);
  });

  test("adopt fails when the original demo still uses its tables", async () => {
    const url = await original();
    const [before, user] = [await everything(url), connect(url, { name: "original" })];
    try {
      await user.unsafe("begin; select from messages limit 1");
      await expect(run(url)).rejects.toThrow(
        "Another session is using the original demo's tables: stop it, then start chatify again. Nothing was changed",
      );
    } finally {
      await user.end({ timeout: 0 });
    }
    expect(await everything(url)).toEqual(before);
  });

  test("adopt killed halfway leaves the original demo unchanged, and the next start adopts it", async () => {
    const url = await original(
      "insert into users (username, password) select 'person' || n, 'x' from generate_series(1, 40) n",
    );
    const before = await everything(url);
    const program = `
      import { migrate } from ${JSON.stringify(join(ROOT, "src/db/migrate.ts"))};
      import { Log } from ${JSON.stringify(join(ROOT, "src/log.ts"))};
      const log = new Log({ level: "error", format: "text", write() {} });
      await migrate(process.env.URL, { directory: ${JSON.stringify(join(ROOT, "sql"))}, name: "killed", allowUnsafe: false, log, say() {} });
      console.log("through");
    `;
    await using child = Bun.spawn([process.execPath, "-e", program], {
      env: { ...process.env, URL: url },
      stdout: "pipe",
      cwd: ROOT,
    });
    const underWay = () =>
      ask(
        url,
        (sql) => sql`select from pg_locks where relation = 'messages'::regclass and mode = 'AccessExclusiveLock'`,
      );
    while ((await underWay()).length === 0 && child.exitCode === null) await Bun.sleep(10);
    child.kill("SIGKILL");
    expect(await new Response(child.stdout).text()).toBe("");
    expect(await everything(url)).toEqual(before);
    await run(url);
    expect([...(await ask(url, (sql) => sql`select count(*) from messages`))]).toEqual([{ count: 5_015 }]);
  });
});
