/** The message field. `drafts.js` stores its text. */

import { failureText } from "../sync/api.js";
import { find, isTouch, setText } from "../util/dom.js";
import { isBlank, MESSAGE_MAX, sanitizeMessage } from "../util/message_text.js";
import { nameKey } from "../util/names.js";
import { errorText, t, waitText } from "../util/translate.js";
import { pickEmoji, suggestEmoji } from "./emoji_loader.js";

/**
 * A reply or an edit, which replaces what sending does. `text` is that of the edited message,
 * `submit` returns whether the outbox accepted the new one, and `end` is called when another
 * conversation is shown.
 * @typedef {{ text?: string, submit: (text: string, file?: PendingFile) => boolean, end: () => void }} Mode
 */

/** @import { PendingFile } from "../store/pending.js" */

/** Files to send with the text. `take` returns undefined while they cannot be sent. @typedef {{ count: number, take: () => PendingFile[] | undefined }} AttachedFiles */

/**
 * - `sent`: a message was added to the outbox
 * - `edit-last`: ArrowUp in the empty field
 * - `focus-messages`: Alt+ArrowUp, which moves to the messages
 */
export class MessageComposer extends HTMLElement {
  /** @type {import("../chat_model.js").Chat | undefined} */
  #chat;
  /** @type {string | undefined} */
  #peer;
  /** @type {Mode | undefined} */
  #mode;
  /** @type {AttachedFiles} */
  #attached = { count: 0, take: () => [] };
  /** @type {HTMLTextAreaElement} */
  #text = find(this, "textarea");
  /** @type {HTMLButtonElement} */
  #send = find(this, ".send");

