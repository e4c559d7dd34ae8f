/** The parts of the chat that do not touch the DOM, constructed and connected. */

import { ConversationStore } from "./store/conversation_store.js";
import { Drafts } from "./store/drafts.js";
import { PeopleDirectory } from "./store/people_directory.js";
import { evictFile } from "./sync/file_eviction.js";
import { SyncEngine } from "./sync/sync_engine.js";
import { startUnreadMarks } from "./sync/unread_marks.js";

/** @typedef {Pick<typeof import("./sync/api.js"), "conversations" | "list" | "unread" | "messages" | "people" | "fetchUsername" | "blocks" | "arrange" | "block"> & { acceptsSockets?: () => Promise<boolean> }} Api */

/**
 * @typedef {object} Parts
 * @property {Api} api
 * @property {import("./sync/outbox.js").Outbox} outbox
 * @property {ConversationStore} conversations
 * @property {PeopleDirectory} people
 * @property {import("./store/offline_cache.js").OfflineCache | undefined} [cache]
 */

/** @typedef {ReturnType<typeof createChat>} Chat */

/**
 * @param {string} me
 * @param {{
 *   api: Api,
 *   connection: import("./sync/connection.js").Connection,
 *   outbox: import("./sync/outbox.js").Outbox,
 *   drafts?: Drafts,
 *   cache?: import("./store/offline_cache.js").OfflineCache,
 * }} parts
 */
export function createChat(me, { api, connection, outbox, drafts = new Drafts(), cache }) {
  const conversations = new ConversationStore(me, outbox);
  const people = new PeopleDirectory(me, { api, conversations, send: (frame) => connection.send(frame) });
  const sync = new SyncEngine(me, { api, connection, outbox, conversations, people, cache });
  cache?.start({
    newest: () =>
      [...conversations.entries(), ...conversations.archived()].flatMap(({ conversation }) =>
        conversation.lastSeq > 0 ? [conversation] : [],
      ),
    fetch: (peer, page) => api.messages(me, peer, page),
    profile: (peer) => conversations.profiles.fields(peer),
    evict: evictFile,
  });
  conversations.on("conversation", (peer) => cache?.changed(conversations.getOrCreate(peer)));
  conversations.on("file-deleted", (file) => void evictFile(file));
  startUnreadMarks({ api, conversations, sync });
  return {
    me,
    connection,
    outbox,
    drafts,
    conversations,
    profiles: conversations.profiles,
    people,
    sync,
    loader: sync.loader,
    list: sync.listLoader,
    history: sync.loader.history,
  };
}
