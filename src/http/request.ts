/**
 * What all HTTP handlers share: the guard around them, headers, bodies and error responses. Which
 * requests to trust is in trust.ts.
 */

import type { BunRequest, Server } from "bun";

import type { SocketData } from "../chat/socket.ts";
import { ChatError } from "../errors.ts";
import type { Log } from "../log.ts";
import type { RouteMetrics } from "../metrics.ts";
import { checkOrigin, isProxied, isSecure, type Trust } from "./trust.ts";

export type Request = BunRequest;
export type Methods = Partial<Record<"GET" | "POST" | "PUT", Handler>> & {
  /** The longest body; absent: `BODY_MAX_BYTES`. */
  readonly bodyMaxBytes?: number;
};
/** Undefined only after an upgrade. */
export type Handler = (
  request: Request,
  server: Server<SocketData>,
) => Response | undefined | Promise<Response | undefined>;

/** Of forms and JSON. */
export const BODY_MAX_BYTES = 16 * 1024;
/** A client that sends a little every few seconds must not hold memory for ever. */
const BODY_MAX_MS = 60_000;

/** On every response. */
export const FILE_HEADERS = {
  "X-Content-Type-Options": "nosniff",
  "Cross-Origin-Resource-Policy": "same-origin",
} as const;

/**
 * On every response that a browser may show as a document. Scripts and styles go without: that
 * saves 4 KiB a visit. `same-origin` rather than `no-referrer`, with which browsers send our own
 * forms with `Origin: null`.
 */
export const HEADERS = {
  ...FILE_HEADERS,
  "Referrer-Policy": "same-origin",
  "Cross-Origin-Opener-Policy": "same-origin",
  "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
} as const;

/**
 * On every response that is not a page: opened in a browser, it cannot run scripts, load anything
 * or be framed.
 */
export const DATA_HEADERS = {
  ...HEADERS,
  "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
} as const;

/** One year, without `includeSubDomains`: the admin may run plain-http services on subdomains. */
const HSTS = "max-age=31536000";

/** On JSON responses, which are never cached. */
export const JSON_HEADERS = {
  ...DATA_HEADERS,
  "Content-Type": "application/json",
  "Cache-Control": "no-store",
} as const;

/** A JSON response. One that can be long is streamed instead (`stream.ts`). */
export function json(body: unknown, init: { status?: number; headers?: Record<string, string> } = {}): Response {
  return new Response(JSON.stringify(body), {
    status: init.status ?? 200,
    headers: { ...JSON_HEADERS, ...init.headers },
  });
}

/** A request without a response by then is waiting for PostgreSQL. */
const SLOW_MS = 4_000;
/**
 * Two statements, each retried for 10 s while PostgreSQL is unreachable, with up to 6 s for the
 * last try.
 */
const RESPONSE_SECONDS = 32;
/** Requests whose body is still arriving: those wait for the client, not for us. */
const readingBody = new WeakSet<Request>();
/** Bodies of unknown length, read from the start: Bun would buffer up to its limit until we read. */
const bodies = new WeakMap<Request, Promise<Buffer>>();

/**
 * Keeps Bun from closing the connection as idle while the response is pending.
 *
 * @returns a function that stops this
 */
