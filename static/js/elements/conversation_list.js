/** The list of conversations, and the search for users to start new ones with. */

import { PeopleSearch } from "../store/people_search.js";
import { cloneTemplate, find, isTouch, renderList, setAvatar, setText } from "../util/dom.js";
import { searchKey } from "../util/names.js";
import { t, waitText } from "../util/translate.js";
import { nameInList, showLine, showPerson } from "./conversation_line.js";

/** @import { Chat } from "../chat_model.js" */
/** @import { Line } from "../store/conversation_store.js" */

const NEAR_END_PX = 600;
const WATCHED_LINES = 100; // the first ones and those on screen; others keep the presence the list came with
/** Rows rendered above and below the viewport. */
const OVERSCAN_ROWS = 30;

export class ConversationList extends HTMLElement {
  /** @type {Chat | undefined} */
  #chat;
  /** @type {PeopleSearch | undefined} */
  #search;
  /** The conversation to scroll into view. @type {string | undefined} */
  #scrollTo;
  /** Whether Enter was pressed before the results arrived. */
  #isEnterPending = false;
  /** @type {HTMLInputElement} */
  #input = find(this, "input");
  /** @type {HTMLElement} */
  #scroll = find(this, ".scroll");
  /** @type {HTMLElement} */
  #list = find(this, ".conversations");
  /** Scroll position and height, cached because reading them from the document forces a layout. */
  #viewport = { top: 0, height: 0 };
  /** The range of lines in the document. */
  #rows = { first: 0, end: 0, all: 0 };
  /** Height of a row: the default until it is measured. */
  #rowPx = 64;

