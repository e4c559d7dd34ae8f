/** In the menu of whoever runs this chat: makes a link for one more person, and shows it to be copied. Loaded with the menu. */

import * as api from "../sync/api.js";
import { find, setText } from "../util/dom.js";
import { onTimeFormatChange } from "../util/time.js";
import { errorText, locale, t } from "../util/translate.js";

class InviteLink extends HTMLElement {
  /** @type {{ url: string, expires_at: string } | undefined} */
  #link;
  #asking = false;
  #copied = false;
  #error = "";

  connectedCallback() {
    const menu = /** @type {HTMLElement} */ (this.closest("[popover]"));
    menu.addEventListener("beforetoggle", (event) => void (event.newState === "open" && this.#appear()));
    void this.#appear(); // the menu was opened before this was here
    find(this, ".ask").addEventListener("click", () => void this.#ask());
    find(this, ".copy").addEventListener("click", () => void this.#copy());
    find(this, "input").addEventListener("focus", () => find(this, "input").select());
    document.addEventListener("languagechange", () => this.#render());
    onTimeFormatChange(() => this.#render());
  }

  /** Only for whoever runs this chat, which may have changed since the page was loaded. */
  async #appear() {
    const { admin = false } = await api.account().catch(() => ({ admin: !this.hidden }));
    this.hidden = !admin;
  }

  async #ask() {
    if (this.#asking) return;
    this.#asking = true;
    try {
      this.#link = await api.invite();
      this.#error = "";
      this.#copied = false;
    } catch (error) {
      this.#link = undefined;
      this.#error = error instanceof api.Refused ? error.message : "unknown";
    }
    this.#asking = false;
    this.#render();
    if (this.#link) find(this, ".copy").focus();
  }

  async #copy() {
    const input = find(this, "input");
    try {
      await navigator.clipboard.writeText(input.value);
      this.#copied = true;
    } catch {
      input.select(); // where the page has no right to the clipboard, as over plain http, the old way may do
      this.#copied = document.execCommand("copy");
    }
    this.#render();
  }

  #render() {
    const error = find(this, ".error");
    error.dataset.error = this.#error;
    setText(error, this.#error && errorText(this.#error));
    find(this, ".made").hidden = !this.#link;
    if (!this.#link) return;
    find(this, "input").value = this.#link.url;
    setText(find(this, ".copy"), t(this.#copied ? "copied" : "copy"));
    const date = new Date(this.#link.expires_at).toLocaleDateString(locale(), { day: "numeric", month: "long" });
    setText(find(this, ".until"), t("invite_until", { date }));
  }
}

customElements.define("invite-link", InviteLink);