function keepOpen(request: Request, server: Server<SocketData>): () => void {
  const extend = () => {
    if (readingBody.has(request)) timer = setTimeout(extend, SLOW_MS);
    else server.timeout(request, RESPONSE_SECONDS);
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

/**
 * The body of a request with this content type.
 *
 * @throws ChatError `unsupported_type`, `too_large`
 */
export async function readBody(
  request: Request,
  type: "application/json" | "application/x-www-form-urlencoded",
): Promise<string> {
  const given = request.headers.get("content-type")?.split(";")[0]?.trim().toLowerCase();
  if (given !== type) throw new ChatError("unsupported_type");
  return (await readBytes(request, BODY_MAX_BYTES)).toString();
}

/**
 * The body of a request.
 *
 * @throws ChatError `bad_request`: too slow; `too_large`, also when the client has disconnected, and
 *   sees no response
 */
export async function readBytes(request: Request, maxBytes: number): Promise<Buffer> {
  readingBody.add(request);
  try {
    return await (bodies.get(request) ?? collect(request, maxBytes));
  } finally {
    readingBody.delete(request);
  }
}

async function collect(request: Request, maxBytes: number): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  const deadline = performance.now() + BODY_MAX_MS;
  try {
    for await (const chunk of request.body ?? []) {
      bytes += chunk.length;
      if (bytes > maxBytes) break; // closes the stream
      if (performance.now() > deadline) throw new ChatError("bad_request", { message: "The body took too long" });
      chunks.push(chunk);
    }
  } catch (error) {
    throw error instanceof ChatError ? error : new ChatError("too_large", { cause: error });
  }
  if (bytes > maxBytes) throw new ChatError("too_large");
  return Buffer.concat(chunks);
}

/** The JSON object in the body. @throws ChatError `unsupported_type`, `too_large`, `bad_request` */
export async function readJson(request: Request): Promise<Record<string, unknown>> {
  const body = await readBody(request, "application/json");
  try {
    const value: unknown = JSON.parse(body);
    if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  } catch {
    // reported below
  }
  throw new ChatError("bad_request", { message: "The body must be a JSON object" });
}

/** The JSON response for a failure. */
export function errorResponse(error: ChatError, headers: Record<string, string> = {}): Response {
  const { code, message, retryAfter, status } = error;
  if (retryAfter !== undefined && status !== 500) headers["Retry-After"] = String(retryAfter);
  return json({ error: { code, message } }, { status, headers });
}

/** What proxies put into `X-Request-Id`; anything else could break a log line or a response. */
const REQUEST_ID = /^[\w.-]{8,128}$/;
/** Assigned on first use, since few requests are logged. */
const ids = new WeakMap<Request, string>();

/**
 * The id under which a request is logged: the trusted proxy's, so that both logs share it, or else
 * a random one.
 */
export function requestId(request: Request, trust: Trust): string {
  return ids.getOrInsertComputed(request, () => {
    const given = isProxied(request, trust) ? request.headers.get("x-request-id") : null;
    return given !== null && REQUEST_ID.test(given) ? given : crypto.randomUUID();
  });
}

/**
 * Wraps the handlers of a path: checks method and origin, turns failures into responses, counts
 * requests.
 *
 * @param route the metrics of the path
 */
export function guard(methods: Methods, parts: { log: Log; trust: Trust }, route: RouteMetrics) {
  const allow = (["GET", "POST", "PUT"] as const)
    .filter((method) => method in methods)
    .map((method) => (method === "GET" ? "GET, HEAD" : method))
    .join(", ");
  const fail = (request: Request, error: unknown): Response => {
    if (error instanceof ChatError) return errorResponse(error);
    const id = requestId(request, parts.trust);
    parts.log.error("request failed", error, { id });
    // mutation: errors without details
    return errorResponse(new ChatError("internal", { message: `Something went wrong on our side. Request id: ${id}` }));
  };
  // Not async: a synchronous handler costs no promise.
  const respond = (request: Request, server: Server<SocketData>): ReturnType<Handler> => {
    try {
      if (request.headers.get("host")?.includes(",")) {
        // Bun joins repeated headers with commas.
        throw new ChatError("bad_request", { message: "A request must have one Host" });
      }
      const method = request.method === "HEAD" ? "GET" : request.method;
      const handler = method === "GET" || method === "POST" || method === "PUT" ? methods[method] : undefined;
      if (!handler) return errorResponse(new ChatError("method_not_allowed"), { Allow: allow });
      if (method !== "GET") {
        checkOrigin(request, parts.trust);
        checkLength(request, methods.bodyMaxBytes ?? BODY_MAX_BYTES);
      }
      const response = handler(request, server);
      return response instanceof Promise ? response.catch((error: unknown) => fail(request, error)) : response;
    } catch (error) {
      return fail(request, error);
    }
  };
  return (request: Request, server: Server<SocketData>): ReturnType<Handler> => {
    const startedAt = performance.now();
    // Before any await: a closed connection has no address.
    const secure = isSecure(request, parts.trust);
    const finish = (response: Response | undefined) => {
      route.count(request.method, response?.status ?? 101, performance.now() - startedAt);
      return secure ? withHsts(response) : response;
    };
    const response = respond(request, server);
    if (!(response instanceof Promise)) return finish(response);
    const release = keepOpen(request, server);
    return response.then((settled) => {
      release();
      return finish(settled);
    });
  };
}

/** Rejects a body that is too long before it arrives. @throws ChatError `too_large` */
function checkLength(request: Request, maxBytes: number): void {
  if (Number(request.headers.get("content-length") ?? 0) > maxBytes) throw new ChatError("too_large");
  if (!request.headers.has("transfer-encoding")) return;
  const body = collect(request, maxBytes);
  body.catch(() => {}); // reported by `readBytes`
  bodies.set(request, body);
}

/**
 * Adds Strict-Transport-Security. Only for https requests: browsers ignore it over http (RFC 6797
 * §7.2).
 */
export function withHsts<T extends Response | undefined>(response: T): T {
  response?.headers.set("Strict-Transport-Security", HSTS);
  return response;
}
