/** How long to wait before coming back, so that a restarted server is not met by everybody at once. */

/** Close codes of the server that change what happens next. */
export const SESSION_ENDED = 4401;
export const BREAKING_LIMITS = 1008;
export const TOO_MANY_SOCKETS = 4429;
const RESTARTING = 1012;
const OVERLOADED = 1013;

const BASE_MS = 500;
const CAP_MS = 30_000;
const RESTART_MS = 5_000;
/** A user who closes another tab watches this one to see it connect. */
const CROWDED_MS = 3_000;

export class Backoff {
  #failures = 0;
  #random;

  /** @param {() => number} [random] from 0 up to 1 */
  constructor(random = Math.random) {
    this.#random = random;
  }

  /**
   * Milliseconds until the next try after a socket closed with `code`; undefined when it must not come back.
   * @param {number} [code]
   */
  next(code) {
    if (code === SESSION_ENDED) return undefined;
    if (code === TOO_MANY_SOCKETS) return CROWDED_MS * (1 + this.#random());
    if (code === RESTARTING && this.#failures === 0) {
      this.#failures = 1;
      return this.#random() * RESTART_MS;
    }
    const ceiling = Math.min(CAP_MS, BASE_MS * 2 ** this.#failures);
    this.#failures++;
    // Who was sent away for too much waits for long, whatever the dice say.
    if (code === BREAKING_LIMITS || code === OVERLOADED) return CAP_MS / 2 + this.#random() * (CAP_MS / 2);
    return this.#random() * ceiling;
  }

  /** To be called once a connection has held. */
  reset() {
    this.#failures = 0;
  }
}
