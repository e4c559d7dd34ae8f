/** The dialog of keyboard shortcuts. Loaded on demand. */

import { safeLocalStorage, SINGLE_KEYS } from "../store/browser_storage.js";
import { t } from "../util/translate.js";
import { ready } from "./action_parts.js";
import { make, openDialog } from "./dialogs.js";

/** @import { TranslationKey } from "../util/translate.js" */

/** @type {[keys: string[], what: TranslationKey][]} */
const KEYS = [
  [["/", "Ctrl K"], "search_label"],
  [["Ctrl Shift F"], "keys_find"],
  [["↑", "↓"], "keys_move"],
  [["Alt ↑"], "keys_read"],
  [["Enter"], "keys_menu"],
  [["→", "Shift F10"], "keys_entry"],
  [["←", "→"], "keys_within"],
  [["↑"], "keys_edit"],
  [["Ctrl Z"], "keys_undo"],
  [["Home", "End"], "keys_ends"],
  [["Esc"], "keys_back"],
  [["Enter", "Ctrl Enter"], "keys_send"],
  [["Shift Enter"], "keys_break"],
  [["?"], "keys_sheet"],
];

/** Opens the dialog; closing it restores the focus. */
export async function openKeys() {
  await ready;
  const title = make("h2", t("keys_title"));
  title.id = "keys-title";
  title.tabIndex = -1;
  title.autofocus = true; // focusing the button below would scroll a small screen past the list
  const list = document.createElement("dl");
  for (const [keys, what] of KEYS) {
    const row = document.createElement("div");
    const names = document.createElement("dt");
    names.append(...keys.map((key) => make("kbd", key)));
    row.append(names, make("dd", t(what)));
    list.append(row);
  }
  const close = make("button", t("close"));
  close.className = "primary";
  const form = document.createElement("form");
  form.method = "dialog";
  form.append(singleKeys(), close);
  const sheet = document.createElement("dialog");
  sheet.className = "keys-sheet";
  sheet.setAttribute("aria-labelledby", title.id);
  sheet.append(title, list, form);
  sheet.addEventListener("click", (event) => {
    if (event.target === sheet) sheet.close(); // the backdrop
  });
  await openDialog(sheet);
}

function singleKeys() {
  const box = document.createElement("input");
  box.type = "checkbox";
  box.checked = safeLocalStorage().getItem(SINGLE_KEYS) !== "off";
  box.addEventListener("change", () => {
    try {
      safeLocalStorage().setItem(SINGLE_KEYS, box.checked ? "on" : "off");
    } catch {
      // Storage is forbidden, so the choice has no effect.
    }
  });
  const label = make("label", t("keys_single", { keys: "/ ?" }));
  label.prepend(box);
  return label;
}
