/**
 * The page's model: conversations, people and the outbox, kept in sync with the server. It has no document; elements
 * subscribe to its events and call it.
 *
 * - `people`: the list changed
 * - `thread`: a conversation changed; `detail` is the peer
 * - `shown`: another conversation is on screen
 * - `presence`: someone's presence or typing changed
 * - `arrived`: a new message from a peer; `detail` is the message
 * - `missed`: a message arrived while disconnected; `detail` has its `from`, `text` and `seq`
 * - `replied`: the user wrote in a conversation, on any device; `detail` is the peer
 * - `signed-up`: `detail` is the new user's name
 * - `connection`: the connection's state or trouble changed
 * - `greeted`: the server sent `hello`; `detail` is the version of the pages it serves
 * - `ended`: the session is over
 */

import { Intercepted, Limited, SignedOut } from "../sync/api.js";
import { ConnectionTrouble } from "../sync/connection_trouble.js";
import { nameKey, searchKey } from "../util/names.js";
import { Conversation } from "./conversation.js";
import { Drafts } from "./drafts.js";
import { Presence } from "./presence.js";

/** @import { Row, Stored } from "../sync/api.js" */
/** @import { Frame, State } from "../sync/connection.js" */
/** @import { Message, Preview } from "./conversation.js" */
/** @import { PendingMessage } from "../sync/outbox.js" */

/** @typedef {Pick<typeof import("../sync/api.js"), "conversations" | "unread" | "messages" | "people" | "me" | "blocks" | "mute" | "block"> & { acceptsSockets?: () => Promise<boolean> }} Api */
/** @typedef {{ peer: string, preview: Preview | undefined, pending: PendingMessage | undefined, unread: number, conversation: Conversation }} Line */

const PAGE = 50;
const SEARCH_LIMIT = 20;
const FILL_PAGE = 200;
const OLDER_PAGE = 100; // two screens of history hide the latency of a slow network while scrolling
const MAX_UNREAD_REACH = 1_000;
const GAP_MS = 250;
const RETRY_MS = 1_000;
/** Signing in to a captive portal takes longer than a reconnect. */
const INTERCEPTED_MS = 5_000;

export class Messenger extends EventTarget {
  /** @type {Map<string, Conversation>} by name key */
  #conversations = new Map();
  /** @type {Map<Conversation, Promise<void>>} running history requests */
  #loading = new Map();
  #loadingList = false;
  /** @type {string | undefined} the conversation on screen */
  #open;
  /** @type {Promise<void> | undefined} */
  #resuming;
  #resumeAgain = false;
  /** @type {Set<Conversation>} conversations that may lack messages */
  #gaps = new Set();
  /** @type {any} */
  #gapTimer;
  /** @type {any} */
  #retryTimer;
  /** @type {string | undefined} */
  #epoch;
  /** @type {string | undefined} of the next page of the list */
  #cursor;
  #listLoaded = false;
  #listComplete = false;
  /** Unread counts of conversations not loaded into the list yet. @type {Map<string, number>} by name key */
  #unreadBelow = new Map();
  /** @type {Map<string, Promise<string | undefined>>} running requests for single rows, by name key */
  #fetchingRows = new Map();
  /** Names as their owners spell them, from server responses. @type {Map<string, string>} by name key */
  #names = new Map();
  /** @type {Promise<void>} loading of what this browser has stored */
  #restoring = Promise.resolve();
  #restored = true;
  /** @type {Promise<unknown>} check that the signed-in user is `me` */
  #identityCheck = Promise.resolve();
  /** @type {Map<Conversation, number>} conversations shown from the cache and not confirmed by the server, with their last seq */
  #cachedSeqs = new Map();
  /** Whether the server's epoch differs from that of the loaded data. */
  #isDistrusting = false;
  /** @type {Set<Conversation>} whose newest message must be compared with the server's before the gap after it is filled */
  #unverified = new Set();
  #trouble;
  /** @type {Set<string>} queued events, deduplicated */
  #pendingEvents = new Set();

