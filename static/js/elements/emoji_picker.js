/**
 * The dialog with all emoji, for reactions and the message field. Loaded on demand.
 *
 * `emoji-picker-element` does not fit: it sets `innerHTML`, which the page's policy forbids, and its
 * data has no Greek.
 */

import { chooseTone, emojiPreferences, noteEmoji } from "../store/emoji_preferences.js";
import { isTouch, setText } from "../util/dom.js";
import { GROUPS, loadEmoji, searchEmoji, withTone } from "../util/emoji.js";
import { language, t } from "../util/translate.js";
import { icon, iconButton, ready } from "./action_parts.js";
import { loadStyle, make, openDialog } from "./dialogs.js";
import { EmojiGrid } from "./emoji_grid.js";

/** @import { Emoji } from "../util/emoji.js" */
/** @import { TranslationKey } from "../util/translate.js" */

/**
 * @typedef {object} Purpose
 * @property {DOMRect} place the picker opens beside it; on small touch screens, at the bottom
 * @property {(emoji: string) => void} pick called after the picker has closed
 * @property {() => void} restoreFocus called when it closes
 */

/** Between the picker and the element that opened it. */
const GAP_PX = 8;
/** The loading text appears after this delay. */
const LOADING_DELAY_MS = 300;
/** The names of the skin tones. @type {TranslationKey[]} */
const TONES = ["emoji_tone_0", "emoji_tone_1", "emoji_tone_2", "emoji_tone_3", "emoji_tone_4", "emoji_tone_5"];
/** The icons and names of the groups. @type {Record<Emoji["group"] | "recent", [emoji: string, name: TranslationKey]>} */
const TABS = {
  recent: ["🕘", "emoji_recent"],
  smileys: ["😀", "emoji_smileys"],
  people: ["👋", "emoji_people"],
  animals: ["🐻", "emoji_animals"],
  food: ["🍔", "emoji_food"],
  travel: ["🚗", "emoji_travel"],
  activities: ["⚽", "emoji_activities"],
  objects: ["💡", "emoji_objects"],
  symbols: ["🔣", "emoji_symbols"],
  flags: ["🏁", "emoji_flags"],
};

/**
 * Opens the picker, unless another dialog is open.
 * @param {string} me
 * @param {Purpose} purpose
 */
export async function openPicker(me, purpose) {
  await Promise.all([ready, loadStyle("emoji.css")]);
  await new EmojiPicker(me, purpose).open();
}

class EmojiPicker {
  #me;
  #purpose;
  #recent;
  /** @type {Emoji[]} */
  #all = [];
  #dialog = make("dialog");
  #input = make("input");
  #tabs = make("div");
  #grid;
  /** Focused at the start. On a touch screen, the keyboard would cover the emoji. @type {HTMLElement} */
  #start;
  /** The number of results, or why nothing is shown. */
  #status = make("p");
  #retry = make("button", t("try_again"));
  /** The name of the emoji under the pointer or the focus. */
  #name = make("p");
  #closed = new AbortController();

  /**
   * @param {string} me
   * @param {Purpose} purpose
   */
  constructor(me, purpose) {
    this.#me = me;
    this.#purpose = purpose;
    const { tone, recent } = emojiPreferences(me);
    this.#recent = recent;
    this.#grid = new EmojiGrid(tone);
    this.#start = isTouch() ? this.#grid.element : this.#input;
    this.#build(tone);
    this.#listen();
  }

