/**
 * One conversation in memory: a contiguous window of its messages, the receipts and the unread count.
 * It decides what can be shown and what is missing; `messenger.js` fetches what is missing.
 */

/**
 * @typedef {object} Message
 * @property {number} seq position in the conversation: 1, 2, 3 …
 * @property {number} id
 * @property {string} from
 * @property {string} to
 * @property {string} text
 * @property {number} at milliseconds since 1970
 * @property {string} [ref] the client's id of the message, on own messages only
 */

/** @typedef {"sent" | "delivered" | "read"} Mark */

/** @typedef {{ from: string, text: string, at: number }} Preview */

/** @typedef {Omit<import("../sync/api.js").Row, "online" | "last_seen">} Row the server's state of the conversation */

/** With more messages missing, loading the newest page costs less than filling the gap. */
const MAX_GAP = 400;

export class Conversation {
  /** @type {Message[]} contiguous, in order of seq */
  #window = [];
  /** @type {Map<number, Message>} by seq, received before the messages that precede them */
  #outOfOrder = new Map();
  #isLoaded = false;
  #isComplete = false;
  #lastSeq = 0;
  #peerRead = 0;
  #peerDelivered = 0;
  #myRead = 0;
  #confirmedRead = 0;
  #unread = 0;
  /** Whether the user has blocked the peer, which freezes the conversation. */
  blocked = false;
  /** The unread count includes every message up to this seq. */
  #countedSeq = 0;
  /** @type {Preview | undefined} */
  #preview;
  /** The server's latest row. @type {Partial<Row>} */
  #serverRow = {};

  /**
   * @param {string} me
   * @param {string} peer
   */
  constructor(me, peer) {
    this.me = me;
    this.peer = peer;
  }

  /** Whether a first page of messages is loaded. */
  get loaded() {
    return this.#isLoaded;
  }

  /** Whether the window reaches back to the first message. */
  get complete() {
    return this.#isComplete;
  }

  /** Whether the server has sent this conversation's row. */
  get isDescribed() {
    return this.#serverRow.last_seq !== undefined;
  }

  /** Whether the peer's account was deleted. */
  get peerDeleted() {
    return this.#serverRow.gone === true;
  }

  /** The highest seq known to exist. */
  get lastSeq() {
    return this.#lastSeq;
  }

  /** The highest contiguous seq; 0 when no message is loaded. */
  get contiguousSeq() {
    return this.#window.at(-1)?.seq ?? 0;
  }

  get firstSeq() {
    return this.#window[0]?.seq ?? 0;
  }

  get peerRead() {
    return this.#peerRead;
  }

  get peerDelivered() {
    return this.#peerDelivered;
  }

  get myRead() {
    return this.#myRead;
  }

  /** A read mark the server has not confirmed, or undefined. */
  get unconfirmedRead() {
    return this.#myRead > this.#confirmedRead ? this.#myRead : undefined;
  }

  get unread() {
    return this.blocked ? 0 : this.#unread;
  }

  /** Whether the user has muted the conversation. */
  get muted() {
    return this.#serverRow.muted === true;
  }

  set muted(muted) {
    this.#serverRow = { ...this.#serverRow, muted };
  }

  /** The newest message, for the list. */
  get preview() {
    return this.#preview;
  }

  /**
   * The server's row updated by later frames. It contains only read marks the server has confirmed.
   * @returns {Row}
   */
  get row() {
    const { from = "", text = "", at = 0 } = this.#preview ?? {};
    return {
      cursor: "",
      ...this.#serverRow,
      peer: this.peer,
      last_seq: this.#lastSeq,
      last: this.#preview ? { sender: from, content: text, timestamp: new Date(at).toISOString() } : null,
      unread: this.#unread,
      blocked: this.blocked,
      peer_read_seq: this.#peerRead,
      peer_delivered_seq: this.#peerDelivered,
      my_read_seq: this.#confirmedRead,
    };
  }

