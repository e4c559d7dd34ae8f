/** Reconnect delays, jittered so that clients of a restarted server do not all reconnect at once. */

/** The server's close codes that change the delay. */
export const SESSION_ENDED = 4401;
export const BREAKING_LIMITS = 1008;
export const TOO_MANY_SOCKETS = 4429;
/** RFC 6455 §7.4. */
const RESTARTING = 1012;
const OVERLOADED = 1013;

const BASE_MS = 500;
const CAP_MS = 30_000;
const RESTART_MS = 5_000;
/** A user who closes another tab expects this one to connect soon. */
const TOO_MANY_SOCKETS_MS = 3_000;

export class Backoff {
  #failures = 0;
  #random;

  /** @param {() => number} [random] from 0 up to 1 */
  constructor(random = Math.random) {
    this.#random = random;
  }

  /**
   * Milliseconds until the next attempt after a socket closed with `code`; undefined when the client must not reconnect.
   * @param {number} [code]
   */
  next(code) {
    if (code === SESSION_ENDED) return undefined;
    if (code === TOO_MANY_SOCKETS) return TOO_MANY_SOCKETS_MS * (1 + this.#random());
    if (code === RESTARTING && this.#failures === 0) {
      this.#failures = 1;
      return this.#random() * RESTART_MS;
    }
    const ceiling = Math.min(CAP_MS, BASE_MS * 2 ** this.#failures);
    this.#failures++;
    // A client that exceeded a limit, or met an overloaded server, waits at least half the cap.
    if (code === BREAKING_LIMITS || code === OVERLOADED) return CAP_MS / 2 + this.#random() * (CAP_MS / 2);
    return this.#random() * ceiling;
  }

  /** Call once a connection has proved stable. */
  reset() {
    this.#failures = 0;
  }
}
