/** Reads the path and query parameters of a request. */

import { ChatError } from "../errors.ts";
import { keyOfReference, searchKey } from "../util/text.ts";
import type { Request } from "./request.ts";

/**
 * The URL of a request. Without `Host`, which is optional in HTTP/1.0, Bun knows only the path.
 *
 * @throws ChatError `bad_request`
 */
export function urlOf(request: globalThis.Request): URL {
  const url = URL.parse(request.url, "http://localhost");
  if (!url) throw new ChatError("bad_request", { message: "The Host of the request is invalid" });
  return url;
}

/** A path parameter. Bun leaves a parameter that it cannot decode unchanged. */
export function pathParameter(request: Request, name: string): string {
  return (request.params as Record<string, string>)[name] ?? "";
}

/** A whole number from the query, or undefined when absent. @throws ChatError `bad_request` */
export function wholeNumber(query: URLSearchParams, name: string, least: number, most: number): number | undefined {
  const given = query.get(name);
  if (given === null) return undefined;
  const number = /^\d{1,16}$/.test(given) ? Number(given) : Number.NaN;
  if (number >= least && number <= most) return number;
  throw new ChatError("bad_request", { message: `${name} must be a whole number from ${least} to ${most}` });
}

/** An instant from the query, or undefined when absent. @throws ChatError `bad_request` */
export function instant(query: URLSearchParams, name: string): string | undefined {
  const given = query.get(name);
  if (given === null || isInstant(given)) return given ?? undefined;
  throw new ChatError("bad_request", { message: `${name} must be an instant such as 2026-02-28T23:59:59.000Z` });
}

/**
 * Whether PostgreSQL accepts the text as an instant: `Date` alone reads 30 February as 2 March, and
 * PostgreSQL has no year 0.
 */
export function isInstant(text: string): boolean {
  if (!/^(?!0000)\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z$/.test(text)) return false;
  const date = new Date(text);
  return !Number.isNaN(date.getTime()) && date.toISOString().startsWith(text.slice(0, 19));
}

/**
 * The search key of the query's `part`: "" when no name can contain it, undefined when absent.
 *
 * @param excluded parameters that cannot be combined with `part`
 * @throws ChatError `bad_request`
 */
export function namePart(query: URLSearchParams, excluded: readonly string[]): string | undefined {
  const part = query.get("part")?.trim();
  if (part === undefined) return undefined;
  const other = excluded.find((name) => query.has(name));
  if (other) throw new ChatError("bad_request", { message: `\`part\` and \`${other}\` are mutually exclusive` });
  return keyOfReference(part) === undefined ? "" : searchKey(part);
}
