/**
 * Group commit of messages: while one statement is under way, sends gather; when it returns, the next takes them. Owns the bound
 * of the queue, the order, and what happens when a statement fails. Nothing is settled before PostgreSQL has said what became of it.
 *
 *   waiting ──batch──> under way ──> settled
 *      │                   ├─ connection lost: the same batch again, inside `Database.run`; nothing overtakes it
 *      │                   ├─ one bad row: halves, until it stands alone and is refused
 *      └─ pair set apart <─┴─ a row locked by somebody who stopped: each conversation apart, the others go on
 */

import { codeOf, isHeldUp } from "../db/client.ts";
import type { NewMessage, StoredMessage } from "../db/insert_messages.ts";
import type { Log } from "../log.ts";

/** A send and what its sender is told: `From` is chat's own. */
export interface PendingSend<From> extends NewMessage {
  readonly from: From;
  readonly senderKey: string;
}

/** `duplicate`: stored before, by another send of the same ref. What this one stored itself, its answer lost, is new. */
export type Outcome =
  | { readonly kind: "stored"; readonly stored: StoredMessage; readonly duplicate: boolean }
  | { readonly kind: "refused"; readonly code: "no_such_user" | "ref_reused" | "invalid_text" | "blocked" };

export type Store = (
  messages: readonly NewMessage[],
  options: { quarantined: boolean },
) => Promise<(StoredMessage | undefined)[]>;

export const QUEUE_MAX_ROWS = 10_000;
export const QUEUE_MAX_BYTES = 8 * 1024 * 1024;
/** Larger ones store hardly more a second, and each message of one waits for all: with 800 under way 250 gave 6 % more than 500. */
const BATCH_MAX_ROWS = 250;
const BATCH_MAX_CHARACTERS = 1024 * 1024;
/** Conversations set apart that are tried at one time: each may wait 4 s for its lock. */
const APART_MAX = 2;

export class SendQueue<From> {
  readonly #store: Store;
  readonly #settle: (settled: readonly { send: PendingSend<From>; outcome: Outcome }[]) => void;
  readonly #log: Log;
  #waiting: PendingSend<From>[] = [];
  /** What became of sends of the last batch, to be told when the next is on its way. */
  #known: { send: PendingSend<From>; outcome: Outcome }[] = [];
  #rows = 0;
  #bytes = 0;
  #working = false;
  #stopped = false;
  /** Conversations set apart, with the sends that wait for theirs. */
  readonly #apart = new Map<string, PendingSend<From>[]>();
  readonly #apartUnderWay = new Set<string>();
  #apartRunning = 0;
  #isFailing = false;
  #idle: PromiseWithResolvers<void> | undefined;

  constructor(options: {
    store: Store;
    settle: (settled: readonly { send: PendingSend<From>; outcome: Outcome }[]) => void;
    log: Log;
  }) {
    this.#store = options.store;
    this.#settle = options.settle;
    this.#log = options.log;
  }

  /** Sends not yet settled. */
  get size(): number {
    return this.#rows;
  }

  /** Whether the last statement failed for a reason that affects every message. */
  get isFailing(): boolean {
    return this.#isFailing;
  }

