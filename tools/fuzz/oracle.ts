/**
 * Compares what the server acknowledged with the tables. Each row of messages, users and sessions must have been
 * acknowledged, or its outcome unknown because the connection broke first; each change to a message must have been
 * asked for by a user who may; everything else in the database must be unchanged.
 */

import { type Client, connect } from "../../src/db/client.ts";
import { hashToken } from "../../src/util/token.ts";
import { Problems } from "../bench/load/audit.ts";
import type { Change } from "./frames.ts";
import { messageKey } from "./names.ts";

export interface Sent {
  readonly message: string;
  readonly to: string;
  readonly replyTo?: number | undefined;
}

/** A message as `changed` frames show it. */
export interface ChangedRow {
  readonly sender: string;
  readonly receiver: string;
  readonly content: string;
  readonly id: number;
  readonly seq: number;
  readonly reply_to?: number;
  readonly edited_at?: string;
  readonly deleted?: boolean;
  readonly reactions?: Readonly<Record<string, string>>;
  readonly revision?: number;
}

interface StoredRow {
  readonly id: number;
  readonly sender: string;
  readonly receiver: string;
  readonly seq: number;
  readonly content: string;
  readonly replyTo: number | null;
  readonly isEdited: boolean;
  readonly isDeleted: boolean;
  readonly senderReaction: string | null;
  readonly receiverReaction: string | null;
  readonly revision: number | null;
}

interface AskedChange extends Change {
  readonly sender: string;
}

/** Tables that the run may change. */
const CHANGING = [
  "messages",
  "change_refs",
  "conversations",
  "memberships",
  "users",
  "sessions",
  "drafts",
  "profiles",
  "files",
  "file_chunks",
  "invites",
  "name_skeletons",
  "text_sent",
  "page_versions", // written at each start of a pod
];

