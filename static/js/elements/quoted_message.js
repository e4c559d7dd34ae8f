/** Fills quotes of a message that is not loaded. Loaded on demand. */

import * as api from "../sync/api.js";
import { t } from "../util/translate.js";
import { fillQuote } from "./message_extras.js";

/**
 * Requests a message of the open conversation and shows it in its quotes.
 * @param {import("../chat_model.js").Chat} chat
 * @param {HTMLElement} list of messages
 * @param {number} seq
 */
export async function loadQuoted({ me, conversations, loader, profiles }, list, seq) {
  const peer = conversations.open ?? "";
  const page = await loader.attempt(api.messages(me, peer, { limit: 1, before: seq + 1 }));
  const message = page?.[0]?.message;
  if (message?.seq !== seq || (conversations.open ?? "") !== peer) return;
  for (const quote of list.querySelectorAll(`.quote[data-seq="${seq}"]`))
    if (quote instanceof HTMLElement)
      fillQuote(quote, message, message.from === me ? t("from_me") : profiles.shown(message.from));
}
