/**
 * What part of a conversation the thread renders, where it is scrolled to, and which day it shows.
 * In one file, because each adds about 350 bytes to a first visit.
 */

const INITIAL = 60;
const STEP = 20;
const MAX = 160; // several times the capacity of the tallest screen
/** Messages rendered above the one scrolled to. */
const CONTEXT_BEFORE = 30;

/**
 * The range of a conversation that is in the document. It grows where the user scrolls and shrinks
 * at the other edge. Bounds are seqs, so loading history above does not change them.
 */
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
   * After new messages, trims the edge away from the user.
   * @param {number} newest
   * @param {{ isAtEnd: boolean }} user whether the user is at the end
   */
  trim(newest, { isAtEnd }) {
    if (newest === this.#newest) return; // the window was extended on purpose
    this.#newest = newest;
    if (!this.isAtEnd || newest - this.#first + 1 <= MAX + STEP) return;
    if (isAtEnd) this.#first = newest - MAX + 1;
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

/**
 * Hides the days that stick to the top edge below a later one.
 * @param {HTMLElement} list
 */
export function hidePastDays(list) {
  let next = Number.POSITIVE_INFINITY;
  for (const day of [...list.querySelectorAll(".day:not(.new)")].toReversed()) {
    const { top, bottom } = day.getBoundingClientRect();
    day.classList.toggle("past", bottom > next);
    next = top;
  }
}

/**
 * Keeps the scroll position in a list of messages while the layout changes: history loading above,
 * rotation, text size.
 */
export class ScrollAnchor {
  #scroller;
  #list;
  /** The bubble at the top edge. @type {Element | undefined} */
  #anchor;
  /**
   * Distance of the edge below the bubble's top: inside the bubble as a fraction of its height,
   * above it in pixels.
   */
  #offset = 0;
  /** The layout and scroll position at the time of recording. */
  #layout = "";
  #top = 0;

  /**
   * @param {HTMLElement} scroller
   * @param {HTMLElement} list
   */
  constructor(scroller, list) {
    this.#scroller = scroller;
    this.#list = list;
  }

  /**
   * Saves the position. After a layout change the top edge is meaningless, so the saved position is
   * restored first.
   */
  save() {
    if (this.#anchor && this.#layout !== this.#layoutNow()) this.restore();
    else if (!this.#anchor || this.#top !== this.#scroller.scrollTop) this.#record();
  }

  /** Restores the saved position plus what the user has scrolled since. */
  restore() {
    if (this.#anchor?.isConnected) {
      const { top, height } = this.#anchor.getBoundingClientRect();
      const { scrollTop, scrollHeight, clientHeight } = this.#scroller;
      const into = this.#offset > 0 ? this.#offset * height : this.#offset;
      const isCut = scrollTop + clientHeight >= scrollHeight - 1; // because the list became shorter
      const moved = Math.round(top + into - this.#edge()) + (isCut ? 0 : scrollTop - this.#top);
      if (moved !== 0) this.#scroller.scrollTop += moved;
    }
    this.#record();
  }

  clear() {
    this.#anchor = undefined;
  }

  #record() {
    const edge = this.#edge();
    this.#anchor = [...this.#list.querySelectorAll(".bubble")].find(
      (each) => each.getBoundingClientRect().bottom > edge,
    );
    this.#layout = this.#layoutNow();
    this.#top = this.#scroller.scrollTop;
    if (!this.#anchor) return;
    const { top, height } = this.#anchor.getBoundingClientRect();
    this.#offset = edge > top ? (edge - top) / height : edge - top;
  }

  #edge() {
    return this.#scroller.getBoundingClientRect().top;
  }

  #layoutNow() {
    const { clientWidth, scrollHeight } = this.#scroller;
    return `${clientWidth} ${scrollHeight}`;
  }
}
