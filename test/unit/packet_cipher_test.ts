import { describe, expect, test } from "bun:test";

import fc from "fast-check";

import { newPodName } from "../../src/cluster/bus.ts";
import { PacketCipher, sealedRoom } from "../../src/cluster/packet_cipher.ts";

const SECRET = "the secret of the tests' pods";
const pod = newPodName();
const other = newPodName();

describe("a sealed packet", () => {
  const sealer = new PacketCipher(SECRET, pod);
  const opener = new PacketCipher(SECRET, other);

  test("is opened by pods of the same secret as it was, in order", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), (text) => {
        const wellFormed = text.toWellFormed();
        const opened = opener.open(sealer.seal(wellFormed));
        expect(opened).toEqual({ pod, counter: sealer.counter, text: wellFormed });
      }),
    );
  });

  test("reveals only its length, and never repeats", () => {
    const text = "the harbour at half past nine";
    const packets = Array.from({ length: 1_000 }, () => sealer.seal(text));
    expect(new Set(packets.map((packet) => packet.split(".")[3])).size).toBe(packets.length);
    for (const packet of packets) {
      expect(Buffer.from(packet.split(".")[3]!, "base64").toString("latin1")).not.toContain("harbour");
      expect(packet).toMatch(/^1\.[0-9a-f]{32}\.\d+\.[A-Za-z0-9+/=]+$/); // safe in any encoding of a database
    }
  });

  test("of one pod shares no nonce with another packet, and no key with another pod", () => {
    const cipher = new PacketCipher(SECRET, newPodName());
    const counters = Array.from({ length: 1_000 }, () => Number(cipher.seal("x").split(".")[2]));
    expect(counters).toEqual(Array.from({ length: 1_000 }, (_, i) => i + 1));
    const bodies = [pod, other].map((name) =>
      new PacketCipher(SECRET, name).seal("the same").split(".")[3]!.slice(0, 8),
    );
    expect(bodies[0]).not.toBe(bodies[1]!);
    const moved = sealer.seal("x").replace(pod, other);
    expect(opener.open(moved)).toBeUndefined();
  });

  test("fits into as many bytes as were asked for, and fills them", () => {
    for (const maxBytes of [400, 7_999, 65_536]) {
      const packet = sealer.seal("x".repeat(sealedRoom(maxBytes)));
      expect(packet.length).toBeLessThanOrEqual(maxBytes);
      expect(packet.length).toBeGreaterThan(maxBytes - 24); // what a longer counter takes
    }
  });

  test("is rejected with any bit changed", () => {
    const packet = sealer.seal('["events",1,["user","ann"]]');
    const body = packet.slice(packet.lastIndexOf(".") + 1);
    for (let i = 0; i < packet.length; i++) {
      for (let bit = 0; bit < 7; bit++) {
        const changed =
          packet.slice(0, i) + String.fromCharCode(packet.charCodeAt(i) ^ (1 << bit)) + packet.slice(i + 1);
        const same = Buffer.from(changed.slice(packet.length - body.length), "base64").equals(
          Buffer.from(body, "base64"),
        );
        if (same && changed.startsWith(packet.slice(0, packet.length - body.length))) continue; // another spelling of the same bytes
        expect(opener.open(changed), changed).toBeUndefined();
      }
    }
  });

  test("is rejected when truncated, longer, empty, or of another form, version or secret", () => {
    const packet = sealer.seal("[]");
    const stranger = new PacketCipher("another secret", pod);
    const header = packet.slice(0, packet.lastIndexOf(".") + 1);
    for (const text of [
      ...Array.from({ length: packet.length }, (_, i) => packet.slice(0, i)),
      `${packet.replace(/=+$/, "")}AAAA`,
      ` ${packet}`,
      packet.replace(/^1/, "2"),
      `${header}AAAA`,
      `${header}${"A".repeat(24)}`,
      stranger.seal("[]"),
      "e\tq3Jx0bTz9a8K\t1\nu\tann",
      "x".repeat(100_000),
    ]) {
      expect(opener.open(text), text.slice(0, 80)).toBeUndefined();
    }
  });
});

test("a pod recognizes its own packets by their header", () => {
  const cipher = new PacketCipher(SECRET, pod);
  cipher.seal("one");
  expect(cipher.ownCounter(cipher.seal("two"))).toBe(2);
  expect(cipher.ownCounter(new PacketCipher(SECRET, other).seal("x"))).toBeUndefined();
  expect(cipher.ownCounter("")).toBeUndefined();
  for (const forged of [`1.${pod}.`, `1.${pod}.x.AAAA`, `1.${pod}..`])
    expect(cipher.ownCounter(forged)! > 0).toBeFalse();
});
