/** The bar in place of the header while messages are selected. Loaded on demand. */

import { setText } from "../util/dom.js";
import { Emitter } from "../util/emitter.js";
import { t } from "../util/translate.js";
import { iconButton } from "./action_parts.js";

/** @typedef {"copy" | "copy_quote" | "forward" | "delete"} SelectionAct */

/** @type {[SelectionAct, Parameters<typeof iconButton>[0]][]} */
const ACTS = [
  ["copy", "copy"],
  ["copy_quote", "quote"],
  ["forward", "forward"],
  ["delete", "trash-2"],
];

/**
 * - `act`: what to do with the selected messages
 * - `close`: the user stops selecting
 * @extends {Emitter<{ act: SelectionAct, close: void }>}
 */
export class SelectionBar extends Emitter {
  /** @type {HTMLElement | undefined} */
  #element;
  /** The number alone is shown where the words have no room. */
  #number = document.createElement("span");
  #words = document.createElement("span");
  /** @type {Map<SelectionAct, HTMLButtonElement>} */
  #buttons = new Map();

  get hasFocus() {
    return this.#element?.contains(document.activeElement) === true;
  }

  show() {
    const header = document.querySelector("chat-header");
    const bar = document.createElement("div");
    bar.classList.add("bar", "selection-bar");
    bar.setAttribute("role", "group");
    const close = iconButton("x", t("select_cancel"));
    close.classList.add("round");
    close.addEventListener("click", () => this.emit("close"));
    const status = document.createElement("p");
    status.className = "count";
    status.setAttribute("role", "status");
    this.#number.className = "number";
    this.#number.setAttribute("aria-hidden", "true");
    this.#words.className = "words";
    status.append(this.#number, this.#words);
    const acts = document.createElement("div");
    acts.className = "acts";
    this.#buttons = new Map(
      ACTS.map(([act, name]) => {
        const button = iconButton(name, t(act));
        button.classList.add("round", act);
        button.addEventListener("click", () => this.emit("act", act));
        return [act, button];
      }),
    );
    acts.append(...this.#buttons.values());
    bar.append(close, status, acts);
    this.#element = bar;
    header?.before(bar);
  }

  hide() {
    this.#element?.remove();
    this.#element = undefined;
  }

  /** @param {{ count: number, canDelete: boolean }} selected */
  render({ count, canDelete }) {
    this.#element?.setAttribute("aria-label", t("select_label"));
    setText(this.#number, String(count));
    setText(this.#words, t("selected", { count }));
    for (const [act, button] of this.#buttons) button.disabled = count === 0 || (act === "delete" && !canDelete);
    const button = this.#buttons.get("delete");
    if (button) button.title = count > 0 && !canDelete ? t("delete_only_own") : t("delete");
  }
}
