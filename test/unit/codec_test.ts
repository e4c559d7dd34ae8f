import { describe, expect, test } from "bun:test";

import fc from "fast-check";

import { bodyOf, decodePacket, encodePacket, Packer } from "../../src/cluster/codec.ts";
import type { BusEvent } from "../../src/cluster/events.ts";
import { draftFrame, SYNC_FRAME } from "../../src/protocol.ts";
import { anyEvent } from "../support/any_event.ts";

const ignore = () => {};

/** The packets that events make. */
function packed(events: readonly BusEvent[], maxBytes: number): string[] {
  const packer = new Packer(maxBytes);
  for (const event of events) packer.add(event);
  const packets: string[] = [];
  for (let body = packer.take(); body !== undefined; body = packer.take()) {
    packets.push(encodePacket("events", packets.length + 1, body));
  }
  expect([packer.bytes, packer.events]).toEqual([0, 0]);
  return packets;
}

function unpacked(packets: readonly string[]): unknown[] {
  return packets.flatMap((packet) => decodePacket(packet, (why) => expect(why).toBe("never" as never))!.events);
}

/** Eighty drafts of a hundred times the same letter. */
function eighty(letter: string): BusEvent[] {
  const frame = JSON.stringify({ type: "draft", text: letter.repeat(100) });
  return Array.from({ length: 80 }, () => ({ kind: "frame", to: ["ann"], frame }));
}

describe("packets", () => {
  test("packets carry every event unchanged and in order, within their length limit", () => {
    fc.assert(
      fc.property(fc.array(anyEvent), (events) => {
        const packets = packed(events, 5_900);
        expect(unpacked(packets)).toEqual(events);
        for (const packet of packets) expect(Buffer.byteLength(packet)).toBeLessThanOrEqual(5_900);
      }),
    );
  });

  test("packets differ by kind and number", () => {
    fc.assert(
      fc.property(fc.constantFrom("events", "beat", "goodbye"), fc.maxSafeNat(), (kind, number) => {
        expect(decodePacket(encodePacket(kind, number), ignore)).toEqual({ kind, number, events: [] });
      }),
    );
  });

  test.each([
    "",
    "no JSON",
    "null",
    "{}",
    "[]",
    '["events"]',
    '["events","1"]',
    '["events",-1]',
    '["events",0.5]',
    '["events",1e300]',
    '["news",1]',
    '[["events"],1]',
    '["events",1',
  ])("packets that are none are refused: %s", (text) => {
    expect(decodePacket(text, ignore)).toBeUndefined();
  });

  test("packets drop events that do not fit, and keep the others", () => {
    const dropped: string[] = [];
    const text = '["events",3,["user","ann"],["user",7],null,["wave"],["user","bob"]]';
    const packet = decodePacket(text, (why) => dropped.push(why));
    expect(packet?.events).toEqual([
      { kind: "user", username: "ann" },
      { kind: "user", username: "bob" },
    ]);
    expect(dropped).toEqual(["malformed", "malformed", "unknown"]);
  });

  test("packets hold the two halves of a handshake", () => {
    const events = [
      { kind: "challenge", token: "abcdefghijklmnop" },
      { kind: "answer", tokens: ["ABCDEFGHIJKLMNOP", "0123456789-_abcd"] },
    ] as const;
    expect(decodePacket(encodePacket("beat", 7, bodyOf(events)), ignore)).toEqual({ kind: "beat", number: 7, events });
  });

  test("packets count bytes, not characters", () => {
    for (const letter of ["e", "ε", "語", "😀"]) {
      const sizes = packed(eighty(letter), 7_999).map((packet) => Buffer.byteLength(packet));
      expect(Math.max(...sizes)).toBeLessThanOrEqual(7_999);
      for (const size of sizes.slice(0, -1)) expect(size).toBeGreaterThan(7_400); // and they are filled
    }
    expect(packed(eighty("ε"), 7_999).length).toBeGreaterThan(packed(eighty("e"), 7_999).length);
  });

  test("packets hold a sync for the users of a frame that is too large", () => {
    const frame = draftFrame({ peer: "bob", text: "😀".repeat(4_000), at: "2026-11-22T18:30:00Z" });
    const large: BusEvent = { kind: "frame", to: ["ann", "bob"], frame };
    const user: BusEvent = { kind: "user", username: "carol" };
    expect(unpacked(packed([large, user], 5_900))).toEqual([{ ...large, frame: SYNC_FRAME }, user]);
    expect(unpacked(packed([large, user], 65_536))).toEqual([large, user]);
    const crowd = Array.from({ length: 2_000 }, (_, i) => `person-${i}`);
    const parts = unpacked(packed([{ ...large, to: crowd }], 5_900)) as { to: string[]; frame: string }[];
    expect(parts.flatMap((part) => (part.frame === SYNC_FRAME ? part.to : []))).toEqual(crowd);
  });

  test("packets hold a message without its text when that is too large", () => {
    const message = { kind: "message" as const, from: "Ann", to: "Bob", message: "😀".repeat(4_000), id: 7, seq: 1, timestamp: "2026-11-22T18:30:00.500000Z", ref: null, blockedByReceiver: false, replyTo: null, file: null }; // prettier-ignore
    expect(unpacked(packed([message], 5_900))).toEqual([{ ...message, message: null }]);
    expect(unpacked(packed([message], 65_536))).toEqual([message]);
  });

  test("packets hold a long list of users in parts, of which only the first begins it", () => {
    const people = Array.from({ length: 3_000 }, (_, i): [string, string] => [`person-${i}`, `Person-${i}`]);
    const parts = unpacked(packed([{ kind: "snapshot", first: true, people }], 5_900)) as {
      first: boolean;
      people: unknown[];
    }[];
    expect(parts.length).toBeGreaterThan(5);
    expect(parts.map(({ first }) => first)).toEqual(parts.map((_, i) => i === 0));
    expect(parts.flatMap((part) => part.people)).toEqual(people);
    const empty: BusEvent = { kind: "snapshot", first: true, people: [] };
    expect(unpacked(packed([empty], 5_900))).toEqual([empty]);
  });

  test("packets leave no more in memory than the names of users", async () => {
    const before = memory();
    const kept = Array.from({ length: 1_000 }, (_, i) => {
      const frame = `{"type":"draft","text":"${`${i} `.repeat(6_000)}"}`;
      const events: BusEvent[] = [{ kind: "online", nameKey: `ann${i}`, username: `Ann${i}` }];
      for (let n = 0; n < 4; n++) events.push({ kind: "frame", to: ["bob"], frame });
      const [packet = ""] = packed(events, 200_000);
      return decodePacket(Buffer.from(packet).toString(), ignore)?.events[0];
    });
    // The system gets memory back some time after it is free.
    for (let tries = 0; memory() - before >= 30_000_000 && tries < 30; tries++) await Bun.sleep(100);
    expect(memory() - before).toBeLessThan(30_000_000); // of some 100,000,000 that went by
    expect(kept[7]).toEqual({ kind: "online", nameKey: "ann7", username: "Ann7" });
  });
});

function memory(): number {
  Bun.gc(true);
  return process.memoryUsage.rss();
}
