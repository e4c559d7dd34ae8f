/** Suggests emoji while a shortcode such as `:smile` is typed in the message field. Loaded on demand. */

import { emojiPreferences, noteEmoji } from "../store/emoji_preferences.js";
import { find } from "../util/dom.js";
import { loadEmoji, searchEmoji, tonedEmoji } from "../util/emoji.js";
import { shortcodeAtEnd } from "../util/shortcode.js";
import { language, t } from "../util/translate.js";
import { ready } from "./action_parts.js";
import { loadStyle, make } from "./dialogs.js";

/** @import { Emoji } from "../util/emoji.js" */
/** @import { MessageComposer } from "./message_composer.js" */

const SHOWN_MAX = 8;
const ID = "emoji-suggestions";

/**
 * Starts suggesting once the emoji are loaded; rejects without a network.
 * @param {string} me
 * @param {MessageComposer} composer
 */
export async function startSuggestions(me, composer) {
  const [all] = await Promise.all([loadEmoji(), ready, loadStyle("emoji.css")]);
  new EmojiSuggestions(me, composer, all).update();
}

/** The listbox above the field, which keeps the focus: `aria-activedescendant` names the chosen option. */
class EmojiSuggestions {
  #me;
  #composer;
  /** @type {HTMLTextAreaElement} */
  #field;
  #all;
  /** @type {HTMLElement | undefined} */
  #list;
  /** @type {Emoji[]} */
  #shown = [];
  #chosen = 0;
  /** Index of the colon of the shortcode whose suggestions the user closed; -1 without one. */
  #dismissed = -1;
  #tone = 0;

  /**
   * @param {string} me
   * @param {MessageComposer} composer
   * @param {Emoji[]} all
   */
  constructor(me, composer, all) {
    this.#me = me;
    this.#composer = composer;
    this.#field = find(composer, "textarea");
    this.#all = all;
    this.#field.addEventListener("input", () => this.update());
    this.#field.addEventListener("blur", () => this.#close());
    composer.addEventListener("sent", () => this.#close());
    addEventListener("hashchange", () => this.#close());
    document.addEventListener("selectionchange", () => this.#list && this.update());
    // Before the composer handles Enter and the arrows, and the conversation Escape.
    addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => this.#onKey(event), { capture: true });
  }

  /** Shows the emoji that match the shortcode before the caret. */
  update() {
    const { from, name = "" } = this.#shortcode() ?? {};
    if (from !== this.#dismissed) this.#dismissed = -1;
    const isWanted = from !== undefined && this.#dismissed < 0 && document.activeElement === this.#field;
    const found = isWanted ? searchEmoji(this.#all, name, SHOWN_MAX) : [];
    if (found.length === 0) return this.#close();
    const isSame = found.length === this.#shown.length && found.every((each, index) => each === this.#shown[index]);
    if (this.#list && isSame) return;
    this.#shown = found;
    this.#tone = emojiPreferences(this.#me).tone;
    this.#render();
  }

  #shortcode() {
    const { value, selectionStart, selectionEnd } = this.#field;
    return selectionStart === selectionEnd ? shortcodeAtEnd(value.slice(0, selectionEnd)) : undefined;
  }

  #render() {
    const list = (this.#list ??= this.#open());
    list.replaceChildren(
      ...this.#shown.map((entry, index) => {
        const [option, emoji] = [make("li"), make("span", tonedEmoji(entry, this.#tone))];
        option.id = `${ID}-${index}`;
        option.setAttribute("role", "option");
        emoji.className = "emoji";
        emoji.setAttribute("aria-hidden", "true"); // its name follows
        option.append(emoji, make("span", entry.names[language()]));
        option.addEventListener("click", () => this.#accept(index));
        return option;
      }),
    );
    this.#choose(0);
  }

  #open() {
    const list = make("ul");
    list.id = ID;
    list.className = ID;
    list.setAttribute("role", "listbox");
    list.setAttribute("aria-label", t("emoji_suggestions"));
    list.addEventListener("pointerdown", (event) => event.preventDefault()); // would blur the field
    this.#composer.prepend(list);
    this.#field.setAttribute("aria-controls", ID);
    this.#field.setAttribute("aria-autocomplete", "list");
    return list;
  }

  #close() {
    this.#list?.remove();
    this.#list = undefined;
    for (const name of ["aria-controls", "aria-autocomplete", "aria-activedescendant"])
      this.#field.removeAttribute(name);
  }

  /** @param {number} index */
  #choose(index) {
    this.#chosen = (index + this.#shown.length) % this.#shown.length;
    for (const [place, option] of [...(this.#list?.children ?? [])].entries()) {
      option.setAttribute("aria-selected", String(place === this.#chosen));
      if (place === this.#chosen) option.scrollIntoView({ block: "nearest" });
    }
    this.#field.setAttribute("aria-activedescendant", `${ID}-${this.#chosen}`);
  }

  /** Replaces the shortcode, and adds a space unless one follows. @param {number} index */
  #accept(index) {
    const entry = this.#shown[index];
    const { from } = this.#shortcode() ?? {};
    this.#close();
    if (!entry || from === undefined) return;
    const { value, selectionEnd } = this.#field;
    this.#field.setSelectionRange(from, selectionEnd);
    this.#composer.insert(tonedEmoji(entry, this.#tone) + (/^\s/.test(value.slice(selectionEnd)) ? "" : " "));
    noteEmoji(this.#me, entry.emoji);
  }

  /** @param {KeyboardEvent} event */
  #onKey(event) {
    if (!this.#list || event.target !== this.#field || event.isComposing) return;
    if (event.ctrlKey || event.altKey || event.metaKey || event.shiftKey) return;
    if (event.key === "ArrowDown") this.#choose(this.#chosen + 1);
    else if (event.key === "ArrowUp") this.#choose(this.#chosen - 1);
    else if (event.key === "Enter" || event.key === "Tab") this.#accept(this.#chosen);
    else if (event.key === "Escape") {
      this.#dismissed = this.#shortcode()?.from ?? -1;
      this.#close();
    } else return;
    event.preventDefault();
    event.stopImmediatePropagation();
  }
}
