/**
 * Keeps the page in sync with the server: sends the outbox, applies frames, and after every
 * reconnect or loss fetches what is missing. It does not touch the DOM.
 */

import { ChangeWindows } from "../store/change_windows.js";
import { toFrame } from "../store/pending.js";
import { Emitter } from "../util/emitter.js";
import { Intercepted, Limited } from "./api.js";
import { ConnectionTrouble } from "./connection_trouble.js";
import { ConversationLoader } from "./conversation_loader.js";
import { FrameReceiver } from "./frame_receiver.js";
import { ListLoader } from "./list_loader.js";
import { ListSync } from "./list_sync.js";

/** @import { State } from "./connection.js" */
/** @import { Conversation } from "../store/conversation.js" */
/** @typedef {import("./list_sync.js").MissedMessage} MissedMessage */

/**
 * Frames from two pods may overtake each other, so a gap often closes by itself within this time.
 */
const GAP_MS = 250;
const RETRY_MS = 1_000;
/** Signing in to a captive portal takes longer than a reconnect. */
const INTERCEPTED_MS = 5_000;

/**
 * - `missed`: a message of a peer arrived while disconnected
 * - `connection`: the connection's state or trouble changed
 * - `hello`: the server is connected; it serves this version of the pages
 * - `ended`: the session is over
 * @extends {Emitter<{ missed: MissedMessage, connection: void, hello: string, ended: void }>}
 */
export class SyncEngine extends Emitter {
  changeWindows = new ChangeWindows();
  /** The size of the largest file, in bytes, as far as the server has said. */
  fileMax = Number.POSITIVE_INFINITY;
  /** @type {Promise<void> | undefined} */
  #resuming;
  #resumesAgain = false;
  /** @type {Set<Conversation>} conversations that may lack messages */
  #gaps = new Set();
  /** @type {any} */
  #gapTimer;
  /** @type {any} */
  #retryTimer;
  /** @type {any} */
  #marksTimer;
  /** @type {string | undefined} of the loaded data */
  #epoch;
  /** @type {Promise<void>} loading of what this browser has stored */
  #restoring = Promise.resolve();
  #isRestored = true;
  /** @type {Promise<unknown>} check that the signed-in user is `me` */
  #identityCheck = Promise.resolve();
  #me;
  #connection;
  #outbox;
  #conversations;
  #people;
  #cache;
  #list;
  #trouble;

