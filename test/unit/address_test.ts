import { describe, expect, test } from "bun:test";

import fc from "fast-check";

import {
  anyAddress,
  clientHeaderValue,
  coversPrivateRange,
  isNetwork,
  Networks,
  rateLimitKey,
  readAddress,
  resolveClientAddress,
} from "../../src/util/address.ts";

describe("an address", () => {
  test.each([
    ["192.0.2.7", "192.0.2.7"],
    [" 192.0.2.7 ", "192.0.2.7"],
    ["192.0.2.7:5678", "192.0.2.7"],
    ["::ffff:192.0.2.7", "192.0.2.7"],
    ["::FFFF:192.0.2.7", "192.0.2.7"],
    ["[::ffff:192.0.2.7]:80", "192.0.2.7"],
    ["::ffff:c000:207", "192.0.2.7"],
    ["0:0:0:0:0:FFFF:C000:0207", "192.0.2.7"],
    ["::ffff:192.0.2.7%eth0", "192.0.2.7"],
    ["::192.0.2.7", "::192.0.2.7"],
    ["::1", "::1"],
    ["[::1]", "::1"],
    ["[::1]:80", "::1"],
    ["2001:DB8::7", "2001:db8::7"],
    ["fe80::1%eth0", "fe80::1"],
    ["", undefined],
    ["unknown", undefined],
    ["_hidden", undefined],
    ["192.0.2", undefined],
    ["192.0.2.256", undefined],
    ["192.0.2.7:", undefined],
    ["192.0.2.7:80:80", undefined],
    ["[192.0.2.7", undefined],
    ["::1:80:::", undefined],
    ["::ffff:192.0.2.999", undefined],
  ])("%p is read as %p", (text, meant) => {
    expect(readAddress(text)).toBe(meant!);
  });

  test.each([
    ["192.0.2.7", "192.0.2.7"],
    ["2001:db8:1:2:3:4:5:6", "2001:db8:1:2"],
    ["2001:0db8:0001:0002::", "2001:db8:1:2"],
    ["2001:db8::7", "2001:db8:0:0"],
    ["2001:db8::1:2:3:4:5", "2001:db8:0:1"],
    ["::1", "0:0:0:0"],
    ["::ffff:c000:207", "192.0.2.7"],
    ["64:ff9b::192.0.2.7", "192.0.2.7"], // NAT64: one prefix for all of IPv4
    ["64:ff9b::c000:207", "192.0.2.7"],
    ["64:ff9b:0:1::c000:207", "64:ff9b:0:1"],
    ["2001:db8::7%eth0", "2001:db8:0:0"],
    ["1:2:3:4:5:6:192.0.2.7", "1:2:3:4"],
    ["", ""],
  ])("%p is counted by %p", (address, counted) => {
    expect(rateLimitKey(address)).toBe(counted);
  });

  test.each([
    ["2001:db8:1:2304::7", 64, "2001:db8:1:2304"],
    ["2001:db8:1:2304::7", 56, "2001:db8:1:2300"],
    ["2001:db8:1:2304::7", 48, "2001:db8:1"],
    ["2001:db8::7", 56, "2001:db8:0:0"],
    ["192.0.2.7", 48, "192.0.2.7"],
    ["64:ff9b::192.0.2.7", 56, "192.0.2.7"],
  ])("%p with %p bits is counted by %p", (address, bits, counted) => {
    expect(rateLimitKey(address, bits)).toBe(counted);
  });

  test("of one network counts as one in any spelling, and any text is accepted", () => {
    const group = fc.integer({ min: 0, max: 0xffff });
    fc.assert(
      fc.property(
        fc.array(group, { minLength: 8, maxLength: 8 }),
        fc.array(group, { minLength: 4, maxLength: 4 }),
        (one, rest) => {
          const [a, b] = [one, [...one.slice(0, 4), ...rest]].map((groups) =>
            groups.map((n) => n.toString(16)).join(":"),
          );
          const short = new URL(`http://[${b}]/`).hostname.slice(1, -1);
          expect(rateLimitKey(a!)).toBe(rateLimitKey(short));
        },
      ),
    );
    fc.assert(fc.property(fc.string(), (text) => void rateLimitKey(readAddress(text) ?? text)));
  });

  test.each([
    ["0.0.0.0", ["IPv4"], ["IPv4", "IPv6"]],
    ["0.0.0.0", ["IPv4", "IPv6"], []],
    ["0.0.0.0", [], []],
    ["::", ["IPv6"], []],
    ["::", ["IPv4", "IPv6"], ["IPv6"]], // a pod in a cluster of IPv6
  ] as const)("to listen at is %s with %p within the machine and %p outside", (expected, inside, outside) => {
    const addresses = [
      ...inside.map((family) => ({ family, internal: true })),
      ...outside.map((family) => ({ family, internal: false })),
    ];
    expect(anyAddress(addresses)).toBe(expected);
  });

  test("is in a network or not", () => {
    const networks = new Networks(["10.0.0.0/8", "fd00::/8", "192.0.2.7", "0.0.0.0/32"]);
    for (const inside of ["10.0.0.0", "10.255.255.255", "fd12::1", "192.0.2.7", "::ffff:10.0.0.1", "fd12::1%eth0"])
      expect(networks.has(inside)).toBe(true);
    for (const outside of ["11.0.0.0", "9.255.255.255", "fe00::1", "192.0.2.8", "64:ff9b::10.0.0.1", "", "proxy"]) {
      expect(networks.has(outside)).toBe(false);
    }
    for (const whole of ["10.0.0.0/8", "10.0.0.0/7", "172.16.0.0/12", "192.168.0.0/16", "fd00::/8", "fc00::/7", "::/0"])
      expect([whole, coversPrivateRange(whole)]).toEqual([whole, true]);
    for (const part of ["10.42.0.0/16", "10.0.0.0/9", "172.17.0.0/16", "192.168.1.0/24", "127.0.0.0/8", "fd00:42::/32"])
      expect([part, coversPrivateRange(part)]).toEqual([part, false]);
    expect(isNetwork("10.0.0.0/0")).toBe(true);
    expect(() => new Networks(["10.0.0.0/99"])).toThrow(RangeError);
  });
});

