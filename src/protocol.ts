/**
 * Parses and encodes all frames of `/ws/{username}` (docs/protocol.md), and lists the close codes.
 */

import { ChatError } from "./errors.ts";

/** What a client may send. Names are as typed; handlers derive the keys. */
export type ClientFrame =
  | MessageFrame
  | ChangeFrame
  | { type: "read"; peer: string; seq: number }
  | { type: "typing"; peer: string }
  | { type: "draft"; peer: string; text: string; ack?: number }
  | { type: "watch"; users: string[]; newUsers?: true }
  | { type: "ping" };

export interface MessageFrame {
  readonly type: "message";
  readonly to: string;
  readonly message: string;
  /** The `seq` of the message that this one answers. */
  readonly replyTo: number | undefined;
  /** The id of the file to send; `message` may then be empty. */
  readonly file: string | undefined;
  readonly ref: string | undefined;
}

/**
 * A change to a message: of its text (`edit`), its deletion (`text` is empty), or the user's
 * reaction to it (`text` is an emoji, or empty to remove it).
 */
export interface ChangeFrame {
  readonly type: "edit" | "delete" | "react";
  readonly peer: string;
  readonly seq: number;
  readonly text: string;
  readonly ref: string;
}

export const FRAME_MAX_BYTES = 32 * 1024;
export const WATCH_MAX = 200;

export const CLOSE = {
  binary: 1003,
  limits: 1008,
  bug: 1011,
  /** Clients reconnect after a random 0–5 s. */
  restarting: 1012,
  overloaded: 1013,
  /** Clients do not reconnect. */
  sessionEnded: 4401,
  /** Clients reconnect once another tab closes. */
  tooManySockets: 4429,
} as const;
export type CloseCode = (typeof CLOSE)[keyof typeof CLOSE];

/**
 * Parses a text frame. Unknown fields are ignored.
 *
 * @throws ChatError `bad_request`, with the `ref` of the message or change if it has a valid one
 */
export function parseFrame(text: string): ClientFrame {
  const frame = parseObject(text);
  const { type = "message" } = frame;
  switch (type) {
    case "message": {
      const { to, message, ref } = frame;
      if (ref !== undefined && !isRef(ref))
        throw new ChatError("bad_request", { message: '"ref" must be 8–64 characters of A-Z a-z 0-9 _ -' });
      if (typeof to !== "string" || typeof message !== "string") {
        throw new ChatError("bad_request", { message: '"message" frames need string fields "to" and "message"', ref });
      }
      const { reply_to: replyTo } = frame;
      if (replyTo !== undefined && !isSeq(replyTo))
        throw new ChatError("bad_request", { message: '"reply_to" must be an integer of at least 0', ref });
      const { file } = frame;
      if (file !== undefined && !isFileId(file))
        throw new ChatError("bad_request", { message: '"file" must be the id of a file', ref });
      return { type, to, message, replyTo: replyTo === undefined ? undefined : cap(replyTo), file, ref };
    }
    case "edit":
    case "delete":
    case "react":
      return parseChange(type, frame);
    case "read": {
      const { peer, seq } = frame;
      if (typeof peer !== "string" || !isSeq(seq)) {
        throw new ChatError("bad_request", {
          message: '"read" frames need a string field "peer" and an integer field "seq" of at least 0',
        });
      }
      return { type, peer, seq: cap(seq) };
    }
    case "typing": {
      if (typeof frame["peer"] !== "string")
        throw new ChatError("bad_request", { message: '"typing" frames need a string field "peer"' });
      return { type, peer: frame["peer"] };
    }
    case "draft": {
      const { peer, text, ack } = frame;
      if (typeof peer !== "string" || typeof text !== "string") {
        throw new ChatError("bad_request", { message: '"draft" frames need string fields "peer" and "text"' });
      }
      if (ack === undefined) return { type, peer, text };
      if (!Number.isSafeInteger(ack)) throw new ChatError("bad_request", { message: '"ack" must be an integer' });
      return { type, peer, text, ack: ack as number };
    }
    case "watch": {
      const { users } = frame;
      if (!Array.isArray(users) || users.length > WATCH_MAX || !users.every((user) => typeof user === "string")) {
        throw new ChatError("bad_request", {
          message: `"watch" frames need a field "users": an array of at most ${WATCH_MAX} names`,
        });
      }
      return frame["new_users"] === true ? { type, users, newUsers: true } : { type, users };
    }
    case "ping":
      return { type };
    default:
      throw new ChatError("bad_request", { message: "The frame has an unknown type" });
  }
}

/** The field of each change that holds its text. */
const CHANGE_TEXTS = { edit: "message", delete: undefined, react: "emoji" } as const;

function parseChange(type: ChangeFrame["type"], frame: Record<string, unknown>): ChangeFrame {
  const { peer, seq, ref } = frame;
  if (!isRef(ref))
    throw new ChatError("bad_request", {
      message: `"${type}" frames need a "ref" of 8–64 characters of A-Z a-z 0-9 _ -`,
    });
  const field = CHANGE_TEXTS[type];
  const text = field === undefined ? "" : frame[field];
  if (typeof peer !== "string" || !isSeq(seq) || typeof text !== "string") {
    const strings = field === undefined ? 'a string field "peer"' : `string fields "peer" and "${field}"`;
    throw new ChatError("bad_request", {
      message: `"${type}" frames need ${strings} and an integer field "seq" of at least 0`,
      ref,
    });
  }
  return { type, peer, seq: cap(seq), text, ref };
}

