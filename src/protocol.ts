/** The frames of `/ws/{username}` both ways (CONTRACT §4): parsed here only, encoded here only; and the close codes. */

import { ChatError } from "./errors.ts";

/** What a person's browser may say. Names are as written: whoever uses them looks up their keys. */
export type ClientFrame =
  | { type: "message"; to: string; message: string; ref: string | undefined }
  | { type: "read"; peer: string; seq: number }
  | { type: "typing"; peer: string }
  | { type: "draft"; peer: string; text: string; ack?: number }
  | { type: "watch"; users: string[]; newUsers?: true }
  | { type: "ping" };

export const FRAME_MAX_BYTES = 32 * 1024;
export const WATCH_MAX = 200;

export const CLOSE = {
  binary: 1003,
  limits: 1008,
  bug: 1011,
  /** Come back after a random 0–5 s. */
  restarting: 1012,
  overloaded: 1013,
  /** Do not come back. */
  sessionEnded: 4401,
  /** Come back when another one closes. */
  tooManySockets: 4429,
} as const;
export type CloseCode = (typeof CLOSE)[keyof typeof CLOSE];

/**
 * Reads a text frame. Unknown fields are ignored.
 *
 * @throws ChatError `bad_request`, with the `ref` of the send when it has a good one
 */
export function parseFrame(text: string): ClientFrame {
  const frame = parseObject(text);
  const { type = "message" } = frame;
  switch (type) {
    case "message": {
      const { to, message, ref } = frame;
      if (ref !== undefined && !isRef(ref))
        throw new ChatError("bad_request", { message: "ref must be 8–64 of A-Z a-z 0-9 _ -" });
      if (typeof to !== "string" || typeof message !== "string") {
        throw new ChatError("bad_request", { message: "A message needs the texts to and message", ref });
      }
      return { type, to, message, ref };
    }
    case "read": {
      const { peer, seq } = frame;
      if (typeof peer !== "string" || typeof seq !== "number" || !Number.isInteger(seq) || seq < 0) {
        throw new ChatError("bad_request", { message: "read needs the text peer and the whole number seq" });
      }
      return { type, peer, seq: Math.min(seq, Number.MAX_SAFE_INTEGER) };
    }
    case "typing": {
      if (typeof frame["peer"] !== "string")
        throw new ChatError("bad_request", { message: "typing needs the text peer" });
      return { type, peer: frame["peer"] };
    }
    case "draft": {
      const { peer, text, ack } = frame;
      if (typeof peer !== "string" || typeof text !== "string") {
        throw new ChatError("bad_request", { message: "draft needs the texts peer and text" });
      }
      if (ack === undefined) return { type, peer, text };
      if (!Number.isSafeInteger(ack)) throw new ChatError("bad_request", { message: "ack must be a whole number" });
      return { type, peer, text, ack: ack as number };
    }
    case "watch": {
      const { users } = frame;
      if (!Array.isArray(users) || users.length > WATCH_MAX || !users.every((user) => typeof user === "string")) {
        throw new ChatError("bad_request", { message: `watch needs users, a list of at most ${WATCH_MAX} names` });
      }
      return frame["new_users"] === true ? { type, users, newUsers: true } : { type, users };
    }
    case "ping":
      return { type };
    default:
      throw new ChatError("bad_request", { message: "That type of frame is unknown" });
  }
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

function isRef(ref: unknown): ref is string {
  return typeof ref === "string" && /^[A-Za-z0-9_-]{8,64}$/.test(ref);
}

/** A message as its receiver, and the sender's other sockets, get it. `ref` is the client's own, undefined when it gave none. */
export function messageFrame(
  message: { from: string; to: string; message: string; id: number; seq: number; timestamp: string },
  ref: string | undefined,
): string {
  return JSON.stringify({ type: "message", ...message, ref });
}

/** To the socket that sent, after the commit. */
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

/** @param state.version of the pages' files: another one than the page's own means that newer files are served */
export function helloFrame(username: string, state: { epoch: string; version: string }): string {
  const { epoch, version } = state;
  return JSON.stringify({ type: "hello", username, epoch, version });
}

/** `peer` has on some device what you wrote, up to `seq`. */
export function deliveredFrame(peer: string, seq: number): string {
  return JSON.stringify({ type: "delivered", peer, seq });
}

/** `reader` has seen what `peer` wrote, up to `seq`. */
export function readFrame(reader: string, peer: string, seq: number): string {
  return JSON.stringify({ type: "read", reader, peer, seq });
}

export function typingFrame(user: string): string {
  return JSON.stringify({ type: "typing", user });
}

/** What you have begun to write to `peer`, on another device; `text` empty: nothing any more. */
export function draftFrame(draft: { peer: string; text: string; at: string }): string {
  const { peer, text, at } = draft;
  return JSON.stringify({ type: "draft", peer, text, at });
}

/** @param ack the client's own number of the draft that is stored */
export function draftSavedFrame(peer: string, ack: number): string {
  return JSON.stringify({ type: "draft_saved", peer, ack });
}

export interface PresenceState {
  readonly online: boolean;
  readonly last_seen: string | null;
}

export const ONLINE: PresenceState = { online: true, last_seen: null };
const ONLINE_JSON = JSON.stringify(ONLINE);

/** One person's entry of a presence frame; encoded once, however many watch. */
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