  /**
   * @param {string} me
   * @param {{
   *   api: Api,
   *   connection: import("../sync/connection.js").Connection,
   *   outbox: import("../sync/outbox.js").Outbox,
   *   drafts?: Drafts,
   *   cache?: import("./offline_cache.js").OfflineCache,
   * }} parts
   */
  constructor(me, { api, connection, outbox, drafts = new Drafts(), cache }) {
    super();
    this.me = me;
    this.api = api;
    this.connection = connection;
    this.outbox = outbox;
    this.drafts = drafts;
    this.cache = cache;
    this.presence = new Presence(me, (frame) => connection.send(frame));
    this.presence.on("changed", () => this.#emit("presence"));
    this.#trouble = new ConnectionTrouble(api);
    this.#trouble.on("changed", () => this.#emit("connection"));
    connection.on("frame", (frame) => this.#receive(frame));
    connection.on("state", (state) => this.#connectionChanged(state));
    connection.on("refused", (code) => void this.#socketRefused(code));
    outbox.on("changed", (peer) => this.#conversationChanged(peer));
    cache?.start({
      newest: () => this.lines().flatMap(({ conversation }) => (conversation.lastSeq > 0 ? [conversation] : [])),
      fetch: (peer, limit) => api.messages(me, peer, { limit }),
    });
  }

  /**
   * Loads what this browser has stored and connects, concurrently. Resolves when the stored data is loaded.
   * @param {{ isIdentityKnown?: boolean }} [options] isIdentityKnown: the server has confirmed that `me` is signed in
   */
  start({ isIdentityKnown = true } = {}) {
    this.#restored = false;
    this.#restoring = this.#restore();
    if (!isIdentityKnown) this.#identityCheck = this.#checkIdentity();
    this.connection.connect();
    void this.resume();
    return this.#restoring;
  }

  // State

  /** Why the page has no connection, if known. */
  get trouble() {
    return this.#trouble.now;
  }

  /** Whether the first page of conversations is loaded. */
  get listLoaded() {
    return this.#listLoaded;
  }

  /** Whether no page of conversations is being loaded. */
  get isListSettled() {
    return this.#listLoaded && !this.#loadingList;
  }

  /** The conversation on screen. */
  get open() {
    return this.#open;
  }

  /**
   * The lines of the list, newest first: every conversation with a stored or pending message.
   * @returns {Line[]}
   */
  lines() {
    const newest = this.outbox.newest();
    for (const peer of newest.keys()) this.conversation(peer);
    /** @type {(Line & { at: number })[]} */
    const lines = [];
    for (const conversation of this.#conversations.values()) {
      const { peer, preview, unread } = conversation;
      const pending = newest.get(peer);
      if (!preview && !pending) continue;
      lines.push({ peer, preview, pending, unread, conversation, at: Math.max(preview?.at ?? 0, pending?.at ?? 0) });
    }
    return lines.toSorted((a, b) => b.at - a.at);
  }

  /** Unread messages of all conversations except muted ones. */
  get unread() {
    let sum = 0;
    for (const { muted, unread } of this.#conversations.values()) if (!muted) sum += unread;
    for (const [key, unread] of this.#unreadBelow) if (!this.#conversations.get(key)?.isDescribed) sum += unread;
    return sum;
  }

  /** @param {string} peer */
  conversation(peer) {
    const key = nameKey(peer);
    let conversation = this.#conversations.get(key);
    if (!conversation) this.#conversations.set(key, (conversation = new Conversation(this.me, peer)));
    return conversation;
  }

  /**
   * A user's name as its owner spells it, without asking the server; undefined when unknown.
   * @param {string} name
   */
  knownName(name) {
    const key = nameKey(name);
    if (key === nameKey(this.me)) return this.me;
    const conversation = this.#conversations.get(key);
    if (conversation && (conversation.lastSeq > 0 || this.outbox.to(conversation.peer).length > 0))
      return conversation.peer;
    return this.#names.get(key);
  }

  /**
   * The same, asking the server if necessary; undefined when no such user exists.
   * @param {string} name
   */
  async find(name) {
    const known = this.knownName(name);
    if (known !== undefined) return known;
    const people = await this.#attempt(this.#people(name));
    if (people === undefined) return name;
    // An exact match wins over one that ignores accents.
    const found = this.knownName(name) ?? people.find((person) => searchKey(person) === searchKey(name));
    // Deleted users are in no search result, but in the lists of the users they wrote with.
    return found ?? this.#fetchRow(name);
  }

  /**
   * Users whose name contains `part`. Also loads the user's conversations with them, wherever they are in the list.
   * @param {string} part
   */
  async search(part) {
    const isMore = part !== "" && !this.#listComplete;
    const [people, rows] = await Promise.all([
      this.#people(part),
      isMore ? this.api.conversations({ limit: SEARCH_LIMIT, part }) : [],
    ]);
    for (const row of rows) this.#applyRow(row);
    return people;
  }

  /** @param {string} part */
  async #people(part) {
    const people = await this.api.people(part);
    for (const person of people) this.#names.set(nameKey(person), person);
    return people;
  }

  /**
   * Fetches the row of a conversation that is not loaded into the list yet. Returns the peer's name if the row exists.
   * @param {string} peer
   */
  #fetchRow(peer) {
    const key = nameKey(peer);
    let learning = this.#fetchingRows.get(key);
    if (learning) return learning;
    learning = this.#attempt(this.api.conversations({ limit: 1, peer })).then((rows) => {
      this.#fetchingRows.delete(key);
      const row = rows?.[0];
      if (row) this.#applyRow(row);
      return row?.peer;
    });
    this.#fetchingRows.set(key, learning);
    return learning;
  }

  /** Whether a conversation is muted; fetches its row if necessary. @param {string} peer */
  async muted(peer) {
    const conversation = this.conversation(peer);
    if (!conversation.isDescribed) await this.#fetchRow(peer);
    return conversation.muted;
  }

  // Actions of the user

  /**
   * Opens the conversation with `peer`; undefined closes it.
   * @param {string | undefined} peer
   */
  show(peer) {
    this.#open = peer;
    this.#emit("shown");
    if (peer === undefined) return;
    const conversation = this.conversation(peer);
    if (!conversation.loaded) void this.#loadNewest(conversation);
  }

  /**
   * Sends a text. Returns false when the outbox is full.
   * @param {string} peer
   * @param {string} text
   */
  write(peer, text) {
    this.presence.messageSent();
    const isTaken = this.outbox.add(this.conversation(peer).peer, text) !== undefined;
    if (isTaken) this.#emit("replied", peer);
    return isTaken;
  }

  /**
   * Marks everything from `peer` up to `seq` as read.
   * @param {string} peer
   * @param {number} seq
   */
  seen(peer, seq) {
    const conversation = this.conversation(peer);
    if (peer === this.me || conversation.blocked || !conversation.readTo(seq)) return;
    this.connection.send({ type: "read", peer, seq });
    this.#conversationChanged(peer);
  }

  /**
   * Mutes or unmutes a conversation.
   * @param {string} peer
   * @param {boolean} muted
   */
  async mute(peer, muted) {
    const conversation = this.conversation(peer);
    conversation.muted = muted;
    this.#conversationChanged(peer);
    try {
      await this.api.mute(peer, muted);
    } catch (error) {
      conversation.muted = !muted;
      this.#conversationChanged(peer);
      this.#handleError(error);
      throw error;
    }
  }

  /** Unblocks a user and fetches what they wrote meanwhile. @param {string} peer */
  async unblock(peer) {
    await this.api.block(peer, false);
    this.conversation(peer).blocked = false;
    this.#conversationChanged(peer);
    await this.resume();
  }

  /** Blocks a user: their new messages and typing are hidden. @param {string} peer */
  async block(peer) {
    await this.api.block(peer, true);
    this.conversation(peer).blocked = true;
    this.presence.stoppedTyping(peer);
    this.#conversationChanged(peer);
  }

  /** Loads the next page of conversations. */
  async loadMoreConversations() {
    if (!this.#listLoaded || this.#listComplete || this.#loadingList) return;
    this.#loadingList = true;
    const rows = await this.#attempt(this.api.conversations({ limit: PAGE, before: this.#cursor }));
    this.#loadingList = false;
    if (rows) this.#addPage(rows);
  }

  /**
   * Loads the page of history before the loaded messages.
   * @param {string} peer
   * @param {number} [limit]
   */
  async loadOlder(peer, limit = OLDER_PAGE) {
    const conversation = this.conversation(peer);
    if (!conversation.loaded || conversation.complete) return;
    await this.#loadOnce(conversation, async () => {
      const before = conversation.firstSeq;
      const page = await this.api.messages(this.me, conversation.peer, { limit, before });
      if (conversation.firstSeq !== before) return; // reloaded meanwhile
      conversation.prepend(this.#applyMarks(conversation, page), page.length < limit);
    });
  }

  /**
   * Loads history back to the first unread message, 1,000 messages at most. Undefined when nothing needs loading.
   * @param {string} peer
   */
  reachUnread(peer) {
    const conversation = this.conversation(peer);
    return conversation.reachesUnread ? undefined : this.#reachUnread(conversation);
  }

  /** @param {Conversation} conversation */
  async #reachUnread(conversation) {
    const { contiguousSeq } = conversation;
    for (;;) {
      const { firstSeq } = conversation;
      if (conversation.reachesUnread || contiguousSeq - firstSeq >= MAX_UNREAD_REACH) return;
      await this.loadOlder(conversation.peer, FILL_PAGE);
      if (conversation.firstSeq >= firstSeq) return; // no network, or the session is over
    }
  }

  // Frames from the server

  /** @param {Frame} frame */
  #receive(frame) {
    switch (frame.type) {
      case "hello":
        return this.#receiveHello(frame.epoch, frame.version);
      case "message":
        return this.#receiveMessage(messageOf(frame));
      case "ack":
        return this.#receiveAck(frame);
      case "error":
        if (frame.ref) this.outbox.refuse(frame.ref, frame.code, frame.retry_after);
        else if (frame.code === "rate_limited") this.presence.refused(frame.retry_after ?? 1);
        return;
      case "delivered":
        return this.#updateMarks(frame.peer, (conversation) => conversation.raisePeerMarks({ delivered: frame.seq }));
      case "read":
        if (frame.reader === this.me) this.#unreadBelow.delete(nameKey(frame.peer));
        if (frame.peer === this.me) {
          this.#updateMarks(frame.reader, (conversation) => conversation.raisePeerMarks({ read: frame.seq }));
        } else {
          this.#updateMarks(frame.peer, (conversation) => {
            conversation.confirmRead(frame.seq);
            // Read in part on another device: only the server can count the rest.
            if (conversation.unread > 0 && !conversation.loaded) this.#resumeSoon(conversation);
          });
        }
        return;
      case "typing":
        return this.presence.startedTyping(frame.user);
      case "presence":
        return this.presence.update(frame.users);
      case "new_user":
        this.#names.set(nameKey(frame.username), frame.username);
        return this.#emit("signed-up", frame.username);
      case "sync":
        void this.resume();
    }
  }

  /** @param {string} epoch @param {string} version */
  #receiveHello(epoch, version) {
    this.#emit("greeted", version);
    this.#trouble.greeted();
    this.presence.connected();
    if (this.#epoch !== undefined && this.#epoch !== epoch) this.#distrust();
    this.#epoch = epoch;
    if (this.#restored && !this.#isDistrusting) this.cache?.greeted(epoch);
    for (const conversation of this.#conversations.values()) this.#unverified.add(conversation);
    this.#connectOutbox();
    void this.resume();
  }

  /** Starts sending once the messages of an earlier page are loaded, which are sent first. */
  #connectOutbox() {
    if (!this.#restored || this.connection.state !== "open") return;
    this.outbox.connected(({ peer, text, ref }) =>
      this.connection.send({ type: "message", to: peer, message: text, ref }),
    );
  }

  /** @param {Message} message */
  #receiveMessage(message) {
    const peer = message.from === this.me ? message.to : message.from;
    if (this.conversation(peer).differs({ seq: message.seq, at: message.at, id: message.id })) this.#startOver();
    const conversation = this.conversation(peer);
    const { fresh, gap } = conversation.receive(message);
    if (message.ref && message.from === this.me) this.outbox.settle(message.ref);
    if (fresh && message.from === this.me) this.#emit("replied", peer);
    if (fresh && message.from !== this.me) {
      this.presence.stoppedTyping(peer);
      this.#emit("arrived", message);
    }
    if (gap) this.#resumeSoon(conversation);
    this.#conversationChanged(peer);
  }

  /** @param {Frame} ack */
  #receiveAck({ ref, id, seq, timestamp, peer }) {
    const pending = this.outbox.settle(ref);
    if (!pending) return;
    this.#receiveMessage({ seq, id, from: this.me, to: peer, text: pending.text, at: Date.parse(timestamp), ref });
  }

  /**
   * @param {string} peer
   * @param {(conversation: Conversation) => void} mark
   */
  #updateMarks(peer, mark) {
    const conversation = this.#conversations.get(nameKey(peer));
    if (!conversation) return;
    mark(conversation);
    this.#conversationChanged(peer);
  }

  /** The session may have ended, or another user may have signed in from another tab. */
  async #checkIdentity() {
    this.#identityIs(await this.#attempt(this.api.me()));
  }

  /** The server refused a socket; the session may be over. @param {number | undefined} code */
  async #socketRefused(code) {
    this.#identityIs(await this.#attempt(this.#trouble.refused(code)));
    if (this.trouble === "socket") void this.resume(); // HTTP still works, so new messages can be read
  }

  /** @param {string | undefined} name the signed-in user, if known */
  #identityIs(name) {
    if (name !== undefined && name !== this.me) this.connection.end();
  }

  /** @param {State} state */
  #connectionChanged(state) {
    if (state !== "open") {
      this.outbox.disconnected();
      this.presence.disconnected();
    }
    if (state === "ended") this.#emit("ended");
    this.#emit("connection");
  }

  // Synchronization

  /** Loads what this browser has stored: pending messages, drafts and the offline cache. */
  async #restore() {
    const [cached] = await Promise.all([this.cache?.load(), this.outbox.load(), this.drafts.load()]);
    this.#restored = true;
    this.#connectOutbox();
    // Once the server's list is loaded, the cache has nothing to add.
    const takes = cached !== undefined && !this.#listLoaded;
    for (const { row, read } of takes ? cached.records : []) {
      const conversation = this.#updateConversation(row);
      conversation.readTo(read);
      this.#cachedSeqs.set(conversation, row.last_seq);
    }
    const isOther = cached?.epoch !== undefined && this.#epoch !== undefined && cached.epoch !== this.#epoch;
    if (takes && isOther) this.#distrust();
    else if (this.#epoch !== undefined) this.cache?.greeted(this.#epoch);
    if (!takes) return;
    this.#epoch ??= cached.epoch;
    this.#emit("people");
    if (this.#open !== undefined) this.#emit("thread", this.#open);
  }

  /**
   * Fetches what may have been missed: the list, then the gaps of loaded conversations. Runs once at a time; calls during a
   * run cause one more.
   */
  resume() {
    if (this.#resuming) {
      this.#resumeAgain = true;
      return this.#resuming;
    }
    clearTimeout(this.#gapTimer);
    clearTimeout(this.#retryTimer);
    this.#gapTimer = undefined;
    this.#resuming = this.#resumeOnce()
      .catch((error) => {
        this.#handleError(error);
        this.#retryLater(error);
      })
      .finally(() => {
        this.#resuming = undefined;
        if (!this.#resumeAgain) return;
        this.#resumeAgain = false;
        void this.resume();
      });
    return this.#resuming;
  }

  async #resumeOnce() {
    /** @type {Map<Conversation, number>} contiguous seqs before the request; a lower answer means the database was rolled back */
    const held = new Map(
      [...this.#conversations.values()].map((conversation) => [conversation, conversation.contiguousSeq]),
    );
    /** @type {Map<Conversation, number>} last seqs before the request */
    const known = new Map(
      [...this.#conversations.values()].map((conversation) => [conversation, conversation.lastSeq]),
    );
    const newest = Math.max(0, ...[...this.#conversations.values()].map(({ preview }) => preview?.at ?? 0));
    /** @type {Set<Conversation>} */
    const told = new Set();
    const epoch = this.#epoch;
    const listed = this.#listLoaded || this.#isDistrusting;
    /** @type {string | undefined} */
    let before;
    for (;;) {
      const [rows] = await Promise.all([
        this.api.conversations({ limit: PAGE, before }),
        this.#identityCheck,
        this.#restoring,
      ]);
      if (this.connection.state === "ended") return;
      this.#trouble.answered();
      for (const [conversation, seq] of this.#cachedSeqs) for (const map of [held, known]) map.set(conversation, seq);
      if (rows.some((row) => this.#contradicts(row, held))) return this.#startOver();
      const last = rows.at(-1);
      // Newest first: if the last row of the page has nothing new, the following pages have nothing either.
      const more = this.#listLoaded && last !== undefined && last.last_seq > this.conversation(last.peer).lastSeq;
      for (const row of rows) {
        const missed = listed && row.last_seq > this.conversation(row.peer).lastSeq;
        this.#applyRow(row);
        told.add(this.conversation(row.peer));
        if (missed) this.#reportMissed(row, newest);
      }
      if (!this.#listLoaded) this.#addPage(rows);
      if (!more || rows.length < PAGE) {
        this.#dropAbsent(told, known, rows.length < PAGE ? 0 : Date.parse(last?.last?.timestamp ?? ""));
        break;
      }
      before = last?.cursor;
    }
    if (this.#isDistrusting && epoch !== undefined && epoch === this.#epoch) {
      this.#isDistrusting = false;
      void this.cache?.adopt(epoch);
    }
    this.#emit("people");
    await Promise.all([this.#fillAllGaps(told), this.#fetchUnreadBelow()]);
    this.#resendReadMarks();
  }

  /**
   * Whether a row contradicts the loaded data: it ends earlier, or with a different message.
   * @param {Row} row
   * @param {Map<Conversation, number>} held contiguous seqs before the request
   */
  #contradicts({ peer, last, last_seq: seq }, held) {
    const conversation = this.conversation(peer);
    if (seq < (held.get(conversation) ?? 0)) return true;
    if (!last) return false;
    const at = Date.parse(last.timestamp);
    // After a change of epoch the text may be the only difference.
    return conversation.differs({ seq, at, ...(this.#isDistrusting && { from: last.sender, text: last.content }) });
  }

  /** Fetches the unread counts of conversations not loaded into the list. */
  async #fetchUnreadBelow() {
    if (this.#listComplete) return;
    const counts = await this.#attempt(this.api.unread(this.me));
    if (!counts) return;
    this.#unreadBelow = new Map(Object.entries(counts).map(([peer, unread]) => [nameKey(peer), unread]));
    this.#emit("people");
  }

  /**
   * @param {Row} row of a conversation with messages this page has not received
   * @param {number} newest timestamp received so far; an older message was merely not listed before, for example because its sender was blocked
   */
  #reportMissed({ peer, last, last_seq: seq }, newest) {
    if (last?.sender !== peer || Date.parse(last.timestamp) <= newest || this.conversation(peer).unread === 0) return;
    this.#emit("missed", { seq, from: peer, text: last.content });
  }

  /**
   * Drops conversations the server no longer lists although it listed older ones: both users were deleted. Drops unlisted
   * conversations from the cache too, until the server lists them.
   * @param {Set<Conversation>} told those in the server's response
   * @param {Map<Conversation, number>} known last seqs before the request
   * @param {number} since the response contains everything newer than this
   */
  #dropAbsent(told, known, since) {
    for (const [key, conversation] of this.#conversations) {
      const { preview, lastSeq, peer } = conversation;
      if (told.has(conversation) || !preview || lastSeq !== known.get(conversation)) continue;
      if (preview.at <= since && !this.#cachedSeqs.has(conversation)) continue;
      this.#conversations.delete(key);
      this.cache?.drop(peer);
      if (this.#open !== undefined && nameKey(this.#open) === key) this.show(this.#open);
      this.#emit("thread", peer);
    }
    this.#cachedSeqs.clear();
  }

  /** @param {Set<Conversation>} told those in the server's response */
  async #fillAllGaps(told) {
    const open = this.#open === undefined ? undefined : this.conversation(this.#open);
    if (open && !open.loaded) await this.#loadNewest(open);
    for (const conversation of this.#conversations.values()) {
      if (!conversation.loaded) continue;
      if (conversation.tooFarBehind) {
        conversation.unload();
        if (conversation === open) await this.#loadNewest(conversation);
        continue;
      }
      if (told.has(conversation) ? conversation.hasGap : conversation.contiguousSeq > 0)
        await this.#fillGap(conversation);
    }
  }

  /** @param {Conversation} conversation */
  async #fillGap(conversation) {
    const comparing = this.#matchesServer(conversation);
    for (;;) {
      const after = conversation.contiguousSeq;
      const page = await this.api.messages(this.me, conversation.peer, { limit: FILL_PAGE, after });
      if (!(await comparing)) return this.#startOver();
      for (const message of this.#applyMarks(conversation, page)) conversation.receive(message);
      this.#conversationChanged(conversation.peer);
      if (page.length < FILL_PAGE || conversation.contiguousSeq === after) return;
    }
  }

  /**
   * Whether the newest loaded message is also the server's. Checked once per socket; otherwise a gap after a different
   * message could be filled.
   * @param {Conversation} conversation
   */
  async #matchesServer(conversation) {
    const [held] = conversation.tail(1).messages;
    if (!held || !this.#unverified.delete(conversation)) return true;
    const page = await this.#attempt(this.api.messages(this.me, conversation.peer, { limit: 1, before: held.seq + 1 }));
    if (!page) this.#unverified.add(conversation);
    const stored = page?.[0]?.message;
    return !stored || (stored.seq === held.seq && stored.id === held.id && stored.at === held.at);
  }

  /** Sends read marks the server has not confirmed, such as those set while disconnected. */
  #resendReadMarks() {
    for (const { peer, unconfirmedRead } of this.#conversations.values()) {
      if (unconfirmedRead !== undefined) this.connection.send({ type: "read", peer, seq: unconfirmedRead });
    }
  }

  /**
   * Waits briefly before resuming: frames from two pods may overtake each other, so a gap often closes by itself.
   * @param {Conversation} conversation
   */
  #resumeSoon(conversation) {
    this.#gaps.add(conversation);
    this.#gapTimer ??= setTimeout(() => {
      this.#gapTimer = undefined;
      const open = [...this.#gaps].some(({ loaded, hasGap }) => !loaded || hasGap);
      this.#gaps.clear();
      if (open) void this.resume();
    }, GAP_MS);
  }

  /** @param {unknown} error why the request failed */
  #retryLater(error) {
    if (this.connection.state !== "open") return; // the next `hello` resumes
    const wait =
      error instanceof Limited ? error.seconds * 1_000 : error instanceof Intercepted ? INTERCEPTED_MS : RETRY_MS;
    clearTimeout(this.#retryTimer);
    this.#retryTimer = setTimeout(() => void this.resume(), wait + Math.random() * RETRY_MS);
  }

  /** @param {Conversation} conversation */
  #loadNewest(conversation) {
    return this.#loadOnce(conversation, async () => {
      if (await this.#loadCached(conversation)) return;
      const [page] = await Promise.all([
        this.api.messages(this.me, conversation.peer, { limit: PAGE }),
        this.#listLoaded && !conversation.isDescribed && this.#fetchRow(conversation.peer),
      ]);
      if (page.length === 0) conversation.blocked = await this.#hasBlocked(conversation.peer);
      conversation.load(this.#applyMarks(conversation, page), page.length < PAGE);
      if (conversation.hasGap) this.#resumeSoon(conversation);
    });
  }

  /** @param {string} peer */
  async #hasBlocked(peer) {
    const blocked = await this.#attempt(this.api.blocks());
    return blocked?.some((name) => nameKey(name) === nameKey(peer)) === true;
  }

  /**
   * Loads a conversation from the cache; newer messages are fetched like any other gap. Returns false when the cache has
   * nothing usable.
   * @param {Conversation} conversation
   */
  async #loadCached(conversation) {
    await this.#restoring;
    const page = await this.cache?.messages(conversation.peer);
    if (!page || this.#conversations.get(nameKey(conversation.peer)) !== conversation) return false;
    const last = page.messages.at(-1);
    if (last && conversation.differs({ seq: last.seq, at: last.at })) {
      this.#startOver();
      return false;
    }
    for (const { ref } of page.messages) if (ref) this.outbox.settle(ref);
    conversation.load(page.messages, page.complete);
    this.#unverified.add(conversation);
    if (conversation.tooFarBehind) conversation.unload();
    else if (conversation.hasGap) this.#resumeSoon(conversation);
    return conversation.loaded;
  }

  /** The database may have been rolled back: treats the loaded data as a cache until the server confirms it. */
  #distrust() {
    this.#isDistrusting = true;
    for (const conversation of this.#conversations.values()) {
      conversation.distrust();
      if (conversation.lastSeq > 0) this.#cachedSeqs.set(conversation, conversation.lastSeq);
    }
    this.#forgetList();
  }

  /** The server's data contradict the loaded data: drops everything except pending messages and reloads. */
  #startOver() {
    this.#isDistrusting = false;
    this.#conversations.clear();
    this.#cachedSeqs.clear();
    this.#unverified.clear();
    this.cache?.forget();
    if (this.#epoch !== undefined) this.cache?.greeted(this.#epoch);
    this.#forgetList();
    void this.resume();
  }

  #forgetList() {
    this.presence.forget();
    this.#listLoaded = false;
    this.#listComplete = false;
    this.#unreadBelow.clear();
    this.#names.clear();
    this.#cursor = undefined;
    this.#emit("people");
    if (this.#open !== undefined) this.#emit("thread", this.#open);
  }

  /** @param {Row[]} rows the next page of the list */
  #addPage(rows) {
    for (const row of rows) this.#applyRow(row);
    this.#cursor = rows.at(-1)?.cursor ?? this.#cursor;
    this.#listComplete = rows.length < PAGE;
    this.#listLoaded = true;
    this.#emit("people");
  }

  /** @param {Row} row */
  #applyRow(row) {
    const { online, last_seen, ...rest } = row;
    this.#updateConversation(rest);
    this.presence.update({ [row.peer]: { online, last_seen } });
    this.#conversationChanged(row.peer);
  }

  /** @param {import("./conversation.js").Row} row */
  #updateConversation(row) {
    const conversation = this.conversation(row.peer);
    conversation.peer = row.peer; // as its owner spells it, not as the URL did
    const { last } = row;
    conversation.update(
      row,
      last ? { from: last.sender, text: last.content, at: Date.parse(last.timestamp) } : undefined,
    );
    return conversation;
  }

  /**
   * Returns the messages of a page and applies what it implies: stored own messages settle pending ones, and read flags raise
   * the marks.
   * @param {Conversation} conversation
   * @param {Stored[]} page
   */
  #applyMarks(conversation, page) {
    for (const { message, read } of page) {
      if (message.from !== this.me) {
        if (read) conversation.confirmRead(message.seq); // its row may not be loaded yet
        continue;
      }
      if (read) conversation.raisePeerMarks({ read: message.seq });
      if (message.ref) this.outbox.settle(message.ref);
    }
    return page.map(({ message }) => message);
  }

  /**
   * Loads history, one request per conversation at a time. The next resume retries a failure.
   * @param {Conversation} conversation
   * @param {() => Promise<void>} load
   */
  async #loadOnce(conversation, load) {
    const running = this.#loading.get(conversation);
    if (running) return running;
    const done = load()
      .catch((error) => {
        this.#handleError(error);
        if (!conversation.loaded) this.#retryLater(error);
      })
      .finally(() => {
        this.#loading.delete(conversation);
        this.#conversationChanged(conversation.peer);
      });
    this.#loading.set(conversation, done);
    return done;
  }

  /**
   * @template T
   * @param {Promise<T>} promise
   * @returns {Promise<T | undefined>}
   */
  #attempt(promise) {
    return promise.catch((error) => {
      this.#handleError(error);
      return undefined;
    });
  }

  /** @param {unknown} error */
  #handleError(error) {
    if (error instanceof SignedOut) this.connection.end();
    else this.#trouble.failed(error);
  }

  /** @param {string} peer */
  #conversationChanged(peer) {
    const conversation = this.conversation(peer);
    this.cache?.changed(conversation);
    this.#emit("people");
    this.#emit("thread", conversation.peer);
  }

  /**
   * @param {string} type
   * @param {unknown} [detail]
   */
  #emit(type, detail) {
    if (typeof detail === "object") {
      this.dispatchEvent(new CustomEvent(type, { detail }));
      return;
    }
    const key = detail === undefined ? type : `${type} ${detail}`;
    if (this.#pendingEvents.has(key)) return;
    this.#pendingEvents.add(key);
    queueMicrotask(() => {
      this.#pendingEvents.delete(key);
      this.dispatchEvent(new CustomEvent(type, { detail }));
    });
  }
}

/**
 * @param {Frame} frame
 * @returns {Message}
 */
function messageOf(frame) {
  return {
    seq: frame.seq,
    id: frame.id,
    from: frame.from,
    to: frame.to,
    text: frame.message,
    at: Date.parse(frame.timestamp),
    ...(frame.ref ? { ref: frame.ref } : {}),
  };
}
