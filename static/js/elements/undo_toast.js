/** Puts off one act at a time, so that it can be undone while the toast is shown. Loaded on demand. */

import { t } from "../util/translate.js";
import { toast } from "./toast.js";

/** @typedef {{ commit: () => void, undo: () => void }} Act */

export class UndoToast {
  /** @type {(Act & { element: HTMLElement }) | undefined} */
  #act;
  #options;

  /** @param {Parameters<typeof toast.show>[1]} options of its toasts */
  constructor(options) {
    this.#options = options;
    addEventListener("pagehide", () => this.#commit());
    toast.on("hidden", (element) => {
      if (element === this.#act?.element) this.#commit();
    });
    onUndoKey(() => {
      if (!this.#act) return false;
      this.#undo();
      return true;
    });
  }

  /**
   * @param {string} text
   * @param {Act} [act] commits when the toast closes, or the page is left
   */
  show(text, act) {
    const element = toast.show(text, {
      ...this.#options,
      ...(act && { button: { name: t("undo"), run: () => this.#undo() } }),
    });
    this.#act = act && { ...act, element };
  }

  #commit() {
    const act = this.#act;
    this.#act = undefined;
    act?.commit();
  }

  #undo() {
    const act = this.#act;
    this.#act = undefined; // before it closes, which commits
    toast.hide(act?.element);
    act?.undo();
  }
}

/**
 * Calls `undo` on Ctrl+Z, unless the user is writing; it returns whether it undid something.
 * @param {() => boolean} undo
 */
export function onUndoKey(undo) {
  addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
    const isUndo = (event.ctrlKey || event.metaKey) && !event.shiftKey && !event.altKey && event.code === "KeyZ";
    const { target } = event;
    const isField =
      target instanceof HTMLTextAreaElement || (target instanceof HTMLInputElement && target.type !== "checkbox");
    if (!isUndo || event.defaultPrevented || (isField && target.value !== "")) return;
    if (undo()) event.preventDefault();
  });
}
