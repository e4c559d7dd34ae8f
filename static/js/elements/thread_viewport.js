/**
 * What part of a conversation the thread renders, where it is scrolled to, and which day it shows.
 * In one file, because each adds about 350 bytes to a first visit.
 */

const INITIAL = 60;
const STEP = 20;
const MAX = 160; // several times the capacity of the tallest screen
/** Scrolling to unread messages puts the divider at this fraction of the viewport's height. */
const DIVIDER_AT = 0.25;
/** Scrolling to the first message of a day leaves it this far below the top. */
const BELOW_DAY_PX = 56;
/** Messages rendered above the one scrolled to. */
const CONTEXT_BEFORE = 30;

/** @typedef {{ firstSeq: number, lastSeq: number, isDetached: boolean }} Loaded the messages that can be rendered; `isDetached`: they are not the newest */

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
   * @param {Loaded} loaded
   */
  to(seq, loaded) {
    this.#first = Math.max(1, loaded.firstSeq, seq - CONTEXT_BEFORE);
    this.#endAt(this.#first + MAX - 1, loaded);
  }

  /**
   * Extends the window upwards. Returns whether it grew.
   * @param {Loaded} loaded
   * @param {number} [max] maximum size of the window
   */
  up(loaded, max = MAX) {
    const first = Math.max(loaded.firstSeq, this.#first - STEP);
    if (first >= this.#first) return false;
    this.#first = first;
    this.#endAt(Math.min(this.#last, first + max - 1), loaded);
    return true;
  }

  /**
   * Extends the window downwards. Returns whether it grew.
   * @param {Loaded} loaded
   * @param {number} [max]
   */
  down(loaded, max = MAX) {
    const last = this.#last;
    if (this.isAtEnd || (loaded.isDetached && last >= loaded.lastSeq)) return false;
    this.#endAt(last + STEP, loaded);
    this.#first = Math.max(this.#first, Math.min(this.#last, loaded.lastSeq) - max + 1);
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
   * @param {Loaded} loaded
   */
  #endAt(last, { lastSeq, isDetached }) {
    this.#last = last < lastSeq ? last : isDetached ? lastSeq : Number.POSITIVE_INFINITY;
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

/**
 * The seq of the newest of the peer's messages that can be read on screen, if it is after `read`.
 * @param {HTMLElement} scroller
 * @param {HTMLElement} list
 * @param {number} read
 */
export function lastSeenSeq(scroller, list, read) {
  const end = scroller.getBoundingClientRect().bottom;
  for (let element = list.lastElementChild; element; element = element.previousElementSibling) {
    const seq = Number(/** @type {HTMLElement} */ (element).dataset.seq ?? 0);
    if (seq === 0 || element.classList.contains("mine")) continue;
    if (seq <= read) return undefined;
    const box = element.getBoundingClientRect();
    // Visible enough to be read: all of it, or the first 48 px of a long one.
    if (box.height > 0 && box.top + Math.min(box.height, 48) <= end) return seq;
  }
  return undefined;
}

/**
 * Scrolls a row to the middle of the viewport.
 * @param {HTMLElement} scroller
 * @param {HTMLElement | null} row
 * @param {{ isAtTop: boolean }} place isAtTop: to the top instead
 */
export function scrollToRow(scroller, row, { isAtTop }) {
  if (!row) return;
  const { top, height } = row.getBoundingClientRect();
  const above = top - scroller.getBoundingClientRect().top;
  const room = Math.max(0, scroller.clientHeight - height) / 2;
  scroller.scrollTop += above - (isAtTop ? BELOW_DAY_PX : room);
}

/**
 * Scrolls to the divider "New messages", unless it is visible at the end. Returns whether it did.
 * @param {HTMLElement} scroller scrolled to the end
 * @param {HTMLElement | null} divider
 * @param {{ isAtEnd: boolean }} rendered whether the newest message is rendered
 */
export function scrollToDivider(scroller, divider, { isAtEnd }) {
  if (!divider) return false;
  const above = divider.getBoundingClientRect().top - scroller.getBoundingClientRect().top;
  if (isAtEnd && above >= 0) return false;
  scroller.scrollTop += above - scroller.clientHeight * DIVIDER_AT;
  return true;
}
