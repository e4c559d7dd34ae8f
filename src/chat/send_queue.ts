/**
 * Group commit: sends gather while one statement runs, and the next statement stores them together.
 * Enforces the queue's bounds and message order, and retries. A send is settled only when
 * PostgreSQL has reported its outcome.
 *
 *   waiting ──batch──> in flight ──> settled
 *      │                   ├─ connection lost: `Database.run` retries the batch before any later one
 *      │                   ├─ a row rejected: the batch is halved until that row fails alone
 *      └─ quarantined  <───┴─ lock timeout: its conversations are retried singly, others continue
 */

import type { Database } from "../db/database.ts";
import { codeOf, isTimeout } from "../db/failures.ts";
import { insertMessages, type NewMessage, type StoredMessage } from "../db/insert_messages.ts";
import type { Socket } from "../delivery/hub.ts";
import type { Log } from "../log.ts";
import type { Metrics } from "../metrics.ts";

/** A queued message, and where its ack or error goes. */
export interface QueuedMessage extends NewMessage {
  readonly socket: Socket;
  /** Undefined when the client sent none. */
  readonly clientRef: string | undefined;
  readonly receivedAt: number;
}

/**
 * `duplicate`: an earlier send with this ref stored it. A row that an earlier try of
 * this same send committed, whose reply was lost, does not count.
 */
export type Outcome =
  | { readonly kind: "stored"; readonly stored: StoredMessage; readonly duplicate: boolean }
  | {
      readonly kind: "rejected";
      readonly code: "no_such_user" | "no_such_message" | "no_such_file" | "ref_reused" | "invalid_text" | "blocked";
    };

export interface SettledMessage {
  readonly send: QueuedMessage;
  readonly outcome: Outcome;
}

const QUEUE_MAX_MESSAGES = 10_000;
const QUEUE_MAX_BYTES = 8 * 1024 * 1024;
/**
 * Larger batches add latency but no throughput: with 800 sends in flight, 250 rows per batch stored
 * 6 % more per second than 500.
 */
const BATCH_MAX_ROWS = 250;
const BATCH_MAX_CHARACTERS = 1024 * 1024;
/** Quarantined conversations retried at a time: each retry may wait 4 s for its lock. */
const QUARANTINE_WORKERS_MAX = 2;

export class SendQueue {
  readonly #db: Database;
  readonly #writer: Database;
  readonly #metrics: Metrics;
  readonly #log: Log;
  #waiting: QueuedMessage[] = [];
  /** Outcomes that `settled` has not yielded yet. */
  #settled: SettledMessage[] = [];
  #outcomesReady = Promise.withResolvers<void>();
  #count = 0;
  #bytes = 0;
  #isRunning = false;
  #isStopped = false;
  /** Sends of quarantined conversations, by conversation. */
  readonly #quarantined = new Map<string, QueuedMessage[]>();
  /** Quarantined conversations being retried now. */
  readonly #retrying = new Set<string>();
  #quarantineWorkers = 0;
  #isFailing = false;
  #idle: PromiseWithResolvers<void> | undefined;

  /** @param parts.writer stores the batches; `db` those of quarantined conversations */
  constructor(parts: { db: Database; writer: Database; metrics: Metrics; log: Log }) {
    this.#db = parts.db;
    this.#writer = parts.writer;
    this.#metrics = parts.metrics;
    this.#log = parts.log;
  }

  /** Sends not yet settled. */
  get size(): number {
    return this.#count;
  }

  /** Whether the last attempt to store messages failed for a reason that affects all of them. */
  get isFailing(): boolean {
    return this.#isFailing;
  }

