/**
 * The messages of the open conversation. Keeps the place while history comes in above, and the end while it was there; of a
 * long conversation only the stretch around the reader is in the document.
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
/** @import { Messenger } from "../store/messenger.js" */
/** @import { Part } from "../util/text_parts.js" */

/**
 * A message as it is shown, stored or not.
 * @typedef {object} Shown
 * @property {string} key
 * @property {string} from
 * @property {string} text
 * @property {number} at
 * @property {number} seq 0 while it has none
 * @property {import("../util/dom.js").Tick | undefined} tick
 * @property {string} [ref] of a draft
 * @property {string | undefined} [code] why it failed
 */

const AT_END_PX = 40;
const NEAR_PX = 800;
/** So much of what is read already stays above the line that says what is new. */
const ABOVE_NEW = 0.25;
const ANNOUNCED = 5;
/** With fewer messages in store above what is shown, more history is fetched. */
const AHEAD = 100;

export class ChatThread extends HTMLElement {
  /** @type {Messenger | undefined} */
  #messenger;
  /** @type {string | undefined} */
  #peer;
  /** @type {HTMLElement} */
  #scroller = find(this, ".scroller");
  /** @type {HTMLElement} */
  #list = find(this, ".messages");
  #window = new VirtualWindow();
  #anchor = new ScrollAnchor(this.#scroller, this.#list);
  #atEnd = true;
  /** The heights when the scroller was looked at last. */
  #layout = "";
  #lastShown = 0;
  #settled = false;
  /** Whether it is still to be gone to where the unread begin. */
  #opening = false;
  /** The newest seq that came before the eyes of the reader. */
  #witnessed = 0;
  /** @type {Promise<void> | undefined} history up to what is unread is on its way */
  #reaching;
  /** What came after this seq is new to the reader; undefined when nothing is. @type {number | undefined} */
  #newAfter;

  /** Called when the person wants back to writing. */
  onwrite = () => {};

