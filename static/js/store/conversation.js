/**
 * One conversation as this page holds it: a window of its messages without holes, the marks, and the count of unread.
 * It decides what can be shown and what is missing; fetching what is missing is left to `messenger.js`.
 */

/**
 * @typedef {object} Message
 * @property {number} seq place in the conversation: 1, 2, 3 …
 * @property {number} id
 * @property {string} from
 * @property {string} to
 * @property {string} text
 * @property {number} at milliseconds since 1970
 * @property {string} [ref] the sender's own id for it, on own messages only
 */

/** @typedef {"sent" | "delivered" | "read"} Mark */

/** @typedef {{ from: string, text: string, at: number }} Preview */

/** @typedef {Omit<import("../sync/api.js").Row, "online" | "last_seen">} Row what the server says of the whole */

/** Beyond so many missing messages it is kinder to start from the newest page again. */
const WORTH_FILLING = 400;

export class Conversation {
  /** @type {Message[]} in order, each one above the one before */
  #window = [];
  /** @type {Map<number, Message>} by seq, beyond the window: they wait for those before them */
  #early = new Map();
  #loaded = false;
  #complete = false;
  #lastSeq = 0;
  #peerRead = 0;
  #peerDelivered = 0;
  #myRead = 0;
  #confirmedRead = 0;
  #unread = 0;
  /** Whether I have blocked the peer: then it stays as it was. */
  blocked = false;
  /** Up to here the unread are counted without a hole. */
  #countedSeq = 0;
  /** @type {Preview | undefined} */
  #preview;
  /** What the server said of it last. @type {Partial<Row>} */
  #told = {};

  /**
   * @param {string} me
   * @param {string} peer
   */
  constructor(me, peer) {
    this.me = me;
    this.peer = peer;
  }

  /** Whether a first page is here. */
  get loaded() {
    return this.#loaded;
  }

  /** Whether the window reaches back to the first message. */
  get complete() {
    return this.#complete;
  }

  /** Whether the server has said what it knows of the whole. */
  get isDescribed() {
    return this.#told.last_seq !== undefined;
  }

  /** Whether the peer has left for good. */
  get peerDeleted() {
    return this.#told.gone === true;
  }

  /** The highest seq known to exist. */
  get lastSeq() {
    return this.#lastSeq;
  }

  /** The highest seq held without a hole; 0 when there is none. */
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

  /** A read mark the server has not confirmed; undefined when there is none. */
  get unconfirmedRead() {
    return this.#myRead > this.#confirmedRead ? this.#myRead : undefined;
  }

  get unread() {
    return this.blocked ? 0 : this.#unread;
  }

  /** Whether I want to hear nothing of it. */
  get muted() {
    return this.#told.muted === true;
  }

  set muted(muted) {
    this.#told = { ...this.#told, muted };
  }

  /** The newest message, in short. */
  get preview() {
    return this.#preview;
  }

