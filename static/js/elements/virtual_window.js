/**
 * The range of a conversation that is in the document. It grows where the user scrolls and shrinks at the other edge. Bounds are
 * seqs, so loading history above does not change them.
 */

const INITIAL = 60;
const STEP = 20;
const MAX = 160; // several times the capacity of the tallest screen
/** Messages rendered above the one scrolled to. */
const CONTEXT_BEFORE = 30;

export class VirtualWindow {
  #first = 1;
  #last = Number.POSITIVE_INFINITY; // follows the end
  #newest = 0;

  /** The first seq. */
  get first() {
    return this.#first;
  }

  /** The last seq; infinite when new messages are included. */
  get last() {
    return this.#last;
  }

  /** Whether the window includes the newest message. */
  get isAtEnd() {
    return this.#last === Number.POSITIVE_INFINITY;
  }

  /** Moves to the end. @param {number} newest the newest seq loaded */
  toEnd(newest) {
    this.#first = Math.max(1, newest - INITIAL + 1);
    this.#last = Number.POSITIVE_INFINITY;
  }

  /**
   * Moves to a message.
   * @param {number} seq
   * @param {number} newest
   */
  to(seq, newest) {
    this.#first = Math.max(1, seq - CONTEXT_BEFORE);
    this.#endAt(this.#first + MAX - 1, newest);
  }

  /**
   * Extends the window upwards. Returns whether it grew.
   * @param {number} oldest the first seq loaded
   * @param {number} newest
   * @param {number} [max] maximum size of the window
   */
  up(oldest, newest, max = MAX) {
    const first = Math.max(oldest, this.#first - STEP);
    if (first >= this.#first) return false;
    this.#first = first;
    this.#endAt(Math.min(this.#last, first + max - 1), newest);
    return true;
  }

  /**
   * Extends the window downwards. Returns whether it grew.
   * @param {number} newest
   * @param {number} [max]
   */
  down(newest, max = MAX) {
    if (this.isAtEnd) return false;
    this.#endAt(this.#last + STEP, newest);
    this.#first = Math.max(this.#first, Math.min(this.#last, newest) - max + 1);
    return true;
  }

  /**
   * New messages may have arrived: trims the window at the edge away from the user.
   * @param {number} newest
   * @param {boolean} reading whether the user is at the end
   */
  grown(newest, reading) {
    if (newest === this.#newest) return; // the window was extended on purpose
    this.#newest = newest;
    if (!this.isAtEnd || newest - this.#first + 1 <= MAX + STEP) return;
    if (reading) this.#first = newest - MAX + 1;
    else this.#last = this.#first + MAX + STEP - 1;
  }

  /**
   * @param {number} last
   * @param {number} newest
   */
  #endAt(last, newest) {
    this.#last = last < newest ? last : Number.POSITIVE_INFINITY;
  }
}
