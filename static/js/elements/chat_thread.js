/**
 * The messages of the open conversation. Keeps the scroll position while history loads above, or sticks to the end. Of a long
 * conversation, only a window around the reader is in the document.
 */

import {
  cloneTemplate,
  find,
  isPageActive,
  isTouch,
  onPageActivityChange,
  renderList,
  setText,
  setTick,
} from "../util/dom.js";
import { group } from "../util/grouping.js";
import { nameKey } from "../util/names.js";
import { textParts } from "../util/text_parts.js";
import { clock, dayWords, fullTime, timeRevision } from "../util/time.js";
import { errorText, language, t } from "../util/translate.js";
import { ScrollAnchor } from "./scroll_anchor.js";
import { VirtualWindow } from "./virtual_window.js";

/** @import { Item } from "../util/grouping.js" */
/** @import { Message } from "../store/conversation.js" */
/** @import { Chat } from "../chat_model.js" */
/** @import { Part } from "../util/text_parts.js" */

/**
 * A message to render, stored or pending.
 * @typedef {object} ShownMessage
 * @property {string} key
 * @property {string} from
 * @property {string} text
 * @property {number} at
 * @property {number} seq 0 while pending
 * @property {import("../util/dom.js").Tick | undefined} tick
 * @property {string} [ref] of a pending message
 * @property {string | undefined} [code] the error code of a failed message
 */

const AT_END_PX = 40;
const NEAR_PX = 800;
/** Opening at unread messages shows this fraction of read ones above the line "New messages". */
const NEW_LINE_AT = 0.25;
const ANNOUNCED_MAX = 5;
/** With fewer loaded messages above the window, more history is fetched. */
const PREFETCH = 100;

/** `write`: the keyboard focus should return to the composer. */
export class ChatThread extends HTMLElement {
  /** @type {Chat | undefined} */
  #chat;
  /** @type {string | undefined} */
  #peer;
  /** @type {HTMLElement} */
  #scroller = find(this, ".scroller");
  /** @type {HTMLElement} */
  #list = find(this, ".messages");
  #window = new VirtualWindow();
  #anchor = new ScrollAnchor(this.#scroller, this.#list);
  #atEnd = true;
  /** The heights at the last scroll check. */
  #layout = "";
  #lastShown = 0;
  #isOpened = false;
  /** Whether to scroll to the first unread message at the next render. */
  #scrollsToNew = false;
  /** The newest seq that arrived while the user was looking at the end. */
  #seenSeq = 0;
  /** @type {Promise<void> | undefined} the running load of history up to the first unread message */
  #unreadLoading;
  /** The line "New messages" is drawn after this seq; undefined for none. @type {number | undefined} */
  #newAfter;

