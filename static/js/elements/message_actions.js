/** Acts on messages: what opens their menu, and what its items do. Loaded on demand. */

import * as api from "../sync/api.js";
import { announce, find, isTouch } from "../util/dom.js";
import { t } from "../util/translate.js";
import { ready } from "./action_parts.js";
import { ComposerReference } from "./composer_reference.js";
import { askToDelete } from "./delete_question.js";
import { oneLine } from "./list_entry.js";
import { LongPress } from "./long_press.js";
import { MessageBar, rowOf } from "./message_bar.js";
import { fillQuote } from "./message_extras.js";
import { goToMessage } from "./message_jump.js";
import { MessageMenu, quickReactions } from "./message_menu.js";
import { focusMessage } from "./message_row.js";
import { UndoToast } from "./undo_toast.js";

/** @import { Chat } from "../chat_model.js" */
/** @import { Act } from "./message_extras.js" */
/** @import { MenuItem } from "./message_menu.js" */

/** A message of the open conversation, stored or pending. @typedef {{ seq: number, ref?: string, from: string, text: string, deleted?: true, reactions?: Record<string, string>, replyTo?: number }} Acted */

/**
 * @param {Chat} chat
 * @param {{ thread: import("./chat_thread.js").ChatThread, composer: import("./message_composer.js").MessageComposer }} elements
 * @param {() => Event} latest the last event on a message while this was loading
 */
export async function startActions(chat, elements, latest) {
  await ready;
  const actions = new MessageActions(chat, elements);
  const event = latest();
  if (event instanceof PointerEvent && event.type === "pointerover") actions.pointed(event);
  return actions;
}

export class MessageActions {
  #chat;
  #thread;
  /** @type {HTMLElement} */
  #list;
  #reference;
  #menu = new MessageMenu();
  #toast = new UndoToast();
  #bar;
  #press;

