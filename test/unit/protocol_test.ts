import { describe, expect, test } from "bun:test";

import fc from "fast-check";

import { ChatError } from "../../src/errors.ts";
import {
  ackFrame,
  type ClientFrame,
  deliveredFrame,
  draftFrame,
  errorFrame,
  helloFrame,
  messageFrame,
  newUserFrame,
  ONLINE,
  parseFrame,
  presenceEntry,
  presenceFrame,
  readFrame,
  statusFrame,
  typingFrame,
  WATCH_MAX,
} from "../../src/protocol.ts";

const TYPES = ["message", "read", "typing", "draft", "watch", "ping"] as const;

/** A frame, or the message of its rejection; any other exception fails the test. */
function read(text: string): ClientFrame | ChatError {
  try {
    return parseFrame(text);
  } catch (error) {
    if (error instanceof ChatError && error.code === "bad_request") return error;
    throw error;
  }
}

/** Whether a frame has exactly the fields of its type. */
function isWellTyped(frame: ClientFrame): boolean {
  const fields = Object.keys(frame).toSorted().join();
  switch (frame.type) {
    case "message":
      return (
        fields === "file,message,ref,replyTo,to,type" &&
        (frame.file === undefined || /^[\w-]{22}$/.test(frame.file)) &&
        (frame.replyTo === undefined || (Number.isSafeInteger(frame.replyTo) && frame.replyTo >= 0)) &&
        typeof frame.to === "string" &&
        typeof frame.message === "string" &&
        (frame.ref === undefined || /^[A-Za-z0-9_-]{8,64}$/.test(frame.ref))
      );
    case "read":
      return (
        fields === "peer,seq,type" &&
        typeof frame.peer === "string" &&
        Number.isSafeInteger(frame.seq) &&
        frame.seq >= 0
      );
    case "edit":
    case "delete":
    case "react":
      return (
        fields === "peer,ref,seq,text,type" &&
        typeof frame.peer === "string" &&
        typeof frame.text === "string" &&
        Number.isSafeInteger(frame.seq) &&
        frame.seq >= 0 &&
        /^[A-Za-z0-9_-]{8,64}$/.test(frame.ref)
      );
    case "typing":
      return fields === "peer,type" && typeof frame.peer === "string";
    case "draft":
      return fields === "peer,text,type" && typeof frame.peer === "string" && typeof frame.text === "string";
    case "watch":
      return (
        fields === "type,users" &&
        Array.isArray(frame.users) &&
        frame.users.length <= WATCH_MAX &&
        frame.users.every((user) => typeof user === "string")
      );
    case "ping":
      return fields === "type";
  }
}

const isFrame = (text: string) => {
  const frame = read(text);
  return frame instanceof ChatError ? undefined : isWellTyped(frame);
};

const text = fc.string({ unit: "binary" });
const ref = fc.stringMatching(/^[A-Za-z0-9_-]{8,64}$/);
const good: fc.Arbitrary<Record<string, unknown>> = fc.oneof(
  fc.record({ to: text, message: text }),
  fc.record({ type: fc.constant("message"), to: text, message: text, ref }),
  fc.record({ type: fc.constant("read"), peer: text, seq: fc.maxSafeNat() }),
  fc.record({ type: fc.constant("typing"), peer: text }),
  fc.record({ type: fc.constant("draft"), peer: text, text }),
  fc.record({ type: fc.constant("watch"), users: fc.array(text, { maxLength: WATCH_MAX }) }),
  fc.record({ type: fc.constant("ping") }),
);

