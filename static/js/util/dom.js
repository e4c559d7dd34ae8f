/** DOM helpers for all pages, in one file, because each adds about 350 bytes to a first visit. */

import { hue, initials } from "./names.js";
import { t } from "./translate.js";

/** @import { TranslationKey } from "./translate.js" */
/** @typedef {"sending" | "sent" | "delivered" | "read" | "failed"} Tick */

/**
 * @template T
 * @typedef {object} Rendering
 * @property {(item: T) => string} key identifies an item across renderings
 * @property {(item: T) => HTMLElement} make
 * @property {(element: HTMLElement, item: T) => void} update called for every item, including new ones
 */

/** @type {WeakMap<Element, Map<string, HTMLElement>>} */
const rendered = new WeakMap();

/** Marks the page as started; `start.js` ignores later errors. */
export function pageStarted() {
  document.documentElement.dataset.started = "";
}

/**
 * Renders a list as the children of `parent`, reusing and moving existing elements.
 * @template T
 * @param {Element} parent
 * @param {readonly T[]} items
 * @param {Rendering<T>} rendering
 */
export function renderList(parent, items, { key, make, update }) {
  const before = rendered.get(parent) ?? new Map();
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
    // Moving an element would blur the focus inside it, so correctly placed ones are not touched.
    if (element === place) place = place.nextElementSibling;
    else parent.insertBefore(element, place);
  }
  rendered.set(parent, after);
}

/**
 * Clones the one element in a `<template>`.
 * @param {string} id
 * @returns {HTMLElement}
 */
export function cloneTemplate(id) {
  const template = /** @type {HTMLTemplateElement} */ (document.getElementById(id));
  return /** @type {HTMLElement} */ (/** @type {Element} */ (template.content.firstElementChild).cloneNode(true));
}

/**
 * The element within `root`; throws when it is missing, which is a bug in the page.
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
 * Sets the text of an element if it differs.
 * @param {Element} element
 * @param {string} text
 */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

const ANNOUNCED_MAX = 5;

/**
 * Adds a text to a live region. One element each: screen readers then announce repeated texts and
 * several messages at once.
 * @param {Element} region
 * @param {string} text
 */
export function announce(region, text) {
  const announcement = document.createElement("p");
  announcement.textContent = text;
  region.append(announcement);
  if (region.childElementCount > ANNOUNCED_MAX) region.firstElementChild?.remove();
}

/** Failed photos are requested again after this time, twice. */
const PHOTO_RETRY_MS = 20_000;
const PHOTO_TRIES = 3;

/**
 * Sets an avatar's photo, or initials on a hue: until the photo has loaded, and without one. The
 * initials are not text content, because screen readers would read them before the name, and copied
 * text would contain both.
 * @param {HTMLElement} avatar
 * @param {string} name
 * @param {import("../store/profiles.js").Profile} [profile]
 */
export function setAvatar(avatar, name, { displayName, photo } = {}) {
  avatar.dataset.initials = initials(displayName ?? name);
  avatar.style.setProperty("--hue", String(hue(name)));
  const shown = avatar.querySelector("img");
  const src = photo ? `/photos/${encodeURIComponent(name)}?v=${photo}` : undefined;
  if (shown?.getAttribute("src") === src) return;
  shown?.remove();
  if (src !== undefined) avatar.prepend(photoOf(src));
}

/** @param {string} src */
function photoOf(src) {
  const image = new Image();
  image.alt = "";
  image.loading = "lazy";
  image.decoding = "async";
  let tries = 1;
  image.addEventListener("load", () => image.classList.add("loaded"));
  image.addEventListener("error", () => {
    if (tries++ < PHOTO_TRIES) setTimeout(() => image.isConnected && image.setAttribute("src", src), PHOTO_RETRY_MS);
  });
  image.setAttribute("src", src);
  return image;
}

/**
 * Shows a message's delivery state as an icon and as text; undefined hides it.
 * @param {ParentNode} parent contains a `.tick` and a `.state`
 * @param {Tick | undefined} state
 */
