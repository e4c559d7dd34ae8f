/**
 * Decides when the outbox may send: a burst, then one frame per interval, and after a retryable
 * error nothing until the server accepts frames again.
 */

import { Emitter } from "../util/emitter.js";

/**
 * How fast frames are sent. It stays below the server's default limit for messages (a burst of 20,
 * then 5/s), because the server closes the sockets of clients that exceed it too often.
 * @typedef {{ atOnce: number, everyMs: number }} Pace
 */

/** @typedef {{ setTimeout: (run: () => void, ms: number) => unknown, clearTimeout: (id: any) => void }} Timers */

const RETRY_MS = 1_000;
/** The slowest pace after repeated `rate_limited` errors. */
const SLOWEST_MS = 8_000;

/**
 * - `ready`: a wait is over
 * - `limited`: `limitedFor` changed
 * @extends {Emitter<{ ready: void, limited: number }>}
 */
export class Pacer extends Emitter {
  #pace;
  #timers;
  #now;
  /** Frames that may be sent now, as of `#countedAt`. */
  #credits;
  #countedAt;
  #everyMs;
  /** @type {unknown} set while the pace forbids sending */
  #paceTimer;
  /** @type {unknown} set while the server's retry delay runs */
  #retryTimer;
  #limitedFor = 0;
  #isOneAtATime = false;

  /**
   * @param {Pace | null} pace null: everything may be sent at once
   * @param {Timers} timers
   * @param {() => number} now a monotonic clock in milliseconds
   */
  constructor(pace, timers, now) {
    super();
    this.#pace = pace;
    this.#timers = timers;
    this.#now = now;
    this.#credits = pace?.atOnce ?? 0;
    this.#everyMs = pace?.everyMs ?? 0;
    this.#countedAt = now();
  }

  get isPaced() {
    return this.#pace !== null;
  }

  get isWaiting() {
    return this.#retryTimer !== undefined || this.#paceTimer !== undefined;
  }

  /**
   * Whether, after a retryable error, one frame may be in flight at a time: sent together, a later
   * message could be stored before an earlier one.
   */
  get isOneAtATime() {
    return this.#isOneAtATime;
  }

  /** Seconds for which the server accepts no message, from its last `rate_limited` error, or 0. */
  get limitedFor() {
    return this.#limitedFor;
  }

  /** Whether a frame may be sent now; if not, `ready` follows. */
  hasCredit() {
    if (!this.#pace) return true;
    const now = this.#now();
    this.#credits = Math.min(this.#pace.atOnce, this.#credits + (now - this.#countedAt) / this.#everyMs);
    this.#countedAt = now;
    if (this.#credits >= 1) return true;
    this.#paceTimer = this.#timers.setTimeout(
      () => {
        this.#paceTimer = undefined;
        this.emit("ready");
      },
      Math.ceil((1 - this.#credits) * this.#everyMs),
    );
    return false;
  }

  /** A frame was sent. */
  sent() {
    this.#credits--;
  }

  /**
   * The server rejected a frame with a retryable error.
   * @param {string} code
   * @param {number} [retryAfter] in seconds
   */
  rejected(code, retryAfter) {
    this.#isOneAtATime = true;
    this.cancelRetry();
    const wait = retryAfter === undefined ? RETRY_MS : retryAfter * 1000;
    this.#retryTimer = this.#timers.setTimeout(() => {
      this.cancelRetry();
      this.emit("ready");
    }, wait);
    if (code !== "rate_limited") return;
    // Other tabs and devices send too, or the server's limit is lower: slow down until all are
    // sent.
    this.#everyMs = Math.min(SLOWEST_MS, this.#everyMs * 2);
    this.#credits = Math.min(1, this.#credits);
    this.#setLimit(wait / 1000);
  }

  /** Ends the retry delay. */
  cancelRetry() {
    if (this.#retryTimer !== undefined) this.#timers.clearTimeout(this.#retryTimer);
    this.#retryTimer = undefined;
    this.#setLimit(0);
  }

  /** Nothing waits to be sent: returns to full pace. */
  restore() {
    this.#isOneAtATime = false;
    this.#everyMs = this.#pace?.everyMs ?? 0;
  }

  /** @param {number} seconds */
  #setLimit(seconds) {
    if (seconds === this.#limitedFor) return;
    this.#limitedFor = seconds;
    this.emit("limited", seconds);
  }
}
