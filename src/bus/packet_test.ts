import { describe, expect, test } from "bun:test";

import fc from "fast-check";

import { SYNC_FRAME } from "../protocol.ts";
import type { BusEvent } from "./bus.ts";
import { encodePacket, Packer, parsePacket } from "./packet.ts";

const name = fc.stringMatching(/^[\p{L}\p{N}_.-]{2,50}$/u).filter((text) => text.isWellFormed());
const frame = fc
  .tuple(fc.string({ unit: "binary" }), fc.jsonValue())
  .map(([message, value]) => JSON.stringify({ type: "message", message: message.toWellFormed(), value }));
const pod = fc.stringMatching(/^[\w-]{12}$/);
const event: fc.Arbitrary<BusEvent> = fc.oneof(
  fc.record({ kind: fc.constant("frame" as const), to: fc.array(name, { minLength: 1, maxLength: 4 }), frame }),
  fc.record({ kind: fc.constant("end" as const), nameKey: name, sessionId: fc.nat() }),
  fc.record({ kind: fc.constant("veil" as const), nameKey: name, on: fc.boolean() }),
  fc.record({ kind: fc.constant("user" as const), username: name }),
  fc.record({ kind: fc.constant("came" as const), nameKey: name, username: name }),
  fc.record({
    kind: fc.constant("went" as const),
    nameKey: name,
    lastSeen: fc.date({ noInvalidDate: true }).map((date) => date.toISOString()),
  }),
  fc.constant({ kind: "leaving" as const }),
  fc.record({ kind: fc.constant("ask" as const), pod }),
  fc.record({ kind: fc.constant("people" as const), first: fc.boolean(), people: fc.array(fc.tuple(name, name)) }),
);

/** The packets that events make. */
function packed(events: readonly BusEvent[], maxBytes: number): string[] {
  const packer = new Packer(maxBytes);
  for (const event of events) packer.add(event);
  const packets: string[] = [];
  for (let body = packer.take(); body !== undefined; body = packer.take()) {
    packets.push(encodePacket("events", "q3Jx0bTz9a8K", packets.length + 1, body));
  }
  expect([packer.bytes, packer.events]).toEqual([0, 0]);
  return packets;
}

/** Messages of a hundred times the same letter. */
function eighty(letter: string): BusEvent[] {
  const frame = JSON.stringify({ type: "message", message: letter.repeat(100) });
  return Array.from({ length: 80 }, () => ({ kind: "frame", to: ["ann"], frame }));
}

function unpacked(packets: readonly string[]): BusEvent[] {
  return packets.flatMap((packet) => parsePacket(packet)!.events);
}

