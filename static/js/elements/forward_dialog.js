/** Lets the user choose who receives forwarded messages, by conversation or by name. Loaded on demand. */

import { PeopleSearch } from "../store/people_search.js";
import { isTouch, renderList, setAvatar, setText } from "../util/dom.js";
import { searchKey } from "../util/names.js";
import { t, waitText } from "../util/translate.js";
import { make, openDialog } from "./dialogs.js";
import { begins, contains, nameInList } from "./list_entry.js";

/** @import { Chat } from "../chat_model.js" */

export const RECIPIENTS_MAX = 5;
/** More are found by typing a name. */
const SHOWN_MAX = 50;

/** One for all dialogs, because it listens as long as the page lives. @type {PeopleSearch | undefined} */
let search;

/**
 * Opens the dialog. Resolves to the chosen names, or undefined when the user cancels.
 * @param {Chat} chat
 * @returns {Promise<string[] | undefined>}
 */
export async function chooseRecipients(chat) {
  search ??= new PeopleSearch(chat.people);
  const dialog = new ForwardDialog(chat, search);
  return dialog.open();
}

class ForwardDialog {
  #chat;
  #search;
  #dialog = make("dialog");
  #input = make("input");
  #list = make("ul");
  #note = make("p");
  #confirm = make("button");
  /** @type {Set<string>} */
  #chosen = new Set();
  /** The chosen names when the list was last searched; they come first. @type {string[]} */
  #first = [];

  /**
   * @param {Chat} chat
   * @param {PeopleSearch} people
   */
  constructor(chat, people) {
    this.#chat = chat;
    this.#search = people;
  }

  /** @returns {Promise<string[] | undefined>} */
  async open() {
    this.#build();
    const stop = this.#search.on("changed", () => this.#render());
    this.#search.set("");
    this.#suggest();
    this.#render();
    const closed = new Promise((resolve) => this.#dialog.addEventListener("close", resolve));
    await openDialog(this.#dialog);
    if (!this.#dialog.open) {
      stop(); // another one opened meanwhile
      return undefined;
    }
    await closed;
    stop();
    return this.#dialog.returnValue === "forward" ? [...this.#chosen] : undefined;
  }

  #build() {
    const title = make("h2", t("forward_title"));
    title.id = "forward-title";
    title.tabIndex = -1;
    const input = this.#input;
    input.type = "search";
    input.autocomplete = "off";
    input.maxLength = 50;
    input.dir = "auto";
    input.placeholder = t("search");
    input.setAttribute("aria-label", t("search_label"));
    input.addEventListener("input", () => {
      this.#first = [...this.#chosen];
      this.#search.set(input.value);
      this.#suggest();
    });
    input.addEventListener("keydown", (event) => {
      if (event.key !== "Enter") return;
      event.preventDefault(); // chooses the first one instead of forwarding
      const first = this.#list.querySelector("input:not(:checked, :disabled)");
      if (first instanceof HTMLInputElement && input.value !== "") first.click();
    });
    // On a touch screen the keyboard would cover the list.
    (isTouch() ? title : input).autofocus = true;
    this.#list.className = "people";
    this.#note.className = "note";
    this.#note.setAttribute("role", "status");
    const cancel = make("button", t("cancel"));
    cancel.type = "button";
    cancel.addEventListener("click", () => this.#dialog.close());
    this.#confirm.className = "primary";
    this.#confirm.value = "forward";
    const buttons = make("div");
    buttons.className = "buttons";
    buttons.append(cancel, this.#confirm);
    const form = make("form");
    form.method = "dialog";
    form.append(title, input, this.#list, this.#note, buttons);
    this.#dialog.className = "forward-dialog";
    this.#dialog.setAttribute("aria-labelledby", title.id);
    this.#dialog.append(form);
    this.#dialog.addEventListener("click", (event) => {
      if (event.target === this.#dialog) this.#dialog.close(); // the backdrop
    });
  }

  /** A user without conversations sees people, too. */
  #suggest() {
    if (this.#search.query === "" && this.#conversations().length < 2) this.#search.suggest();
  }

  /** The peers of the conversations that accept messages, and the user's notes. */
  #conversations() {
    const { me, conversations } = this.#chat;
    const peers = conversations
      .entries()
      .filter(({ conversation }) => !conversation.isBlocked && !conversation.isPeerDeleted)
      .map(({ peer }) => peer);
    return peers.includes(me) ? peers : [...peers, me];
  }

  #names() {
    const { conversations } = this.#chat;
    const query = searchKey(this.#search.query);
    const known = this.#conversations().filter((name) => contains(this.#chat, name, query));
    const isBegun = (/** @type {string} */ name) => begins(this.#chat, name, query);
    const found = this.#search.found.filter((name) => {
      const { isBlocked, isPeerDeleted } = conversations.getOrCreate(name);
      return !isBlocked && !isPeerDeleted;
    });
    const matching = [...known.filter(isBegun), ...known.filter((name) => !isBegun(name)), ...found];
    return [...new Set([...this.#first, ...matching])].slice(0, SHOWN_MAX);
  }

  #render() {
    const names = this.#names();
    const isFull = this.#chosen.size >= RECIPIENTS_MAX;
    renderList(this.#list, names, {
      key: (name) => name,
      make: (name) => this.#makeRow(name),
      update: (row, name) => {
        const box = row.querySelector("input");
        if (!box) return;
        box.checked = this.#chosen.has(name);
        box.disabled = isFull && !box.checked;
      },
    });
    setText(this.#note, this.#noteText(names.length > this.#first.length, isFull));
    this.#confirm.disabled = this.#chosen.size === 0;
    setText(this.#confirm, this.#chosen.size > 1 ? t("forward_to", { count: this.#chosen.size }) : t("forward"));
  }

  /**
   * @param {boolean} hasFound
   * @param {boolean} isFull
   */
  #noteText(hasFound, isFull) {
    const { state, query, limitedFor } = this.#search;
    if (isFull) return t("forward_full", { count: RECIPIENTS_MAX });
    if (hasFound || state === "searching") return "";
    if (state === "limited") return t("search_limited", { wait: waitText(limitedFor) });
    if (state === "failed") return navigator.onLine ? t("search_failed") : t("search_offline");
    return t("search_no_results", { query });
  }

  /** @param {string} name */
  #makeRow(name) {
    const box = make("input");
    box.type = "checkbox";
    box.addEventListener("change", () => {
      if (box.checked) this.#chosen.add(name);
      else this.#chosen.delete(name);
      this.#render();
    });
    const avatar = make("span");
    avatar.classList.add("avatar", "small");
    avatar.setAttribute("aria-hidden", "true");
    setAvatar(avatar, name, this.#chat.profiles.of(name));
    const shown = make("span", nameInList(this.#chat, name));
    shown.className = "name";
    shown.dir = "auto";
    const handle = make("span", name === this.#chat.me ? "" : this.#chat.profiles.handle(name));
    handle.className = "handle";
    handle.dir = "auto";
    const names = make("span");
    names.className = "names";
    names.append(shown, " ", handle);
    const label = make("label");
    label.append(avatar, names, box);
    const row = make("li");
    row.append(label);
    return row;
  }
}
