/** Acts on messages: what opens their menu, and what its items do. Loaded on demand. */

import { announce, find, importAgain, isTouch } from "../util/dom.js";
import { nameKey } from "../util/names.js";
import { t } from "../util/translate.js";
import { ready } from "./action_parts.js";
import { ComposerReference } from "./composer_reference.js";
import { copyText, quoteText } from "./copying.js";
import { askToDelete } from "./delete_question.js";
import { Deletions } from "./deletions.js";
import { pickEmoji } from "./emoji_loader.js";
import { lineOf } from "./list_entry.js";
import { LongPress } from "./long_press.js";
import { MessageBar, rowOf } from "./message_bar.js";
import { moveWithin } from "./message_extras.js";
import { goToMessage } from "./message_jump.js";
import { MessageMenu, prefersNativeMenu, quickReactions } from "./message_menu.js";
import { focusMessage } from "./message_row.js";
import { MessageSelection, SELECTED_MAX } from "./message_selection.js";
import { loadQuoted } from "./quoted_message.js";
import { SwipeReply } from "./swipe_reply.js";
import { toast } from "./toast.js";

/** @import { Chat } from "../chat_model.js" */
/** @import { Act } from "./message_extras.js" */
/** @import { MenuItem } from "./message_menu.js" */

/** A message of the open conversation, stored or pending. @typedef {{ seq: number, ref?: string, from: string, text: string, at: number, deleted?: true, reactions?: Record<string, string>, replyTo?: number, file?: import("../store/message_window.js").MessageFile }} Acted */

