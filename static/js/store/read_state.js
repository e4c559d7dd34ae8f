/**
 * What each side of a conversation has read. Marks only rise. The unread count is derived: what the
 * server counted, what arrived since, and how far the user has read.
 */

/** @typedef {{ last_seq: number, unread: number, my_read_seq: number, peer_read_seq: number, peer_delivered_seq: number, revision?: number }} Counts the part of a row that concerns reading */

export class ReadState {
  #mine = 0;
  #confirmed = 0;
  #peerRead = 0;
  #peerDelivered = 0;
  /** The server's count of the messages up to `seq`, when the user had read up to `read`. */
  #counted = { seq: 0, unread: 0, read: 0, revision: 0 };
  /** @type {Set<number>} the peer's messages received since, by seq */
  #received = new Set();
  /** @type {Map<number, number>} revisions of the peer's messages deleted since, by seq */
  #deleted = new Map();

  /** The user has read everything up to this seq. */
  get mine() {
    return this.#mine;
  }

  /** The same, as far as the server has confirmed it. */
  get confirmed() {
    return this.#confirmed;
  }

  /** The user's mark if the server has not confirmed it. */
  get unsavedMark() {
    return this.#mine > this.#confirmed ? this.#mine : undefined;
  }

  get peerRead() {
    return this.#peerRead;
  }

  get peerDelivered() {
    return this.#peerDelivered;
  }

  /**
   * The unread count.
   * @param {(after: number, to: number) => number | undefined} count the peer's messages in a range; undefined when they are not loaded
   */
  unread(count) {
    const { seq, unread, read } = this.#counted;
    if (this.#mine >= seq) return this.#received.size;
    let counted = this.#mine > read ? count(this.#mine, seq) : undefined;
    if (counted === undefined) {
      counted = unread;
      for (const each of this.#deleted.keys()) if (each > this.#mine && each <= seq) counted--;
    }
    return Math.max(0, counted) + this.#received.size;
  }

  /** Applies the server's row, which may be older than what arrived since. @param {Counts} row */
  update({ last_seq, unread, my_read_seq, peer_read_seq, peer_delivered_seq, revision = this.#counted.revision }) {
    if (last_seq >= this.#counted.seq && revision >= this.#counted.revision)
      this.#counted = { seq: last_seq, unread, read: my_read_seq, revision };
    this.raisePeer({ read: peer_read_seq, delivered: peer_delivered_seq });
    this.confirm(my_read_seq);
    this.#dropCounted();
  }

  /** A message of the peer arrived. @param {number} seq */
  received(seq) {
    this.#received.add(seq);
    this.#dropCounted();
  }

  /** The peer deleted a message. @param {number} seq @param {number} revision */
  deleted(seq, revision) {
    this.#received.delete(seq);
    this.#deleted.set(seq, revision);
    this.#dropCounted();
  }

  /**
   * The user has read everything up to `seq`. Returns whether the mark rose.
   * @param {number} seq
   */
  read(seq) {
    if (seq <= this.#mine) return false;
    this.#mine = seq;
    this.#dropCounted();
    return true;
  }

  /**
   * The server has stored that the user read up to `seq`, on this or another device.
   * @param {number} seq
   */
  confirm(seq) {
    this.#confirmed = Math.max(this.#confirmed, seq);
    this.read(seq);
  }

  /** @param {{ read?: number, delivered?: number }} marks */
  raisePeer({ read = 0, delivered = 0 }) {
    this.#peerRead = Math.max(this.#peerRead, read);
    this.#peerDelivered = Math.max(this.#peerDelivered, delivered, this.#peerRead);
  }

  /** Resets what a restored database may have lowered: all but the user's own mark. */
  distrust() {
    this.#peerRead = 0;
    this.#peerDelivered = 0;
    this.#confirmed = 0;
    this.#counted.revision = 0;
  }

  #dropCounted() {
    for (const seq of this.#received) if (seq <= Math.max(this.#counted.seq, this.#mine)) this.#received.delete(seq);
    for (const [seq, revision] of this.#deleted)
      if (seq <= this.#mine || revision <= this.#counted.revision) this.#deleted.delete(seq);
  }
}
