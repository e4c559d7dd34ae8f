/** Decides where the line "New messages" is in the conversation on screen. It has no document. */

/** @import { Conversation } from "../store/conversation.js" */

export class NewMessagesLine {
  /** The line is after this seq; undefined for none. @type {number | undefined} */
  #after;
  /** The newest seq that arrived while the user was looking at the end. */
  #seen = 0;
  /** The newest seq shown so far. */
  #shown = 0;

  /** Whether there is a line. */
  get isDrawn() {
    return this.#after !== undefined;
  }

  /** Whether a message has not been shown yet. @param {number} seq */
  isFresh(seq) {
    return seq > this.#shown;
  }

  /** The seq of the message below the line, or undefined. @param {Conversation} conversation */
  below(conversation) {
    return this.#after === undefined || conversation.blocked ? undefined : conversation.firstAfter(this.#after);
  }

  /** The conversation opens: the line is above the first unread message. @param {Conversation} conversation */
  open(conversation) {
    this.#after = conversation.myRead;
    if (this.below(conversation) === undefined) this.#after = undefined;
  }

  /**
   * A message arrived. Returns whether the line moved.
   * @param {Conversation} conversation
   * @param {number} seq
   * @param {boolean} isReading whether the user is looking at the end
   */
  arrived(conversation, seq, isReading) {
    if (isReading) this.#seen = Math.max(this.#seen, seq);
    else this.#moveTo(conversation, seq - 1);
    return !isReading;
  }

  /**
   * Marks messages that arrived before the page was open or while it was offline as new. Returns whether there are any.
   * @param {Conversation} conversation
   */
  missed(conversation) {
    const known = Math.max(conversation.myRead, this.#shown);
    const first = conversation.firstAfter(known);
    if (first === undefined || first <= this.#seen) return false;
    this.#moveTo(conversation, known);
    return true;
  }

  /** All messages up to `seq` are shown. @param {number} seq */
  shown(seq) {
    this.#shown = Math.max(this.#shown, seq);
  }

  /** Removes the line. */
  remove() {
    this.#after = undefined;
  }

  /**
   * Moves the line behind `seq`, unless it is above unread messages.
   * @param {Conversation} conversation
   * @param {number} seq
   */
  #moveTo(conversation, seq) {
    const first = this.#after === undefined ? undefined : conversation.firstAfter(this.#after);
    if (first === undefined || first <= conversation.myRead) this.#after = seq;
  }
}