  /**
   * Queues a send. Synchronous, because call order becomes message order.
   *
   * @returns false when the queue is full
   */
  add(send: QueuedMessage): boolean {
    if (this.#count >= QUEUE_MAX_MESSAGES || this.#bytes >= QUEUE_MAX_BYTES) return false;
    this.#count++;
    this.#bytes += bytesOf(send);
    this.#waiting.push(send);
    if (!this.#isRunning) {
      this.#isRunning = true;
      queueMicrotask(() => void this.#run()); // later sends of this tick join the first batch
    }
    return true;
  }

  /**
   * The outcomes of all sends, for a single consumer; ends after `stop`. When another batch is
   * waiting, outcomes are yielded only once it is in flight: PostgreSQL then works while the
   * consumer does.
   */
  async *settled(): AsyncGenerator<readonly SettledMessage[]> {
    for (;;) {
      await this.#outcomesReady.promise;
      if (this.#isStopped) return;
      const settled = this.#settled;
      this.#settled = [];
      this.#outcomesReady = Promise.withResolvers();
      if (settled.length === 0) continue;
      yield settled;
      this.#count -= settled.length;
      for (const { send } of settled) this.#bytes -= bytesOf(send);
      if (this.#count > 0) continue;
      this.#idle?.resolve();
      this.#idle = undefined;
    }
  }

  /** Resolves when the consumer of `settled` has handled every accepted send. */
  async drain(): Promise<void> {
    if (this.#count === 0) return;
    this.#idle ??= Promise.withResolvers();
    await this.#idle.promise;
  }

  /** Abandons unsettled sends: without an ack, their clients resend them. */
  stop(): void {
    this.#isStopped = true;
    this.#idle?.resolve();
    this.#outcomesReady.resolve();
  }

  async #run(): Promise<void> {
    while (this.#waiting.length > 0 && !this.#isStopped) {
      const { batch, repeats } = this.#nextBatch();
      const writing = this.#write(batch);
      if (this.#settled.length > 0) setImmediate(() => this.#outcomesReady.resolve()); // once this batch is in flight
      await writing;
      this.#waiting.unshift(...repeats);
    }
    this.#outcomesReady.resolve();
    this.#isRunning = false;
  }

  /**
   * Removes the next batch from the queue. Repeats of a ref within it are returned separately and
   * retried after it.
   */
  #nextBatch(): { batch: QueuedMessage[]; repeats: QueuedMessage[] } {
    const batch: QueuedMessage[] = [];
    const repeats: QueuedMessage[] = [];
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
   * Stores a batch, retrying until it succeeds or the queue stops.
   *
   * @param options.quarantined whether the batch is a retry of one quarantined conversation
   * @returns the unstored rest of that conversation when it is still locked, otherwise nothing
   */
  async #write(sends: QueuedMessage[], { quarantined = false } = {}): Promise<QueuedMessage[]> {
    const batch = quarantined || this.#quarantined.size === 0 ? sends : this.#divertQuarantined(sends);
    if (batch.length === 0) return [];
    for (let tries = 1; !this.#isStopped; tries++) {
      try {
        const rows = await this.#store(batch, { quarantined });
        this.#isFailing = false;
        for (const [i, send] of batch.entries()) this.#settled.push({ send, outcome: outcomeOf(rows[i]) });
        return [];
      } catch (error) {
        if (this.#isStopped) return [];
        const code = codeOf(error);
        if (isTimeout(error)) {
          if (quarantined) return batch;
          this.#quarantine(batch);
          return [];
        } else if (code === "23505" && tries <= 5) {
          continue; // another pod has just stored the same ref: the retry finds its row
        } else if (/^2[23]/.test(code)) {
          return await this.#split(batch, { quarantined, code });
        } else {
          this.#isFailing = true;
          this.#log.error("storing messages failed, will retry", error, { code, rows: batch.length, tries });
        }
        await Bun.sleep(Math.min(100 * 2 ** tries, 2_000));
      }
    }
    return [];
  }

  /**
   * Halves a batch until the row that PostgreSQL rejects fails alone. Texts were validated on
   * arrival, so a rejected row is a bug.
   */
  async #split(
    batch: QueuedMessage[],
    { quarantined, code }: { quarantined: boolean; code: string },
  ): Promise<QueuedMessage[]> {
    if (batch.length > 1) {
      const half = batch.length >> 1;
      const left = await this.#write(batch.slice(0, half), { quarantined });
      if (left.length > 0) return [...left, ...batch.slice(half)];
      return this.#write(batch.slice(half), { quarantined });
    }
    this.#log.error("message rejected by the database", undefined, { code }); // without PostgreSQL's message, which may quote the text
    for (const send of batch) this.#settled.push({ send, outcome: { kind: "rejected", code: "invalid_text" } });
    return [];
  }

  #store(
    messages: readonly NewMessage[],
    { quarantined }: { quarantined: boolean },
  ): Promise<(StoredMessage | undefined)[]> {
    this.#metrics.batchMessages.observe(messages.length);
    const db = quarantined ? this.#db : this.#writer;
    return db.run((sql) => insertMessages(sql, messages), { giveUpAfterMs: Number.POSITIVE_INFINITY });
  }

  /**
   * Queues sends of quarantined conversations behind those already waiting there.
   *
   * @returns the other sends
   */
  #divertQuarantined(sends: QueuedMessage[]): QueuedMessage[] {
    return sends.filter((send) => {
      const earlier = this.#quarantined.get(conversationOf(send));
      earlier?.push(send);
      return !earlier;
    });
  }

  /**
   * Another session locks a row of this batch: retries each of its conversations separately, so
   * that only the locked one waits.
   */
  #quarantine(batch: QueuedMessage[]): void {
    this.#log.warn("conversation locked, quarantining the batch", { rows: batch.length });
    for (const send of batch) {
      const conversation = conversationOf(send);
      const sends = this.#quarantined.get(conversation);
      if (sends) sends.push(send);
      else this.#quarantined.set(conversation, [send]);
    }
    void this.#retryQuarantined();
  }

  /** Retries quarantined conversations round-robin; one that is still locked moves to the end. */
  async #retryQuarantined(): Promise<void> {
    if (this.#quarantineWorkers >= QUARANTINE_WORKERS_MAX) return;
    this.#quarantineWorkers++;
    for (let next = this.#nextQuarantined(); next && !this.#isStopped; next = this.#nextQuarantined()) {
      const [conversation, sends] = next;
      this.#retrying.add(conversation);
      void this.#retryQuarantined(); // a second worker, since this one may wait for its lock
      let isLocked = false;
      while (sends.length > 0 && !isLocked && !this.#isStopped) {
        const left = await this.#write(sends.splice(0, lengthWithoutRepeats(sends)), { quarantined: true });
        this.#outcomesReady.resolve();
        sends.unshift(...left);
        isLocked = left.length > 0;
      }
      this.#quarantined.delete(conversation);
      if (isLocked) this.#quarantined.set(conversation, sends);
      this.#retrying.delete(conversation);
    }
    this.#quarantineWorkers--;
  }

  #nextQuarantined(): [conversation: string, sends: QueuedMessage[]] | undefined {
    return this.#quarantined.entries().find(([conversation]) => !this.#retrying.has(conversation));
  }
}