describe("the client behind proxies", () => {
  const ours = new Networks(["10.0.0.0/8", "fd00::/8"]);

  test("is the peer, while no proxy is trusted", () => {
    expect(resolveClientAddress("192.0.2.1", "6.6.6.6", "off")).toBe("192.0.2.1");
    expect(resolveClientAddress("::ffff:192.0.2.1", null, "off")).toBe("192.0.2.1");
    expect(resolveClientAddress("192.0.2.1", "6.6.6.6", ours)).toBe("192.0.2.1");
  });

  test("is the last entry of the one proxy: earlier ones may be the client's", () => {
    expect(resolveClientAddress("172.17.0.1", "192.0.2.7", "on")).toBe("192.0.2.7");
    expect(resolveClientAddress("172.17.0.1", "6.6.6.6, 192.0.2.7:5678", "on")).toBe("192.0.2.7");
    expect(resolveClientAddress("172.17.0.1", "6.6.6.6, [2001:db8::7]:80", "on")).toBe("2001:db8::7");
    for (const none of [null, "", "unknown", "192.0.2.7, unknown", "192.0.2.7,"]) {
      expect(resolveClientAddress("172.17.0.1", none, "on")).toBe("172.17.0.1");
    }
  });

  test("is the right-most hop that is no proxy of ours", () => {
    expect(resolveClientAddress("10.0.0.2", "192.0.2.7", ours)).toBe("192.0.2.7");
    expect(resolveClientAddress("::ffff:10.0.0.2", "192.0.2.7", ours)).toBe("192.0.2.7");
    expect(resolveClientAddress("10.0.0.2", "10.6.6.6, 192.0.2.7, 10.0.0.1, fd00::3", ours)).toBe("192.0.2.7");
    expect(resolveClientAddress("10.0.0.2", "6.6.6.6,192.0.2.7,10.0.0.1:443", ours)).toBe("192.0.2.7");
    expect(resolveClientAddress("10.0.0.2", "2001:db8::7, [fd00::3]:80", ours)).toBe("2001:db8::7");
  });

  test("is the last that can be read, when a hop cannot or all are proxies", () => {
    expect(resolveClientAddress("10.0.0.2", "192.0.2.7, unknown, 10.0.0.1", ours)).toBe("10.0.0.1");
    expect(resolveClientAddress("10.0.0.2", "192.0.2.7, ", ours)).toBe("10.0.0.2");
    expect(resolveClientAddress("10.0.0.2", "10.0.0.9, 10.0.0.1", ours)).toBe("10.0.0.9");
    expect(resolveClientAddress("10.0.0.2", null, ours)).toBe("10.0.0.2");
  });

  test.each([
    ["https", "192.0.2.7", "https"],
    ["https, http", "192.0.2.7", "http"], // what stands left of it the client may have written
    ["https, http", "192.0.2.7, 10.0.0.1", "https"], // the outer proxy, then the inner one
    ["http, https, http", "192.0.2.7, 10.0.0.1", "https"],
    ["https", "192.0.2.7, 10.0.0.1", "https"], // passed on, nothing appended
    ["https", null, "https"],
    ["https, http", null, "http"],
  ])("speaks, by %p and hops %p, %p", (list, hops, spoken) => {
    expect(clientHeaderValue(list, hops, { peer: "10.0.0.2", proxies: ours })).toBe(spoken);
    expect(clientHeaderValue(list, hops, { peer: "10.0.0.2", proxies: "on" })).toBe(list.split(", ").at(-1)!);
  });

  test("cannot be chosen by the client's headers", () => {
    const written = fc.oneof(fc.string(), fc.ipV4(), fc.ipV6(), fc.constantFrom("10.0.0.1", ",", ", ,", "[::1]:80"));
    fc.assert(
      fc.property(fc.array(written), (hops) => {
        expect(resolveClientAddress("10.0.0.2", [...hops, "192.0.2.7"].join(", "), ours)).toBe("192.0.2.7");
        expect(resolveClientAddress("10.0.0.2", [...hops, "192.0.2.7"].join(", "), "on")).toBe("192.0.2.7");
      }),
    );
  });
});
