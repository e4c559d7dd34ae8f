/** The emoji of the picker in sections, with one Tab stop: the arrow keys, Home and End move within it. */

import { Emitter } from "../util/emitter.js";
import { tonedEmoji } from "../util/emoji.js";
import { language } from "../util/translate.js";
import { make } from "./dialogs.js";

/** @import { Emoji } from "../util/emoji.js" */
/** @typedef {{ title: string, entries: Emoji[] }} Section */

/**
 * - `pick`: the user chose an emoji, in the skin tone shown
 * - `point`: the pointer or the focus reached one
 * - `scroll`: the index of the section at the top
 * - `leave`: ArrowUp in the first line, or a letter was typed
 * @typedef {{ pick: { entry: Emoji, emoji: string }, point: Emoji, scroll: number, leave: void }} GridEvents
 */

/** @extends {Emitter<GridEvents>} */
export class EmojiGrid extends Emitter {
  element = make("div");
  #tone;
  /** @type {WeakMap<Element, Emoji>} */
  #emoji = new WeakMap();
  /** The sections, hidden while the results of a search are shown. @type {HTMLElement[]} */
  #sections = [];
  /** @type {HTMLElement | undefined} */
  #results;

  /** @param {number} tone */
  constructor(tone) {
    super();
    this.#tone = tone;
    this.element.className = "grid";
    this.element.tabIndex = -1;
    this.element.addEventListener("click", ({ target }) => this.#pick(target));
    this.element.addEventListener("pointerover", ({ target }) => this.#point(target));
    this.element.addEventListener("focusin", ({ target }) => {
      this.#point(target);
      if (target instanceof HTMLElement && this.#emoji.has(target)) this.#setTabStop(target);
    });
    this.element.addEventListener("keydown", (event) => this.#onKey(event));
    this.element.addEventListener("scroll", () => this.#onScroll());
  }

  /** @param {Section[]} sections */
  show(sections) {
    this.#sections = sections.map((each) => this.#section(each));
    this.element.replaceChildren(...this.#sections);
    this.#setTabStop(this.#buttons()[0]);
  }

  /** Shows the results of a search instead of the sections; undefined restores them. @param {Section | undefined} results */
  showResults(results) {
    this.#results?.remove();
    this.#results = results && this.#section(results);
    for (const section of this.#sections) section.hidden = results !== undefined;
    if (this.#results) this.element.append(this.#results);
    this.element.scrollTop = 0;
    this.#setTabStop(this.#buttons()[0]);
  }

  /** @param {number} tone */
  setTone(tone) {
    this.#tone = tone;
    for (const button of this.element.querySelectorAll("button")) {
      const entry = this.#emoji.get(button);
      if (entry?.hasTones) button.textContent = tonedEmoji(entry, tone);
    }
  }

  /** @param {number} index of the section */
  scrollTo(index) {
    const section = this.#sections[index];
    section?.scrollIntoView({ block: "start" });
    this.#setTabStop(section?.querySelector("button"));
  }

  focusFirst() {
    this.#buttons()[0]?.focus();
  }

  focusTabStop() {
    this.#buttons()
      .find(({ tabIndex }) => tabIndex === 0)
      ?.focus();
  }

  pickFirst() {
    this.#pick(this.#buttons()[0]);
  }

  /** @param {Section} section */
  #section({ title, entries }) {
    const [section, heading, cells] = [make("section"), make("h3", title), make("div")];
    section.setAttribute("role", "group");
    section.setAttribute("aria-label", title);
    section.style.setProperty("--count", String(entries.length));
    heading.setAttribute("aria-hidden", "true"); // the name of the group
    cells.className = "cells";
    cells.append(...entries.map((entry) => this.#button(entry)));
    section.append(heading, cells);
    return section;
  }

  /** @param {Emoji} entry */
  #button(entry) {
    const button = make("button", tonedEmoji(entry, this.#tone));
    button.type = "button";
    button.tabIndex = -1;
    button.setAttribute("aria-label", entry.names[language()]);
    this.#emoji.set(button, entry);
    return button;
  }

  /** The buttons that are shown. @returns {HTMLElement[]} */
  #buttons() {
    return [...this.element.querySelectorAll("section:not([hidden]) button")].filter(
      (each) => each instanceof HTMLElement,
    );
  }

  /** @param {HTMLElement | null | undefined} button */
  #setTabStop(button) {
    for (const other of this.element.querySelectorAll('button[tabindex="0"]')) other.setAttribute("tabindex", "-1");
    if (button) button.tabIndex = 0;
  }

  /** @param {EventTarget | null | undefined} target */
  #pick(target) {
    const entry = target instanceof Element ? this.#emoji.get(target) : undefined;
    if (entry) this.emit("pick", { entry, emoji: tonedEmoji(entry, this.#tone) });
  }

  /** @param {EventTarget | null} target */
  #point(target) {
    const entry = target instanceof Element ? this.#emoji.get(target) : undefined;
    if (entry) this.emit("point", entry);
  }

  #onScroll() {
    if (this.#results) return;
    const { scrollTop, scrollHeight, clientHeight } = this.element;
    const isAtEnd = scrollTop + clientHeight >= scrollHeight - 1;
    const index = this.#sections.findLastIndex(({ offsetTop }) => offsetTop <= scrollTop + 1);
    this.emit("scroll", isAtEnd && scrollTop > 0 ? this.#sections.length - 1 : index);
  }

  /** @param {KeyboardEvent} event */
  #onKey(event) {
    const { key, target } = event;
    if (event.isComposing || event.ctrlKey || event.altKey || event.metaKey || !(target instanceof HTMLElement)) return;
    const next = this.#neighbor(target, key);
    if (next) next.focus();
    else if (key === "ArrowUp") this.emit("leave");
    else {
      if (key.length === 1 && key !== " ") this.emit("leave"); // the search receives the letter
      return;
    }
    event.preventDefault();
  }

  /**
   * The button that a key leads to; undefined above the first line.
   * @param {HTMLElement} from
   * @param {string} key
   * @returns {HTMLElement | undefined}
   */
  #neighbor(from, key) {
    if (!/^(?:Arrow|Home|End)/.test(key)) return undefined;
    const all = this.#buttons();
    const index = all.indexOf(from);
    if (key === "Home" || index < 0) return all[0];
    if (key === "End") return all.at(-1);
    if (key === "ArrowRight") return all[index + 1] ?? from;
    if (key === "ArrowLeft") return all[index - 1] ?? from;
    return key === "ArrowDown"
      ? (inLine(from, all.slice(index + 1)) ?? from)
      : inLine(from, all.slice(0, index).toReversed());
  }
}

/**
 * The closest button of the next line; each section begins a line.
 * @param {HTMLElement} from
 * @param {HTMLElement[]} others nearest first
 */
function inLine(from, others) {
  const { left, top } = from.getBoundingClientRect();
  /** @type {HTMLElement | undefined} */
  let closest;
  let [line, least] = [top, Number.POSITIVE_INFINITY];
  for (const other of others) {
    const place = other.getBoundingClientRect();
    if (line !== top && place.top !== line) break;
    line = place.top;
    const distance = Math.abs(place.left - left);
    if (line === top || distance >= least) continue;
    [closest, least] = [other, distance];
  }
  return closest;
}
