/**
 * What the server said it did, and what the tables say. A row of messages, users or sessions is there because somebody was told so,
 * or because the connection broke before anybody could be; everything else in the database is as it was.
 */

import { type Client, connect } from "../../src/db/client.ts";
import { hashToken } from "../../src/util/token.ts";
import { Problems } from "../bench/load/audit.ts";

/** A send as its sender remembers it. */
export interface Sent {
  readonly message: string;
  readonly to: string;
}

/** Tables whose rows the run may make; what of each stays as it was. */
const CHANGING = [
  "messages",
  "conversations",
  "users",
  "sessions",
  "drafts",
  "invites",
  "name_skeletons",
  "text_sent",
  "page_versions", // at each start of a pod
];

export class Oracle {
  /** Messages by id, as they were acknowledged; `undefined` texts came from canary people, who look for themselves. */
  readonly #acks = new Map<number, { sender: string; message: string | undefined }>();
  /** Texts whose outcome nobody told, because their socket was closed, by sender. */
  readonly #unknown = new Map<string, Map<string, number>>();
  readonly #people = new Set<string>();
  readonly #peopleUnknown = new Set<string>();
  readonly #sessions = new Set<string>();
  readonly #ended = new Set<string>();
  readonly #perhapsEnded = new Set<string>();
  /** Sign-ins that nobody was told the outcome of. */
  #sessionsUnknown = 0;
  /** Invitations given out, and those of which nobody was told the outcome. */
  #invites = { given: 0, unknown: 0 };
  /** As it was before: names, what their accounts are, every other table, the last message. */
  #initialNames: readonly string[] = [];
  #initial = "";
  #rest = "";
  #firstId = 0;

