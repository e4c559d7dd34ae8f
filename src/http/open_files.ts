/**
 * Reserves a share of the file descriptors for requests and the database, so that sockets cannot
 * use all of them.
 */

import type { Log } from "../log.ts";

/** The share of the limit that sockets of users may use. */
const SOCKETS_SHARE = 0.9;
const COUNT_INTERVAL_MS = 1_000;

export class OpenFiles {
  readonly #limit: number;
  readonly #inUse: () => number;
  readonly #closeIdle: () => number;
  readonly #log: Log;
  readonly #timer: Timer;
  #isCrowded = false;

  /**
   * @param parts.limit the process's limit of open files
   * @param parts.inUse the number of open files, 0 where the system does not report it
   * @param parts.closeIdle closes idle keep-alive connections and returns how many
   */
  constructor(parts: { limit: number; inUse: () => number; closeIdle: () => number; log: Log }) {
    this.#limit = parts.limit;
    this.#inUse = parts.inUse;
    this.#closeIdle = parts.closeIdle;
    this.#log = parts.log;
    this.#timer = setInterval(() => this.#count(), COUNT_INTERVAL_MS);
  }

  /** Whether another socket may open. @param sockets how many are open */
  hasRoomFor(sockets: number): boolean {
    return !this.#isCrowded && sockets < this.#socketsMax;
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  get #socketsMax(): number {
    return Math.floor(this.#limit * SOCKETS_SHARE);
  }

  /** At the limit Bun accepts no connection and spins, so idle connections are closed before. */
  #count(): void {
    const files = this.#inUse();
    const wasCrowded = this.#isCrowded;
    this.#isCrowded = files >= this.#socketsMax;
    if (!this.#isCrowded) return;
    const closed = this.#closeIdle();
    if (!wasCrowded)
      this.#log.warn("almost out of file descriptors, rejecting new sockets", { files, limit: this.#limit, closed });
  }
}
