/** Hostile frames: valid ones of every type, then corrupted; and the outcome that docs/protocol.md prescribes for each. */

import { isUtf8 } from "node:buffer";

import type { ClientFrame } from "../../src/protocol.ts";
import type { Random } from "../chaos/random.ts";
import { edgeCaseField, edgeCaseJson, edgeCaseText, injection, randomBytes, randomText } from "./edge_cases.ts";

export type FrameType = ClientFrame["type"];
const TYPES = Object.keys({
  message: 1,
  edit: 1,
  delete: 1,
  react: 1,
  read: 1,
  typing: 1,
  draft: 1,
  watch: 1,
  ping: 1,
} satisfies Record<FrameType, 1>) as FrameType[];

export type Outcome =
  /** Rejected at once. */
  | { readonly kind: "rejected"; readonly code: "bad_request" | "invalid_text" }
  /** Stored, or rejected for its recipient or ref. */
  | {
      readonly kind: "send";
      readonly to: string;
      readonly message: string;
      readonly replyTo: number | undefined;
      readonly ref: string | undefined;
    }
  /** Made, or rejected for its peer, its message or its ref. */
  | ({ readonly kind: "change" } & Change)
  | { readonly kind: "pong" }
  | { readonly kind: "accepted"; readonly type: "read" | "typing" | "draft" | "watch" }
  /** The socket is closed. */
  | { readonly kind: "closed" }
  /** RFC 6455 does not say, or the frame never ends. */
  | { readonly kind: "unspecified" };

export interface Change {
  readonly type: "edit" | "delete" | "react";
  readonly peer: string;
  readonly seq: number;
  /** The new text, or the emoji; empty for a deletion. */
  readonly text: string;
  readonly ref: string;
}

export interface HostileFrame {
  /** On the wire, with its header. */
  readonly bytes: Buffer;
  readonly outcome: Outcome;
}

export interface Sender {
  readonly peers: readonly string[];
  /** Users with a device on another pod. */
  readonly victims: readonly string[];
  /** A new ref, or now and then a used one. */
  ref(): string;
  /** The same for a change. */
  changeRef(): string;
  /** A message that was acknowledged, or a change that was answered, as it was sent. */
  again(): object | undefined;
  /** A message in a conversation of the sender, of either user. */
  known(): { readonly peer: string; readonly seq: number } | undefined;
}

const FRAME_MAX_BYTES = 32 * 1024;
const TEXT = 1;
const BINARY = 2;
/** The share of frames that close their socket: opening another takes longer than a hundred frames. */
const CLOSING_SHARE = 0.02;

export function hostileFrame(random: Random, sender: Sender): HostileFrame {
  const roll = random.next();
  if (roll < CLOSING_SHARE / 2) return brokenFrame(random);
  if (roll < CLOSING_SHARE) {
    const bytes = random.next() < 0.5 ? randomBytes(random, 1 + random.below(200)) : corruptBytes(random, sender);
    const opcode = random.next() < 0.3 ? BINARY : TEXT;
    return {
      bytes: frame({ opcode, payload: bytes }),
      outcome: opcode === BINARY ? { kind: "closed" } : expectedOutcome(bytes),
    };
  }
  const bytes = Buffer.from(hostileText(random, sender));
  const mask = random.next() < 0.2 ? randomBytes(random, 4) : undefined;
  return { bytes: frame({ payload: bytes, ...(mask ? { mask } : {}) }), outcome: expectedOutcome(bytes) };
}

