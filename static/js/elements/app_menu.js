/** The user's menu: notes, shortcuts, settings and signing out. */

import { openKeys } from "../navigation.js";
import * as api from "../sync/api.js";
import { find, setText } from "../util/dom.js";
import { t } from "../util/translate.js";

/**
 * @param {import("../chat_model.js").Chat} chat
 * @param {{ load: () => void, signOut: () => Promise<void> }} actions load: loads what only the menu shows; signOut: erases the user's data in this browser
 */
export function startMenu({ me, outbox }, { load, signOut }) {
  const menu = find(document, "#menu");
  const loadMenu = () => {
    void import("./invite_link.js").catch(() => {});
    load();
  };
  if (menu.matches(":popover-open"))
    loadMenu(); // the menu can open before its scripts have loaded
  else menu.addEventListener("beforetoggle", loadMenu, { once: true });
  setText(find(menu, ".name"), me);
  const notes = find(menu, ".notes");
  notes.href = `#${encodeURIComponent(me)}`;
  notes.addEventListener("click", () => menu.hidePopover());
  find(menu, ".keys").addEventListener("click", () => {
    menu.hidePopover();
    void openKeys();
  });
  /** @type {HTMLFormElement} */
  const form = find(menu, ".sign-out");
  for (const button of [find(menu, ".keys"), find(form, "button")]) button.disabled = false;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    await outbox.load(); // other tabs may have stored messages too
    if (outbox.size > 0 && !confirm(t("sign_out_unsent", { count: outbox.size }))) return;
    try {
      await api.me(); // signing out needs the server; otherwise the session would live on
    } catch (error) {
      const isIntercepted = error instanceof api.Intercepted;
      if (!(error instanceof api.SignedOut)) return alert(t(isIntercepted ? "trouble_intercepted" : "no_connection"));
    }
    await signOut();
    form.submit();
  });
}
