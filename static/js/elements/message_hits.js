/** The messages that the search above the list found. Loaded on demand. */

import { fetchHits, MessageSearch } from "../sync/message_search.js";
import { cloneTemplate, find, isTouch, renderList, setAttribute, setAvatar, setText, setTick } from "../util/dom.js";
import { hitText } from "../util/file_text.js";
import { excerpt } from "../util/text_match.js";
import { fullTime, shortTime, timeRevision } from "../util/time.js";
import { language, t, waitText } from "../util/translate.js";
import { make } from "./dialogs.js";
import { nameInList } from "./list_entry.js";
import { goToMessage } from "./message_jump.js";
import { ready } from "./search_parts.js";

/** @import { Chat } from "../chat_model.js" */
/** @import { Hit } from "../sync/message_search.js" */
/** @import { SearchPage } from "./search_loader.js" */

const NEAR_END_PX = 600;

/**
 * @param {Chat} chat
 * @param {SearchPage} page
 */
export async function startHits(chat, page) {
  await ready;
  return new MessageHits(chat, page);
}

export class MessageHits {
  #chat;
  #page;
  #search;
  /** @type {HTMLElement} */
  #scroll;
  #section = make("section");
  #label = make("h2");
  #list = make("ul");
  #skeleton = make("div");
  #note = make("p");
  #button = make("button");
  #announcer = make("p");
  /** The search and the text last announced. */
  #announced = "";

