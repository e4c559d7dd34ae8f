/** What a user can do with a conversation of the list: its menu, and what the items do. Loaded on demand. */

import { failureText } from "../sync/api.js";
import { find, isTouch } from "../util/dom.js";
import { clock } from "../util/time.js";
import { language, t } from "../util/translate.js";
import { ready } from "./action_parts.js";
import { entryOf } from "./actions_loader.js";
import { nameInList } from "./list_entry.js";
import { LongPress } from "./long_press.js";
import { MessageMenu } from "./message_menu.js";
import { toast } from "./toast.js";
import { onUndoKey } from "./undo_key.js";

/** @import { Chat } from "../chat_model.js" */
/** @import { MenuItem } from "./message_menu.js" */
/** @import { Arrangement } from "../store/membership.js" */

const HOUR_S = 3_600;
/** @type {ListActions | undefined} */
let actions;

/** The only `ListActions`. @param {Chat} chat */
export async function listActions(chat) {
  await ready;
  return (actions ??= new ListActions(chat));
}

class ListActions {
  #chat;
  /** @type {HTMLElement} */
  #list = find(document, "conversation-list");
  #menu = new MessageMenu();
  #press;
  /** Undoes what the toast on screen says. @type {(() => void) | undefined} */
  #undo;

  /** @param {Chat} chat */
  constructor(chat) {
    this.#chat = chat;
    toast.on("hidden", () => (this.#undo = undefined));
    onUndoKey(() => {
      const undo = this.#undo;
      undo?.();
      return undo !== undefined;
    });
    this.#press = new LongPress(this.#list, (event) => {
      const link = entryOf(event.target);
      if (link) this.openMenu(link, new DOMRect(event.clientX, event.clientY));
    });
  }

  /** A finger touched the list before this was loaded. @param {PointerEvent} event */
  touched(event) {
    this.#press.start(event);
  }