  /** @param {Chat} chat */
  start(chat) {
    this.#chat = chat;
    chat.conversations.on("conversation", (peer) => this.#isShown(peer) && this.render());
    chat.conversations.on("arrived", (message) => this.#isShown(message.from) && this.#arrived(message));
    this.#scroller.addEventListener("scroll", () => this.#onScroll(), { passive: true });
    chat.conversations.on("replied", (peer) => {
      if (this.#newAfter === undefined || !this.#isShown(peer)) return;
      this.#newAfter = undefined; // a reply implies that the messages were read
      this.render();
    });
    onPageActivityChange(() => this.#markSeen());
    const sizes = new ResizeObserver(() => {
      this.#keepEnd();
      this.#onScroll();
    });
    sizes.observe(this.#scroller);
    sizes.observe(find(this, ".inner"));
    find(this, ".jump").addEventListener("click", () => this.toEnd());
    this.#list.addEventListener("click", (event) => this.#onClick(event));
    this.#list.addEventListener("keydown", (event) => this.#onKey(event));
    this.#list.addEventListener("focusout", (event) => {
      const left = /** @type {Element} */ (event.target);
      left.removeAttribute("aria-label");
    });
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
    this.#window = new VirtualWindow();
    this.#atEnd = true;
    this.#isOpened = false;
    this.#scrollsToNew = false;
    this.#unreadLoading = undefined;
    this.#newAfter = undefined;
    this.#seenSeq = 0;
    this.#lastShown = 0;
    this.#anchor.clear();
    renderList(this.#list, [], { key: () => "", make: () => cloneTemplate("day"), update: () => {} });
    find(this, ".announcer").replaceChildren();
    this.#showGreeting("");
    for (const part of [".skeleton", ".jump"]) find(this, part).hidden = true;
    this.render();
  }

  /** Shows a placeholder while the peer's name is resolved. */
  expect() {
    find(this, ".skeleton").hidden = false;
  }

  /** Shows that no such user exists. @param {string} name */
  showUnknown(name) {
    this.#showGreeting(t("no_such_person", { name }));
  }

  toEnd() {
    if (!this.#window.atEnd) {
      this.#window.toEnd(this.#contiguousSeq);
      this.render();
    }
    this.#atEnd = true;
    this.#keepEnd();
    this.#onScroll();
  }

  /** Focuses the newest message; arrow keys move from there. */
  focusLast() {
    this.toEnd();
    this.#focusMessage([...this.#list.querySelectorAll(".message")].at(-1));
  }

  #focusFirstMessage() {
    if (this.#peer === undefined || !this.#chat) return;
    this.#window.to(this.#chat.conversations.with(this.#peer).firstSeq, this.#contiguousSeq);
    this.#atEnd = false;
    this.render();
    this.#focusMessage(this.#list.querySelector(".message"));
  }

  render() {
    const chat = this.#chat;
    const peer = this.#peer;
    if (!chat || peer === undefined) return;
    const conversation = chat.conversations.with(peer);
    if (!conversation.loaded) this.#isOpened = false; // unloaded because too many messages were missing
    const settling = !this.#isOpened && conversation.loaded;
    if (settling && !this.#loadUnread(chat, peer)) return;
    const held = this.#contiguousSeq;
    if (settling) this.#open(conversation);
    else {
      this.#markMissed(conversation);
      this.#window.grown(held, this.#atEnd && !this.#scrollsToNew);
    }
    if (this.#window.last < conversation.firstSeq) this.#window.toEnd(held); // reloaded
    const shown = this.#shown(peer);
    if (!this.#atEnd) this.#anchor.save();
    const focused = this.#list.contains(document.activeElement);
    const newAfter = conversation.blocked ? undefined : this.#newAfter;
    const newFrom = newAfter === undefined ? undefined : conversation.firstAfter(newAfter);
    renderList(this.#list, group(shown, newFrom), {
      key: (item) => (item.kind === "message" ? item.message.key : item.key),
      make: (item) => this.#make(item),
      update: (element, item) => this.#update(element, item),
    });
    if (!this.#atEnd) this.#anchor.restore();
    if (focused && !this.#list.contains(document.activeElement)) this.#scroller.focus({ preventScroll: true });
    this.#lastShown = Math.max(this.#lastShown, held);
    this.toggleAttribute("data-blocked", conversation.blocked);
    find(this, ".skeleton").hidden = conversation.loaded || shown.length > 0;
    const empty = conversation.loaded && shown.length === 0 && !conversation.peerDeleted && !conversation.blocked;
    this.#showGreeting(empty ? (peer === chat.me ? t("notes_empty") : t("say_hello", { name: peer })) : "");
    const name = peer === chat.me ? t("notes") : peer;
    this.#scroller.setAttribute("aria-label", t("thread", { name }));
    if (this.#scrollsToNew) this.#scrollToNew();
    this.#keepEnd();
    this.#onScroll();
  }

  /** The highest contiguous seq. */
  get #contiguousSeq() {
    return this.#peer === undefined ? 0 : (this.#chat?.conversations.with(this.#peer).contiguousSeq ?? 0);
  }

  /**
   * Whether the unread messages are loaded. If not, loads them before anything is shown, so that the view does not jump.
   * @param {Chat} chat
   * @param {string} peer
   */
  #loadUnread(chat, peer) {
    if (this.#unreadLoading) return false;
    const reaching = chat.loader.reachUnread(peer);
    if (!reaching) return true;
    find(this, ".skeleton").hidden = false;
    this.#unreadLoading = reaching;
    void this.#openAfter(reaching, chat.conversations.with(peer));
    return false;
  }

  /**
   * @param {Promise<void>} reaching
   * @param {import("../store/conversation.js").Conversation} conversation
   */
  async #openAfter(reaching, conversation) {
    await reaching;
    if (this.#unreadLoading !== reaching) return; // another conversation is on screen
    this.#unreadLoading = undefined;
    this.#open(conversation);
    this.render();
  }

  /**
   * Decides where the conversation opens.
   * @param {import("../store/conversation.js").Conversation} conversation
   */
  #open(conversation) {
    const { myRead, contiguousSeq } = conversation;
    this.#isOpened = true;
    this.#scrollsToNew = true;
    const first = conversation.blocked ? undefined : conversation.firstAfter(myRead);
    this.#newAfter = first === undefined ? undefined : myRead;
    if (first === undefined) this.#window.toEnd(contiguousSeq);
    else this.#window.to(first, contiguousSeq);
  }

  /**
   * Marks messages that arrived before the page was open or while it was offline as new.
   * @param {import("../store/conversation.js").Conversation} conversation
   */
  #markMissed(conversation) {
    const known = Math.max(conversation.myRead, this.#lastShown);
    const first = conversation.firstAfter(known);
    if (first !== undefined && first > this.#seenSeq) this.#setNewAfter(conversation, known);
  }

  /**
   * Draws the line "New messages" after `seq`, unless there is one above unread messages.
   * @param {import("../store/conversation.js").Conversation} conversation
   * @param {number} seq
   */
  #setNewAfter(conversation, seq) {
    const line = this.#newAfter === undefined ? undefined : conversation.firstAfter(this.#newAfter);
    if (line === undefined || line <= conversation.myRead) this.#newAfter = seq;
    this.#scrollsToNew = this.#atEnd; // otherwise sticking to the end would scroll past it
  }

  /** Scrolls to the line "New messages", unless it is visible from the end. */
  #scrollToNew() {
    this.#scrollsToNew = false;
    this.#keepEnd();
    const line = this.querySelector(".day.new");
    if (!line) return;
    const above = line.getBoundingClientRect().top - this.#scroller.getBoundingClientRect().top;
    if (this.#window.atEnd && above >= 0) return;
    this.#atEnd = false;
    this.#scroller.scrollTop += above - this.#scroller.clientHeight * NEW_LINE_AT;
  }

  /**
   * The messages to render: stored ones in the window, then pending ones.
   * @param {string} peer
   * @returns {ShownMessage[]}
   */
  #shown(peer) {
    const chat = /** @type {Chat} */ (this.#chat);
    const conversation = chat.conversations.with(peer);
    const { first, last, atEnd } = this.#window;
    const start = Math.max(0, first - conversation.firstSeq);
    const end = atEnd ? undefined : Math.max(0, last - conversation.firstSeq + 1);
    const stored = conversation
      .messages()
      .slice(start, end)
      .map((message) => {
        const mine = message.from === chat.me;
        return {
          key: message.ref ?? `#${message.seq}`,
          from: message.from,
          text: message.text,
          at: message.at,
          seq: message.seq,
          tick: mine ? conversation.markOf(message) : undefined,
        };
      });
    if (!atEnd) return stored;
    const pendingMessages = chat.outbox.to(peer).map((pending) => ({
      key: pending.ref,
      from: chat.me,
      text: pending.text,
      at: pending.at,
      seq: 0,
      tick: pending.state,
      ref: pending.ref,
      code: pending.code,
    }));
    return [...stored, ...pendingMessages];
  }

  /** @param {Item<ShownMessage>} item */
  #make(item) {
    if (item.kind !== "message") {
      const line = cloneTemplate("day");
      line.classList.toggle("new", item.kind === "new");
      return line;
    }
    const element = cloneTemplate("message");
    const { seq, text, from } = item.message;
    find(element, ".text").append(...textParts(text).map(partNode));
    const mine = from === this.#chat?.me;
    element.classList.toggle("mine", mine);
    element.classList.toggle("emoji", item.emoji);
    // New messages slide in at the end; history does not.
    if (this.#isOpened && (seq === 0 || seq > this.#lastShown)) {
      element.classList.add("new");
      element.addEventListener("animationend", () => element.classList.remove("new"), { once: true });
    }
    return element;
  }

  /**
   * @param {HTMLElement} element
   * @param {Item<ShownMessage>} item
   */
  #update(element, item) {
    if (item.kind !== "message") {
      setText(element, item.kind === "day" ? dayWords(item.at) : t("new_line"));
      return;
    }
    const { message, first, last } = item;
    const renderKey = `${language()} ${timeRevision()} ${message.seq} ${message.tick} ${message.code} ${message.at} ${first} ${last}`;
    if (element.dataset.renderKey === renderKey) return; // unchanged, as most rows of a long thread are
    element.dataset.renderKey = renderKey;
    const waiting = message.tick === "sending" || message.tick === "failed";
    element.classList.toggle("first", first);
    element.classList.toggle("last", last);
    element.classList.toggle("waiting", waiting);
    element.dataset.seq = String(message.seq);
    const mine = message.from === this.#chat?.me;
    setText(find(element, ".author"), `${mine ? t("from_me") : message.from}: `);
    const time = find(element, "time");
    setText(time, clock(message.at));
    time.dateTime = new Date(message.at).toISOString();
    find(element, ".bubble").title = fullTime(message.at);
    setTick(element, message.tick);
    this.#updateFailure(element, message);
  }

  /**
   * @param {HTMLElement} element
   * @param {ShownMessage} message
   */
  #updateFailure(element, { tick, ref, code }) {
    let failure = /** @type {HTMLElement | null} */ (element.querySelector(".failure"));
    if (tick !== "failed") {
      failure?.remove();
      return;
    }
    if (!failure) {
      failure = cloneTemplate("failure");
      element.append(failure);
    }
    failure.dataset.ref = ref ?? "";
    setText(find(failure, ".why"), errorText(code ?? ""));
  }

  /** @param {string} words */
  #showGreeting(words) {
    const greeting = find(this, ".greeting");
    greeting.hidden = words === "";
    setText(greeting, words);
  }

  /** @param {Message} message */
  #arrived({ from, text, seq }) {
    const conversation = this.#chat?.conversations.with(from);
    const reading = this.#atEnd && isPageActive();
    if (reading) this.#seenSeq = Math.max(this.#seenSeq, seq);
    else if (conversation) this.#setNewAfter(conversation, seq - 1);
    // One element per message, so that screen readers announce repeated texts and several messages at once.
    const announcer = find(this, ".announcer");
    const words = document.createElement("p");
    words.textContent = t("announce", { name: from, text });
    announcer.append(words);
    if (announcer.childElementCount > ANNOUNCED_MAX) announcer.firstElementChild?.remove();
  }

  /** @param {Event} event */
  #onClick(event) {
    const button = /** @type {Element} */ (event.target).closest("button");
    const ref = /** @type {HTMLElement | null} */ (button?.closest(".failure"))?.dataset.ref;
    if (!button || !ref) return;
    if (button.classList.contains("retry")) this.#chat?.outbox.retry(ref);
    else this.#chat?.outbox.settle(ref);
    // The button was removed; without this, the focus would move to the top of the page.
    if (!isTouch()) this.#scroller.focus({ preventScroll: true });
  }

  #onScroll() {
    const { scrollTop, scrollHeight, clientHeight } = this.#scroller;
    if (clientHeight === 0) return; // not on screen
    const below = scrollHeight - scrollTop - clientHeight;
    const isNear = this.#window.atEnd && below < AT_END_PX;
    // Growing content moves the end away; the user has left the end only if the layout is unchanged.
    const layout = `${scrollHeight} ${clientHeight}`;
    const isMoved = layout !== this.#layout;
    this.#layout = layout;
    if (this.#atEnd && this.#window.atEnd && !isNear && isMoved) return this.#keepEnd();
    this.#atEnd = isNear;
    if (isNear) this.#anchor.clear();
    else this.#anchor.save();
    this.#showJump();
    this.#markSeen();
    if (this.#isOpened) this.#loadAround(scrollTop < NEAR_PX, below < NEAR_PX);
  }

  #showJump() {
    const unread = this.#peer === undefined ? 0 : (this.#chat?.conversations.with(this.#peer).unread ?? 0);
    const jump = find(this, ".jump");
    jump.hidden = this.#atEnd;
    setText(find(jump, ".count"), unread ? t("new_count", { count: unread }) : "");
    jump.setAttribute("aria-label", unread ? t("new_messages", { count: unread }) : t("to_newest"));
  }

  /**
   * Extends the window when the user scrolls near its edge.
   * @param {boolean} up
   * @param {boolean} down
   */
  #loadAround(up, down) {
    const chat = this.#chat;
    const peer = this.#peer;
    if (!chat || peer === undefined) return;
    const { firstSeq, contiguousSeq } = chat.conversations.with(peer);
    // On a screen so tall that both edges are near, trimming one would make it necessary again at once.
    const most = up && down ? Number.POSITIVE_INFINITY : undefined;
    const more =
      (down && this.#window.down(contiguousSeq, most)) || (up && this.#window.up(firstSeq, contiguousSeq, most));
    if (up && this.#window.first - firstSeq < PREFETCH) void chat.loader.loadOlder(peer);
    if (more) this.render();
  }

  /** Marks the newest message on screen as read while the page is active. */
  #markSeen() {
    const chat = this.#chat;
    const peer = this.#peer;
    if (!chat || peer === undefined || !isPageActive()) return;
    const { myRead } = chat.conversations.with(peer);
    const end = this.#scroller.getBoundingClientRect().bottom;
    for (let element = this.#list.lastElementChild; element; element = element.previousElementSibling) {
      const seq = Number(/** @type {HTMLElement} */ (element).dataset.seq ?? 0);
      if (seq === 0 || element.classList.contains("mine")) continue;
      if (seq <= myRead) return;
      const box = element.getBoundingClientRect();
      // Visible enough to be read: all of it, or the first 48 px of a long one.
      if (box.height > 0 && box.top + Math.min(box.height, 48) <= end) {
        chat.sync.markRead(peer, seq);
        return;
      }
    }
  }

  #keepEnd() {
    if (this.#atEnd) this.#scroller.scrollTop = this.#scroller.scrollHeight;
  }

  /** @param {KeyboardEvent} event */
  #onKey(event) {
    const message = /** @type {Element} */ (event.target).closest(".message");
    if (!message || event.ctrlKey || event.altKey || event.metaKey || event.shiftKey) return;
    if (event.key === "ArrowUp") this.#focusMessage(sibling(message, "previousElementSibling"));
    else if (event.key === "ArrowDown") {
      const next = sibling(message, "nextElementSibling");
      if (next) this.#focusMessage(next);
      else this.dispatchEvent(new Event("write"));
    } else if (event.key === "Home") this.#focusFirstMessage();
    else if (event.key === "End") this.focusLast();
    else if (event.key === "Escape") {
      event.stopPropagation(); // otherwise it would go back two steps
      this.dispatchEvent(new Event("write"));
    } else return;
    event.preventDefault();
  }

