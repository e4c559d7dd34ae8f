/** The list of conversations, and the search for users to start new ones with. */

import { Limited } from "../sync/api.js";
import { cloneTemplate, find, isTouch, renderList, setAvatar, setText, setTick } from "../util/dom.js";
import { searchKey } from "../util/names.js";
import { shortTime } from "../util/time.js";
import { language, t, waitText } from "../util/translate.js";

/** @import { Chat } from "../chat_model.js" */
/** @import { Line } from "../store/conversation_store.js" */

const DEBOUNCE_MS = 120; // of typing in the search
/** Failed suggestions are retried; nothing else would request them again. */
const RETRY_MS = 2_000;
const NEAR_END_PX = 600;
const WATCHED_LINES = 100; // the first ones and those on screen; others keep the presence the list came with
/** Rows rendered above and below the viewport. */
const OVERSCAN_ROWS = 30;

export class PeopleList extends HTMLElement {
  /** @type {Chat | undefined} */
  #chat;
  #query = "";
  /** @type {string[]} users found for the query, or suggested when there is no conversation */
  #found = [];
  /** @type {"" | "searching" | "limited" | "failed"} */
  #search = "";
  /** Seconds until the server accepts searches again after a rate limit. */
  #limitedFor = 0;
  #searches = 0;
  #suggested = false;
  /** The conversation to scroll into view. @type {string | undefined} */
  #scrollTo;
  /** Whether Enter was pressed before the results arrived. */
  #isEnterPending = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
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
    chat.conversations.on("list", () => this.render());
    chat.people.presence.on("changed", () => this.render());
    /** @type {string | undefined} */
    let open;
    chat.conversations.on("opened", (peer) => {
      if (peer !== open) this.#scrollTo = peer;
      open = peer;
      this.render();
    });
    chat.people.on("signedUp", (name) => this.#signedUp(name));
    chat.sync.on("connection", () => this.#refreshSuggestions());
    for (const type of ["wheel", "pointerdown"])
      this.#scroll.addEventListener(type, () => (this.#scrollTo = undefined), { passive: true });
    this.#input.addEventListener("input", () => this.#setQuery(this.#input.value));
    find(this, ".clear").addEventListener("click", () => {
      this.clear();
      this.#input.focus();
    });
    this.addEventListener("keydown", (event) => this.#onKey(event));
    this.#scroll.addEventListener("scroll", () => this.#onScroll(), { passive: true });
    new ResizeObserver(() => this.#onScroll()).observe(this.#scroll);
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
      this.#onScroll();
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
    if (!chat) return;
    const all = chat.conversations.lines();
    const lines = this.#lines(all);
    const query = this.#query;
    const found = this.#foundUsers(lines, all.length === 0);
    const seen = this.#showRows(lines);
    renderList(find(this, ".found"), found, {
      key: (name) => name,
      make: () => cloneTemplate("line"),
      update: (element, name) => this.#showPerson(element, name),
    });
    this.#updateTabStop();
    const empty = chat.conversations.isListLoaded && all.length === 0 && query === "";
    find(this, ".skeleton").hidden = chat.conversations.isListLoaded || all.length > 0;
    find(this, ".empty").hidden = !empty;
    find(this, ".clear").hidden = this.#input.value === "";
    this.#showLabel(found.length > 0, query !== "");
    this.#showNote(lines.length + found.length === 0 && query !== "");
    if (empty) void this.#suggest();
    const watched = [
      ...(chat.conversations.open === undefined ? [] : [chat.conversations.open]),
      ...found,
      ...[...seen, ...lines.slice(0, WATCHED_LINES)].map((line) => line.peer),
    ];
    chat.people.presence.watch(watched, { newUsers: empty || query !== "" });
    this.#scrollToOpen(lines);
  }

  /** The conversations that match the search. @param {Line[]} [all] */
  #lines(all = this.#chat?.conversations.lines() ?? []) {
    const query = searchKey(this.#query);
    if (!query) return all;
    const rank = (/** @type {Line} */ line) => Number(!begins(this.#shownName(line.peer), query));
    return all.filter((line) => contains(this.#shownName(line.peer), query)).toSorted((a, b) => rank(a) - rank(b));
  }

  /** Renders the rows in and near the viewport. Returns their lines. @param {Line[]} lines */
  #showRows(lines) {
    const { top, height } = this.#viewport;
    const rowPx = this.#rowPx;
    const first = Math.max(0, Math.min(Math.floor(top / rowPx) - OVERSCAN_ROWS, lines.length - OVERSCAN_ROWS));
    const end = Math.min(lines.length, Math.ceil((top + height) / rowPx) + OVERSCAN_ROWS);
    this.#rows = { first, end, all: lines.length };
    const { activeElement } = document;
    const focused = this.#list.contains(activeElement) ? /** @type {HTMLElement} */ (activeElement).dataset.name : "";
    const seen = lines.slice(first, end);
    const whole = seen.length === lines.length;
    let place = first;
    renderList(this.#list, seen, {
      key: (line) => line.peer,
      make: () => cloneTemplate("line"),
      update: (element, line) => {
        this.#showLine(element, line);
        place++;
        setAttribute(element, "aria-posinset", whole ? "" : String(place));
        setAttribute(element, "aria-setsize", whole ? "" : String(lines.length));
      },
    });
    this.#list.style.paddingBlock = `${first * rowPx}px ${(lines.length - end) * rowPx}px`;
    // The focused row was scrolled out of the document: arrow keys continue from the viewport.
    if (focused && !this.#list.contains(document.activeElement))
      (this.#link(focused) ?? this.#scroll).focus({ preventScroll: true });
    return seen;
  }

  /**
   * @param {Line[]} lines
   * @param {boolean} isEmpty
   */
  #foundUsers(lines, isEmpty) {
    const chat = this.#chat;
    if (!chat || (!this.#query && !isEmpty)) return [];
    const shown = new Set(lines.map((line) => line.peer));
    const query = searchKey(this.#query);
    const me = query && (contains(chat.me, query) || contains(t("notes"), query)) ? [chat.me] : [];
    return [...me, ...this.#found].filter((name) => !shown.has(name));
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

  /** @param {boolean} nobody */
  #showNote(nobody) {
    const words = {
      searching: "",
      failed: navigator.onLine ? t("search_failed") : t("search_offline"),
      limited: t("search_limited", { wait: waitText(this.#limitedFor) }),
      "": t("search_nobody", { query: this.#query }),
    }[this.#search];
    const note = find(this, ".note");
    const known = nobody && this.#search !== "searching";
    note.hidden = !known;
    setText(note, known ? words : "");
  }

  /**
   * @param {HTMLElement} element
   * @param {Line} line
   */
  #showLine(element, { peer, preview, pending, unread, conversation }) {
    const chat = /** @type {Chat} */ (this.#chat);
    const { muted, blocked } = conversation;
    const typing = !blocked && chat.people.presence.isTyping(peer);
    const failed = !blocked && pending?.state === "failed";
    const newest = blocked ? t("blocked_row") : oneLine(pending?.text ?? preview?.text ?? "");
    const text = typing ? t("typing") : failed ? t("not_sent") : newest;
    const when = shortTime(pending?.at ?? preview?.at ?? 0);
    const mine = !blocked && preview?.from === chat.me && peer !== chat.me;
    const tick = pending?.state ?? (mine ? conversation.markOf({ seq: conversation.lastSeq }) : undefined);
    if (!this.#showPerson(element, peer, [typing, failed, text, when, tick, unread, muted, blocked].join(" "))) return;
    find(element, ".line").classList.toggle("blocked", blocked);
    const last = find(element, ".last");
    last.classList.toggle("live", typing);
    last.classList.toggle("failed", failed && !typing);
    setText(last, text);
    setText(find(element, "time"), when);
    setTick(element, tick);
    find(element, ".muted").toggleAttribute("hidden", !muted);
    setText(find(element, ".quiet"), muted ? t("muted") : "");
    find(element, ".badge").hidden = unread === 0;
    find(element, ".badge").classList.toggle("low", muted);
    setText(find(element, ".number"), unread > 99 ? t("many", { count: 99 }) : String(unread));
    setText(find(element, ".words"), unread ? t("unread", { count: unread }) : "");
  }

  /**
   * Renders what rows of conversations and of found users share. Returns whether anything changed, because most rows of a long
   * list do not. `rest` identifies the row's other content; found users have none.
   * @param {HTMLElement} element
   * @param {string} name
   */
  #showPerson(element, name, rest = "") {
    const chat = /** @type {Chat} */ (this.#chat);
    const shown = this.#shownName(name);
    const open = chat.conversations.open === name;
    const online = name !== chat.me && chat.people.presence.of(name)?.online === true;
    const renderKey = [language(), shown, open, online, rest].join(" ");
    if (element.dataset.renderKey === renderKey) return false;
    element.dataset.renderKey = renderKey;
    const link = /** @type {HTMLAnchorElement} */ (find(element, ".line"));
    link.classList.toggle("only-name", rest === "");
    link.dataset.name = name;
    link.href = `#${encodeURIComponent(name)}`;
    setAvatar(find(link, ".avatar"), name);
    setText(find(link, ".name"), shown);
    if (open) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
    find(link, ".dot").hidden = !online;
    setText(find(link, ".presence"), online ? t("online") : "");
    return true;
  }

  /** @param {string} name */
  #shownName(name) {
    return name === this.#chat?.me ? t("notes") : name;
  }

  /** @param {string} text */
  #setQuery(text) {
    this.#query = text.trim();
    this.#isEnterPending = false;
    this.#searches++; // results of earlier searches are ignored
    clearTimeout(this.#timer);
    this.#found = [];
    this.#suggested = false;
    this.#search = this.#query ? "searching" : "";
    if (this.#query) this.#timer = setTimeout(() => void this.#find(this.#query), DEBOUNCE_MS);
    this.#scroll.scrollTop = 0;
    this.render();
  }

  /** @param {string} query */
  async #find(query) {
    const search = ++this.#searches;
    const answer = await this.#chat?.people.search(query).catch((/** @type {unknown} */ error) => error);
    if (search !== this.#searches) return;
    this.#search = Array.isArray(answer) ? "" : answer instanceof Limited ? "limited" : "failed";
    this.#found = Array.isArray(answer) ? answer : [];
    const enter = this.#isEnterPending;
    this.#isEnterPending = false;
    if (answer instanceof Limited) this.#limitedFor = answer.seconds;
    const again = answer instanceof Limited ? answer.seconds * 1_000 : query === "" ? RETRY_MS : undefined;
    if (again !== undefined && !Array.isArray(answer)) this.#timer = setTimeout(() => void this.#find(query), again);
    this.render();
    if (enter) this.#links()[0]?.click();
  }

  /** Scrolls the open conversation into view, unless the user has scrolled. @param {Line[]} lines */
  #scrollToOpen(lines) {
    if (this.#scrollTo === undefined || this.#query) return;
    const index = lines.findIndex((line) => line.peer === this.#scrollTo);
    const { clientHeight, scrollTop } = this.#scroll;
    if (index === -1 || clientHeight === 0) return;
    const top = index * this.#rowPx;
    if (top < scrollTop || top + this.#rowPx > scrollTop + clientHeight) {
      this.#scroll.scrollTop = top - (clientHeight - this.#rowPx) / 2;
      this.#onScroll();
    }
    if (this.#chat?.loader.isListSettled) this.#scrollTo = undefined; // until then rows move
  }

  /** Adds a new user to the suggestions or results. @param {string} name */
  #signedUp(name) {
    const query = searchKey(this.#query);
    if (!(query ? contains(name, query) : this.#suggested) || this.#found.includes(name)) return;
    this.#found = [...this.#found, name];
    if (!query) this.#found.sort((a, b) => (searchKey(a) < searchKey(b) ? -1 : 1));
    this.render();
  }

  /** Refetches suggestions after a reconnect, because sign-ups may have been missed. */
  #refreshSuggestions() {
    if (this.#chat?.connection.state !== "open" || !this.#suggested) return;
    this.#suggested = false;
    this.render();
  }

  /** Suggests users to someone without conversations. */
  async #suggest() {
    if (this.#suggested) return;
    this.#suggested = true;
    if (!isTouch() && document.activeElement === document.body) this.#input.focus();
    await this.#find("");
  }

  #onScroll() {
    const { scrollTop, scrollHeight, clientHeight } = this.#scroll;
    this.#viewport = { top: scrollTop, height: clientHeight };
    // Before rendering, which needs to know that rows are being loaded.
    if (scrollHeight - scrollTop - clientHeight < NEAR_END_PX) void this.#chat?.loader.loadMoreOfList();
    const { first, end, all } = this.#rows;
    const [from, to] = [scrollTop / this.#rowPx, (scrollTop + clientHeight) / this.#rowPx];
    const near = OVERSCAN_ROWS / 3;
    if ((first > 0 && from < first + near) || (end < all && to > end - near)) this.render();
  }

  /** Measures the row height, which follows the text size, and keeps the visible rows in place. */
  #measure() {
    const height = this.#list.firstElementChild?.getBoundingClientRect().height ?? 0;
    if (height === 0 || height === this.#rowPx) return;
    const top = (this.#viewport.top * height) / this.#rowPx;
    this.#rowPx = height;
    this.render(); // first, otherwise there is no room to scroll
    this.#scroll.scrollTop = top;
    this.#onScroll();
  }

  /** @param {KeyboardEvent} event */
  #onKey(event) {
    if (event.key.startsWith("Arrow")) this.#onScroll(); // key repeat can outrun scroll events, so render the next rows now
    const links = [...this.#links()];
    const at = links.indexOf(/** @type {HTMLAnchorElement} */ (document.activeElement));
    const inSearch = document.activeElement === this.#input;
    const lost = document.activeElement === this.#scroll;
    if (!inSearch && !lost && at === -1) return;
    /** @type {HTMLElement | undefined} */
    let next;
    if (lost && event.key.startsWith("Arrow")) next = links.find((link) => this.#isSeen(link));
    else if (event.key === "ArrowDown") next = links[at + 1];
    else if (event.key === "ArrowUp" && at >= 0) next = links[at - 1] ?? this.#input;
    else if (event.key === "Escape") next = this.#input;
    else if (event.key === "Enter" && inSearch) {
      if (links[0]) links[0].click();
      else this.#isEnterPending = this.#search === "searching";
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

/** The part of a text that fits a row; more would cost layout time and be cut off. @param {string} text */
function oneLine(text) {
  return text.slice(0, 120).replace(/`{3,}|\s+/gu, " ");
}

customElements.define("people-list", PeopleList);
