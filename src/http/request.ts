/**
 * Around every HTTP answer: which methods a path has, whether the request comes from our own pages, failures turned into
 * answers, and the headers that all answers carry.
 */

import type { BunRequest, Server } from "bun";

import type { SocketData } from "../chat/socket.ts";
import { ChatError } from "../errors.ts";
import type { Log } from "../log.ts";
import type { Route } from "../metrics.ts";
import { clientOf, ofClient, type Proxies } from "../util/address.ts";

export type Request = BunRequest;
export type Methods = Partial<Record<"GET" | "POST", Handler>>;
/** Undefined only after an upgrade. */
export type Handler = (
  request: Request,
  server: Server<SocketData>,
) => Response | undefined | Promise<Response | undefined>;

/** On every answer. */
export const FILE_HEADERS = {
  "X-Content-Type-Options": "nosniff",
  "Cross-Origin-Resource-Policy": "same-origin",
} as const;

/**
 * On every answer that a browser may show by itself: for the scripts and styles, which it cannot, they would be 4 KiB a visit.
 * `same-origin` and not `no-referrer`: with the latter browsers send our own forms with `Origin: null`.
 */
export const HEADERS = {
  ...FILE_HEADERS,
  "Referrer-Policy": "same-origin",
  "Cross-Origin-Opener-Policy": "same-origin",
  "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
} as const;

/** On every answer that is no page: whoever opens one in a browser is shown text, and nothing in it runs, loads or is framed. */
export const DATA_HEADERS = {
  ...HEADERS,
  "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
} as const;

/** A year of https only. Not for the domains below: whoever hosts chatify may have others there that speak plain http. */
const HTTPS_ONLY = "max-age=31536000";

/** How much of an `X-Forwarded-*` header to believe, and which pages besides our own may act. */
export interface Trust {
  readonly proxies: Proxies;
  readonly origins: readonly string[] | undefined;
  /** The address of whoever is connected; undefined once they are gone. */
  readonly peer: (request: globalThis.Request) => string | undefined;
}

/** On JSON answers, which no cache keeps. */
export const JSON_HEADERS = {
  ...DATA_HEADERS,
  "Content-Type": "application/json",
  "Cache-Control": "no-store",
} as const;

/** A JSON answer; one that can be long is streamed instead (`stream.ts`). */
export function json(body: unknown, init: { status?: number; headers?: Record<string, string> } = {}): Response {
  return new Response(JSON.stringify(body), {
    status: init.status ?? 200,
    headers: { ...JSON_HEADERS, ...init.headers },
  });
}

/** After so long a request has an answer, or waits for PostgreSQL. */
const SLOW_MS = 4_000;
/** Two statements in a row, each tried again for 10 s while PostgreSQL is out of reach, the last time for 6 s more. */
const ANSWER_SECONDS = 32;
/** Requests whose body has not come yet: then it is the client that keeps us waiting. */
const reading = new WeakSet<Request>();

/** Keeps Bun from cutting a connection as idle while we owe it an answer. @returns ends that, when there is one */
function owe(request: Request, server: Server<SocketData>): () => void {
  const extend = () => {
    if (reading.has(request)) timer = setTimeout(extend, SLOW_MS);
    else server.timeout(request, ANSWER_SECONDS);
  };
  let timer = setTimeout(extend, SLOW_MS);
  return () => clearTimeout(timer);
}

/** A redirect that also sets cookies. */
export function redirect(to: string, ...cookies: string[]): Response {
  const headers = new Headers({ ...HEADERS, Location: to, "Cache-Control": "no-store" });
  for (const cookie of cookies) headers.append("Set-Cookie", cookie);
  return new Response(null, { status: 302, headers });
}

