/** The open conversation's messages. Keeps the scroll position or sticks to the end. */

import { announce, find, isPageActive, isTouch, onPageActivityChange } from "../util/dom.js";
import { previewText } from "../util/file_text.js";
import { plainText } from "../util/message_format.js";
import { nameKey } from "../util/names.js";
import { t } from "../util/translate.js";
import { focusMessage, targetOf } from "./message_row.js";
import { group, shownMessages, UnreadDivider } from "./thread_items.js";
import { answerFailure, renderRows, rowWith, showGreeting, showJump } from "./thread_parts.js";
import {
  hidePastDays,
  lastSeenSeq,
  ScrollAnchor,
  scrollToDivider,
  scrollToRow,
  VirtualWindow,
} from "./thread_viewport.js";

/** @import { Chat } from "../chat_model.js" */
/** @import { Conversation, Message } from "../store/conversation.js" */

const [AT_END_PX, NEAR_PX] = [40, 800];
/** With fewer loaded messages above the window, more history is fetched. */
const PREFETCH = 100;

/** `focus-composer`: the keyboard focus should return to the composer. */
export class ChatThread extends HTMLElement {
  /** @type {Chat | undefined} */
  #chat;
  /** @type {string | undefined} */
  #peer;
  /** @type {HTMLElement} */
  #scroller = find(this, ".scroller");
  /** @type {HTMLElement} */
  #list = find(this, ".messages");
  #virtualWindow = new VirtualWindow();
  #divider = new UnreadDivider();
  #anchor = new ScrollAnchor(this.#scroller, this.#list);
  #isAtEnd = true;
  /** The heights at the last scroll check. */
  #layout = "";
  #isOpened = false;
  /** Whether only a placeholder is shown, until `showMessage` or `release`. */
  #isHeld = false;
  /** Whether to scroll to the first unread message at the next render. */
  #scrollsToNew = false;
  /** The message to scroll to at the next render. @type {{ seq: number, isAtTop: boolean } | undefined} */
  #target;
  /** The running load up to the first unread message. @type {Promise<void> | undefined} */
  #unreadLoading;

