/** The toast after an act, which can be undone while it is shown. Loaded on demand. */

import { t } from "../util/translate.js";

const SHOWN_MS = 5_000;

/** Puts off one act at a time, so that it can be undone. */
export class UndoToast {
  /** @type {HTMLElement | undefined} */
  #toast;
  /** @type {{ commit: () => void, undo: () => void } | undefined} */
  #act;
  /** @type {any} */
  #timer;

  constructor() {
    addEventListener("pagehide", () => this.commit());
    addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
      const isUndo = (event.ctrlKey || event.metaKey) && !event.shiftKey && !event.altKey && event.code === "KeyZ";
      const isWriting = event.target instanceof HTMLTextAreaElement && event.target.value !== "";
      if (!isUndo || isWriting || !this.#act) return;
      event.preventDefault();
      this.#undo();
    });
  }

  /**
   * Shows a text for five seconds, longer while the pointer or the focus is on it.
   * @param {string} text
   * @param {{ commit: () => void, undo: () => void }} [act] commits at the end, when the page is left, or before the next one
   * @param {Element | null} [pane] the part of the page that shows it
   */
  show(text, act, pane = document.querySelector("chat-thread")) {
    this.commit();
    this.#act = act;
    const toast = document.createElement("div");
    toast.className = "toast";
    toast.setAttribute("role", "status");
    const message = document.createElement("span");
    toast.append(message);
    if (act) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = t("undo");
      button.addEventListener("click", () => this.#undo());
      toast.append(button);
    }
    for (const type of ["pointerenter", "focusin"]) toast.addEventListener(type, () => clearTimeout(this.#timer));
    for (const type of ["pointerleave", "focusout"]) toast.addEventListener(type, () => this.#wait());
    pane?.append(toast);
    message.textContent = text; // after the element is in the document, so that screen readers announce it
    this.#toast = toast;
    this.#wait();
  }

  /** Ends the delay. */
  commit() {
    this.#close()?.commit();
  }

  #undo() {
    this.#close()?.undo();
  }

  #wait() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.commit(), SHOWN_MS);
  }

  #close() {
    clearTimeout(this.#timer);
    this.#toast?.remove();
    this.#toast = undefined;
    const act = this.#act;
    this.#act = undefined;
    return act;
  }
}
