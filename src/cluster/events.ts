/**
 * All events that pods exchange, in one table, which defines their types and encoding (a JSON
 * array: the kind, then the fields in this order) and validates received events.
 */

/**
 * The longest name key is one of the original demo's (the prototype that `db/import_original.ts`
 * imports): 50 characters, each of which NFKC expands to up to 18. 50 × 18 = 900, rounded up.
 */
const NAME_MAX_UNITS = 1_000;
const LIST_MAX = 10_000;
const MESSAGE_MAX_UNITS = 2 * 4_000;
/** The original demo's messages may be of any length; longer ones do not fit into a packet. */
const IMPORTED_MAX_UNITS = 65_536;
const EMOJI_MAX_UNITS = 64;
/** 50 characters. */
const DISPLAY_NAME_MAX_UNITS = 100;
/** Fits into a NOTIFY with room to spare. */
export const TOKENS_MAX = 200;

/** Validates a field of a received event; returns undefined if it is invalid. */
type Field<Value> = (value: unknown) => Value | undefined;
type Fields = readonly (readonly [string, Field<unknown>])[];

const name: Field<string> = (value) =>
  typeof value === "string" && value.length > 0 && value.length <= NAME_MAX_UNITS ? value : undefined;
const flag: Field<boolean> = (value) => (typeof value === "boolean" ? value : undefined);
const id: Field<number> = (value) =>
  Number.isSafeInteger(value) && (value as number) > 0 ? (value as number) : undefined;
const idOrZero: Field<number> = (value) => (value === 0 ? value : id(value));
const text: Field<string> = (value) =>
  typeof value === "string" && value.length > 0 && value.length <= MESSAGE_MAX_UNITS ? value : undefined;
const reaction: Field<string> = (value) =>
  typeof value === "string" && value.length > 0 && value.length <= EMOJI_MAX_UNITS ? value : undefined;
const displayName: Field<string> = (value) =>
  typeof value === "string" && value.length > 0 && value.length <= DISPLAY_NAME_MAX_UNITS ? value : undefined;
const importedText: Field<string> = (value) =>
  typeof value === "string" && value.length <= IMPORTED_MAX_UNITS ? value : undefined;
const textOrEmpty: Field<string> = (value) => (value === "" ? value : text(value));
const instant = matching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z$/);
const pod = matching(/^[0-9a-f]{32}$/);
const token = matching(/^[\w-]{16}$/);
const ref = matching(/^[A-Za-z0-9_-]{8,64}$/);

/** 150 characters. */
const FILE_NAME_MAX_UNITS = 300;

/** The file of a message as `/messages` shows it. */
const file = record(
  {
    id: matching(/^[\w-]{22}$/),
    name: (value) => (typeof value === "string" && value.length <= FILE_NAME_MAX_UNITS ? value : undefined),
    type: matching(/^[\w.+-]{1,50}\/[\w.+-]{1,50}$/),
    size: id,
  },
  { width: id, height: id, placeholder: matching(/^[A-Za-z0-9+/]{48}$/) },
);

/** A message as `/messages` shows it. */
const MESSAGE_ROW = {
  sender: name,
  receiver: name,
  content: importedText,
  timestamp: instant,
  read: flag,
  id,
  seq: id,
};
/** Its fields that are present only when they apply. */
const MESSAGE_ROW_OPTIONS = {
  ref,
  reply_to: id,
  edited_at: instant,
  deleted: flag,
  reactions,
  file,
  revision: id,
};

/**
 * Frames relayed between pods. Never name a field `from` or `to`: the original demo's page shows
 * any such frame as a message.
 */
const FRAMES = new Map<unknown, Fields>(
  Object.entries({
    delivered: { peer: name, seq: id },
    read: { reader: name, peer: name, seq: id },
    typing: { user: name },
    draft: { peer: name, text: textOrEmpty, at: instant },
    changed: { peer: name, revision: id, message: record(MESSAGE_ROW, MESSAGE_ROW_OPTIONS) },
    membership: {
      peer: name,
      settings_revision: idOrZero,
      muted: flag,
      muted_until: orNull(instant),
      pinned_at: orNull(instant),
      archived_seq: orNull(id),
      marked_unread_seq: orNull(idOrZero),
    },
    sync: {},
  }).map(([type, fields]) => [type, Object.entries<Field<unknown>>(fields)]),
);

const EVENTS = {
  /**
   * A message was stored: for every socket of both users, or only the sender's
   * (`blockedByReceiver`). As fields it is a third smaller than its frame, which a pod without their
   * sockets need not build. A text too large for a packet is null; clients then fetch it.
   */
  message: {
    from: name,
    to: name,
    message: orNull(text),
    id,
    seq: id,
    timestamp: instant,
    ref: orNull(ref),
    blockedByReceiver: flag,
    /** Absent in events of older pods, as are later fields. */
    replyTo: absentOrNull(id),
    file: absentOrNull(file),
  },
  /** Any other frame, for every socket of the users with these name keys. */
  frame: { to: listOf(name, LIST_MAX, 1), frame: serverFrame },
  /** A session ended: its sockets must close. */
  end: { nameKey: name, sessionId: id },
  /** A user began or stopped hiding their last-seen time. */
  privacy: { nameKey: name, hidesLastSeen: flag },
  /** One of two users blocked the other, or ended a block. */
  block: { nameKeys: listOf(name, 2, 2) },
  /** A user set or removed (null) their display name or photo. */
  profile: { nameKey: name, username: name, displayName: orNull(displayName), photo: orNull(token) },
  /** A user signed up. */
  user: { username: name },
  /** A user's first socket on the sending pod opened. */
  online: { nameKey: name, username: name },
  /** A user's last socket on the sending pod closed, and none opened within the grace period. */
  offline: { nameKey: name, lastSeen: instant },
  /** The sending pod accepts no new sockets and is about to stop. */
  leaving: {},
  /** The sender needs the list of users online on `pod`. */
  snapshotRequest: { pod },
  /** A part of that list, as pairs of name key and name. `first` replaces the known list. */
  snapshot: { first: flag, people: listOf(pair, LIST_MAX) },
  /** Asks every pod to prove that it is running: see `PeerTracker`. */
  challenge: { token },
  /** The proof: tokens of the challenges this pod received. */
  answer: { tokens: listOf(token, TOKENS_MAX, 1) },
} satisfies Record<string, Record<string, Field<unknown>>>;