  /** @param {Chat} chat */
  start(chat) {
    this.#chat = chat;
    chat.conversations.on("conversation", (peer) => this.#isShown(peer) && this.render());
    chat.conversations.on("arrived", (message) => {
      if (this.#isShown(message.from)) this.#arrived(chat.conversations.getOrCreate(message.from), message);
    });
    this.#scroller.addEventListener("scroll", () => this.#afterLayout(), { passive: true });
    chat.conversations.on("replied", (peer) => {
      if (!this.#divider.isPlaced || !this.#isShown(peer)) return;
      this.#divider.remove(); // a reply implies that the messages were read
      this.render();
    });
    onPageActivityChange(() => this.#markSeen());
    const sizes = new ResizeObserver(() => {
      this.#keepEnd();
      this.#afterLayout();
    });
    sizes.observe(this.#scroller);
    sizes.observe(find(this, ".inner"));
    find(this, ".jump").addEventListener("click", () => this.#toNewest());
    this.#list.addEventListener("click", (event) => {
      // The button is removed; without this, the focus would move to the top of the page.
      if (answerFailure(event, chat.outbox) && !isTouch()) this.#scroller.focus({ preventScroll: true });
    });
    this.#list.addEventListener("keydown", (event) => this.#onKey(event));
    document.addEventListener("extras", () => this.render());
  }

  /** @param {string} peer */
  #isShown(peer) {
    return this.#peer !== undefined && nameKey(peer) === nameKey(this.#peer);
  }

  /**
   * Shows the conversation with `peer` at its first unread message, otherwise at its end.
   * @param {string | undefined} peer
   * @param {{ isHeld?: boolean }} [options] isHeld: shows a placeholder until `showMessage` or `release`
   */
  show(peer, { isHeld = false } = {}) {
    this.#conversation?.view.attach();
    this.#peer = peer;
    this.#reopen();
    this.#isHeld = isHeld;
    this.#isAtEnd = !isHeld;
    this.#divider = new UnreadDivider();
    renderRows(this.#list, []);
    find(this, ".announcer").replaceChildren();
    showGreeting(find(this, ".greeting"), undefined, "");
    for (const part of [".skeleton", ".jump"]) find(this, part).hidden = true;
    this.render();
  }

  /** Replaces the placeholder by the conversation, as if it had not been held. */
  release() {
    if (this.#isHeld) this.#toNewest();
  }

  /** Shows a placeholder while the peer's name is resolved. */
  showPlaceholder() {
    find(this, ".skeleton").hidden = false;
  }

  /** Shows that no such user exists. @param {string} name */
  showUnknown(name) {
    showGreeting(find(this, ".greeting"), "no_such_person", name);
  }

  toEnd() {
    const conversation = this.#conversation;
    if (conversation?.view.isDetached) {
      conversation.view.attach();
      this.#divider.shown(conversation.contiguousSeq);
    }
    this.#isHeld = false;
    if (!this.#virtualWindow.isAtEnd) {
      this.#virtualWindow.toEnd(conversation?.contiguousSeq ?? 0);
      this.render();
    }
    this.#isAtEnd = true;
    this.#keepEnd();
    this.#afterLayout();
  }

  /** Focuses the newest message; arrow keys move from there. */
  focusLast() {
    this.toEnd();
    focusMessage([...this.#list.querySelectorAll(".message")].at(-1));
  }

  /**
   * Shows a loaded message and focuses it. Returns its row.
   * @param {number | undefined} seq
   * @param {{ focuses?: boolean, isAtTop?: boolean }} [options] isAtTop: at the top of the viewport instead of the middle
   */
  showMessage(seq = 0, { focuses = true, isAtTop = false } = {}) {
    const conversation = this.#conversation;
    if (!conversation) return null;
    this.#reopen();
    this.#isOpened = true;
    this.#virtualWindow.to(seq, conversation.view);
    this.#isAtEnd = false;
    this.#target = { seq, isAtTop };
    this.render();
    const row = rowWith(this.#list, seq);
    if (focuses) focusMessage(row);
    return row;
  }

  /** Shows the newest messages again: the first unread one, otherwise the end. */
  #toNewest() {
    const view = this.#conversation?.view;
    if (!this.#isHeld && !view?.isDetached) return this.toEnd();
    view?.attach();
    this.#reopen();
    this.render();
  }

  /** The next rendering decides where the conversation opens. */
  #reopen() {
    this.#virtualWindow = new VirtualWindow();
    this.#isAtEnd = true;
    this.#isOpened = false;
    this.#isHeld = false;
    this.#scrollsToNew = false;
    this.#target = undefined;
    this.#unreadLoading = undefined;
    this.#anchor.clear();
  }

  render() {
    const chat = this.#chat;
    const conversation = this.#conversation;
    if (!chat || !conversation) return;
    if (this.#isHeld) return this.showPlaceholder();
    const peer = this.#peer ?? "";
    const { view } = conversation;
    // Unloaded because too many messages were missing.
    if (!view.isLoaded) this.#isOpened = false;
    const settling = !this.#isOpened && view.isLoaded;
    if (settling && !this.#ensureUnreadLoaded(chat, conversation)) return;
    const newest = conversation.contiguousSeq;
    if (settling) this.#open(conversation);
    else if (!view.isDetached) {
      // Otherwise sticking to the end would scroll past it.
      if (this.#divider.missed(conversation)) this.#scrollsToNew = this.#isAtEnd;
      this.#virtualWindow.trim(newest, { isAtEnd: this.#isAtEnd && !this.#scrollsToNew });
    }
    // The messages were loaded again.
    if (this.#virtualWindow.last < view.firstSeq) this.#virtualWindow.toEnd(newest);
    const shown = shownMessages(chat, conversation, this.#virtualWindow);
    if (!this.#isAtEnd) this.#anchor.save();
    const focused = this.#list.contains(document.activeElement);
    const slides = this.#isOpened && !settling && !view.isDetached && !this.#target;
    renderRows(this.#list, group(shown, this.#divider.below(conversation)), {
      isFresh: (seq) => slides && this.#divider.isFresh(seq),
    });
    if (!this.#isAtEnd) this.#anchor.restore();
    if (focused && !this.#list.contains(document.activeElement)) this.#scroller.focus({ preventScroll: true });
    if (!view.isDetached) this.#divider.shown(newest);
    this.toggleAttribute("data-blocked", conversation.isBlocked);
    find(this, ".skeleton").hidden = view.isLoaded || shown.length > 0;
    const empty = view.isLoaded && shown.length === 0 && !conversation.isPeerDeleted && !conversation.isBlocked;
    const isNotes = peer === chat.me;
    const name = isNotes ? t("notes") : chat.profiles.shown(peer);
    showGreeting(find(this, ".greeting"), empty ? (isNotes ? "notes_empty" : "say_hello") : undefined, name);
    this.#scroller.setAttribute("aria-label", t("thread", { name }));
    if (this.#target) {
      this.#anchor.clear();
      scrollToRow(this.#scroller, rowWith(this.#list, this.#target.seq), this.#target);
      this.#target = undefined;
    } else if (this.#scrollsToNew) this.#scrollToNew();
    this.#keepEnd();
    this.#afterLayout();
  }

  get #conversation() {
    return this.#peer === undefined ? undefined : this.#chat?.conversations.getOrCreate(this.#peer);
  }

  /**
   * Loads the unread messages before anything is shown, so that the view does not jump. Returns
   * whether they are loaded already.
   * @param {Chat} chat
   * @param {Conversation} conversation
   */
  #ensureUnreadLoaded({ history }, conversation) {
    if (this.#unreadLoading) return false;
    const loading = history.reachUnread(conversation.peer);
    if (!loading) return true;
    this.showPlaceholder();
    this.#unreadLoading = loading;
    const openIfShown = () => {
      if (this.#unreadLoading !== loading) return; // another conversation is on screen
      this.#unreadLoading = undefined;
      this.#open(conversation);
      this.render();
    };
    void loading.then(openIfShown);
    return false;
  }

  /**
   * Decides where the conversation opens.
   * @param {Conversation} conversation
   */
  #open(conversation) {
    const { contiguousSeq } = conversation;
    this.#isOpened = true;
    this.#scrollsToNew = true;
    this.#divider.open(conversation);
    const first = this.#divider.below(conversation);
    if (first === undefined) this.#virtualWindow.toEnd(contiguousSeq);
    else this.#virtualWindow.to(first, conversation.view);
  }

  /** Scrolls to the divider "New messages", unless it is visible from the end. */
  #scrollToNew() {
    this.#scrollsToNew = false;
    this.#keepEnd();
    const divider = /** @type {HTMLElement | null} */ (this.querySelector(".day.new"));
    if (scrollToDivider(this.#scroller, divider, this.#virtualWindow)) this.#isAtEnd = false;
  }

  /**
   * @param {Conversation} conversation
   * @param {Message} message
   */
  #arrived(conversation, { seq, ...message }) {
    if (this.#divider.arrived(conversation, seq, this.#isAtEnd && isPageActive())) this.#scrollsToNew = this.#isAtEnd;
    const name = this.#chat?.profiles.shown(message.from) ?? message.from;
    announce(find(this, ".announcer"), t("announce", { name, text: plainText(previewText(message)) }));
  }

  #afterLayout() {
    const { scrollTop, scrollHeight, clientHeight } = this.#scroller;
    if (clientHeight === 0) return; // not on screen
    const below = scrollHeight - scrollTop - clientHeight;
    const isNear = this.#virtualWindow.isAtEnd && below < AT_END_PX;
    // Growing content moves the end away, so only a scroll in an unchanged layout leaves it.
    const layout = `${scrollHeight} ${clientHeight}`;
    const layoutChanged = layout !== this.#layout;
    this.#layout = layout;
    if (this.#isAtEnd && this.#virtualWindow.isAtEnd && !isNear && layoutChanged) return this.#keepEnd();
    this.#isAtEnd = isNear;
    if (isNear) this.#anchor.clear();
    else this.#anchor.save();
    hidePastDays(this.#list);
    showJump(find(this, ".jump"), { isHidden: this.#isAtEnd, unread: this.#conversation?.unread ?? 0 });
    this.#markSeen();
    if (this.#isOpened) this.#loadAround(scrollTop < NEAR_PX, below < NEAR_PX);
  }

  /**
   * Extends the window when the user scrolls near its edge.
   * @param {boolean} up
   * @param {boolean} down
   */
  #loadAround(up, down) {
    const conversation = this.#conversation;
    if (!conversation) return;
    const { view, peer } = conversation;
    // On a screen so tall that both edges are near, trimming one would extend it again at once.
    const max = up && down ? Number.POSITIVE_INFINITY : undefined;
    const hasGrown = (down && this.#virtualWindow.down(view, max)) || (up && this.#virtualWindow.up(view, max));
    if (up && this.#virtualWindow.first - view.firstSeq < PREFETCH) void this.#chat?.history.loadOlder(peer);
    if (down && view.lastSeq - this.#virtualWindow.last < PREFETCH) void this.#chat?.history.loadLater(peer);
    if (hasGrown) this.render();
  }

  /** Marks the newest message on screen as read while the page is active. */
  #markSeen() {
    const conversation = this.#conversation;
    // After a jump, unread messages may precede those on screen.
    if (!conversation || conversation.view.isDetached || !isPageActive()) return;
    const { myRead, peer } = conversation;
    const seq = lastSeenSeq(this.#scroller, this.#list, myRead);
    if (seq !== undefined) this.#chat?.sync.markRead(peer, seq);
  }

  #keepEnd() {
    if (this.#isAtEnd) this.#scroller.scrollTop = this.#scroller.scrollHeight;
  }

  /** @param {KeyboardEvent} event */
  #onKey(event) {
    const target = targetOf(event);
    if (target === undefined) return;
    event.preventDefault();
    if (event.key === "Escape") event.stopPropagation(); // otherwise it would go back two steps
    if (target === "first") this.showMessage(this.#conversation?.view.firstSeq);
    else if (target === "last") this.focusLast();
    else if (target === "composer") this.dispatchEvent(new Event("focus-composer"));
    else focusMessage(target);
  }
}

customElements.define("chat-thread", ChatThread);
