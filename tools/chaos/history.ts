/**
 * The history of a run, one event a line: what each client sent and received, what the invariant monitor saw in the
 * table, which faults were injected, and the final state. Written during the run, read by the checker.
 */

import { createReadStream, rmSync } from "node:fs";
import { createInterface } from "node:readline";

/** A message as observed: in a frame, a page of history, a row. `hash` is that of its text. */
export interface ObservedMessage {
  readonly from: string;
  readonly to: string;
  readonly id: number;
  readonly seq: number;
  readonly hash: string;
  readonly ref?: string;
  readonly replyTo?: number;
  // Only if it was changed
  readonly revision?: number;
  readonly edited?: true;
  readonly deleted?: true;
  /** Emoji by user. */
  readonly reactions?: Readonly<Record<string, string>>;
}

/** A change that a user asks for. `text`: the hash of the new text, or the emoji; empty for a deletion. */
export interface ChangeRequest {
  readonly user: string;
  readonly peer: string;
  readonly ref: string;
  readonly kind: "edit" | "delete" | "react";
  readonly seq: number;
  readonly text: string;
}

/** A conversation as one of its users sees it. */
export interface ConversationSummary {
  readonly peer: string;
  readonly last: number;
  readonly revision: number;
  readonly unread: number;
  readonly read: number;
  readonly peerRead: number;
  readonly peerDelivered: number;
}

/** `page` is an open tab of `user`, `socket` one of its connections. */
export type Event =
  | { readonly e: "page"; readonly page: string; readonly user: string }
  | {
      readonly e: "write";
      readonly user: string;
      readonly to: string;
      readonly ref: string;
      readonly hash: string;
      readonly replyTo?: number;
    }
  | ({ readonly e: "change" } & ChangeRequest)
  | { readonly e: "open"; readonly socket: number; readonly page: string; readonly pod: number }
  | { readonly e: "close"; readonly socket: number; readonly code: number }
  /** Of a message or a change. */
  | { readonly e: "send"; readonly socket: number; readonly ref: string }
  | {
      readonly e: "ack";
      readonly socket: number;
      readonly ref: string;
      readonly id: number;
      readonly seq: number;
      readonly peer: string;
      readonly duplicate: boolean;
    }
  | { readonly e: "rejected"; readonly socket: number; readonly ref: string; readonly code: string }
  | ({ readonly e: "message"; readonly socket: number } & ObservedMessage)
  /** `ref`: it answers a change. */
  | {
      readonly e: "changed";
      readonly socket: number;
      readonly peer: string;
      readonly revision: number;
      readonly message: ObservedMessage;
      readonly ref?: string;
    }
  | { readonly e: "sync"; readonly socket: number }
  /** `reader` has read, or received on a device, the messages of `peer` up to `seq`. */
  | {
      readonly e: "mark";
      readonly socket: number;
      readonly kind: "read" | "delivered";
      readonly reader: string;
      readonly peer: string;
      readonly seq: number;
    }
  /** A row of `/conversations`, requested at this time in milliseconds. */
  | ({ readonly e: "summary"; readonly page: string; readonly requestedAt: number } & ConversationSummary)
  | { readonly e: "history"; readonly page: string; readonly peer: string; readonly rows: readonly ObservedMessage[] }
  /** The messages changed after revision `after`. */
  | {
      readonly e: "changes";
      readonly page: string;
      readonly peer: string;
      readonly after: number;
      readonly rows: readonly ObservedMessage[];
    }
  /** The page has every message up to `seq`. */
  | { readonly e: "contiguous"; readonly page: string; readonly peer: string; readonly seq: number }
  /** The page has every change up to `revision`. */
  | { readonly e: "revised"; readonly page: string; readonly peer: string; readonly revision: number }
  /** Another connection to PostgreSQL did not see the row, or its change, after the answer had arrived. */
  | { readonly e: "not_visible"; readonly user: string; readonly ref: string }
  /** A conversation's marks, read over another connection to PostgreSQL. */
  | ({ readonly e: "marks" } & Marks)
  /** `crash`: PostgreSQL loses what is not on the disk. */
  | { readonly e: "fault"; readonly n: number; readonly fault: string; readonly crash: boolean }
  | { readonly e: "healed"; readonly n: number; readonly note: string }
  /** A bound that a fault itself found violated. */
  | { readonly e: "violation"; readonly fault: string; readonly message: string }
  // The final state
  | ({ readonly e: "row"; readonly read: boolean } & ObservedMessage)
  /** A change that was made. */
  | {
      readonly e: "change_made";
      readonly user: string;
      readonly ref: string;
      readonly low: string;
      readonly high: string;
      readonly seq: number;
    }
  | ({ readonly e: "conversation" } & Marks & { readonly lowUnread: number; readonly highUnread: number })
  | {
      readonly e: "final_history";
      readonly user: string;
      readonly peer: string;
      readonly rows: readonly ObservedMessage[];
    }
  | { readonly e: "unread"; readonly user: string; readonly counts: Readonly<Record<string, number>> }
  | {
      readonly e: "displayed";
      readonly page: string;
      readonly peer: string;
      readonly first: number;
      /** `state` as by `stateOf`; `revision` 0 for messages that the page does not know to be changed. */
      readonly rows: readonly (readonly [seq: number, state: string, revision: number])[];
      readonly unread: number;
    }
  | { readonly e: "unsent"; readonly page: string; readonly ref: string };

