/**
 * Which stretch of a conversation is in the document. A long one is never in it whole: it grows where the reader goes and lets go
 * at the other end. It is told by seq, so it stays the same while history comes in above.
 */

const AT_FIRST = 60;
const STEP = 20;
const MOST = 160; // several times what the tallest screen shows
/** Above a message that is gone to, so much is there to read on. */
const BEFORE = 30;

export class VirtualWindow {
  #first = 1;
  #last = Number.POSITIVE_INFINITY; // to the end, whatever comes
  #held = 0;

  /** The seq it begins with. */
  get first() {
    return this.#first;
  }

  /** The seq it ends with; infinite when what comes is in it too. */
  get last() {
    return this.#last;
  }

  /** Whether the newest message is in it. */
  get atEnd() {
    return this.#last === Number.POSITIVE_INFINITY;
  }

  /** Goes to the end. @param {number} held the newest seq there is */
  toEnd(held) {
    this.#first = Math.max(1, held - AT_FIRST + 1);
    this.#last = Number.POSITIVE_INFINITY;
  }

  /**
   * Goes to a message.
   * @param {number} seq
   * @param {number} held
   */
  to(seq, held) {
    this.#first = Math.max(1, seq - BEFORE);
    this.#endAt(this.#first + MOST - 1, held);
  }

  /**
   * The reader nears its beginning. Returns whether there is more now.
   * @param {number} oldest the first seq there is
   * @param {number} held
   * @param {number} [most] so many messages stay in it
   */
  up(oldest, held, most = MOST) {
    const first = Math.max(oldest, this.#first - STEP);
    if (first >= this.#first) return false;
    this.#first = first;
    this.#endAt(Math.min(this.#last, first + most - 1), held);
    return true;
  }

  /**
   * The reader nears its end. Returns whether there is more now.
   * @param {number} held
   * @param {number} [most]
   */
  down(held, most = MOST) {
    if (this.atEnd) return false;
    this.#endAt(this.#last + STEP, held);
    this.#first = Math.max(this.#first, Math.min(this.#last, held) - most + 1);
    return true;
  }

  /**
   * Something may have come: it stays bounded, and lets go where the reader is not.
   * @param {number} held
   * @param {boolean} reading whether the reader is at its end
   */
  grown(held, reading) {
    if (held === this.#held) return; // it was made longer on purpose
    this.#held = held;
    if (!this.atEnd || held - this.#first + 1 <= MOST + STEP) return;
    if (reading) this.#first = held - MOST + 1;
    else this.#last = this.#first + MOST + STEP - 1;
  }

  /**
   * @param {number} last
   * @param {number} held
   */
  #endAt(last, held) {
    this.#last = last < held ? last : Number.POSITIVE_INFINITY;
  }
}
