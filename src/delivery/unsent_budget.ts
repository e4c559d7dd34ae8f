/**
 * Bounds the memory that stalled clients can pin: one budget per pod for the unsent data of sockets
 * and streamed responses. Beyond it, the client that has been stalled longest is disconnected.
 */

import type { Log } from "../log.ts";
import type { Counter } from "../metrics.ts";

/** With more, 540 stalled sockets grew the process by over 200 MiB. */
const DEFAULT_MAX_BYTES = 128 * 1024 * 1024;
/** With less, a client that pauses briefly would be disconnected. */
const DEFAULT_MIN_BYTES = 1024 * 1024;
/** Bun frees the unsent data of a gracefully closed socket 4 s later. */
const CLOSING_MS = 4_000;
const LOG_EVERY_MS = 60_000;

/** A client with unsent data. */
export interface StalledClient {
  /**
   * @param options.graceful send a close code after the unsent data, which stays in memory for some
   *   seconds; otherwise terminate
   */
  disconnect(options: { graceful: boolean }): void;
}

/** The budget when none is configured: a quarter of the memory this process may use, bounded. */
export function defaultBudget(memoryBytes: number): number {
  return Math.max(DEFAULT_MIN_BYTES, Math.min(Math.floor(memoryBytes / 4), DEFAULT_MAX_BYTES));
}

export class UnsentBudget {
  readonly #maxBytes: number;
  readonly #log: Log;
  readonly #disconnects: Counter;
  /** Unsent bytes by stalled client, longest stalled first. */
  readonly #clients = new Map<StalledClient, number>();
  #bytes = 0;
  /** Unsent data of gracefully closed sockets that Bun has not freed yet. */
  #closingBytes = 0;
  #loggedAt = Number.NEGATIVE_INFINITY;

  /** @param parts.disconnects counts disconnected clients */
  constructor(parts: { maxBytes: number; log: Log; disconnects: Counter }) {
    this.#maxBytes = parts.maxBytes;
    this.#log = parts.log;
    this.#disconnects = parts.disconnects;
  }

  /** Unsent bytes now. */
  get bytes(): number {
    return this.#bytes;
  }

  /**
   * Records a client's unsent bytes, 0 once it has received all. A decrease shows that it is
   * reading, so it moves to the end of the order.
   */
  note(client: StalledClient, bytes: number): void {
    const before = this.#clients.get(client) ?? 0;
    if (bytes === before) return;
    if (bytes < before) this.#clients.delete(client);
    if (bytes > 0) this.#clients.set(client, bytes);
    this.#bytes += bytes - before;
    while (this.#bytes > this.#maxBytes) this.#disconnectLongestStalled();
  }

  #disconnectLongestStalled(): void {
    const [client, bytes] = this.#clients.entries().next().value as [StalledClient, number];
    this.#clients.delete(client);
    this.#bytes -= bytes;
    const graceful = this.#closingBytes === 0 || this.#closingBytes + bytes <= this.#maxBytes / 8;
    if (graceful) {
      this.#closingBytes += bytes;
      setTimeout(() => (this.#closingBytes -= bytes), CLOSING_MS).unref();
    }
    client.disconnect({ graceful });
    this.#disconnects.add();
    const now = performance.now();
    if (now - this.#loggedAt < LOG_EVERY_MS) return;
    this.#loggedAt = now;
    this.#log.warn("too much unsent data, disconnecting the clients that have been stalled longest", {
      budgetBytes: this.#maxBytes,
      disconnected: this.#disconnects.value,
    });
  }
}
