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