  /**
   * The newest messages, and whether they reach back to the first message.
   * @param {number} limit
   */
  tail(limit) {
    return { messages: this.#window.slice(-limit), complete: this.#isComplete && this.#window.length <= limit };
  }

  /**
   * The seq of the peer's first message after `seq`; undefined when there is none, or when it may precede the window.
   * @param {number} seq
   */
  firstAfter(seq) {
    if (this.firstSeq > seq + 1 && !this.#isComplete) return undefined;
    for (let index = Math.max(0, seq + 1 - this.firstSeq); index < this.#window.length; index++) {
      const message = this.#window[index];
      if (message && message.from !== this.me && message.seq > seq) return message.seq;
    }
    return undefined;
  }

  /** Whether the window contains the first unread message and one before it, or nothing is unread. */
  get reachesUnread() {
    if (this.#isComplete || this.me === this.peer || this.firstSeq <= this.#myRead) return true;
    if (this.#serverRow.last_seq !== undefined) return this.#unread === 0;
    return this.#window.every((message) => message.from === this.me); // a user who wrote all of these has read what preceded them
  }

  /** Whether messages are known to be missing after the window. */
  get hasGap() {
    return this.#isLoaded && this.#lastSeq > this.contiguousSeq;
  }

  /**
   * The messages to show, in order: the window, then the user's own stored messages that arrived out of order. The user has
   * seen those already, so they never disappear.
   * @returns {Message[]}
   */
  messages() {
    if (this.#outOfOrder.size === 0) return this.#window;
    const own = [...this.#outOfOrder.values()].filter((message) => message.from === this.me);
    return [...this.#window, ...own.toSorted((a, b) => a.seq - b.seq)];
  }

  /**
   * The delivery state of an own message. Marks only rise, so the state never goes back.
   * @param {Pick<Message, "seq">} message
   * @returns {Mark}
   */
  markOf(message) {
    if (this.peer === this.me) return "sent"; // notes to oneself have no other reader
    if (message.seq <= this.#peerRead) return "read";
    return message.seq <= this.#peerDelivered ? "delivered" : "sent";
  }

  /**
   * Replaces the window by the newest page, oldest message first.
   * @param {Message[]} page
   * @param {boolean} isComplete whether no message precedes it
   */
  load(page, isComplete) {
    this.#window = page;
    this.#isComplete = isComplete;
    this.#isLoaded = true;
    const last = page.at(-1);
    if (last) this.#raiseLastSeq(last);
    this.#advance();
  }

  /**
   * Adds the page before the window.
   * @param {Message[]} page
   * @param {boolean} isComplete whether no message precedes it
   */
  prepend(page, isComplete) {
    const first = this.#window[0]?.seq ?? Number.POSITIVE_INFINITY;
    this.#window = [...page.filter((message) => message.seq < first), ...this.#window];
    this.#isComplete = isComplete;
  }

  /**
   * Adds a message from the socket or from a filled gap. Returns whether it was new, and whether messages before it are
   * missing.
   * @param {Message} message
   * @returns {{ fresh: boolean, gap: boolean }}
   */
  receive(message) {
    const known = this.#lastSeq;
    const fresh = message.seq > known;
    this.#count(message, fresh);
    this.#raiseLastSeq(message);
    if (!this.#isLoaded) return { fresh, gap: message.seq > known + 1 };
    if (message.seq > this.contiguousSeq) this.#outOfOrder.set(message.seq, message);
    this.#advance();
    return { fresh, gap: this.hasGap };
  }

  /** Whether the gap is so large that the newest page should be loaded instead of filling it. */
  get tooFarBehind() {
    return this.#lastSeq - this.contiguousSeq > MAX_GAP;
  }

  /**
   * Whether the server has a different message at this seq than the one loaded or listed here.
   * @param {{ seq: number, at: number, id?: number, from?: string, text?: string }} message absent fields are not compared
   */
  differs({ seq, at, id, from, text }) {
    const { preview } = this;
    const known =
      this.#window[seq - this.firstSeq] ?? this.#outOfOrder.get(seq) ?? (seq === this.#lastSeq ? preview : undefined);
    if (!known) return false;
    const isOther = "id" in known && id !== undefined && known.id !== id;
    return isOther || known.at !== at || (text !== undefined && (known.text !== text || known.from !== from));
  }

  /** Resets the marks of the peer and the server, which a restored database may have lowered. Keeps the user's own read mark. */
  distrust() {
    this.#peerRead = 0;
    this.#peerDelivered = 0;
    this.#confirmedRead = 0;
  }

  /** Drops the messages; keeps marks, counts and the preview. */
  unload() {
    this.#window = [];
    this.#outOfOrder.clear();
    this.#isLoaded = false;
    this.#isComplete = false;
  }

  /**
   * Applies the server's row, which may be older than frames received since.
   * @param {Partial<Row> & { last_seq: number, unread: number, peer_read_seq: number, peer_delivered_seq: number, my_read_seq: number }} row
   * @param {Preview | undefined} preview
   */
  update(row, preview) {
    this.#serverRow = row;
    this.blocked = row.blocked === true;
    if (row.last_seq >= this.#lastSeq) {
      this.#lastSeq = row.last_seq;
      if (preview) this.#preview = preview;
      this.#unread = row.unread;
      this.#countedSeq = row.last_seq;
    }
    this.raisePeerMarks({ read: row.peer_read_seq, delivered: row.peer_delivered_seq });
    this.#confirmedRead = Math.max(this.#confirmedRead, row.my_read_seq);
    const ahead = this.#myRead > row.my_read_seq; // read here since, so the row's count is too high
    this.#myRead = Math.max(this.#myRead, row.my_read_seq);
    if (ahead) this.#unread = this.#countUnread() ?? this.#unread;
  }

  /**
   * Raises the peer's delivered and read marks.
   * @param {{ read?: number, delivered?: number }} marks
   */
  raisePeerMarks({ read = 0, delivered = 0 }) {
    this.#peerRead = Math.max(this.#peerRead, read);
    this.#peerDelivered = Math.max(this.#peerDelivered, delivered, this.#peerRead);
  }

  /**
   * Marks everything up to `seq` as read. Returns whether the mark rose.
   * @param {number} seq
   */
  readTo(seq) {
    if (seq <= this.#myRead) return false;
    this.#myRead = seq;
    this.#unread = this.#countUnread() ?? this.#unread;
    return true;
  }

  /**
   * The server has stored that the user read everything up to `seq`, on this or another device.
   * @param {number} seq
   */
  confirmRead(seq) {
    this.#confirmedRead = Math.max(this.#confirmedRead, seq);
    return this.readTo(seq);
  }

  /**
   * Counts an unread message once; those that fill a gap count unless a row has included them.
   * @param {Message} message
   * @param {boolean} fresh
   */
  #count({ seq, from }, fresh) {
    const filling = seq > this.#countedSeq && seq > this.contiguousSeq && !this.#outOfOrder.has(seq);
    // Without loaded messages a gap is not filled: the list is refetched and brings the count.
    if (seq === this.#countedSeq + 1 || !this.#isLoaded) this.#countedSeq = Math.max(this.#countedSeq, seq);
    if ((fresh || filling) && from !== this.me && seq > this.#myRead) this.#unread++;
  }

  #advance() {
    for (;;) {
      const next = this.contiguousSeq + 1;
      const message = this.#outOfOrder.get(next);
      if (!message) break;
      this.#outOfOrder.delete(next);
      this.#window.push(message);
    }
    for (const seq of this.#outOfOrder.keys()) if (seq <= this.contiguousSeq) this.#outOfOrder.delete(seq);
  }

  /** @param {Message} message */
  #raiseLastSeq(message) {
    if (message.seq < this.#lastSeq) return;
    this.#lastSeq = message.seq;
    this.#preview = { from: message.from, text: message.text, at: message.at };
  }

  /** The unread count of the loaded messages; undefined when the window does not reach from the mark to the end. */
  #countUnread() {
    if (this.#myRead >= this.#lastSeq || this.me === this.peer) return 0;
    if (this.hasGap || !this.#isLoaded || this.firstSeq > this.#myRead + 1) return undefined;
    return this.#window.filter((message) => message.seq > this.#myRead && message.from !== this.me).length;
  }
}
