/** Deletes messages after a few seconds in which that can be undone. Loaded on demand. */

import { t } from "../util/translate.js";
import { toast } from "./toast.js";
import { onUndoKey } from "./undo_key.js";

/** @import { Chat } from "../chat_model.js" */
/** @import { Target } from "../store/pending.js" */

const UNDO_MS = 5_000;
/** While the pointer or the focus is on the toast. */
const HELD_MS = 60_000;

export class Deletions {
  #chat;
  #announce;
  /** The toast that offers to undo them. @type {{ element: HTMLElement, refs: string[] } | undefined} */
  #shown;
  #isScheduled = false;
  /** @type {any} */
  #timer;

  /**
   * @param {Chat} chat
   * @param {(text: string) => void} announce
   */
  constructor(chat, announce) {
    this.#chat = chat;
    this.#announce = announce;
    chat.outbox.on("changed", () => this.#renderSoon());
    toast.on("hidden", () => this.#renderSoon()); // it may have been shown in place of this one
    toast.on("held", ({ element, isHeld }) => {
      if (element === this.#shown?.element) chat.outbox.deferred.postpone(this.#shown.refs, isHeld ? HELD_MS : UNDO_MS);
    });
    onUndoKey(() => this.#undo());
    this.#render();
  }

  /**
   * Deletes the user's own messages, and earlier ones at once.
   * @param {string} peer
   * @param {readonly Target[]} messages
   */
  delete(peer, messages) {
    const { outbox } = this.#chat;
    outbox.deferred.postpone(this.#refs(), 0);
    if (!outbox.deleteLater(peer, messages, UNDO_MS)) toast.show(t("outbox_full"));
  }

  #refs() {
    return this.#chat.outbox.deferred.undoable().map(({ ref }) => ref);
  }

  /** Returns whether there was anything to undo. */
  #undo() {
    const refs = this.#refs();
    if (refs.length === 0) return false;
    for (const ref of refs) this.#chat.outbox.remove(ref);
    this.#render();
    this.#announce(t("messages_restored", { count: refs.length }));
    return true;
  }

  /** Once for all changes of this moment. */
  #renderSoon() {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    queueMicrotask(() => {
      this.#isScheduled = false;
      this.#render();
    });
  }

  #render() {
    const undoable = this.#chat.outbox.deferred.undoable();
    const refs = undoable.map(({ ref }) => ref);
    clearTimeout(this.#timer);
    const nextEnd = Math.min(...undoable.map(({ until }) => until));
    if (refs.length > 0) this.#timer = setTimeout(() => this.#render(), nextEnd - Date.now());
    const isSame = this.#shown?.refs.join() === refs.join();
    if (isSame && (this.#shown?.element.isConnected || toast.isShown)) return; // a later one is shown first
    if (this.#shown) toast.hide(this.#shown.element);
    this.#shown = undefined;
    if (refs.length === 0) return;
    const button = { name: t("undo"), run: () => void this.#undo() };
    const element = toast.show(t("messages_deleted", { count: refs.length }), { button, staysOpen: true });
    this.#shown = { element, refs };
  }
}
