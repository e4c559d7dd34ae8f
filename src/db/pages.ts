/** How much one statement returns: long lists and long texts come in pages, so that no answer is built whole. */

import type { Fragment, Sql } from "./client.ts";

/** Bytes of texts in a page, and one text more. */
export const TEXTS_MAX_BYTES = 64 * 1024;
/** Messages in a page: with 1,000 the server grew by 23–41 MiB, with 250 by 17–24. */
export const ROWS_MAX = 250;
/** Names in a page: at most 200 KiB. */
export const NAMES_MAX = 1_000;

/** How many bytes the texts of the rows before one have. PostgreSQL knows lengths without reading what it stores apart. */
export function bytesBefore(sql: Sql, text: Fragment, window: Fragment): Fragment {
  return sql`coalesce(sum(octet_length(${text})) over (${window} rows between unbounded preceding and 1 preceding), 0)`;
}

/** A list page by page; the last page is returned, so that it is known to be the last before another is read. */
export type Pages<Row> = AsyncGenerator<Row[], Row[]>;

/** The pages of a list. @param read at most `limit` rows behind one, undefined: from the start */
export async function* pagesOf<Row>(read: (after: Row | undefined, limit: number) => Promise<Row[]>): Pages<Row> {
  for (let after: Row | undefined; ;) {
    const rows = await read(after, NAMES_MAX);
    if (rows.length < NAMES_MAX) return rows;
    after = rows.at(-1);
    yield rows; // whoever takes them may empty the list
  }
}

/** A row of a list in which only the first have their texts: null where those before it are long. */
export interface Texted {
  readonly text: string | null;
  readonly bytes: number;
}

/** A list whose rows were read apart, without the texts that are not of the first page. */
export function firstTexts<Row extends Texted>(rows: readonly Row[]): Row[] {
  let bytesBefore = 0;
  return rows.map((row) => {
    const isFirst = bytesBefore < TEXTS_MAX_BYTES;
    bytesBefore += row.bytes;
    return isFirst ? row : { ...row, text: null };
  });
}

/**
 * A list in pages, all of them with their texts. A row whose text is gone meanwhile is left out.
 *
 * @param rows the list, which is emptied @param read the texts of some rows, each at its place
 */
export async function* withTexts<Row extends Texted>(
  rows: Row[],
  read: (rows: Row[]) => Promise<(string | undefined)[]>,
): Pages<Row & { readonly text: string }> {
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