  /** Messages acknowledged, accounts made, sessions begun and ended. */
  get counts() {
    return {
      acks: this.#acks.size,
      unknown: [...this.#unknown.values()].reduce(
        (sum, texts) => sum + [...texts.values()].reduce((a, b) => a + b, 0),
        0,
      ),
      people: this.#people.size,
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

  /** The socket closed before the outcome was told. */
  lost(sender: string, { message }: Sent): void {
    let texts = this.#unknown.get(sender);
    if (!texts) this.#unknown.set(sender, (texts = new Map()));
    texts.set(message, (texts.get(message) ?? 0) + 1);
  }

  /** @param token absent: the answer was lost */
  signedUp(name: string, token: string | undefined): void {
    if (token === undefined) this.#peopleUnknown.add(name);
    else this.#people.add(name);
    this.signedIn(token);
  }

  signedIn(token: string | undefined): void {
    if (token === undefined) this.#sessionsUnknown++;
    else this.#sessions.add(hashToken(token));
  }

  /** @param told whether the answer came */
  signedOut(token: string, told: boolean): void {
    (told ? this.#ended : this.#perhapsEnded).add(hashToken(token));
  }

  /** @param told whether the answer came */
  invited(told: boolean): void {
    this.#invites[told ? "given" : "unknown"]++;
  }

  /** Remembers how things stand before anything hostile was sent. */
  async open(url: string): Promise<void> {
    await using db = client(url);
    for (const { username } of await db.sql<{ username: string }[]>`select username from users`)
      this.#people.add(username);
    for (const { token } of await db.sql<{ token: string }[]>`select token from sessions`) this.#sessions.add(token);
    const [last] = await db.sql<{ id: number }[]>`select coalesce(max(id), 0) as id from messages`;
    this.#firstId = last?.id ?? 0;
    this.#rest = await checksum(db.sql);
    this.#initialNames = [...this.#people];
    this.#initial = await accounts(db.sql, this.#initialNames);
  }

  /** @returns what the tables hold that nobody was told of, lack that somebody was, or say differently */
  async audit(url: string): Promise<string[]> {
    await using db = client(url);
    const problems = new Problems();
    if ((await accounts(db.sql, this.#initialNames)) !== this.#initial)
      problems.add("accounts that were there before are not as they were");
    if ((await checksum(db.sql)) !== this.#rest)
      problems.add(`a table beside ${CHANGING.join(", ")}, or the schema, has changed`);
    await this.#auditMessages(db.sql, problems);
    await this.#auditPeople(db.sql, problems);
    const { given, unknown } = this.#invites;
    const [row] = await db.sql<{ count: number }[]>`select count(*) from invites`;
    const invites = row?.count ?? 0;
    if (invites < given || invites > given + unknown)
      problems.add(`${given} invitations were given out, and there are ${invites}`);
    for (const words of await inconsistencies(db.sql)) problems.add(words);
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
          if (ack.sender !== sender) problems.add(`message ${id} of ${ack.sender} is stored as one of ${sender}`);
          if (ack.message !== undefined && ack.message !== content)
            problems.add(`message ${id} is stored as ${show(content)}, and ${show(ack.message)} was sent`);
          continue;
        }
        const texts = this.#unknown.get(sender);
        const left = texts?.get(content) ?? 0;
        if (left === 0) problems.add(`message ${id} of ${sender} was acknowledged to nobody: ${show(content)}`);
        else texts?.set(content, left - 1);
      }
    }
    for (const [id, { sender }] of this.#acks) {
      if (!seen.has(id)) problems.add(`message ${id} was acknowledged to ${sender}, and is in no table`);
    }
  }

  async #auditPeople(sql: Client, problems: Problems): Promise<void> {
    const people = new Set((await sql<{ username: string }[]>`select username from users`).map((row) => row.username));
    for (const name of people) {
      if (!this.#people.has(name) && !this.#peopleUnknown.has(name))
        problems.add(`there is an account ${show(name)} that nobody was given`);
    }
    for (const name of this.#people) if (!people.has(name)) problems.add(`the account ${show(name)} is gone`);
    const sessions = new Set((await sql<{ token: string }[]>`select token from sessions`).map((row) => row.token));
    const strange = [...sessions].filter((token) => !this.#sessions.has(token)).length;
    if (strange > this.#sessionsUnknown) problems.add(`there are ${strange} sessions that nobody was given`);
    for (const token of this.#sessions) {
      const mayBeGone = this.#ended.has(token) || this.#perhapsEnded.has(token);
      if (!sessions.has(token) && !mayBeGone) problems.add("a session is gone that nobody ended");
    }
    for (const token of this.#ended) if (sessions.has(token)) problems.add("a session lives that somebody ended");
  }
}

function client(url: string) {
  const sql = connect(url, { name: "fuzz-audit" });
  return { sql, [Symbol.asyncDispose]: () => sql.end({ timeout: 1 }) };
}

/** Of what makes an account, without where its owner is. */
async function accounts(sql: Client, names: readonly string[]): Promise<string> {
  const [row] = await sql<{ sum: string }[]>`
    select md5(string_agg(concat_ws(' ', id, username, name_key, search_key, password, created_at), ',' order by id)) as sum
    from users
    where username = any(${names as string[]}::text[])
  `;
  return row?.sum ?? "";
}

/** Of every other table, and of what the schema is made of. */
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

/** What the contract promises of the tables (§5.4, §5.6, §6), whoever wrote. */
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
        ('numbers with holes', m.count <> c.last_seq or coalesce(m.last, 0) <> c.last_seq),
        ('a wrong count of the unread', m.low_unread <> c.low_unread or m.high_unread <> c.high_unread),
        ('a mark beyond the end', greatest(c.low_delivered_seq, c.high_delivered_seq) > c.last_seq),
        ('a read mark above the delivered one', c.low_read_seq > c.low_delivered_seq or c.high_read_seq > c.high_delivered_seq)
    ) f (what, holds)
    where f.holds
  `;
  return rows.map(({ low, high, what }) => `the conversation of ${show(low)} and ${show(high)} has ${what}`);
}

export function show(text: string): string {
  const json = JSON.stringify(text);
  return json.length > 120 ? `${json.slice(0, 120)} … (${text.length} units)` : json;
}