  /**
   * @param {Chat} chat
   * @param {Parameters<typeof startActions>[1]} elements
   */
  constructor(chat, { thread, composer }) {
    this.#chat = chat;
    this.#thread = thread;
    this.#list = find(thread, ".messages");
    this.#reference = new ComposerReference(chat, composer);
    this.#bar = new MessageBar(this.#list, {
      canShow: (row) => !this.#menu.isOpen && !this.#isClosed && (this.#messageOf(row)?.seq ?? 0) > 0,
      react: (row) => this.#openMenu(row, undefined, true),
      reply: (row) => this.#reply(row),
      more: (row) => this.#openMenu(row),
    });
    this.#press = new LongPress(this.#list, (event) => {
      const row = rowOf(event.target);
      if (row && !isNative(event)) this.#openMenu(row, new DOMRect(event.clientX, event.clientY));
    });
    this.#list.addEventListener("contextmenu", (event) => this.#onContextMenu(event));
    this.#list.addEventListener("keydown", (event) => this.#onKey(event));
  }

  /** The pointer reached a message before this was loaded. @param {PointerEvent} event */
  pointed(event) {
    if (event.pointerType === "touch") this.#press.start(event);
    else if (rowOf(event.target)?.matches(":hover")) this.#bar.show(rowOf(event.target));
  }

  /** What a quote, a reaction or a code block asked for. @param {Event} event */
  act(event) {
    const act = /** @type {CustomEvent<Act>} */ (event).detail;
    const row = rowOf(event.target);
    const message = row && this.#messageOf(row);
    if ("react" in act && message) this.#react(message, act.react);
    else if ("jump" in act) void this.#goTo(act.jump);
    else if ("copy" in act) void this.#copy(act.copy);
    else if ("quote" in act) void this.#loadQuoted(act.quote);
  }

  /** Edits the user's last message. Returns false when there is none near the end. */
  editLast() {
    this.#thread.toEnd();
    const row = [...this.#list.querySelectorAll(".message.mine")]
      .filter((each) => each instanceof HTMLElement)
      .findLast((each) => !each.matches(".deleted, .removed"));
    if (!row || this.#isClosed) return false;
    this.#edit(row);
    return true;
  }

  get #peer() {
    return this.#chat.conversations.open ?? "";
  }

  get #conversation() {
    return this.#chat.conversations.getOrCreate(this.#peer);
  }

  /** Whether nothing can be sent in the conversation. */
  get #isClosed() {
    return this.#conversation.isBlocked || this.#conversation.isPeerDeleted;
  }

  /** @param {HTMLElement} row @returns {Acted | undefined} */
  #messageOf({ dataset, classList }) {
    if (classList.contains("removed")) return undefined;
    const seq = Number(dataset.seq);
    if (seq > 0) {
      const message = this.#conversation.message(seq);
      return message?.deleted ? undefined : message;
    }
    const pending = this.#chat.outbox.to(this.#peer).find(({ ref }) => ref === dataset.ref);
    return pending && { seq: 0, ref: pending.ref, from: this.#chat.me, text: pending.text };
  }

  /**
   * @param {HTMLElement} row
   * @param {DOMRect} [place]
   * @param {boolean} [isReactionsOnly]
   */
  #openMenu(row, place = find(row, ".bubble").getBoundingClientRect(), isReactionsOnly = false) {
    const message = this.#messageOf(row);
    if (!message) return;
    this.#bar.hide();
    const { me } = this.#chat;
    const { reactions = {}, from, text, seq } = message;
    const canReact = seq > 0 && !this.#isClosed;
    this.#menu.open(
      {
        label: `${t("message_options")}: ${from === me ? t("from_me") : from}: ${oneLine(text)}`,
        emoji: canReact ? quickReactions(Object.values(reactions)) : [],
        mine: reactions[me],
        react: (emoji) => this.#react(message, emoji),
        items: isReactionsOnly ? [] : this.#items(row, message),
      },
      place,
      () => (row.isConnected ? focusMessage(row) : find(this.#thread, ".scroller").focus({ preventScroll: true })),
    );
  }

  /**
   * @param {HTMLElement} row
   * @param {Acted} message
   * @returns {MenuItem[]}
   */
  #items(row, message) {
    const { seq, text, from, replyTo } = message;
    const isOpen = !this.#isClosed;
    const isMine = from === this.#chat.me;
    /** @type {MenuItem[]} */
    const items = [];
    if (isOpen && seq > 0) items.push({ name: t("reply"), icon: "reply", run: () => this.#reply(row) });
    if (replyTo) items.push({ name: t("go_to_original"), icon: "corner-up-left", run: () => void this.#goTo(replyTo) });
    items.push({ name: t("copy"), icon: "copy", run: () => void this.#copy(text) });
    if (isOpen && isMine) {
      items.push({ name: t("edit"), icon: "pencil", run: () => this.#edit(row) });
      items.push({ name: t("delete"), icon: "trash-2", run: () => this.#delete(row), isDanger: true });
    }
    return items;
  }

  /**
   * @param {Acted} message
   * @param {string} emoji
   */
  #react({ seq }, emoji) {
    if (this.#isClosed) return;
    if (!this.#chat.outbox.react(this.#peer, { seq }, emoji)) return this.#toast.show(t("outbox_full"));
    this.#announce(emoji ? t("reacted", { emoji }) : t("reaction_removed"));
  }

  /** @param {HTMLElement} row */
  #reply(row) {
    const message = this.#messageOf(row);
    if (message && message.seq > 0) this.#reference.reply(this.#peer, message);
  }

  /** @param {HTMLElement} row */
  #edit(row) {
    const message = this.#messageOf(row);
    if (!message) return;
    this.#reference.edit(this.#peer, message, {
      edited: () => this.#announce(t("message_edited")),
      emptied: () =>
        void askToDelete(() => {
          this.#reference.cancel();
          this.#delete(row);
        }),
    });
  }

  /**
   * Shows the message as deleted, and deletes it unless the user undoes that.
   * @param {HTMLElement} row
   */
  #delete(row) {
    const message = this.#messageOf(row);
    if (!message) return;
    const [{ outbox }, peer] = [this.#chat, this.#peer];
    row.style.setProperty("--removed", JSON.stringify(t("message_deleted")));
    row.classList.add("removed");
    const restore = () => row.classList.remove("removed");
    this.#toast.show(t("message_deleted"), {
      commit: () => {
        restore();
        if (!outbox.delete(peer, message)) this.#toast.show(t("outbox_full"));
      },
      undo: () => {
        restore();
        this.#announce(t("message_restored"));
      },
    });
  }

  /** @param {string} text */
  async #copy(text) {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      // Without clipboard permission, as on plain http, `execCommand` may work.
      const field = document.createElement("textarea");
      field.value = text;
      field.className = "visually-hidden";
      document.body.append(field);
      const focused = document.activeElement;
      field.select();
      const isCopied = document.execCommand("copy");
      field.remove();
      if (focused instanceof HTMLElement) focused.focus({ preventScroll: true });
      if (!isCopied) return this.#toast.show(t("copy_failed"));
    }
    this.#toast.show(t("copied"));
  }

  /** Shows a quoted message. @param {number} seq */
  async #goTo(seq) {
    await goToMessage({ chat: this.#chat, thread: this.#thread }, seq);
  }

  /**
   * Loads a message that is quoted, but not loaded.
   * @param {number} seq
   */
  async #loadQuoted(seq) {
    const { me, loader } = this.#chat;
    const peer = this.#peer;
    const page = await loader.attempt(api.messages(me, peer, { limit: 1, before: seq + 1 }));
    const message = page?.[0]?.message;
    if (message?.seq !== seq || this.#peer !== peer) return;
    for (const quote of this.#list.querySelectorAll(`.quote[data-seq="${seq}"]`))
      if (quote instanceof HTMLElement)
        fillQuote(quote, message, message.from === me ? t("from_me") : this.#chat.profiles.shown(message.from));
  }

  /** @param {PointerEvent | MouseEvent} event */
  #onContextMenu(event) {
    const row = rowOf(event.target);
    if (!row || !this.#messageOf(row) || isNative(event)) return;
    event.preventDefault();
    this.#press.cancel();
    if (this.#menu.isOpen) return; // a long press opened it
    const isPointer = event.button === 2 || isTouch();
    this.#openMenu(row, isPointer ? new DOMRect(event.clientX, event.clientY) : undefined);
  }

  /** @param {KeyboardEvent} event */
  #onKey(event) {
    const row = rowOf(event.target);
    if (!row || event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.key === "Enter" && event.target === row) {
      event.preventDefault();
      this.#openMenu(row);
    } else if (/^Arrow(?:Left|Right)$/.test(event.key)) this.#moveWithin(row, event);
  }

  /**
   * Moves the focus between a row, its quote and its reactions.
   * @param {HTMLElement} row
   * @param {KeyboardEvent} event
   */
  #moveWithin(row, event) {
    const stops = [row, ...row.querySelectorAll(".quote, .reaction")].filter((each) => each instanceof HTMLElement);
    const index = stops.findIndex((each) => each === event.target) + (event.key === "ArrowRight" ? 1 : -1);
    if (stops.length === 1) return;
    event.preventDefault();
    const next = stops.at(index % stops.length);
    if (next === row) focusMessage(row);
    else next?.focus();
  }

  /** @param {string} text */
  #announce(text) {
    announce(find(this.#thread, ".announcer"), text);
  }
}

/**
 * Whether the browser's own menu is better: on a link, a failure, and selected text.
 * @param {MouseEvent} event
 */
function isNative({ target }) {
  const selection = getSelection();
  const isSelected = selection?.isCollapsed === false && target instanceof Node && selection.containsNode(target, true);
  return isSelected || (target instanceof Element && target.closest("a, .failure") !== null);
}
