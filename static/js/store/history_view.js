/**
 * The messages of a conversation that can be on screen: the newest ones, or, after a jump, a range
 * anywhere in the history. The newest stay loaded meanwhile, so that nothing that arrives is lost.
 */

import { MessageWindow } from "./message_window.js";

/** @import { Message } from "./conversation.js" */

/** @typedef {{ messages: readonly Message[], reachesStart: boolean, revision: number }} HistoryPage oldest message first; `revision`: it contains all changes up to it */

export class HistoryView {
  #newest;
  /** The range that a jump led to, until it meets the newest messages. @type {MessageWindow | undefined} */
  #detached;

  /** @param {MessageWindow} newest */
  constructor(newest) {
    this.#newest = newest;
  }

  /** Whether the messages shown are not the newest. */
  get isDetached() {
    return this.#detached !== undefined;
  }

  /** Whether there is anything to show, if only that there are no messages. */
  get isLoaded() {
    return this.#shown.isLoaded;
  }

  /** Whether no message precedes those shown. */
  get reachesStart() {
    return this.#shown.reachesStart;
  }

  /** The first seq; 0 without messages. */
  get firstSeq() {
    return this.#shown.firstSeq;
  }

  /** The last contiguous seq; 0 without messages. */
  get lastSeq() {
    return this.#shown.lastSeq;
  }

  /** The messages, oldest first. */
  get messages() {
    return this.#shown.messages;
  }

  /** The revision up to which the range that a jump led to contains all changes. */
  get revision() {
    return this.#detached?.revision ?? Number.POSITIVE_INFINITY;
  }

  /** A message of the range that a jump led to. @param {number} seq */
  at(seq) {
    return this.#detached?.at(seq);
  }

  /** Whether the message can be shown without loading. @param {number} seq */
  has(seq) {
    return this.at(seq) !== undefined || (seq <= this.#newest.lastSeq && this.#newest.at(seq) !== undefined);
  }

  /** Shows another range. @param {HistoryPage} page */
  detach({ messages, reachesStart, revision }) {
    this.#detached = new MessageWindow();
    this.#detached.load(messages, reachesStart, revision);
    this.join();
  }

  /** Shows the newest messages again. */
  attach() {
    this.#detached = undefined;
  }

  /** Adds the page before the messages shown. @param {HistoryPage} page */
  prepend({ messages, reachesStart, revision }) {
    this.#shown.prepend(messages, reachesStart, revision);
    this.join();
  }

  /** Adds the page after the range that a jump led to. @param {Omit<HistoryPage, "reachesStart">} page */
  append({ messages, revision }) {
    this.#detached?.append(messages, revision);
    this.join();
  }

  /** A newer version of a message arrived. @param {Message} message */
  update(message) {
    if (this.at(message.seq)) this.#detached?.add(message);
  }

  /** As `MessageWindow.addRevision`. @param {number} revision */
  addRevision(revision) {
    this.#detached?.addRevision(revision);
  }

  /** As `MessageWindow.raiseRevision`. @param {number} revision */
  raiseRevision(revision) {
    this.#detached?.raiseRevision(revision);
  }

  /** Makes one range of the two once they meet. */
  join() {
    const [range, newest] = [this.#detached, this.#newest];
    if (!range || !newest.isLoaded) return;
    if (range.lastSeq + 1 < newest.firstSeq || newest.lastSeq + 1 < range.firstSeq) return;
    this.#detached = undefined;
    newest.append(range.messages, range.revision); // those from a cache may end earlier
    newest.prepend(range.messages, range.reachesStart || newest.reachesStart, range.revision);
  }

  get #shown() {
    return this.#detached ?? this.#newest;
  }
}
