/** The little that every element needs of the document. */

import { hue, initials } from "./names.js";
import { t } from "./translate.js";

/** @import { Key } from "./translate.js" */
/** @typedef {"sending" | "sent" | "delivered" | "read" | "failed"} Tick */

/**
 * @template T
 * @typedef {object} Rendering
 * @property {(item: T) => string} key what makes an item the same one as before
 * @property {(item: T) => HTMLElement} make
 * @property {(element: HTMLElement, item: T) => void} update called for every item, new ones included
 */

/** @type {WeakMap<Element, Map<string, HTMLElement>>} */
const kept = new WeakMap();

/** The page does what it should from now on: what goes wrong is not for `start.js` any more. */
export function pageStarted() {
  document.documentElement.dataset.started = "";
}

/**
 * Makes the children of `parent` the same as a list, moving and reusing what is there already.
 * @template T
 * @param {Element} parent
 * @param {readonly T[]} items
 * @param {Rendering<T>} rendering
 */
export function renderList(parent, items, { key, make, update }) {
  const before = kept.get(parent) ?? new Map();
  /** @type {Map<string, HTMLElement>} */
  const after = new Map();
  for (const item of items) {
    const name = key(item);
    const element = before.get(name) ?? make(item);
    update(element, item);
    after.set(name, element);
  }
  for (const [name, element] of before) if (!after.has(name)) element.remove();
  let place = parent.firstElementChild;
  for (const element of after.values()) {
    // Moving an element would take the focus from within it, so one that stands right is not touched.
    if (element === place) place = place.nextElementSibling;
    else parent.insertBefore(element, place);
  }
  kept.set(parent, after);
}

/**
 * A copy of the one element in a `<template>`.
 * @param {string} id
 * @returns {HTMLElement}
 */
export function cloneTemplate(id) {
  const template = /** @type {HTMLTemplateElement} */ (document.getElementById(id));
  return /** @type {HTMLElement} */ (/** @type {Element} */ (template.content.firstElementChild).cloneNode(true));
}

/**
 * The element within `root` that must be there: a missing one is a mistake in the page.
 * @param {ParentNode} root
 * @param {string} selector
 * @returns {any}
 */
export function find(root, selector) {
  const element = root.querySelector(selector);
  if (!element) throw new Error(`Could not find ${selector}`);
  return element;
}

/**
 * Sets the text of an element, and leaves it alone when it is that already.
 * @param {Element} element
 * @param {string} text
 */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/**
 * Makes an avatar that of a person. The initials are no text of the page: readers and copies have the name itself.
 * @param {HTMLElement} avatar
 * @param {string} name
 */
export function setAvatar(avatar, name) {
  avatar.dataset.initials = initials(name);
  avatar.style.setProperty("--hue", String(hue(name)));
}

/**
 * Shows how far a message has come, as a picture and in words; undefined shows nothing.
 * @param {ParentNode} parent holds an `.tick` and a `.state`
 * @param {Tick | undefined} state
 */
export function setTick(parent, state) {
  /** @type {SVGElement} */
  const tick = find(parent, ".tick");
  tick.toggleAttribute("hidden", state === undefined);
  setText(find(parent, ".state"), state ? t(STATE_WORDS[state]) : "");
  if (!state || tick.dataset.state === state) return;
  tick.dataset.state = state;
  find(tick, "use").setAttribute("href", `#tick-${state}`);
}

/** @type {Record<Tick, Key>} */
const STATE_WORDS = {
  sending: "state_sending",
  sent: "state_sent",
  delivered: "state_delivered",
  read: "state_read",
  failed: "not_sent",
};

/**
 * Whether somebody looks at this page: it is visible, and its window has the focus. Of a touch screen only the first counts, as apps side by
 * side have no focus to speak of.
 */
export function isPageActive() {
  return document.visibilityState === "visible" && (document.hasFocus() || isTouch());
}

/**
 * Calls back when that may have changed. A touch or a key tells too: not every drag that took the focus brings it back with an event.
 * @param {() => void} look
 */
export function onPageActivityChange(look) {
  for (const type of ["focus", "blur", "pointerdown", "keydown"]) addEventListener(type, look);
  document.addEventListener("visibilitychange", look);
}

/** Whether there is no keyboard but a finger: focus would raise one, and Enter is the only way to break a line. */
export function isTouch() {
  return matchMedia("(pointer: coarse)").matches;
}
