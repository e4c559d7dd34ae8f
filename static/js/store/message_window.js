/**
 * A contiguous range of loaded messages, and those received ahead of it. It is the only store of
 * loaded messages.
 */

/** @typedef {{ id: string, name: string, type: string, size: number, width?: number, height?: number, placeholder?: string }} MessageFile as in the server's rows (docs/protocol.md) */

/**
 * @typedef {object} Message
 * @property {number} seq position in the conversation: 1, 2, 3 …
 * @property {number} id
 * @property {string} from
 * @property {string} to
 * @property {string} text
 * @property {number} at milliseconds since 1970
 * @property {string} [ref] the client's id of the message, on own messages only
 * @property {number} [replyTo] the seq of the message it answers
 * @property {number} [editedAt] milliseconds since 1970
 * @property {true} [deleted] its text is then empty
 * @property {MessageFile} [file]
 * @property {Record<string, string>} [reactions] one emoji per user
 * @property {true} [pending] whether it contains changes that the server has not answered
 * @property {number} [revision] the conversation's revision at its last change; a message with a higher one is a newer version
 */

export class MessageWindow {
  /** @type {Message[]} in order of seq */
  #messages = [];
  /** @type {Map<number, Message>} by seq, received before the messages that precede them */
  #ahead = new Map();
  #isLoaded = false;
  #reachesStart = false;
  /** The messages contain all changes up to this revision. */
  #revision = 0;
  /** @type {Set<number>} revisions of later changes that they contain too */
  #laterRevisions = new Set();

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

  /** The revision up to which the messages contain all changes. */
  get revision() {
    return this.#revision;
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
   * @param {readonly Message[]} page oldest first
   * @param {boolean} reachesStart whether no message precedes it
   * @param {number} revision up to which it contains all changes
   */
  load(page, reachesStart, revision) {
    this.#messages = [...page];
    this.#reachesStart = reachesStart;
    this.#isLoaded = true;
    this.#revision = revision;
    this.#join();
  }

  /**
   * Adds the page before the range.
   * @param {readonly Message[]} page
   * @param {boolean} reachesStart
   * @param {number} revision
   */
  prepend(page, reachesStart, revision) {
    this.#lowerRevision(revision);
    const first = this.#messages[0]?.seq ?? Number.POSITIVE_INFINITY;
    this.#messages = [...page.filter((message) => message.seq < first), ...this.#messages];
    this.#reachesStart = reachesStart;
  }

  /**
   * Adds the page after the range.
   * @param {readonly Message[]} page
   * @param {number} revision
   */
  append(page, revision) {
    this.#lowerRevision(revision);
    for (const message of page) if (message.seq === this.lastSeq + 1) this.#messages.push(message);
    this.#join();
  }

  /**
   * Adds a message after the range, at once or when those before it arrive, or replaces an older
   * version of it.
   * @param {Message} message
   */
  add(message) {
    const { seq, revision = 0 } = message;
    const isNewer = revision > (this.at(seq)?.revision ?? -1);
    if (seq > this.lastSeq && isNewer) this.#ahead.set(seq, message);
    else if (seq >= this.firstSeq && isNewer) this.#messages[seq - this.firstSeq] = message;
    this.#join();
  }

  /** The messages contain the change with this revision. @param {number} revision */
  addRevision(revision) {
    this.#laterRevisions.add(revision);
    this.raiseRevision(0);
  }

  /** The messages contain all changes up to this revision. @param {number} revision */
  raiseRevision(revision) {
    this.#revision = Math.max(this.#revision, revision);
    for (const later of this.#laterRevisions) if (later <= this.#revision) this.#laterRevisions.delete(later);
    while (this.#laterRevisions.delete(this.#revision + 1)) this.#revision++;
  }

  /** Drops all messages. */
  clear() {
    this.#messages = [];
    this.#ahead.clear();
    this.#laterRevisions.clear();
    this.#isLoaded = false;
    this.#reachesStart = false;
  }

  /**
   * Messages were added that contain all changes up to this revision.
   * @param {number} revision
   */
  #lowerRevision(revision) {
    this.#revision = Math.min(this.#revision, revision);
    for (const later of this.#laterRevisions) if (later > revision) this.#laterRevisions.delete(later);
  }

  #join() {
    for (let next; (next = this.#ahead.get(this.lastSeq + 1));) {
      this.#ahead.delete(next.seq);
      this.#messages.push(next);
    }
    for (const seq of this.#ahead.keys()) if (seq <= this.lastSeq) this.#ahead.delete(seq);
  }
}
