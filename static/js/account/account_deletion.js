/** Deletes the account: asks for the password, then once more, and leaves nothing of the person in this browser. */

import { forgetAllBut, tellSignedOut } from "../store/places.js";
import { find, setText } from "../util/dom.js";
import { letShow } from "../util/password_showing.js";
import { word } from "../util/words.js";
import { ask, explain } from "./requests.js";
import { passes } from "./saying.js";

export class AccountDeletion extends HTMLElement {
  /** @type {HTMLFormElement} */
  #form = find(this, "form");
  /** @type {HTMLInputElement} */
  #password = find(this, "#last");
  /** @type {HTMLDialogElement} */
  #dialog = find(this, "dialog");
  #busy = false;

  /** Whose account it is. */
  name = "";

  connectedCallback() {
    this.#form.noValidate = true;
    letShow(this.#form);
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      const missing = this.#password.value ? undefined : () => word("error_password_missing");
      if (this.#busy || !passes([[this.#password, missing]])) return;
      setText(find(this, "#sure"), word("deletion_question", { name: this.name }));
      this.#dialog.returnValue = "";
      this.#dialog.showModal();
    });
    this.#dialog.addEventListener("close", () => {
      if (this.#dialog.returnValue === "delete") void this.#delete();
    });
  }

  async #delete() {
    this.#busy = true;
    try {
      await ask("/me/delete", { password: this.#password.value });
    } catch (error) {
      this.#busy = false;
      passes([[this.#password, explain(error)]]);
      return;
    }
    tellSignedOut();
    await forgetAllBut(undefined);
    location.replace("/login#farewell");
  }
}

customElements.define("account-deletion", AccountDeletion);
