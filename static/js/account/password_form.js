/** Changes the password; the server then ends all other sessions. */

import { addPasswordToggle, find } from "../util/dom.js";
import { t } from "../util/translate.js";
import { announce, showFieldErrors } from "./announce.js";
import { explain, isRejection, send } from "./requests.js";

class PasswordForm extends HTMLElement {
  /** @type {HTMLFormElement} */
  #form = find(this, "form");
  /** @type {HTMLInputElement} */
  #old = find(this, "#old");
  /** @type {HTMLInputElement} */
  #new = find(this, "#new");
  /** @type {HTMLInputElement} */
  #again = find(this, "#again");
  #isBusy = false;

  connectedCallback() {
    // The browser's messages use its own language and disappear too soon.
    this.#form.noValidate = true;
    addPasswordToggle(this.#form);
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#change();
    });
  }

  async #change() {
    announce(find(this, ".done"));
    if (this.#isBusy || !showFieldErrors(this.#errors())) return;
    this.#isBusy = true;
    try {
      await send("/me/password", { old: this.#old.value, new: this.#new.value });
      this.#form.reset();
      announce(find(this, ".done"), () => t("password_changed"));
      document.dispatchEvent(new Event("sessionschange"));
    } catch (error) {
      showFieldErrors([[isRejection(error, "bad_password") ? this.#new : this.#old, explain(error)]]);
    }
    this.#isBusy = false;
  }

  /**
   * Errors that the page detects without the server.
   * @returns {[HTMLInputElement, (() => string) | undefined][]}
   */
  #errors() {
    const length = [...this.#new.value.normalize()].length;
    return [
      [this.#old, this.#old.value ? undefined : () => t("error_password_missing")],
      [this.#new, length >= 8 && length <= 128 ? undefined : () => t("error_bad_password")],
      [
        this.#again,
        this.#again.value.normalize() === this.#new.value.normalize() ? undefined : () => t("error_confirm"),
      ],
    ];
  }
}

customElements.define("password-form", PasswordForm);
