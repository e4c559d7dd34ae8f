/**
 * The user's conversations, their order in the list, and the one on screen. `SyncEngine` fills it.
 */

import { Emitter } from "../util/emitter.js";
import { nameKey } from "../util/names.js";
import { Conversation } from "./conversation.js";
import { Profiles } from "./profiles.js";

/** @import { Row } from "../sync/api.js" */
/** @import { PendingMessage } from "./pending.js" */
/** @import { Message, Preview, StableRow } from "./conversation.js" */

/** A timer set for longer fires at once. */
const TIMER_MAX_MS = 2 ** 31 - 1;
/** After every instant. */
const UNPINNED = "~";

/** @typedef {{ peer: string, preview: Preview | undefined, pending: PendingMessage | undefined, unread: number, conversation: Conversation }} ListEntry */

/**
 * - `list`: the list may have changed
 * - `conversation`: the conversation with this peer changed
 * - `opened`: the conversation with this peer, or none, is on screen
 * - `arrived`: a new message of a peer
 * - `replied`: the user wrote to this peer, on any device
 * - `file-deleted`: a file whose message was deleted
 * @extends {Emitter<{ list: void, conversation: string, opened: string | undefined, arrived: Message, replied: string, "file-deleted": NonNullable<Message["file"]> }>}
 */
export class ConversationStore extends Emitter {
  /** @type {Map<string, Conversation>} by name key */
  #conversations = new Map();
  /**
   * Unread counts of conversations not loaded into the list yet.
   * @type {Map<string, number>} by name key
   */
  #unlistedUnread = new Map();
  /** @type {string | undefined} */
  #open;
  /** How much of the list is loaded, and the cursor of its next page. */
  #list = { isLoaded: false, isComplete: false, cursor: /** @type {string | undefined} */ (undefined), count: 0 };
  /** How much of the archive is loaded. `unknown`: how many are not loaded. */
  #archive = { isComplete: true, cursor: /** @type {string | undefined} */ (undefined), unknown: 0 };
  /** Runs until the next timed mute ends. @type {any} */
  #muteTimer;
  #muteTimerAt = Number.POSITIVE_INFINITY;
  #me;
  #outbox;

  /**
   * @param {string} me
   * @param {import("../sync/outbox.js").Outbox} outbox
   */
  constructor(me, outbox) {
    super();
    this.#me = me;
    this.#outbox = outbox;
    this.profiles = new Profiles();
    this.profiles.on("changed", (name) => {
      this.update(name, () => {});
      this.emitSoon("list");
    });
    outbox.on("changed", (peer) => this.changed(peer));
  }

  /** The peer on screen. */
  get open() {
    return this.#open;
  }

  /** Whether the first page of the list is loaded. */
  get isListLoaded() {
    return this.#list.isLoaded;
  }

  get isListComplete() {
    return this.#list.isComplete;
  }

  /** The number of rows in the loaded pages of the list. */
  get listedCount() {
    return this.#list.count;
  }

  /** The cursor of the next page of the list. */
  get cursor() {
    return this.#list.cursor;
  }