/**
 * @param {Chat} chat
 * @param {{ thread: import("./chat_thread.js").ChatThread, composer: import("./message_composer.js").MessageComposer }} elements
 * @param {() => Event | undefined} latest the last event on a message while this was loading
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
  /** The message whose menu is open. @type {HTMLElement | undefined} */
  #menuRow;
  #deletions;
  #selection;
  #bar;
  #press;
  #swipe;

  /**
   * @param {Chat} chat
   * @param {Parameters<typeof startActions>[1]} elements
   */
  constructor(chat, { thread, composer }) {
    this.#chat = chat;
    this.#thread = thread;
    this.#list = find(thread, ".messages");
    this.#reference = new ComposerReference(chat, composer);
    this.#deletions = new Deletions(chat, (text) => this.#announce(text));
    this.#selection = new MessageSelection(chat, this.#list, (messages) =>
      messages.every((each) => this.#canDelete(each)),
    );
    this.#selection.on("act", (act) => void this.#actOnSelected(act));
    this.#selection.on("full", () => toast.show(t("select_full", { count: SELECTED_MAX })));
    this.#bar = new MessageBar(this.#list, {
      canShow: (row) => !this.#menu.isOpen && this.#canReply(row),
      react: (row) => this.#openMenu(row, undefined, true),
      reply: (row) => this.#reply(row),
      more: (row) => this.#openMenu(row),
    });
    this.#press = new LongPress(this.#list, (event) => {
      const row = rowOf(event.target);
      if (row && !prefersNativeMenu(event)) this.#openMenu(row, new DOMRect(event.clientX, event.clientY));
    });
    this.#swipe = new SwipeReply(this.#list, {
      canReply: (row) => this.#canReply(row),
      reply: (row) => this.#reply(row),
    });
    chat.conversations.on("conversation", (peer) => {
      if (nameKey(peer) === nameKey(this.#peer)) this.#checkMenu();
    });
    this.#list.addEventListener("contextmenu", (event) => this.#onContextMenu(event));
    this.#list.addEventListener("keydown", (event) => this.#onKey(event));
  }

  /** The pointer reached a message before this was loaded. @param {PointerEvent} event */
  pointed(event) {
    if (event.pointerType === "touch") for (const part of [this.#press, this.#swipe]) part.start(event);
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
    else if ("quote" in act) void loadQuoted(this.#chat, this.#list, act.quote);
  }

  /** Edits the user's last message. Returns false when there is none near the end that can be edited. */
  editLast() {
    this.#thread.toEnd();
    const row = [...this.#list.querySelectorAll(".message.mine")]
      .filter((each) => each instanceof HTMLElement)
      .findLast((each) => this.#messageOf(each));
    const message = row && this.#messageOf(row);
    if (!message || !this.#canEdit(message)) return false;
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

  /** Whether a row is of a stored message, to which a reply can be sent. @param {HTMLElement} row */
  #canReply(row) {
    return !this.#isClosed && !this.#selection.isActive && (this.#messageOf(row)?.seq ?? 0) > 0;
  }

  /** @param {Acted} message */
  #canEdit(message) {
    return !this.#isClosed && message.from === this.#chat.me && this.#chat.sync.changeWindows.canEdit(message);
  }

  /** @param {Acted} message */
  #canDelete(message) {
    return !this.#isClosed && message.from === this.#chat.me && this.#chat.sync.changeWindows.canDelete(message);
  }

  /** The message of a row as it is now; undefined when it is deleted. @param {HTMLElement} row @returns {Acted | undefined} */
  #messageOf({ dataset }) {
    const seq = Number(dataset.seq);
    if (seq > 0) {
      const message = this.#conversation.message(seq);
      return message?.deleted ? undefined : message;
    }
    const pending = this.#chat.outbox.to(this.#peer).find(({ ref }) => ref === dataset.ref);
    return pending && { seq: 0, ref: pending.ref, from: this.#chat.me, text: pending.text, at: pending.at };
  }

  /**
   * @param {HTMLElement} row
   * @param {DOMRect} [place]
   * @param {boolean} [isReactionsOnly]
   */
  #openMenu(row, place = find(row, ".bubble").getBoundingClientRect(), isReactionsOnly = false) {
    const message = this.#messageOf(row);
    if (!message || this.#selection.isActive) return;
    this.#bar.hide();
    this.#menuRow = row;
    const { me } = this.#chat;
    const { reactions = {}, from, seq } = message;
    const canReact = seq > 0 && !this.#isClosed;
    this.#menu.open(
      {
        label: `${t("message_options")}: ${from === me ? t("from_me") : this.#chat.profiles.shown(from)}: ${lineOf(message)}`,
        emoji: canReact ? quickReactions(Object.values(reactions)) : [],
        mine: reactions[me],
        react: (emoji) => this.#react(message, emoji),
        pick: () => void this.#pickReaction(row, place),
        items: isReactionsOnly ? [] : this.#items(row, message),
      },
      place,
      () => this.#restoreFocus(row),
    );
  }

  /** @param {HTMLElement} row */
  #restoreFocus(row) {
    if (row.isConnected) focusMessage(row);
    else find(this.#thread, ".scroller").focus({ preventScroll: true });
  }

  /**
   * @param {HTMLElement} row
   * @param {DOMRect} place
   */
  async #pickReaction(row, place) {
    const { me } = this.#chat;
    const pick = (/** @type {string} */ emoji) => {
      const message = this.#messageOf(row); // it may have been deleted
      if (message) this.#react(message, emoji === message.reactions?.[me] ? "" : emoji);
    };
    const isLoaded = await pickEmoji(me, { place, pick, restoreFocus: () => this.#restoreFocus(row) });
    if (!isLoaded) toast.show(t("no_connection"));
  }

  /**
   * @param {HTMLElement} row
   * @param {Acted} message
   * @returns {MenuItem[]}
   */
  #items(row, message) {
    const { seq, replyTo } = message;
    /** @type {MenuItem[]} */
    const items = [];
    if (this.#canReply(row)) items.push({ name: t("reply"), icon: "reply", run: () => this.#reply(row) });
    if (replyTo) items.push({ name: t("go_to_original"), icon: "corner-up-left", run: () => void this.#goTo(replyTo) });
    // The message may change while the menu is open.
    const now = () => this.#messageOf(row) ?? message;
    items.push({ name: t("copy"), icon: "copy", run: () => void this.#copy(now().text) });
    if (seq > 0) {
      items.push({ name: t("copy_quote"), icon: "quote", run: () => void this.#copy(this.#quote([now()])) });
      items.push({ name: t("forward"), icon: "forward", run: () => void this.#forward([message]) });
      if (this.#peer !== this.#chat.me)
        items.push({
          name: t("save_to_notes"),
          icon: "bookmark",
          run: () => void this.#forward([message], [this.#chat.me]),
        });
      items.push({ name: t("select"), icon: "circle-check", run: () => this.#selection.start(row) });
    }
    if (this.#canEdit(message)) items.push({ name: t("edit"), icon: "pencil", run: () => this.#edit(row) });
    if (this.#canDelete(message))
      items.push({
        name: t("delete"),
        icon: "trash-2",
        run: () => this.#deletions.delete(this.#peer, [message]),
        isDanger: true,
      });
    return items;
  }

  /** Closes the menu of a message that was deleted, or in a conversation where its items no longer apply. */
  #checkMenu() {
    const row = this.#menuRow;
    if (!this.#menu.isOpen || !row) return;
    const message = this.#messageOf(row);
    if (message && !(this.#isClosed && message.seq > 0 && this.#menu.canReact)) return;
    this.#menu.close();
    if (!message) this.#announce(t("message_deleted"));
  }

  /**
   * @param {Acted} message
   * @param {string} emoji
   */
  #react({ seq }, emoji) {
    if (this.#isClosed) return;
    if (!this.#chat.outbox.react(this.#peer, { seq }, emoji)) return void toast.show(t("outbox_full"));
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
          this.#deletions.delete(this.#peer, [message]);
        }),
    });
  }

  /** Messages as quotes, under the names that their authors chose. @param {Acted[]} messages */
  #quote(messages) {
    return quoteText(messages.map((each) => ({ ...each, from: this.#chat.profiles.shown(each.from) })));
  }

  /** @param {string} text */
  async #copy(text) {
    toast.show(t((await copyText(text)) ? "copied" : "copy_failed"));
  }

  /** @param {Acted[]} messages @param {string[]} [peers] the recipients, unless the user chooses them */
  async #forward(messages, peers) {
    const load = importAgain(() => import("./forwarding.js"), "elements/forwarding.js");
    const forwarding = await load.catch(() => undefined);
    if (!forwarding) toast.show(t("no_connection"));
    return forwarding?.forward(this.#chat, messages, peers);
  }

  /** @param {import("./selection_bar.js").SelectionAct} act */
  async #actOnSelected(act) {
    const { messages } = this.#selection;
    if (act === "delete") {
      const peer = this.#peer;
      await askToDelete(() => {
        this.#selection.stop();
        this.#deletions.delete(peer, messages);
      }, messages.length);
    } else if (act === "forward") {
      if (await this.#forward(messages)) this.#selection.stop();
    } else {
      this.#selection.stop();
      await this.#copy(act === "copy" ? messages.map(({ text }) => text).join("\n") : this.#quote(messages));
    }
  }

  /** Shows a quoted message. @param {number} seq */
  async #goTo(seq) {
    await goToMessage({ chat: this.#chat, thread: this.#thread }, seq);
  }

  /** @param {PointerEvent | MouseEvent} event */
  #onContextMenu(event) {
    const row = rowOf(event.target);
    if (!row || !this.#messageOf(row) || prefersNativeMenu(event)) return;
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
    } else if (/^Arrow(?:Left|Right)$/.test(event.key)) moveWithin(row, event);
  }

  /** @param {string} text */
  #announce(text) {
    announce(find(this.#thread, ".announcer"), text);
  }
}
