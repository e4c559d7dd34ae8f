/**
 * One conversation in memory: the server's row, windows of its messages, and what is read. It
 * decides what can be shown and what is missing; `conversation_loader.js` fetches what is missing.
 */

import { HistoryView } from "./history_view.js";
import { Membership } from "./membership.js";
import { MessageWindow } from "./message_window.js";
import { withChanges } from "./pending.js";
import { ReadState } from "./read_state.js";

/** @import { MessageFile } from "./message_window.js" */
/** @typedef {import("./message_window.js").Message} Message */
/** @typedef {"sent" | "delivered" | "read"} Mark */
/** @typedef {{ from: string, text: string, at: number, deleted?: true, file?: MessageFile, revision?: number }} Preview */

/** @typedef {Omit<import("../sync/api.js").Row, "online" | "last_seen">} StableRow a row without presence, which expires quickly */

/** With more messages or changes missing, loading the newest page costs less than filling the gap. */
const MAX_GAP = 400;

export class Conversation {
  /** The newest messages. */
  #window = new MessageWindow();
  /** What can be on screen. */
  view = new HistoryView(this.#window);
  readState = new ReadState();
  #lastSeq = 0;
  #revision = 0;
  /** Whether the server has sent this conversation's row. */
  hasRow = false;
  /** Whether the row may have changed without a frame to this page. */
  isRowStale = false;
  membership = new Membership();
  /** Whether the user has blocked the peer, which freezes the conversation. */
  isBlocked = false;
  /** Whether the peer's account was deleted. */
  isPeerDeleted = false;
  /** Files of messages that were deleted; the store takes them. @type {MessageFile[]} */
  deletedFiles = [];
  /** The newest message while it is not loaded. @type {Preview | undefined} */
  #preview;

  #pendingChanges;

  /**
   * @param {string} me
   * @param {string} peer
   * @param {() => readonly import("./pending.js").PendingChange[]} [pendingChanges] of its messages
   */
  constructor(me, peer, pendingChanges = () => []) {
    this.me = me;
    this.peer = peer;
    this.#pendingChanges = pendingChanges;
  }

  /** Whether a first page of messages is loaded. */
  get isLoaded() {
    return this.#window.isLoaded;
  }

  /** Whether the window reaches back to the first message. */
  get reachesStart() {
    return this.#window.reachesStart;
  }

  /** The highest seq known to exist. */
  get lastSeq() {
    return this.#lastSeq;
  }

  /** The highest contiguous seq; 0 when no message is loaded. */
  get contiguousSeq() {
    return this.#window.lastSeq;
  }

  get firstSeq() {
    return this.#window.firstSeq;
  }

  /** The highest revision known to exist. */
  get revision() {
    return this.#revision;
  }

  /** The revision up to which the loaded messages contain all changes. */
  get loadedRevision() {
    return Math.min(this.#window.revision, this.view.revision);
  }

  get myRead() {
    return this.readState.mine;
  }

  get isMuted() {
    return this.membership.isMuted;
  }

  get isPinned() {
    return this.membership.settings.pinnedAt !== undefined;
  }

  /** Whether the user archived the conversation, and nothing was written in it since. */
  get isArchived() {
    return this.#lastSeq > 0 && this.membership.settings.archivedSeq === this.#lastSeq;
  }

  /** Whether the user marked the conversation as unread, and has not read on since. */
  get isMarkedUnread() {
    return this.membership.settings.markedUnreadSeq === this.myRead;
  }

  get unread() {
    return this.isBlocked ? 0 : this.readState.unread((after, to) => this.#countPeer(after, to));
  }

  /** The newest message, as stored. @returns {Preview | undefined} */
  get preview() {
    return this.#window.at(this.#lastSeq) ?? this.#preview;
  }

  /**
   * The newest messages, whether they reach back to the first message, and the revision up to which
   * they contain all changes.
   * @param {number} limit
   */
  tail(limit) {
    const { messages, reachesStart, revision } = this.#window;
    return { messages: messages.slice(-limit), complete: reachesStart && messages.length <= limit, revision };
  }

  /**
   * The seq of the peer's first message after `seq`; undefined when there is none, or when it may
   * precede the window.
   * @param {number} seq
   */
  firstAfter(seq) {
    const { messages, firstSeq, reachesStart } = this.#window;
    if (firstSeq > seq + 1 && !reachesStart) return undefined;
    for (let index = Math.max(0, seq + 1 - firstSeq); index < messages.length; index++) {
      const message = messages[index];
      if (message && message.from !== this.me && message.seq > seq) return message.seq;
    }
    return undefined;
  }

  /**
   * Whether the window contains the first unread message and one before it, or nothing is unread.
   */
  get reachesUnread() {
    if (this.reachesStart || this.me === this.peer || this.firstSeq <= this.myRead) return true;
    if (this.hasRow) return this.unread === 0;
    // A user who wrote all of these has read what preceded them.
    return this.#window.messages.every((message) => message.from === this.me);
  }

  /** Whether messages are known to be missing after the window. */
  get hasGap() {
    return this.isLoaded && this.#lastSeq > this.contiguousSeq;
  }

  /** Whether changes of loaded messages are known to be missing. */
  get lacksChanges() {
    return this.isLoaded && this.#revision > this.loadedRevision;
  }

  /**
   * The messages to show, in order, with pending changes: those of the view, then, after the
   * newest, the user's own stored messages that arrived ahead of others. The user has seen those
   * already, so they never disappear.
   * @returns {readonly Message[]}
   */
  messages() {
    const { isDetached, messages } = this.view;
    const own = isDetached ? [] : this.#window.ahead.filter((message) => message.from === this.me);
    const all = own.length === 0 ? messages : [...messages, ...own];
    const changes = this.#pendingChanges();
    return changes.length === 0 ? all : all.map((message) => withChanges(message, changes, this.me));
  }

  /**
   * A loaded message as it is shown, with pending changes.
   * @param {number} seq
   * @returns {Message | undefined}
   */
  message(seq) {
    const message = this.stored(seq);
    return message && withChanges(message, this.#pendingChanges(), this.me);
  }

  /** The newest message as the list shows it, with pending changes. @returns {Preview | undefined} */
  get shownPreview() {
    const { preview, lastSeq: seq } = this;
    return preview && withChanges({ ...preview, seq }, this.#pendingChanges(), this.me);
  }

  /**
   * The delivery state of an own message. Marks only rise, so the state never goes back.
   * @param {Pick<Message, "seq">} message
   * @returns {Mark}
   */
  markOf({ seq }) {
    if (this.peer === this.me) return "sent"; // notes to oneself have no other reader
    if (seq <= this.readState.peerRead) return "read";
    return seq <= this.readState.peerDelivered ? "delivered" : "sent";
  }

  /**
   * Replaces the newest messages by a page, oldest message first.
   * @param {Message[]} page
   * @param {boolean} reachesStart whether no message precedes it
   * @param {number} [revision] known when the page was requested: it contains all changes up to it
   */
  load(page, reachesStart, revision = this.#revision) {
    const last = page.at(-1);
    if (last) this.#raiseLastSeq(last);
    this.#window.load(page, reachesStart, revision);
    this.view.join();
  }

  /**
   * Adds a message from the socket or from a filled gap. Returns whether it was new, and whether
   * messages before it are missing.
   * @param {Message} message
   * @returns {{ isNew: boolean, hasGap: boolean }}
   */
  receive(message) {
    const known = this.#lastSeq;
    const isNew = message.seq > known;
    const isFilling = this.isLoaded && message.seq > this.contiguousSeq && !this.#window.at(message.seq);
    if (message.from !== this.me) {
      if (message.deleted) this.readState.deleted(message.seq, message.revision ?? 0);
      else if (isNew || isFilling) this.readState.received(message.seq);
    }
    const { file } = (message.deleted && this.stored(message.seq)) || {};
    if (file) this.deletedFiles.push(file);
    this.#raiseLastSeq(message);
    this.view.update(message);
    if (!this.isLoaded) return { isNew, hasGap: message.seq > known + 1 };
    this.#window.add(message);
    this.view.join();
    return { isNew, hasGap: this.hasGap };
  }

  /**
   * Applies a changed message, which may arrive before the message itself. Returns as `receive`.
   * @param {Message} message
   * @returns {{ isNew: boolean, hasGap: boolean }}
   */
  change(message) {
    const { revision = 0 } = message;
    const lacksOther = revision > this.#revision + 1;
    this.#revision = Math.max(this.#revision, revision);
    // An old message, perhaps: the row says what the newest one is.
    if (!this.isLoaded && !this.hasRow) return { isNew: false, hasGap: true };
    const { isNew, hasGap } = this.receive(message);
    if (this.isLoaded) this.#window.addRevision(revision);
    this.view.addRevision(revision);
    return { isNew, hasGap: hasGap || lacksOther || this.lacksChanges };
  }

  /**
   * All changes up to `revision` have been applied.
   * @param {number} revision
   */
  raiseRevision(revision) {
    this.#revision = Math.max(this.#revision, revision);
    this.#window.raiseRevision(revision);
    this.view.raiseRevision(revision);
  }

  /** Whether so much is missing that the newest page should be loaded instead. */
  get isTooFarBehind() {
    return this.#lastSeq - this.contiguousSeq > MAX_GAP || this.#revision - this.#window.revision > MAX_GAP;
  }

  /**
   * Whether the server has a different message at this seq than the one loaded or listed here.
   * @param {{ seq: number, at: number, id?: number, from?: string, text?: string }} message absent fields are not compared
   */
  differs({ seq, at, id, from, text }) {
    const known = this.stored(seq) ?? (seq === this.#lastSeq ? this.#preview : undefined);
    if (!known) return false;
    const isOther = "id" in known && id !== undefined && known.id !== id;
    return isOther || known.at !== at || (text !== undefined && (known.text !== text || known.from !== from));
  }

  /** Drops the newest messages; keeps marks, counts, the preview and what a jump led to. */
  unload() {
    this.#window.clear();
  }

  /**
   * Resets what a restored database may have lowered. Returns whether it unloaded the messages
   * because they may contain changes that the database has lost.
   */
  distrust() {
    this.readState.distrust();
    this.membership.distrust();
    if (this.#revision === 0) return false;
    this.#revision = 0;
    if (this.#preview) this.#preview = { ...this.#preview, revision: 0 };
    this.unload();
    this.view.attach();
    return true;
  }

  /**
   * Applies the server's row, which may be older than frames received since.
   * @param {Partial<StableRow> & import("./read_state.js").Counts} row
   * @param {Preview | undefined} preview
   */
  update(row, preview) {
    this.hasRow = true;
    this.isRowStale = false;
    this.membership.update(row);
    this.isBlocked = row.blocked === true;
    this.isPeerDeleted = row.gone === true;
    const { last_seq: seq, revision = 0 } = row;
    this.#revision = Math.max(this.#revision, revision);
    if (seq > this.#lastSeq || (seq === this.#lastSeq && revision >= (this.#preview?.revision ?? 0))) {
      this.#lastSeq = seq;
      if (preview) this.#preview = { ...preview, revision };
    }
    this.readState.update(row);
  }

  /** A loaded message, as stored. @param {number} seq */
  stored(seq) {
    return this.#window.at(seq) ?? this.view.at(seq);
  }

  /** @param {Message} message */
  #raiseLastSeq({ seq, from, text, at, deleted, file, revision = 0 }) {
    if (seq < this.#lastSeq || (seq === this.#lastSeq && revision < (this.#preview?.revision ?? 0))) return;
    this.#lastSeq = seq;
    this.#preview = { from, text, at, revision, ...(deleted && { deleted }), ...(file && { file }) };
  }

  /**
   * The peer's messages after `after` and up to `to`; undefined when not all of them are loaded.
   * @param {number} after
   * @param {number} to
   */
  #countPeer(after, to) {
    const { firstSeq, lastSeq, messages } = this.#window;
    if (firstSeq > after + 1 || lastSeq < to) return undefined;
    return messages.filter(({ seq, from, deleted }) => seq > after && seq <= to && from !== this.me && !deleted).length;
  }
}