  /** The conversation with a user; an empty one when there is none yet. @param {string} peer */
  getOrCreate(peer) {
    const key = nameKey(peer);
    let conversation = this.#conversations.get(key);
    if (!conversation) {
      conversation = new Conversation(this.#me, peer, () => this.#outbox.changesOf(peer));
      this.#conversations.set(key, conversation);
    }
    return conversation;
  }

  all() {
    return [...this.#conversations.values()];
  }

  /** Whether the conversation is still part of the store. @param {Conversation} conversation */
  has(conversation) {
    return this.#conversations.get(nameKey(conversation.peer)) === conversation;
  }

  /** The name of a user in this list, spelled as at sign-up. @param {string} name */
  nameOf(name) {
    const conversation = this.#conversations.get(nameKey(name));
    const isUsed = conversation && (conversation.lastSeq > 0 || this.#outbox.to(conversation.peer).length > 0);
    return isUsed ? conversation.peer : undefined;
  }

  /** How much of the archive is loaded. */
  get archive() {
    return this.#archive;
  }

  /** The number of archived conversations. */
  get archivedCount() {
    const pending = this.#outbox.newest();
    let count = this.#archive.unknown;
    for (const [key, { isArchived }] of this.#conversations) if (isArchived && !pending.has(key)) count++;
    return count;
  }

  /** The entries of the list: the pinned ones in the order they were pinned, then the newest first. */
  entries() {
    return this.#entries()
      .filter((entry) => !isArchived(entry))
      .map((entry) => ({ entry, pinnedAt: entry.conversation.membership.settings.pinnedAt ?? UNPINNED }))
      .toSorted((a, b) => (a.pinnedAt < b.pinnedAt ? -1 : Number(a.pinnedAt > b.pinnedAt)))
      .map(({ entry }) => entry);
  }

  /** The entries of the archive, newest first. */
  archived() {
    return this.#entries().filter(isArchived);
  }

  /**
   * Every conversation with a stored or pending message, newest first.
   * @returns {ListEntry[]}
   */
  #entries() {
    const newest = this.#outbox.newest();
    for (const pending of newest.values()) this.getOrCreate(pending.peer);
    /** @type {(ListEntry & { at: number })[]} */
    const entries = [];
    for (const [key, conversation] of this.#conversations) {
      const { peer, shownPreview: preview, unread } = conversation;
      const pending = newest.get(key);
      if (!preview && !pending) continue;
      entries.push({ peer, preview, pending, unread, conversation, at: Math.max(preview?.at ?? 0, pending?.at ?? 0) });
    }
    return entries.toSorted((a, b) => b.at - a.at);
  }

  /** Unread messages of all conversations except muted and archived ones; an unread mark counts as one. */
  get unread() {
    let sum = 0;
    for (const { isMuted, isArchived, isMarkedUnread, unread } of this.#conversations.values())
      if (!isMuted && !isArchived) sum += unread || Number(isMarkedUnread);
    for (const [key, unread] of this.#unlistedUnread) if (!this.#conversations.get(key)?.hasRow) sum += unread;
    return sum;
  }

  /**
   * Opens the conversation with `peer`; undefined closes it.
   * @param {string | undefined} peer
   */
  show(peer) {
    this.#open = peer;
    this.emitSoon("opened", peer);
  }

  /** @param {string} peer */
  changed(peer) {
    const conversation = this.getOrCreate(peer);
    for (const file of conversation.deletedFiles.splice(0)) this.emit("file-deleted", file);
    this.emitSoon("list");
    this.emitSoon("conversation", conversation.peer);
    this.#awaitMuteEnd(conversation.membership.settings.mutedUntil);
  }

  /** Shows the end of a timed mute. @param {number} at milliseconds since 1970 */
  #awaitMuteEnd(at) {
    const now = Date.now();
    if (!Number.isFinite(at) || at <= now || at >= this.#muteTimerAt) return;
    clearTimeout(this.#muteTimer);
    this.#muteTimerAt = at;
    this.#muteTimer = setTimeout(
      () => {
        this.#muteTimerAt = Number.POSITIVE_INFINITY;
        this.emitSoon("list");
        for (const { membership } of this.#conversations.values()) this.#awaitMuteEnd(membership.settings.mutedUntil);
      },
      Math.min(at - now + 1, TIMER_MAX_MS),
    );
  }

  /**
   * Changes a conversation, if it is known.
   * @param {string} peer
   * @param {(conversation: Conversation) => void} change
   */
  update(peer, change) {
    const conversation = this.#conversations.get(nameKey(peer));
    if (!conversation) return;
    change(conversation);
    this.changed(peer);
  }

  /**
   * Adds or changes a message from the server. Returns whether messages or changes before it are
   * missing.
   * @param {string} peer
   * @param {Message} message
   * @param {"receive" | "change"} [apply]
   */
  receive(peer, message, apply = "receive") {
    const { isNew, hasGap } = this.getOrCreate(peer)[apply](message);
    if (isNew && message.from === this.#me) this.emit("replied", peer);
    else if (isNew && !message.deleted) this.emit("arrived", message);
    this.changed(peer);
    return hasGap;
  }

  /** Applies the server's row of a conversation. @param {StableRow} row */
  applyRow(row) {
    this.profiles.apply(row.peer, row);
    const conversation = this.getOrCreate(row.peer);
    conversation.peer = row.peer; // as its owner spells it, not as the URL did
    const { last } = row;
    conversation.update(
      row,
      last
        ? {
            from: last.sender,
            text: last.content,
            at: Date.parse(last.timestamp),
            ...(last.deleted && { deleted: true }),
            ...(last.file && { file: last.file }),
          }
        : undefined,
    );
    this.changed(row.peer);
    return conversation;
  }

  /**
   * Applies the next page of the list.
   * @param {Row[]} rows
   * @param {boolean} isLast
   */
  addPage(rows, isLast) {
    for (const row of rows) this.applyRow(row);
    const count = this.#list.count + rows.length;
    this.#list = { isLoaded: true, isComplete: isLast, cursor: rows.at(-1)?.cursor ?? this.#list.cursor, count };
    this.emitSoon("list");
  }

  /**
   * The list was read again as far as `listed`. The rest of it is stale, and its pages have to be
   * loaded again. Does nothing when the list was forgotten meanwhile.
   * @param {Set<Conversation>} listed
   * @param {Set<Conversation>} archived those of the archive read again
   * @param {{ isLast: boolean, cursor: string | undefined }} end whether these are all, and the cursor of the next page
   */
  reread(listed, archived, { isLast, cursor }) {
    if (!this.#list.isLoaded) return;
    this.#list = { isLoaded: true, isComplete: isLast, cursor, count: listed.size };
    for (const conversation of this.all())
      if (!listed.has(conversation) && !archived.has(conversation)) conversation.isRowStale = true;
    this.emitSoon("list");
  }

  /**
   * The archive was read again: the first page of it, whose rows are applied.
   * @param {number} count of all archived conversations
   * @param {{ rows: Row[], isLast: boolean }} page
   */
  setArchive(count, { rows, isLast }) {
    const unknown = isLast ? 0 : Math.max(0, count - rows.length);
    this.#archive = { isComplete: isLast, cursor: rows.at(-1)?.cursor, unknown };
    this.emitSoon("list");
  }

  /** The next page of the archive, whose rows are applied. @param {{ rows: Row[], isLast: boolean }} page */
  addArchivePage({ rows, isLast }) {
    const unknown = isLast ? 0 : Math.max(0, this.#archive.unknown - rows.length);
    this.#archive = { isComplete: isLast, cursor: rows.at(-1)?.cursor ?? this.#archive.cursor, unknown };
    this.emitSoon("list");
  }

  /** @param {Record<string, number>} counts of all conversations with unread messages, by peer */
  setUnreadCounts(counts) {
    this.#unlistedUnread = new Map(Object.entries(counts).map(([peer, unread]) => [nameKey(peer), unread]));
    this.emitSoon("list");
  }

  /** The user read a conversation on another device. @param {string} peer @param {number} seq */
  readElsewhere(peer, seq) {
    this.#unlistedUnread.delete(nameKey(peer));
    this.update(peer, (conversation) => conversation.readState.confirm(seq));
  }

  /** Drops a conversation. @param {Conversation} conversation */
  drop(conversation) {
    const key = nameKey(conversation.peer);
    this.#conversations.delete(key);
    this.emitSoon("conversation", conversation.peer);
    // Empty, until it is loaded again.
    if (this.#open !== undefined && nameKey(this.#open) === key) this.show(this.#open);
  }

  /** Drops everything. */
  clear() {
    this.#conversations.clear();
    this.forgetList();
  }

  /** The list has to be loaded again; its conversations stay until then. */
  forgetList() {
    this.#list = { isLoaded: false, isComplete: false, cursor: undefined, count: 0 };
    this.#unlistedUnread.clear();
    this.emitSoon("list");
    if (this.#open !== undefined) this.emitSoon("conversation", this.#open);
  }
}

/** Whether an entry is in the archive: not with a message that is being sent. @param {ListEntry} entry */
function isArchived({ conversation, pending }) {
  return conversation.isArchived && !pending;
}
