/** The row above the list that opens the archive, and the heading with which the archive replaces it. */

import { find, setText } from "../util/dom.js";
import { t } from "../util/translate.js";

/** As many as the server counts. */
const COUNT_MAX = 1_000;

export class ArchiveView {
  isOpen = false;
  #row;
  #head;
  #empty;
  #changed;

  /**
   * @param {HTMLElement} list
   * @param {() => void} changed called when the archive opens or closes
   */
  constructor(list, changed) {
    this.#changed = changed;
    this.#row = find(list, ".archive-row");
    this.#head = find(list, ".archive-head");
    this.#empty = find(list, ".archive-empty");
    this.#row.addEventListener("click", () => this.open());
    find(this.#head, "button").addEventListener("click", () => this.close());
    addEventListener("popstate", () => {
      if (location.hash === "") this.#set(history.state?.archive === true);
    });
  }

  /** Opens the archive. Without an open conversation, going back in the browser closes it. */
  open() {
    if (this.isOpen) return;
    if (location.hash === "") history.pushState({ archive: true }, "");
    this.#set(true);
    find(this.#head, "button").focus();
  }

  close() {
    if (!this.isOpen) return;
    if (location.hash === "" && history.state?.archive === true) history.back();
    this.#set(false);
    if (!this.#row.hidden) this.#row.focus();
  }

  /**
   * @param {{ count: number, isSearching: boolean }} state count: of archived conversations
   */
  render({ count, isSearching }) {
    this.#row.hidden = this.isOpen || isSearching || count === 0;
    this.#head.hidden = !this.isOpen || isSearching;
    this.#empty.hidden = this.#head.hidden || count > 0;
    setText(find(this.#row, ".count"), count < COUNT_MAX ? String(count) : t("many", { count: COUNT_MAX - 1 }));
  }

  /** @param {boolean} isOpen */
  #set(isOpen) {
    if (this.isOpen === isOpen) return;
    this.isOpen = isOpen;
    this.#changed();
  }
}
