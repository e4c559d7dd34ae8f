/** The options of a conversation: mute, and block after confirmation. Loaded on demand. */

import { cloneTemplate, find, setText } from "../util/dom.js";
import { t } from "../util/translate.js";

/** @import { Messenger } from "../store/messenger.js" */

/**
 * Runs the chosen option.
 * @param {Messenger} messenger
 * @param {string} name the peer
 * @param {EventTarget | null} chosen the button
 */
export async function runOption(messenger, name, chosen) {
  const options = find(document, "#options");
  if (chosen === find(options, ".block")) {
    options.hidePopover();
    askToBlock(messenger, name);
  } else if (chosen === find(options, ".mute")) await mute(messenger, name, options);
}

/**
 * @param {Messenger} messenger
 * @param {string} name
 * @param {HTMLElement} options
 */
async function mute(messenger, name, options) {
  const error = find(options, ".error");
  options.hidePopover();
  setText(error, "");
  try {
    await messenger.mute(name, !messenger.conversation(name).muted);
  } catch {
    setText(error, t("no_connection"));
    if (messenger.open === name) options.showPopover();
  }
}

/**
 * Explains blocking and asks for confirmation.
 * @param {Messenger} messenger
 * @param {string} name
 */
function askToBlock(messenger, name) {
  const dialog = /** @type {HTMLDialogElement} */ (cloneTemplate("block-question"));
  const [error, button] = [find(dialog, ".error"), find(dialog, ".do")];
  setText(find(dialog, "h2"), t("block_ask", { name }));
  button.addEventListener("click", async () => {
    button.disabled = true;
    setText(error, "");
    try {
      await messenger.block(name);
      dialog.close();
    } catch {
      button.disabled = false;
      setText(error, t("no_connection"));
    }
  });
  document.body.append(dialog);
  dialog.showModal();
  dialog.addEventListener("close", () => dialog.remove());
}
