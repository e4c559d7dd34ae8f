/** Ends the unread mark of a conversation that the user opens or writes in, and retries until that is stored. */

import { Rejected } from "./api.js";

/** @import { Conversation } from "../store/conversation.js" */

const RETRY_MS = 5_000;
/** Codes of errors after which a retry may succeed. */
const TEMPORARY = new Set(["busy", "restarting", "not_ready", "internal", "unknown"]);

/**
 * @param {{ api: import("../chat_model.js").Api, conversations: import("../store/conversation_store.js").ConversationStore, sync: import("./sync_engine.js").SyncEngine }} parts
 */
export function startUnreadMarks({ api, conversations, sync }) {
  /** Ended here, not stored yet: what shows them as ended. @type {Map<Conversation, () => void>} */
  const unsaved = new Map();
  /** The conversation whose row was not loaded when it was opened. @type {Conversation | undefined} */
  let unknown;
  /** @type {any} */
  let retryTimer;

  /** @param {string | undefined} peer */
  function end(peer) {
    unknown = undefined;
    if (peer === undefined) return;
    const conversation = conversations.getOrCreate(peer);
    if (!conversation.hasRow) unknown = conversation;
    if (!conversation.isMarkedUnread || unsaved.has(conversation)) return;
    unsaved.set(conversation, conversation.membership.change({ marked_unread: false }, conversation));
    conversations.changed(conversation.peer);
    void save(conversation);
  }

  /** @param {Conversation} conversation */
  async function save(conversation) {
    try {
      conversation.membership.update(await api.arrange(conversation.peer, { marked_unread: false }));
    } catch (error) {
      const isRefused = error instanceof Rejected && !TEMPORARY.has(error.message);
      if (!isRefused) return retrySoon();
    }
    unsaved.get(conversation)?.();
    unsaved.delete(conversation);
    conversations.changed(conversation.peer);
  }

  function retry() {
    clearTimeout(retryTimer);
    retryTimer = undefined;
    for (const conversation of unsaved.keys()) void save(conversation);
  }

  function retrySoon() {
    retryTimer ??= setTimeout(retry, RETRY_MS);
  }

  conversations.on("opened", end);
  conversations.on("replied", end);
  conversations.on("conversation", (peer) => {
    if (unknown?.hasRow && conversations.getOrCreate(peer) === unknown) end(peer);
  });
  sync.on("hello", retry);
}
