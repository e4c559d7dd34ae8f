/** The list of conversations, and the search that finds people for new ones. */

import { Limited } from "../sync/api.js";
import { cloneTemplate, find, isTouch, renderList, setAvatar, setText, setTick } from "../util/dom.js";
import { searchKey } from "../util/names.js";
import { shortTime } from "../util/time.js";
import { language, t, waitText } from "../util/translate.js";

/** @import { Line, Messenger } from "../store/messenger.js" */

const PAUSE_MS = 120; // between two letters
/** Suggestions that could not be fetched are asked for again: nothing else would. */
const AGAIN_MS = 2_000;
const NEAR_END_PX = 600;
const WATCHED_LINES = 100; // the first, and those on screen; presence of others is as the list brought it
/** Above and below what is seen, so many rows are in the document. */
const ROWS_BESIDE = 30;

export class PeopleList extends HTMLElement {
  /** @type {Messenger | undefined} */
  #messenger;
  #query = "";
  /** @type {string[]} people the server found for the query, or suggests when there is no conversation */
  #found = [];
  /** @type {"" | "searching" | "limited" | "failed"} */
  #search = "";
  /** Until the server answers searches again, when it had too many. */
  #limitedFor = 0;
  #searches = 0;
  #suggested = false;
  /** The conversation whose row is to come into sight. @type {string | undefined} */
  #wanted;
  /** Enter was pressed before there was anybody. */
  #enter = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  /** @type {HTMLInputElement} */
  #input = find(this, "input");
  /** @type {HTMLElement} */
  #scroll = find(this, ".scroll");
  /** @type {HTMLElement} */
  #list = find(this, ".conversations");
  /** Where the list is scrolled to, and how much of it is seen; asking the document each time would cost a layout. */
  #seen = { top: 0, height: 0 };
  /** Of a long list, these lines are in the document. */
  #rows = { first: 0, end: 0, all: 0 };
  /** How high a row is, at the usual size of text till it is measured. */
  #rowPx = 64;

