/** The messages of the open conversation. Keeps the place while history comes in above, and the end while it was there. */

import { copy, find, isTouch, render, setText, setTick } from "./dom.js";
import { group } from "./grouping.js";
import { links } from "./links.js";
import { nameKey } from "./names.js";
import { clock, dayWords, fullTime } from "./time.js";
import { errorWord, language, word } from "./words.js";

/** @import { Item } from "./grouping.js" */
/** @import { Token } from "./links.js" */
/** @import { Message } from "./conversation.js" */
/** @import { Messenger } from "./messenger.js" */

/**
 * A message as it is shown, stored or not.
 * @typedef {object} Shown
 * @property {string} key
 * @property {string} from
 * @property {string} text
 * @property {number} at
 * @property {number} seq 0 while it has none
 * @property {import("./dom.js").Tick | undefined} tick
 * @property {string} [ref] of a draft
 * @property {string | undefined} [code] why it failed
 */

const AT_END_PX = 40;
const NEAR_START_PX = 800;

export class ChatThread extends HTMLElement {
  /** @type {Messenger | undefined} */
  #messenger;
  /** @type {string | undefined} */
  #peer;
  /** @type {HTMLElement} */
  #scroller = find(this, ".scroller");
  /** @type {HTMLElement} */
  #list = find(this, ".messages");
  #atEnd = true;
  #missed = 0;
  #firstShown = 0;
  #lastShown = 0;
  #settled = false;

