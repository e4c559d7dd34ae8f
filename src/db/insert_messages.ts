/**
 * Stores batches of messages. Assigns ids, sequence numbers and timestamps; knows nothing of
 * sockets.
 */

import type { Fragment, Sql } from "./client.ts";
import { claimFiles, type FileInfo } from "./files.ts";

/** An accepted message that is not stored yet. */
export interface NewMessage {
  readonly sender: string;
  /** The receiver's name key. */
  readonly toKey: string;
  readonly ref: string;
  /**
   * One id per accepted send, the same in all its tries. After a lost reply it identifies the rows
   * that an earlier try inserted.
   */
  readonly sendId: number;
  readonly content: string;
  /** The `seq` of the message that this one answers. */
  readonly replyTo?: number | undefined;
  /** The id of the file that it sends. */
  readonly fileId?: string | undefined;
}

/** The outcome for one `NewMessage`. */
export interface StoredMessage {
  readonly receiver: string;
  readonly id: number;
  readonly seq: number;
  readonly timestamp: string;
  /** An earlier statement stored this ref. */
  readonly alreadyStored: boolean;
  /** That statement was an earlier try of this send, whose reply was lost. */
  readonly committedByThisSend: boolean;
  /** The stored message has the same text and receiver. */
  readonly sameMessage: boolean;
  /** The receiver blocks the sender and must not be notified. */
  readonly blockedByReceiver: boolean;
  /** The sender blocks the receiver: nothing was stored; `id` and `seq` are 0. */
  readonly rejectedByBlock: boolean;
  /** `replyTo` is not of this conversation: nothing was stored. */
  readonly repliesToNothing: boolean;
  /** The sender has no such file, or has sent it: nothing was stored. Undefined otherwise. */
  readonly sendsNoFile?: true;
  /** Of a message with a file: the file, and the text as stored, which is the file's name if there was none. */
  readonly withFile?: { readonly file: FileInfo; readonly content: string };
}

/**
 * Session parameters of the connection that stores batches. They force one generic plan: index
 * lookups for tables, hash joins for the batch. Planning each statement would take a tenth of a
 * batch's time and most of a single row's; a plan made while the tables were small would scan them
 * (400 rows took 11 ms with this plan and up to 56 ms without, as the table grew from 0 to 50,000
 * rows).
 */
export const WRITER_PARAMETERS = {
  plan_cache_mode: "force_generic_plan",
  enable_seqscan: "off",
  enable_nestloop: "off", // the two lateral lookups remain nested loops, the only plan they have
  enable_mergejoin: "off",
} as const;

/**
 * Stores a batch. Messages of one conversation are numbered in the given order.
 *
 * @param messages no two with the same sender and ref
 * @returns the outcomes in the order of `messages`; undefined where the receiver does not exist or
 *   was deleted
 */
export async function insertMessages(
  sql: Sql,
  messages: readonly NewMessage[],
): Promise<(StoredMessage | undefined)[]> {
  const rejected = new Map<NewMessage, StoredMessage>();
  const replies = messages.filter(({ replyTo }) => replyTo !== undefined);
  if (replies.length > 0) for (const reply of await wrongReplies(sql, replies)) rejected.set(reply, REPLIES_TO_NOTHING);
  const withFiles = messages.filter((message) => message.fileId !== undefined && !rejected.has(message));
  const sent = withFiles.length === 0 ? undefined : await sendFiles(sql, withFiles, rejected);
  if (rejected.size === 0) return insertBatch(sql, messages, sent);
  const stored = await insertBatch(
    sql,
    messages.filter((message) => !rejected.has(message)),
    sent,
  );
  let next = 0;
  return messages.map((message) => rejected.get(message) ?? stored[next++]);
}

type SentFiles = ReadonlyMap<NewMessage, { readonly file: FileInfo | null; readonly content: string }>;

/**
 * Claims the files of messages, which other messages then cannot send. A claim whose message is not
 * stored expires.
 *
 * @param rejected receives the messages that cannot be stored
 */
async function sendFiles(
  sql: Sql,
  messages: readonly NewMessage[],
  rejected: Map<NewMessage, StoredMessage>,
): Promise<SentFiles> {
  const claims = await claimFiles(
    sql,
    messages.map((message) => ({ ...message, fileId: message.fileId ?? "" })),
  );
  const sent = new Map<NewMessage, { file: FileInfo | null; content: string }>();
  for (const [i, message] of messages.entries()) {
    const claim = claims[i];
    if (!claim) rejected.set(message, SENDS_NO_FILE);
    else if (claim.outcome === "ref_reused") rejected.set(message, REF_REUSED);
    else sent.set(message, claim);
  }
  return sent;
}

/**
 * Finds replies to messages that do not exist. A client can name a message only after its commit,
 * so this check need not be part of the statement that stores the replies.
 */
