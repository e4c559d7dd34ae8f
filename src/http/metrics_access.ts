/**
 * Access to `/metrics`: clients with the token, or if none is set, programs on this machine that
 * connect directly.
 */

import { isIP } from "node:net";

import { readAddress } from "../util/address.ts";
import { equalsInConstantTime } from "../util/token.ts";

/** Headers that proxies add when they forward a request. */
const FORWARDING =
  /forwarded|^via$|^cdn-loop$|^x-(host|scheme|original-.*|envoy-.*)$|(^|-)(real|client|connecting|external|originating|proxyuser|remote|user)-?(ip|addr|address)$/;

/** @param peer the address of the connection @param token undefined to allow only this machine */
export function mayReadMetrics(request: Request, peer: string | undefined, token: string | undefined): boolean {
  const { headers } = request;
  if (token !== undefined) return equalsInConstantTime(headers.get("authorization") ?? "", `Bearer ${token}`);
  // Another host name means DNS rebinding by a page, or a proxy.
  const isDirect =
    isLoopback(hostnameOf(headers.get("host") ?? "")) && ![...headers.keys()].some((name) => FORWARDING.test(name));
  return peer !== undefined && isLoopback(peer) && isDirect;
}

/** The name or address in a `Host` header. */
function hostnameOf(host: string): string {
  return host
    .replace(/:\d+$/, "")
    .replace(/^\[(.*)\]$/, "$1")
    .toLowerCase();
}

function isLoopback(name: string): boolean {
  const address = readAddress(name);
  return name === "localhost" || address === "::1" || (isIP(address ?? "") === 4 && address!.startsWith("127."));
}