  /**
   * Focuses a message, labelled with author, text, time and delivery state for screen readers.
   * @param {Element | null | undefined} message
   */
  #focusMessage(message) {
    if (!(message instanceof HTMLElement)) return;
    const said = [".author", ".text", "time", ".state"].map((part) => find(message, part).textContent.trim());
    message.tabIndex = -1;
    message.setAttribute("aria-label", said.filter(Boolean).join(" "));
    message.focus();
  }
}

/**
 * @param {Element} message
 * @param {"previousElementSibling" | "nextElementSibling"} side
 */
function sibling(message, side) {
  let next = message[side];
  while (next && !next.classList.contains("message")) next = next[side];
  return next;
}

/** @param {Part} part */
function partNode(part) {
  if (part.code) return code(part);
  return isSafeLink(part) ? link(part) : part.text;
}

/** @param {Part} part */
function code({ text, code: kind, language }) {
  const element = document.createElement("code");
  element.textContent = text;
  if (kind === "inline") return element;
  const block = document.createElement("pre");
  if (language) block.dataset.language = language;
  block.append(element);
  return block;
}

/**
 * Whether a part is a link that is safe to follow. Of this server only the chat page is: a link to /logout, for example, would
 * sign the user out.
 *
 * @param {Part} part
 */
function isSafeLink({ href }) {
  if (href === undefined) return false;
  const { origin, pathname } = new URL(href);
  return origin !== location.origin || pathname === "/";
}

/** @param {Part} part */
function link({ text, href = "" }) {
  const anchor = /** @type {HTMLAnchorElement} */ (cloneTemplate("link"));
  anchor.href = href;
  anchor.textContent = text;
  return anchor;
}

customElements.define("chat-thread", ChatThread);
