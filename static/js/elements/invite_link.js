/**
 * Creates invitation links for admins: in the menu, and for the first account. Another first account gets the link of
 * the sign-up page if anyone may sign up. Loaded with either.
 */

import * as api from "../sync/api.js";
import { find, setText } from "../util/dom.js";
import { onTimeFormatChange } from "../util/time.js";
import { locale, t } from "../util/translate.js";

class InviteLink extends HTMLElement {
  /** @type {{ url: string, expires_at?: string } | undefined} */
  #link;
  #isAdmin = false;
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

  /** The role may have changed since the page loaded. */
  async #updateVisibility() {
    const me = await api.fetchAccount().catch(() => undefined);
    if (!me) return;
    this.#isAdmin = me.admin === true;
    this.hidden = !this.#isAdmin && (me.signup !== "open" || this.closest("[popover]") !== null);
  }

  async #create() {
    if (this.#isCreating) return;
    this.#isCreating = true;
    try {
      this.#link = this.#isAdmin ? await api.invite() : { url: `${location.origin}/signup` };
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
    const { expires_at: end } = this.#link;
    const date = end && new Date(end).toLocaleDateString(locale(), { day: "numeric", month: "long" });
    setText(find(this, ".until"), date ? t("invite_until", { date }) : "");
  }
}

customElements.define("invite-link", InviteLink);