  /**
   * The user asked for the menu of an entry.
   * @param {HTMLElement} link
   * @param {MouseEvent} event
   */
  contextMenu(link, { button, clientX, clientY }) {
    this.#press.cancel();
    if (this.#menu.isOpen) return; // a long press opened it
    const isPointer = button === 2 || isTouch();
    this.openMenu(link, isPointer ? new DOMRect(clientX, clientY) : undefined);
  }

  /**
   * @param {HTMLElement} link of the entry
   * @param {DOMRect} [place]
   */
  openMenu(link, place = link.getBoundingClientRect()) {
    const peer = link.dataset.name ?? "";
    const restoreFocus = () => link.isConnected && link.focus({ preventScroll: true });
    this.#open(`${t("options")}: ${nameInList(this.#chat, peer)}`, this.#items(peer, place, restoreFocus), {
      place,
      restoreFocus,
    });
  }

  /**
   * @param {string} peer
   * @param {DOMRect} place
   * @param {() => void} restoreFocus
   * @returns {MenuItem[]}
   */
  #items(peer, place, restoreFocus) {
    const conversation = this.#chat.conversations.getOrCreate(peer);
    const { isPinned, isArchived, isMuted, unread, isMarkedUnread } = conversation;
    const isUnread = unread > 0 || isMarkedUnread;
    /** @type {MenuItem[]} */
    const items = [
      {
        name: t(isPinned ? "unpin" : "pin"),
        icon: isPinned ? "pin-off" : "pin",
        run: () => void this.togglePin(peer),
      },
    ];
    if (peer !== this.#chat.me)
      items.push({
        name: isMuted ? this.#unmuteText(peer) : t("mute"),
        icon: isMuted ? "bell" : "bell-off",
        run: () => this.toggleMute(peer, place, restoreFocus),
        opensMenu: !isMuted,
      });
    items.push(
      {
        name: t(isUnread ? "mark_read" : "mark_unread"),
        icon: isUnread ? "check-check" : "message-square-dot",
        run: () => void (isUnread ? this.#markRead(peer) : this.markUnread(peer)),
      },
      {
        name: t(isArchived ? "unarchive" : "archive"),
        icon: isArchived ? "archive-restore" : "archive",
        run: () => void this.toggleArchive(peer),
      },
    );
    return items;
  }

  /** @param {string} peer */
  togglePin(peer) {
    return this.#arrange(peer, { pinned: !this.#chat.conversations.getOrCreate(peer).isPinned });
  }

  /**
   * Unmutes the conversation, or asks for how long to mute it.
   * @param {string} peer
   * @param {DOMRect} place of the menu
   * @param {() => void} restoreFocus
   */
  toggleMute(peer, place, restoreFocus) {
    if (this.#chat.conversations.getOrCreate(peer).isMuted) {
      void this.#arrange(peer, { muted: false });
      return;
    }
    /** @type {[Parameters<typeof t>[0], number | undefined][]} */
    const times = [
      ["mute_8_hours", 8 * HOUR_S],
      ["mute_week", 7 * 24 * HOUR_S],
      ["mute_always", undefined],
    ];
    const items = times.map(([name, seconds]) => ({
      name: t(name),
      icon: /** @type {MenuItem["icon"]} */ (seconds ? "clock" : "bell-off"),
      run: () => void this.#arrange(peer, { muted: true, ...(seconds && { mute_seconds: seconds }) }),
    }));
    this.#open(`${t("mute")}: ${nameInList(this.#chat, peer)}`, items, { place, restoreFocus });
  }

  /** @param {string} peer */
  async markUnread(peer) {
    const marking = this.#arrange(peer, { marked_unread: true });
    // The user is done with it for now.
    if (this.#chat.conversations.open === peer) find(document, "chat-header").dispatchEvent(new Event("back"));
    await marking;
  }

  /** @param {string} peer */
  async #markRead(peer) {
    const conversation = this.#chat.conversations.getOrCreate(peer);
    const { isMarkedUnread, lastSeq } = conversation;
    this.#chat.sync.markRead(peer, lastSeq);
    if (isMarkedUnread) await this.#arrange(peer, { marked_unread: false });
  }

  /** Archives a conversation, which can be undone for some seconds, or takes it out of the archive. @param {string} peer */
  async toggleArchive(peer) {
    const { isArchived } = this.#chat.conversations.getOrCreate(peer);
    this.#focusNext(peer);
    const isDone = this.#arrange(peer, { archived: !isArchived });
    const undo = () => void this.#arrange(peer, { archived: isArchived });
    this.#show(t(isArchived ? "unarchived" : "conversation_archived"), undo);
    await isDone;
  }

  /** The entry is about to disappear: moves the focus to the one after it. @param {string} peer */
  #focusNext(peer) {
    const links = [...this.#list.querySelectorAll("a.entry")].filter((link) => link instanceof HTMLElement);
    const index = links.findIndex((link) => link.dataset.name === peer);
    if (index !== -1 && document.activeElement === links[index])
      (links[index + 1] ?? links[index - 1] ?? find(this.#list, ".scroll")).focus({ preventScroll: true });
  }

  /**
   * @param {string} peer
   * @param {Arrangement} changes
   */
  async #arrange(peer, changes) {
    try {
      await this.#chat.people.arrange(peer, changes);
    } catch (error) {
      this.#show(failureText(error));
    }
  }

  /**
   * Shows a text over the list, which can be undone as long.
   * @param {string} text
   * @param {() => void} [undo]
   */
  #show(text, undo) {
    const run = () => {
      toast.hide();
      undo?.();
    };
    toast.show(text, { pane: "conversation-list", ...(undo && { button: { name: t("undo"), run } }) });
    this.#undo = undo && run; // an earlier toast is closed by now
  }

  /** @param {string} peer */
  #unmuteText(peer) {
    const { mutedUntil } = this.#chat.conversations.getOrCreate(peer).membership.settings;
    if (!Number.isFinite(mutedUntil)) return t("unmute");
    const day = new Intl.DateTimeFormat(language(), { weekday: "short" }).format(mutedUntil);
    return t("unmute_until", { time: `${day} ${clock(mutedUntil)}` });
  }

  /**
   * @param {string} label
   * @param {MenuItem[]} items
   * @param {{ place: DOMRect, restoreFocus: () => void }} options
   */
  #open(label, items, { place, restoreFocus }) {
    this.#menu.open({ label, emoji: [], mine: undefined, react: () => {}, items }, place, restoreFocus);
  }
}