function parseObject(text: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new ChatError("bad_request", { message: "A frame must be JSON", cause: error });
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new ChatError("bad_request", { message: "A frame must be a JSON object" });
  }
  return value as Record<string, unknown>;
}

function isSeq(value: unknown): value is number {
  return typeof value === "number" && Number.isInteger(value) && value >= 0;
}

/** Larger numbers are inexact, and no conversation is that long. */
const cap = (seq: number) => Math.min(seq, Number.MAX_SAFE_INTEGER);

function isRef(ref: unknown): ref is string {
  return typeof ref === "string" && /^[A-Za-z0-9_-]{8,64}$/.test(ref);
}

function isFileId(id: unknown): id is string {
  return typeof id === "string" && /^[\w-]{22}$/.test(id);
}

/**
 * A message for its receiver and the sender's other sockets. `ref` is undefined if the client sent
 * none.
 */
export function messageFrame(
  message: {
    from: string;
    to: string;
    message: string;
    id: number;
    seq: number;
    timestamp: string;
    reply_to?: number | undefined;
    file?: object | undefined;
  },
  ref: string | undefined,
): string {
  return JSON.stringify({ type: "message", ...message, ref });
}

/** Sent to the sender's socket after the commit. */
export function ackFrame(
  stored: { id: number; seq: number; timestamp: string },
  peer: string,
  ref: string | undefined,
  duplicate: boolean,
): string {
  const { id, seq, timestamp } = stored;
  return JSON.stringify({ type: "ack", ref, id, seq, timestamp, peer, duplicate });
}

export function errorFrame(error: ChatError): string {
  const { code, message, ref, retryAfter } = error;
  return JSON.stringify({ type: "error", code, message, ref, retry_after: retryAfter });
}

/**
 * @param profile the user's own
 * @param state.version of the served page files: a page with a different version is outdated
 * @param state.windows in seconds; infinity, which JSON lacks, is sent as null
 * @param state.fileMax bytes
 */
export function helloFrame(
  user: { username: string; displayName: string | null; photo: string | null },
  state: { epoch: string; version: string; windows: { editWindow: number; deleteWindow: number }; fileMax: number },
): string {
  const { username, displayName, photo } = user;
  const { epoch, version, windows, fileMax } = state;
  return JSON.stringify({
    type: "hello",
    username,
    ...(displayName !== null && { display_name: displayName }),
    ...(photo !== null && { photo }),
    epoch,
    version,
    time: new Date().toISOString(),
    edit_window: windows.editWindow,
    delete_window: windows.deleteWindow,
    file_max: fileMax,
  });
}

/**
 * A message was edited, deleted or reacted to.
 *
 * @param change.message as `/messages` shows it to the user the frame is for; `peer` is the other
 * @param ref of the frame that asked for the change, for its socket
 */
export function changedFrame(change: { peer: string; revision: number; message: object }, ref?: string): string {
  const { peer, revision, message } = change;
  return JSON.stringify({ type: "changed", peer, revision, message, ref });
}

/** A socket of `peer` accepted the user's messages up to `seq`. */
export function deliveredFrame(peer: string, seq: number): string {
  return JSON.stringify({ type: "delivered", peer, seq });
}

/** `reader` has read the messages of `peer` up to `seq`. */
export function readFrame(reader: string, peer: string, seq: number): string {
  return JSON.stringify({ type: "read", reader, peer, seq });
}

export function typingFrame(user: string): string {
  return JSON.stringify({ type: "typing", user });
}

/** The user's draft to `peer` changed on another device; an empty `text` deletes it. */
export function draftFrame(draft: { peer: string; text: string; at: string }): string {
  const { peer, text, at } = draft;
  return JSON.stringify({ type: "draft", peer, text, at });
}

/** @param ack the client's number of the stored draft */
export function draftSavedFrame(peer: string, ack: number): string {
  return JSON.stringify({ type: "draft_saved", peer, ack });
}

/** What a user shows beside the name has changed. @param profile null: nothing */
export function profileFrame(user: string, profile: { displayName: string | null; photo: string | null }): string {
  return JSON.stringify({ type: "profile", user, display_name: profile.displayName, photo: profile.photo });
}

/** How the user has arranged the conversation with `peer`. */
export function membershipFrame(peer: string, settings: object): string {
  return JSON.stringify({ type: "membership", peer, ...settings });
}

export interface PresenceState {
  readonly online: boolean;
  readonly last_seen: string | null;
}

export const ONLINE: PresenceState = { online: true, last_seen: null };
const ONLINE_JSON = JSON.stringify(ONLINE);

/** One user's entry in a presence frame, encoded once for all subscribers. */
export function presenceEntry(username: string, state: PresenceState): string {
  return `${JSON.stringify(username)}:${state === ONLINE ? ONLINE_JSON : JSON.stringify(state)}`;
}

export function presenceFrame(entries: readonly string[]): string {
  return `{"type":"presence","users":{${entries.join(",")}}}`;
}

export function statusFrame(online: readonly string[]): string {
  return JSON.stringify({ type: "status_update", online });
}

export function newUserFrame(username: string): string {
  return JSON.stringify({ type: "new_user", username });
}

export const SYNC_FRAME = JSON.stringify({ type: "sync" });
export const PONG_FRAME = JSON.stringify({ type: "pong" });