  /** @param {Messenger} messenger */
  start(messenger) {
    this.#messenger = messenger;
    messenger.addEventListener("thread", (event) => {
      const { detail } = /** @type {CustomEvent<string>} */ (event);
      if (this.#peer !== undefined && nameKey(detail) === nameKey(this.#peer)) this.render();
    });
    messenger.addEventListener("arrived", (event) => this.#arrived(/** @type {CustomEvent<Message>} */ (event).detail));
    this.#scroller.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    messenger.addEventListener("replied", (event) => {
      const { detail } = /** @type {CustomEvent<string>} */ (event);
      if (this.#newAfter === undefined || this.#peer === undefined || nameKey(detail) !== nameKey(this.#peer)) return;
      this.#newAfter = undefined; // what one answers is not new
      this.render();
    });
    onPageActivityChange(() => this.#markSeen());
    const sizes = new ResizeObserver(() => {
      this.#keepEnd();
      this.#scrolled();
    });
    sizes.observe(this.#scroller);
    sizes.observe(find(this, ".inner"));
    find(this, ".jump").addEventListener("click", () => this.toEnd());
    this.#list.addEventListener("click", (event) => this.#clicked(event));
    this.#list.addEventListener("keydown", (event) => this.#key(event));
    this.#list.addEventListener("focusout", (event) => {
      const left = /** @type {Element} */ (event.target);
      left.removeAttribute("aria-label");
    });
  }

  /** Shows the conversation with `peer`: where the unread begin, else its end. @param {string | undefined} peer */
  show(peer) {
    this.#peer = peer;
    this.#window = new VirtualWindow();
    this.#atEnd = true;
    this.#settled = false;
    this.#opening = false;
    this.#reaching = undefined;
    this.#newAfter = undefined;
    this.#witnessed = 0;
    this.#lastShown = 0;
    this.#anchor.forget();
    renderList(this.#list, [], { key: () => "", make: () => cloneTemplate("day"), update: () => {} });
    find(this, ".announcer").replaceChildren();
    this.#greet("");
    for (const part of [".skeleton", ".jump"]) find(this, part).hidden = true;
    this.render();
  }

  /** Something will be shown, once it is known whose conversation it is. */
  expect() {
    find(this, ".skeleton").hidden = false;
  }

  /** Says that there is nobody of this name. @param {string} name */
  showNobody(name) {
    this.#greet(t("no_such_person", { name }));
  }

  toEnd() {
    if (!this.#window.atEnd) {
      this.#window.toEnd(this.#contiguousSeq);
      this.render();
    }
    this.#atEnd = true;
    this.#keepEnd();
    this.#scrolled();
  }

  /** Puts the focus on the newest message; the arrows go on from there. */
  focusLast() {
    this.toEnd();
    this.#focus([...this.#list.querySelectorAll(".message")].at(-1));
  }

  #focusFirst() {
    if (this.#peer === undefined || !this.#messenger) return;
    this.#window.to(this.#messenger.conversation(this.#peer).firstSeq, this.#contiguousSeq);
    this.#atEnd = false;
    this.render();
    this.#focus(this.#list.querySelector(".message"));
  }

  render() {
    const messenger = this.#messenger;
    const peer = this.#peer;
    if (!messenger || peer === undefined) return;
    const conversation = messenger.conversation(peer);
    if (!conversation.loaded) this.#settled = false; // it was too far behind
    const settling = !this.#settled && conversation.loaded;
    if (settling && !this.#reach(messenger, peer)) return;
    const held = this.#contiguousSeq;
    if (settling) this.#open(conversation);
    else {
      this.#noticeMissed(conversation);
      this.#window.grown(held, this.#atEnd && !this.#opening);
    }
    if (this.#window.last < conversation.firstSeq) this.#window.toEnd(held); // it was loaded anew
    const shown = this.#shown(peer);
    if (!this.#atEnd) this.#anchor.note();
    const focused = this.#list.contains(document.activeElement);
    const newAfter = conversation.blocked ? undefined : this.#newAfter;
    const newFrom = newAfter === undefined ? undefined : conversation.firstAfter(newAfter);
    renderList(this.#list, group(shown, newFrom), {
      key: (item) => (item.kind === "message" ? item.message.key : item.key),
      make: (item) => this.#make(item),
      update: (element, item) => this.#update(element, item),
    });
    if (!this.#atEnd) this.#anchor.keep();
    if (focused && !this.#list.contains(document.activeElement)) this.#scroller.focus({ preventScroll: true });
    this.#lastShown = Math.max(this.#lastShown, held);
    this.toggleAttribute("data-blocked", conversation.blocked);
    find(this, ".skeleton").hidden = conversation.loaded || shown.length > 0;
    const empty = conversation.loaded && shown.length === 0 && !conversation.peerDeleted && !conversation.blocked;
    this.#greet(empty ? (peer === messenger.me ? t("notes_empty") : t("say_hello", { name: peer })) : "");
    const name = peer === messenger.me ? t("notes") : peer;
    this.#scroller.setAttribute("aria-label", t("thread", { name }));
    if (this.#opening) this.#toNew();
    this.#keepEnd();
    this.#scrolled();
  }

  /** The newest seq that is here without a hole before it. */
  get #contiguousSeq() {
    return this.#peer === undefined ? 0 : (this.#messenger?.conversation(this.#peer).contiguousSeq ?? 0);
  }

  /**
   * Whether the unread messages are here; if not, they are fetched first, for nothing is to jump once it is shown.
   * @param {Messenger} messenger
   * @param {string} peer
   */
  #reach(messenger, peer) {
    if (this.#reaching) return false;
    const reaching = messenger.reachUnread(peer);
    if (!reaching) return true;
    find(this, ".skeleton").hidden = false;
    this.#reaching = reaching;
    void this.#openWhen(reaching, messenger.conversation(peer));
    return false;
  }

  /**
   * @param {Promise<void>} reaching
   * @param {import("../store/conversation.js").Conversation} conversation
   */
  async #openWhen(reaching, conversation) {
    await reaching;
    if (this.#reaching !== reaching) return; // another conversation is on screen
    this.#reaching = undefined;
    this.#open(conversation);
    this.render();
  }

  /** Decides what is shown first. @param {import("../store/conversation.js").Conversation} conversation */
  #open(conversation) {
    const { myRead, contiguousSeq } = conversation;
    this.#settled = true;
    this.#opening = true;
    const first = conversation.blocked ? undefined : conversation.firstAfter(myRead);
    this.#newAfter = first === undefined ? undefined : myRead;
    if (first === undefined) this.#window.toEnd(contiguousSeq);
    else this.#window.to(first, contiguousSeq);
  }

  /** What came while nobody listened, before this page was open or without a network, is new. @param {import("../store/conversation.js").Conversation} conversation */
  #noticeMissed(conversation) {
    const known = Math.max(conversation.myRead, this.#lastShown);
    const first = conversation.firstAfter(known);
    if (first !== undefined && first > this.#witnessed) this.#newSince(conversation, known);
  }

  /**
   * Draws the line, unless there is one with unread messages below it.
   * @param {import("../store/conversation.js").Conversation} conversation
   * @param {number} seq
   */
  #newSince(conversation, seq) {
    const line = this.#newAfter === undefined ? undefined : conversation.firstAfter(this.#newAfter);
    if (line === undefined || line <= conversation.myRead) this.#newAfter = seq;
    this.#opening = this.#atEnd; // or the end would be followed past it
  }

  /** Goes to where the unread begin, unless they are on screen at the end. */
  #toNew() {
    this.#opening = false;
    this.#keepEnd();
    const line = this.querySelector(".day.new");
    if (!line) return;
    const above = line.getBoundingClientRect().top - this.#scroller.getBoundingClientRect().top;
    if (this.#window.atEnd && above >= 0) return;
    this.#atEnd = false;
    this.#scroller.scrollTop += above - this.#scroller.clientHeight * ABOVE_NEW;
  }

  /** What of the conversation is shown: stored messages, then what waits in the outbox. @param {string} peer @returns {Shown[]} */
  #shown(peer) {
    const messenger = /** @type {Messenger} */ (this.#messenger);
    const conversation = messenger.conversation(peer);
    const { first, last, atEnd } = this.#window;
    const start = Math.max(0, first - conversation.firstSeq);
    const end = atEnd ? undefined : Math.max(0, last - conversation.firstSeq + 1);
    const stored = conversation
      .messages()
      .slice(start, end)
      .map((message) => {
        const mine = message.from === messenger.me;
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
    const drafts = messenger.outbox.to(peer).map((draft) => ({
      key: draft.ref,
      from: messenger.me,
      text: draft.text,
      at: draft.at,
      seq: 0,
      tick: draft.state,
      ref: draft.ref,
      code: draft.code,
    }));
    return [...stored, ...drafts];
  }

  /** @param {Item<Shown>} item */
  #make(item) {
    if (item.kind !== "message") {
      const line = cloneTemplate("day");
      line.classList.toggle("new", item.kind === "new");
      return line;
    }
    const element = cloneTemplate("message");
    const { seq, text, from } = item.message;
    find(element, ".text").append(...textParts(text).map(partNode));
    const mine = from === this.#messenger?.me;
    element.classList.toggle("mine", mine);
    element.classList.toggle("emoji", item.emoji);
    // What comes in at the end slides in; history does not.
    if (this.#settled && (seq === 0 || seq > this.#lastShown)) {
      element.classList.add("new");
      element.addEventListener("animationend", () => element.classList.remove("new"), { once: true });
    }
    return element;
  }

  /**
   * @param {HTMLElement} element
   * @param {Item<Shown>} item
   */
  #update(element, item) {
    if (item.kind !== "message") {
      setText(element, item.kind === "day" ? dayWords(item.at) : t("new_line"));
      return;
    }
    const { message, first, last } = item;
    const renderKey = `${language()} ${timeRevision()} ${message.seq} ${message.tick} ${message.code} ${message.at} ${first} ${last}`;
    if (element.dataset.renderKey === renderKey) return; // most of a long thread, most of the time
    element.dataset.renderKey = renderKey;
    const waiting = message.tick === "sending" || message.tick === "failed";
    element.classList.toggle("first", first);
    element.classList.toggle("last", last);
    element.classList.toggle("waiting", waiting);
    element.dataset.seq = String(message.seq);
    const mine = message.from === this.#messenger?.me;
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
   * @param {Shown} message
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
  #greet(words) {
    const greeting = find(this, ".greeting");
    greeting.hidden = words === "";
    setText(greeting, words);
  }

  /** @param {Message} message */
  #arrived({ from, text, seq }) {
    const peer = this.#peer;
    if (peer === undefined || nameKey(from) !== nameKey(peer)) return;
    const conversation = this.#messenger?.conversation(peer);
    const reading = this.#atEnd && isPageActive();
    if (reading) this.#witnessed = Math.max(this.#witnessed, seq);
    else if (conversation) this.#newSince(conversation, seq - 1);
    // Each in an element of its own: the same words twice are two messages, and three at once are all said.
    const announcer = find(this, ".announcer");
    const words = document.createElement("p");
    words.textContent = t("announce", { name: from, text });
    announcer.append(words);
    if (announcer.childElementCount > ANNOUNCED) announcer.firstElementChild?.remove();
  }

  /** @param {Event} event */
  #clicked(event) {
    const button = /** @type {Element} */ (event.target).closest("button");
    const ref = /** @type {HTMLElement | null} */ (button?.closest(".failure"))?.dataset.ref;
    if (!button || !ref) return;
    if (button.classList.contains("retry")) this.#messenger?.outbox.retry(ref);
    else this.#messenger?.outbox.discard(ref);
    // The button is gone, and the focus should not fall back to the top of the page.
    if (!isTouch()) this.#scroller.focus({ preventScroll: true });
  }

  #scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this.#scroller;
    if (clientHeight === 0) return; // not on screen
    const below = scrollHeight - scrollTop - clientHeight;
    const isNear = this.#window.atEnd && below < AT_END_PX;
    // What appears or grows moves the end away; only in a layout that stays does the reader leave it.
    const layout = `${scrollHeight} ${clientHeight}`;
    const isMoved = layout !== this.#layout;
    this.#layout = layout;
    if (this.#atEnd && this.#window.atEnd && !isNear && isMoved) return this.#keepEnd();
    this.#atEnd = isNear;
    if (isNear) this.#anchor.forget();
    else this.#anchor.note();
    this.#showJump();
    this.#markSeen();
    if (this.#settled) this.#extend(scrollTop < NEAR_PX, below < NEAR_PX);
  }

  #showJump() {
    const unread = this.#peer === undefined ? 0 : (this.#messenger?.conversation(this.#peer).unread ?? 0);
    const jump = find(this, ".jump");
    jump.hidden = this.#atEnd;
    setText(find(jump, ".count"), unread ? t("new_count", { count: unread }) : "");
    jump.setAttribute("aria-label", unread ? t("new_messages", { count: unread }) : t("to_newest"));
  }

  /**
   * The reader nears an end of what is in the document.
   * @param {boolean} up
   * @param {boolean} down
   */
  #extend(up, down) {
    const messenger = this.#messenger;
    const peer = this.#peer;
    if (!messenger || peer === undefined) return;
    const { firstSeq, contiguousSeq } = messenger.conversation(peer);
    // On a screen so tall that both ends are near, to let go at one would be to miss it at once.
    const most = up && down ? Number.POSITIVE_INFINITY : undefined;
    const more =
      (down && this.#window.down(contiguousSeq, most)) || (up && this.#window.up(firstSeq, contiguousSeq, most));
    if (up && this.#window.first - firstSeq < AHEAD) void messenger.loadOlder(peer);
    if (more) this.render();
  }

  /** What was on screen, in a page that somebody renderKey at, has been read. */
  #markSeen() {
    const messenger = this.#messenger;
    const peer = this.#peer;
    if (!messenger || peer === undefined || !isPageActive()) return;
    const { myRead } = messenger.conversation(peer);
    const end = this.#scroller.getBoundingClientRect().bottom;
    for (let element = this.#list.lastElementChild; element; element = element.previousElementSibling) {
      const seq = Number(/** @type {HTMLElement} */ (element).dataset.seq ?? 0);
      if (seq === 0 || element.classList.contains("mine")) continue;
      if (seq <= myRead) return;
      const box = element.getBoundingClientRect();
      // Enough of it to be read; a long one has its first lines.
      if (box.height > 0 && box.top + Math.min(box.height, 48) <= end) {
        messenger.seen(peer, seq);
        return;
      }
    }
  }

  #keepEnd() {
    if (this.#atEnd) this.#scroller.scrollTop = this.#scroller.scrollHeight;
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    const message = /** @type {Element} */ (event.target).closest(".message");
    if (!message || event.ctrlKey || event.altKey || event.metaKey || event.shiftKey) return;
    if (event.key === "ArrowUp") this.#focus(besides(message, "previousElementSibling"));
    else if (event.key === "ArrowDown") {
      const next = besides(message, "nextElementSibling");
      if (next) this.#focus(next);
      else this.onwrite();
    } else if (event.key === "Home") this.#focusFirst();
    else if (event.key === "End") this.focusLast();
    else if (event.key === "Escape") {
      event.stopPropagation(); // it leads back one step, not two
      this.onwrite();
    } else return;
    event.preventDefault();
  }

  /** Puts the focus on a message; a reader says who wrote it, what, when, and how far it has come. @param {Element | null | undefined} message */
  #focus(message) {
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
function besides(message, side) {
  let next = message[side];
  while (next && !next.classList.contains("message")) next = next[side];
  return next;
}

/** @param {Part} part */
function partNode(part) {
  if (part.code) return code(part);
  return leadsAway(part) ? link(part) : part.text;
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
 * Whether a piece of text is a link that may be followed. Of this server only the chat itself is: at /logout, whoever follows
 * somebody's link would be signed out.
 *
 * @param {Part} part
 */
function leadsAway({ href }) {
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
