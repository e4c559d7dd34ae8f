/**
 * The privacy settings: hide read receipts and last seen; users who hide something do not see it of
 * others.
 */

import { find } from "../util/dom.js";
import { t } from "../util/translate.js";
import { announce } from "./announce.js";
import { explain, send } from "./requests.js";

/** @import { Me } from "./requests.js" */

export class PrivacyChoice extends HTMLElement {
  /** @type {NodeListOf<HTMLInputElement>} */
  #switches = this.querySelectorAll("input");

  connectedCallback() {
    for (const choice of this.#switches) choice.addEventListener("change", () => void this.#change(choice));
  }

  /** @param {Me} me as stored on the server */
  show(me) {
    for (const choice of this.#switches) {
      choice.checked = me[/** @type {"hide_read" | "hide_last_seen"} */ (choice.name)];
      choice.disabled = false;
    }
  }

  /** @param {HTMLInputElement} choice */
  async #change(choice) {
    announce(find(this, ".done"));
    announce(find(this, ".error"));
    try {
      await send("/me/settings", { [choice.name]: choice.checked });
      announce(find(this, ".done"), () => t("saved"));
    } catch (error) {
      choice.checked = !choice.checked;
      announce(find(this, ".error"), explain(error));
    }
  }
}

customElements.define("privacy-choice", PrivacyChoice);