async function wrongReplies(sql: Sql, replies: readonly NewMessage[]): Promise<NewMessage[]> {
  const rows = await sql<{ ord: number }[]>`
    select t.ord
    from unnest(
      ${replies.map(({ sender }) => sender)}::text[],
      ${replies.map(({ toKey }) => toKey)}::text[],
      ${replies.map(({ replyTo }) => replyTo ?? 0)}::bigint[]
    ) with ordinality as t (sender, to_key, reply_to, ord)
    left join lateral (
      select username from users where name_key = t.to_key collate "C" limit 1
    ) u on true
    left join lateral (
      select last_seq, blocked_by
      from conversations
      where low = least(t.sender collate "C", u.username) and high = greatest(t.sender collate "C", u.username)
      limit 1
    ) c on true
    -- an unknown receiver and a block are other errors
    where u.username is not null and (c.blocked_by is null or t.sender <> all(c.blocked_by)) and not coalesce(t.reply_to between 1 and c.last_seq, false)
  `;
  return rows.map(({ ord }) => replies[ord - 1] as NewMessage);
}

const NOTHING_STORED = {
  receiver: "",
  id: 0,
  seq: 0,
  timestamp: "",
  alreadyStored: false,
  committedByThisSend: false,
  sameMessage: true,
  blockedByReceiver: false,
  rejectedByBlock: false,
  repliesToNothing: false,
} as const satisfies StoredMessage;
const REPLIES_TO_NOTHING: StoredMessage = { ...NOTHING_STORED, repliesToNothing: true };
const SENDS_NO_FILE: StoredMessage = { ...NOTHING_STORED, sendsNoFile: true };
const REF_REUSED: StoredMessage = { ...NOTHING_STORED, sameMessage: false };
const REJECTED_BY_BLOCK: StoredMessage = { ...NOTHING_STORED, rejectedByBlock: true };

/** @param sent of the messages with files; absent, the statement does not mention files */
async function insertBatch(
  sql: Sql,
  messages: readonly NewMessage[],
  sent?: SentFiles,
): Promise<(StoredMessage | undefined)[]> {
  const ifSent = (part: () => Fragment) => (sent ? part() : sql``);
  const rows = await sql<(StoredMessage & { ord: number })[]>`
    with input as materialized (
      select
        t.ord,
        t.sender collate "C" as sender,
        u.username as receiver,
        least(t.sender collate "C", u.username) as low,
        greatest(t.sender collate "C", u.username) as high,
        t.ref collate "C" as ref,
        t.send_id,
        t.content,
        nullif(t.reply_to, 0) as reply_to, -- the driver writes arrays with nulls wrongly
        ${ifSent(() => sql`nullif(t.file, '')::jsonb as file,`)}
        k.id as known_id,
        k.seq as known_seq,
        k.timestamp as known_timestamp,
        k.receiver as known_receiver,
        (k.content = t.content or k.edited_at is not null or k.deleted_at is not null) and k.receiver = u.username as is_same_message,
        coalesce(k.attempt_id = t.send_id, false) as is_own_send, -- the column holds the send's id, despite its name
        u.deleted_at is null as is_active
      from unnest(
        ${messages.map((message) => message.sender)}::text[],
        ${messages.map((message) => message.toKey)}::text[],
        ${messages.map((message) => message.ref)}::text[],
        ${messages.map((message) => message.sendId)}::bigint[],
        ${messages.map((message) => sent?.get(message)?.content ?? message.content)}::text[],
        ${messages.map((message) => message.replyTo ?? 0)}::bigint[]
        ${ifSent(() => sql`, ${messages.map((message) => fileJson(sent?.get(message)))}::text[]`)}
      ) with ordinality as t (sender, to_key, ref, send_id, content, reply_to, ${ifSent(() => sql`file,`)} ord)
      cross join lateral (
        select username, deleted_at from users where name_key = t.to_key collate "C" limit 1
      ) u
      left join lateral (
        select id, seq, timestamp, receiver, content, attempt_id, edited_at, deleted_at
        from messages
        where sender = t.sender collate "C" and ref = t.ref collate "C"
        limit 1
      ) k on true
    ), numbered as (
      insert into conversations as c (low, high, last_seq, last_at, low_unread, high_unread)
      select
        i.low,
        i.high,
        count(*),
        clock_timestamp(),
        count(*) filter (where i.receiver = i.low and i.low <> i.high),
        count(*) filter (where i.receiver = i.high and i.low <> i.high)
      from input i
      where i.known_id is null and i.is_active
      group by i.low, i.high
      order by i.low, i.high -- in key order, so pods cannot deadlock
      on conflict (low, high) do update
      set
        -- Does not count rejected messages. If low blocks high, everything low sent is rejected, and
        -- that is what excluded.high_unread counts; likewise the other way round.
        last_seq = c.last_seq + excluded.last_seq
          - case when c.low = any(c.blocked_by) then excluded.high_unread else 0 end
          - case when c.high = any(c.blocked_by) then excluded.low_unread else 0 end,
        -- never moves back, even if the clock does; one microsecond per message
        last_at = case
          when
            c.blocked_by is not null
            and (c.low = any(c.blocked_by) or excluded.high_unread = 0)
            and (c.high = any(c.blocked_by) or excluded.low_unread = 0)
            then c.last_at -- every message was rejected
          else greatest(clock_timestamp(), c.last_at + excluded.last_seq * interval '1 microsecond')
        end,
        low_unread = c.low_unread + case when c.high = any(c.blocked_by) then 0 else excluded.low_unread end,
        high_unread = c.high_unread + case when c.low = any(c.blocked_by) then 0 else excluded.high_unread end
      returning c.id, c.low, c.high, c.last_seq, c.last_at, c.blocked_by
    ), placed as materialized (
      -- ids are drawn here, not by the insert, so that the inserted rows need no join afterwards
      select nextval('messages_id_seq') as id, p.*
      from (
        select
          i.ord, i.sender, i.receiver, i.ref, i.send_id, i.content, i.reply_to, ${ifSent(() => sql`i.file,`)} n.id as conversation_id, n.last_seq, n.last_at,
          n.blocked_by is not null and i.receiver = any(n.blocked_by) as blocked_by_receiver,
          count(*) over (partition by n.id) - row_number() over (partition by n.id order by i.ord) as behind
        from input i
        join numbered n on n.low = i.low and n.high = i.high
        where i.known_id is null and i.is_active and (n.blocked_by is null or i.sender <> all(n.blocked_by))
      ) p
    ), stored as (
      insert into messages (id, conversation_id, seq, sender, receiver, content, timestamp, read, ref, attempt_id, reply_to ${ifSent(() => sql`, file`)})
      select
        p.id,
        p.conversation_id,
        p.last_seq - p.behind,
        p.sender,
        p.receiver,
        p.content,
        p.last_at - p.behind * interval '1 microsecond',
        p.sender = p.receiver,
        p.ref,
        p.send_id,
        p.reply_to
        ${ifSent(() => sql`, p.file`)}
      from placed p
    )
    select
      p.ord, p.receiver, p.id, p.last_seq - p.behind as seq, p.last_at - p.behind * interval '1 microsecond' as timestamp,
      false as "alreadyStored", false as "committedByThisSend", true as "sameMessage", p.blocked_by_receiver as "blockedByReceiver", false as "rejectedByBlock", false as "repliesToNothing"
    from placed p
    union all
    select i.ord, i.known_receiver, i.known_id, i.known_seq, i.known_timestamp, true, i.is_own_send, i.is_same_message, false, false, false
    from input i
    where i.known_id is not null
  `;
  const results: (StoredMessage | undefined)[] = messages.map(() => undefined);
  for (const row of rows) results[row.ord - 1] = row;
  // A separate statement: even branches that match no row would slow every batch by 5 %.
  if (rows.length < messages.length || rows.some((row) => row.alreadyStored))
    await resolveMissingAndRepeated(sql, messages, results);
  return sent ? results.map((result, i) => withFile(result, sent.get(messages[i] as NewMessage))) : results;
}