export function setTick(parent, state) {
  /** @type {SVGElement} */
  const tick = find(parent, ".tick");
  tick.toggleAttribute("hidden", state === undefined);
  setText(find(parent, ".state"), state ? t(STATE_KEYS[state]) : "");
  if (!state || tick.dataset.state === state) return;
  tick.dataset.state = state;
  find(tick, "use").setAttribute("href", `#tick-${state}`);
}

/** @type {Record<Tick, TranslationKey>} */
const STATE_KEYS = {
  sending: "state_sending",
  sent: "state_sent",
  delivered: "state_delivered",
  read: "state_read",
  failed: "not_sent",
};

/**
 * Whether the page is visible and its window focused. On touch screens visibility suffices, because
 * apps side by side have no meaningful focus.
 */
export function isPageActive() {
  return document.visibilityState === "visible" && (document.hasFocus() || isTouch());
}

/**
 * Calls `run` when `isPageActive` may have changed. Also listens to pointers and keys: after some
 * drags no `focus` event fires.
 * @param {() => void} run
 */
export function onPageActivityChange(run) {
  for (const type of ["focus", "blur", "pointerdown", "keydown"]) addEventListener(type, run);
  document.addEventListener("visibilitychange", run);
}

/**
 * The URL of a file in the page's version. `import.meta.url` alone does not lead to it: in a bundle,
 * it is the bundle's.
 * @param {string} path below `static/`
 */
export function fileUrl(path) {
  return import.meta.url.replace(/\/js\/.*/, `/${path}`);
}

/** The URLs of the modules fetched so far; first, that of the page's script. */
const fetchedModules = new Set([import.meta.url]);

/**
 * Imports a module on demand. It and its imports are fetched first: without a network this rejects,
 * and the next call tries again, whereas browsers remember modules that failed to import as long as
 * the document lives (HTML §8.1.5.3).
 * @template T
 * @param {() => Promise<T>} load imports the module
 * @param {string} path of the module, below `js/`
 * @returns {Promise<T>}
 */
export async function importAgain(load, path) {
  await fetchModule(fileUrl(`js/${path}`));
  return load();
}

/**
 * Fetches a module and its static imports into the browser's cache.
 * @param {string} url
 */
async function fetchModule(url) {
  if (fetchedModules.has(url)) return;
  const response = await fetch(url);
  if (!response.ok) throw new Error(`Could not load ${url}: status ${response.status}`);
  const imports = (await response.text()).matchAll(/\b(?:from|import)\s*"(\.[^"]+)"/g);
  await Promise.all(Array.from(imports, ([, path = ""]) => fetchModule(new URL(path, url).href)));
  fetchedModules.add(url);
}

/**
 * Sets an attribute if it differs; "" removes it.
 * @param {Element} element
 * @param {string} name
 * @param {string} value
 */
export function setAttribute(element, name, value) {
  if ((element.getAttribute(name) ?? "") === value) return;
  if (value === "") element.removeAttribute(name);
  else element.setAttribute(name, value);
}

/**
 * Whether the primary input is touch: focusing a field opens the keyboard, and Enter must insert a
 * line break.
 */
export function isTouch() {
  return matchMedia("(pointer: coarse)").matches;
}

/**
 * Activates the button that shows and hides the password in a form. It toggles all password fields,
 * because they hold the same password.
 * @param {HTMLFormElement} form
 */
export function addPasswordToggle(form) {
  const button = /** @type {HTMLButtonElement | null} */ (form.querySelector(".show-password"));
  const inputs = /** @type {NodeListOf<HTMLInputElement>} */ (form.querySelectorAll('input[type="password"]'));
  if (!button) return;
  const renderButton = () => {
    const shown = inputs[0]?.type === "text";
    setText(button, t(shown ? "hide_password" : "show_password"));
    button.setAttribute("aria-label", t(shown ? "hide_password_label" : "show_password_label"));
  };
  button.hidden = false;
  button.addEventListener("click", () => {
    const type = inputs[0]?.type === "text" ? "password" : "text";
    for (const input of inputs) input.type = type;
    renderButton();
  });
  document.addEventListener("languagechange", renderButton);
  renderButton();
}