  /** @param {Messenger} messenger */
  start(messenger) {
    this.#messenger = messenger;
    messenger.addEventListener("people", () => this.render());
    messenger.addEventListener("presence", () => this.render());
    /** @type {string | undefined} */
    let open;
    messenger.addEventListener("shown", () => {
      if (messenger.open !== open) this.#wanted = messenger.open;
      open = messenger.open;
      this.render();
    });
    messenger.addEventListener("signed-up", (event) =>
      this.#signedUp(/** @type {CustomEvent<string>} */ (event).detail),
    );
    messenger.addEventListener("connection", () => this.#suggestAnew());
    for (const type of ["wheel", "pointerdown"])
      this.#scroll.addEventListener(type, () => (this.#wanted = undefined), { passive: true });
    this.#input.addEventListener("input", () => this.#queryIs(this.#input.value));
    find(this, ".clear").addEventListener("click", () => {
      this.clear();
      this.#input.focus();
    });
    this.addEventListener("keydown", (event) => this.#key(event));
    this.#scroll.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    new ResizeObserver(() => this.#scrolled()).observe(this.#scroll);
    new ResizeObserver(() => this.#measure()).observe(this.#list);
    setAvatar(find(this, ".me .avatar"), messenger.me);
    if (this.#input.value)
      this.#queryIs(this.#input.value); // typed before this page could hear
    else this.render();
  }

  /** Ends the search. */
  clear() {
    if (this.#input.value === "") return;
    this.#input.value = "";
    this.#queryIs("");
  }

  /** Puts the focus on the line of a person, or on the search when they have none. @param {string} name */
  focusLine(name) {
    const index = this.#lines().findIndex((line) => line.peer === name);
    if (index !== -1 && !this.#link(name)) {
      this.#scroll.scrollTop = index * this.#rowPx - this.#scroll.clientHeight / 2;
      this.#scrolled();
    }
    (this.#link(name) ?? (isTouch() ? this.#scroll : this.#input)).focus();
  }

  /** Puts the focus where people are looked for. */
  focusSearch() {
    this.#input.focus();
    this.#input.select();
  }

  render() {
    const messenger = this.#messenger;
    if (!messenger) return;
    const all = messenger.lines();
    const lines = this.#lines(all);
    const query = this.#query;
    const found = this.#foundBeside(lines, all.length === 0);
    const seen = this.#showRows(lines);
    renderList(find(this, ".found"), found, {
      key: (name) => name,
      make: () => cloneTemplate("line"),
      update: (element, name) => this.#showPerson(element, name),
    });
    this.#rove();
    const empty = messenger.listLoaded && all.length === 0 && query === "";
    find(this, ".skeleton").hidden = messenger.listLoaded || all.length > 0;
    find(this, ".empty").hidden = !empty;
    find(this, ".clear").hidden = this.#input.value === "";
    this.#showLabel(found.length > 0, query !== "");
    this.#showNote(lines.length + found.length === 0 && query !== "");
    if (empty) void this.#suggest();
    const watched = [
      ...(messenger.open === undefined ? [] : [messenger.open]),
      ...found,
      ...[...seen, ...lines.slice(0, WATCHED_LINES)].map((line) => line.peer),
    ];
    messenger.presence.watch(watched, { newUsers: empty || query !== "" });
    this.#reveal(lines);
  }

  /** The conversations that fit the search. @param {Line[]} [all] */
  #lines(all = this.#messenger?.lines() ?? []) {
    const query = searchKey(this.#query);
    if (!query) return all;
    const rank = (/** @type {Line} */ line) => Number(!begins(this.#shownName(line.peer), query));
    return all.filter((line) => contains(this.#shownName(line.peer), query)).toSorted((a, b) => rank(a) - rank(b));
  }

  /** Puts the rows into the document that are seen, or nearly. Returns their lines. @param {Line[]} lines */
  #showRows(lines) {
    const { top, height } = this.#seen;
    const rowPx = this.#rowPx;
    const first = Math.max(0, Math.min(Math.floor(top / rowPx) - ROWS_BESIDE, lines.length - ROWS_BESIDE));
    const end = Math.min(lines.length, Math.ceil((top + height) / rowPx) + ROWS_BESIDE);
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
    // Scrolled out of the document: the next arrow key goes on from what is seen.
    if (focused && !this.#list.contains(document.activeElement))
      (this.#link(focused) ?? this.#scroll).focus({ preventScroll: true });
    return seen;
  }

  /**
   * @param {Line[]} lines
   * @param {boolean} nobodyYet
   */
  #foundBeside(lines, nobodyYet) {
    const messenger = this.#messenger;
    if (!messenger || (!this.#query && !nobodyYet)) return [];
    const shown = new Set(lines.map((line) => line.peer));
    const query = searchKey(this.#query);
    const me = query && (contains(messenger.me, query) || contains(t("notes"), query)) ? [messenger.me] : [];
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
    const messenger = /** @type {Messenger} */ (this.#messenger);
    const { muted, blocked } = conversation;
    const typing = !blocked && messenger.presence.isTyping(peer);
    const failed = !blocked && pending?.state === "failed";
    const newest = blocked ? t("blocked_row") : oneLine(pending?.text ?? preview?.text ?? "");
    const text = typing ? t("typing") : failed ? t("not_sent") : newest;
    const when = shortTime(pending?.at ?? preview?.at ?? 0);
    const mine = !blocked && preview?.from === messenger.me && peer !== messenger.me;
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
   * Shows what rows of conversations and of people have in common. Returns whether anything changed since the last time:
   * in a long list, most rows never do. `rest`: what else the row shows; without it, it is nothing but a name.
   * @param {HTMLElement} element
   * @param {string} name
   */
  #showPerson(element, name, rest = "") {
    const messenger = /** @type {Messenger} */ (this.#messenger);
    const shown = this.#shownName(name);
    const open = messenger.open === name;
    const online = name !== messenger.me && messenger.presence.of(name)?.online === true;
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
    return name === this.#messenger?.me ? t("notes") : name;
  }

  /** @param {string} text */
  #queryIs(text) {
    this.#query = text.trim();
    this.#enter = false;
    this.#searches++; // an answer to an older question is not shown
    clearTimeout(this.#timer);
    this.#found = [];
    this.#suggested = false;
    this.#search = this.#query ? "searching" : "";
    if (this.#query) this.#timer = setTimeout(() => void this.#find(this.#query), PAUSE_MS);
    this.#scroll.scrollTop = 0;
    this.render();
  }

  /** @param {string} query */
  async #find(query) {
    const search = ++this.#searches;
    const answer = await this.#messenger?.search(query).catch((/** @type {unknown} */ error) => error);
    if (search !== this.#searches) return;
    this.#search = Array.isArray(answer) ? "" : answer instanceof Limited ? "limited" : "failed";
    this.#found = Array.isArray(answer) ? answer : [];
    const enter = this.#enter;
    this.#enter = false;
    if (answer instanceof Limited) this.#limitedFor = answer.seconds;
    const again = answer instanceof Limited ? answer.seconds * 1_000 : query === "" ? AGAIN_MS : undefined;
    if (again !== undefined && !Array.isArray(answer)) this.#timer = setTimeout(() => void this.#find(query), again);
    this.render();
    if (enter) this.#links()[0]?.click();
  }

  /** Brings the row of the open conversation into sight, unless the person has begun to scroll. @param {Line[]} lines */
  #reveal(lines) {
    if (this.#wanted === undefined || this.#query) return;
    const index = lines.findIndex((line) => line.peer === this.#wanted);
    const { clientHeight, scrollTop } = this.#scroll;
    if (index === -1 || clientHeight === 0) return;
    const top = index * this.#rowPx;
    if (top < scrollTop || top + this.#rowPx > scrollTop + clientHeight) {
      this.#scroll.scrollTop = top - (clientHeight - this.#rowPx) / 2;
      this.#scrolled();
    }
    if (this.#messenger?.isListSettled) this.#wanted = undefined; // till then rows move
  }

  /** Somebody has an account now: among the people who are suggested, or found. @param {string} name */
  #signedUp(name) {
    const query = searchKey(this.#query);
    if (!(query ? contains(name, query) : this.#suggested) || this.#found.includes(name)) return;
    this.#found = [...this.#found, name];
    if (!query) this.#found.sort((a, b) => (searchKey(a) < searchKey(b) ? -1 : 1));
    this.render();
  }

  /** Who signed up while there was no connection is suggested, too. */
  #suggestAnew() {
    if (this.#messenger?.connection.state !== "open" || !this.#suggested) return;
    this.#suggested = false;
    this.render();
  }

  /** With nobody to talk to yet, says who is here. */
  async #suggest() {
    if (this.#suggested) return;
    this.#suggested = true;
    if (!isTouch() && document.activeElement === document.body) this.#input.focus();
    await this.#find("");
  }

  #scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this.#scroll;
    this.#seen = { top: scrollTop, height: clientHeight };
    // Before anything is drawn: then it is known that rows are still on their way.
    if (scrollHeight - scrollTop - clientHeight < NEAR_END_PX) void this.#messenger?.loadMoreConversations();
    const { first, end, all } = this.#rows;
    const [from, to] = [scrollTop / this.#rowPx, (scrollTop + clientHeight) / this.#rowPx];
    const near = ROWS_BESIDE / 3;
    if ((first > 0 && from < first + near) || (end < all && to > end - near)) this.render();
  }

  /** Rows are as high as their text; when that grows, those that are seen stay. */
  #measure() {
    const height = this.#list.firstElementChild?.getBoundingClientRect().height ?? 0;
    if (height === 0 || height === this.#rowPx) return;
    const top = (this.#seen.top * height) / this.#rowPx;
    this.#rowPx = height;
    this.render(); // first, or there would be no room to scroll
    this.#scroll.scrollTop = top;
    this.#scrolled();
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    if (event.key.startsWith("Arrow")) this.#scrolled(); // keys can be faster than frames: the next rows are to be there
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
      else this.#enter = this.#search === "searching";
    } else return;
    if (event.key === "Escape") this.clear();
    event.preventDefault();
    next?.focus();
    this.#rove();
  }

  /** Tab stops at one line, the arrows go on from there. */
  #rove() {
    const links = [...this.#links()];
    const stop =
      links.find((link) => link === document.activeElement) ??
      links.find((link) => link.dataset.name === this.#messenger?.open) ??
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
 * Sets an attribute, and leaves it alone when it is that already; "" takes it away.
 * @param {Element} element
 * @param {string} name
 * @param {string} value
 */
function setAttribute(element, name, value) {
  if ((element.getAttribute(name) ?? "") === value) return;
  if (value === "") element.removeAttribute(name);
  else element.setAttribute(name, value);
}

/** What of a text fits a row; the rest would only be laid out to be cut. @param {string} text */
function oneLine(text) {
  return text.slice(0, 120).replace(/`{3,}|\s+/gu, " ");
}

customElements.define("people-list", PeopleList);
