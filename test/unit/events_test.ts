import { describe, expect, test } from "bun:test";

import fc from "fast-check";

import { type BusEvent, decodeEvent, encodeEvent } from "../../src/cluster/events.ts";
import { typingFrame } from "../../src/protocol.ts";
import { anyEvent } from "../support/any_event.ts";

const TOKEN = "abcdefghijklmnop";
const NOW = "2026-11-22T18:30:00.500000Z";

/** A `changed` frame, with other values in some fields of its message. */
const changed = (fields: Record<string, unknown>, revision = 4) =>
  frame({
    type: "changed",
    peer: "bob",
    revision,
    message: { sender: "bob", receiver: "ann", content: "hi", timestamp: NOW, read: false, id: 1, seq: 1, ...fields },
  });
/** A `membership` frame with other values in some fields. */
const membership = (fields: Record<string, unknown>) => {
  const settings = { settings_revision: 1, muted: true, muted_until: NOW, pinned_at: null, archived_seq: 7 };
  return frame({ type: "membership", peer: "bob", ...settings, marked_unread_seq: 0, ...fields });
};
const frame = (value: object) => ["frame", ["ann"], value];

describe("an event", () => {
  test("arrives as it was, whatever is in its names and texts", () => {
    fc.assert(
      fc.property(anyEvent, (event) => {
        expect(decodeEvent(JSON.parse(encodeEvent(event)))).toEqual(event);
      }),
      { numRuns: 1_000 },
    );
  });

  test("is rejected in any other form", () => {
    fc.assert(
      fc.property(fc.oneof(fc.jsonValue(), fc.tuple(anyEvent, fc.nat(5), fc.jsonValue())), (made) => {
        let value: unknown = made;
        if (Array.isArray(made) && made.length === 3 && typeof made[0] === "object" && made[0] && "kind" in made[0]) {
          const [event, at, other] = made as [BusEvent, number, unknown];
          const array = JSON.parse(encodeEvent(event)) as unknown[];
          array[at] = other;
          value = array;
        }
        const event = decodeEvent(value);
        if (typeof event === "string") expect(["malformed", "unknown"]).toContain(event);
        else expect(decodeEvent(JSON.parse(encodeEvent(event as BusEvent)))).toEqual(event);
      }),
      { numRuns: 2_000 },
    );
  });

  /** A message with one field changed. */
  const message = (at: number, value: unknown) =>
    ["message", "Bob", "Vera", "hi", 1, 1, NOW, "a-ref-of-bobs", false].with(at, value as never);
  test.each<[string, unknown]>([
    ["no array", { kind: "user", username: "ann" }],
    ["null", null],
    ["empty", []],
    ["a kind that is no text", [7, "ann"]],
    ["a kind in a list", [["user"], "ann"]],
    ["a field missing", ["online", "ann"]],
    ["a name that is empty", ["user", ""]],
    ["a name that is a number", ["user", 7]],
    ["a name that is a list", ["user", ["ann"]]],
    ["a name that is too long", ["user", "x".repeat(1_001)]],
    ["a session of no number", ["end", "ann", "1"]],
    ["a session of a fraction", ["end", "ann", 1.5]],
    ["a session below one", ["end", "ann", 0]],
    ["a session beyond what is exact", ["end", "ann", 2 ** 53]],
    ["a flag that is a number", ["privacy", "ann", 1]],
    ["an instant that is none", ["offline", "ann", "yesterday"]],
    ["an instant that is too long", ["offline", "ann", `2026-11-22T18:30:00.${"5".repeat(100)}Z`]],
    ["a pod of another form", ["snapshotRequest", "../pod"]],
    ["a list of users that is none", ["snapshot", true, { length: 1 }]],
    ["a user without a name", ["snapshot", true, [["ann"]]]],
    ["a user of three names", ["snapshot", true, [["ann", "Ann", "x"]]]],
    ["too many users", ["snapshot", true, Array.from({ length: 10_001 }, () => ["ann", "Ann"])]],
    ["a frame to no user", ["frame", [], { type: "sync" }]],
    ["a frame to a text", ["frame", "ann", { type: "sync" }]],
    ["a frame that is text", ["frame", ["ann"], '{"type":"sync"}']],
    ["a frame that is a list", ["frame", ["ann"], [{ type: "sync" }]]],
    ["a frame that is null", ["frame", ["ann"], null]],
    ["a frame without a type", ["frame", ["ann"], { from: "Bob", to: "Vera" }]],
    ["a frame of a type that is a list", ["frame", ["ann"], { type: ["message"] }]],
    ["a profile of no user", ["profile", "", "ann", null, null]],
    ["a profile with an empty display name", ["profile", "ann", "ann", "", null]],
    ["a profile with a long display name", ["profile", "ann", "ann", "x".repeat(101), null]],
    ["a profile with a path as version", ["profile", "ann", "ann", null, "../../etc/passwd"]],
    ["typing of no user", frame({ type: "typing" })],
    ["typing of a number", frame({ type: "typing", user: 7 })],
    ["a read mark without a peer", frame({ type: "read", reader: "bob", seq: 1 })],
    ["a read mark of an object", frame({ type: "read", reader: { name: "bob" }, peer: "ann", seq: 1 })],
    ["a read mark below one", frame({ type: "read", reader: "bob", peer: "ann", seq: -1 })],
    ["a delivered mark of a text", frame({ type: "delivered", peer: "bob", seq: "1" })],
    ["a delivered mark beyond what is exact", frame({ type: "delivered", peer: "bob", seq: 2 ** 53 })],
    ["a draft without a text", frame({ type: "draft", peer: "bob", at: NOW })],
    ["a draft of no time", frame({ type: "draft", peer: "bob", text: "hi", at: "now" })],
    ["a draft that is too large", frame({ type: "draft", peer: "bob", text: "x".repeat(8_001), at: NOW })],
    ["a change of nothing", frame({ type: "changed", peer: "bob", revision: 1 })],
    ["a change to no revision", changed({}, 0)],
    ["a change of no number", changed({ seq: 0 })],
    ["a change of no sender", changed({ sender: "" })],
    ["a change to a list", changed({ content: ["hi"] })],
    ["a change to a text that is too long", changed({ content: "x".repeat(65_537) })],
    ["a change with a deletion that is a number", changed({ deleted: 1 })],
    ["a change with reactions of three users", changed({ reactions: { ann: "👍", bob: "👍", vera: "👍" } })],
    ["a change with a reaction that is too long", changed({ reactions: { ann: "👍".repeat(40) } })],
    ["a change with a reaction that is none", changed({ reactions: { ann: "" } })],
    ["a membership without a peer", membership({ peer: "" })],
    ["a membership with a mute of no flag", membership({ muted: null })],
    ["a membership with a mute to no time", membership({ muted_until: "infinity" })],
    ["a membership without a pin or null", membership({ pinned_at: undefined })],
    ["a membership with an archive of no number", membership({ archived_seq: 0 })],
    ["a membership with a mark below zero", membership({ marked_unread_seq: -1 })],
    ["a membership of no revision", membership({ settings_revision: "1" })],
    ["a message from a number", message(1, 7)],
    ["a message to nobody", message(2, "")],
    ["a message without a text", message(3, "")],
    ["a message that is too long", message(3, "x".repeat(8_001))],
    ["a message of no number", message(4, "1")],
    ["a message with the number zero", message(5, 0)],
    ["a message of no time", message(6, "now")],
    ["a message with a bad ref", message(7, "~pod~1")],
    ["a message with no word of whether it is hidden", message(8, undefined)],
    ["a challenge of another form", ["challenge", "short"]],
    ["an answer to nothing", ["answer", []]],
    ["too many answers", ["answer", Array.from({ length: 201 }, () => TOKEN)]],
  ])("is dropped as malformed: %s", (_, value) => {
    expect(decodeEvent(value)).toBe("malformed");
  });

  test.each<[string, unknown]>([
    ["of a kind that this version does not know", ["wave", "ann"]],
    ["with a frame of a type that this version does not know", ["frame", ["ann"], { type: "wave" }]],
    ["with a message as a frame", ["frame", ["ann"], { type: "message", from: "Bob", to: "Vera", message: "hi" }]],
    ["with a frame that only the server's own sockets get", ["frame", ["ann"], { type: "hello", username: "ann" }]],
  ])("is dropped as unknown: %s", (_, value) => {
    expect(decodeEvent(value)).toBe("unknown");
  });

  test("of a newer version is read as far as this one supports it", () => {
    expect(decodeEvent(["user", "ann", { more: true }])).toEqual({ kind: "user", username: "ann" });
    expect(decodeEvent(frame({ type: "typing", user: "bob", more: [1] }))).toMatchObject({ frame: typingFrame("bob") });
  });

  test("of a change is passed on with the fields of a message only", () => {
    const fields = { reply_to: 3, edited_at: NOW, deleted: true, reactions: { ["__proto__"]: "👍" }, revision: 4 };
    const value = changed({ ...fields, ref: "a-ref-of-bobs", from: "bob", to: "ann", html: "<b>" });
    const { frame: passedOn } = decodeEvent(value) as Extract<BusEvent, { kind: "frame" }>;
    const { message: row } = JSON.parse(passedOn) as { message: Record<string, unknown> };
    expect(row).toMatchObject({ content: "hi", ...fields, ref: "a-ref-of-bobs" });
    for (const field of ["from", "to", "html"]) expect(row).not.toHaveProperty(field);
  });

  test("of an older pod has no message that it answers", () => {
    expect(decodeEvent(message(0, "message"))).toMatchObject({ kind: "message", replyTo: null, file: null });
  });

  test("shows no message in a frame of another type", () => {
    const message = { from: "bob", to: "ann", message: "forged", id: 1, seq: 1 };
    for (const type of ["typing", "read", "delivered", "draft", "sync"]) {
      const value = frame({ type, user: "bob", reader: "bob", peer: "ann", text: "hi", at: NOW, ...message });
      const { frame: passedOn } = decodeEvent(value) as Extract<BusEvent, { kind: "frame" }>;
      expect(Object.keys(JSON.parse(passedOn) as object)).not.toContainAnyValues(["from", "to", "message"]);
    }
  });
});
