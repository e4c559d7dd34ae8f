/** Selects several messages of the open conversation, to act on them at once. Loaded on demand. */

import { Emitter } from "../util/emitter.js";
import { nameKey } from "../util/names.js";
import { rowOf } from "./message_bar.js";
import { focusMessage, messageLabel } from "./message_row.js";
import { SelectionBar } from "./selection_bar.js";

/** @import { Chat } from "../chat_model.js" */
/** @import { Message } from "../store/conversation.js" */
/** @import { SelectionAct } from "./selection_bar.js" */

export const SELECTED_MAX = 100;

/**
 * - `act`: the user chose what to do with the selected messages
 * - `full`: no more can be selected
 * @extends {Emitter<{ act: SelectionAct, full: void }>}
 */
export class MessageSelection extends Emitter {
  #chat;
  #list;
  #bar;
  #canDelete;
  /** @type {Set<number>} */
  #seqs = new Set();
  /** Where a range starts: the message selected or deselected last. */
  #anchor = 0;
  /** @type {string | undefined} set while selecting */
  #peer;
  /** Rows appear while the user scrolls. */
  #rows = new MutationObserver(() => this.#render());

  /**
   * @param {Chat} chat
   * @param {HTMLElement} list of messages
   * @param {(messages: Message[]) => boolean} canDelete
   */
  constructor(chat, list, canDelete) {
    super();
    this.#chat = chat;
    this.#list = list;
    this.#canDelete = canDelete;
    this.#bar = new SelectionBar();
    this.#bar.on("act", (act) => this.emit("act", act));
    this.#bar.on("close", () => this.stop());
    list.addEventListener("click", (event) => this.#onClick(event), { capture: true });
    list.addEventListener("focusin", ({ target }) => {
      // The focused row is not announced as selected or not; its checkbox is.
      if (this.isActive && target instanceof HTMLElement && target === rowOf(target)) checkboxOf(target)?.focus();
    });
    list.addEventListener("keydown", (event) => this.#onKey(event), { capture: true });
    list.closest(".open")?.addEventListener(
      "keydown",
      (event) => {
        if (!this.isActive || !(event instanceof KeyboardEvent) || event.key !== "Escape") return;
        event.preventDefault();
        event.stopPropagation(); // otherwise it would also leave the conversation
        this.stop();
      },
      { capture: true },
    );
    chat.conversations.on("opened", (peer) => {
      if (this.isActive && peer !== this.#peer) this.stop();
    });
    chat.conversations.on("conversation", (peer) => {
      if (this.#peer !== undefined && nameKey(peer) === nameKey(this.#peer)) this.#render();
    });
    document.addEventListener("languagechange", () => this.isActive && this.#render());
  }

  get isActive() {
    return this.#peer !== undefined;
  }

  /** The selected messages that still exist, oldest first. */
  get messages() {
    const conversation = this.#chat.conversations.getOrCreate(this.#peer ?? "");
    return [...this.#seqs]
      .toSorted((a, b) => a - b)
      .map((seq) => conversation.message(seq))
      .filter((message) => message !== undefined)
      .filter(({ deleted }) => !deleted);
  }

  /** Starts with one message. @param {HTMLElement} row */
  start(row) {
    this.#peer = this.#chat.conversations.open;
    this.#list.classList.add("selecting");
    this.#bar.show();
    this.#rows.observe(this.#list, { childList: true });
    this.#toggle(seqOf(row), true);
    checkboxOf(row)?.focus({ preventScroll: true });
  }

  /** Deselects all; the focus stays at its message. */
  stop() {
    if (!this.isActive) return;
    const focused = rowOf(document.activeElement);
    const hadFocus = focused !== null || this.#bar.hasFocus;
    const last = this.#list.querySelector(`[data-seq="${this.#anchor}"]`);
    this.#peer = undefined;
    this.#rows.disconnect();
    this.#seqs.clear();
    this.#list.classList.remove("selecting");
    for (const box of this.#list.querySelectorAll(".select")) box.remove();
    this.#bar.hide();
    if (hadFocus) focusMessage(focused ?? last);
  }

  /**
   * @param {number} seq
   * @param {boolean} isSelected
   */
  #toggle(seq, isSelected) {
    if (!isSelected) this.#seqs.delete(seq);
    else if (this.#seqs.size < SELECTED_MAX) this.#seqs.add(seq);
    else if (!this.#seqs.has(seq)) this.emit("full");
    this.#anchor = seq;
    this.#render();
  }

  /** Selects the messages from the anchor to another one. @param {number} to */
  #selectRange(to) {
    const from = this.#anchor;
    const conversation = this.#chat.conversations.getOrCreate(this.#peer ?? "");
    const step = to < from ? -1 : 1;
    for (let seq = from; seq !== to + step; seq += step) {
      const message = conversation.message(seq);
      if (!message || message.deleted || this.#seqs.has(seq)) continue;
      if (this.#seqs.size === SELECTED_MAX) {
        this.emit("full");
        break;
      }
      this.#seqs.add(seq);
    }
    this.#anchor = to;
    this.#render();
  }

  /** @param {MouseEvent} event */
  #onClick(event) {
    const row = rowOf(event.target);
    if (!this.isActive || !row) return;
    const box = checkboxOf(row);
    event.stopPropagation(); // neither a quote nor a reaction
    if (event.target !== box) event.preventDefault(); // nor a link
    if (!box) return;
    const seq = seqOf(row);
    if (event.shiftKey && this.#anchor > 0) this.#selectRange(seq);
    else this.#toggle(seq, !this.#seqs.has(seq));
    // A click on the checkbox itself toggles it only now.
    queueMicrotask(() => this.#render());
    box.focus({ preventScroll: true });
  }

  /** @param {KeyboardEvent} event */
  #onKey(event) {
    const row = rowOf(event.target);
    if (!this.isActive || !row || event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.key === "Enter") {
      this.#toggle(seqOf(row), !this.#seqs.has(seqOf(row)));
    } else if (event.shiftKey && /^Arrow(?:Up|Down)$/.test(event.key)) {
      let next = event.key === "ArrowUp" ? row.previousElementSibling : row.nextElementSibling;
      while (next && !(next instanceof HTMLElement && checkboxOf(next)))
        next = event.key === "ArrowUp" ? next.previousElementSibling : next.nextElementSibling;
      if (!(next instanceof HTMLElement)) return;
      this.#toggle(seqOf(row), true);
      this.#toggle(seqOf(next), true);
      checkboxOf(next)?.focus();
    } else return;
    event.preventDefault();
    event.stopPropagation();
  }

  #render() {
    if (!this.isActive) return;
    const { messages } = this;
    const selected = new Set(messages.map(({ seq }) => seq));
    const conversation = this.#chat.conversations.getOrCreate(this.#peer ?? "");
    for (const row of this.#list.querySelectorAll(".message")) {
      if (!(row instanceof HTMLElement)) continue;
      const seq = seqOf(row);
      const message = seq > 0 ? conversation.message(seq) : undefined;
      let box = checkboxOf(row);
      if (!message || message.deleted) {
        if (box === document.activeElement) focusMessage(row);
        box?.remove();
        continue;
      }
      if (!box) row.prepend((box = makeCheckbox()));
      box.checked = selected.has(seq);
      box.setAttribute("aria-label", messageLabel(row));
    }
    this.#bar.render({ count: messages.length, canDelete: messages.length > 0 && this.#canDelete(messages) });
  }
}

function makeCheckbox() {
  const box = document.createElement("input");
  box.type = "checkbox";
  box.className = "select";
  box.tabIndex = -1; // arrow keys move between them
  return box;
}

/** @param {HTMLElement} row */
function seqOf(row) {
  return Number(row.dataset.seq);
}

/** @param {Element} row @returns {HTMLInputElement | null} */
function checkboxOf(row) {
  return row.querySelector(":scope > .select");
}