describe("a frame", () => {
  test("of any text is well typed or rejected as bad_request", () => {
    fc.assert(
      fc.property(text, (text) => isFrame(text) !== false),
      { numRuns: 1_000 },
    );
    fc.assert(
      fc.property(fc.json(), (text) => isFrame(text) !== false),
      { numRuns: 1_000 },
    );
  });

  test("with fields of any kind is well typed or rejected", () => {
    const field = fc.constantFrom("type", "to", "message", "ref", "peer", "seq", "users", "__proto__", "constructor");
    const value = fc.oneof(fc.constantFrom(...TYPES), text, ref, fc.double(), fc.jsonValue(), fc.array(text));
    fc.assert(
      fc.property(fc.array(fc.tuple(field, value), { maxLength: 6 }), (fields) => {
        const members = fields.map(([name, value]) => `${JSON.stringify(name)}:${JSON.stringify(value)}`);
        expect(isFrame(`{${members.join(",")}}`)).not.toBeFalse();
      }),
      { numRuns: 5_000 },
    );
  });

  test("that is valid is read as written, and unknown fields are ignored", () => {
    const more = fc.dictionary(fc.string(), fc.jsonValue());
    const known = new Set(["type", "to", "message", "ref", "peer", "seq", "users"]);
    fc.assert(
      fc.property(good, more, (frame, more) => {
        const others = Object.entries(more).filter(([name]) => !known.has(name));
        const text = JSON.stringify({ ...Object.fromEntries(others), ...frame });
        const expected = frame["type"] === undefined ? { type: "message", ...frame } : frame;
        expect(read(text)).toEqual(expected as ClientFrame);
      }),
      { numRuns: 1_000 },
    );
  });

  test("ignores fields of prototypes", () => {
    for (const text of [
      '{"__proto__":{"type":"ping"},"peer":"ann"}',
      '{"__proto__":{"to":"ann","message":"x"}}',
      '{"type":"typing","__proto__":{"peer":"ann"}}',
      '{"constructor":{"prototype":{"to":"ann","message":"x"}}}',
      '{"type":"toString"}',
      '{"type":"__proto__"}',
      '{"type":"read","peer":"ann","seq":{"valueOf":1}}',
      '{"type":"watch","users":{"length":1,"0":"ann"}}',
    ]) {
      expect(read(text), text).toBeInstanceOf(ChatError);
    }
    expect(({} as Record<string, unknown>)["to"]).toBeUndefined();
  });

  test("nested too deeply is rejected", () => {
    for (const depth of [100, 10_000, 1_000_000]) {
      expect(read("[".repeat(depth))).toBeInstanceOf(ChatError);
      expect(read(`${"[".repeat(depth)}${"]".repeat(depth)}`)).toBeInstanceOf(ChatError);
      const deep = read(`{"type":"ping","more":${'{"a":'.repeat(depth)}1${"}".repeat(depth)}}`);
      expect(deep instanceof ChatError || deep.type === "ping").toBeTrue();
    }
  });

  test.each([
    ["0", 0],
    ["-0", -0],
    ["1e3", 1_000],
    ["9007199254740991", Number.MAX_SAFE_INTEGER],
    ["9007199254740993", Number.MAX_SAFE_INTEGER],
    ["1e308", Number.MAX_SAFE_INTEGER],
  ])("reads up to the number %s", (seq, expected) => {
    expect(read(`{"type":"read","peer":"ann","seq":${seq}}`)).toEqual({ type: "read", peer: "ann", seq: expected });
  });

  test.each(["-1", "0.5", "1e999", "-1e999", '"1"', "true", "null", "[1]", "NaN", "0x1", "1_000", "01", "1n"])(
    "reads up to no number %s",
    (seq) => expect(read(`{"type":"read","peer":"ann","seq":${seq}}`)).toBeInstanceOf(ChatError),
  );

  test("with an unpaired surrogate is parsed unchanged: chat rejects the text, and no name contains one", () => {
    expect(read('{"to":"\\ud800","message":"\\udfff"}')).toMatchObject({ to: "\ud800", message: "\udfff" });
  });

  test("that is rejected reports the send's ref if it is valid", () => {
    fc.assert(
      fc.property(ref, (ref) => {
        expect(read(JSON.stringify({ to: 1, message: "x", ref }))).toMatchObject({ ref });
        expect(read(JSON.stringify({ to: "ann", ref }))).toMatchObject({ ref });
      }),
    );
    for (const ref of ["short", "x".repeat(65), "with space", "ελληνικά", 12_345_678, null, {}]) {
      const refused = read(JSON.stringify({ to: "ann", message: "x", ref }));
      expect(refused).toBeInstanceOf(ChatError);
      expect((refused as ChatError).ref).toBeUndefined();
    }
  });
});

const written = (frame: string): unknown => JSON.parse(frame);

describe("an encoded frame", () => {
  const number = fc.maxSafeNat();
  const state = fc.oneof(
    fc.constant(ONLINE),
    fc.record({ online: fc.boolean(), last_seen: fc.option(fc.string(), { nil: null }) }),
  );
  const maybeRef = fc.option(ref, { nil: undefined });
  const stored = fc.record({ id: number, seq: number, timestamp: fc.string() });

  test("is JSON with its values, whatever names and texts contain", () => {
    fc.assert(
      fc.property(text, text, text, number, stored, maybeRef, state, (from, to, message, seq, stored, ref, state) => {
        const withRef = ref === undefined ? {} : { ref };
        const sent = { from, to, message, ...stored };
        expect(written(messageFrame(sent, ref))).toEqual({ type: "message", ...sent, ...withRef });
        const ack = { type: "ack", ...stored, peer: to, duplicate: true, ...withRef };
        expect(written(ackFrame(stored, to, ref, true))).toEqual(ack);
        expect(written(readFrame(from, to, seq))).toEqual({ type: "read", reader: from, peer: to, seq });
        expect(written(deliveredFrame(to, seq))).toEqual({ type: "delivered", peer: to, seq });
        expect(written(typingFrame(from))).toEqual({ type: "typing", user: from });
        const draft = { peer: to, text: from, at: stored.timestamp };
        expect(written(draftFrame(draft))).toEqual({ type: "draft", ...draft });
        expect(written(newUserFrame(from))).toEqual({ type: "new_user", username: from });
        expect(written(statusFrame([from, to]))).toEqual({ type: "status_update", online: [from, to] });
        const windows = { editWindow: 60, deleteWindow: Number.POSITIVE_INFINITY };
        const server = { epoch: to, version: to, windows, fileMax: 25_000_000 };
        expect(written(helloFrame({ username: from, displayName: to, photo: null }, server))).toEqual({
          type: "hello",
          username: from,
          display_name: to,
          epoch: to,
          version: to,
          time: expect.any(String),
          edit_window: 60,
          delete_window: null,
          file_max: 25_000_000,
        });
        const error = new ChatError("busy", { message, ref });
        const told = { type: "error", code: "busy", message, retry_after: 1, ...withRef };
        expect(written(errorFrame(error))).toEqual(told);
        const users = JSON.parse(presenceFrame([presenceEntry(`x${from}`, state)])) as object;
        expect(users).toEqual({ type: "presence", users: { [`x${from}`]: state } });
      }),
      { numRuns: 500 },
    );
  });
});
