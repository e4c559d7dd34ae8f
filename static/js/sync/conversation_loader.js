/**
 * Loads conversations over HTTP: their rows and newest messages, and what is
 * missing in those that are loaded.
 */

import { Emitter } from "../util/emitter.js";
import { nameKey } from "../util/names.js";
import { HistoryLoader } from "./history_loader.js";

/** @import { Conversation } from "../store/conversation.js" */

const PAGE = 50;
const FILL_PAGE = 200;

/**
 * - `failed`: a request failed; `needsRetry` when nothing else requests it again
 * - `gap`: messages or changes of a conversation are missing
 * - `contradicted`: the server's messages are not those loaded
 * @extends {Emitter<{ failed: { error: unknown, needsRetry: boolean }, gap: Conversation, contradicted: void }>}
 */
export class ConversationLoader extends Emitter {
  /**
   * @type {Map<string, Promise<string | undefined>>} running requests for single rows, by name key
   */
  #loadingRows = new Map();
  /**
   * @type {Set<Conversation>} whose newest message must be compared with the server's before the gap after it is filled
   */
  #unverified = new Set();
  #me;
  #api;
  #conversations;
  #people;
  #outbox;
  #cache;

  /**
   * @param {string} me
   * @param {import("../chat_model.js").Parts} parts
   */
  constructor(me, { api, conversations, people, outbox, cache }) {
    super();
    this.#me = me;
    this.#api = api;
    this.#conversations = conversations;
    this.#people = people;
    this.#outbox = outbox;
    this.#cache = cache;
    this.history = new HistoryLoader(me, { api, conversations, people, outbox });
    this.history.on("failed", (failure) => this.emit("failed", failure));
    this.history.on("gap", (conversation) => this.emit("gap", conversation));
  }

  /**
   * Loads the row of a conversation that may not be in the list yet. Resolves to the peer's name if
   * there is one.
   * @param {string} peer
   */
  loadRow(peer) {
    const key = nameKey(peer);
    let loading = this.#loadingRows.get(key);
    if (loading) return loading;
    loading = this.attempt(this.#api.conversations({ limit: 1, peer })).then((rows) => {
      this.#loadingRows.delete(key);
      const row = rows?.[0];
      if (row) this.history.reportGap(this.#people.applyRow(row));
      return row?.peer;
    });
    this.#loadingRows.set(key, loading);
    return loading;
  }

  /** Whether a conversation is muted; loads its row if necessary. @param {string} peer */
  async isMuted(peer) {
    const conversation = this.#conversations.getOrCreate(peer);
    await this.refreshRow(conversation);
    return conversation.isMuted;
  }

  /**
   * Loads the row of a conversation that has none or a stale one.
   * @param {Conversation} conversation
   */
  async refreshRow({ hasRow, isRowStale, peer }) {
    if (!hasRow || isRowStale) await this.loadRow(peer);
  }