export class Oracle {
  /** Acknowledged messages by id; without the text of canaries, which check their own. */
  readonly #acks = new Map<number, Ack>();
  /** Changes that were sent, by message. */
  readonly #asked = new Map<string, AskedChange[]>();
  /** By sender and ref: how often a change was sent and rejected, and its messages. */
  readonly #changeRefs = new Map<string, { sent: number; rejected: number; messages: Set<string> }>();
  /** The newest version of each changed message that was answered, by id. */
  readonly #changed = new Map<number, ChangedRow>();
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
      changed: this.#changed.size,
      unknown: [...this.#unknown.values()].reduce(
        (sum, texts) => sum + [...texts.values()].reduce((a, b) => a + b, 0),
        0,
      ),
      users: this.#users.size,
      sessions: this.#sessions.size,
      ended: this.#ended.size,
    };
  }

  /** @param replyTo null if it is no reply; undefined if that is unknown */
  acked(sender: string, id: number, message: string | undefined, replyTo?: number | null): void {
    this.#acks.set(id, { sender, message, replyTo });
  }

  ack(id: number): Ack | undefined {
    return this.#acks.get(id);
  }

  /** A change was sent: it may be made from now on. */
  asked(sender: string, change: Change): void {
    const message = messageKey(sender, change.peer, change.seq);
    this.#asked.getOrInsertComputed(message, () => []).push({ ...change, sender });
    const state = () => ({ sent: 0, rejected: 0, messages: new Set<string>() });
    const ref = this.#changeRefs.getOrInsertComputed(refKey(sender, change.ref), state);
    ref.sent++;
    ref.messages.add(message);
  }

  rejected(sender: string, ref: string): void {
    const state = this.#changeRefs.get(refKey(sender, ref));
    if (state) state.rejected++;
  }

  /** A change was answered with this version of its message. */
  changed(message: ChangedRow): void {
    const known = this.#changed.get(message.id);
    if ((message.revision ?? 0) > (known?.revision ?? 0)) this.#changed.set(message.id, message);
  }

  mayBeChanged(one: string, other: string, seq: number): boolean {
    return this.#asked.has(messageKey(one, other, seq));
  }

  mayBeDeleted(one: string, other: string, seq: number): boolean {
    return this.#asked.get(messageKey(one, other, seq))?.some(({ type }) => type === "delete") === true;
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
    await this.#auditChanges(db.sql, problems);
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
    const query = sql<StoredRow[]>`
      select
        id, sender, receiver, seq, content, reply_to as "replyTo", edited_at is not null as "isEdited",
        deleted_at is not null as "isDeleted", sender_reaction as "senderReaction",
        receiver_reaction as "receiverReaction", revision
      from messages
      where id > ${this.#firstId}
    `;
    for await (const rows of query.cursor(5_000)) {
      for (const row of rows) {
        const { id, sender, content } = row;
        seen.add(id);
        const ack = this.#acks.get(id);
        const asked = this.#asked.get(messageKey(sender, row.receiver, row.seq)) ?? [];
        const isOriginal = !row.isEdited && !row.isDeleted;
        const problem = problemOf(row, asked) ?? this.#versionProblem(row);
        if (problem) problems.add(`message ${id} of ${sender} ${problem}`);
        if (ack) {
          if (ack.sender !== sender) problems.add(`message ${id} of ${ack.sender} is stored as sent by ${sender}`);
          if (isOriginal && ack.message !== undefined && ack.message !== content)
            problems.add(`message ${id} is stored as ${show(content)}, and ${show(ack.message)} was sent`);
          if (ack.replyTo !== undefined && ack.replyTo !== row.replyTo)
            problems.add(`message ${id} is stored as a reply to ${row.replyTo}, and was sent as one to ${ack.replyTo}`);
          continue;
        }
        if (!isOriginal) continue; // of unknown outcome, and changed: its text is lost
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

  /** @returns how a row differs from the newest version of it that was answered */
  #versionProblem(row: StoredRow): string | undefined {
    const answered = this.#changed.get(row.id);
    if (!answered) return undefined;
    const { revision } = answered;
    if ((row.revision ?? 0) < (revision ?? 0))
      return `was answered with revision ${revision}, and is stored with ${row.revision}`;
    const [state, stored] = [stateOf(answered), stateOf(changedRow(row))];
    if (row.revision !== revision || state === stored) return undefined;
    return `has revision ${revision} as ${show(stored)}, and was answered as ${show(state)}`;
  }

  /** Every change that was made was asked for, by its sender, of its message, and was not rejected. */
  async #auditChanges(sql: Client, problems: Problems): Promise<void> {
    const rows = await sql<{ sender: string; ref: string; low: string; high: string; seq: number }[]>`
      select r.sender, r.ref, c.low, c.high, r.seq
      from change_refs r
      join conversations c on c.id = r.conversation_id
    `;
    for (const { sender, ref, low, high, seq } of rows) {
      const state = this.#changeRefs.get(refKey(sender, ref));
      if (!state?.messages.has(messageKey(low, high, seq)))
        problems.add(`the change ${ref} of ${sender} was made, but never sent`);
      else if (state.rejected >= state.sent) problems.add(`the change ${ref} of ${sender} was made, but was rejected`);
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

interface Ack {
  readonly sender: string;
  readonly message: string | undefined;
  readonly replyTo: number | null | undefined;
}

const refKey = (sender: string, ref: string) => `${sender} ${ref}`;

/** @returns what no change that was asked for explains */
function problemOf(row: StoredRow, asked: readonly AskedChange[]): string | undefined {
  const { sender, receiver, content, isEdited, isDeleted, revision } = row;
  if (revision !== null && asked.length === 0) return `has revision ${revision}, but no user asked for a change`;
  if (revision === null && (isEdited || isDeleted || row.senderReaction !== null || row.receiverReaction !== null))
    return "was changed, but has no revision";
  const has = (type: Change["type"], user: string, text: string) =>
    asked.some((change) => change.type === type && change.sender === user && change.text === text);
  if (isDeleted && !has("delete", sender, "")) return "is deleted, but its sender did not ask for it";
  if (isDeleted && (content !== "" || isEdited || row.senderReaction !== null || row.receiverReaction !== null))
    return `is deleted, and still has ${show(JSON.stringify(row))}`;
  if (isEdited && !has("edit", sender, content))
    return `is stored as ${show(content)}, to which its sender did not change it`;
  for (const [user, reaction] of [
    [sender, row.senderReaction],
    [receiver, row.receiverReaction],
  ] as const) {
    if (reaction !== null && !has("react", user, reaction))
      return `has the reaction ${reaction} of ${user}, who did not react so`;
  }
  return undefined;
}

function changedRow(row: StoredRow): ChangedRow {
  const { id, sender, receiver, seq, content, replyTo, isEdited, isDeleted, senderReaction, receiverReaction } = row;
  const reactions = {
    ...(senderReaction !== null && { [sender]: senderReaction }),
    ...(receiverReaction !== null && { [receiver]: receiverReaction }),
  };
  return {
    id,
    sender,
    receiver,
    seq,
    content,
    reactions,
    ...(replyTo !== null && { reply_to: replyTo }),
    ...(isEdited && { edited_at: "edited" }),
    ...(isDeleted && { deleted: true }),
  };
}

/** What a message shows. */
export function stateOf(row: ChangedRow): string {
  const { sender, receiver, id, seq, content, reply_to: replyTo, edited_at: editedAt, deleted, reactions = {} } = row;
  const emoji = Object.entries(reactions).toSorted(([one], [other]) => (one < other ? -1 : 1));
  return JSON.stringify([sender, receiver, id, seq, content, replyTo, editedAt !== undefined, deleted === true, emoji]);
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
        max(m.revision) as revision,
        count(*) filter (where not m.read and m.receiver = c.low and c.low <> c.high) as low_unread,
        count(*) filter (where not m.read and m.receiver = c.high and c.low <> c.high) as high_unread
      from messages m
      where m.conversation_id = c.id
    ) m on true
    cross join lateral (
      values
        ('gaps in its numbers', m.count <> c.last_seq or coalesce(m.last, 0) <> c.last_seq),
        (
          'a revision other than the number of its changes',
          c.revision <> coalesce(m.revision, 0)
            or c.revision <> (select count(*) from change_refs r where r.conversation_id = c.id)
        ),
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