  /** Queues a send; synchronous, since order is decided here. @returns false when the queue is full */
  add(send: PendingSend<From>): boolean {
    if (this.#rows >= QUEUE_MAX_ROWS || this.#bytes >= QUEUE_MAX_BYTES) return false;
    this.#rows++;
    this.#bytes += bytesOf(send);
    this.#waiting.push(send);
    if (!this.#working) {
      this.#working = true;
      queueMicrotask(() => void this.#work()); // the rest of this tick joins the first batch
    }
    return true;
  }

  /** Resolves when everything accepted is settled. */
  async drain(): Promise<void> {
    if (this.#rows === 0) return;
    this.#idle ??= Promise.withResolvers();
    await this.#idle.promise;
  }

  /** Gives up on what is not settled: its senders keep it and send it again. */
  stop(): void {
    this.#stopped = true;
    this.#idle?.resolve();
  }

  async #work(): Promise<void> {
    while (this.#waiting.length > 0 && !this.#stopped) {
      const { batch, repeats } = this.#take();
      const writing = this.#write(batch, false);
      if (this.#known.length > 0) setImmediate(() => this.#tell()); // once PostgreSQL has this batch: it works meanwhile
      await writing;
      this.#waiting.unshift(...repeats);
    }
    this.#tell();
    this.#working = false;
  }

  /** The next batch, without repeats of a ref within it: they come after it. */
  #take(): { batch: PendingSend<From>[]; repeats: PendingSend<From>[] } {
    const batch: PendingSend<From>[] = [];
    const repeats: PendingSend<From>[] = [];
    const refs = new Set<string>();
    let characters = 0;
    let taken = 0;
    for (const send of this.#waiting) {
      if (batch.length === BATCH_MAX_ROWS || characters > BATCH_MAX_CHARACTERS) break;
      taken++;
      const ref = `${send.sender}\n${send.ref}`;
      if (refs.has(ref)) repeats.push(send);
      else {
        refs.add(ref);
        batch.push(send);
        characters += send.content.length;
      }
    }
    this.#waiting = taken === this.#waiting.length ? [] : this.#waiting.slice(taken);
    return { batch, repeats };
  }

  /**
   * Stores a batch, whatever it takes.
   *
   * @param apart whether it is one conversation that was set apart
   * @returns what is left of that conversation because it is still locked; otherwise nothing is left
   */
  async #write(sends: PendingSend<From>[], apart: boolean): Promise<PendingSend<From>[]> {
    const batch = apart || this.#apart.size === 0 ? sends : this.#leaveApart(sends);
    if (batch.length === 0) return [];
    for (let tries = 1; !this.#stopped; tries++) {
      try {
        const rows = await this.#store(batch, { quarantined: apart });
        this.#isFailing = false;
        for (const [i, send] of batch.entries()) this.#known.push({ send, outcome: outcomeOf(rows[i]) });
        return [];
      } catch (error) {
        if (this.#stopped) return [];
        const code = codeOf(error);
        if (isHeldUp(error)) {
          if (apart) return batch;
          this.#setApart(batch);
          return [];
        } else if (code === "23505" && tries <= 5) {
          continue; // another pod stored the same ref a moment ago: the next run finds its row
        } else if (/^2[23]/.test(code)) {
          return await this.#split(batch, apart, code);
        } else {
          this.#isFailing = true;
          this.#log.error("messages not stored, trying again", error, { code, rows: batch.length, tries });
        }
        await Bun.sleep(Math.min(100 * 2 ** tries, 2_000));
      }
    }
    return [];
  }

  /** A row PostgreSQL refuses fails alone. The doors check texts, so this is a defect somewhere: it is logged. */
  async #split(batch: PendingSend<From>[], apart: boolean, code: string): Promise<PendingSend<From>[]> {
    if (batch.length > 1) {
      const half = batch.length >> 1;
      const left = await this.#write(batch.slice(0, half), apart);
      if (left.length > 0) return [...left, ...batch.slice(half)];
      return this.#write(batch.slice(half), apart);
    }
    this.#log.error("message refused by the database", undefined, { code }); // what PostgreSQL says may quote the text
    for (const send of batch) this.#known.push({ send, outcome: { kind: "refused", code: "invalid_text" } });
    return [];
  }

  /** Tells what became of the sends whose outcome is known. */
  #tell(): void {
    const settled = this.#known;
    if (settled.length === 0) return;
    this.#known = [];
    this.#rows -= settled.length;
    for (const { send } of settled) this.#bytes -= bytesOf(send);
    this.#settle(settled);
    if (this.#rows === 0) this.#idle?.resolve();
    if (this.#rows === 0) this.#idle = undefined;
  }

  /** Hands sends of conversations that are set apart to their queues. @returns the others */
  #leaveApart(sends: PendingSend<From>[]): PendingSend<From>[] {
    return sends.filter((send) => {
      const theirs = this.#apart.get(pairOf(send));
      theirs?.push(send);
      return !theirs;
    });
  }

  /** Somebody holds a row of this batch: its conversations go on one by one, so that only theirs waits. */
  #setApart(batch: PendingSend<From>[]): void {
    this.#log.warn("a conversation is locked, storing the batch one by one", { rows: batch.length });
    for (const send of batch) {
      const pair = pairOf(send);
      const sends = this.#apart.get(pair);
      if (sends) sends.push(send);
      else this.#apart.set(pair, [send]);
    }
    void this.#workApart();
  }

  /** Conversations set apart take turns: one that is still locked goes to the end, so that it holds up nobody's but its own. */
  async #workApart(): Promise<void> {
    if (this.#apartRunning >= APART_MAX) return;
    this.#apartRunning++;
    for (let next = this.#nextApart(); next && !this.#stopped; next = this.#nextApart()) {
      const { pair, sends } = next;
      this.#apartUnderWay.add(pair);
      void this.#workApart(); // a second, while this one may wait for its lock
      let locked = false;
      while (sends.length > 0 && !locked && !this.#stopped) {
        const left = await this.#write(sends.splice(0, withoutRepeats(sends)), true);
        this.#tell();
        sends.unshift(...left);
        locked = left.length > 0;
      }
      this.#apart.delete(pair);
      if (locked) this.#apart.set(pair, sends);
      this.#apartUnderWay.delete(pair);
    }
    this.#apartRunning--;
  }

  #nextApart(): { pair: string; sends: PendingSend<From>[] } | undefined {
    for (const [pair, sends] of this.#apart) if (!this.#apartUnderWay.has(pair)) return { pair, sends };
    return undefined;
  }
}

function outcomeOf(row: StoredMessage | undefined): Outcome {
  if (!row) return { kind: "refused", code: "no_such_user" };
  if (row.refusedByBlock) return { kind: "refused", code: "blocked" };
  if (!row.sameMessage) return { kind: "refused", code: "ref_reused" };
  return { kind: "stored", stored: row, duplicate: row.alreadyStored && !row.committedByThisAttempt };
}

/** How many sends of the front go into one batch: up to its size, or to a ref that is in it already. */
function withoutRepeats(sends: readonly PendingSend<unknown>[]): number {
  const refs = new Set<string>();
  for (const { sender, ref } of sends) {
    if (refs.size === BATCH_MAX_ROWS || refs.has(`${sender}\n${ref}`)) break;
    refs.add(`${sender}\n${ref}`);
  }
  return refs.size;
}

/** The conversation of a send: its two name keys, in whatever order JavaScript puts them (it only has to be the same each time). */
function pairOf(send: PendingSend<unknown>): string {
  return send.senderKey < send.toKey ? `${send.senderKey}\n${send.toKey}` : `${send.toKey}\n${send.senderKey}`;
}

function bytesOf(send: NewMessage): number {
  return send.content.length * 2 + 200; // JavaScript's two bytes a unit, and the object around
}
