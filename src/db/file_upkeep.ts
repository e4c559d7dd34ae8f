/** What sweeping, checking and moving files read and write, and the end of files that were not sent. */

import type { Database } from "./database.ts";
import type { StoreKind } from "./files.ts";
import { SWEEP_ROWS } from "./sweep.ts";

/**
 * Ends files that were not sent within a day of the start of their upload.
 *
 * @returns how many were checked, at most `SWEEP_ROWS`
 */
export async function sweepUnsent(db: Database): Promise<number> {
  const { count } = await db.run(
    (sql) => sql`
      update files f
      set
        is_settled = is_sent(f),
        deleted_at = case when not may_be_sent(f) then clock_timestamp() end
      where
        f.deleted_at is null
        and f.id = any(array(
          select id
          from files
          where not is_settled and created_at < now() - interval '24 hours' and deleted_at is null
          order by created_at
          limit ${SWEEP_ROWS}
        ))
    `,
  );
  return count;
}

/** Ends the files that a deleted account has not sent. */
export async function endUnsent(db: Database, owner: string): Promise<void> {
  await db.run(
    (sql) => sql`
      update files f
      set deleted_at = clock_timestamp()
      where f.owner = ${owner} and f.deleted_at is null and not may_be_sent(f)
    `,
  );
}

/** Deleted files whose bytes are still in a store, those deleted first before others. */
export async function deleted(db: Database, store: StoreKind, limit: number): Promise<{ id: string; blob: string }[]> {
  return db.run(
    (sql) => sql<{ id: string; blob: string }[]>`
      select id, blob from files where deleted_at is not null and store = ${store} order by deleted_at limit ${limit}
    `,
  );
}

export interface CheckedFile {
  readonly id: string;
  readonly owner: string;
  readonly size: number;
  readonly store: StoreKind;
  readonly blob: string;
  readonly hasPreview: boolean;
}

/** Complete files with ids after `after`, in order. */
export async function completeFiles(db: Database, after: string, limit: number): Promise<CheckedFile[]> {
  return db.run(
    (sql) => sql<CheckedFile[]>`
      select id, owner, size, store, blob, placeholder is not null as "hasPreview"
      from files
      where id > ${after} and completed_at is not null and deleted_at is null
      order by id
      limit ${limit}
    `,
  );
}

/** Records that a blob, with all copies that share it, is in another store. */
export async function moveBlob(
  db: Database,
  blob: string,
  { from, to }: { from: StoreKind; to: StoreKind },
): Promise<void> {
  await db.run((sql) => sql`update files set store = ${to} where blob = ${blob} and store = ${from}`);
}

/** Whether another file, a copy, shares the blob of this one. */
export async function isShared(db: Database, { id, blob }: { id: string; blob: string }): Promise<boolean> {
  const rows = await db.run((sql) => sql`select from files where blob = ${blob} and id <> ${id} limit 1`);
  return rows.length > 0;
}

/** Deletes the row of a deleted file, once its bytes are deleted. */
export async function forget(db: Database, id: string): Promise<void> {
  await db.run((sql) => sql`delete from files where id = ${id} and deleted_at is not null`);
}

/** Which of these blobs of a store have no file. */
export async function orphans(db: Database, store: StoreKind, blobs: readonly string[]): Promise<string[]> {
  const rows = await db.run(
    (sql) => sql<{ blob: string }[]>`
      select t.blob
      from unnest(${blobs as string[]}::text[]) as t (blob)
      left join lateral ( -- row by row, which rules out a plan that scans the table
        select id from files where blob = t.blob collate "C" and store = ${store} limit 1
      ) f on true
      where f.id is null
    `,
  );
  return rows.map(({ blob }) => blob);
}