function fileJson(sent: { readonly file: FileInfo | null } | undefined): string {
  return sent?.file ? JSON.stringify(sent.file) : "";
}

function withFile(
  result: StoredMessage | undefined,
  sent: { readonly file: FileInfo | null; readonly content: string } | undefined,
): StoredMessage | undefined {
  return result && sent?.file ? { ...result, withFile: { file: sent.file, content: sent.content } } : result;
}

/**
 * Sets `blockedByReceiver` on messages stored earlier, and marks as rejected those without
 * a result whose receiver is active and whose conversation exists: the sender's block rejected them.
 */
async function resolveMissingAndRepeated(
  sql: Sql,
  messages: readonly NewMessage[],
  results: (StoredMessage | undefined)[],
): Promise<void> {
  const rare = messages.flatMap((message, i) => (results[i] && !results[i].alreadyStored ? [] : [{ i, ...message }]));
  const rows = await sql<{ i: number; blockedByReceiver: boolean }[]>`
    select t.i, c.blocked_by_receiver as "blockedByReceiver"
    from unnest(
      ${rare.map(({ i }) => i)}::bigint[],
      ${rare.map(({ sender }) => sender)}::text[],
      ${rare.map(({ toKey }) => toKey)}::text[]
    ) as t (i, sender, to_key)
    cross join lateral (
      select username, deleted_at from users where name_key = t.to_key collate "C" limit 1
    ) u
    cross join lateral (
      select blocked_by is not null and u.username = any(blocked_by) as blocked_by_receiver
      from conversations
      where low = least(t.sender collate "C", u.username) and high = greatest(t.sender collate "C", u.username)
      limit 1
    ) c
    where u.deleted_at is null
  `;
  for (const { i, blockedByReceiver } of rows) {
    const stored = results[i];
    // Rejected even if the block has ended since.
    results[i] = stored ? { ...stored, blockedByReceiver } : REJECTED_BY_BLOCK;
  }
}