/** The prescribed outcome of a text frame with this payload. Independent of the server's own parser, to check it. */
export function expectedOutcome(payload: Buffer): Outcome {
  if (payload.length > FRAME_MAX_BYTES || !isUtf8(payload)) return { kind: "closed" };
  const rejected = { kind: "rejected", code: "bad_request" } as const;
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { ignoreBOM: true }).decode(payload));
  } catch {
    return rejected;
  }
  if (Object.prototype.toString.call(value) !== "[object Object]") return rejected;
  const fields = new Map(Object.entries(value as object));
  const isText = (name: string) => typeof fields.get(name) === "string";
  switch (fields.has("type") ? fields.get("type") : "message") {
    case "message": {
      const [to, message, ref] = ["to", "message", "ref"].map((name) => fields.get(name));
      const validRef = ref === undefined || isRef(ref);
      const replyTo = fields.get("reply_to") as number | undefined;
      if (!validRef || !isText("to") || !isText("message") || (replyTo !== undefined && !isNumber(replyTo)))
        return rejected;
      if (!isValidMessage(message as string)) return { kind: "rejected", code: "invalid_text" };
      return { kind: "send", to: to as string, message: message as string, replyTo, ref: ref as string | undefined };
    }
    case "edit":
    case "delete":
    case "react": {
      const type = fields.get("type") as Change["type"];
      const field = { edit: "message", delete: undefined, react: "emoji" }[type];
      const [peer, seq, ref] = ["peer", "seq", "ref"].map((name) => fields.get(name));
      if (!isRef(ref) || !isText("peer") || !isNumber(seq) || (field !== undefined && !isText(field))) return rejected;
      const text = field === undefined ? "" : (fields.get(field) as string);
      const isValid = { edit: isValidMessage, delete: () => true, react: isValidReaction }[type](text);
      if (!isValid) return { kind: "rejected", code: "invalid_text" };
      return { kind: "change", type, peer: peer as string, seq: seq as number, text, ref: ref as string };
    }
    case "read":
      return isText("peer") && isNumber(fields.get("seq")) ? { kind: "accepted", type: "read" } : rejected;
    case "typing":
      return isText("peer") ? { kind: "accepted", type: "typing" } : rejected;
    case "draft":
      if (!isText("peer") || !isText("text")) return rejected;
      return isValidDraft(fields.get("text") as string)
        ? { kind: "accepted", type: "draft" }
        : { kind: "rejected", code: "invalid_text" };
    case "watch": {
      const users: unknown = fields.get("users");
      const valid = Array.isArray(users) && users.length <= 200 && users.every((user) => typeof user === "string");
      return valid ? { kind: "accepted", type: "watch" } : rejected;
    }
    case "ping":
      return { kind: "pong" };
    default:
      return rejected;
  }
}

/** Visible characters. */
const VISIBLE =
  /[[\p{L}\p{N}\p{P}\p{S}\p{Co}\p{Cn}\u0600-\u0605\u06dd]--[\p{Default_Ignorable_Code_Point}\u2800\u{13441}\u{13442}\u{1d159}]]/v;

/** 1–4,000 code points, not blank, no NUL, no lone surrogate. */
function isValidMessage(message: string): boolean {
  const points = Array.from(message, (character) => character.codePointAt(0) as number);
  if (points.length < 1 || points.length > 4_000) return false;
  if (points.some((point) => point === 0 || (point >= 0xd800 && point <= 0xdfff))) return false;
  return VISIBLE.test(message);
}

const isRef = (value: unknown) => typeof value === "string" && /^[\w-]{8,64}$/.test(value);
const isNumber = (value: unknown) => Number.isInteger(value) && (value as number) >= 0;

/** The parts of RGI_Emoji (UTS #51, ED-20 to ED-27). */
const EMOJI =
  /^(?:\p{Basic_Emoji}|\p{Emoji_Keycap_Sequence}|\p{RGI_Emoji_Modifier_Sequence}|\p{RGI_Emoji_Flag_Sequence}|\p{RGI_Emoji_Tag_Sequence}|\p{RGI_Emoji_ZWJ_Sequence})$/v;

/** One emoji of Unicode's recommended set, or a single emoji character with or without U+FE0F; or nothing. */
function isValidReaction(text: string): boolean {
  const [character = "", selector = "\ufe0f", ...more] = text;
  const isSingle = /\p{Extended_Pictographic}/u.test(character) && selector === "\ufe0f" && more.length === 0;
  return text === "" || isSingle || EMOJI.test(text);
}

/** At most 4,000 code points, no NUL, no lone surrogate. */
function isValidDraft(text: string): boolean {
  const points = Array.from(text, (character) => character.codePointAt(0) as number);
  return points.length <= 4_000 && !points.some((point) => point === 0 || (point >= 0xd800 && point <= 0xdfff));
}

type Field = [name: string, json: string];

const EMOJIS = ["👍", "❤️", "❤", "👍🏽", "👨‍👩‍👧‍👦", "🇬🇷", "1️⃣", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "©", ""];