  async open() {
    await openDialog(this.#dialog);
    if (!this.#dialog.open) return;
    const { signal } = this.#closed;
    addEventListener("hashchange", () => this.#dialog.close(), { signal }); // another conversation
    for (const type of ["resize", "scroll"]) visualViewport?.addEventListener(type, () => this.#fit(), { signal });
    this.#fit();
    this.#placeBeside(this.#purpose.place);
    await this.#load();
  }

  async #load() {
    this.#retry.hidden = true;
    setText(this.#status, "");
    const loading = setTimeout(() => setText(this.#status, t("emoji_loading")), LOADING_DELAY_MS);
    try {
      this.#all = await loadEmoji();
      this.#show();
    } catch {
      setText(this.#status, t("emoji_failed"));
      this.#retry.hidden = false;
    } finally {
      clearTimeout(loading);
    }
  }

  /** @param {number} tone */
  #build(tone) {
    this.#input.type = "search";
    this.#input.autocomplete = "off";
    this.#input.dir = "auto";
    this.#input.placeholder = t("emoji_search");
    this.#input.setAttribute("aria-label", t("emoji_search"));
    this.#start.autofocus = true;
    const close = iconButton("x", t("close"));
    close.classList.add("round", "close");
    close.addEventListener("click", () => this.#dialog.close());
    this.#tabs.className = "tabs";
    this.#tabs.setAttribute("role", "toolbar");
    this.#tabs.setAttribute("aria-label", t("emoji_groups"));
    this.#status.className = "status";
    this.#status.setAttribute("role", "status");
    this.#retry.type = "button";
    this.#retry.classList.add("primary", "retry");
    this.#retry.addEventListener("click", () => {
      this.#start.focus();
      void this.#load();
    });
    this.#name.className = "name";
    this.#name.setAttribute("aria-hidden", "true"); // repeats the button's label
    this.#dialog.className = "emoji-picker";
    this.#dialog.setAttribute("aria-label", t("emoji"));
    this.#dialog.append(
      div("top", div("search", icon("search"), this.#input), close),
      this.#tabs,
      this.#status,
      this.#retry,
      this.#grid.element,
      div("foot", this.#name, this.#toneChoice(tone)),
    );
  }

  /** @param {number} chosen */
  #toneChoice(chosen) {
    const choice = make("fieldset");
    const legend = make("legend", t("emoji_tone"));
    legend.className = "visually-hidden";
    choice.append(legend);
    for (const [tone, key] of TONES.entries()) {
      const [label, input, hand] = [make("label"), make("input"), make("span", withTone("✋", tone))];
      input.type = "radio";
      input.name = "emoji-tone";
      input.checked = tone === chosen;
      input.className = "visually-hidden";
      input.setAttribute("aria-label", t(key));
      input.addEventListener("change", () => {
        this.#grid.setTone(tone);
        chooseTone(this.#me, tone);
      });
      hand.setAttribute("aria-hidden", "true");
      label.title = t(key);
      label.append(input, hand);
      choice.append(label);
    }
    return choice;
  }

  #listen() {
    const dialog = this.#dialog;
    let picked = "";
    dialog.addEventListener("click", ({ target }) => target === dialog && dialog.close()); // the backdrop
    dialog.addEventListener("close", () => {
      this.#closed.abort();
      this.#purpose.restoreFocus();
      if (picked) this.#purpose.pick(picked);
    });
    this.#input.addEventListener("input", () => this.#search());
    this.#input.addEventListener("keydown", (event) => {
      if (event.isComposing) return;
      if (event.key === "ArrowDown") this.#grid.focusFirst();
      else if (event.key !== "Enter") return;
      else if (this.#input.value.trim()) this.#grid.pickFirst();
      event.preventDefault();
    });
    this.#tabs.addEventListener("keydown", (event) => this.#onTabsKey(event));
    this.#grid.on("leave", () => this.#input.focus());
    this.#grid.on("point", ({ names }) => setText(this.#name, names[language()]));
    this.#grid.on("scroll", (index) => this.#mark(index));
    this.#grid.on("pick", ({ entry, emoji }) => {
      picked = emoji;
      noteEmoji(this.#me, entry.emoji);
      dialog.close();
    });
  }

  /** Shows the groups, or the results if the user typed a search while the emoji were loading. */
  #show() {
    const byEmoji = new Map(this.#all.map((entry) => [entry.emoji, entry]));
    const recent = this.#recent.flatMap((emoji) => byEmoji.get(emoji) ?? []);
    const groups = /** @type {const} */ (["recent", ...GROUPS]).filter(
      (each) => each !== "recent" || recent.length > 0,
    );
    this.#grid.show(
      groups.map((group) => ({
        title: t(TABS[group][1]),
        entries: group === "recent" ? recent : this.#all.filter((entry) => entry.group === group),
      })),
    );
    this.#tabs.replaceChildren(...groups.map((group, index) => this.#tab(group, index)));
    this.#search();
  }

  /**
   * @param {keyof typeof TABS} group
   * @param {number} index
   */
  #tab(group, index) {
    const [emoji, name] = TABS[group];
    const tab = make("button", emoji);
    tab.type = "button";
    tab.title = t(name);
    tab.setAttribute("aria-label", t(name));
    tab.addEventListener("click", () => {
      this.#input.value = "";
      this.#search();
      this.#grid.scrollTo(index);
      this.#mark(index);
    });
    return tab;
  }

  /** Marks the tab of the group at the top, which is the Tab stop; -1 marks none. @param {number} index */
  #mark(index) {
    for (const [place, tab] of [...this.#tabs.querySelectorAll("button")].entries()) {
      tab.setAttribute("aria-current", String(place === index));
      tab.tabIndex = place === Math.max(0, index) ? 0 : -1;
      if (place === index) tab.scrollIntoView({ block: "nearest", inline: "nearest" });
    }
  }

  #search() {
    if (this.#all.length === 0) return; // loading; `#show` searches then
    const query = this.#input.value.trim();
    const found = query ? searchEmoji(this.#all, query) : [];
    const count = t("emoji_found", { count: found.length });
    this.#grid.showResults(query ? { title: count, entries: found } : undefined);
    this.#status.classList.toggle("visually-hidden", found.length > 0); // the title of the results shows the count
    setText(this.#status, found.length > 0 ? count : query ? t("emoji_none") : "");
    this.#mark(query ? -1 : 0);
  }

  /** @param {KeyboardEvent} event */
  #onTabsKey(event) {
    const tabs = [...this.#tabs.querySelectorAll("button")];
    const index = tabs.findIndex((tab) => tab === event.target);
    const steps = { ArrowRight: index + 1, ArrowLeft: index - 1, Home: 0, End: -1 };
    const next = steps[/** @type {keyof typeof steps} */ (event.key)];
    if (event.key === "ArrowDown") this.#grid.focusTabStop();
    else if (next === undefined) return;
    else tabs.at(next % tabs.length)?.focus();
    event.preventDefault();
  }

  /** Keeps the sheet of small touch screens above the keyboard, even where that covers the page (iOS). */
  #fit() {
    if (!visualViewport) return;
    const covered = innerHeight - visualViewport.height - visualViewport.offsetTop;
    this.#dialog.style.setProperty("--keyboard", `${Math.max(0, Math.round(covered))}px`);
  }

  /** Puts the picker above a place if there is room, otherwise below. CSS keeps it within the window. @param {DOMRect} place */
  #placeBeside({ left, right, top, bottom }) {
    const { offsetWidth: width, offsetHeight: height } = this.#dialog;
    const above = top - GAP_PX - height;
    this.#dialog.style.setProperty("--x", `${(left + right - width) / 2}px`);
    this.#dialog.style.setProperty("--y", `${above >= GAP_PX ? above : bottom + GAP_PX}px`);
  }
}

/**
 * @param {string} className
 * @param {...Node} children
 */
function div(className, ...children) {
  const element = make("div");
  element.className = className;
  element.append(...children);
  return element;
}
