/** The bar beside the message under the pointer: react, reply, more. Loaded on demand. */

import { find } from "../util/dom.js";
import { t } from "../util/translate.js";
import { iconButton } from "./action_parts.js";

/**
 * @typedef {object} BarActs
 * @property {(row: HTMLElement) => boolean} canShow
 * @property {(row: HTMLElement) => void} react
 * @property {(row: HTMLElement) => void} reply
 * @property {(row: HTMLElement) => void} more
 */

const GAP_PX = 8;

export class MessageBar {
  #acts;
  /** @type {HTMLElement} */
  #element = document.createElement("div");

  /**
   * @param {HTMLElement} list of messages
   * @param {BarActs} acts
   */
  constructor(list, acts) {
    this.#acts = acts;
    this.#element.className = "message-bar";
    this.#fill();
    document.addEventListener("languagechange", () => this.#fill());
    list.addEventListener("pointerover", (event) => {
      if (event.pointerType === "mouse") this.show(rowOf(event.target));
    });
    list.addEventListener("pointerleave", () => this.hide());
  }

  /** Shows the bar at a message. @param {HTMLElement | null} row */
  show(row) {
    if (!row || rowOf(this.#element) === row) return;
    if (!this.#acts.canShow(row)) return this.hide();
    const bubble = find(row, ".bubble");
    bubble.append(this.#element);
    // Beside the bubble it covers nothing.
    const room = row.clientWidth - bubble.clientWidth;
    this.#element.classList.toggle("above", room < this.#element.clientWidth + GAP_PX);
  }

  hide() {
    this.#element.remove();
  }

  #fill() {
    const buttons = /** @type {const} */ (["smile-plus", "reply", "ellipsis"]).map((iconName, index) => {
      const act = /** @type {const} */ (["react", "reply", "more"])[index] ?? "more";
      const button = iconButton(iconName, t(act));
      button.classList.add(act);
      button.tabIndex = -1; // the keyboard opens the menu instead
      button.addEventListener("click", () => {
        const row = rowOf(this.#element);
        if (row) this.#acts[act](row);
      });
      return button;
    });
    this.#element.replaceChildren(...buttons);
  }
}

/** The message that contains an element. @param {EventTarget | null} target @returns {HTMLElement | null} */
export function rowOf(target) {
  return target instanceof Element ? target.closest(".message") : null;
}
