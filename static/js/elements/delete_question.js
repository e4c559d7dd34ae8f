/** Asks before a message is deleted by emptying it, or several at once. Loaded on demand. */

import { t } from "../util/translate.js";
import { make, openDialog } from "./dialogs.js";

/**
 * @param {() => void} confirmed
 * @param {number} [count] of messages
 */
export async function askToDelete(confirmed, count = 1) {
  const [title, about] = [make("h2", t("delete_ask", { count })), make("p", t("delete_about", { count }))];
  const [cancel, confirm] = [make("button", t("cancel")), make("button", t("delete"))];
  title.id = "delete-title";
  about.id = "delete-about";
  cancel.className = "cancel";
  cancel.autofocus = true;
  confirm.className = "confirm";
  confirm.addEventListener("click", confirmed);
  const form = make("form");
  form.method = "dialog";
  form.append(title, about, cancel, confirm);
  const dialog = make("dialog");
  dialog.className = "question";
  dialog.setAttribute("aria-labelledby", title.id);
  dialog.setAttribute("aria-describedby", about.id);
  dialog.append(form);
  await openDialog(dialog);
}