function validFields(type: FrameType, random: Random, sender: Sender): Field[] {
  const name = () => JSON.stringify(randomName(random, sender));
  const text = (usual: string) => JSON.stringify(random.next() < 0.7 ? usual : edgeCaseText(random).toWellFormed());
  const typed = (fields: Record<string, string>): Field[] => Object.entries({ type: `"${type}"`, ...fields });
  switch (type) {
    case "message": {
      const fields = typed({ to: name(), message: text(`words ${random.below(1e9)}`) });
      if (random.next() < 0.8) fields.push(["ref", JSON.stringify(sender.ref())]);
      if (random.next() < 0.2) {
        const known = sender.known();
        if (known) fields.splice(1, 1, ["to", JSON.stringify(known.peer)], ["reply_to", String(known.seq)]);
      }
      return random.next() < 0.5 ? fields : fields.slice(1); // `type` is optional
    }
    case "edit":
    case "delete":
    case "react": {
      const known = random.next() < 0.8 ? sender.known() : undefined;
      const target = known
        ? { peer: JSON.stringify(known.peer), seq: String(known.seq) }
        : { peer: name(), seq: String(random.below(100)) };
      const content = {
        edit: () => ({ message: text(`edited ${random.below(1e9)}`) }),
        delete: () => ({}),
        react: () => ({ emoji: JSON.stringify(random.pick(EMOJIS)) }),
      }[type]();
      return typed({ ...target, ...content, ref: JSON.stringify(sender.changeRef()) });
    }
    case "read":
      return typed({ peer: name(), seq: String(random.below(10_000)) });
    case "typing":
      return typed({ peer: name() });
    case "draft":
      return typed({ peer: name(), text: text("How are") });
    case "watch":
      return typed({ users: `[${Array.from({ length: random.below(5) }, name).join()}]` });
    case "ping":
      return typed({});
  }
}

function randomName(random: Random, { peers, victims }: Sender): string {
  const roll = random.next();
  if (roll < 0.85) return random.pick(peers);
  if (roll < 0.93) return injection(random, random.pick(victims), random.pick(victims));
  if (roll < 0.999) return edgeCaseText(random).toWellFormed();
  return "x".repeat(64 * 1024); // too large: closes the socket
}

const write = (fields: readonly Field[]) =>
  `{${fields.map(([name, json]) => `${JSON.stringify(name)}:${json}`).join()}}`;

const NAMES = "type,to,message,ref,peer,seq,text,users,emoji,reply_to,__proto__,constructor,toString,,from,TYPE".split(
  ",",
);

function hostileText(random: Random, sender: Sender): string {
  const roll = random.next();
  const again = roll < 0.01 ? sender.again() : undefined;
  if (again) return JSON.stringify(again);
  const fields = validFields(random.pick(TYPES), random, sender);
  if (roll < 0.25) return write(fields);
  if (roll < 0.7) {
    const corrupt = fields.map((field): Field => [...field]);
    for (let changes = random.next() < 0.75 ? 1 : 1 + random.below(4); changes > 0; changes--)
      corruptFields(corrupt, random);
    return write(corrupt);
  }
  if (roll < 0.9) return corruptText(write(fields), random);
  if (roll < 0.95) return edgeCaseJson(random);
  return randomText(random, random.below(60));
}

function corruptFields(fields: Field[], random: Random): void {
  const field = fields[random.below(fields.length)];
  switch (random.below(5)) {
    case 0:
      return void fields.splice(random.below(fields.length), 1);
    case 1:
      return void fields.splice(random.below(fields.length + 1), 0, [random.pick(NAMES), edgeCaseJson(random)]); // possibly a duplicate
    case 2:
      if (field) field[0] = random.pick(NAMES);
      return;
    default:
      if (field) field[1] = edgeCaseField(field[0], random);
  }
}

function corruptText(text: string, random: Random): string {
  const at = random.below(text.length + 1);
  const [head, tail] = [text.slice(0, at), text.slice(at)];
  return random.pick([
    () => head,
    () => tail,
    () => `\ufeff${text}`,
    () => head + randomText(random, 1 + random.below(3)) + tail,
    () => head + tail.slice(1),
    () => text + random.pick([text, ",", "\0", " \t\r\n", "//", "}"]),
    () => random.pick([" ", "\n\t", "\u00a0", "\u2028", ")]}'"]) + text,
  ])();
}

