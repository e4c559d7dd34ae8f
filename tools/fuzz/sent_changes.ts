/** The changes that one user sends, and whether their answers are among those that the protocol allows. */

import type { Random } from "../chaos/random.ts";
import type { Change } from "./frames.ts";
import { keyOf, messageKey } from "./names.ts";
import { type ChangedRow, type Oracle, show, stateOf } from "./oracle.ts";

/** No conversation of a run is that long. */
export const SEQ_MAX = 10_000_000;
const KEPT = 200;

interface Known {
  readonly peer: string;
  readonly seq: number;
  readonly isMine: boolean;
}

export class SentChanges {
  readonly #name: string;
  readonly #accounts: ReadonlySet<string>;
  readonly #oracle: Oracle;
  /** Unanswered changes by ref. */
  readonly #waiting = new Map<string, Change>();
  /** Refs that were sent before. */
  readonly #used = new Set<string>();
  /** Changes that were answered, the last ones. */
  readonly #answered: Change[] = [];
  /** Messages of the user's conversations, and the last of them to choose from. */
  readonly #messages = new Map<string, Known>();
  readonly #recent: Known[] = [];
  #refCount = 0;

  /** @param accounts keys of all peers that exist */
  constructor(name: string, accounts: ReadonlySet<string>, oracle: Oracle) {
    this.#name = name;
    this.#accounts = accounts;
    this.#oracle = oracle;
  }

  /** Changes without an answer. */
  get size(): number {
    return this.#waiting.size;
  }

  isWaiting(ref: string): boolean {
    return this.#waiting.has(ref);
  }

  /** The type of an unanswered change. */
  typeOf(ref: string): Change["type"] | undefined {
    return this.#waiting.get(ref)?.type;
  }

  /** A message exists. */
  note(message: Known): void {
    const { peer, seq } = message;
    this.#messages.set(messageKey(this.#name, peer, seq), message);
    this.#recent.push(message);
    if (this.#recent.length > KEPT) this.#recent.shift();
  }

  /** Whether a message is known to exist. */
  exists(peer: string, seq: number): boolean {
    return this.#messages.has(messageKey(this.#name, peer, seq));
  }

  known(random: Random): Known | undefined {
    return this.#recent.length > 0 ? random.pick(this.#recent) : undefined;
  }

  /** A new ref, or now and then a used one. */
  ref(random: Random, prefix: string): string {
    if (this.#answered.length > 0 && random.next() < 0.1) return random.pick(this.#answered).ref;
    return `${prefix}-change-${++this.#refCount}`;
  }

  /** A frame that was answered, once more. */
  again(random: Random): object | undefined {
    if (this.#answered.length === 0) return undefined;
    const { text, ...change } = random.pick(this.#answered);
    return {
      ...change,
      ...(change.type === "edit" && { message: text }),
      ...(change.type === "react" && { emoji: text }),
    };
  }

  expect({ type, peer, seq, text, ref }: Change): void {
    const change = { type, peer, seq, text, ref };
    this.#waiting.set(change.ref, change);
    this.#oracle.asked(this.#name, change);
  }

  /** @returns what is wrong with the answer */
  answered(ref: string, peer: string, revision: number, message: ChangedRow): string | undefined {
    const change = this.#take(ref);
    if (!change) return `got a change for ${ref}, which is not in flight`;
    const asked = show(JSON.stringify(change));
    const isReused = this.#used.has(ref);
    this.#used.add(ref);
    this.#answered.push(change);
    if (this.#answered.length > KEPT) this.#answered.shift();
    const users = [message.sender, message.receiver].map(keyOf).toSorted();
    const isTarget =
      keyOf(peer) === keyOf(change.peer) &&
      Bun.deepEquals(users, [this.#name, change.peer].map(keyOf).toSorted()) &&
      message.seq === change.seq;
    if (!isTarget) return `got for ${asked} a change of ${show(JSON.stringify({ peer, message }))}`;
    if (revision !== (message.revision ?? 0)) return `got for ${asked} revision ${revision} of ${message.revision}`;
    // A ref that made another change of this message is answered, and makes none: the audit would find it.
    if (!isReused && change.type !== "react" && message.sender !== this.#name)
      return `changed a message of ${message.sender}: ${asked}`;
    this.#oracle.changed(message);
    const isDone = {
      edit: message.deleted !== true && message.content === change.text && message.edited_at !== undefined,
      delete: message.deleted === true,
      react: (message.reactions?.[this.#name] ?? "") === change.text,
    }[change.type];
    const isUnchanged = change.type === "edit" && message.content === change.text; // as the message was sent
    if (!isReused && !isDone && !isUnchanged) return `got for ${asked} ${show(stateOf(message))}`;
    return undefined;
  }

  /** @returns what is wrong with the answer */
  rejected(code: string, ref: string): string | undefined {
    const change = this.#take(ref);
    if (!change) return undefined;
    this.#oracle.rejected(this.#name, ref);
    const isReused = this.#used.has(ref);
    const asked = show(JSON.stringify(change));
    const message = this.#messages.get(messageKey(this.#name, change.peer, change.seq));
    const isAllowed: Readonly<Record<string, boolean>> = {
      no_such_user: !this.#accounts.has(keyOf(change.peer)),
      no_such_message: !message || this.#oracle.mayBeDeleted(this.#name, change.peer, change.seq),
      not_yours: change.type !== "react" && message?.isMine !== true,
      ref_reused: isReused,
      rate_limited: true, // only servers with limits send it, as the caller checks
    };
    return isAllowed[code] ? undefined : `got ${code} for ${asked}`;
  }

  /** The socket is closed: what was in flight may be made or not. */
  forget(): void {
    for (const ref of this.#waiting.keys()) this.#used.add(ref);
    this.#waiting.clear();
  }

  #take(ref: string): Change | undefined {
    const change = this.#waiting.get(ref);
    this.#waiting.delete(ref);
    return change;
  }
}
