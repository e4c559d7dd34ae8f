/**
 * Bounds what one statement returns: long lists and texts are read in pages, so that no response is
 * built as a whole.
 */

import type { Fragment, Sql } from "./client.ts";

/** Bytes of text in a page; one text may exceed it. */
export const TEXTS_MAX_BYTES = 64 * 1024;
/** Messages in a page: with 1,000 the server grew by 23–41 MiB, with 250 by 17–24. */
export const ROWS_MAX = 250;
/** Names in a page: at most 200 KiB. */
export const NAMES_MAX = 1_000;

/**
 * SQL for the total text bytes of the preceding rows. PostgreSQL knows lengths without reading
 * out-of-line values.
 */
export function bytesBefore(sql: Sql, text: Fragment, window: Fragment): Fragment {
  return sql`coalesce(sum(octet_length(${text})) over (${window} rows between unbounded preceding and 1 preceding), 0)`;
}

/** A list in pages. The last page is returned, not yielded, so that it is known to be the last. */
export type RowPages<Row> = AsyncGenerator<Row[], Row[]>;

/**
 * Pages of a list.
 *
 * @param read reads at most `limit` rows after a row, or from the start if undefined
 */
export async function* pagesOf<Row>(read: (after: Row | undefined, limit: number) => Promise<Row[]>): RowPages<Row> {
  for (let after: Row | undefined; ;) {
    const rows = await read(after, NAMES_MAX);
    if (rows.length < NAMES_MAX) return rows;
    after = rows.at(-1);
    yield rows; // `after` is set first: the consumer may empty `rows`
  }
}

/** A list of one page. */
// oxlint-disable-next-line require-yield
export async function* lastPage<Row>(rows: Row[]): RowPages<Row> {
  return rows;
}

/** A row whose text is null if the texts of earlier rows fill the page. */
export interface RowWithText {
  readonly text: string | null;
  readonly bytes: number;
}

/** Removes all texts beyond the first page from rows that were read separately. */
export function firstTexts<Row extends RowWithText>(rows: readonly Row[]): Row[] {
  let bytesBefore = 0;
  return rows.map((row) => {
    const isFirst = bytesBefore < TEXTS_MAX_BYTES;
    bytesBefore += row.bytes;
    return isFirst ? row : { ...row, text: null };
  });
}

/**
 * Pages of a list, all with texts. Omits rows whose text was deleted meanwhile.
 *
 * @param rows the list, which is emptied @param read returns the texts of some rows, in order
 */
export async function* withTexts<Row extends RowWithText>(
  rows: Row[],
  read: (rows: Row[]) => Promise<(string | undefined)[]>,
): RowPages<Row & { readonly text: string }> {
  for (let isFirst = true; ; isFirst = false) {
    let [count, bytes] = [0, 0];
    while (count < rows.length && bytes < TEXTS_MAX_BYTES) bytes += (rows[count++] as Row).bytes;
    const some = rows.splice(0, count);
    const texts = isFirst ? some.map(({ text }) => text ?? undefined) : await read(some);
    const page = some.flatMap((row, i) => (texts[i] === undefined ? [] : [{ ...row, text: texts[i] }]));
    if (rows.length === 0) return page;
    yield page;
  }
}
