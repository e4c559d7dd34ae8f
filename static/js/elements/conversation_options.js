/** The options of a conversation: mute, and block after confirmation. Loaded on demand. */

import { failureText } from "../sync/api.js";
import { cloneTemplate, find, setText } from "../util/dom.js";
import { t } from "../util/translate.js";

/** @import { Chat } from "../chat_model.js" */

/**
 * Runs the chosen option.
 * @param {Chat} chat
 * @param {string} name the peer
 * @param {Element} chosen the button, or an element within it
 */
export async function runOption(chat, name, chosen) {
  const options = find(document, "#options");
  if (chosen.closest(".block")) {
    options.hidePopover();
    askToBlock(chat, name);
  } else if (chosen.closest(".mute")) await mute(chat, name, options);
}

/**
 * @param {Chat} chat
 * @param {string} name
 * @param {HTMLElement} options
 */
async function mute(chat, name, options) {
  const error = find(options, ".error");
  options.hidePopover();
  setText(error, "");
  try {
    await chat.people.mute(name, !chat.conversations.getOrCreate(name).isMuted);
  } catch (failure) {
    setText(error, failureText(failure));
    if (chat.conversations.open === name) options.showPopover();
  }
}

/**
 * Explains blocking and asks for confirmation.
 * @param {Chat} chat
 * @param {string} name
 */
function askToBlock(chat, name) {
  const dialog = /** @type {HTMLDialogElement} */ (cloneTemplate("block-question"));
  const [error, button] = [find(dialog, ".error"), find(dialog, ".confirm")];
  setText(find(dialog, "h2"), t("block_ask", { name }));
  button.addEventListener("click", async () => {
    button.disabled = true;
    setText(error, "");
    try {
      await chat.people.block(name, true);
      dialog.close();
    } catch (failure) {
      button.disabled = false;
      setText(error, failureText(failure));
    }
  });
  document.body.append(dialog);
  dialog.showModal();
  dialog.addEventListener("close", () => dialog.remove());
}
