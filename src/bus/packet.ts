/**
 * What travels between pods: text of a header line and a line for each event, fields parted by tabs. Names have neither tabs nor
 * line breaks, and JSON writes them as `\t` and `\n`; so nothing is quoted, and frames are passed on as they are.
 *
 * @example "e\tq3Jx0bTz9a8K\t17\nf\tann\tbob\t{\"type\":\"message\", …}\nu\tcarol"
 */

import { SYNC_FRAME } from "../protocol.ts";
import type { BusEvent } from "./bus.ts";

/** `number` counts up with each `events` packet. The other two tell the last number used, so that a lost last packet is noticed too. */
export interface Packet {
  readonly kind: "events" | "beat" | "goodbye";
  readonly pod: string;
  readonly number: number;
  readonly events: readonly BusEvent[];
}

const LETTERS = { events: "e", beat: "b", goodbye: "g" } as const;
const KINDS = { e: "events", b: "beat", g: "goodbye" } as const;
const HEADER = /^([ebg])\t([\w-]{1,32})\t(\d{1,15})$/;
const HEADER_MAX_BYTES = 1 + 1 + 32 + 1 + 15;

/** @param body from a `Packer` */
export function encodePacket(kind: Packet["kind"], pod: string, number: number, body = ""): string {
  return `${LETTERS[kind]}\t${pod}\t${number}${body}`;
}

/** Whether a packet is this pod's, told without reading it: a busy pod hears each of its own. */
export function isFrom(pod: string, text: string): boolean {
  return text.startsWith(`${pod}\t`, 2);
}

/**
 * Reads a packet. Kinds of events that this version does not know are passed over.
 *
 * @returns undefined for what is none
 */
export function parsePacket(text: string): Packet | undefined {
  const [head = "", ...lines] = text.split("\n");
  const [, letter, pod = "", number] = HEADER.exec(head) ?? [];
  if (letter === undefined) return undefined;
  const events: BusEvent[] = [];
  for (const line of lines) {
    const event = parseEvent(line);
    if (event === "malformed") return undefined;
    if (event !== "unknown") events.push(event);
  }
  return { kind: KINDS[letter as keyof typeof KINDS], pod, number: Number(number), events };
}

/** Events waiting for their packets, packed already: each body fits into a packet of `maxBytes`, header included. */
export class Packer {
  readonly #room: number;
  #bodies: { text: string; bytes: number; events: number }[] = [];
  #bytes = 0;
  #events = 0;

  constructor(maxBytes: number) {
    this.#room = maxBytes - HEADER_MAX_BYTES;
  }

  get bytes(): number {
    return this.#bytes;
  }

  get events(): number {
    return this.#events;
  }

  /** Adds an event. One too large for a packet goes in parts; a frame too large goes as `sync`, so that its people ask. */
  add(event: BusEvent): void {
    if (event.kind === "frame" && event.to.length === 0) return;
    const line = encodeEvent(event);
    const bytes = Buffer.byteLength(line);
    if (bytes > this.#room) {
      for (const smaller of split(event)) this.add(smaller);
      return;
    }
    this.#bytes += bytes;
    this.#events++;
    const last = this.#bodies.at(-1);
    if (last === undefined || last.bytes + bytes > this.#room) {
      this.#bodies.push({ text: line, bytes, events: 1 });
    } else {
      last.text += line;
      last.bytes += bytes;
      last.events++;
    }
  }

  /** The next packet's body; undefined when nothing waits. */
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

/** A line with the line break before it. */
function encodeEvent(event: BusEvent): string {
  switch (event.kind) {
    case "frame":
      return `\nf\t${event.to.join("\t")}\t${event.frame}`;
    case "end":
      return `\ne\t${event.nameKey}\t${event.sessionId}`;
    case "veil":
      return `\nv\t${event.nameKey}\t${event.on ? "1" : "0"}`;
    case "block":
      return `\nb\t${event.nameKeys.join("\t")}`;
    case "user":
      return `\nu\t${event.username}`;
    case "came":
      return `\nc\t${event.nameKey}\t${event.username}`;
    case "went":
      return `\nw\t${event.nameKey}\t${event.lastSeen}`;
    case "leaving":
      return "\nl";
    case "ask":
      return `\na\t${event.pod}`;
    case "people":
      return ["\np", event.first ? "1" : "0", ...event.people.flat()].join("\t");
  }
}

/** The same in smaller events; none when it cannot be made smaller. */
function split(event: BusEvent): BusEvent[] {
  if (event.kind === "frame" && event.frame !== SYNC_FRAME) return [{ ...event, frame: SYNC_FRAME }];
  if (event.kind === "frame" && event.to.length > 1) {
    const half = event.to.length >> 1;
    return [
      { ...event, to: event.to.slice(0, half) },
      { ...event, to: event.to.slice(half) },
    ];
  }
  if (event.kind === "people" && event.people.length > 1) {
    const half = event.people.length >> 1;
    return [
      { ...event, people: event.people.slice(0, half) },
      { ...event, first: false, people: event.people.slice(half) },
    ];
  }
  return [];
}

function parseEvent(line: string): BusEvent | "malformed" | "unknown" {
  if (line.startsWith("f\t")) return relayed(line);
  const [letter, ...fields] = line.split("\t");
  const [first = "", second = ""] = fields;
  const one = fields.length === 1 && first !== "";
  const two = fields.length === 2 && first !== "" && second !== "";
  switch (letter) {
    case "e":
      return two && /^\d{1,15}$/.test(second)
        ? { kind: "end", nameKey: first, sessionId: Number(second) }
        : "malformed";
    case "v":
      return two && /^[01]$/.test(second) ? { kind: "veil", nameKey: first, on: second === "1" } : "malformed";
    case "b":
      return two ? { kind: "block", nameKeys: [first, second] } : "malformed";
    case "u":
      return one ? { kind: "user", username: first } : "malformed";
    case "c":
      return two ? { kind: "came", nameKey: copied(first), username: copied(second) } : "malformed";
    case "w":
      return two ? { kind: "went", nameKey: first, lastSeen: second } : "malformed";
    case "l":
      return fields.length === 0 ? { kind: "leaving" } : "malformed";
    case "a":
      return one ? { kind: "ask", pod: first } : "malformed";
    case "p":
      return parsePeople(fields);
    default:
      return /^[a-z]/.test(line) ? "unknown" : "malformed";
  }
}

/** The hot one: keys, then the frame after the last tab. */
function relayed(line: string): BusEvent | "malformed" {
  const end = line.lastIndexOf("\t");
  if (end < 3 || line[end + 1] !== "{") return "malformed";
  return { kind: "frame", to: line.slice(2, end).split("\t"), frame: line.slice(end + 1) };
}

/** For what is kept: a part of a text holds all of it in memory, here 64 KB for the name of whoever came. */
function copied(text: string): string {
  return Buffer.from(text).toString();
}

function parsePeople([first, ...names]: readonly string[]): BusEvent | "malformed" {
  if ((first !== "0" && first !== "1") || names.length % 2 !== 0 || names.includes("")) return "malformed";
  const people: [string, string][] = [];
  for (let i = 0; i < names.length; i += 2) people.push([copied(names[i]!), copied(names[i + 1]!)]);
  return { kind: "people", first: first === "1", people };
}
