/** Files: uploads, their completion, and who may read them. Their bytes are in `files/`. */

import type { Sql } from "./client.ts";
import type { Database } from "./database.ts";

/** Files that a user may have unsent, uploads included: as many as a large album, twice. */
const UNSENT_MAX = 200;

export type StoreKind = "postgres" | "s3";

/** A file as `/messages` shows it. An image that has a preview has the last three fields. */
export interface FileInfo {
  readonly id: string;
  readonly name: string;
  readonly type: string;
  readonly size: number;
  readonly width?: number;
  readonly height?: number;
  readonly placeholder?: string;
}

export interface NewFile {
  readonly ownerId: number;
  readonly id: string;
  readonly blob: string;
  readonly store: StoreKind;
  readonly name: string;
  readonly type: string;
  readonly sha256: string | null;
  readonly isOriginal: boolean;
  readonly size: number;
  readonly chunkCount: number;
}

/** An upload, or what it became. */
export interface Upload {
  readonly id: string;
  readonly announcedType: string;
  readonly sha256: string | null;
  readonly isOriginal: boolean;
  readonly size: number;
  readonly store: StoreKind;
  readonly blob: string;
  readonly isComplete: boolean;
  /** A bit for each chunk, hex: whether it has arrived. */
  readonly chunks: string;
}

/** What reading a file needs. */
export interface StoredFile {
  readonly name: string;
  readonly type: string;
  readonly size: number;
  readonly store: StoreKind;
  readonly blob: string;
  readonly hasPreview: boolean;
}

type Creation = "created" | "over_quota" | "too_many" | "no_session" | "not_found";

/** Begins an upload (see `create_file` in sql/). @param quota bytes that the owner's files may have together */
export async function create(db: Database, file: NewFile, quota: number): Promise<Creation> {
  const chunks = "00".repeat(Math.ceil(file.chunkCount / 8));
  const [row] = await db.run(
    (sql) => sql<[{ outcome: Creation }]>`
      select create_file(
        ${file.ownerId}, ${file.id}, ${file.blob}, ${file.store}, ${file.name}, ${file.type}, ${file.sha256},
        ${file.isOriginal}, ${file.size}, decode(${chunks}, 'hex'), ${quota}, ${UNSENT_MAX}, null
      ) as outcome
    `,
  );
  return row.outcome;
}

/**
 * Copies a file that `ownerId` may read, so that it can be sent again. The copy shares its bytes and
 * counts toward the quota.
 */
export async function copy(
  db: Database,
  source: string,
  { ownerId, id, quota }: { ownerId: number; id: string; quota: number },
): Promise<Creation> {
  const [row] = await db.run(
    (sql) => sql<[{ outcome: Creation }]>`
      select create_file(
        ${ownerId}, ${id}, null, null, null, null, null, null, null, null, ${quota}, ${UNSENT_MAX}, ${source}
      ) as outcome
    `,
  );
  return row.outcome;
}

/** An upload of `owner` (a username); undefined if there is none. */
export async function upload(db: Database, owner: string, id: string): Promise<Upload | undefined> {
  const [row] = await db.run(
    (sql) => sql<Upload[]>`
      select
        id, announced_type as "announcedType", sha256, is_original as "isOriginal", size, store, blob,
        completed_at is not null as "isComplete", encode(chunks, 'hex') as chunks
      from files
      where
        id = ${id}
        -- mutation: own uploads only
        and owner = ${owner}
        and deleted_at is null
    `,
  );
  return row;
}

/** Records that a chunk has arrived. @returns how many have; undefined if the upload has ended */
export async function addChunk(db: Database, id: string, n: number): Promise<number | undefined> {
  const [row] = await db.run(
    (sql) => sql<{ have: number }[]>`
      update files
      set chunks = set_bit(chunks, ${n}, 1)
      where id = ${id} and completed_at is null and deleted_at is null
      returning bit_count(chunks) as have
    `,
  );
  return row?.have;
}

/** What was found in the bytes of an upload. */
export interface Completion {
  readonly type: string;
  readonly size: number;
  readonly blob: string;
  readonly width?: number | undefined;
  readonly height?: number | undefined;
  /** Of an image with a preview. */
  readonly placeholder?: string | undefined;
}

