/**
 * Compares what the server acknowledged with the tables. Each row of messages, users and sessions must have been
 * acknowledged, or its outcome unknown because the connection broke first; everything else in the database must be
 * unchanged.
 */

import { type Client, connect } from "../../src/db/client.ts";
import { hashToken } from "../../src/util/token.ts";
import { Problems } from "../bench/load/audit.ts";

export interface Sent {
  readonly message: string;
  readonly to: string;
}

/** Tables that the run may change. */
const CHANGING = [
  "messages",
  "conversations",
  "memberships",
  "users",
  "sessions",
  "drafts",
  "invites",
  "name_skeletons",
  "text_sent",
  "page_versions", // written at each start of a pod
];

export class Oracle {
  /** Acknowledged messages by id; without the text of canaries, which check their own. */
  readonly #acks = new Map<number, { sender: string; message: string | undefined }>();
  /** Texts of unknown outcome, since their socket was closed, by sender. */
  readonly #unknown = new Map<string, Map<string, number>>();
  readonly #users = new Set<string>();
  readonly #usersUnknown = new Set<string>();
  readonly #sessions = new Set<string>();
  readonly #ended = new Set<string>();
  readonly #maybeEnded = new Set<string>();
  /** Logins of unknown outcome. */
  #sessionsUnknown = 0;
  #invites = { created: 0, unknown: 0 };
  /** The state before: names, their accounts, every other table, the last message. */
  #initialNames: readonly string[] = [];
  #initial = "";
  #rest = "";
  #firstId = 0;

  get counts() {
    return {
      acks: this.#acks.size,
      unknown: [...this.#unknown.values()].reduce(
        (sum, texts) => sum + [...texts.values()].reduce((a, b) => a + b, 0),
        0,
      ),
      users: this.#users.size,
      sessions: this.#sessions.size,
      ended: this.#ended.size,
    };
  }

  acked(sender: string, id: number, message: string | undefined): void {
    this.#acks.set(id, { sender, message });
  }

  ack(id: number): { sender: string; message: string | undefined } | undefined {
    return this.#acks.get(id);
  }

  /** The socket closed before the outcome was known. */
  unknown(sender: string, { message }: Sent): void {
    let texts = this.#unknown.get(sender);
    if (!texts) this.#unknown.set(sender, (texts = new Map()));
    texts.set(message, (texts.get(message) ?? 0) + 1);
  }

  /** @param token undefined if the answer was lost */
  signedUp(name: string, token: string | undefined): void {
    if (token === undefined) this.#usersUnknown.add(name);
    else this.#users.add(name);
    this.signedIn(token);
  }

  signedIn(token: string | undefined): void {
    if (token === undefined) this.#sessionsUnknown++;
    else this.#sessions.add(hashToken(token));
  }