  /** @param {Chat} chat */
  start(chat) {
    this.#chat = chat;
    const search = (this.#search = new PeopleSearch(chat.people));
    search.on("changed", () => this.render());
    search.on("finished", () => {
      if (this.#isEnterPending) this.#links()[0]?.click();
      this.#isEnterPending = false;
    });
    chat.conversations.on("list", () => this.render());
    chat.people.presence.on("changed", () => this.render());
    /** @type {string | undefined} */
    let open;
    chat.conversations.on("opened", (peer) => {
      if (peer !== open) this.#scrollTo = peer;
      open = peer;
      this.render();
    });
    chat.sync.on("connection", () => chat.connection.state === "open" && search.refresh());
    for (const type of ["wheel", "pointerdown"])
      this.#scroll.addEventListener(type, () => (this.#scrollTo = undefined), { passive: true });
    this.#input.addEventListener("input", () => this.#setQuery(this.#input.value));
    find(this, ".clear").addEventListener("click", () => {
      this.clear();
      this.#input.focus();
    });
    this.addEventListener("keydown", (event) => this.#onKey(event));
    this.#scroll.addEventListener("scroll", () => this.#updateViewport(), { passive: true });
    new ResizeObserver(() => this.#updateViewport()).observe(this.#scroll);
    new ResizeObserver(() => this.#measure()).observe(this.#list);
    setAvatar(find(this, ".me .avatar"), chat.me);
    if (this.#input.value)
      this.#setQuery(this.#input.value); // typed before the scripts had loaded
    else this.render();
  }

  /** Clears the search. */
  clear() {
    if (this.#input.value === "") return;
    this.#input.value = "";
    this.#setQuery("");
  }

  /** Focuses a user's line, or the search when there is none. @param {string} name */
  focusLine(name) {
    const index = this.#lines().findIndex((line) => line.peer === name);
    if (index !== -1 && !this.#link(name)) {
      this.#scroll.scrollTop = index * this.#rowPx - this.#scroll.clientHeight / 2;
      this.#updateViewport();
    }
    (this.#link(name) ?? (isTouch() ? this.#scroll : this.#input)).focus();
  }

  /** Focuses the search. */
  focusSearch() {
    this.#input.focus();
    this.#input.select();
  }

  render() {
    const chat = this.#chat;
    const search = this.#search;
    if (!chat || !search) return;
    const all = chat.conversations.lines();
    const lines = this.#lines(all);
    const query = search.query;
    const found = this.#foundUsers(lines, all.length === 0);
    const visible = this.#showRows(lines, chat);
    renderList(find(this, ".found"), found, {
      key: (name) => name,
      make: () => cloneTemplate("line"),
      update: (element, name) => void showPerson(element, name, chat),
    });
    this.#updateTabStop();
    const empty = chat.conversations.isListLoaded && all.length === 0 && query === "";
    find(this, ".skeleton").hidden = chat.conversations.isListLoaded || all.length > 0;
    find(this, ".empty").hidden = !empty;
    find(this, ".clear").hidden = this.#input.value === "";
    this.#showLabel(found.length > 0, query !== "");
    this.#showNote(lines.length + found.length === 0 && query !== "");
    if (empty && search.suggest() && !isTouch() && document.activeElement === document.body) this.#input.focus();
    const watched = [
      ...(chat.conversations.open === undefined ? [] : [chat.conversations.open]),
      ...found,
      ...[...visible, ...lines.slice(0, WATCHED_LINES)].map((line) => line.peer),
    ];
    chat.people.presence.watch(watched, { newUsers: empty || query !== "" });
    this.#scrollToOpen(lines);
    this.#loadShown();
  }

  /** The conversations that match the search. @param {Line[]} [all] */
  #lines(all = this.#chat?.conversations.lines() ?? []) {
    const chat = this.#chat;
    const query = searchKey(this.#search?.query ?? "");
    if (!query || !chat) return all;
    const rank = (/** @type {Line} */ line) => Number(!begins(nameInList(chat, line.peer), query));
    return all.filter((line) => contains(nameInList(chat, line.peer), query)).toSorted((a, b) => rank(a) - rank(b));
  }

  /**
   * Renders the rows in and near the viewport. Returns their lines.
   * @param {Line[]} lines
   * @param {Chat} chat
   */
  #showRows(lines, chat) {
    const { top, height } = this.#viewport;
    const rowPx = this.#rowPx;
    const first = Math.max(0, Math.min(Math.floor(top / rowPx) - OVERSCAN_ROWS, lines.length - OVERSCAN_ROWS));
    const end = Math.min(lines.length, Math.ceil((top + height) / rowPx) + OVERSCAN_ROWS);
    this.#rows = { first, end, all: lines.length };
    const { activeElement } = document;
    const focused = this.#list.contains(activeElement) ? /** @type {HTMLElement} */ (activeElement).dataset.name : "";
    const visible = lines.slice(first, end);
    const isWhole = visible.length === lines.length;
    let place = first;
    renderList(this.#list, visible, {
      key: (line) => line.peer,
      make: () => cloneTemplate("line"),
      update: (element, line) => {
        showLine(element, line, chat);
        place++;
        setAttribute(element, "aria-posinset", isWhole ? "" : String(place));
        setAttribute(element, "aria-setsize", isWhole ? "" : String(lines.length));
      },
    });
    this.#list.style.paddingBlock = `${first * rowPx}px ${(lines.length - end) * rowPx}px`;
    // The focused row was scrolled out of the document: arrow keys continue from the viewport.
    if (focused && !this.#list.contains(document.activeElement))
      (this.#link(focused) ?? this.#scroll).focus({ preventScroll: true });
    return visible;
  }

  /**
   * @param {Line[]} lines
   * @param {boolean} isEmpty
   */
  #foundUsers(lines, isEmpty) {
    const chat = this.#chat;
    const { query: text = "", found = [] } = this.#search ?? {};
    if (!chat || (!text && !isEmpty)) return [];
    const shown = new Set(lines.map((line) => line.peer));
    const query = searchKey(text);
    const me = query && (contains(chat.me, query) || contains(t("notes"), query)) ? [chat.me] : [];
    return [...me, ...found].filter((name) => !shown.has(name));
  }

  /**
   * @param {boolean} any
   * @param {boolean} searching
   */
  #showLabel(any, searching) {
    const label = find(this, ".label");
    label.hidden = !any;
    setText(label, t(searching ? "search_people" : "list_empty_people"));
  }

  /** Explains why there is no result. @param {boolean} isEmpty */
  #showNote(isEmpty) {
    const { state = "", query = "", limitedFor = 0 } = this.#search ?? {};
    const words = {
      searching: "",
      failed: navigator.onLine ? t("search_failed") : t("search_offline"),
      limited: t("search_limited", { wait: waitText(limitedFor) }),
      "": t("search_no_results", { query }),
    }[state];
    const note = find(this, ".note");
    note.hidden = !isEmpty || words === "";
    setText(note, isEmpty ? words : "");
  }

  /** @param {string} text */
  #setQuery(text) {
    this.#isEnterPending = false;
    this.#scroll.scrollTop = 0;
    this.#search?.set(text);
  }

  /** Scrolls the open conversation into view, unless the user has scrolled. @param {Line[]} lines */
  #scrollToOpen(lines) {
    if (this.#scrollTo === undefined || this.#search?.query) return;
    const index = lines.findIndex((line) => line.peer === this.#scrollTo);
    const { clientHeight, scrollTop } = this.#scroll;
    if (index === -1 || clientHeight === 0) return;
    const top = index * this.#rowPx;
    if (top < scrollTop || top + this.#rowPx > scrollTop + clientHeight) {
      this.#scroll.scrollTop = top - (clientHeight - this.#rowPx) / 2;
      this.#updateViewport();
    }
    if (this.#chat?.loader.isListSettled) this.#scrollTo = undefined; // until then rows move
  }

  #updateViewport() {
    const { scrollTop, scrollHeight, clientHeight } = this.#scroll;
    this.#viewport = { top: scrollTop, height: clientHeight };
    // Before rendering, which needs to know that rows are being loaded.
    if (scrollHeight - scrollTop - clientHeight < NEAR_END_PX) void this.#chat?.loader.loadMoreOfList();
    this.#loadShown();
    const { first, end, all } = this.#rows;
    const [from, to] = [scrollTop / this.#rowPx, (scrollTop + clientHeight) / this.#rowPx];
    const near = OVERSCAN_ROWS / 3;
    if ((first > 0 && from < first + near) || (end < all && to > end - near)) this.render();
  }

  /** Loads the list as far as rows are in the document: after a loss, rows further down have to be read again. */
  #loadShown() {
    const { conversations, loader } = this.#chat ?? {};
    if (conversations && this.#rows.end > conversations.listedCount) void loader?.loadMoreOfList();
  }

  /** Measures the row height, which follows the text size, and keeps the visible rows in place. */
  #measure() {
    const height = this.#list.firstElementChild?.getBoundingClientRect().height ?? 0;
    if (height === 0 || height === this.#rowPx) return;
    const top = (this.#viewport.top * height) / this.#rowPx;
    this.#rowPx = height;
    this.render(); // first, otherwise there is no room to scroll
    this.#scroll.scrollTop = top;
    this.#updateViewport();
  }

  /** @param {KeyboardEvent} event */
  #onKey(event) {
    if (event.key.startsWith("Arrow")) this.#updateViewport(); // key repeat can outrun scroll events, so render the next rows now
    const links = [...this.#links()];
    const at = links.indexOf(/** @type {HTMLAnchorElement} */ (document.activeElement));
    const inSearch = document.activeElement === this.#input;
    const isOnScroller = document.activeElement === this.#scroll;
    if (!inSearch && !isOnScroller && at === -1) return;
    /** @type {HTMLElement | undefined} */
    let next;
    if (isOnScroller && event.key.startsWith("Arrow")) next = links.find((link) => this.#isSeen(link));
    else if (event.key === "ArrowDown") next = links[at + 1];
    else if (event.key === "ArrowUp" && at >= 0) next = links[at - 1] ?? this.#input;
    else if (event.key === "Escape") next = this.#input;
    else if (event.key === "Enter" && inSearch) {
      if (links[0]) links[0].click();
      else this.#isEnterPending = this.#search?.state === "searching";
    } else return;
    if (event.key === "Escape") this.clear();
    event.preventDefault();
    next?.focus();
    this.#updateTabStop();
  }

  /** Roving tab index: Tab stops at one line, arrow keys move from there. */
  #updateTabStop() {
    const links = [...this.#links()];
    const stop =
      links.find((link) => link === document.activeElement) ??
      links.find((link) => link.dataset.name === this.#chat?.conversations.open) ??
      links[0];
    for (const link of links) setAttribute(link, "tabindex", link === stop ? "0" : "-1");
  }

  /** @param {HTMLElement} link */
  #isSeen(link) {
    return link.getBoundingClientRect().top >= this.#scroll.getBoundingClientRect().top;
  }

  /** @param {string} name */
  #link(name) {
    return [...this.#links()].find((link) => link.dataset.name === name);
  }

  #links() {
    return /** @type {NodeListOf<HTMLAnchorElement>} */ (this.querySelectorAll("a.line"));
  }
}

/**
 * @param {string} name
 * @param {string} query a search key
 */
function contains(name, query) {
  return searchKey(name).includes(query);
}

/**
 * Whether a name, or a part of it, begins with `query` (a search key).
 * @param {string} name
 * @param {string} query
 */
function begins(name, query) {
  const folded = searchKey(name);
  return folded.startsWith(query) || folded.split(/[\s_.-]/u).some((part) => part.startsWith(query));
}

/**
 * Sets an attribute if it differs; "" removes it.
 * @param {Element} element
 * @param {string} name
 * @param {string} value
 */
function setAttribute(element, name, value) {
  if ((element.getAttribute(name) ?? "") === value) return;
  if (value === "") element.removeAttribute(name);
  else element.setAttribute(name, value);
}

customElements.define("conversation-list", ConversationList);