  /** Loads the newest messages, from the cache or the server. @param {Conversation} conversation */
  loadNewest(conversation) {
    return this.history.once(conversation, async () => {
      if (await this.#loadCached(conversation)) return;
      const { revision } = conversation;
      const [page] = await Promise.all([
        this.#api.messages(this.#me, conversation.peer, { limit: PAGE }),
        this.#conversations.isListLoaded && this.refreshRow(conversation),
      ]);
      if (page.length === 0) conversation.isBlocked = await this.#hasBlocked(conversation.peer);
      conversation.load(this.history.applyMarks(conversation, page), page.length < PAGE, revision);
      this.history.reportGap(conversation);
    });
  }

  /**
   * Loads what is missing after the loaded messages. Rejects on failure.
   * @param {Conversation} conversation
   */
  async loadNewer(conversation) {
    const comparing = this.#matchesServer(conversation);
    for (;;) {
      const after = conversation.contiguousSeq;
      const page = await this.#api.messages(this.#me, conversation.peer, { limit: FILL_PAGE, after });
      if (!(await comparing)) return this.emit("contradicted");
      for (const message of this.history.applyMarks(conversation, page)) conversation.receive(message);
      this.#conversations.changed(conversation.peer);
      if (page.length < FILL_PAGE || conversation.contiguousSeq === after) return;
    }
  }

  /**
   * Loads the changes that the loaded messages lack. Rejects on failure.
   * @param {Conversation} conversation
   */
  async #loadChanges(conversation) {
    for (;;) {
      const { revision, loadedRevision } = conversation;
      const page = await this.#api.messages(this.#me, conversation.peer, {
        limit: FILL_PAGE,
        changed_after: loadedRevision,
      });
      if (!conversation.isLoaded || conversation.loadedRevision < loadedRevision) return; // reloaded meanwhile
      if (page.some(({ message: { seq, at, id } }) => conversation.differs({ seq, at, id })))
        return this.emit("contradicted");
      for (const message of this.history.applyMarks(conversation, page)) conversation.receive(message);
      const isLast = page.length < FILL_PAGE;
      conversation.raiseRevision(Math.max(isLast ? revision : 0, page.at(-1)?.message.revision ?? 0));
      this.#conversations.changed(conversation.peer);
      if (isLast) break;
    }
    this.history.reportGap(conversation);
  }

  /**
   * Loads what is missing in loaded conversations, and the one on screen.
   * @param {Set<Conversation>} listed those whose row the server has just sent
   */
  async fillGaps(listed) {
    const { open } = this.#conversations;
    const shown = open === undefined ? undefined : this.#conversations.getOrCreate(open);
    if (shown && !shown.isLoaded) await this.loadNewest(shown);
    for (const conversation of this.#conversations.all()) {
      if (!conversation.isLoaded) continue;
      if (conversation.isTooFarBehind) {
        conversation.unload();
        if (conversation === shown) await this.loadNewest(conversation);
        continue;
      }
      const isUnknown = !listed.has(conversation) && conversation.contiguousSeq > 0;
      if (conversation.hasGap || isUnknown) await this.loadNewer(conversation);
      if (conversation.lacksChanges || isUnknown) await this.#loadChanges(conversation);
    }
  }

  /** Loads the row of the conversation on screen if it is stale. */
  async refreshOpen() {
    const { open } = this.#conversations;
    const shown = open === undefined ? undefined : this.#conversations.getOrCreate(open);
    if (shown?.isRowStale) await this.refreshRow(shown);
  }

  /** Loads the unread counts of conversations that are not in the list yet. */
  async loadUnlistedUnread() {
    if (this.#conversations.isListComplete) return;
    const counts = await this.attempt(this.#api.unread(this.#me));
    if (counts) this.#conversations.setUnreadCounts(counts);
  }

  /**
   * The newest loaded messages of these conversations may not be the server's.
   * @param {Iterable<Conversation>} conversations
   */
  markUnverified(conversations) {
    for (const conversation of conversations) this.#unverified.add(conversation);
  }

  /**
   * Resolves to undefined when the request fails.
   * @template T
   * @param {Promise<T>} request
   * @returns {Promise<T | undefined>}
   */
  attempt(request) {
    return request.catch((error) => {
      this.emit("failed", { error, needsRetry: false });
      return undefined;
    });
  }

  /**
   * Whether the newest loaded message is also the server's. Checked once per socket; otherwise a
   * gap after a different message could be filled.
   * @param {Conversation} conversation
   */
  async #matchesServer(conversation) {
    const [newest] = conversation.tail(1).messages;
    if (!newest || !this.#unverified.delete(conversation)) return true;
    const page = await this.attempt(
      this.#api.messages(this.#me, conversation.peer, { limit: 1, before: newest.seq + 1 }),
    );
    if (!page) this.#unverified.add(conversation);
    const stored = page?.[0]?.message;
    return !stored || (stored.seq === newest.seq && stored.id === newest.id && stored.at === newest.at);
  }

  /** @param {string} peer */
  async #hasBlocked(peer) {
    const blocked = await this.attempt(this.#api.blocks());
    return blocked?.some((name) => nameKey(name) === nameKey(peer)) === true;
  }

  /**
   * Loads a conversation from the cache; newer messages are fetched like any other gap. Returns
   * false when the cache has nothing usable.
   * @param {Conversation} conversation
   */
  async #loadCached(conversation) {
    const page = await this.#cache?.messages(conversation.peer);
    if (!page || !this.#conversations.has(conversation)) return false;
    const last = page.messages.at(-1);
    if (last && conversation.differs({ seq: last.seq, at: last.at })) {
      this.emit("contradicted");
      return false;
    }
    for (const { ref, from, seq } of page.messages) if (ref && from === this.#me) this.#outbox.acknowledge(ref, seq);
    conversation.load(page.messages, page.complete, page.revision ?? 0);
    this.#unverified.add(conversation);
    if (conversation.isTooFarBehind) conversation.unload();
    else this.history.reportGap(conversation);
    return conversation.isLoaded;
  }
}
