/** Encodes packets as JSON and packs pending events into them. */

import { SYNC_FRAME } from "../protocol.ts";
import { type BusEvent, decodeEvent, encodeEvent, type Handshake } from "./events.ts";

/**
 * `number` increases with each `events` packet; the other kinds repeat it, which reveals the loss
 * of the last packet.
 *
 * @example ["events",17,["user","carol"],["frame",["ann"],{"type":"sync"}]]
 */
export interface Packet {
  readonly kind: "events" | "beat" | "goodbye";
  readonly number: number;
  readonly events: readonly (BusEvent | Handshake)[];
}

/** Why an event or packet was dropped; a label of `chatify_bus_dropped_total`. */
export type DecodeFailure = "malformed" | "unknown";

const KINDS: ReadonlySet<unknown> = new Set(["events", "beat", "goodbye"] satisfies Packet["kind"][]);
const HEADER_MAX_BYTES = '["goodbye",9007199254740991]'.length;

/** @param body from a `Packer` or `bodyOf` */
export function encodePacket(kind: Packet["kind"], number: number, body = ""): string {
  return `["${kind}",${number}${body}]`;
}

export function bodyOf(events: readonly (BusEvent | Handshake)[]): string {
  return events.map((event) => `,${encodeEvent(event)}`).join("");
}

/**
 * Decodes a packet without its invalid events.
 *
 * @param dropped called for each invalid event
 * @returns undefined if the text is not a packet
 */
export function decodePacket(text: string, dropped: (why: DecodeFailure) => void): Packet | undefined {
  const [kind, number, ...values] = parseArray(text);
  if (!KINDS.has(kind) || !Number.isSafeInteger(number) || (number as number) < 0) return undefined;
  const events: (BusEvent | Handshake)[] = [];
  for (const value of values) {
    const event = decodeEvent(value);
    if (typeof event === "string") dropped(event);
    else events.push(event);
  }
  return { kind: kind as Packet["kind"], number: number as number, events };
}

function parseArray(text: string): unknown[] {
  try {
    const value: unknown = JSON.parse(text);
    return Array.isArray(value) ? value : [];
  } catch {
    return [];
  }
}

/** Pending events, already packed into bodies that each fit into a packet of `maxBytes`. */
export class Packer {
  readonly #room: number;
  #bodies: { text: string; bytes: number; events: number }[] = [];
  #bytes = 0;
  #events = 0;

  /** @param maxBytes of a packet before encryption */
  constructor(maxBytes: number) {
    this.#room = maxBytes - HEADER_MAX_BYTES;
  }

  get bytes(): number {
    return this.#bytes;
  }

  get events(): number {
    return this.#events;
  }

  /** Adds an event; one too large for a packet is split, or replaced by a request to fetch it. */
  add(event: BusEvent): void {
    if (event.kind === "frame" && event.to.length === 0) return;
    const text = `,${encodeEvent(event)}`;
    const bytes = Buffer.byteLength(text);
    if (bytes > this.#room) {
      for (const smaller of split(event)) this.add(smaller);
      return;
    }
    this.#bytes += bytes;
    this.#events++;
    const last = this.#bodies.at(-1);
    if (last === undefined || last.bytes + bytes > this.#room) {
      this.#bodies.push({ text, bytes, events: 1 });
    } else {
      last.text += text;
      last.bytes += bytes;
      last.events++;
    }
  }

  /** Removes the next packet's body; undefined if no event is pending. */
  take(): string | undefined {
    const body = this.#bodies.shift();
    this.#bytes -= body?.bytes ?? 0;
    this.#events -= body?.events ?? 0;
    return body?.text;
  }

  clear(): void {
    this.#bodies = [];
    this.#bytes = 0;
    this.#events = 0;
  }
}

/**
 * Splits an event, or replaces its content by a request to fetch it; none if neither is possible.
 */
function split(event: BusEvent): BusEvent[] {
  if (event.kind === "message" && event.message !== null) return [{ ...event, message: null }];
  if (event.kind === "frame" && event.frame !== SYNC_FRAME) return [{ kind: "frame", to: event.to, frame: SYNC_FRAME }];
  if (event.kind === "frame" && event.to.length > 1) {
    const half = event.to.length >> 1;
    return [
      { ...event, to: event.to.slice(0, half) },
      { ...event, to: event.to.slice(half) },
    ];
  }
  if (event.kind === "snapshot" && event.people.length > 1) {
    const half = event.people.length >> 1;
    return [
      { ...event, people: event.people.slice(0, half) },
      { ...event, first: false, people: event.people.slice(half) },
    ];
  }
  return [];
}
