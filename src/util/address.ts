/** IP addresses: the client's behind trusted proxies, and the key for rate limits. */

import { BlockList, isIP } from "node:net";
import { type NetworkInterfaceInfo, networkInterfaces } from "node:os";

/** A set of addresses and networks from a setting. */
export class Networks {
  readonly #list = new BlockList();

  /** @throws RangeError for what `isNetwork` rejects */
  constructor(parts: readonly string[]) {
    for (const part of parts) {
      if (!isNetwork(part)) throw new RangeError(`Cannot trust: "${part}" is not an address or network`);
      const [address = "", bits] = part.split("/");
      const family = isIP(address) === 4 ? "ipv4" : "ipv6";
      this.#list.addSubnet(address, Number(bits ?? (family === "ipv4" ? 32 : 128)), family);
    }
  }

  /** Whether an address, in any notation, is in the set. */
  has(text: string): boolean {
    const address = readAddress(text);
    return address !== undefined && this.#list.check(address, isIP(address) === 4 ? "ipv4" : "ipv6");
  }
}

/** Whether a text is an address, or a network such as `10.0.0.0/8`. */
export function isNetwork(text: string): boolean {
  const [address = "", bits, ...rest] = text.split("/");
  const most = { 0: -1, 4: 32, 6: 128 }[isIP(address)] ?? -1;
  const isValidPrefix = bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) <= most);
  return most > 0 && isValidPrefix && rest.length === 0 && !address.includes("%");
}

/** Private ranges (RFC 1918, RFC 6598, RFC 4193), by their first and last address. */
const PRIVATE = [
  ["10.0.0.0", "10.255.255.255"],
  ["172.16.0.0", "172.31.255.255"],
  ["192.168.0.0", "192.168.255.255"],
  ["100.64.0.0", "100.127.255.255"],
  ["fd00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"],
] as const;

/** Whether a network contains a whole private range, and so more than proxies. */
export function coversPrivateRange(network: string): boolean {
  const one = new Networks([network]);
  return PRIVATE.some(([first, last]) => one.has(first) && one.has(last));
}

/** Whose `X-Forwarded-*` headers are trusted: none, any peer's, or those of these networks. */
export type TrustedProxies = "off" | "on" | Networks;

/**
 * The client's address. Clients can forge the left part of `X-Forwarded-For`, so it is read from
 * the right, where our proxies append, and only as long as the addresses are trusted proxies.
 *
 * @param peer address of the connected peer
 * @param forwarded `X-Forwarded-For`, its lines joined by commas
 * @example resolveClientAddress("10.0.0.2", "6.6.6.6, 192.0.2.7", new Networks(["10.0.0.0/8"])) // "192.0.2.7"
 */
export function resolveClientAddress(peer: string, forwarded: string | null, proxies: TrustedProxies): string {
  return walk(peer, forwarded, proxies).client;
}

/**
 * The value that the proxy nearest the client wrote into another `X-Forwarded-*` header, to which
 * each proxy of a chain appends: `https` of `https, http` if both hops of `X-Forwarded-For` are
 * trusted.
 *
 * @param list the header
 */
export function clientHeaderValue(
  list: string,
  forwarded: string | null,
  { peer, proxies }: { peer: string; proxies: TrustedProxies },
): string {
  const values = list.split(",").map((value) => value.trim());
  return values.at(-Math.max(1, walk(peer, forwarded, proxies).hops)) ?? values[0]!; // a shorter list: the proxies pass it on without appending
}

/** Walks from the peer through trusted proxies. @returns hops: trusted entries of the header */
function walk(peer: string, forwarded: string | null, proxies: TrustedProxies): { client: string; hops: number } {
  let client = readAddress(peer) ?? peer;
  let hops = 0;
  if (forwarded === null || proxies === "off") return { client, hops };
  for (const hop of forwarded.split(",").toReversed()) {
    if (proxies !== "on" && !proxies.has(client)) break;
    const address = readAddress(hop);
    if (address === undefined) break;
    client = address;
    hops++;
    if (proxies === "on") break; // one proxy: entries further left come from the client
  }
  return { client, hops };
}

/** Parses an address with optional port, brackets and zone; IPv4-mapped IPv6 becomes IPv4. */
export function readAddress(text: string): string | undefined {
  const entry = text.trim();
  const bare = /^\[([^\]]*)\](?::\d+)?$/.exec(entry)?.[1] ?? /^([\d.]+):\d+$/.exec(entry)?.[1] ?? entry;
  const address = bare.split("%", 1)[0]!.toLowerCase();
  const version = isIP(address);
  if (version === 0) return undefined;
  return (version === 6 && ipv4Within(groupsOf(address), MAPPED)) || address;
}

/**
 * The rate-limit key of an address: an IPv4 address itself, also if mapped to IPv6 (RFC 6052, RFC
 * 4291 §2.5.5.2); for IPv6 the network prefix, since one household has arbitrarily many addresses.
 *
 * @param bits length of the IPv6 prefix, a multiple of 8
 * @example rateLimitKey("2001:db8::7") // "2001:db8:0:0"
 */
export function rateLimitKey(text: string, bits = 64): string {
  const address = readAddress(text) ?? text;
  if (isIP(address) !== 6) return address;
  const groups = groupsOf(address);
  return (
    ipv4Within(groups, NAT64) ??
    groups
      .slice(0, Math.ceil(bits / 16))
      .map((group, i) => (bits - 16 * i >= 16 ? group : group & 0xff00).toString(16))
      .join(":")
  );
}

const MAPPED = [0, 0, 0, 0, 0, 0xffff];
const NAT64 = [0x64, 0xff9b, 0, 0, 0, 0];

/** The IPv4 address after a 96-bit prefix; undefined for another prefix. */
function ipv4Within(groups: readonly number[], prefix: readonly number[]): string | undefined {
  if (prefix.some((group, i) => group !== groups[i])) return undefined;
  return groups
    .slice(6)
    .flatMap((group) => [group >> 8, group & 0xff])
    .join(".");
}

/** The eight groups of an IPv6 address. */
function groupsOf(address: string): number[] {
  const hex = address.replace(/(\d+)\.(\d+)\.(\d+)\.(\d+)$/, (_, ...bytes: string[]) => {
    const [a, b, c, d] = bytes.map(Number) as [number, number, number, number];
    return `${(a * 256 + b).toString(16)}:${(c * 256 + d).toString(16)}`;
  });
  const [head, tail = []] = hex.split("::").map((part) =>
    part
      .split(":")
      .filter(Boolean)
      .map((group) => Number.parseInt(group, 16)),
  );
  return [...head!, ...Array.from({ length: 8 - head!.length - tail.length }, () => 0), ...tail];
}

/**
 * The address to listen on for all interfaces: `0.0.0.0`, or `::`, which includes IPv4, if the
 * network has only IPv6.
 *
 * @param addresses of the machine
 * @example anyAddress([{ family: "IPv6", internal: false, … }]) // "::"
 */
export function anyAddress(
  addresses: readonly Pick<NetworkInterfaceInfo, "family" | "internal">[] = Object.values(networkInterfaces()).flatMap(
    (list) => list ?? [],
  ),
): "0.0.0.0" | "::" {
  const reachable = addresses.filter(({ internal }) => !internal);
  const families = new Set((reachable.length > 0 ? reachable : addresses).map(({ family }) => family));
  return families.has("IPv6") && !families.has("IPv4") ? "::" : "0.0.0.0";
}
