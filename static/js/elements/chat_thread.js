/** The open conversation's messages. Keeps the scroll position or sticks to the end. */

import { find, isPageActive, isTouch, onPageActivityChange, renderList, setText } from "../util/dom.js";
import { nameKey } from "../util/names.js";
import { t } from "../util/translate.js";
import { focusMessage, makeRow, targetOf, updateRow } from "./message_row.js";
import { group, shownMessages, UnreadDivider } from "./thread_items.js";
import { hidePastDays, ScrollAnchor, VirtualWindow } from "./thread_viewport.js";

/** @import { Chat } from "../chat_model.js" */
/** @import { Conversation, Message } from "../store/conversation.js" */
/** @import { Item, ShownMessage } from "./thread_items.js" */

const AT_END_PX = 40;
const NEAR_PX = 800;
/** Opening at unread messages puts the divider at this fraction of the viewport's height. */
const DIVIDER_AT = 0.25;
const ANNOUNCED_MAX = 5;
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
  /** Whether to scroll to the first unread message at the next render. */
  #scrollsToNew = false;
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
    find(this, ".jump").addEventListener("click", () => this.toEnd());
    this.#list.addEventListener("click", (event) => this.#onClick(event));
    this.#list.addEventListener("keydown", (event) => this.#onKey(event));
    this.#list.addEventListener("extras", () => this.render());
  }

  /** @param {string} peer */
  #isShown(peer) {
    return this.#peer !== undefined && nameKey(peer) === nameKey(this.#peer);
  }

  /**
   * Shows the conversation with `peer` at its first unread message, otherwise at its end.
   * @param {string | undefined} peer
   */
  show(peer) {
    this.#peer = peer;
    this.#virtualWindow = new VirtualWindow();
    this.#isAtEnd = true;
    this.#isOpened = false;
    this.#scrollsToNew = false;
    this.#unreadLoading = undefined;
    this.#divider = new UnreadDivider();
    this.#anchor.clear();
    this.#renderRows([]);
    find(this, ".announcer").replaceChildren();
    this.#showGreeting("");
    for (const part of [".skeleton", ".jump"]) find(this, part).hidden = true;
    this.render();
  }

  /** Shows a placeholder while the peer's name is resolved. */
  showPlaceholder() {
    find(this, ".skeleton").hidden = false;
  }

  /** Shows that no such user exists. @param {string} name */
  showUnknown(name) {
    this.#showGreeting(t("no_such_person", { name }));
  }

  toEnd() {
    if (!this.#virtualWindow.isAtEnd) {
      this.#virtualWindow.toEnd(this.#conversation?.contiguousSeq ?? 0);
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

  /** Shows a loaded message and focuses it. @param {number | undefined} seq */
  showMessage(seq = 0) {
    this.#virtualWindow.to(seq, this.#conversation?.contiguousSeq ?? 0);
    this.#isAtEnd = false;
    this.render();
    focusMessage(this.#list.querySelector(`[data-seq="${seq}"]`));
  }

  render() {
    const chat = this.#chat;
    const conversation = this.#conversation;
    if (!chat || !conversation) return;
    const peer = this.#peer ?? "";
    // Unloaded because too many messages were missing.
    if (!conversation.isLoaded) this.#isOpened = false;
    const settling = !this.#isOpened && conversation.isLoaded;
    if (settling && !this.#ensureUnreadLoaded(chat, conversation)) return;
    const newest = conversation.contiguousSeq;
    if (settling) this.#open(conversation);
    else {
      // Otherwise sticking to the end would scroll past it.
      if (this.#divider.missed(conversation)) this.#scrollsToNew = this.#isAtEnd;
      this.#virtualWindow.trim(newest, { isAtEnd: this.#isAtEnd && !this.#scrollsToNew });
    }
    // The messages were loaded again.
    if (this.#virtualWindow.last < conversation.firstSeq) this.#virtualWindow.toEnd(newest);
    const shown = shownMessages(chat, conversation, this.#virtualWindow);
    if (!this.#isAtEnd) this.#anchor.save();
    const focused = this.#list.contains(document.activeElement);
    this.#renderRows(group(shown, this.#divider.below(conversation)));
    if (!this.#isAtEnd) this.#anchor.restore();
    if (focused && !this.#list.contains(document.activeElement)) this.#scroller.focus({ preventScroll: true });
    this.#divider.shown(newest);
    this.toggleAttribute("data-blocked", conversation.isBlocked);
    find(this, ".skeleton").hidden = conversation.isLoaded || shown.length > 0;
    const empty = conversation.isLoaded && shown.length === 0 && !conversation.isPeerDeleted && !conversation.isBlocked;
    const isNotes = peer === chat.me;
    const name = isNotes ? t("notes") : chat.profiles.shown(peer);
    this.#showGreeting(empty ? t(isNotes ? "notes_empty" : "say_hello", { name }) : "");
    this.#scroller.setAttribute("aria-label", t("thread", { name }));
    if (this.#scrollsToNew) this.#scrollToNew();
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
  #ensureUnreadLoaded({ loader }, conversation) {
    if (this.#unreadLoading) return false;
    const loading = loader.reachUnread(conversation.peer);
    if (!loading) return true;
    find(this, ".skeleton").hidden = false;
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
    else this.#virtualWindow.to(first, contiguousSeq);
  }

  /** Scrolls to the divider "New messages", unless it is visible from the end. */
  #scrollToNew() {
    this.#scrollsToNew = false;
    this.#keepEnd();
    const divider = this.querySelector(".day.new");
    if (!divider) return;
    const above = divider.getBoundingClientRect().top - this.#scroller.getBoundingClientRect().top;
    if (this.#virtualWindow.isAtEnd && above >= 0) return;
    this.#isAtEnd = false;
    this.#scroller.scrollTop += above - this.#scroller.clientHeight * DIVIDER_AT;
  }

  /** @param {Item<ShownMessage>[]} items */
  #renderRows(items) {
    renderList(this.#list, items, {
      key: (item) => (item.kind === "message" ? item.message.key : item.key),
      make: (item) => {
        const row = makeRow(item);
        const seq = item.kind === "message" ? item.message.seq : undefined;
        // New messages slide in at the end; history does not.
        if (this.#isOpened && (seq === 0 || this.#divider.isFresh(seq ?? 0))) {
          row.classList.add("new");
          row.addEventListener("animationend", () => row.classList.remove("new"), { once: true });
        }
        return row;
      },
      update: updateRow,
    });
  }

  /** @param {string} text */
  #showGreeting(text) {
    const greeting = find(this, ".greeting");
    greeting.hidden = text === "";
    setText(greeting, text);
  }

  /**
   * @param {Conversation} conversation
   * @param {Message} message
   */
  #arrived(conversation, { from, text, seq }) {
    const isReading = this.#isAtEnd && isPageActive();
    if (this.#divider.arrived(conversation, seq, isReading)) this.#scrollsToNew = this.#isAtEnd;
    // One element each: screen readers then announce repeated texts and several messages at once.
    const announcer = find(this, ".announcer");
    const announcement = document.createElement("p");
    announcement.textContent = t("announce", { name: this.#chat?.profiles.shown(from) ?? from, text });
    announcer.append(announcement);
    if (announcer.childElementCount > ANNOUNCED_MAX) announcer.firstElementChild?.remove();
  }

  /** @param {Event} event */
  #onClick(event) {
    const button = /** @type {Element} */ (event.target).closest("button");
    const ref = /** @type {HTMLElement | null} */ (button?.closest(".failure"))?.dataset.ref;
    if (!button || !ref) return;
    if (button.classList.contains("retry")) this.#chat?.outbox.retry(ref);
    else this.#chat?.outbox.remove(ref);
    // The button was removed; without this, the focus would move to the top of the page.
    if (!isTouch()) this.#scroller.focus({ preventScroll: true });
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
    this.#showJump();
    this.#markSeen();
    if (this.#isOpened) this.#loadAround(scrollTop < NEAR_PX, below < NEAR_PX);
  }

  #showJump() {
    const unread = this.#conversation?.unread ?? 0;
    const jump = find(this, ".jump");
    jump.hidden = this.#isAtEnd;
    setText(find(jump, ".count"), unread ? t("new_count", { count: unread }) : "");
    jump.setAttribute("aria-label", unread ? t("new_messages", { count: unread }) : t("to_newest"));
  }

  /**
   * Extends the window when the user scrolls near its edge.
   * @param {boolean} up
   * @param {boolean} down
   */
  #loadAround(up, down) {
    const conversation = this.#conversation;
    if (!conversation) return;
    const { firstSeq, contiguousSeq, peer } = conversation;
    // On a screen so tall that both edges are near, trimming one would extend it again at once.
    const max = up && down ? Number.POSITIVE_INFINITY : undefined;
    const hasGrown =
      (down && this.#virtualWindow.down(contiguousSeq, max)) ||
      (up && this.#virtualWindow.up(firstSeq, contiguousSeq, max));
    if (up && this.#virtualWindow.first - firstSeq < PREFETCH) void this.#chat?.loader.loadOlder(peer);
    if (hasGrown) this.render();
  }

  /** Marks the newest message on screen as read while the page is active. */
  #markSeen() {
    const conversation = this.#conversation;
    if (!conversation || !isPageActive()) return;
    const { myRead, peer } = conversation;
    const end = this.#scroller.getBoundingClientRect().bottom;
    for (let element = this.#list.lastElementChild; element; element = element.previousElementSibling) {
      const seq = Number(/** @type {HTMLElement} */ (element).dataset.seq ?? 0);
      if (seq === 0 || element.classList.contains("mine")) continue;
      if (seq <= myRead) return;
      const box = element.getBoundingClientRect();
      // Visible enough to be read: all of it, or the first 48 px of a long one.
      if (box.height > 0 && box.top + Math.min(box.height, 48) <= end) {
        this.#chat?.sync.markRead(peer, seq);
        return;
      }
    }
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
    if (target === "first") this.showMessage(this.#conversation?.firstSeq);
    else if (target === "last") this.focusLast();
    else if (target === "composer") this.dispatchEvent(new Event("focus-composer"));
    else focusMessage(target);
  }
}

customElements.define("chat-thread", ChatThread);