/** Makes an upload a file, in one step. @returns the blob of the file; undefined if it was deleted */
export async function complete(db: Database, id: string, found: Completion): Promise<string | undefined> {
  await db.run(
    (sql) => sql`
      update files
      set
        completed_at = clock_timestamp(),
        type = ${found.type},
        size = ${found.size},
        blob = ${found.blob},
        width = ${found.width ?? null},
        height = ${found.height ?? null},
        placeholder = ${found.placeholder ?? null}
      where id = ${id} and completed_at is null and deleted_at is null
    `,
  );
  const [row] = await db.run(
    (sql) => sql<{ blob: string }[]>`select blob from files where id = ${id} and deleted_at is null`,
  );
  return row?.blob;
}

/** A file, and the user (`me`, a username) who may or may not read it. */
export interface ReadRequest {
  readonly me: string;
  readonly id: string;
}

/**
 * Complete files that users may read: one's own; or that of a message to `me`, unless `me` blocked
 * the sender before it.
 *
 * @returns in the order of `requests`; undefined where there is none
 */
export async function readableFiles(sql: Sql, requests: readonly ReadRequest[]): Promise<(StoredFile | undefined)[]> {
  const rows = await sql<(StoredFile & { ord: number })[]>`
    select t.ord, f.name, f.type, f.size, f.store, f.blob, f.placeholder is not null as "hasPreview"
    from unnest(
      ${requests.map(({ me }) => me)}::text[],
      ${requests.map(({ id }) => id)}::text[]
    ) with ordinality as t (me, id, ord)
    cross join lateral ( -- row by row, which rules out a plan that scans the table
      select * from files where id = t.id collate "C" limit 1
    ) f
    where
      f.completed_at is not null
      and f.deleted_at is null
      -- mutation: files of others
      and (f.owner = t.me collate "C" or exists (
        select
        from messages m
        where
          m.sender = f.owner and m.ref = f.claim_ref and m.file ->> 'id' = f.id and m.receiver = t.me collate "C"
          and not exists (
            select from memberships b where b.owner = t.me collate "C" and b.peer = m.sender and b.blocked_seq < m.seq
          )
      ))
  `;
  const found: (StoredFile | undefined)[] = requests.map(() => undefined);
  for (const { ord, ...file } of rows) found[ord - 1] = file;
  return found;
}

/** What becomes of a message that sends a file. */
export interface Claim {
  readonly outcome: "claimed" | "known" | "ref_reused";
  /** The file's name if the message has no text. */
  readonly content: string;
  /** Null if the message is stored already and was deleted. */
  readonly file: FileInfo | null;
}

/**
 * Claims files for messages that are about to be stored (see `claim_files` in sql/).
 *
 * @returns in the order of `messages`; undefined where the sender has no such file, or has sent it
 */
export async function claimFiles(
  sql: Sql,
  messages: readonly { sender: string; ref: string; fileId: string; content: string }[],
): Promise<(Claim | undefined)[]> {
  const rows = await sql<(Claim & { place: number })[]>`
    select place, outcome, content, file
    from claim_files(
      ${messages.map(({ sender }) => sender)}::text[],
      ${messages.map(({ ref }) => ref)}::text[],
      ${messages.map(({ fileId }) => fileId)}::text[],
      ${messages.map(({ content }) => content)}::text[]
    )
  `;
  const claims: (Claim | undefined)[] = messages.map(() => undefined);
  for (const { place, ...claim } of rows) claims[place - 1] = claim;
  return claims;
}

/** Ends an upload or an unsent file. */
export async function removeUnsent(db: Database, owner: string, id: string): Promise<void> {
  await db.run(
    (sql) => sql`
      update files
      set deleted_at = clock_timestamp()
      where id = ${id} and owner = ${owner} and claim_ref is null and deleted_at is null
    `,
  );
}

/** Bytes that a user's files have together. */
export async function bytesOf(db: Database, owner: string): Promise<number> {
  const [row] = await db.run(
    (sql) => sql<[{ bytes: number }]>`
      select coalesce(sum(size), 0)::bigint as bytes from files where owner = ${owner} and deleted_at is null
    `,
  );
  return row.bytes;
}