  /** The server's row, brought up to date by what came since; a read mark is in it once the server has it. @returns {Row} */
  get row() {
    const { from = "", text = "", at = 0 } = this.#preview ?? {};
    return {
      cursor: "",
      ...this.#told,
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
   * The end of the window, and whether it reaches back to the first message.
   * @param {number} limit
   */
  tail(limit) {
    return { messages: this.#window.slice(-limit), complete: this.#complete && this.#window.length <= limit };
  }

  /**
   * The seq of the first message of the peer after `seq`; undefined when there is none, or when it may lie before the window.
   * @param {number} seq
   */
  firstAfter(seq) {
    if (this.firstSeq > seq + 1 && !this.#complete) return undefined;
    for (let index = Math.max(0, seq + 1 - this.firstSeq); index < this.#window.length; index++) {
      const message = this.#window[index];
      if (message && message.from !== this.me && message.seq > seq) return message.seq;
    }
    return undefined;
  }

  /** Whether the first unread message is in the window with something before it, or none is unread. */
  get reachesUnread() {
    if (this.#complete || this.me === this.peer || this.firstSeq <= this.#myRead) return true;
    if (this.#told.last_seq !== undefined) return this.#unread === 0;
    return this.#window.every((message) => message.from === this.me); // who writes so much has read what came before
  }

  /** Whether messages are known to be missing after the window. */
  get hasGap() {
    return this.#loaded && this.#lastSeq > this.contiguousSeq;
  }

  /**
   * What can be shown, in order: the window, then own messages that are stored but wait for others before them — their
   * writer has seen them already, so they never vanish.
   * @returns {Message[]}
   */
  messages() {
    if (this.#early.size === 0) return this.#window;
    const own = [...this.#early.values()].filter((message) => message.from === this.me);
    return [...this.#window, ...own.toSorted((a, b) => a.seq - b.seq)];
  }

  /**
   * How far an own message has come. Marks only rise, so what this says of a message never goes back.
   * @param {Pick<Message, "seq">} message
   * @returns {Mark}
   */
  markOf(message) {
    if (this.peer === this.me) return "sent"; // nobody else will read a note
    if (message.seq <= this.#peerRead) return "read";
    return message.seq <= this.#peerDelivered ? "delivered" : "sent";
  }

  /**
   * Takes the newest page, oldest first. `whole`: nothing comes before it.
   * @param {Message[]} page
   * @param {boolean} whole
   */
  load(page, whole) {
    this.#window = page;
    this.#complete = whole;
    this.#loaded = true;
    const last = page.at(-1);
    if (last) this.#know(last);
    this.#takeReady();
  }

  /**
   * Takes the page before the window. `whole`: nothing comes before it.
   * @param {Message[]} page
   * @param {boolean} whole
   */
  prepend(page, whole) {
    const first = this.#window[0]?.seq ?? Number.POSITIVE_INFINITY;
    this.#window = [...page.filter((message) => message.seq < first), ...this.#window];
    this.#complete = whole;
  }

  /**
   * Takes a message from the socket or from a filled hole. Returns whether it was new here, and whether something before
   * it is missing.
   * @param {Message} message
   * @returns {{ fresh: boolean, gap: boolean }}
   */
  receive(message) {
    const known = this.#lastSeq;
    const fresh = message.seq > known;
    this.#count(message, fresh);
    this.#know(message);
    if (!this.#loaded) return { fresh, gap: message.seq > known + 1 };
    if (message.seq > this.contiguousSeq) this.#early.set(message.seq, message);
    this.#takeReady();
    return { fresh, gap: this.hasGap };
  }

  /** Whether so much is missing that the newest page should be loaded instead of filling the hole. */
  get tooFarBehind() {
    return this.#lastSeq - this.contiguousSeq > WORTH_FILLING;
  }

  /**
   * Whether the server has another message under this number than the one held or listed here.
   * @param {{ seq: number, at: number, id?: number, from?: string, text?: string }} message without what is not to be compared
   */
  differs({ seq, at, id, from, text }) {
    const { preview } = this;
    const known =
      this.#window[seq - this.firstSeq] ?? this.#early.get(seq) ?? (seq === this.#lastSeq ? preview : undefined);
    if (!known) return false;
    const isOther = "id" in known && id !== undefined && known.id !== id;
    return isOther || known.at !== at || (text !== undefined && (known.text !== text || known.from !== from));
  }

  /** Forgets how far the peer and the server are: they may be behind that now. What was read here counts on. */
  distrust() {
    this.#peerRead = 0;
    this.#peerDelivered = 0;
    this.#confirmedRead = 0;
  }

  /** Lets go of the messages, not of what is known about them. */
  unload() {
    this.#window = [];
    this.#early.clear();
    this.#loaded = false;
    this.#complete = false;
  }

  /**
   * Takes what the server says about the whole conversation. The answer may be older than what a socket brought since.
   * @param {Partial<Row> & { last_seq: number, unread: number, peer_read_seq: number, peer_delivered_seq: number, my_read_seq: number }} row
   * @param {Preview | undefined} preview
   */
  update(row, preview) {
    this.#told = row;
    this.blocked = row.blocked === true;
    if (row.last_seq >= this.#lastSeq) {
      this.#lastSeq = row.last_seq;
      if (preview) this.#preview = preview;
      this.#unread = row.unread;
      this.#countedSeq = row.last_seq;
    }
    this.peerHas({ read: row.peer_read_seq, delivered: row.peer_delivered_seq });
    this.#confirmedRead = Math.max(this.#confirmedRead, row.my_read_seq);
    const ahead = this.#myRead > row.my_read_seq; // read here since: the count in the row is too high
    this.#myRead = Math.max(this.#myRead, row.my_read_seq);
    if (ahead) this.#unread = this.#countUnread() ?? this.#unread;
  }

  /**
   * The peer has or has read everything up to a seq.
   * @param {{ read?: number, delivered?: number }} marks
   */
  peerHas({ read = 0, delivered = 0 }) {
    this.#peerRead = Math.max(this.#peerRead, read);
    this.#peerDelivered = Math.max(this.#peerDelivered, delivered, this.#peerRead);
  }

  /**
   * I have seen everything up to `seq`. Returns whether that is news.
   * @param {number} seq
   */
  readTo(seq) {
    if (seq <= this.#myRead) return false;
    this.#myRead = seq;
    this.#unread = this.#countUnread() ?? this.#unread;
    return true;
  }

  /**
   * The server knows that I have seen everything up to `seq`, here or on another device.
   * @param {number} seq
   */
  confirmRead(seq) {
    this.#confirmedRead = Math.max(this.#confirmedRead, seq);
    return this.readTo(seq);
  }

  /**
   * What fills a gap is unread too, unless a row told of it before.
   * @param {Message} message
   * @param {boolean} fresh
   */
  #count({ seq, from }, fresh) {
    const filling = seq > this.#countedSeq && seq > this.contiguousSeq && !this.#early.has(seq);
    // While nothing is loaded a gap is not filled: the list is asked, and tells the count.
    if (seq === this.#countedSeq + 1 || !this.#loaded) this.#countedSeq = Math.max(this.#countedSeq, seq);
    if ((fresh || filling) && from !== this.me && seq > this.#myRead) this.#unread++;
  }

  #takeReady() {
    for (;;) {
      const next = this.contiguousSeq + 1;
      const message = this.#early.get(next);
      if (!message) break;
      this.#early.delete(next);
      this.#window.push(message);
    }
    for (const seq of this.#early.keys()) if (seq <= this.contiguousSeq) this.#early.delete(seq);
  }

  /** @param {Message} message */
  #know(message) {
    if (message.seq < this.#lastSeq) return;
    this.#lastSeq = message.seq;
    this.#preview = { from: message.from, text: message.text, at: message.at };
  }

  /** Unread by what is held here; undefined when the window does not reach from the mark to the end. */
  #countUnread() {
    if (this.#myRead >= this.#lastSeq || this.me === this.peer) return 0;
    if (this.hasGap || !this.#loaded || this.firstSeq > this.#myRead + 1) return undefined;
    return this.#window.filter((message) => message.seq > this.#myRead && message.from !== this.me).length;
  }
}
