/** The search within the open conversation: a bar above its messages. Loaded on demand. */

import { fetchHits, MessageSearch } from "../sync/message_search.js";
import { announce, find, isTouch, setText } from "../util/dom.js";
import { findMatches } from "../util/text_match.js";
import { t, waitText } from "../util/translate.js";
import { icon, iconButton } from "./action_parts.js";
import { make } from "./dialogs.js";
import { goToMessage } from "./message_jump.js";
import { focusMessage } from "./message_row.js";
import { ready } from "./search_parts.js";

/** @import { Chat } from "../chat_model.js" */
/** @import { ChatThread } from "./chat_thread.js" */

/** The name of the highlight of matches in messages: see search.css. */
const HIGHLIGHT = "found-text";
/** With fewer loaded hits ahead, more are requested. */
const AHEAD = 5;

export { ready };

/** @type {FindBar | undefined} */
let bar;

/**
 * Opens the bar, or focuses it.
 * @param {Chat} chat
 * @param {ChatThread} thread
 */
export function openFindBar(chat, thread) {
  const peer = chat.conversations.open;
  if (peer === undefined) return; // closed while this loaded
  bar ??= new FindBar(chat, thread);
  bar.open(peer);
}

class FindBar {
  #chat;
  #thread;
  #element = document.createElement("search");
  #input = make("input");
  #count = make("span");
  #retry = make("button");
  #older = iconButton("chevron-up", "");
  #newer = iconButton("chevron-down", "");
  #close = iconButton("x", "");
  /** @type {MessageSearch | undefined} */
  #search;
  /** The conversation, while the bar is open. @type {string | undefined} */
  #peer;
  /** The hit on screen: 0 is the newest; -1 without one. */
  #index = -1;

