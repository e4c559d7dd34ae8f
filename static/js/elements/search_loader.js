/** Loads the search of messages with the first search. */

import { importAgain } from "../util/dom.js";

/** Searches with fewer letters find no messages. */
const TEXT_MIN = 2;

/**
 * @typedef {object} SearchPage
 * @property {import("./conversation_list.js").ConversationList} conversationList
 * @property {import("./chat_thread.js").ChatThread} thread
 * @property {typeof import("../navigation.js").openAtMessage} openAtMessage
 */

/**
 * @param {import("../chat_model.js").Chat} chat
 * @param {SearchPage} page
 */
export function loadSearchWhenNeeded(chat, page) {
  const { conversationList } = page;
  /** @type {Promise<import("./message_hits.js").MessageHits | undefined> | undefined} */
  let loading;
  const loadHits = () =>
    (loading ??= importAgain(() => import("./message_hits.js"), "elements/message_hits.js")
      .then((module) => module.startHits(chat, page))
      .catch(() => (loading = undefined)));
  conversationList.addEventListener("query", async () => {
    if (loading || [...conversationList.query].length >= TEXT_MIN) (await loadHits())?.search();
  });
  if ([...conversationList.query].length >= TEXT_MIN) void loadHits().then((hits) => hits?.search());
}
