/** Asks for a date and shows the first message on or after it. Loaded on demand. */

import { dayKey } from "../util/time.js";
import { t } from "../util/translate.js";
import { make, openDialog } from "./dialogs.js";
import { goToMessage } from "./message_jump.js";
import { ready } from "./search_parts.js";

/** @import { Chat } from "../chat_model.js" */
/** @import { ChatThread } from "./chat_thread.js" */

export { ready };

/**
 * @param {Chat} chat
 * @param {ChatThread} thread
 * @param {Element} [day] the pill of the suggested day; today by default
 */
export async function askForDate(chat, thread, day) {
  const peer = chat.conversations.open;
  if (peer === undefined) return;
  const [title, about, error, label] = [
    make("h2", t("go_to_date")),
    make("p", t("date_about")),
    make("p"),
    make("label"),
  ];
  const [input, cancel, go] = [make("input"), make("button", t("cancel")), make("button", t("date_go"))];
  const today = dayKey(Date.now());
  title.id = "date-title";
  about.id = "date-about";
  error.id = "date-error";
  error.className = "error";
  error.setAttribute("role", "alert");
  input.type = "date";
  input.required = true;
  input.max = today;
  input.value = dayOf(day) ?? today;
  input.autofocus = true;
  input.setAttribute("aria-describedby", error.id); // the dialog is described by the rest
  label.append(make("span", t("date_label")), input);
  cancel.type = "button";
  go.className = "primary";
  const form = make("form");
  form.method = "dialog";
  form.noValidate = true; // the browser's messages would not be in the page's language
  form.append(title, about, label, error, cancel, go);
  const dialog = make("dialog");
  dialog.className = "question date-question";
  dialog.setAttribute("aria-labelledby", title.id);
  dialog.setAttribute("aria-describedby", about.id);
  dialog.append(form);
  const showError = (/** @type {"date_missing" | "no_connection"} */ key) => {
    error.textContent = t(key);
    input.setAttribute("aria-invalid", String(key === "date_missing"));
    input.focus(); // disabling the button has removed the focus from it
  };
  cancel.addEventListener("click", () => dialog.close());
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const [year = 0, month = 1, date = 1] = input.value.split("-").map(Number);
    if (input.value === "") return showError("date_missing");
    go.disabled = true;
    error.textContent = "";
    input.removeAttribute("aria-invalid");
    const seq = await chat.history.firstSince(peer, new Date(year, month - 1, date));
    go.disabled = false;
    if (seq === undefined) return showError("no_connection");
    dialog.close();
    if (chat.conversations.open !== peer) return;
    if (seq === 0) thread.focusLast();
    else await goToMessage({ chat, thread }, seq, { isAtTop: true });
  });
  await openDialog(dialog);
}

/**
 * The day of the message below a pill.
 * @param {Element | undefined} pill
 */
function dayOf(pill) {
  const at = pill?.nextElementSibling?.closest(".message")?.querySelector("time")?.dateTime;
  return at && dayKey(Date.parse(at));
}
