/** Goes to a message, wherever it is in the history of the open conversation. Loaded on demand. */

import { t } from "../util/translate.js";
import { ready } from "./action_parts.js";
import { toast } from "./toast.js";

/** @import { Chat } from "../chat_model.js" */

/** Counts jumps: of several, the last one wins. */
let jumps = 0;

/**
 * Shows a message of the open conversation and highlights it for a moment. Resolves to whether it
 * could be shown; otherwise a toast says that it could not.
 * @param {{ chat: Chat, thread: import("./chat_thread.js").ChatThread }} page
 * @param {number} seq
 * @param {{ focuses?: boolean, isAtTop?: boolean }} [options] as for `ChatThread.showMessage`
 */
export async function goToMessage({ chat, thread }, seq, options) {
  const { conversations, history } = chat;
  const peer = conversations.open ?? "";
  const jump = ++jumps;
  const isCurrent = () => jump === jumps && conversations.open === peer;
  await ready;
  if (!isCurrent()) return false;
  const conversation = conversations.getOrCreate(peer);
  if (!conversation.view.has(seq)) {
    const page = await history.around(peer, seq);
    if (!isCurrent()) return false;
    if (!page) {
      thread.release();
      toast.show(t("message_missing"));
      return false;
    }
    history.showAround(peer, page);
  } else if (conversation.view.at(seq) === undefined) conversation.view.attach();
  const row = thread.showMessage(seq, options);
  for (const found of document.querySelectorAll(".message.found")) found.classList.remove("found");
  row?.classList.add("found");
  row?.addEventListener("animationend", () => row.classList.remove("found"), { once: true });
  return row !== null;
}
