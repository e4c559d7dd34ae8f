/** Asks before a message is deleted by emptying it. Loaded on demand. */

import { t } from "../util/translate.js";
import { make, openDialog } from "./dialogs.js";

/** @param {() => void} confirmed */
export async function askToDelete(confirmed) {
  const [title, about] = [make("h2", t("delete_ask")), make("p", t("delete_about"))];
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
