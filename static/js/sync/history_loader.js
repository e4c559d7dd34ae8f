/** Loads pages of messages: before and after those shown, and around any place in the history. */

import { Emitter } from "../util/emitter.js";

/** @import { Stored } from "./api.js" */
/** @import { Conversation } from "../store/conversation.js" */
/** @import { HistoryPage } from "../store/history_view.js" */

const PAGE = 100; // two screens of history hide the latency of a slow network while scrolling
const UNREAD_PAGE = 200;
const MAX_UNREAD_REACH = 1_000;
/** Messages loaded before and after the one that a jump leads to. */
const AROUND = 40;
/** After a failure, nothing more is requested for this long. */
const PAUSE_MS = 1_000;

/**
 * - `failed`: a request failed; `needsRetry` when nothing else requests it again
 * - `gap`: changes of loaded messages are missing
 * @extends {Emitter<{ failed: { error: unknown, needsRetry: boolean }, gap: Conversation }>}
 */
export class HistoryLoader extends Emitter {
  /** @type {Map<Conversation, Promise<void>>} running requests */
  #loading = new Map();
  /** @type {WeakMap<Conversation, number>} when the last request failed */
  #failedAt = new WeakMap();
  #me;
  #api;
  #conversations;
  #outbox;

  /**
   * @param {string} me
   * @param {import("../chat_model.js").Parts} parts
   */
  constructor(me, { api, conversations, outbox }) {
    super();
    this.#me = me;
    this.#api = api;
    this.#conversations = conversations;
    this.#outbox = outbox;
  }

  /**
   * Loads the page before the messages shown.
   * @param {string} peer
   * @param {number} [limit]
   */
  async loadOlder(peer, limit = PAGE) {
    const conversation = this.#conversations.getOrCreate(peer);
    const { view } = conversation;
    if (!view.isLoaded || view.reachesStart || this.#isPaused(conversation)) return;
    await this.once(conversation, async () => {
      const before = view.firstSeq;
      const page = await this.#page(conversation, { limit, before });
      if (view.firstSeq !== before) return; // reloaded meanwhile
      view.prepend({ ...page, reachesStart: page.messages.length < limit });
      this.reportGap(conversation);
    });
  }

  /**
   * Loads the page after the messages shown, unless they are the newest.
   * @param {string} peer
   */
  async loadLater(peer) {
    const conversation = this.#conversations.getOrCreate(peer);
    const { view } = conversation;
    if (!view.isDetached || this.#isPaused(conversation)) return;
    await this.once(conversation, async () => {
      const after = view.lastSeq;
      const page = await this.#page(conversation, { limit: PAGE, after });
      if (!view.isDetached || view.lastSeq !== after) return;
      view.append(page);
      this.reportGap(conversation);
    });
  }

  /**
   * The messages around one, which `showAround` shows; undefined when they cannot be loaded.
   * @param {string} peer
   * @param {number} seq
   * @returns {Promise<HistoryPage | undefined>}
   */
  async around(peer, seq) {
    const after = Math.max(0, seq - AROUND - 1);
    const conversation = this.#conversations.getOrCreate(peer);
    const page = await this.#attempt(this.#page(conversation, { limit: 2 * AROUND, after }));
    return page?.messages.some((message) => message.seq === seq) ? { ...page, reachesStart: after === 0 } : undefined;
  }

  /**
   * Shows a page of the history in place of what is shown.
   * @param {string} peer
   * @param {HistoryPage} page
   */
  showAround(peer, page) {
    const conversation = this.#conversations.getOrCreate(peer);
    conversation.view.detach(page);
    this.reportGap(conversation);
  }

  /**
   * The seq of the first message at or after an instant; 0 if there is none, undefined when it
   * cannot be loaded.
   * @param {string} peer
   * @param {Date} instant
   */
  async firstSince(peer, instant) {
    const conversation = this.#conversations.getOrCreate(peer);
    const page = await this.#attempt(this.#page(conversation, { limit: 1, at: instant.toISOString() }));
    return page && (page.messages[0]?.seq ?? 0);
  }

  /**
   * Loads history back to the first unread message, 1,000 messages at most. Undefined when nothing
   * needs loading.
   * @param {string} peer
   */
  reachUnread(peer) {
    const conversation = this.#conversations.getOrCreate(peer);
    return conversation.reachesUnread ? undefined : this.#reachUnread(conversation);
  }

  /** @param {Conversation} conversation */
  async #reachUnread(conversation) {
    const { contiguousSeq } = conversation;
    for (;;) {
      const { firstSeq } = conversation;
      if (conversation.reachesUnread || contiguousSeq - firstSeq >= MAX_UNREAD_REACH) return;
      await this.loadOlder(conversation.peer, UNREAD_PAGE);
      if (conversation.firstSeq >= firstSeq) return; // no network, or the session is over
    }
  }

  /**
   * Returns the messages of a page and applies what it implies: stored own messages replace pending
   * ones, and read flags raise the marks.
   * @param {Conversation} conversation
   * @param {Stored[]} page
   */
  applyMarks(conversation, page) {
    for (const { message, read } of page) {
      if (message.from !== this.#me) {
        if (read) conversation.readState.confirm(message.seq); // its row may not be loaded yet
        continue;
      }
      if (read) conversation.readState.raisePeer({ read: message.seq });
      if (message.ref) this.#outbox.acknowledge(message.ref, message.seq);
    }
    return page.map(({ message }) => message);
  }

  /**
   * Loads messages, one request per conversation at a time.
   * @param {Conversation} conversation
   * @param {() => Promise<void>} load
   */
  once(conversation, load) {
    const running = this.#loading.get(conversation);
    if (running) return running;
    const loading = load()
      .then(() => void this.#failedAt.delete(conversation))
      .catch((error) => {
        this.#failedAt.set(conversation, performance.now());
        setTimeout(() => this.#conversations.changed(conversation.peer), PAUSE_MS); // the thread then tries again
        this.emit("failed", { error, needsRetry: !conversation.isLoaded });
      })
      .finally(() => {
        this.#loading.delete(conversation);
        this.#conversations.changed(conversation.peer);
      });
    this.#loading.set(conversation, loading);
    return loading;
  }

  /** @param {Conversation} conversation */
  reportGap(conversation) {
    if (conversation.hasGap || conversation.lacksChanges) this.emit("gap", conversation);
  }

  /**
   * @param {Conversation} conversation
   * @param {{ limit: number, before?: number, after?: number, at?: string }} page
   */
  async #page(conversation, page) {
    const { revision } = conversation; // before the request, so the page contains all changes up to it
    const stored = await this.#api.messages(this.#me, conversation.peer, page);
    return { messages: this.applyMarks(conversation, stored), revision };
  }

  /**
   * @template T
   * @param {Promise<T>} request
   * @returns {Promise<T | undefined>}
   */
  #attempt(request) {
    return request.catch((error) => {
      this.emit("failed", { error, needsRetry: false });
      return undefined;
    });
  }

  /** @param {Conversation} conversation */
  #isPaused(conversation) {
    return performance.now() - (this.#failedAt.get(conversation) ?? Number.NEGATIVE_INFINITY) < PAUSE_MS;
  }
}
