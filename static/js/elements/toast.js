/** The toast: a short text over the pane on screen, perhaps with a button. Loaded on demand. */

import { Emitter } from "../util/emitter.js";

const SHOWN_MS = 5_000;

/**
 * - `held`: the pointer or the focus is on it, or no longer
 * - `hidden`: it was closed, or replaced by another one
 * @extends {Emitter<{ held: { element: HTMLElement, isHeld: boolean }, hidden: HTMLElement }>}
 */
class Toast extends Emitter {
  /** @type {HTMLElement | undefined} */
  #element;
  /** @type {"chat-thread" | "conversation-list"} */
  #pane = "chat-thread";
  /** @type {any} */
  #timer;

  constructor() {
    super();
    addEventListener("hashchange", () => this.#move());
  }

  /** Whether one is shown. */
  get isShown() {
    return this.#element !== undefined;
  }

  /**
   * Shows a text, in place of an earlier one.
   * @param {string} text
   * @param {object} [options]
   * @param {{ name: string, run: () => void }} [options.button]
   * @param {boolean} [options.staysOpen] until `hide`; otherwise five seconds, longer while it is held
   * @param {"chat-thread" | "conversation-list"} [options.pane] where it is shown, if that is on screen
   * @returns {HTMLElement} what is shown
   */
  show(text, { button, staysOpen = false, pane = "chat-thread" } = {}) {
    this.hide();
    this.#pane = pane;
    const toast = document.createElement("div");
    toast.className = "toast";
    toast.setAttribute("role", "status");
    const message = document.createElement("span");
    toast.append(message);
    if (button) {
      const element = document.createElement("button");
      element.type = "button";
      element.textContent = button.name;
      element.addEventListener("click", button.run);
      toast.append(element);
    }
    for (const type of ["pointerenter", "focusin"]) toast.addEventListener(type, () => this.#hold(true, staysOpen));
    for (const type of ["pointerleave", "focusout"]) toast.addEventListener(type, () => this.#hold(false, staysOpen));
    this.#element = toast;
    this.#move();
    message.textContent = text; // after the element is in the document, so that screen readers announce it
    if (!staysOpen) this.#wait();
    return toast;
  }

  /** @param {HTMLElement} [element] only this one */
  hide(element = this.#element) {
    if (!element || element !== this.#element) return;
    clearTimeout(this.#timer);
    const hadFocus = element.contains(document.activeElement);
    this.#element = undefined; // before `focusout`
    element.remove();
    this.emit("hidden", element);
    if (hadFocus) /** @type {HTMLElement | null} */ (document.querySelector("chat-thread .scroller"))?.focus();
  }

  /**
   * @param {boolean} isHeld
   * @param {boolean} staysOpen
   */
  #hold(isHeld, staysOpen) {
    if (!this.#element) return;
    clearTimeout(this.#timer);
    if (!isHeld && !staysOpen) this.#wait();
    this.emit("held", { element: this.#element, isHeld });
  }

  #wait() {
    this.#timer = setTimeout(() => this.hide(), SHOWN_MS);
  }

  /** Shows it in its pane, or in the one on screen. */
  #move() {
    const panes = document.querySelectorAll("chat-thread, conversation-list");
    const visible = [...panes].filter((each) => each.checkVisibility());
    const pane = visible.find((each) => each.localName === this.#pane) ?? visible[0];
    if (this.#element && this.#element.parentElement !== pane) pane?.append(this.#element);
  }
}

/** One at a time. */
export const toast = new Toast();