  /**
   * @param {Chat} chat
   * @param {SearchPage} page
   */
  constructor(chat, page) {
    this.#chat = chat;
    this.#page = page;
    this.#scroll = find(page.conversationList, ".scroll");
    this.#search = new MessageSearch((asked, signal) => fetchHits(chat.me, asked, signal));
    this.#search.on("changed", () => this.render());
    this.#build();
    for (const type of ["online", "offline"]) addEventListener(type, () => this.render());
    chat.sync.on("connection", () => {
      if (chat.connection.state === "open" && this.#search.state === "failed") this.#search.more();
    });
    document.addEventListener("languagechange", () => this.render());
    chat.profiles.on("changed", () => this.render());
    this.#scroll.addEventListener("scroll", () => this.#loadNearEnd(), { passive: true });
    this.#button.addEventListener("click", () => this.#continue());
    this.#list.addEventListener("click", (event) => this.#onClick(event));
  }

  /** Searches for the text in the field. */
  search() {
    this.#scroll.scrollTop = 0;
    this.#search.set(this.#page.conversationList.query);
  }

  render() {
    const { hits, state, isLongEnough } = this.#search;
    this.#section.hidden = !isLongEnough;
    setText(this.#label, t("hits"));
    renderList(this.#list, isLongEnough ? hits : [], {
      key: ({ peer, seq }) => `${seq} ${peer}`,
      make: () => cloneTemplate("entry"),
      update: (element, hit) => this.#showHit(element, hit),
    });
    this.#skeleton.hidden = state !== "searching" || hits.length > 0;
    const isAlone = this.#page.conversationList.querySelectorAll("a.entry").length === 0;
    // Without any result, the list shows its own note.
    const note = this.#noteText(isAlone);
    this.#note.hidden = note === "";
    setText(this.#note, note);
    this.#button.hidden = state !== "paused" && state !== "failed";
    setText(this.#button, t(state === "paused" ? "hits_continue" : "try_again"));
    this.#label.hidden = isAlone && note === "" && state !== "searching";
    this.#announce();
    this.#page.conversationList.showHits(isLongEnough && (hits.length > 0 || state !== ""));
    this.#loadNearEnd();
  }

  /** Continues the search. Moves the focus from the button, which is hidden meanwhile, to the last hit or the field. */
  #continue() {
    const link = this.#list.querySelector("li:last-child a");
    if (link instanceof HTMLElement) link.focus({ preventScroll: true });
    else if (!isTouch()) this.#page.conversationList.focusSearch();
    this.#search.more();
  }

  #build() {
    this.#section.className = "hits";
    this.#label.className = "label";
    this.#label.id = "hits-label";
    this.#list.className = "entries";
    this.#list.setAttribute("aria-labelledby", this.#label.id);
    this.#skeleton.className = "skeleton";
    this.#skeleton.setAttribute("aria-hidden", "true");
    this.#skeleton.append(...[1, 2, 3].map(() => make("i")));
    this.#note.className = "hits-note";
    this.#button.className = "more-hits";
    this.#button.type = "button";
    this.#announcer.className = "visually-hidden";
    this.#announcer.setAttribute("role", "status");
    this.#section.append(this.#label, this.#list, this.#skeleton, this.#note, this.#button, this.#announcer);
    find(this.#page.conversationList, ".scroll > .note").after(this.#section);
  }

  /** @param {boolean} isAlone */
  #noteText(isAlone) {
    const { state, hits, isComplete, limitedFor } = this.#search;
    switch (state) {
      case "failed":
        return t(navigator.onLine ? "hits_failed" : "hits_offline");
      case "limited":
        return t("hits_limited", { wait: waitText(limitedFor) });
      case "paused":
        return t("hits_paused");
      case "searching":
        return "";
      default:
        return hits.length > 0 || isAlone || !isComplete ? "" : t("hits_none");
    }
  }

  /**
   * @param {HTMLElement} element
   * @param {Hit} hit
   */
  #showHit(element, hit) {
    const chat = this.#chat;
    const { query } = this.#search;
    const { peer, seq, at, from } = hit;
    const text = hitText(hit);
    const name = nameInList(chat, peer);
    const profile = chat.profiles.of(peer);
    const renderKey = [language(), timeRevision(), query, text, name, profile.photo].join(" ");
    if (element.dataset.renderKey === renderKey) return;
    element.dataset.renderKey = renderKey;
    const link = /** @type {HTMLAnchorElement} */ (find(element, ".entry"));
    link.classList.add("hit");
    link.href = `#${encodeURIComponent(peer)}`;
    link.dataset.peer = peer;
    link.dataset.seq = String(seq);
    setAvatar(find(link, ".avatar"), peer, profile);
    setText(find(link, ".name"), name);
    setText(find(link, "time"), shortTime(at));
    find(link, "time").title = fullTime(at);
    setTick(link, undefined);
    const [preview, words] = [find(link, ".preview"), make("bdi")];
    const { before, match, after } = excerpt(text, query);
    words.append(before, ...(match === "" ? [] : [make("mark", match)]), after);
    const isMine = from === chat.me && peer !== chat.me;
    preview.replaceChildren(...(isMine ? [`${t("from_me")}: `] : []), words);
  }

  /** Announces how many are found so far, or why there are none. */
  #announce() {
    const { query, hits, state, isComplete } = this.#search;
    if (state === "searching") return;
    const count = isComplete ? hits.length : t("many", { count: hits.length });
    const text = state === "" && hits.length > 0 ? t("hits_found", { count }) : this.#noteText(false);
    if (this.#announced === query + text) return;
    this.#announced = query + text;
    setText(this.#announcer, query === "" ? "" : text);
  }

  #loadNearEnd() {
    const { scrollTop, scrollHeight, clientHeight } = this.#scroll;
    const isNear = clientHeight > 0 && scrollHeight - scrollTop - clientHeight < NEAR_END_PX;
    if (isNear && this.#search.state === "" && this.#search.hits.length > 0) this.#search.more();
  }

  /** @param {MouseEvent} event */
  #onClick(event) {
    const link = /** @type {HTMLElement | null} */ (/** @type {Element} */ (event.target).closest(".hit"));
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    const { peer = "", seq } = link.dataset;
    for (const each of this.#list.querySelectorAll(".hit")) {
      setAttribute(each, "data-opened", each === link ? "true" : "");
      setAttribute(each, "aria-current", each === link ? "true" : "");
    }
    const { thread, openAtMessage } = this.#page;
    openAtMessage(peer, () => void goToMessage({ chat: this.#chat, thread }, Number(seq)));
  }
}
