/**
 * Data that clients have not taken yet: the backlog of sockets and the parts of answers that wait. One budget for the whole pod; beyond it the
 * client that has been stalled longest is cut.
 */

import type { Log } from "../log.ts";
import type { Count } from "../metrics.ts";

/** With more, 540 sockets and their frames grew the process by over 200 MiB. */
const DEFAULT_MAX_BYTES = 128 * 1024 * 1024;
/** With less, a socket whose client pauses for a moment would be cut. */
const DEFAULT_MIN_BYTES = 1024 * 1024;
/** Bun frees the backlog of a socket that was closed in order 4 s later. */
const CLOSING_MS = 4_000;
const LOG_EVERY_MS = 60_000;

/** A client with unsent data. */
export interface StalledClient {
  /** Ends its connection. @param inOrder with a close code behind the backlog, which stays in memory for some seconds; else at once */
  disconnect(inOrder: boolean): void;
}

/** The budget where no setting gives one: a quarter of the memory this process may use. */
export function defaultBudget(memoryBytes: number): number {
  return Math.max(DEFAULT_MIN_BYTES, Math.min(Math.floor(memoryBytes / 4), DEFAULT_MAX_BYTES));
}

export class UnsentBudget {
  readonly #maxBytes: number;
  readonly #log: Log;
  readonly #cuts: Count;
  /** The bytes of each stalled client; first the one that has taken nothing for longest. */
  readonly #clients = new Map<StalledClient, number>();
  #bytes = 0;
  /** Backlogs of clients that were cut in order and are not freed yet. */
  #closingBytes = 0;
  #loggedAt = Number.NEGATIVE_INFINITY;

  /** @param parts.maxBytes the budget @param parts.cuts counts clients that were cut */
  constructor(parts: { maxBytes: number; log: Log; cuts: Count }) {
    this.#maxBytes = parts.maxBytes;
    this.#log = parts.log;
    this.#cuts = parts.cuts;
  }

  /** Bytes that wait now. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Notes how many bytes wait for a client, 0 once it has taken all. Fewer than before: it is reading, and no longer the first to be cut. */
  note(client: StalledClient, bytes: number): void {
    const before = this.#clients.get(client) ?? 0;
    if (bytes === before) return;
    if (bytes < before) this.#clients.delete(client);
    if (bytes > 0) this.#clients.set(client, bytes);
    this.#bytes += bytes - before;
    while (this.#bytes > this.#maxBytes) this.#cutOldest();
  }

  #cutOldest(): void {
    const [client, bytes] = this.#clients.entries().next().value as [StalledClient, number];
    this.#clients.delete(client);
    this.#bytes -= bytes;
    const inOrder = this.#closingBytes === 0 || this.#closingBytes + bytes <= this.#maxBytes / 8;
    if (inOrder) {
      this.#closingBytes += bytes;
      setTimeout(() => (this.#closingBytes -= bytes), CLOSING_MS).unref();
    }
    client.disconnect(inOrder);
    this.#cuts.add();
    const now = performance.now();
    if (now - this.#loggedAt < LOG_EVERY_MS) return;
    this.#loggedAt = now;
    this.#log.warn("too much unsent data, cutting the clients that have been stalled longest", {
      budget_bytes: this.#maxBytes,
      cut: this.#cuts.value,
    });
  }
}