  /**
   * @param {string} me
   * @param {import("../chat_model.js").Parts & { connection: import("./connection.js").Connection }} parts
   */
  constructor(me, parts) {
    super();
    const { connection, outbox, conversations, people, cache } = parts;
    this.#me = me;
    this.#connection = connection;
    this.#outbox = outbox;
    this.#conversations = conversations;
    this.#people = people;
    this.#cache = cache;
    this.loader = new ConversationLoader(me, parts);
    this.listLoader = new ListLoader(parts, this.loader);
    this.loader.on("failed", ({ error, needsRetry }) => this.#requestFailed(error, needsRetry));
    this.loader.on("gap", (conversation) => this.#resumeSoon(conversation));
    this.loader.on("contradicted", () => this.#startOver());
    this.#list = new ListSync(parts);
    this.#list.on("missed", (message) => this.emit("missed", message));
    this.#list.on("contradicted", () => this.#startOver());
    this.#trouble = new ConnectionTrouble(me, parts);
    this.#trouble.on("changed", () => this.emitSoon("connection"));
    // HTTP still works, so new messages can be read.
    this.#trouble.on("blocked", () => void this.resume());
    const receiver = new FrameReceiver(me, parts);
    receiver.on("hello", (hello) => this.#receiveHello(hello));
    receiver.on("gap", (conversation) => this.#resumeSoon(conversation));
    receiver.on("unlisted", ({ peer }) => void this.loader.loadRow(peer));
    receiver.on("contradicted", () => this.#startOver());
    receiver.on("sync", () => {
      this.#list.isStale = true;
      void this.resume();
    });
    receiver.on("limited", (seconds) => this.#frameRejected(seconds));
    connection.on("frame", (frame) => receiver.receive(frame));
    connection.on("state", (state) => this.#connectionChanged(state));
    conversations.on("opened", (peer) => void this.#loadOpened(peer));
    people.on("unblocked", () => void this.resume()); // fetches what the user wrote meanwhile
  }

  /** Why the page has no connection, if known. */
  get trouble() {
    return this.#trouble.current;
  }

  /**
   * Connects and loads what this browser has stored, concurrently. Resolves when the stored data is
   * loaded.
   * @param {{ isIdentityKnown?: boolean }} [options] isIdentityKnown: the server has confirmed that `me` is signed in
   */
  start({ isIdentityKnown = true } = {}) {
    this.#isRestored = false;
    this.#restoring = this.#restore();
    if (!isIdentityKnown) this.#identityCheck = this.loader.attempt(this.#trouble.checkIdentity());
    this.#connection.connect();
    void this.resume();
    return this.#restoring;
  }

  /**
   * Sends a text. Returns false when the outbox is full.
   * @param {string} peer
   * @param {string} text
   * @param {Parameters<import("./outbox.js").Outbox["add"]>[2]} [options]
   */
  write(peer, text, options) {
    this.#people.presence.messageSent();
    const isQueued = this.#outbox.add(this.#conversations.getOrCreate(peer).peer, text, options) !== undefined;
    if (isQueued) this.#conversations.emit("replied", peer);
    return isQueued;
  }

  /**
   * Marks everything from `peer` up to `seq` as read.
   * @param {string} peer
   * @param {number} seq
   */
  markRead(peer, seq) {
    const conversation = this.#conversations.getOrCreate(peer);
    if (peer === this.#me || conversation.isBlocked || !conversation.readState.read(seq)) return;
    this.#connection.send({ type: "read", peer, seq });
    this.#conversations.changed(peer);
  }

  /**
   * Fetches what may have been missed: the list, then the gaps of loaded conversations. Runs once
   * at a time; calls during a run cause one more.
   */
  resume() {
    if (this.#resuming) {
      this.#resumesAgain = true;
      return this.#resuming;
    }
    clearTimeout(this.#gapTimer);
    clearTimeout(this.#retryTimer);
    this.#gapTimer = undefined;
    this.#resuming = this.#resumeOnce()
      .catch((error) => {
        this.#list.isStale = true;
        this.#requestFailed(error, true);
      })
      .finally(() => {
        this.#resuming = undefined;
        if (!this.#resumesAgain) return;
        this.#resumesAgain = false;
        void this.resume();
      });
    return this.#resuming;
  }

  /** @param {import("./connection.js").Frame} hello */
  #receiveHello(hello) {
    const { epoch, version } = hello;
    this.changeWindows.update(hello);
    this.fileMax = hello.file_max ?? this.fileMax;
    this.emit("hello", version);
    this.#people.presence.connected();
    if (this.#epoch !== undefined && this.#epoch !== epoch) this.#list.distrust();
    this.#epoch = epoch;
    if (this.#isRestored && !this.#list.isDistrusting) this.#cache?.setEpoch(epoch);
    this.loader.markUnverified(this.#conversations.all());
    this.#list.isStale = true;
    this.#connectOutbox();
    void this.resume();
  }

  /**
   * The server rejected a `watch`, `read` or `draft` frame; the error does not say which: resends
   * the read marks and the watch list. `DraftSync` resends drafts.
   * @param {number} seconds until the server accepts a frame
   */
  #frameRejected(seconds) {
    this.#people.presence.rejected(seconds);
    clearTimeout(this.#marksTimer);
    this.#marksTimer = setTimeout(() => this.#sendUnsavedMarks(), seconds * 1_000);
  }

  #sendUnsavedMarks() {
    for (const { peer, readState } of this.#conversations.all()) {
      const seq = readState.unsavedMark; // such as a mark set while disconnected
      if (seq !== undefined) this.#connection.send({ type: "read", peer, seq });
    }
  }

  /** @param {State} state */
  #connectionChanged(state) {
    if (state !== "open") {
      this.#outbox.disconnected();
      this.#people.presence.disconnected();
    }
    if (state === "ended") this.emit("ended");
    this.emitSoon("connection");
  }

  /** Starts sending once the messages of an earlier page are loaded, which are sent first. */
  #connectOutbox() {
    if (!this.#isRestored || this.#connection.state !== "open") return;
    this.#outbox.connected((pending) => this.#connection.send(toFrame(pending)));
  }

  /**
   * @param {unknown} error
   * @param {boolean} needsRetry
   */
  #requestFailed(error, needsRetry) {
    this.#trouble.failed(error);
    if (!needsRetry || this.#connection.state !== "open") return; // the next `hello` resumes
    const wait =
      error instanceof Limited ? error.seconds * 1_000 : error instanceof Intercepted ? INTERCEPTED_MS : RETRY_MS;
    clearTimeout(this.#retryTimer);
    this.#retryTimer = setTimeout(() => void this.resume(), wait + Math.random() * RETRY_MS);
  }

  async #resumeOnce() {
    const epoch = this.#epoch;
    const listed = await this.#list.read(async (before, options) => {
      const [page] = await Promise.all([this.listLoader.page(before, options), this.#identityCheck, this.#restoring]);
      if (this.#connection.state === "ended") return undefined;
      this.#trouble.answered();
      return page;
    });
    if (!listed) return;
    if (this.#list.isDistrusting && epoch !== undefined && epoch === this.#epoch) {
      this.#list.isDistrusting = false;
      void this.#cache?.adopt(epoch);
    }
    await Promise.all([this.loader.fillGaps(listed), this.loader.refreshOpen(), this.loader.loadUnlistedUnread()]);
    this.#sendUnsavedMarks();
  }

  /** @param {Conversation} conversation that may lack messages */
  #resumeSoon(conversation) {
    this.#gaps.add(conversation);
    this.#gapTimer ??= setTimeout(() => {
      this.#gapTimer = undefined;
      const hasOpenGap = [...this.#gaps].some(
        ({ isLoaded, hasGap, lacksChanges }) => !isLoaded || hasGap || lacksChanges,
      );
      this.#gaps.clear();
      if (hasOpenGap) void this.resume();
    }, GAP_MS);
  }

  /** @param {string | undefined} peer */
  async #loadOpened(peer) {
    await this.#restoring; // the cache may have it
    if (peer === undefined) return;
    const conversation = this.#conversations.getOrCreate(peer);
    if (!conversation.isLoaded) await this.loader.loadNewest(conversation);
    else if (conversation.isRowStale) await this.loader.refreshRow(conversation);
  }

  /** Loads pending messages and the offline cache. */
  async #restore() {
    const [cached] = await Promise.all([this.#cache?.load(), this.#outbox.load()]);
    this.#isRestored = true;
    this.#connectOutbox();
    // Once the server's list is loaded, the cache has nothing to add.
    const usesCache = cached !== undefined && !this.#conversations.isListLoaded;
    for (const { row, read } of usesCache ? cached.records : []) {
      const conversation = this.#conversations.applyRow(row);
      conversation.readState.read(read);
      this.#list.addCached(conversation);
    }
    const isOther = cached?.epoch !== undefined && this.#epoch !== undefined && cached.epoch !== this.#epoch;
    if (usesCache && isOther) this.#list.distrust();
    else if (this.#epoch !== undefined) this.#cache?.setEpoch(this.#epoch);
    if (usesCache) this.#epoch ??= cached.epoch;
  }

  /**
   * The server's data contradicts the loaded data: drops everything except pending messages and
   * reloads.
   */
  #startOver() {
    this.#list.clear();
    if (this.#epoch !== undefined) this.#cache?.setEpoch(this.#epoch);
    void this.resume();
  }
}
