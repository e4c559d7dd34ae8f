/**
 * What happened, one event a line: what every client did and heard, what a monitor saw in the table, what faults were made, and how things
 * stood at the end. Written while it happens, read by the checker.
 */

import { createReadStream, rmSync } from "node:fs";
import { createInterface } from "node:readline";

/** A message as it was told: in a frame, a page of history, a row. `hash`: of its text. */
export interface ObservedMessage {
  readonly from: string;
  readonly to: string;
  readonly id: number;
  readonly seq: number;
  readonly hash: string;
  readonly ref?: string;
}

/** How a conversation stands for one of the two. */
export interface ConversationSummary {
  readonly peer: string;
  readonly last: number;
  readonly unread: number;
  readonly read: number;
  readonly peerRead: number;
  readonly peerDelivered: number;
}

/** `who` is a person, `page` an open tab of theirs, `socket` one of its connections. */
export type Event =
  | { readonly e: "page"; readonly page: string; readonly user: string }
  | { readonly e: "write"; readonly user: string; readonly to: string; readonly ref: string; readonly hash: string }
  | { readonly e: "open"; readonly socket: number; readonly page: string; readonly pod: number }
  | { readonly e: "close"; readonly socket: number; readonly code: number }
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
  | { readonly e: "sync"; readonly socket: number }
  /** `reader` has (`read`) or has on a device (`delivered`) what `peer` wrote, up to `seq`. */
  | {
      readonly e: "mark";
      readonly socket: number;
      readonly kind: "read" | "delivered";
      readonly reader: string;
      readonly peer: string;
      readonly seq: number;
    }
  /** What `/conversations` said to a page. */
  | ({ readonly e: "summary"; readonly page: string } & ConversationSummary)
  | { readonly e: "history"; readonly page: string; readonly peer: string; readonly rows: readonly ObservedMessage[] }
  /** The page holds everything up to `seq`. */
  | { readonly e: "contiguous"; readonly page: string; readonly peer: string; readonly seq: number }
  /** Another connection to PostgreSQL did not see the row of an ack that had arrived. */
  | { readonly e: "not_visible"; readonly user: string; readonly ref: string }
  /** The marks of a conversation, as another connection to PostgreSQL saw them. */
  | ({ readonly e: "marks" } & Marks)
  /** `crash`: PostgreSQL lost whatever was not on the disk. */
  | { readonly e: "fault"; readonly n: number; readonly fault: string; readonly crash: boolean }
  | { readonly e: "healed"; readonly n: number; readonly note: string }
  /** Something a fault found wrong by itself. */
  | { readonly e: "violation"; readonly fault: string; readonly words: string }
  // How things stood at the end
  | ({ readonly e: "row"; readonly read: boolean } & ObservedMessage)
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
      readonly rows: readonly (readonly [seq: number, hash: string])[];
      readonly unread: number;
    }
  | { readonly e: "unsent"; readonly page: string; readonly ref: string };

export interface Marks {
  readonly low: string;
  readonly high: string;
  readonly last: number;
  readonly lowRead: number;
  readonly highRead: number;
  readonly lowDelivered: number;
  readonly highDelivered: number;
}

/** An event, and when it happened, in milliseconds since the run began. */
export type Entry = Event & { readonly t: number };

/** Where events go. */
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
    rmSync(path, { force: true }); // a longer one of an earlier run would go on after this one's end
    this.#writer = Bun.file(path).writer({ highWaterMark: 1024 * 1024 });
  }

  /** Milliseconds since the run began. */
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

  /** Calls `listener` with every event from now on. @returns what ends that */
  subscribe(listener: (entry: Entry) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /** The sockets open on these pods now. */
  socketsOn(pods: readonly number[]): Set<number> {
    return new Set(this.pagesOn(pods).keys());
  }

  /** The same, with the page of each. */
  pagesOn(pods: readonly number[]): Map<number, string> {
    const there = [...this.#sockets].filter(([, { pod }]) => pods.includes(pod));
    return new Map(there.map(([socket, { page }]) => [socket, page]));
  }

  async end(): Promise<void> {
    await this.#writer.end();
  }
}

/** The events of a finished history, in order. */
export async function* read(path: string): AsyncGenerator<Entry> {
  for await (const line of createInterface({ input: createReadStream(path), crlfDelay: Number.POSITIVE_INFINITY })) {
    if (line !== "") yield JSON.parse(line) as Entry;
  }
}

/** Texts are long, and the same text must only be known again. */
export function hashOf(text: string): string {
  return Bun.hash(text).toString(36);
}

/** The two people of a conversation in byte order, as the table has them; names are ASCII here. */
export function pairOf(one: string, other: string): string {
  return one < other ? `${one} ${other}` : `${other} ${one}`;
}
