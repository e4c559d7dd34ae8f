/** The options of a conversation; blocking asks for confirmation. Loaded on demand. */

import { failureText } from "../sync/api.js";
import { find, setText } from "../util/dom.js";
import { t } from "../util/translate.js";
import { make, openDialog } from "./dialogs.js";
import { listActions } from "./list_actions.js";

/** @import { Chat } from "../chat_model.js" */

/**
 * Runs the chosen option.
 * @param {Chat} chat
 * @param {string} name the peer
 * @param {Element} chosen the button, or an element within it
 */
export async function runOption(chat, name, chosen) {
  const place = chosen.getBoundingClientRect();
  find(document, "#options").hidePopover();
  if (chosen.closest(".block")) return askToBlock(chat, name);
  const actions = await listActions(chat);
  if (chosen.closest(".pin")) await actions.togglePin(name);
  else if (chosen.closest(".archive")) await actions.toggleArchive(name);
  else if (chosen.closest(".mark-unread")) await actions.markUnread(name);
  else if (chosen.closest(".mute")) actions.toggleMute(name, place, () => find(document, "chat-header .more").focus());
}

/**
 * Explains blocking and asks for confirmation.
 * @param {Chat} chat
 * @param {string} name
 */
async function askToBlock(chat, name) {
  const [title, about, error] = [
    make("h2", t("block_ask", { name: chat.profiles.full(name) })),
    make("p", t("block_about")),
    make("p"),
  ];
  const [cancel, confirm] = [make("button", t("cancel")), make("button", t("block"))];
  title.id = "block-title";
  about.id = "block-about";
  error.className = "error";
  error.setAttribute("role", "alert");
  cancel.className = "cancel";
  cancel.autofocus = true;
  confirm.className = "confirm";
  confirm.type = "button";
  const form = make("form");
  form.method = "dialog";
  form.append(title, about, error, cancel, confirm);
  const dialog = make("dialog");
  dialog.className = "question";
  dialog.setAttribute("aria-labelledby", title.id);
  dialog.setAttribute("aria-describedby", about.id);
  dialog.append(form);
  confirm.addEventListener("click", async () => {
    confirm.disabled = true;
    setText(error, "");
    try {
      await chat.people.block(name, true);
      dialog.close();
    } catch (failure) {
      confirm.disabled = false;
      setText(error, failureText(failure));
    }
  });
  await openDialog(dialog);
}
