/** Chunks of files in PostgreSQL. */

import type { Database } from "./database.ts";

/** Chunks deleted per statement: 64 MiB take 0.2 s. */
const DELETE_CHUNKS = 256;

/** Stores a chunk, unless it is there. */
export async function put(db: Database, blob: string, n: number, bytes: Uint8Array): Promise<void> {
  // The driver would send bytes as hexadecimal digits, which are half as long again as base64.
  const base64 = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("base64");
  await db.run(
    (sql) => sql`
      insert into file_chunks (blob, n, data)
      values (${blob}, ${n}, decode(${base64}, 'base64'))
      on conflict do nothing
    `,
  );
}

export async function get(db: Database, blob: string, n: number): Promise<Uint8Array | undefined> {
  const [chunk] = await db.run(
    (sql) => sql<{ base64: string }[]>`
      select encode(data, 'base64') as base64 from file_chunks where blob = ${blob} and n = ${n}
    `,
  );
  return chunk && Buffer.from(chunk.base64, "base64");
}

/** The numbers and sizes of a blob's chunks, in order. */
export async function sizes(db: Database, blob: string): Promise<{ n: number; bytes: number }[]> {
  return db.run(
    (sql) => sql<{ n: number; bytes: number }[]>`
      select n, octet_length(data) as bytes from file_chunks where blob = ${blob} order by n
    `,
  );
}

/** Deletes some chunks of a blob. @returns whether there may be more */
export async function removeSome(db: Database, blob: string): Promise<boolean> {
  const { count } = await db.run(
    (sql) => sql`
      delete from file_chunks
      where blob = ${blob} and n = any(array(select n from file_chunks where blob = ${blob} order by n limit ${DELETE_CHUNKS}))
    `,
  );
  return count === DELETE_CHUNKS;
}

/** The blobs after `after`, in order, at most `limit`. */
export async function blobs(db: Database, after: string, limit: number): Promise<string[]> {
  const rows = await db.run(
    (sql) => sql<{ blob: string }[]>`
      with recursive found (blob, i) as ( -- jumps from blob to blob: a distinct would read every chunk's row
        (select blob, 1 from file_chunks where blob > ${after} order by blob limit 1)
        union all
        select (select c.blob from file_chunks c where c.blob > f.blob order by c.blob limit 1), f.i + 1
        from found f
        where f.blob is not null and f.i < ${limit}
      )
      select blob from found where blob is not null order by i
    `,
  );
  return rows.map(({ blob }) => blob);
}