function outcomeOf(row: StoredMessage | undefined): Outcome {
  if (!row) return { kind: "rejected", code: "no_such_user" };
  if (row.sendsNoFile) return { kind: "rejected", code: "no_such_file" };
  if (row.repliesToNothing) return { kind: "rejected", code: "no_such_message" };
  if (row.rejectedByBlock) return { kind: "rejected", code: "blocked" };
  if (!row.sameMessage) return { kind: "rejected", code: "ref_reused" };
  return { kind: "stored", stored: row, duplicate: row.alreadyStored && !row.committedByThisSend };
}

/** How many of the first sends fit into one batch that repeats no ref. */
function lengthWithoutRepeats(sends: readonly QueuedMessage[]): number {
  const refs = new Set<string>();
  for (const { sender, ref } of sends) {
    if (refs.size === BATCH_MAX_ROWS || refs.has(`${sender}\n${ref}`)) break;
    refs.add(`${sender}\n${ref}`);
  }
  return refs.size;
}

/**
 * Both name keys, ordered by JavaScript, not as in SQL: the order only has to be consistent within
 * this queue.
 */
function conversationOf(send: QueuedMessage): string {
  const { nameKey } = send.socket;
  return nameKey < send.toKey ? `${nameKey}\n${send.toKey}` : `${send.toKey}\n${nameKey}`;
}

function bytesOf(send: NewMessage): number {
  return send.content.length * 2 + 200; // two bytes per UTF-16 unit, and the object
}