function corruptBytes(random: Random, sender: Sender): Buffer {
  if (random.next() < 0.1) return Buffer.alloc(random.pick([FRAME_MAX_BYTES, FRAME_MAX_BYTES + 1, 60_000]), "x");
  const bytes = Buffer.from(hostileText(random, sender));
  if (bytes.length > 0) bytes[random.below(bytes.length)] = random.pick([0x80, 0xc0, 0xc3, 0xed, 0xf5, 0xff]);
  return bytes;
}

/** Violations of RFC 6455, which no browser sends. */
function brokenFrame(random: Random): HostileFrame {
  const payload = Buffer.from('{"type":"ping"}');
  const control = () => random.pick([8, 9, 10]);
  const closeWith = (...bytes: number[]) => frame({ payload: Buffer.from(bytes), opcode: 8 });
  const lengthOf = (...bytes: number[]) => header(TEXT, 127, bytes);
  const closed: readonly (() => Buffer)[] = [
    () => frame({ payload, rsv: 1 + random.below(7) }),
    () => frame({ payload, opcode: random.pick([3, 4, 5, 6, 7, 11, 12, 13, 14, 15]) }),
    () => frame({ payload, masked: false }),
    () => frame({ payload, opcode: control(), fin: false }),
    () => frame({ payload: Buffer.alloc(126 + random.below(100)), opcode: control() }),
    () => closeWith(0),
    () =>
      closeWith(
        ...random.pick([
          [0, 0],
          [3, 237],
          [3, 238],
          [255, 255],
          [3, 232, 0xff],
        ]),
      ),
    () => frame({ payload, opcode: 0 }),
    () => Buffer.concat([frame({ payload, fin: false }), frame({ payload })]),
    () => closeWith(),
    () =>
      random.pick([
        lengthOf(0x80, 0, 0, 0, 0, 0, 0, 1),
        lengthOf(0, 0, 0, 1, 0, 0, 0, 0),
        lengthOf(0, 0, 0, 0, 0, 1, 0, 0),
      ]),
  ];
  const unspecified: readonly (() => Buffer)[] = [
    () => header(TEXT, 127, [0, 0, 0, 0, 0, 0, 0, 3], "\0\0\0\0{} "), // a longer length field than needed
    () => frame({ payload }).subarray(0, 1 + random.below(20)),
    () => randomBytes(random, 2 + random.below(60)),
  ];
  const bytes = random.pick([...closed, ...unspecified]);
  return { bytes: bytes(), outcome: { kind: closed.includes(bytes) ? "closed" : "unspecified" } };
}

/** @param options.mask zero by default */
function frame(options: {
  payload: Buffer;
  opcode?: number;
  fin?: boolean;
  rsv?: number;
  masked?: boolean;
  mask?: Buffer;
}): Buffer {
  const { payload, opcode = TEXT, fin = true, rsv = 0, masked = true, mask } = options;
  const { length } = payload;
  const extra = length > 65_535 ? 8 : length > 125 ? 2 : 0;
  const from = 2 + extra + (masked ? 4 : 0);
  const bytes = Buffer.alloc(from + length);
  bytes[0] = (fin ? 128 : 0) | (rsv << 4) | opcode;
  bytes[1] = (masked ? 128 : 0) | (extra === 8 ? 127 : extra === 2 ? 126 : length);
  if (extra === 2) bytes.writeUInt16BE(length, 2);
  if (extra === 8) bytes.writeUInt32BE(length, 6);
  payload.copy(bytes, from);
  if (mask) {
    mask.copy(bytes, from - 4);
    for (let i = 0; i < length; i++) bytes[from + i] = (payload[i] as number) ^ (mask[i & 3] as number);
  }
  return bytes;
}

function header(opcode: number, length: number, more: number[], rest = "\0\0\0\0"): Buffer {
  return Buffer.concat([Buffer.from([128 | opcode, 128 | length, ...more]), Buffer.from(rest, "latin1")]);
}

/** A valid text frame. */
export function plainFrame(text: string): Buffer {
  return frame({ payload: Buffer.from(text) });
}
