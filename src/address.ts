/** Addresses of the network: who stands behind the proxies one trusts, and by what somebody is counted. */

import { BlockList, isIP } from "node:net";

/** Addresses and networks, as a setting lists them. */
export class Networks {
  readonly #list = new BlockList();

  /** @throws RangeError for what `isNetwork` refuses */
  constructor(parts: readonly string[]) {
    for (const part of parts) {
      if (!isNetwork(part)) throw new RangeError(`Cannot trust: "${part}" is no address or network`);
      const [address = "", bits] = part.split("/");
      const family = isIP(address) === 4 ? "ipv4" : "ipv6";
      this.#list.addSubnet(address, Number(bits ?? (family === "ipv4" ? 32 : 128)), family);
    }
  }

  has(address: string): boolean {
    const version = isIP(address);
    return version !== 0 && this.#list.check(address, version === 4 ? "ipv4" : "ipv6");
  }
}

/** Whether a text is an address, or a network such as `10.0.0.0/8`. */
export function isNetwork(text: string): boolean {
  const [address = "", bits, ...rest] = text.split("/");
  const most = { 0: -1, 4: 32, 6: 128 }[isIP(address)] ?? -1;
  const named = bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) <= most);
  return most > 0 && named && rest.length === 0 && !address.includes("%");
}

/** Whose `X-Forwarded-*` is believed: nobody's, whoever connects, or these. */
export type Proxies = "off" | "on" | Networks;

/**
 * The address a request comes from. Whoever connects may have written the left of `X-Forwarded-For` itself: it is read from the
 * right, where our proxies write, and only as far as they are ours.
 *
 * @param peer who is connected
 * @param forwarded `X-Forwarded-For`, its lines joined by commas
 * @example clientOf("10.0.0.2", "6.6.6.6, 192.0.2.7, 10.0.0.1", new Networks(["10.0.0.0/8"])) // "192.0.2.7"
 */
export function clientOf(peer: string, forwarded: string | null, proxies: Proxies): string {
  let client = readAddress(peer) ?? peer;
  if (forwarded === null || proxies === "off") return client;
  for (const hop of forwarded.split(",").toReversed()) {
    if (proxies !== "on" && !proxies.has(client)) break;
    const address = readAddress(hop);
    if (address === undefined) break;
    client = address;
    if (proxies === "on") break; // one proxy: what stands further left is the client's own word
  }
  return client;
}

/** An address as proxies write it, with a port, brackets or a zone or without; IPv4 within IPv6 is IPv4. Undefined for anything else. */
export function readAddress(text: string): string | undefined {
  const entry = text.trim();
  const bare = /^\[([^\]]*)\](?::\d+)?$/.exec(entry)?.[1] ?? /^([\d.]+):\d+$/.exec(entry)?.[1] ?? entry;
  const address = bare.split("%", 1)[0]!.toLowerCase();
  const mapped = /^::ffff:([\d.]+)$/.exec(address)?.[1];
  if (mapped !== undefined && isIP(mapped) === 4) return mapped;
  return isIP(address) === 0 ? undefined : address;
}

/**
 * What an address is counted by: IPv6 by its /64, since one house has as many addresses as it likes.
 *
 * @example countedBy("2001:db8::7") // "2001:db8:0:0"
 */
export function countedBy(address: string): string {
  if (isIP(address) !== 6) return address;
  const [left = "", right = ""] = address.split("::");
  const [head, tail] = [left, right].map((part) => part.split(":").filter(Boolean)) as [string[], string[]];
  const groups = tail.at(-1)?.includes(".") ? tail.length + 1 : tail.length; // an IPv4 at the end stands for two
  const zeros = Array.from({ length: Math.max(0, 8 - head.length - groups) }, () => "0");
  const all = [...head, ...(address.includes("::") ? zeros : []), ...tail];
  return all
    .slice(0, 4)
    .map((group) => group.replace(/^0+(?=.)/, ""))
    .join(":");
}
