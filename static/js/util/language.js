/**
 * Translates the page: elements with `data-t`, `data-t-label` or `data-t-placeholder`. Offers the
 * choice of language; on a change, a `languagechange` event on the document asks other code to
 * render its texts again.
 */

import { chooseLanguage, language, LANGUAGES, loadTranslations, t, useLanguage } from "./translate.js";

/** @import { TranslationKey, Language } from "./translate.js" */

const KEY = "chatify.language";
const ATTRIBUTES = { tLabel: "aria-label", tPlaceholder: "placeholder" };

/**
 * Translates all elements within `root` that have a key.
 * @param {ParentNode} root
 */
function translateWithin(root) {
  /** @type {NodeListOf<HTMLElement>} */
  const marked = root.querySelectorAll("[data-t], [data-t-label], [data-t-placeholder]");
  for (const element of marked) {
    const { dataset } = element;
    if (dataset.t) element.textContent = t(/** @type {TranslationKey} */ (dataset.t));
    for (const [data, attribute] of Object.entries(ATTRIBUTES)) {
      const key = dataset[data];
      if (key) element.setAttribute(attribute, t(/** @type {TranslationKey} */ (key)));
    }
  }
}

/** @param {Language} chosen */
function applyLanguage(chosen) {
  useLanguage(chosen, navigator.languages);
  document.documentElement.lang = chosen;
  translateWithin(document);
  for (const template of document.querySelectorAll("template")) translateWithin(template.content);
}

/** @returns {string | null} */
function storedLanguage() {
  try {
    return localStorage.getItem(KEY);
  } catch {
    return null; // storage is forbidden
  }
}

/**
 * Stores the choice in a cookie and in `localStorage`, restoring either from the other: signing out
 * erases all but cookies.
 */
export function persistLanguage() {
  const inCookie = /(?:^|; )chatify_language=(\w+)/.exec(document.cookie)?.[1];
  const stored = storedLanguage();
  if (stored !== null && stored !== inCookie) {
    document.cookie = `chatify_language=${stored}; Path=/; SameSite=Lax; Max-Age=34560000`;
  } else if (stored === null && inCookie !== undefined) {
    try {
      localStorage.setItem(KEY, inCookie);
    } catch {
      // Forbidden: the browser's language is used.
    }
  }
}

/** One button per language. */
class LanguageChoice extends HTMLElement {
  connectedCallback() {
    for (const [tag, name] of Object.entries(LANGUAGES)) {
      const button = document.createElement("button");
      button.type = "button";
      button.lang = tag;
      button.textContent = name;
      button.addEventListener("click", () => void this.#choose(/** @type {Language} */ (tag)));
      this.append(button);
    }
    document.addEventListener("languagechange", () => this.#showChosen());
    this.#showChosen();
  }

  /**
   * The latest choice; languages may finish loading in another order.
   * @type {Language | undefined}
   */
  #wanted;

  /** @param {Language} tag */
  async #choose(tag) {
    this.#wanted = tag;
    try {
      await loadTranslations(tag);
    } catch {
      return; // no network: keep the current language
    }
    if (this.#wanted !== tag) return;
    try {
      localStorage.setItem(KEY, tag);
    } catch {
      // The choice applies to this page only.
    }
    persistLanguage();
    applyLanguage(tag);
    document.dispatchEvent(new Event("languagechange"));
  }

  #showChosen() {
    for (const button of this.querySelectorAll("button")) {
      button.setAttribute("aria-pressed", String(button.lang === language()));
    }
  }
}

/** Behaves like a script that failed to load: nothing after it runs. @returns {Promise<never>} */
function failToLoad() {
  dispatchEvent(new ErrorEvent("error", { filename: import.meta.url }));
  return new Promise(() => {});
}

/**
 * Applies the initial language. The HTML is English and hidden while another language loads
 * (`base.css`). If that fails, the page is reloaded (`start.js`); if it fails again, the page falls
 * back to English.
 */
async function start() {
  persistLanguage();
  let chosen = chooseLanguage(storedLanguage(), navigator.languages);
  const { dataset } = document.documentElement;
  if (chosen === "en") dataset.translated = "";
  try {
    await loadTranslations(chosen);
  } catch {
    const isLost =
      dataset.retried === undefined ||
      !(await loadTranslations((chosen = "en")).then(
        () => true,
        () => false,
      ));
    if (isLost) return failToLoad();
  }
  applyLanguage(chosen);
  dataset.translated = "";
  document.dispatchEvent(new Event("languagechange")); // texts rendered so far are English
  addEventListener("languagechange", () => void followBrowser());
  customElements.define("language-choice", LanguageChoice);
}

/**
 * Handles a change of the browser's languages: the region affects dates, and the language follows
 * unless chosen here.
 */
async function followBrowser() {
  const chosen = chooseLanguage(storedLanguage(), navigator.languages);
  try {
    await loadTranslations(chosen);
  } catch {
    return; // no network: keep the current language
  }
  applyLanguage(chosen);
  document.dispatchEvent(new Event("languagechange"));
}

/** Resolves when the page is translated; never, if that fails. */
export const translated = start();
