/** Changes the password; the server then ends all sessions but this one. */

import { find } from "../util/dom.js";
import { letShow } from "../util/password_showing.js";
import { word } from "../util/words.js";
import { ask, explain, isRefusal } from "./requests.js";
import { passes, say } from "./saying.js";

class PasswordForm extends HTMLElement {
  /** @type {HTMLFormElement} */
  #form = find(this, "form");
  /** @type {HTMLInputElement} */
  #old = find(this, "#old");
  /** @type {HTMLInputElement} */
  #new = find(this, "#new");
  /** @type {HTMLInputElement} */
  #again = find(this, "#again");
  #busy = false;

  connectedCallback() {
    this.#form.noValidate = true; // the browser's bubbles speak another language and go away too soon
    letShow(this.#form);
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#change();
    });
  }

  async #change() {
    say(find(this, ".done"));
    if (this.#busy || !passes(this.#faults())) return;
    this.#busy = true;
    try {
      await ask("/me/password", { old: this.#old.value, new: this.#new.value });
      this.#form.reset();
      say(find(this, ".done"), () => word("password_changed"));
      document.dispatchEvent(new Event("sessionschange"));
    } catch (error) {
      passes([[isRefusal(error, "bad_password") ? this.#new : this.#old, explain(error)]]);
    }
    this.#busy = false;
  }

  /** What can be known without the server to be wrong. @returns {[HTMLInputElement, (() => string) | undefined][]} */
  #faults() {
    const length = [...this.#new.value.normalize()].length;
    return [
      [this.#old, this.#old.value ? undefined : () => word("error_password_missing")],
      [this.#new, length >= 8 && length <= 128 ? undefined : () => word("error_bad_password")],
      [
        this.#again,
        this.#again.value.normalize() === this.#new.value.normalize() ? undefined : () => word("error_confirm"),
      ],
    ];
  }
}

customElements.define("password-form", PasswordForm);
