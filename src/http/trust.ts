/** Which proxies and origins to trust, and what a request says of its client by that trust. */

import type { Server } from "bun";

import type { SocketData } from "../chat/socket.ts";
import type { Config } from "../config.ts";
import { ChatError } from "../errors.ts";
import type { Log } from "../log.ts";
import {
  clientHeaderValue,
  coversPrivateRange,
  Networks,
  resolveClientAddress,
  type TrustedProxies,
} from "../util/address.ts";

/**
 * Whose `X-Forwarded-*` headers are trusted, and which origins besides our own may send requests.
 */
export interface Trust {
  readonly proxies: TrustedProxies;
  readonly origins: readonly string[] | undefined;
  /** The address of the connection, or undefined once it is closed. */
  readonly peer: (request: Request) => string | undefined;
}

/** The trust that the settings declare. */
export function trustOf(config: Config, { server, log }: { server: Server<SocketData>; log: Log }): Trust {
  const { trustProxy: proxies, allowedOrigins: origins } = config;
  const peer = (request: Request) => server.requestIP(request)?.address;
  if (typeof proxies === "string") return { proxies, origins, peer };
  const wide = proxies.filter(coversPrivateRange);
  if (wide.length > 0) {
    log.warn(
      "TRUST_PROXY lists a whole private range: clients in it can forge the address that rate limits count; list only the proxies' addresses or subnet",
      { networks: wide.join(", ") },
    );
  }
  return { proxies: new Networks(proxies), origins, peer };
}

/**
 * Rejects requests from other sites' pages, to which browsers attach our cookie too.
 *
 * @throws ChatError `foreign_origin`, naming the headers received and the settings that may fix it
 */
export function checkOrigin(request: Request, trust: Trust): void {
  if (!isForeign(request, trust)) return;
  const referer = refererOf(request);
  const from = referer === null ? "" : ` Referer ${URL.parse(referer)?.origin},`;
  throw new ChatError("foreign_origin", {
    message:
      `The request comes from another site: Origin ${request.headers.get("origin") ?? "(none)"},${from} Host ${hostOf(request, trust)}. ` +
      "If a proxy in front changes Host, set ALLOWED_ORIGINS to the address that users open, or set TRUST_PROXY=on",
  });
}

/**
 * Whether a page of another origin caused this request. Browsers send `Sec-Fetch-Site` over https
 * and to localhost only; elsewhere a `GET` has at most a `Referer`. If a header is repeated, its
 * worst value counts.
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

/**
 * The host in the browser's address bar: the trusted proxy's `X-Forwarded-Host`, or else `Host`.
 */
function hostOf(request: Request, trust: Trust): string {
  return (forwarded(request, "x-forwarded-host", trust) || request.headers.get("host") || "")
    .toLowerCase()
    .replace(/:(80|443)$/, "");
}

/** The origin that the user opened: the browser's `Origin`, or else derived from the request. */
export function originOf(request: Request, trust: Trust): string {
  const origin = request.headers.get("origin"); // already checked: ours or an allowed one
  return origin ?? `${isSecure(request, trust) ? "https" : "http"}://${hostOf(request, trust)}`;
}

/**
 * Whether the browser uses https, according to the trusted proxy. Traefik sends `wss` for upgrades.
 */
export function isSecure(request: Request, trust: Trust): boolean {
  return /^(https|wss)$/i.test(forwarded(request, "x-forwarded-proto", trust) ?? "");
}

/**
 * Whether the page is a secure context: opened over https, or on this machine. Elsewhere browsers
 * ignore `Clear-Site-Data` (W3C Clear Site Data §3.2).
 */
export function isSecureContext(request: Request, trust: Trust): boolean {
  return isSecure(request, trust) || /^(localhost|127(\.\d+){3}|\[::1\])(:\d+)?$/.test(hostOf(request, trust));
}

/** A trusted proxy's header about the client's request, or undefined without one. */
function forwarded(
  request: Request,
  header: "x-forwarded-host" | "x-forwarded-proto",
  trust: Trust,
): string | undefined {
  const list = isProxied(request, trust) ? request.headers.get(header) : null;
  if (list === null) return undefined;
  const { proxies } = trust;
  return clientHeaderValue(list, request.headers.get("x-forwarded-for"), { peer: trust.peer(request) ?? "", proxies });
}

/** The client's address, according to trusted proxies. */
export function clientAddress(request: Request, trust: Trust): string {
  return resolveClientAddress(trust.peer(request) ?? "", request.headers.get("x-forwarded-for"), trust.proxies);
}

/** Whether the connection comes from a trusted proxy. */
export function isProxied(request: Request, { proxies, peer }: Trust): boolean {
  return typeof proxies === "string" ? proxies === "on" : proxies.has(peer(request) ?? "");
}