  /** @param {import("../chat_model.js").Chat} chat */
  start(chat) {
    this.#chat = chat;
    chat.drafts.on("changed", (peer) => {
      if (this.#peer !== undefined && nameKey(peer) === nameKey(this.#peer)) this.#showDraft();
    });
    chat.profiles.on("changed", (name) => name === this.#peer && this.render());
    chat.outbox.on("limited", () => this.#validate());
    chat.outbox.on("rejected", ({ peer, code }) => {
      if (peer === this.#peer) this.showError(code, errorText(code));
    });
    chat.conversations.on("conversation", () => this.#renderClosed());
    find(this, ".unblock").addEventListener("click", () => void this.#unblock());
    find(this, ".emoji-button").addEventListener("click", () => void this.#pickEmoji(chat.me));
    suggestEmoji(chat.me, this);
    find(this, "form").addEventListener("submit", (/** @type {Event} */ event) => {
      event.preventDefault();
      this.submit();
    });
    this.#text.addEventListener("input", () => this.#onInput());
    this.#text.addEventListener("keydown", (event) => {
      if (event.key === "ArrowUp" && (event.altKey || this.#text.value === "")) {
        event.preventDefault();
        this.dispatchEvent(new Event(event.altKey ? "focus-messages" : "edit-last"));
      }
      const sends = event.ctrlKey || event.metaKey || !(event.shiftKey || isTouch());
      if (event.key !== "Enter" || !sends) return;
      event.preventDefault();
      this.submit();
    });
    // The field keeps the focus, and a phone its keyboard.
    this.#send.addEventListener("pointerdown", (event) => event.preventDefault());
  }

  /** @param {string | undefined} peer */
  show(peer) {
    if (peer === this.#peer) return;
    this.#mode?.end();
    this.#peer = peer;
    this.#showDraft();
  }

  /** Starts a reply or an edit; undefined ends it. @param {Mode | undefined} mode */
  use(mode) {
    const wasEdit = this.#mode?.text !== undefined;
    this.#mode = mode;
    if (mode?.text !== undefined) {
      this.#text.value = mode.text;
      this.render();
    } else if (wasEdit) this.#showDraft();
  }

  /** The files of the open conversation's next message have changed. @param {AttachedFiles} files */
  attach(files) {
    this.#attached = files;
    this.#validate();
  }

  focusText() {
    this.#text.focus({ preventScroll: true });
  }

  /** Replaces the selection; the user can undo it. @param {string} text */
  insert(text) {
    this.focusText();
    if (document.execCommand("insertText", false, text)) return;
    this.#text.setRangeText(text, this.#text.selectionStart, this.#text.selectionEnd, "end");
    this.#text.dispatchEvent(new Event("input", { bubbles: true }));
  }

  render() {
    const chat = this.#chat;
    if (!chat || this.#peer === undefined) return;
    const name = this.#peer === chat.me ? t("notes") : chat.profiles.shown(this.#peer);
    this.#text.setAttribute("aria-label", t("message_to", { name }));
    this.#renderClosed();
    this.#fit();
    this.#validate();
  }

  /** Replaces the field by an explanation when the peer is deleted or blocked. */
  #renderClosed() {
    if (!this.#chat || this.#peer === undefined) return;
    const { isPeerDeleted, isBlocked } = this.#chat.conversations.getOrCreate(this.#peer);
    const closed = find(this, ".closed");
    const name = this.#chat.profiles.shown(this.#peer);
    closed.hidden = !isPeerDeleted && !isBlocked;
    setText(find(closed, ".why"), isPeerDeleted ? t("has_left", { name }) : isBlocked ? t("blocked", { name }) : "");
    find(closed, ".unblock").hidden = isPeerDeleted;
    find(this, "form").hidden = !closed.hidden;
  }

  async #unblock() {
    const peer = this.#peer;
    if (peer === undefined) return;
    try {
      this.showError("", "");
      await this.#chat?.people.block(peer, false);
      if (peer === this.#peer && !isTouch()) this.focusText();
    } catch (error) {
      this.showError("unblock_failed", failureText(error));
    }
  }

  /** @param {string} me */
  async #pickEmoji(me) {
    const button = find(this, ".emoji-button");
    this.#validate(); // removes an earlier error
    const isLoaded = await pickEmoji(me, {
      place: button.getBoundingClientRect(),
      pick: (emoji) => this.insert(emoji),
      restoreFocus: () => button.focus({ preventScroll: true }),
    });
    if (!isLoaded) this.showError("no_connection", t("no_connection"));
  }

  #showDraft() {
    if (this.#mode?.text !== undefined) return;
    const drafts = this.#chat?.drafts;
    const peer = this.#peer ?? "";
    const { value: before, selectionStart, selectionEnd } = this.#text;
    const value = drafts?.of(peer) ?? "";
    this.#text.value = value; // moves the caret to the end
    // Text added by another device does not move the caret of a user who is writing, or who placed
    // it within the text.
    const isInUse = selectionStart < before.length || drafts?.isBeingTyped(peer) === true;
    if (isInUse && before !== "" && value.startsWith(before))
      this.#text.setSelectionRange(selectionStart, selectionEnd);
    this.render();
  }

  #onInput() {
    this.#fit();
    this.#validate();
    if (this.#mode?.text !== undefined) return;
    if (this.#peer !== undefined) this.#chat?.drafts.write(this.#peer, this.#text.value);
    if (this.#peer !== undefined && !isBlank(this.#text.value)) this.#chat?.people.presence.sendTyping(this.#peer);
  }

  /** Sends the text, as the caption of the first file if there are any. */
  submit() {
    const text = sanitizeMessage(this.#text.value);
    const isEdit = this.#mode?.text !== undefined;
    const { count } = isEdit ? { count: 0 } : this.#attached;
    const isEmpty = isBlank(text) && count === 0;
    if ((isEmpty && !isEdit) || !this.#validate() || !this.#chat || this.#peer === undefined) return;
    const { sync, outbox } = this.#chat;
    if (count > outbox.room) return this.showError("outbox_full", t("outbox_full"));
    const files = count > 0 ? this.#attached.take() : [];
    if (!files) return;
    const [file, ...others] = files;
    const caption = isBlank(text) && file ? "" : text;
    if (!(this.#mode ? this.#mode.submit(caption, file) : sync.write(this.#peer, caption, { file }))) {
      this.showError("outbox_full", t("outbox_full"));
      return;
    }
    for (const other of others) sync.write(this.#peer, "", { file: other });
    if (isEdit) return;
    this.#text.value = "";
    this.#onInput();
    this.#chat.drafts.flush(); // otherwise a reload would restore the sent text
    this.dispatchEvent(new Event("sent"));
    this.focusText();
  }

  /** Greets the peer and keeps the draft. */
  wave() {
    if (this.#peer === undefined) return;
    if (!this.#chat?.sync.write(this.#peer, "👋")) return this.showError("outbox_full", t("outbox_full"));
    this.dispatchEvent(new Event("sent"));
    if (!isTouch()) this.focusText();
  }

  /** Whether the text can be sent; shows an error if not. */
  #validate() {
    const { value } = this.#text;
    // Counting code points is slow, so count only when the limit may be exceeded.
    const count = value.length > MESSAGE_MAX ? [...sanitizeMessage(value)].length : 0;
    const tooLong = count > MESSAGE_MAX;
    const wait = this.#chat?.outbox.limitedFor ?? 0;
    if (tooLong) this.showError("too_long", t("too_long", { count, limit: MESSAGE_MAX }));
    else if (wait > 0) this.showError("rate_limited", t("send_limited", { wait: waitText(wait) }));
    else this.showError("", "");
    this.#send.toggleAttribute("data-empty", isBlank(value) && this.#attached.count === 0);
    this.#send.disabled = tooLong;
    return !tooLong;
  }

  /**
   * Shows an error above the field, until the text changes.
   * @param {string} code "" removes the error
   * @param {string} text
   */
  showError(code, text) {
    const problem = find(this, ".problem");
    problem.dataset.error = code;
    setText(problem, text);
    this.#text.setAttribute("aria-invalid", String(code !== "" && code !== "rate_limited"));
  }

  /** Grows the field with its text in browsers without `field-sizing`. */
  #fit() {
    if (CSS.supports("field-sizing", "content")) return;
    this.#text.style.setProperty("block-size", "auto");
    this.#text.style.setProperty("block-size", `${this.#text.scrollHeight}px`);
  }
}

customElements.define("message-composer", MessageComposer);