  /** @param known whether there was an answer */
  signedOut(token: string, known: boolean): void {
    (known ? this.#ended : this.#maybeEnded).add(hashToken(token));
  }

  /** @param known whether there was an answer */
  invited(known: boolean): void {
    this.#invites[known ? "created" : "unknown"]++;
  }

  /** Records the state before anything hostile is sent. */
  async open(url: string): Promise<void> {
    await using db = client(url);
    for (const { username } of await db.sql<{ username: string }[]>`select username from users`)
      this.#users.add(username);
    for (const { token } of await db.sql<{ token: string }[]>`select token from sessions`) this.#sessions.add(token);
    const [last] = await db.sql<{ id: number }[]>`select coalesce(max(id), 0) as id from messages`;
    this.#firstId = last?.id ?? 0;
    this.#rest = await checksum(db.sql);
    this.#initialNames = [...this.#users];
    this.#initial = await accounts(db.sql, this.#initialNames);
  }

  /** @returns rows that were never acknowledged, acknowledged ones that are missing, and differences */
  async audit(url: string): Promise<string[]> {
    await using db = client(url);
    const problems = new Problems();
    if ((await accounts(db.sql, this.#initialNames)) !== this.#initial)
      problems.add("an account from before the run has changed");
    if ((await checksum(db.sql)) !== this.#rest)
      problems.add(`the schema or a table other than ${CHANGING.join(", ")} has changed`);
    await this.#auditMessages(db.sql, problems);
    await this.#auditUsers(db.sql, problems);
    const { created, unknown } = this.#invites;
    const [row] = await db.sql<{ count: number }[]>`select count(*) from invites`;
    const invites = row?.count ?? 0;
    if (invites < created || invites > created + unknown)
      problems.add(`${created} invitations were created, and there are ${invites}`);
    for (const problem of await inconsistencies(db.sql)) problems.add(problem);
    return problems.report();
  }

  async #auditMessages(sql: Client, problems: Problems): Promise<void> {
    const seen = new Set<number>();
    const query = sql<{ id: number; sender: string; content: string }[]>`
      select id, sender, content
      from messages
      where id > ${this.#firstId}
    `;
    for await (const rows of query.cursor(5_000)) {
      for (const { id, sender, content } of rows) {
        seen.add(id);
        const ack = this.#acks.get(id);
        if (ack) {
          if (ack.sender !== sender) problems.add(`message ${id} of ${ack.sender} is stored as sent by ${sender}`);
          if (ack.message !== undefined && ack.message !== content)
            problems.add(`message ${id} is stored as ${show(content)}, and ${show(ack.message)} was sent`);
          continue;
        }
        const texts = this.#unknown.get(sender);
        const left = texts?.get(content) ?? 0;
        if (left === 0)
          problems.add(`message ${id} of ${sender} is stored but was never acknowledged: ${show(content)}`);
        else texts?.set(content, left - 1);
      }
    }
    for (const [id, { sender }] of this.#acks) {
      if (!seen.has(id)) problems.add(`message ${id} was acknowledged to ${sender} but is not stored`);
    }
  }

  async #auditUsers(sql: Client, problems: Problems): Promise<void> {
    const users = new Set((await sql<{ username: string }[]>`select username from users`).map((row) => row.username));
    for (const name of users) {
      if (!this.#users.has(name) && !this.#usersUnknown.has(name))
        problems.add(`the account ${show(name)} exists but was never acknowledged`);
    }
    for (const name of this.#users) if (!users.has(name)) problems.add(`the account ${show(name)} is missing`);
    const sessions = new Set((await sql<{ token: string }[]>`select token from sessions`).map((row) => row.token));
    const unexpected = [...sessions].filter((token) => !this.#sessions.has(token)).length;
    if (unexpected > this.#sessionsUnknown) problems.add(`${unexpected} sessions exist but were never acknowledged`);
    for (const token of this.#sessions) {
      const mayBeMissing = this.#ended.has(token) || this.#maybeEnded.has(token);
      if (!sessions.has(token) && !mayBeMissing) problems.add("a session is missing that was not ended");
    }
    for (const token of this.#ended) if (sessions.has(token)) problems.add("a session still exists that was ended");
  }
}

function client(url: string) {
  const sql = connect(url, { name: "fuzz-audit" });
  return { sql, [Symbol.asyncDispose]: () => sql.end({ timeout: 1 }) };
}

/** A checksum of accounts, without presence. */
async function accounts(sql: Client, names: readonly string[]): Promise<string> {
  const [row] = await sql<{ sum: string }[]>`
    select md5(string_agg(concat_ws(' ', id, username, name_key, search_key, password, created_at), ',' order by id)) as sum
    from users
    where username = any(${names as string[]}::text[])
  `;
  return row?.sum ?? "";
}

/** A checksum of every other table and of the schema. */
async function checksum(sql: Client): Promise<string> {
  const tables = await sql<{ name: string }[]>`
    select table_name as name
    from information_schema.tables
    where table_schema = 'public'
    order by table_name
  `;
  const sums: string[] = tables.map(({ name }) => name);
  for (const { name } of tables) {
    if (CHANGING.includes(name)) continue;
    const [row] = await sql.unsafe<{ sum: string }[]>(
      `select md5(string_agg(t::text, ',' order by t::text)) as sum from "${name}" t`,
    );
    sums.push(row?.sum ?? "");
  }
  const schema = await sql<{ text: string }[]>`
    select concat_ws(' ', table_name, column_name, data_type, column_default) as text
    from information_schema.columns
    where table_schema = 'public'
    union all
    select indexdef
    from pg_indexes
    where schemaname = 'public'
    union all
    select prosrc
    from pg_proc
    where pronamespace = 'public'::regnamespace
    order by 1
  `;
  return Bun.hash([...sums, ...schema.map(({ text }) => text)].join("\n")).toString();
}

/** Violations of the invariants of docs/reliability.md (4, 6) in the tables. */
async function inconsistencies(sql: Client): Promise<string[]> {
  const rows = await sql<{ low: string; high: string; what: string }[]>`
    select c.low, c.high, f.what
    from conversations c
    join lateral (
      select
        count(*) as count,
        max(m.seq) as last,
        count(*) filter (where not m.read and m.receiver = c.low and c.low <> c.high) as low_unread,
        count(*) filter (where not m.read and m.receiver = c.high and c.low <> c.high) as high_unread
      from messages m
      where m.conversation_id = c.id
    ) m on true
    cross join lateral (
      values
        ('gaps in its numbers', m.count <> c.last_seq or coalesce(m.last, 0) <> c.last_seq),
        ('a wrong unread count', m.low_unread <> c.low_unread or m.high_unread <> c.high_unread),
        ('a mark beyond the end', greatest(c.low_delivered_seq, c.high_delivered_seq) > c.last_seq),
        ('a read mark above the delivered one', c.low_read_seq > c.low_delivered_seq or c.high_read_seq > c.high_delivered_seq),
        (
          'too many or too few memberships',
          (select count(*) from memberships where conversation_id = c.id) <> case when c.low = c.high then 1 else 2 end
        )
    ) f (what, holds)
    where f.holds
  `;
  return rows.map(({ low, high, what }) => `the conversation of ${show(low)} and ${show(high)} has ${what}`);
}

export function show(text: string): string {
  const json = JSON.stringify(text);
  return json.length > 120 ? `${json.slice(0, 120)} … (${text.length} units)` : json;
}
