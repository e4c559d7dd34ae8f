/** Creates invitation links, for admins: in the menu, and for the first account. Loaded with either. */

import * as api from "../sync/api.js";
import { find, setText } from "../util/dom.js";
import { onTimeFormatChange } from "../util/time.js";
import { locale, t } from "../util/translate.js";

class InviteLink extends HTMLElement {
  /** @type {{ url: string, expires_at: string } | undefined} */
  #link;
  #isCreating = false;
  #isCopied = false;
  /** @type {unknown} */
  #error;

  connectedCallback() {
    const menu = /** @type {HTMLElement | null} */ (this.closest("[popover]"));
    menu?.addEventListener("beforetoggle", (event) => void (event.newState === "open" && this.#updateVisibility()));
    void this.#updateVisibility(); // the menu was opened before this script loaded
    find(this, ".ask").addEventListener("click", () => void this.#create());
    find(this, ".copy").addEventListener("click", () => void this.#copy());
    find(this, "input").addEventListener("focus", () => find(this, "input").select());
    document.addEventListener("languagechange", () => this.#render());
    onTimeFormatChange(() => this.#render());
  }

  /** Shows the element to admins only; the role may have changed since the page loaded. */
  async #updateVisibility() {
    const { admin = false } = await api.fetchAccount().catch(() => ({ admin: !this.hidden }));
    this.hidden = !admin;
  }

  async #create() {
    if (this.#isCreating) return;
    this.#isCreating = true;
    try {
      this.#link = await api.invite();
      this.#error = undefined;
      this.#isCopied = false;
    } catch (error) {
      this.#link = undefined;
      this.#error = error;
    }
    this.#isCreating = false;
    this.#render();
    if (!this.#link) return;
    find(this, ".copy").focus();
    if (!this.closest("[popover]")) await this.#copy(); // as its button there says
  }

  async #copy() {
    const input = find(this, "input");
    try {
      await navigator.clipboard.writeText(input.value);
      this.#isCopied = true;
    } catch {
      input.select(); // without clipboard permission, as on plain http, `execCommand` may work
      this.#isCopied = document.execCommand("copy");
    }
    this.#render();
  }

  #render() {
    const error = find(this, ".error");
    error.dataset.error = this.#error ? "failed" : "";
    setText(error, this.#error ? api.failureText(this.#error) : "");
    find(this, ".made").hidden = !this.#link;
    if (!this.#link) return;
    find(this, "input").value = this.#link.url;
    setText(find(this, ".copy"), t(this.#isCopied ? "copied" : "copy"));
    const date = new Date(this.#link.expires_at).toLocaleDateString(locale(), { day: "numeric", month: "long" });
    setText(find(this, ".until"), t("invite_until", { date }));
  }
}

customElements.define("invite-link", InviteLink);