  /**
   * @param {Chat} chat
   * @param {ChatThread} thread
   */
  constructor(chat, thread) {
    this.#chat = chat;
    this.#thread = thread;
    this.#build();
    this.#input.addEventListener("input", () => this.#searchFor(this.#input.value));
    this.#older.addEventListener("click", () => this.#step(1));
    this.#newer.addEventListener("click", () => this.#step(-1));
    this.#retry.addEventListener("click", () => {
      (isTouch() ? this.#older : this.#input).focus(); // the button is hidden while searching
      this.#search?.more();
    });
    this.#close.addEventListener("click", () => this.#end());
    this.#element.addEventListener("keydown", (event) => this.#onKey(event));
    for (const type of ["online", "offline"]) addEventListener(type, () => this.#render());
    document.addEventListener("languagechange", () => this.#render());
    chat.conversations.on("opened", (peer) => peer !== this.#peer && this.#remove());
  }

  /** @param {string} peer */
  open(peer) {
    if (this.#peer !== peer) {
      const search = new MessageSearch((page, signal) => fetchHits(this.#chat.me, { ...page, peer }, signal));
      search.on("changed", () => this.#search === search && this.#changed());
      this.#search = search;
      this.#peer = peer;
      this.#index = -1;
      this.#input.value = "";
      this.#thread.before(this.#element);
      this.#render();
    }
    this.#input.focus();
    this.#input.select();
  }

  #build() {
    this.#element.className = "find-bar";
    this.#input.type = "search";
    this.#input.maxLength = 100;
    this.#input.autocomplete = "off";
    this.#input.spellcheck = false;
    this.#input.dir = "auto";
    this.#input.enterKeyHint = "search";
    this.#count.className = "count";
    this.#count.setAttribute("role", "status");
    this.#retry.type = "button";
    this.#retry.className = "retry";
    for (const button of [this.#older, this.#newer, this.#close]) button.className = "round";
    const field = make("div");
    field.className = "search";
    field.append(icon("search"), this.#input);
    this.#element.append(field, this.#count, this.#retry, this.#older, this.#newer, this.#close);
  }

  /** @param {string} text */
  #searchFor(text) {
    this.#index = -1;
    highlight(undefined, "");
    this.#search?.set(text);
  }

  #changed() {
    this.#render();
    if (this.#index === -1 && (this.#search?.hits.length ?? 0) > 0) this.#step(1);
  }

  #render() {
    const search = this.#search;
    if (!search) return;
    const { hits, isComplete, state } = search;
    for (const [button, key] of /** @type {const} */ ([
      [this.#older, "find_older"],
      [this.#newer, "find_newer"],
      [this.#close, "find_close"],
    ])) {
      button.setAttribute("aria-label", t(key));
      button.title = t(key);
    }
    this.#element.setAttribute("aria-label", t("find_label"));
    this.#input.setAttribute("aria-label", t("find_label"));
    this.#input.placeholder = t("find_label");
    setText(this.#count, this.#countText(search));
    this.#retry.hidden = state !== "failed" && state !== "paused";
    setText(this.#retry, t(state === "paused" ? "hits_continue" : "try_again"));
    // Not `disabled`, which would lose the focus.
    this.#older.setAttribute("aria-disabled", String(this.#index + 1 >= hits.length && (isComplete || state !== "")));
    this.#newer.setAttribute("aria-disabled", String(this.#index <= 0));
  }

  /** @param {MessageSearch} search */
  #countText({ isLongEnough, hits, isComplete, state, limitedFor }) {
    if (!isLongEnough) return "";
    if (state === "limited") return t("find_limited", { wait: waitText(limitedFor) });
    if (state === "failed") return t(navigator.onLine ? "find_failed" : "find_offline");
    if (hits.length === 0)
      return state === "searching" ? t("hits_searching") : t(state === "paused" ? "find_paused" : "find_none");
    const count = isComplete ? hits.length : t("many", { count: hits.length });
    return t("find_position", { index: Math.max(0, this.#index) + 1, count });
  }

  /** Goes to an older (1) or newer (-1) hit. @param {1 | -1} by */
  #step(by) {
    const search = this.#search;
    if (!search) return;
    const hit = search.hits[this.#index + by];
    if (search.hits.length - this.#index - by < AHEAD && by === 1) search.more();
    if (!hit) return;
    this.#index += by;
    this.#render();
    void this.#show(hit.seq, search.query);
  }

  /**
   * @param {number} seq
   * @param {string} query
   */
  async #show(seq, query) {
    const page = { chat: this.#chat, thread: this.#thread };
    if (!(await goToMessage(page, seq, { focuses: false }))) return;
    const row = this.#row(seq);
    if (!row || this.#peer === undefined) return;
    highlight(row, query);
    announce(find(this.#thread, ".announcer"), find(row, ".text").textContent ?? "");
  }

  /** @param {number} seq @returns {HTMLElement | null} */
  #row(seq) {
    return this.#thread.querySelector(`.message[data-seq="${seq}"]`);
  }

  /** @param {KeyboardEvent} event */
  #onKey(event) {
    if (event.key === "Escape") this.#end();
    else if (event.key === "Enter" && event.target === this.#input) this.#step(event.shiftKey ? -1 : 1);
    else if (event.key === "ArrowUp" && event.target === this.#input) this.#step(1);
    else if (event.key === "ArrowDown" && event.target === this.#input) this.#step(-1);
    else return;
    event.preventDefault();
    event.stopPropagation(); // otherwise Escape would also leave the conversation
  }

  /** Closes the bar and focuses the hit on screen, or the composer. */
  #end() {
    const row = this.#row(this.#search?.hits[this.#index]?.seq ?? -1);
    this.#remove();
    if (row) focusMessage(row);
    else this.#thread.dispatchEvent(new Event("focus-composer"));
  }

  #remove() {
    if (this.#peer === undefined) return;
    this.#search?.stop();
    this.#search = undefined;
    this.#peer = undefined;
    highlight(undefined, "");
    this.#element.remove();
  }
}

/**
 * Highlights the matches in a message without changing the DOM.
 * @param {HTMLElement | undefined} row
 * @param {string} query
 */
function highlight(row, query) {
  if (typeof Highlight === "undefined") return; // before Firefox 140
  CSS.highlights.delete(HIGHLIGHT);
  if (!row) return;
  const text = find(row, ".text");
  const nodes = textNodes(text);
  const ranges = findMatches(nodes.map(({ data }) => data).join(""), query).map(({ start, end }) => {
    const range = new Range();
    range.setStart(...placeAt(nodes, start));
    range.setEnd(...placeAt(nodes, end));
    return range;
  });
  CSS.highlights.set(HIGHLIGHT, new Highlight(...ranges));
}

/** @param {Node} root */
function textNodes(root) {
  const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
  /** @type {Text[]} */
  const nodes = [];
  while (walker.nextNode()) nodes.push(/** @type {Text} */ (walker.currentNode));
  return nodes;
}

/**
 * @param {Text[]} nodes
 * @param {number} offset in their joined text
 * @returns {[Text, number]}
 */
function placeAt(nodes, offset) {
  for (const node of nodes) {
    if (offset <= node.length) return [node, offset];
    offset -= node.length;
  }
  const last = /** @type {Text} */ (nodes.at(-1));
  return [last, last.length];
}
