/** Events of every kind for properties, with every text in their names. */

import fc from "fast-check";

import type { BusEvent } from "../../src/cluster/events.ts";
import { draftFrame, membershipFrame, readFrame, SYNC_FRAME, typingFrame } from "../../src/protocol.ts";

const POD = "0123456789abcdef0123456789abcdef";

/** Texts for every place where a text may stand. */
const hostileText = fc.oneof(
  fc.string({ unit: "binary" }).map((text) => text.toWellFormed()),
  fc.constantFrom("\t", "\n", '"', '"],["user","ghost"],["', "\\", "\0", "\u2028", "__proto__", '{"type":"sync"}'),
);
const name = hostileText.filter((text) => text.length > 0);
const number = fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER });
const instant = fc
  .date({ noInvalidDate: true, min: new Date(0), max: new Date("9999-12-31") })
  .map((date) => date.toISOString());
const frame = fc.oneof(
  fc.tuple(name, name, number).map(([reader, peer, seq]) => readFrame(reader, peer, seq)),
  fc.record({ peer: name, text: hostileText, at: instant }).map(draftFrame),
  fc
    .record({
      peer: name,
      settings_revision: fc.nat(),
      muted: fc.boolean(),
      muted_until: fc.option(instant),
      pinned_at: fc.option(instant),
      archived_seq: fc.option(number),
      marked_unread_seq: fc.option(fc.nat()),
    })
    .map(({ peer, ...settings }) => membershipFrame(peer, settings)),
  name.map(typingFrame),
  fc.constant(SYNC_FRAME),
);
export const anyEvent: fc.Arbitrary<BusEvent> = fc.oneof(
  fc.record({
    kind: fc.constant("message" as const),
    from: name,
    to: name,
    message: fc.option(name),
    id: number,
    seq: number,
    timestamp: instant,
    ref: fc.option(fc.stringMatching(/^[A-Za-z0-9_-]{8,64}$/)),
    blockedByReceiver: fc.boolean(),
    replyTo: fc.option(number),
    file: fc.option(
      fc.record(
        {
          id: fc.stringMatching(/^[\w-]{22}$/),
          name: fc.string({ maxLength: 150 }),
          type: fc.constantFrom("image/jpeg", "application/octet-stream"),
          size: number,
          width: number,
          height: number,
          placeholder: fc.stringMatching(/^[A-Za-z0-9+/]{48}$/),
        },
        { requiredKeys: ["id", "name", "type", "size"] },
      ),
    ),
  }),
  fc.record({ kind: fc.constant("frame" as const), to: fc.array(name, { minLength: 1, maxLength: 4 }), frame }),
  fc.record({ kind: fc.constant("end" as const), nameKey: name, sessionId: number }),
  fc.record({ kind: fc.constant("privacy" as const), nameKey: name, hidesLastSeen: fc.boolean() }),
  fc.record({ kind: fc.constant("block" as const), nameKeys: fc.tuple(name, name) }),
  fc.record({ kind: fc.constant("user" as const), username: name }),
  fc.record({ kind: fc.constant("online" as const), nameKey: name, username: name }),
  fc.record({
    kind: fc.constant("offline" as const),
    nameKey: name,
    lastSeen: instant,
  }),
  fc.constant({ kind: "leaving" as const }),
  fc.constant({ kind: "snapshotRequest" as const, pod: POD }),
  fc.record({ kind: fc.constant("snapshot" as const), first: fc.boolean(), people: fc.array(fc.tuple(name, name)) }),
);
