/** The list of conversations, and the search above it. Emits `query` when the search text changes. */

import { PeopleSearch } from "../store/people_search.js";
import { cloneTemplate, find, importAgain, isTouch, renderList, setAttribute, setAvatar } from "../util/dom.js";
import { searchKey } from "../util/names.js";
import { ArchiveView } from "./archive_view.js";
import { begins, contains, showEntry, showPerson } from "./list_entry.js";
import { showLabels, showNote } from "./list_notes.js";

/** @import { Chat } from "../chat_model.js" */
/** @import { ListEntry } from "../store/conversation_store.js" */

const NEAR_END_PX = 600;
/** Those near the viewport are watched too; the rest keep the presence from the list response. */
const WATCHED_ENTRIES = 100;
/** Entries rendered above and below the viewport. */
const OVERSCAN_ENTRIES = 30;

export class ConversationList extends HTMLElement {
  /** @type {Chat | undefined} */
  #chat;
  /** @type {PeopleSearch | undefined} */
  #search;
  #archive = new ArchiveView(this, () => this.#archiveToggled());
  /** The conversation to scroll into view. @type {string | undefined} */
  #scrollTo;
  /** Whether Enter was pressed before the results arrived. */
  #isEnterPending = false;
  /** Whether found messages, or a note about them, follow the results. */
  #hasHits = false;
  /** @type {HTMLInputElement} */
  #input = find(this, "input");
  /** @type {HTMLElement} */
  #scroll = find(this, ".scroll");
  /** @type {HTMLElement} */
  #list = find(this, ".conversations");
  /** Scroll position and height, cached because reading them from the document forces a layout. */
  #viewport = { top: 0, height: 0 };
  /** The range of entries in the document. */
  #rendered = { first: 0, end: 0, all: 0 };
  /** Height of an entry: the default until it is measured. */
  #entryPx = 72;