describe("packets", () => {
  test("packets carry every event as it is and in order, and none is longer than allowed", () => {
    fc.assert(
      fc.property(fc.array(event), (events) => {
        const packets = packed(events, 7_999);
        expect(unpacked(packets)).toEqual(events);
        for (const packet of packets) expect(Buffer.byteLength(packet)).toBeLessThanOrEqual(7_999);
      }),
    );
  });

  test("packets are told apart by kind, pod and number", () => {
    fc.assert(
      fc.property(fc.constantFrom("events", "beat", "goodbye"), pod, fc.nat(), (kind, pod, number) => {
        expect(parsePacket(encodePacket(kind, pod, number))).toEqual({ kind, pod, number, events: [] });
      }),
    );
  });

  test("packets that are none are refused, whatever they hold", () => {
    const tag = fc.constantFrom("e", "b", "f", "p", "c", "\t", "\n", "1", "{", "ann", "");
    const noise = fc.array(fc.oneof(tag, fc.string({ unit: "binary" }))).map((parts) => parts.join(""));
    fc.assert(
      fc.property(noise, (text) => {
        parsePacket(text);
        const packet = parsePacket(`e\tq3Jx0bTz9a8K\t1\n${text}`);
        for (const { kind } of packet?.events ?? []) expect(kind).toBeString();
      }),
    );
    for (const body of [
      "f\tann",
      "f\t{}",
      "f\tann\tx",
      "e\tann",
      "e\tann\tx",
      "u\t",
      "c\tann",
      "p\t2",
      "p\t1\tann",
      "",
      "?",
    ]) {
      expect(parsePacket(`e\tq3Jx0bTz9a8K\t1\n${body}`), body).toBeUndefined();
    }
    for (const text of ["", "e", "x\tpod\t1", "e\tpo d\t1", "e\tpod\t-1", "e\tpod\t1e3", `e\tpod\t${"9".repeat(16)}`]) {
      expect(parsePacket(text), text).toBeUndefined();
    }
  });

  test("packets of a newer version are read but for what is unknown in them", () => {
    const packet = parsePacket("e\tq3Jx0bTz9a8K\t1\nz\tnew\nu\tann");
    expect(packet?.events).toEqual([{ kind: "user", username: "ann" }]);
  });

  test("packets count bytes, not characters", () => {
    for (const letter of ["e", "ε", "語", "😀"]) {
      const sizes = packed(eighty(letter), 7_999).map((packet) => Buffer.byteLength(packet));
      expect(Math.max(...sizes)).toBeLessThanOrEqual(7_999);
      for (const size of sizes.slice(0, -1)) expect(size).toBeGreaterThan(7_400); // and they are filled
    }
    expect(packed(eighty("ε"), 7_999).length).toBeGreaterThan(packed(eighty("e"), 7_999).length);
  });

  test("packets hold a sync for the people of a frame that is too large", () => {
    const large: BusEvent = {
      kind: "frame",
      to: ["ann", "bob"],
      frame: JSON.stringify({ message: "😀".repeat(4_000) }),
    };
    const user: BusEvent = { kind: "user", username: "carol" };
    expect(unpacked(packed([large, user], 7_999))).toEqual([{ ...large, frame: SYNC_FRAME }, user]);
    expect(unpacked(packed([large, user], 65_536))).toEqual([large, user]);
    const crowd = Array.from({ length: 2_000 }, (_, i) => `person-${i}`);
    const parts = unpacked(packed([{ ...large, to: crowd }], 7_999));
    expect(parts.flatMap((part) => (part.kind === "frame" && part.frame === SYNC_FRAME ? part.to : []))).toEqual(crowd);
  });

  test("packets hold a long list of people in parts, of which only the first begins it", () => {
    const people = Array.from({ length: 3_000 }, (_, i): [string, string] => [`person-${i}`, `Person-${i}`]);
    const parts = unpacked(packed([{ kind: "people", first: true, people }], 7_999));
    expect(parts.length).toBeGreaterThan(5);
    expect(parts.map((part) => part.kind === "people" && part.first)).toEqual(parts.map((_, i) => i === 0));
    expect(parts.flatMap((part) => (part.kind === "people" ? part.people : []))).toEqual(people);
    expect(unpacked(packed([{ kind: "people", first: true, people: [] }], 7_999))).toEqual([
      { kind: "people", first: true, people: [] },
    ]);
  });

  test("packets leave no more in memory than the names of who came", async () => {
    const before = memory();
    const kept = Array.from({ length: 1_000 }, (_, i) => {
      const frame = `{"type":"message","message":"${`${i} `.repeat(20_000)}"}`;
      const [packet = ""] = packed(
        [
          { kind: "came", nameKey: `ann${i}`, username: `Ann${i}` },
          { kind: "frame", to: ["bob"], frame },
        ],
        200_000,
      );
      return parsePacket(Buffer.from(packet).toString())?.events[0];
    });
    // The system gets memory back some time after it is free.
    for (let tries = 0; memory() - before >= 30_000_000 && tries < 30; tries++) await Bun.sleep(100);
    expect(memory() - before).toBeLessThan(30_000_000); // of some 80,000,000 that went by
    expect(kept[7]).toEqual({ kind: "came", nameKey: "ann7", username: "Ann7" });
  });
});

function memory(): number {
  Bun.gc(true);
  return process.memoryUsage.rss();
}
