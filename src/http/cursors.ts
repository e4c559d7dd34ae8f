/** Cursors of paged lists: the place of a row in a list ordered by time, opaque to clients. */

import { ChatError } from "../errors.ts";
import { isInstant } from "./parameters.ts";

/** @param ids distinguish rows of the same instant @example writeCursor(row.lastAt, row.id) */
export function writeCursor(at: string, ...ids: readonly number[]): string {
  return Buffer.from([at, ...ids].join("|")).toString("base64url");
}

/**
 * Reads `before` of a query, or undefined when absent.
 *
 * @param counts how many ids its cursors have
 * @throws ChatError `bad_request`
 */
export function readCursor(
  query: URLSearchParams,
  ...counts: readonly number[]
): { at: string; ids: number[] } | undefined {
  const cursor = query.get("before");
  if (cursor === null) return undefined;
  const [at = "", ...ids] = Buffer.from(cursor, "base64url").toString().split("|");
  if (!isInstant(at) || !counts.includes(ids.length) || !ids.every((id) => /^\d{1,15}$/.test(id))) {
    throw new ChatError("bad_request", { message: "before is not a valid cursor" });
  }
  return { at, ids: ids.map(Number) };
}
