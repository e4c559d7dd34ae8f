/** Keeps a share of the files that this process may open for requests and the database, so that sockets cannot use up all of them. */

import type { Log } from "../log.ts";

/** Of the files that this process may open, how many may be sockets of users. */
const SOCKETS_OF_FILES = 0.9;
const COUNT_EVERY_MS = 1_000;

export class OpenFiles {
  readonly #limit: number;
  readonly #inUse: () => number;
  readonly #closeIdle: () => number;
  readonly #log: Log;
  readonly #timer: Timer;
  #isCrowded = false;

  /**
   * @param parts.limit files that the system allows this process
   * @param parts.inUse how many it has open, 0 where the system does not say
   * @param parts.closeIdle closes connections that wait for their next request, and counts them
   */
  constructor(parts: { limit: number; inUse: () => number; closeIdle: () => number; log: Log }) {
    this.#limit = parts.limit;
    this.#inUse = parts.inUse;
    this.#closeIdle = parts.closeIdle;
    this.#log = parts.log;
    this.#timer = setInterval(() => this.#count(), COUNT_EVERY_MS);
  }

  /** Whether another socket has a file. @param sockets how many are open */
  hasRoomFor(sockets: number): boolean {
    return !this.#isCrowded && sockets < this.#socketsMax;
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  get #socketsMax(): number {
    return Math.floor(this.#limit * SOCKETS_OF_FILES);
  }

  /** At the system's limit Bun accepts nobody, and spins: idle connections make room before. */
  #count(): void {
    const files = this.#inUse();
    const wasCrowded = this.#isCrowded;
    this.#isCrowded = files >= this.#socketsMax;
    if (!this.#isCrowded) return;
    const closed = this.#closeIdle();
    if (!wasCrowded)
      this.#log.warn("open files run out, new sockets have to wait", { files, limit: this.#limit, closed });
  }
}
