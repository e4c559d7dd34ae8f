/**
 * What this page knows and does: conversations, people, the outbox, and how they stay true to the server. It has no
 * document; elements listen to it and ask it.
 *
 * Events: `people` (the list changed), `thread` (a conversation changed, `detail` is the peer), `presence`, `arrived`
 * (a new message of the peer, `detail` is the message), `missed` (it came while nobody listened, `detail` is its `from`, `text` and
 * `seq`), `signed-up` (`detail` is the name), `replied` (I wrote in a conversation, here or elsewhere, `detail` is the peer), `shown` (another conversation is on screen), `draft` (an unfinished text is to be shown, `detail` is the peer), `drafted` (one was
 * changed on another device or stored, `detail` is the frame), `connection`, `greeted` (`detail` is the version of the
 * pages that the server serves), `limited` (what is written goes out later), `ended` (the session is over).
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
const FOUND = 20;
const FILL = 200;
const OLDER = 100; // two screens of history, so that a network slower than a finger is not noticed
const REACH = 1_000;
const HOLE_MS = 250;
const AGAIN_MS = 1_000;
/** Signing in to a portal takes longer than a network that reconnects. */
const INTERCEPTED_MS = 5_000;

export class Messenger extends EventTarget {
  /** @type {Map<string, Conversation>} by name key */
  #conversations = new Map();
  /** @type {Map<Conversation, Promise<void>>} history on its way */
  #loading = new Map();
  #loadingList = false;
  /** @type {string | undefined} the conversation on screen */
  #open;
  /** @type {Promise<void> | undefined} */
  #resuming;
  #resumeAgain = false;
  /** @type {Set<Conversation>} where something may be missing */
  #holes = new Set();
  /** @type {any} */
  #holeTimer;
  /** @type {any} */
  #againTimer;
  /** @type {string | undefined} */
  #epoch;
  /** @type {string | undefined} where the list goes on */
  #cursor;
  /** For how many seconds the server takes no message, as it said when it refused one; 0 when it does. */
  limitedFor = 0;
  #listLoaded = false;
  #listComplete = false;
  /** Unread messages of conversations further down the list than what is loaded. @type {Map<string, number>} by name key */
  #unreadBelow = new Map();
  /** @type {Map<string, Promise<string | undefined>>} rows on their way, by name key */
  #learning = new Map();
  /** Names as their owners write them, of people the server has named. @type {Map<string, string>} by name key */
  #named = new Map();
  /** @type {Promise<void>} what this browser keeps is being read */
  #restoring = Promise.resolve();
  #restored = true;
  /** @type {Promise<unknown>} whether it is really me who is signed in */
  #sure = Promise.resolve();
  /** @type {Map<Conversation, number>} shown as this browser keeps them, not yet told by the server, and up to which seq */
  #kept = new Map();
  /** Whether the server's epoch is another one than that of what is held. */
  #doubting = false;
  /** @type {Set<Conversation>} whose newest message is to be compared with the server's before a gap after it is filled */
  #uncompared = new Set();
  #trouble;
  /** @type {Set<string>} events to come, one of a kind however often it happened */
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
    this.presence = new Presence(
      me,
      (frame) => connection.send(frame),
      () => this.#emit("presence"),
    );
    connection.onframe = (frame) => this.#take(frame);
    connection.onstate = (state) => this.#connectionIs(state);
    this.#trouble = new ConnectionTrouble(api, () => this.#emit("connection"));
    connection.onrefused = (code) => void this.#refused(code);
    outbox.onchanged = (peer) => this.#conversationChanged(peer);
    outbox.onlimited = (seconds) => {
      this.limitedFor = seconds;
      this.#emit("limited");
    };
    drafts.onchanged = (peer) => this.#emit("draft", peer);
    cache?.start({
      newest: () => this.lines().flatMap(({ conversation }) => (conversation.lastSeq > 0 ? [conversation] : [])),
      fetch: (peer, limit) => api.messages(me, peer, { limit }),
    });
  }

  /**
   * Shows what is there and connects; neither waits for the other. Ends when what this browser keeps is there.
   * @param {{ sure?: boolean }} [options] sure: the server has said that I am the one who is signed in
   */
  start({ sure = true } = {}) {
    this.#restored = false;
    this.#restoring = this.#restore();
    if (!sure) this.#sure = this.#askWhoIAm();
    this.connection.connect();
    void this.resume();
    return this.#restoring;
  }

  // What there is

  /** What keeps the page from the server, as far as that is known. */
  get trouble() {
    return this.#trouble.now;
  }

  /** Whether unsent texts will be gone with the page. */
  isVolatile = () => false;

  /** Whether the first page of conversations is here. */
  get listLoaded() {
    return this.#listLoaded;
  }

  /** Whether no more conversations are on their way. */
  get isListSettled() {
    return this.#listLoaded && !this.#loadingList;
  }

  /** The conversation on screen. */
  get open() {
    return this.#open;
  }

  /** The lines of the list, newest first: every conversation with something in it, or on its way. @returns {Line[]} */
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

  /** Unread messages of all conversations; who is muted does not count. */
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
   * The name of a person as they wrote it, however it is written here, as far as that is known without asking.
   * @param {string} name
   */
  knownName(name) {
    const key = nameKey(name);
    if (key === nameKey(this.me)) return this.me;
    const conversation = this.#conversations.get(key);
    if (conversation && (conversation.lastSeq > 0 || this.outbox.to(conversation.peer).length > 0))
      return conversation.peer;
    return this.#named.get(key);
  }

  /**
   * The same, and asks where it has to; undefined when there is nobody of that name.
   * @param {string} name
   */
  async find(name) {
    const known = this.knownName(name);
    if (known !== undefined) return known;
    const people = await this.#tried(this.#people(name));
    if (people === undefined) return name;
    // Written without its accents it is still somebody's, unless it is another's as written.
    const found = this.knownName(name) ?? people.find((person) => searchKey(person) === searchKey(name));
    // Who has left is in no search, but in the list of those they wrote with.
    return found ?? this.#learn(name);
  }

  /**
   * People whose name contains this. My conversations with such people are loaded, however far down the list they are.
   * @param {string} part
   */
  async search(part) {
    const isMore = part !== "" && !this.#listComplete;
    const [people, rows] = await Promise.all([
      this.#people(part),
      isMore ? this.api.conversations({ limit: FOUND, part }) : [],
    ]);
    for (const row of rows) this.#takeRow(row);
    return people;
  }

  /** @param {string} part */
  async #people(part) {
    const people = await this.api.people(part);
    for (const person of people) this.#named.set(nameKey(person), person);
    return people;
  }

  /**
   * Asks what the server knows of a conversation that may be further down the list than what is loaded. The name of the peer, if there is one.
   * @param {string} peer
   */
  #learn(peer) {
    const key = nameKey(peer);
    let learning = this.#learning.get(key);
    if (learning) return learning;
    learning = this.#tried(this.api.conversations({ limit: 1, peer })).then((rows) => {
      this.#learning.delete(key);
      const row = rows?.[0];
      if (row) this.#takeRow(row);
      return row?.peer;
    });
    this.#learning.set(key, learning);
    return learning;
  }

  /** Whether a message of a person may be heard. Only the row of their conversation tells, which may not be here yet. @param {string} peer */
  async muted(peer) {
    const conversation = this.conversation(peer);
    if (!conversation.isDescribed) await this.#learn(peer);
    return conversation.muted;
  }

  // What a person does

  /**
   * The conversation with `peer` is on screen now; undefined: none is.
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
   * Sends a text; false when too much waits already.
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
   * Everything of `peer` up to `seq` was on screen.
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
   * Hears no more of a conversation, or hears of it again.
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
      this.#failed(error);
      throw error;
    }
  }

  /** Sees again what a blocked person wrote and writes. @param {string} peer */
  async unblock(peer) {
    await this.api.block(peer, false);
    this.conversation(peer).blocked = false;
    this.#conversationChanged(peer);
    await this.resume();
  }

  /** Sees nothing new of a person any more. @param {string} peer */
  async block(peer) {
    await this.api.block(peer, true);
    this.conversation(peer).blocked = true;
    this.presence.stoppedTyping(peer);
    this.#conversationChanged(peer);
  }

  /** The next page of conversations. */
  async loadMoreConversations() {
    if (!this.#listLoaded || this.#listComplete || this.#loadingList) return;
    this.#loadingList = true;
    const rows = await this.#tried(this.api.conversations({ limit: PAGE, before: this.#cursor }));
    this.#loadingList = false;
    if (rows) this.#takePage(rows);
  }

  /**
   * The page of history before what is held.
   * @param {string} peer
   * @param {number} [limit]
   */
  async loadOlder(peer, limit = OLDER) {
    const conversation = this.conversation(peer);
    if (!conversation.loaded || conversation.complete) return;
    await this.#once(conversation, async () => {
      const before = conversation.firstSeq;
      const page = await this.api.messages(this.me, conversation.peer, { limit, before });
      if (conversation.firstSeq !== before) return; // started anew meanwhile
      conversation.prepend(this.#unwrap(conversation, page), page.length < limit);
    });
  }

  /**
   * Fetches history back to the first unread message, unless that is unkindly far. Undefined when there is nothing to fetch.
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
      if (conversation.reachesUnread || contiguousSeq - firstSeq >= REACH) return;
      await this.loadOlder(conversation.peer, FILL);
      if (conversation.firstSeq >= firstSeq) return; // no network, or the session is over
    }
  }

  // What the server says

  /** @param {Frame} frame */
  #take(frame) {
    switch (frame.type) {
      case "hello":
        return this.#greeted(frame.epoch, frame.version);
      case "message":
        return this.#arrived(messageOf(frame));
      case "ack":
        return this.#acknowledged(frame);
      case "error":
        if (frame.ref) this.outbox.refuse(frame.ref, frame.code, frame.retry_after);
        else if (frame.code === "rate_limited") this.presence.refused(frame.retry_after ?? 1);
        return;
      case "delivered":
        return this.#marked(frame.peer, (conversation) => conversation.raisePeerMarks({ delivered: frame.seq }));
      case "read":
        if (frame.reader === this.me) this.#unreadBelow.delete(nameKey(frame.peer));
        if (frame.peer === this.me) {
          this.#marked(frame.reader, (conversation) => conversation.raisePeerMarks({ read: frame.seq }));
        } else {
          this.#marked(frame.peer, (conversation) => {
            conversation.confirmRead(frame.seq);
            // Read elsewhere, half way: only the server can count the rest.
            if (conversation.unread > 0 && !conversation.loaded) this.#soon(conversation);
          });
        }
        return;
      case "typing":
        return this.presence.startedTyping(frame.user);
      case "presence":
        return this.presence.update(frame.users);
      case "new_user":
        this.#named.set(nameKey(frame.username), frame.username);
        return this.#emit("signed-up", frame.username);
      case "draft":
      case "draft_saved":
        return this.#emit("drafted", frame);
      case "sync":
        void this.resume();
    }
  }

  /** @param {string} epoch @param {string} version */
  #greeted(epoch, version) {
    this.#emit("greeted", version);
    this.#trouble.greeted();
    this.presence.connected();
    if (this.#epoch !== undefined && this.#epoch !== epoch) this.#doubt();
    this.#epoch = epoch;
    if (this.#restored && !this.#doubting) this.cache?.greeted(epoch);
    for (const conversation of this.#conversations.values()) this.#uncompared.add(conversation);
    this.#sendUnsent();
    void this.resume();
  }

  /** Not before the texts of an earlier page are there: they go first. */
  #sendUnsent() {
    if (!this.#restored || this.connection.state !== "open") return;
    this.outbox.connected(({ peer, text, ref }) =>
      this.connection.send({ type: "message", to: peer, message: text, ref }),
    );
  }

  /** @param {Message} message */
  #arrived(message) {
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
    if (gap) this.#soon(conversation);
    this.#conversationChanged(peer);
  }

  /** @param {Frame} ack */
  #acknowledged({ ref, id, seq, timestamp, peer }) {
    const pending = this.outbox.settle(ref);
    if (!pending) return;
    this.#arrived({ seq, id, from: this.me, to: peer, text: pending.text, at: Date.parse(timestamp), ref });
  }

  /**
   * @param {string} peer
   * @param {(conversation: Conversation) => void} mark
   */
  #marked(peer, mark) {
    const conversation = this.#conversations.get(nameKey(peer));
    if (!conversation) return;
    mark(conversation);
    this.#conversationChanged(peer);
  }

  /** Perhaps nobody is signed in here any more, or, from another tab, somebody else. */
  async #askWhoIAm() {
    this.#itIs(await this.#tried(this.api.me()));
  }

  /** A socket was refused, perhaps for the same reason. @param {number | undefined} code */
  async #refused(code) {
    this.#itIs(await this.#tried(this.#trouble.refused(code)));
    if (this.trouble === "socket") void this.resume(); // what came can be read all the same
  }

  /** @param {string | undefined} name who is signed in, if that is known */
  #itIs(name) {
    if (name !== undefined && name !== this.me) this.connection.end();
  }

  /** @param {State} state */
  #connectionIs(state) {
    if (state !== "open") {
      this.outbox.disconnected();
      this.presence.disconnected();
    }
    if (state === "ended") this.#emit("ended");
    this.#emit("connection");
  }

  // Staying true

  /** Takes up what this browser keeps: unsent and unfinished texts, and what was read here before. */
  async #restore() {
    const [cached] = await Promise.all([this.cache?.load(), this.outbox.load(), this.drafts.load()]);
    this.#restored = true;
    this.#sendUnsent();
    // A server that was quicker has said it all.
    const takes = cached !== undefined && !this.#listLoaded;
    for (const { row, read } of takes ? cached.kept : []) {
      const conversation = this.#know(row);
      conversation.readTo(read);
      this.#kept.set(conversation, row.last_seq);
    }
    const isOther = cached?.epoch !== undefined && this.#epoch !== undefined && cached.epoch !== this.#epoch;
    if (takes && isOther) this.#doubt();
    else if (this.#epoch !== undefined) this.cache?.greeted(this.#epoch);
    if (!takes) return;
    this.#epoch ??= cached.epoch;
    this.#emit("people");
    if (this.#open !== undefined) this.#emit("thread", this.#open);
  }

  /**
   * Fetches what may have been missed: the conversations, then the gaps of those that are loaded. One at a time; asked for
   * meanwhile, it runs once more.
   */
  resume() {
    if (this.#resuming) {
      this.#resumeAgain = true;
      return this.#resuming;
    }
    clearTimeout(this.#holeTimer);
    clearTimeout(this.#againTimer);
    this.#holeTimer = undefined;
    this.#resuming = this.#resumeOnce()
      .catch((error) => {
        this.#failed(error);
        this.#later(error);
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
    /** @type {Map<Conversation, number>} what was held before asking: an answer below it means the database went back */
    const held = new Map(
      [...this.#conversations.values()].map((conversation) => [conversation, conversation.contiguousSeq]),
    );
    /** @type {Map<Conversation, number>} what was known of before asking */
    const known = new Map(
      [...this.#conversations.values()].map((conversation) => [conversation, conversation.lastSeq]),
    );
    const newest = Math.max(0, ...[...this.#conversations.values()].map(({ preview }) => preview?.at ?? 0));
    /** @type {Set<Conversation>} */
    const told = new Set();
    const epoch = this.#epoch;
    const listed = this.#listLoaded || this.#doubting;
    /** @type {string | undefined} */
    let before;
    for (;;) {
      const [rows] = await Promise.all([this.api.conversations({ limit: PAGE, before }), this.#sure, this.#restoring]);
      if (this.connection.state === "ended") return;
      this.#trouble.answered();
      for (const [conversation, seq] of this.#kept) for (const map of [held, known]) map.set(conversation, seq);
      if (rows.some((row) => this.#contradicts(row, held))) return this.#startOver();
      const last = rows.at(-1);
      // Newest first: if the last of the page has nothing new, neither have those after it.
      const more = this.#listLoaded && last !== undefined && last.last_seq > this.conversation(last.peer).lastSeq;
      for (const row of rows) {
        const missed = listed && row.last_seq > this.conversation(row.peer).lastSeq;
        this.#takeRow(row);
        told.add(this.conversation(row.peer));
        if (missed) this.#missed(row, newest);
      }
      if (!this.#listLoaded) this.#takePage(rows);
      if (!more || rows.length < PAGE) {
        this.#dropAbsent(told, known, rows.length < PAGE ? 0 : Date.parse(last?.last?.timestamp ?? ""));
        break;
      }
      before = last?.cursor;
    }
    if (this.#doubting && epoch !== undefined && epoch === this.#epoch) {
      this.#doubting = false;
      void this.cache?.adopt(epoch);
    }
    this.#emit("people");
    await Promise.all([this.#fillGaps(told), this.#countBelow()]);
    this.#confirmReads();
  }

  /**
   * Whether a row shows that the server's data are not those held here: it ends before them, or with another message.
   * @param {Row} row
   * @param {Map<Conversation, number>} held how far, before the server was asked
   */
  #contradicts({ peer, last, last_seq: seq }, held) {
    const conversation = this.conversation(peer);
    if (seq < (held.get(conversation) ?? 0)) return true;
    if (!last) return false;
    const at = Date.parse(last.timestamp);
    // In another epoch nothing else says so, if not the text.
    return conversation.differs({ seq, at, ...(this.#doubting && { from: last.sender, text: last.content }) });
  }

  /** Counts what waits in conversations that are not loaded. */
  async #countBelow() {
    if (this.#listComplete) return;
    const counts = await this.#tried(this.api.unread(this.me));
    if (!counts) return;
    this.#unreadBelow = new Map(Object.entries(counts).map(([peer, unread]) => [nameKey(peer), unread]));
    this.#emit("people");
  }

  /**
   * @param {Row} row of a conversation in which more has happened than was heard here
   * @param {number} newest of all that was heard: what is older was only not listed before, because its writer was blocked perhaps
   */
  #missed({ peer, last, last_seq: seq }, newest) {
    if (last?.sender !== peer || Date.parse(last.timestamp) <= newest || this.conversation(peer).unread === 0) return;
    this.#emit("missed", { seq, from: peer, text: last.content });
  }

  /**
   * Lets go of what the server does not list any more, though it has listed older ones: both left.
   * What was only kept by this browser goes too, until the server lists it.
   * @param {Set<Conversation>} told those the server has just described
   * @param {Map<Conversation, number>} known the last seq of those known before it was asked
   * @param {number} since it has described everything newer than this
   */
  #dropAbsent(told, known, since) {
    for (const [key, conversation] of this.#conversations) {
      const { preview, lastSeq, peer } = conversation;
      if (told.has(conversation) || !preview || lastSeq !== known.get(conversation)) continue;
      if (preview.at <= since && !this.#kept.has(conversation)) continue;
      this.#conversations.delete(key);
      this.cache?.drop(peer);
      if (this.#open !== undefined && nameKey(this.#open) === key) this.show(this.#open);
      this.#emit("thread", peer);
    }
    this.#kept.clear();
  }

  /** @param {Set<Conversation>} told those the server has just described */
  async #fillGaps(told) {
    const open = this.#open === undefined ? undefined : this.conversation(this.#open);
    if (open && !open.loaded) await this.#loadNewest(open);
    for (const conversation of this.#conversations.values()) {
      if (!conversation.loaded) continue;
      if (conversation.tooFarBehind) {
        conversation.unload();
        if (conversation === open) await this.#loadNewest(conversation);
        continue;
      }
      if (told.has(conversation) ? conversation.hasGap : conversation.contiguousSeq > 0) await this.#fill(conversation);
    }
  }

  /** @param {Conversation} conversation */
  async #fill(conversation) {
    const comparing = this.#isServers(conversation);
    for (;;) {
      const after = conversation.contiguousSeq;
      const page = await this.api.messages(this.me, conversation.peer, { limit: FILL, after });
      if (!(await comparing)) return this.#startOver();
      for (const message of this.#unwrap(conversation, page)) conversation.receive(message);
      this.#conversationChanged(conversation.peer);
      if (page.length < FILL || conversation.contiguousSeq === after) return;
    }
  }

  /**
   * Whether the newest message held is the server's too. Asked once for each socket: else a gap could be filled that follows another message.
   * @param {Conversation} conversation
   */
  async #isServers(conversation) {
    const [held] = conversation.tail(1).messages;
    if (!held || !this.#uncompared.delete(conversation)) return true;
    const page = await this.#tried(this.api.messages(this.me, conversation.peer, { limit: 1, before: held.seq + 1 }));
    if (!page) this.#uncompared.add(conversation);
    const stored = page?.[0]?.message;
    return !stored || (stored.seq === held.seq && stored.id === held.id && stored.at === held.at);
  }

  /** Marks made while nobody listened. */
  #confirmReads() {
    for (const { peer, unconfirmedRead } of this.#conversations.values()) {
      if (unconfirmedRead !== undefined) this.connection.send({ type: "read", peer, seq: unconfirmedRead });
    }
  }

  /** A hole often closes by itself: frames of two pods may overtake each other. @param {Conversation} conversation */
  #soon(conversation) {
    this.#holes.add(conversation);
    this.#holeTimer ??= setTimeout(() => {
      this.#holeTimer = undefined;
      const open = [...this.#holes].some(({ loaded, hasGap }) => !loaded || hasGap);
      this.#holes.clear();
      if (open) void this.resume();
    }, HOLE_MS);
  }

  /** @param {unknown} error why not now */
  #later(error) {
    if (this.connection.state !== "open") return; // the next greeting resumes
    const wait =
      error instanceof Limited ? error.seconds * 1_000 : error instanceof Intercepted ? INTERCEPTED_MS : AGAIN_MS;
    clearTimeout(this.#againTimer);
    this.#againTimer = setTimeout(() => void this.resume(), wait + Math.random() * AGAIN_MS);
  }

  /** @param {Conversation} conversation */
  #loadNewest(conversation) {
    return this.#once(conversation, async () => {
      if (await this.#loadKept(conversation)) return;
      const [page] = await Promise.all([
        this.api.messages(this.me, conversation.peer, { limit: PAGE }),
        this.#listLoaded && !conversation.isDescribed && this.#learn(conversation.peer),
      ]);
      if (page.length === 0) conversation.blocked = await this.#hasBlocked(conversation.peer);
      conversation.load(this.#unwrap(conversation, page), page.length < PAGE);
      if (conversation.hasGap) this.#soon(conversation);
    });
  }

  /** @param {string} peer */
  async #hasBlocked(peer) {
    const blocked = await this.#tried(this.api.blocks());
    return blocked?.some((name) => nameKey(name) === nameKey(peer)) === true;
  }

  /**
   * Shows what this browser keeps of a conversation; what came since is fetched as any other gap. False when it keeps nothing
   * that is of use.
   * @param {Conversation} conversation
   */
  async #loadKept(conversation) {
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
    this.#uncompared.add(conversation);
    if (conversation.tooFarBehind) conversation.unload();
    else if (conversation.hasGap) this.#soon(conversation);
    return conversation.loaded;
  }

  /** The server may have gone back: until it says the same, all that is held here is only kept, as after a reload. */
  #doubt() {
    this.#doubting = true;
    for (const conversation of this.#conversations.values()) {
      conversation.distrust();
      if (conversation.lastSeq > 0) this.#kept.set(conversation, conversation.lastSeq);
    }
    this.#forgetList();
  }

  /** The server's data are not those held here: nothing of it counts, except what is still to be sent. */
  #startOver() {
    this.#doubting = false;
    this.#conversations.clear();
    this.#kept.clear();
    this.#uncompared.clear();
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
    this.#named.clear();
    this.#cursor = undefined;
    this.#emit("people");
    if (this.#open !== undefined) this.#emit("thread", this.#open);
  }

  /** @param {Row[]} rows the next page of the list */
  #takePage(rows) {
    for (const row of rows) this.#takeRow(row);
    this.#cursor = rows.at(-1)?.cursor ?? this.#cursor;
    this.#listComplete = rows.length < PAGE;
    this.#listLoaded = true;
    this.#emit("people");
  }

  /** @param {Row} row */
  #takeRow(row) {
    const { online, last_seen, ...rest } = row;
    this.#know(rest);
    this.presence.update({ [row.peer]: { online, last_seen } });
    this.#conversationChanged(row.peer);
  }

  /** @param {import("./conversation.js").Row} row */
  #know(row) {
    const conversation = this.conversation(row.peer);
    conversation.peer = row.peer; // as its owner writes it, not as an address did
    const { last } = row;
    conversation.update(
      row,
      last ? { from: last.sender, text: last.content, at: Date.parse(last.timestamp) } : undefined,
    );
    return conversation;
  }

  /**
   * The messages of a page; on the way, own ones settle their drafts and tell how far the peer has read.
   * @param {Conversation} conversation
   * @param {Stored[]} page
   */
  #unwrap(conversation, page) {
    for (const { message, read } of page) {
      if (message.from !== this.me) {
        if (read) conversation.confirmRead(message.seq); // its row may be far down the list, or not here yet
        continue;
      }
      if (read) conversation.raisePeerMarks({ read: message.seq });
      if (message.ref) this.outbox.settle(message.ref);
    }
    return page.map(({ message }) => message);
  }

  /**
   * Loads history, never twice at once for one conversation. A failure is left to the next resume.
   * @param {Conversation} conversation
   * @param {() => Promise<void>} load
   */
  async #once(conversation, load) {
    const running = this.#loading.get(conversation);
    if (running) return running;
    const done = load()
      .catch((error) => {
        this.#failed(error);
        if (!conversation.loaded) this.#later(error);
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
  #tried(promise) {
    return promise.catch((error) => {
      this.#failed(error);
      return undefined;
    });
  }

  /** @param {unknown} error */
  #failed(error) {
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