/** What a request of this content type holds. @throws ChatError `unsupported_type`, `too_large` */
export async function readBody(
  request: Request,
  type: "application/json" | "application/x-www-form-urlencoded",
): Promise<string> {
  const given = request.headers.get("content-type")?.split(";")[0]?.trim().toLowerCase();
  if (given !== type) throw new ChatError("unsupported_type");
  reading.add(request);
  const body = await request.text().catch((error: unknown) => {
    throw new ChatError("too_large", { cause: error }); // or nobody is there any more to be told
  });
  reading.delete(request);
  return body;
}

/** The JSON object in a request. @throws ChatError `unsupported_type`, `too_large`, `bad_request` */
export async function readJson(request: Request): Promise<Record<string, unknown>> {
  const body = await readBody(request, "application/json");
  try {
    const value: unknown = JSON.parse(body);
    if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  } catch {
    // said below
  }
  throw new ChatError("bad_request", { message: "The body must be a JSON object" });
}

/** The JSON answer to a failure. */
export function failure(error: ChatError, headers: Record<string, string> = {}): Response {
  const { code, message, retryAfter, status } = error;
  if (retryAfter !== undefined && status !== 500) headers["Retry-After"] = String(retryAfter);
  return json({ error: { code, message } }, { status, headers });
}

/** What proxies write into `X-Request-Id`, and nothing that a log or an answer could stumble over. */
const REQUEST_ID = /^[\w.-]{8,128}$/;
/** Made when something is to be said of a request, which is seldom. */
const ids = new WeakMap<Request, string>();

/** The number of a request, by which its lines in the log are found: our proxy's, so that its log has it too, else one of our own. */
export function idOf(request: Request, trust: Trust): string {
  let id = ids.get(request);
  if (id === undefined) {
    const given = isProxied(request, trust) ? request.headers.get("x-request-id") : null;
    id = given !== null && REQUEST_ID.test(given) ? given : crypto.randomUUID();
    ids.set(request, id);
  }
  return id;
}

/** Wraps the handlers of a path into one that answers any request to it. @param route what counts them */
export function guard(methods: Methods, parts: { log: Log; trust: Trust }, route: Route) {
  const allow = ["GET" in methods ? "GET, HEAD" : "", "POST" in methods ? "POST" : ""].filter(Boolean).join(", ");
  const fail = (request: Request, error: unknown): Response => {
    if (error instanceof ChatError) return failure(error);
    const id = idOf(request, parts.trust);
    parts.log.error("request failed", error, { id });
    // mutation: errors without details
    return failure(new ChatError("internal", { message: `Something went wrong on our side. Request id: ${id}` }));
  };
  // Not async: what is answered at once costs no promise.
  const answerTo = (request: Request, server: Server<SocketData>): ReturnType<Handler> => {
    try {
      if (request.headers.get("host")?.includes(",")) {
        throw new ChatError("bad_request", { message: "A request has one Host" }); // Bun joins several
      }
      const method = request.method === "HEAD" ? "GET" : request.method;
      const handler = method === "GET" || method === "POST" ? methods[method] : undefined;
      if (!handler) return failure(new ChatError("method_not_allowed"), { Allow: allow });
      if (method === "POST") checkOrigin(request, parts.trust);
      const answer = handler(request, server);
      return answer instanceof Promise ? answer.catch((error: unknown) => fail(request, error)) : answer;
    } catch (error) {
      return fail(request, error);
    }
  };
  return (request: Request, server: Server<SocketData>): ReturnType<Handler> => {
    const begunAt = performance.now();
    const secure = isSecure(request, parts.trust); // now: whoever has left meanwhile has no address
    const finish = (answer: Response | undefined) => {
      route.count(request.method, answer?.status ?? 101, performance.now() - begunAt);
      return secure ? withHsts(answer) : answer;
    };
    const answer = answerTo(request, server);
    if (!(answer instanceof Promise)) return finish(answer);
    const settle = owe(request, server);
    return answer.then((response) => {
      settle();
      return finish(response);
    });
  };
}

