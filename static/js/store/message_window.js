/**
 * A contiguous range of loaded messages, and those received ahead of it. It is the only store of
 * loaded messages.
 */

/** @import { Message } from "./conversation.js" */

export class MessageWindow {
  /** @type {Message[]} in order of seq */
  #messages = [];
  /** @type {Map<number, Message>} by seq, received before the messages that precede them */
  #ahead = new Map();
  #isLoaded = false;
  #reachesStart = false;

  /** Whether a first page is loaded. */
  get isLoaded() {
    return this.#isLoaded;
  }

  /** Whether no message precedes the range. */
  get reachesStart() {
    return this.#reachesStart;
  }

  /** The first seq of the range; 0 when it is empty. */
  get firstSeq() {
    return this.#messages[0]?.seq ?? 0;
  }

  /** The last seq of the range; 0 when it is empty. */
  get lastSeq() {
    return this.#messages.at(-1)?.seq ?? 0;
  }

  /** The messages of the range, oldest first. @returns {readonly Message[]} */
  get messages() {
    return this.#messages;
  }

  /** The messages ahead of the range, oldest first. */
  get ahead() {
    return [...this.#ahead.values()].toSorted((a, b) => a.seq - b.seq);
  }

  /** The message at `seq`, if it is here. @param {number} seq */
  at(seq) {
    return this.#messages[seq - this.firstSeq] ?? this.#ahead.get(seq);
  }

  /**
   * Replaces the range by a page.
   * @param {Message[]} page oldest first
   * @param {boolean} reachesStart whether no message precedes it
   */
  load(page, reachesStart) {
    this.#messages = page;
    this.#reachesStart = reachesStart;
    this.#isLoaded = true;
    this.#join();
  }

  /**
   * Adds the page before the range.
   * @param {Message[]} page
   * @param {boolean} reachesStart
   */
  prepend(page, reachesStart) {
    const first = this.#messages[0]?.seq ?? Number.POSITIVE_INFINITY;
    this.#messages = [...page.filter((message) => message.seq < first), ...this.#messages];
    this.#reachesStart = reachesStart;
  }

  /**
   * Adds a message after the range, at once or when those before it arrive.
   * @param {Message} message
   */
  add(message) {
    if (message.seq > this.lastSeq) this.#ahead.set(message.seq, message);
    this.#join();
  }

  /** Drops all messages. */
  clear() {
    this.#messages = [];
    this.#ahead.clear();
    this.#isLoaded = false;
    this.#reachesStart = false;
  }

  #join() {
    for (let next; (next = this.#ahead.get(this.lastSeq + 1));) {
      this.#ahead.delete(next.seq);
      this.#messages.push(next);
    }
    for (const seq of this.#ahead.keys()) if (seq <= this.lastSeq) this.#ahead.delete(seq);
  }
}
