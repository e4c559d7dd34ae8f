import { describe, expect, test } from "bun:test";

import fc from "fast-check";

import { clientOf, countedBy, isNetwork, Networks, readAddress } from "./address.ts";

describe("an address", () => {
  test.each([
    ["192.0.2.7", "192.0.2.7"],
    [" 192.0.2.7 ", "192.0.2.7"],
    ["192.0.2.7:5678", "192.0.2.7"],
    ["::ffff:192.0.2.7", "192.0.2.7"],
    ["::FFFF:192.0.2.7", "192.0.2.7"],
    ["[::ffff:192.0.2.7]:80", "192.0.2.7"],
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
    ["64:ff9b::192.0.2.7", "64:ff9b:0:0"],
    ["1:2:3:4:5:6:192.0.2.7", "1:2:3:4"],
    ["", ""],
  ])("%p is counted by %p", (address, counted) => {
    expect(countedBy(address)).toBe(counted);
  });

  test("of one house counts as one, however it is written, and any text is borne", () => {
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
          expect(countedBy(a!)).toBe(countedBy(short));
        },
      ),
    );
    fc.assert(fc.property(fc.string(), (text) => void countedBy(readAddress(text) ?? text)));
  });

  test("is in a network or not", () => {
    const networks = new Networks(["10.0.0.0/8", "fd00::/8", "192.0.2.7", "0.0.0.0/32"]);
    for (const inside of ["10.0.0.0", "10.255.255.255", "fd12::1", "192.0.2.7"])
      expect(networks.has(inside)).toBe(true);
    for (const outside of ["11.0.0.0", "9.255.255.255", "fe00::1", "192.0.2.8", "", "proxy"]) {
      expect(networks.has(outside)).toBe(false);
    }
    expect(isNetwork("10.0.0.0/0")).toBe(true);
    expect(() => new Networks(["10.0.0.0/99"])).toThrow(RangeError);
  });
});

describe("the client behind proxies", () => {
  const ours = new Networks(["10.0.0.0/8", "fd00::/8"]);

  test("is whoever connects, while nobody is trusted", () => {
    expect(clientOf("192.0.2.1", "6.6.6.6", "off")).toBe("192.0.2.1");
    expect(clientOf("::ffff:192.0.2.1", null, "off")).toBe("192.0.2.1");
    expect(clientOf("192.0.2.1", "6.6.6.6", ours)).toBe("192.0.2.1");
  });

  test("is what the one proxy wrote last: what stands before it the client may have written", () => {
    expect(clientOf("172.17.0.1", "192.0.2.7", "on")).toBe("192.0.2.7");
    expect(clientOf("172.17.0.1", "6.6.6.6, 192.0.2.7:5678", "on")).toBe("192.0.2.7");
    expect(clientOf("172.17.0.1", "6.6.6.6, [2001:db8::7]:80", "on")).toBe("2001:db8::7");
    for (const none of [null, "", "unknown", "192.0.2.7, unknown", "192.0.2.7,"]) {
      expect(clientOf("172.17.0.1", none, "on")).toBe("172.17.0.1");
    }
  });

  test("is the right-most hop that is no proxy of ours", () => {
    expect(clientOf("10.0.0.2", "192.0.2.7", ours)).toBe("192.0.2.7");
    expect(clientOf("::ffff:10.0.0.2", "192.0.2.7", ours)).toBe("192.0.2.7");
    expect(clientOf("10.0.0.2", "10.6.6.6, 192.0.2.7, 10.0.0.1, fd00::3", ours)).toBe("192.0.2.7");
    expect(clientOf("10.0.0.2", "6.6.6.6,192.0.2.7,10.0.0.1:443", ours)).toBe("192.0.2.7");
    expect(clientOf("10.0.0.2", "2001:db8::7, [fd00::3]:80", ours)).toBe("2001:db8::7");
  });

  test("is the last that can be read, when a hop cannot or all are proxies", () => {
    expect(clientOf("10.0.0.2", "192.0.2.7, unknown, 10.0.0.1", ours)).toBe("10.0.0.1");
    expect(clientOf("10.0.0.2", "192.0.2.7, ", ours)).toBe("10.0.0.2");
    expect(clientOf("10.0.0.2", "10.0.0.9, 10.0.0.1", ours)).toBe("10.0.0.9");
    expect(clientOf("10.0.0.2", null, ours)).toBe("10.0.0.2");
  });

  test("cannot be chosen by what the client writes", () => {
    const written = fc.oneof(fc.string(), fc.ipV4(), fc.ipV6(), fc.constantFrom("10.0.0.1", ",", ", ,", "[::1]:80"));
    fc.assert(
      fc.property(fc.array(written), (hops) => {
        expect(clientOf("10.0.0.2", [...hops, "192.0.2.7"].join(", "), ours)).toBe("192.0.2.7");
        expect(clientOf("10.0.0.2", [...hops, "192.0.2.7"].join(", "), "on")).toBe("192.0.2.7");
      }),
    );
  });
});