  /** @param {Messenger} messenger */
  start(messenger) {
    this.#messenger = messenger;
    messenger.addEventListener("thread", (event) => {
      const { detail } = /** @type {CustomEvent<string>} */ (event);
      if (this.#peer !== undefined && nameKey(detail) === nameKey(this.#peer)) this.render();
    });
    messenger.addEventListener("arrived", (event) => this.#arrived(/** @type {CustomEvent<Message>} */ (event).detail));
    this.#scroller.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    document.addEventListener("visibilitychange", () => this.#markSeen());
    const sizes = new ResizeObserver(() => this.#keepEnd());
    sizes.observe(this.#scroller);
    sizes.observe(find(this, ".inner"));
    find(this, ".jump").addEventListener("click", () => this.toEnd());
    this.#list.addEventListener("click", (event) => this.#clicked(event));
  }

  /** Shows the conversation with `peer`, at its end. @param {string | undefined} peer */
  show(peer) {
    this.#peer = peer;
    this.#atEnd = true;
    this.#missed = 0;
    this.#settled = false;
    this.#firstShown = 0;
    this.#lastShown = 0;
    render(this.#list, [], { key: () => "", make: () => copy("day"), update: () => {} });
    setText(find(this, ".announcer"), "");
    this.render();
  }

  /** Says that there is nobody of this name. @param {string} name */
  showNobody(name) {
    this.show(undefined);
    this.#greet(word("no_such_person", { name }));
    find(this, ".skeleton").hidden = true;
    find(this, ".jump").hidden = true;
  }

  toEnd() {
    this.#atEnd = true;
    this.#keepEnd();
    this.#scrolled();
  }

  render() {
    const messenger = this.#messenger;
    const peer = this.#peer;
    if (!messenger || peer === undefined) return;
    const conversation = messenger.conversation(peer);
    const shown = this.#shown(peer);
    const firstSeq = conversation.firstSeq;
    const anchor = this.#firstShown > firstSeq ? this.#firstInView() : undefined;
    const before = anchor?.getBoundingClientRect().top ?? 0;
    render(this.#list, group(shown), {
      key: (item) => (item.kind === "day" ? item.key : item.message.key),
      make: (item) => this.#make(item),
      update: (element, item) => this.#update(element, item),
    });
    if (anchor?.isConnected) this.#scroller.scrollTop += anchor.getBoundingClientRect().top - before;
    this.#firstShown = firstSeq;
    this.#lastShown = Math.max(this.#lastShown, conversation.heldSeq);
    this.#settled ||= conversation.loaded;
    find(this, ".skeleton").hidden = conversation.loaded || shown.length > 0;
    const empty = conversation.loaded && shown.length === 0;
    this.#greet(empty ? (peer === messenger.me ? word("notes_empty") : word("say_hello", { name: peer })) : "");
    const name = peer === messenger.me ? word("notes") : peer;
    this.#scroller.setAttribute("aria-label", word("thread", { name }));
    this.#keepEnd();
    this.#scrolled();
  }

  /** Stored messages, then what waits in the outbox. @param {string} peer @returns {Shown[]} */
  #shown(peer) {
    const messenger = /** @type {Messenger} */ (this.#messenger);
    const conversation = messenger.conversation(peer);
    const stored = conversation.messages().map((message) => {
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
    if (item.kind === "day") return copy("day");
    const element = copy("message");
    const { seq, text, from } = item.message;
    find(element, ".text").append(...links(text).map((token) => (leadsAway(token) ? link(token) : token.text)));
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
    if (item.kind === "day") {
      setText(element, dayWords(item.at));
      return;
    }
    const { message, first, last } = item;
    const looks = `${language()} ${message.seq} ${message.tick} ${message.code} ${message.at} ${first} ${last}`;
    if (element.dataset.looks === looks) return; // most of a long thread, most of the time
    element.dataset.looks = looks;
    const waiting = message.tick === "sending" || message.tick === "failed";
    element.classList.toggle("first", first);
    element.classList.toggle("last", last);
    element.classList.toggle("waiting", waiting);
    element.dataset.seq = String(message.seq);
    const mine = message.from === this.#messenger?.me;
    setText(find(element, ".author"), `${mine ? word("from_me") : message.from}: `);
    const time = find(element, "time");
    setText(time, clock(message.at));
    time.dateTime = new Date(message.at).toISOString();
    time.title = fullTime(message.at);
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
      failure = copy("failure");
      element.append(failure);
    }
    failure.dataset.ref = ref ?? "";
    setText(find(failure, ".why"), errorWord(code ?? ""));
  }

  /** @param {string} words */
  #greet(words) {
    const greeting = find(this, ".greeting");
    greeting.hidden = words === "";
    setText(greeting, words);
  }

  /** @param {Message} message */
  #arrived(message) {
    if (this.#peer === undefined || nameKey(message.from) !== nameKey(this.#peer)) return;
    if (!this.#atEnd) this.#missed++;
    setText(find(this, ".announcer"), word("announce", { name: message.from, text: message.text }));
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
    this.#atEnd = scrollHeight - scrollTop - clientHeight < AT_END_PX;
    if (this.#atEnd) this.#missed = 0;
    const jump = find(this, ".jump");
    jump.hidden = this.#atEnd;
    setText(find(jump, ".count"), this.#missed ? String(this.#missed) : "");
    jump.setAttribute("aria-label", this.#missed ? word("new_messages", { count: this.#missed }) : word("to_newest"));
    if (scrollTop < NEAR_START_PX && this.#peer !== undefined) void this.#messenger?.loadOlder(this.#peer);
    this.#markSeen();
  }

  /** What was on screen, in a page that is on screen, has been read. */
  #markSeen() {
    const messenger = this.#messenger;
    const peer = this.#peer;
    if (!messenger || peer === undefined || document.visibilityState !== "visible") return;
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

  #firstInView() {
    const top = this.#scroller.getBoundingClientRect().top;
    for (const element of this.#list.children) if (element.getBoundingClientRect().bottom > top) return element;
    return undefined;
  }
}

/**
 * Whether a piece of text is a link that may be followed. Of this server only the chat itself is: at /logout, whoever follows
 * somebody's link would be signed out.
 *
 * @param {Token} token
 */
function leadsAway({ href }) {
  if (href === undefined) return false;
  const { origin, pathname } = new URL(href);
  return origin !== location.origin || pathname === "/";
}

/** @param {Token} token */
function link({ text, href = "" }) {
  const anchor = /** @type {HTMLAnchorElement} */ (copy("link"));
  anchor.href = href;
  anchor.textContent = text;
  return anchor;
}

customElements.define("chat-thread", ChatThread);