type Events = typeof EVENTS;
type ValuesOf<Kind extends keyof Events> = {
  readonly [Name in keyof Events[Kind]]: Events[Kind][Name] extends Field<infer Value> ? Value : never;
};
type EventOf<Kind extends keyof Events> = Kind extends unknown ? { readonly kind: Kind } & ValuesOf<Kind> : never;

/** Events by which pods prove that they are running; handled by the bus itself. */
export type Handshake = EventOf<"challenge" | "answer">;

/** Events delivered to `BusHandlers`. */
export type BusEvent = EventOf<Exclude<keyof Events, Handshake["kind"]>>;

const FIELDS = new Map<unknown, Fields>(
  Object.entries(EVENTS).map(([kind, fields]) => [kind, Object.entries<Field<unknown>>(fields)]),
);

/** An event as JSON. A frame already is JSON and is embedded unchanged. */
export function encodeEvent(event: BusEvent | Handshake): string {
  if (event.kind === "frame") return `["frame",${JSON.stringify(event.to)},${event.frame}]`;
  const values: unknown[] = [event.kind];
  for (const [field] of FIELDS.get(event.kind) ?? []) values.push((event as Record<string, unknown>)[field]);
  return JSON.stringify(values);
}

/**
 * Validates a received event. Ignores fields that a newer version appended.
 *
 * @returns "unknown" for kinds of a newer version, "malformed" for other invalid values
 */
export function decodeEvent(value: unknown): BusEvent | Handshake | "unknown" | "malformed" {
  if (!Array.isArray(value)) return "malformed";
  const fields = FIELDS.get(value[0]);
  if (!fields) return typeof value[0] === "string" ? "unknown" : "malformed";
  const event: Record<string, unknown> = { kind: value[0] };
  let at = 1;
  for (const [field, read] of fields) {
    const checked = read(value[at++]);
    if (checked === undefined) return isNewerFrame(value) ? "unknown" : "malformed";
    event[field] = checked;
  }
  return event as unknown as BusEvent | Handshake;
}

/** A frame for clients as JSON, with only its known fields. */
function serverFrame(value: unknown): string | undefined {
  const type = typeOf(value);
  const fields = FRAMES.get(type);
  if (!fields) return undefined;
  const frame: Record<string, unknown> = { type };
  for (const [field, read] of fields) {
    frame[field] = read((value as Record<string, unknown>)[field]);
    if (frame[field] === undefined) return undefined;
  }
  return JSON.stringify(frame);
}

function isNewerFrame([kind, , frame]: readonly unknown[]): boolean {
  const type = typeOf(frame);
  return kind === "frame" && typeof type === "string" && !FRAMES.has(type);
}

function typeOf(frame: unknown): unknown {
  return typeof frame === "object" && frame !== null ? (frame as { type?: unknown }).type : undefined;
}

function pair(value: unknown): readonly [string, string] | undefined {
  if (!Array.isArray(value) || value.length !== 2) return undefined;
  const [key, username] = [name(value[0]), name(value[1])];
  return key === undefined || username === undefined ? undefined : [key, username];
}

function listOf<Value>(item: Field<Value>, max: number, min = 0): Field<readonly Value[]> {
  return (value) => {
    if (!Array.isArray(value) || value.length < min || value.length > max) return undefined;
    return value.every((each) => item(each) !== undefined) ? (value as Value[]) : undefined;
  };
}

function orNull<Value>(field: Field<Value>): Field<Value | null> {
  return (value) => (value === null ? null : field(value));
}

/** A field that older pods do not send. */
function absentOrNull<Value>(field: Field<Value>): Field<Value | null> {
  return (value) => (value === undefined ? null : orNull(field)(value));
}

/** An object, with only these fields. */
function record(required: Record<string, Field<unknown>>, optional: Record<string, Field<unknown>>): Field<object> {
  return (value) => {
    if (typeof value !== "object" || value === null) return undefined;
    const given = value as Record<string, unknown>;
    const checked: Record<string, unknown> = {};
    for (const [key, field] of Object.entries({ ...required, ...optional })) {
      if (given[key] === undefined && key in optional) continue;
      checked[key] = field(given[key]);
      if (checked[key] === undefined) return undefined;
    }
    return checked;
  };
}

/** Emoji by name, of at most two users. */
function reactions(value: unknown): object | undefined {
  if (typeof value !== "object" || value === null) return undefined;
  const entries = Object.entries(value);
  const isValid =
    entries.length <= 2 && entries.every(([key, emoji]) => name(key) !== undefined && reaction(emoji) !== undefined);
  return isValid ? Object.fromEntries(entries) : undefined;
}

function matching(pattern: RegExp): Field<string> {
  return (value) => (typeof value === "string" && pattern.test(value) ? value : undefined);
}
