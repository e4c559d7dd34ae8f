/**
 * Deletes the account after asking for the password and a confirmation, and erases the user's data
 * in this browser.
 */

import { broadcastSignOut, eraseAllExcept } from "../store/browser_storage.js";
import { addPasswordToggle, find, setText } from "../util/dom.js";
import { t } from "../util/translate.js";
import { showFieldErrors } from "./announce.js";
import { explain, send } from "./requests.js";

export class AccountDeletion extends HTMLElement {
  /** @type {HTMLFormElement} */
  #form = find(this, "form");
  /** @type {HTMLInputElement} */
  #password = find(this, "#deletion_password");
  /** @type {HTMLDialogElement} */
  #dialog = find(this, "dialog");
  #isBusy = false;

  /** The account's name. */
  name = "";

  connectedCallback() {
    this.#form.noValidate = true;
    addPasswordToggle(this.#form);
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      const missing = this.#password.value ? undefined : () => t("error_password_missing");
      if (this.#isBusy || !showFieldErrors([[this.#password, missing]])) return;
      setText(find(this, "#deletion_question"), t("deletion_question", { name: this.name }));
      this.#dialog.returnValue = "";
      this.#dialog.showModal();
    });
    this.#dialog.addEventListener("close", () => {
      if (this.#dialog.returnValue === "delete") void this.#delete();
    });
  }

  async #delete() {
    this.#isBusy = true;
    try {
      await send("/me/delete", { password: this.#password.value });
    } catch (error) {
      this.#isBusy = false;
      showFieldErrors([[this.#password, explain(error)]]);
      return;
    }
    broadcastSignOut();
    await eraseAllExcept(undefined);
    location.replace("/login#farewell");
  }
}

customElements.define("account-deletion", AccountDeletion);
