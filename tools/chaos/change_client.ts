/**
 * The changes that a page requests, and the changed messages that it knows: applies `changed` frames by revision, and
 * fetches missing ones as docs/protocol.md requires.
 */

import { RETRYABLE } from "./change_checker.ts";
import { type ChangeRequest, hashOf, type ObservedMessage } from "./history.ts";

/** Frames from two pods may overtake each other, so a gap often closes by itself within this time. */
const GAP_MS = 250;
const RETRY_MS = 1_000;
const PAGE = 200;
/** Unanswered changes of a page. */
const PENDING_MAX = 20;

/** A change without an answer. */
export interface PendingChange {
  readonly peer: string;
  readonly ref: string;
  readonly kind: ChangeRequest["kind"];
  readonly seq: number;
  /** The new text, or the emoji. */
  readonly text: string;
}

interface Conversation {
  /** All changes up to this revision are known. */
  revision: number;
  /** Known revisions beyond a gap. */
  readonly ahead: Set<number>;
  /** The newest version of each changed message, by seq. */
  readonly versions: Map<number, ObservedMessage>;
}

interface Environment {
  readonly user: string;
  /** A browser's stored changes, which outlive the page. */
  readonly pending: Map<string, PendingChange>;
  /** @returns false when not connected */
  send(frame: object): boolean;
  /** The revision of each conversation. */
  revisions(): Promise<ReadonlyMap<string, number>>;
  changedAfter(peer: string, revision: number, limit: number): Promise<readonly ObservedMessage[]>;
  /** A change was asked for. */
  onAsked(change: ChangeRequest): void;
  /** All changes up to this revision are known. */
  onRevised(peer: string, revision: number): void;
}

export class ChangeClient {
  readonly #environment: Environment;
  readonly #conversations = new Map<string, Conversation>();
  #healing: Promise<void> | undefined;
  #healsAgain = false;
  #gapTimer: Timer | undefined;
  #retryTimer: Timer | undefined;
  #closed = false;

  constructor(environment: Environment) {
    this.#environment = environment;
  }

  /** Changes without an answer. */
  get pendingCount(): number {
    return this.#environment.pending.size;
  }

  /** All changes up to this revision are known. */
  revision(peer: string): number {
    return this.#of(peer).revision;
  }

  /** The newest known version of a message; undefined if it was never changed. */
  version(peer: string, seq: number): ObservedMessage | undefined {
    return this.#of(peer).versions.get(seq);
  }

  /** Whether a message of the peer was deleted. */
  hasDeleted(peer: string): boolean {
    return this.#of(peer)
      .versions.values()
      .some(({ from, deleted }) => from === peer && deleted === true);
  }

  /** @returns false when too many changes are pending */
  ask({ peer, kind, seq, text }: Omit<PendingChange, "ref">): boolean {
    const { pending, user, onAsked } = this.#environment;
    if (pending.size >= PENDING_MAX) return false;
    const ref = crypto.randomUUID().replaceAll("-", "");
    const change = { peer, ref, kind, seq, text };
    pending.set(ref, change);
    onAsked(requestOf(user, change));
    this.#send(change);
    return true;
  }

  /** Applies a row of the JSON routes. */
  observe(peer: string, row: ObservedMessage): void {
    const { versions } = this.#of(peer);
    if (row.revision && row.revision > (versions.get(row.seq)?.revision ?? 0)) versions.set(row.seq, row);
  }

  /** The socket sent `hello`. */
  connected(): void {
    for (const change of this.#environment.pending.values()) this.#send(change);
    void this.heal();
  }

  /** A message was changed. @param ref of the change that it answers */
  receive(peer: string, message: ObservedMessage, ref: string | undefined): void {
    if (ref !== undefined) this.#environment.pending.delete(ref);
    const { revision = 0 } = message;
    const conversation = this.#of(peer);
    this.observe(peer, message);
    if (revision <= conversation.revision) return;
    conversation.ahead.add(revision);
    this.#advance(peer, conversation.revision);
    if (conversation.ahead.size > 0) this.#gapTimer ??= setTimeout(() => this.#closeGaps(), GAP_MS);
  }

  rejected(ref: string, code: string): void {
    const change = this.#environment.pending.get(ref);
    if (!change) return;
    if (RETRYABLE.has(code)) setTimeout(() => this.#environment.pending.has(ref) && this.#send(change), RETRY_MS);
    else this.#environment.pending.delete(ref);
  }

  /** Fetches the changes that it lacks. Runs once at a time; calls during a run cause one more. */
  heal(): Promise<void> {
    if (this.#healing) {
      this.#healsAgain = true;
      return this.#healing;
    }
    clearTimeout(this.#retryTimer);
    this.#healing = this.#healOnce()
      .catch(() => {
        clearTimeout(this.#retryTimer);
        if (!this.#closed) this.#retryTimer = setTimeout(() => void this.heal(), RETRY_MS);
      })
      .finally(() => {
        this.#healing = undefined;
        if (!this.#healsAgain || this.#closed) return;
        this.#healsAgain = false;
        void this.heal();
      });
    return this.#healing;
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#gapTimer);
    clearTimeout(this.#retryTimer);
  }

  async #healOnce(): Promise<void> {
    for (const [peer, revision] of await this.#environment.revisions()) {
      const conversation = this.#of(peer);
      while (conversation.revision < revision && !this.#closed) {
        const rows = await this.#environment.changedAfter(peer, conversation.revision, PAGE);
        for (const row of rows) this.observe(peer, row);
        // A page that is not full ends with the newest change; the revision was read before.
        const known = rows.at(-1)?.revision ?? 0;
        this.#advance(peer, rows.length < PAGE ? Math.max(known, revision) : known);
      }
    }
  }

  #closeGaps(): void {
    this.#gapTimer = undefined;
    if (this.#conversations.values().some(({ ahead }) => ahead.size > 0)) void this.heal();
  }

  /** All changes up to `revision` are known. */
  #advance(peer: string, revision: number): void {
    const conversation = this.#of(peer);
    const before = conversation.revision;
    conversation.revision = Math.max(before, revision);
    while (conversation.ahead.delete(conversation.revision + 1)) conversation.revision++;
    for (const each of conversation.ahead) if (each <= conversation.revision) conversation.ahead.delete(each);
    if (conversation.revision > before) this.#environment.onRevised(peer, conversation.revision);
  }

  #send({ peer, ref, kind, seq, text }: PendingChange): void {
    const content = kind === "edit" ? { message: text } : kind === "react" ? { emoji: text } : {};
    this.#environment.send({ type: kind, peer, seq, ...content, ref });
  }

  #of(peer: string): Conversation {
    return this.#conversations.getOrInsertComputed(peer, () => ({
      revision: 0,
      ahead: new Set<number>(),
      versions: new Map<number, ObservedMessage>(),
    }));
  }
}

/** A change as the history has it. */
export function requestOf(user: string, { peer, ref, kind, seq, text }: PendingChange): ChangeRequest {
  return { user, peer, ref, kind, seq, text: kind === "edit" ? hashOf(text) : text };
}