export interface Marks {
  readonly low: string;
  readonly high: string;
  readonly last: number;
  readonly revision: number;
  readonly lowRead: number;
  readonly highRead: number;
  readonly lowDelivered: number;
  readonly highDelivered: number;
}

/** An event and its time, in milliseconds since the start of the run. */
export type Entry = Event & { readonly t: number };

export interface Recorder {
  readonly now: number;
  add(event: Event): void;
}

export class History implements Recorder {
  readonly path: string;
  readonly #begunAt = performance.now();
  readonly #writer: Bun.FileSink;
  readonly #listeners = new Set<(entry: Entry) => void>();
  readonly #sockets = new Map<number, { pod: number; page: string }>();

  constructor(path: string) {
    this.path = path;
    rmSync(path, { force: true }); // the sink does not truncate
    this.#writer = Bun.file(path).writer({ highWaterMark: 1024 * 1024 });
  }

  /** Milliseconds since the start of the run. */
  get now(): number {
    return Math.round((performance.now() - this.#begunAt) * 10) / 10;
  }

  add(event: Event): void {
    const entry: Entry = { t: this.now, ...event };
    this.#writer.write(`${JSON.stringify(entry)}\n`);
    if (entry.e === "open") this.#sockets.set(entry.socket, entry);
    else if (entry.e === "close") this.#sockets.delete(entry.socket);
    for (const listener of this.#listeners) listener(entry);
  }

  /** @returns a function that unsubscribes */
  subscribe(listener: (entry: Entry) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /** The sockets open on these pods. */
  socketsOn(pods: readonly number[]): Set<number> {
    return new Set(this.pagesOn(pods).keys());
  }

  /** The same, with the page of each. */
  pagesOn(pods: readonly number[]): Map<number, string> {
    const open = [...this.#sockets].filter(([, { pod }]) => pods.includes(pod));
    return new Map(open.map(([socket, { page }]) => [socket, page]));
  }

  async end(): Promise<void> {
    await this.#writer.end();
  }
}

export async function* read(path: string): AsyncGenerator<Entry> {
  for await (const line of createInterface({ input: createReadStream(path), crlfDelay: Number.POSITIVE_INFINITY })) {
    if (line !== "") yield JSON.parse(line) as Entry;
  }
}

/** Stands for a text, which may be long. */
export function hashOf(text: string): string {
  return Bun.hash(text).toString(36);
}

/** What a message shows: the hash of its text, and what changes have added. */
export function stateOf({ hash, edited, deleted, reactions = {} }: ObservedMessage): string {
  const emoji = Object.entries(reactions).toSorted(([one], [other]) => (one < other ? -1 : 1));
  return [
    hash,
    ...(edited ? ["edited"] : []),
    ...(deleted ? ["deleted"] : []),
    ...emoji.map(([user, text]) => `${user} ${text}`),
  ].join();
}

/** The two users of a conversation in byte order, as in the table; names are ASCII here. */
export function pairOf(one: string, other: string): string {
  return one < other ? `${one} ${other}` : `${other} ${one}`;
}