  /** @param {Chat} chat */
  start(chat) {
    this.#chat = chat;
    const search = (this.#search = new PeopleSearch(chat.people));
    search.on("changed", () => this.render());
    search.on("finished", () => this.#isEnterPending && this.#openFirst());
    chat.conversations.on("list", () => this.render());
    chat.people.presence.on("changed", () => this.render());
    for (const event of /** @type {const} */ (["changed", "written"])) chat.drafts.on(event, () => this.render());
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

  /** Focuses a user's entry, or the search when there is none. @param {string} name */
  focusEntry(name) {
    const index = this.#entries().findIndex((entry) => entry.peer === name);
    if (index !== -1 && !this.#link(name)) {
      this.#scroll.scrollTop = index * this.#entryPx - this.#scroll.clientHeight / 2;
      this.#updateViewport();
    }
    (this.#link(name) ?? (isTouch() ? this.#scroll : this.#input)).focus();
  }

  /** Focuses the found message that the user opened. */
  focusHit() {
    /** @type {HTMLElement} */ (this.querySelector(".hit[data-opened]") ?? this.#input).focus();
  }

  /** The search text. */
  get query() {
    return this.#search?.query ?? "";
  }

  /** @param {boolean} hasHits whether found messages, or a note about them, follow the results */
  showHits(hasHits) {
    this.#hasHits = hasHits;
    this.render();
    if (this.#isEnterPending && this.#search?.state !== "searching") this.#openFirst();
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
    setAvatar(find(this, ".me .avatar"), chat.me, chat.profiles.of(chat.me));
    const query = search.query;
    const archivedCount = chat.conversations.archivedCount;
    const all = this.#all();
    const entries = this.#entries(all);
    this.#archive.render({ count: archivedCount, isSearching: query !== "" });
    const isAllEmpty = all.length === 0 && !this.#archive.isOpen;
    const found = this.#foundUsers(entries, isAllEmpty);
    const visible = this.#showEntries(entries, chat);
    renderList(find(this, ".found"), found, {
      key: (name) => name,
      make: () => cloneTemplate("entry"),
      update: (element, name) => void showPerson(element, name, chat),
    });
    this.#updateTabStop();
    const empty = chat.conversations.isListLoaded && isAllEmpty && query === "";
    find(this, ".skeleton").hidden = chat.conversations.isListLoaded || !isAllEmpty;
    find(this, ".empty").hidden = !empty;
    find(this, ".empty").toggleAttribute("data-alone", search.isAlone);
    if (empty && search.isAlone) void this.#welcome();
    find(this, ".clear").hidden = this.#input.value === "";
    showLabels(this, { query, entries, found });
    showNote(find(this, ".scroll > .note"), search, entries.length + found.length === 0 && !this.#hasHits);
    if (empty && search.suggest() && !isTouch() && document.activeElement === document.body) this.#input.focus();
    const watched = [
      ...(chat.conversations.open === undefined ? [] : [chat.conversations.open]),
      ...found,
      ...[...visible, ...entries.slice(0, WATCHED_ENTRIES)].map((entry) => entry.peer),
    ];
    chat.people.presence.watch(watched, { newUsers: empty || query !== "" });
    this.#scrollToOpen(entries);
    this.#loadShown();
  }

  async #welcome() {
    const load = importAgain(() => import("./first_account.js"), "elements/first_account.js");
    (await load.catch(() => undefined))?.welcome(find(this, ".alone"));
  }

  /** The conversations of the list or the archive; a search finds those of both. */
  #all() {
    const { conversations } = this.#chat ?? {};
    if (!conversations) return [];
    if (this.#search?.query) return [...conversations.entries(), ...conversations.archived()];
    return this.#archive.isOpen ? conversations.archived() : conversations.entries();
  }

  #archiveToggled() {
    this.#scroll.scrollTop = 0;
    this.clear();
    this.render();
    this.#updateViewport();
  }

  /** The conversations that match the search. @param {ListEntry[]} [all] */
  #entries(all = this.#all()) {
    const chat = this.#chat;
    const query = searchKey(this.#search?.query ?? "");
    if (!query || !chat) return all;
    const rank = (/** @type {ListEntry} */ entry) => Number(!begins(chat, entry.peer, query));
    return all.filter((entry) => contains(chat, entry.peer, query)).toSorted((a, b) => rank(a) - rank(b));
  }

  /**
   * Renders the entries in and near the viewport, and returns them.
   * @param {ListEntry[]} entries
   * @param {Chat} chat
   */
  #showEntries(entries, chat) {
    const { top, height } = this.#viewport;
    const entryPx = this.#entryPx;
    const first = Math.max(
      0,
      Math.min(Math.floor(top / entryPx) - OVERSCAN_ENTRIES, entries.length - OVERSCAN_ENTRIES),
    );
    const end = Math.min(entries.length, Math.ceil((top + height) / entryPx) + OVERSCAN_ENTRIES);
    this.#rendered = { first, end, all: entries.length };
    const { activeElement } = document;
    const focused = this.#list.contains(activeElement) ? /** @type {HTMLElement} */ (activeElement).dataset.name : "";
    const visible = entries.slice(first, end);
    const isWhole = visible.length === entries.length;
    let place = first;
    renderList(this.#list, visible, {
      key: (entry) => entry.peer,
      make: () => cloneTemplate("entry"),
      update: (element, entry) => {
        showEntry(element, entry, chat);
        place++;
        setAttribute(element, "aria-posinset", isWhole ? "" : String(place));
        setAttribute(element, "aria-setsize", isWhole ? "" : String(entries.length));
      },
    });
    this.#list.style.paddingBlock = `${first * entryPx}px ${(entries.length - end) * entryPx}px`;
    // The focused entry was scrolled out of the document: arrow keys continue from the viewport.
    if (focused && !this.#list.contains(document.activeElement))
      (this.#link(focused) ?? this.#scroll).focus({ preventScroll: true });
    return visible;
  }

  /**
   * @param {ListEntry[]} entries
   * @param {boolean} isEmpty
   */
  #foundUsers(entries, isEmpty) {
    const chat = this.#chat;
    const { query: text = "", found = [] } = this.#search ?? {};
    if (!chat || (!text && !isEmpty)) return [];
    const shown = new Set(entries.map((entry) => entry.peer));
    const query = searchKey(text);
    const me = query && contains(chat, chat.me, query) ? [chat.me] : [];
    return [...me, ...found].filter((name) => !shown.has(name));
  }

  /** @param {string} text */
  #setQuery(text) {
    this.#isEnterPending = false;
    this.#scroll.scrollTop = 0;
    this.#search?.set(text);
    this.dispatchEvent(new Event("query"));
  }

  /** Opens the first result, or waits for one. */
  #openFirst() {
    const first = this.#links()[0];
    this.#isEnterPending = !first && (this.#search?.state === "searching" || this.#hasHits);
    first?.click();
  }

  /**
   * Scrolls the open conversation into view, unless the user has scrolled.
   * @param {ListEntry[]} entries
   */
  #scrollToOpen(entries) {
    if (this.#scrollTo === undefined || this.#search?.query) return;
    const index = entries.findIndex((entry) => entry.peer === this.#scrollTo);
    const { clientHeight, scrollTop } = this.#scroll;
    if (index === -1 || clientHeight === 0) return;
    const top = index * this.#entryPx;
    if (top < scrollTop || top + this.#entryPx > scrollTop + clientHeight) {
      this.#scroll.scrollTop = top - (clientHeight - this.#entryPx) / 2;
      this.#updateViewport();
    }
    if (this.#chat?.list.isSettled) this.#scrollTo = undefined; // until then entries move
  }

  #updateViewport() {
    const { scrollTop, scrollHeight, clientHeight } = this.#scroll;
    this.#viewport = { top: scrollTop, height: clientHeight };
    // Before rendering, which needs to know that entries are being loaded.
    if (scrollHeight - scrollTop - clientHeight < NEAR_END_PX)
      void (this.#archive.isOpen ? this.#chat?.list.loadMoreArchived() : this.#chat?.list.loadMore());
    this.#loadShown();
    const { first, end, all } = this.#rendered;
    const [from, to] = [scrollTop / this.#entryPx, (scrollTop + clientHeight) / this.#entryPx];
    const near = OVERSCAN_ENTRIES / 3;
    if ((first > 0 && from < first + near) || (end < all && to > end - near)) this.render();
  }

  /** Loads the list as far as it is in the document: after a loss, entries further down are stale. */
  #loadShown() {
    const { conversations, list } = this.#chat ?? {};
    if (conversations && !this.#archive.isOpen && this.#rendered.end > conversations.listedCount) void list?.loadMore();
  }

  /** Measures the entry height, which follows the text size; keeps visible entries in place. */
  #measure() {
    const height = this.#list.firstElementChild?.getBoundingClientRect().height ?? 0;
    if (height === 0 || height === this.#entryPx) return;
    const top = (this.#viewport.top * height) / this.#entryPx;
    this.#entryPx = height;
    this.render(); // first, otherwise there is no room to scroll
    this.#scroll.scrollTop = top;
    this.#updateViewport();
  }

  /** @param {KeyboardEvent} event */
  #onKey(event) {
    // Key repeat can outrun scroll events, so render the next entries now.
    if (event.key.startsWith("Arrow")) this.#updateViewport();
    const isInArchive = this.#archive.isOpen && !this.#search?.query;
    if (event.key === "Escape" && isInArchive) {
      event.preventDefault();
      return this.#archive.close();
    }
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
    else if (event.key === "Enter" && inSearch) this.#openFirst();
    else return;
    if (event.key === "Escape") this.clear();
    event.preventDefault();
    next?.focus();
    this.#updateTabStop();
  }

  /** Roving tab index: Tab stops at one entry, arrow keys move from there. */
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
    return /** @type {NodeListOf<HTMLAnchorElement>} */ (this.querySelectorAll("a.entry"));
  }
}

customElements.define("conversation-list", ConversationList);
