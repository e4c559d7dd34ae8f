/** Loads message search and the date dialog on first use. */

import { find, importAgain, setText } from "../util/dom.js";
import { t } from "../util/translate.js";

/** Shorter searches find no messages. */
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
  const { conversationList, thread } = page;
  /** @type {Promise<import("./message_hits.js").MessageHits | undefined> | undefined} */
  let loading;
  const loadHits = () =>
    (loading ??= importAgain(() => import("./message_hits.js"), "elements/message_hits.js")
      .then((module) => module.startHits(chat, page))
      .catch(() => (loading = undefined)));
  const search = async () => {
    if (loading || [...conversationList.query].length >= TEXT_MIN) (await loadHits())?.search();
  };
  conversationList.addEventListener("query", search);
  void search(); // typed while the page loaded

  addOption(".find-messages", loadBar, ({ openFindBar }) => openFindBar(chat, thread));
  addOption(".go-to-date", loadQuestion, ({ askForDate }) => askForDate(chat, thread));
  thread.addEventListener("click", async ({ target }) => {
    const day = /** @type {Element} */ (target).closest(".day:not(.new)");
    if (day) (await loadQuestion().catch(() => undefined))?.askForDate(chat, thread, day);
  });
  addEventListener("keydown", async (/** @type {KeyboardEvent} */ event) => {
    // By position on the keyboard. Without Shift, the browser's own search opens.
    const isFind = (event.ctrlKey || event.metaKey) && event.shiftKey && !event.altKey && event.code === "KeyF";
    if (!isFind || chat.conversations.open === undefined || document.querySelector("dialog[open]")) return;
    event.preventDefault();
    (await loadBar().catch(() => undefined))?.openFindBar(chat, thread);
  });
}

const loadBar = () => whenReady(importAgain(() => import("./find_bar.js"), "elements/find_bar.js"));
const loadQuestion = () => whenReady(importAgain(() => import("./date_question.js"), "elements/date_question.js"));

/**
 * A module, once its texts and style are loaded too.
 * @template {{ ready: Promise<unknown> }} Module
 * @param {Promise<Module>} loading
 */
async function whenReady(loading) {
  const module = await loading;
  await module.ready;
  return module;
}

/**
 * Runs an option of the conversation's menu. Without a network, the menu stays open and shows an error.
 * @template Module
 * @param {string} selector
 * @param {() => Promise<Module>} load
 * @param {(module: Module) => unknown} run
 */
function addOption(selector, load, run) {
  const options = find(document, "#options");
  find(options, selector).addEventListener("click", async (/** @type {Event} */ event) => {
    event.stopPropagation(); // the header runs the others
    const module = await load().catch(() => undefined);
    setText(find(options, ".error"), module ? "" : t("no_connection"));
    if (!module) return;
    options.hidePopover();
    run(module);
  });
}