/** Tells a browser that came by https to come by nothing else; one that came by http would not listen (RFC 6797 §7.2). */
export function withHsts<T extends Response | undefined>(answer: T): T {
  answer?.headers.set("Strict-Transport-Security", HTTPS_ONLY);
  return answer;
}

/**
 * Refuses what another site's page sends: its browser attaches our cookie too.
 *
 * @throws ChatError `foreign_origin`, saying what was seen and which setting mends it
 */
export function checkOrigin(request: Request, trust: Trust): void {
  if (!isForeign(request, trust)) return;
  const referer = refererOf(request);
  const from = referer === null ? "" : ` Referer ${URL.parse(referer)?.origin},`;
  throw new ChatError("foreign_origin", {
    message:
      `That request comes from another site: Origin ${request.headers.get("origin") ?? "(none)"},${from} Host ${hostOf(request, trust)}. ` +
      "If a proxy stands in front and changes Host, set ALLOWED_ORIGINS to the address people open, or TRUST_PROXY=on",
  });
}

/**
 * Whether a page of another site or origin made its browser send this. Browsers send `Sec-Fetch-Site` over https and to localhost; elsewhere
 * a `GET` says at most its `Referer`. Where a header is there twice, the worse value counts.
 */
export function isForeign(request: Request, trust: Trust): boolean {
  const origin = request.headers.get("origin");
  const referer = refererOf(request);
  const source = origin ?? (referer === null ? undefined : URL.parse(referer)?.origin);
  if (source !== undefined && trust.origins?.includes(source.toLowerCase())) return false;
  const isOurs = (address: string) => URL.parse(address)?.host === hostOf(request, trust);
  if (origin !== null && !isOurs(origin)) return true;
  const site = request.headers.get("sec-fetch-site") ?? "";
  if (/\b(cross|same)-site\b/i.test(site)) return true;
  return !/^(same-origin|none)$/.test(site) && referer !== null && !isOurs(referer);
}

function refererOf(request: Request): string | null {
  return request.headers.get("referer") || null;
}

/** The host people typed: what the proxy says, if it is ours, else `Host`. */
function hostOf(request: Request, trust: Trust): string {
  return (forwarded(request, "x-forwarded-host", trust) || request.headers.get("host") || "")
    .toLowerCase()
    .replace(/:(80|443)$/, "");
}

/** The address people open, as their own browser says it, or as far as the request tells. */
export function originOf(request: Request, trust: Trust): string {
  const origin = request.headers.get("origin"); // ours, or one that is allowed: `checkOrigin`
  return origin ?? `${isSecure(request, trust) ? "https" : "http"}://${hostOf(request, trust)}`;
}

/** Whether the browser speaks https, as far as the proxy in front says; of an upgrade Traefik says `wss`. */
export function isSecure(request: globalThis.Request, trust: Trust): boolean {
  return /^(https|wss)$/i.test(forwarded(request, "x-forwarded-proto", trust) ?? "");
}

/** What our proxies say of the client's request; undefined when they say nothing, or none of ours is connected. */
function forwarded(
  request: globalThis.Request,
  header: "x-forwarded-host" | "x-forwarded-proto",
  trust: Trust,
): string | undefined {
  const list = isProxied(request, trust) ? request.headers.get(header) : null;
  if (list === null) return undefined;
  const { proxies } = trust;
  return ofClient(list, request.headers.get("x-forwarded-for"), { peer: trust.peer(request) ?? "", proxies });
}

/** Who a request comes from, as far as our proxies say. */
export function clientAddress(request: Request, trust: Trust): string {
  return clientOf(trust.peer(request) ?? "", request.headers.get("x-forwarded-for"), trust.proxies);
}

/** Whether whoever is connected is a proxy of ours. */
function isProxied(request: globalThis.Request, { proxies, peer }: Trust): boolean {
  return typeof proxies === "string" ? proxies === "on" : proxies.has(peer(request) ?? "");
}
