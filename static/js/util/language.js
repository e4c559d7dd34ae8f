/**
 * Puts the chosen language into the page: translates what carries `data-t` and its relatives, and offers the choice.
 * When the language changes, a `languagechange` event on the document asks everything else to say its words again.
 */

import { chooseLanguage, language, LANGUAGES, loadTranslations, t, useLanguage } from "./translate.js";

/** @import { Key, Language } from "./translate.js" */

const KEPT_AS = "chatify.language";
const ATTRIBUTES = { tLabel: "aria-label", tPlaceholder: "placeholder", tTitle: "title" };

/**
 * Translates everything within `root` that carries a key.
 * @param {ParentNode} root
 */
export function translateWithin(root) {
  /** @type {NodeListOf<HTMLElement>} */
  const marked = root.querySelectorAll("[data-t], [data-t-label], [data-t-placeholder], [data-t-title]");
  for (const element of marked) {
    const { dataset } = element;
    if (dataset.t) element.textContent = t(/** @type {Key} */ (dataset.t));
    for (const [data, attribute] of Object.entries(ATTRIBUTES)) {
      const key = dataset[data];
      if (key) element.setAttribute(attribute, t(/** @type {Key} */ (key)));
    }
  }
}

/** @param {Language} chosen */
function speak(chosen) {
  useLanguage(chosen, navigator.languages);
  document.documentElement.lang = chosen;
  translateWithin(document);
  for (const template of document.querySelectorAll("template")) translateWithin(template.content);
}

/** @returns {string | null} */
function keptLanguage() {
  try {
    return localStorage.getItem(KEPT_AS);
  } catch {
    return null; // storage is forbidden
  }
}

/** Keeps a choice in two places, of which each brings back the other: signing out erases all but cookies. */
export function keepLanguage() {
  const inCookie = /(?:^|; )chatify_language=(\w+)/.exec(document.cookie)?.[1];
  const kept = keptLanguage();
  if (kept !== null && kept !== inCookie) {
    document.cookie = `chatify_language=${kept}; Path=/; SameSite=Lax; Max-Age=34560000`;
  } else if (kept === null && inCookie !== undefined) {
    try {
      localStorage.setItem(KEPT_AS, inCookie);
    } catch {
      // Forbidden: the browser's own language will do.
    }
  }
}

/** One button a language, each in its own words. */
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

  /** What was chosen last: words may come in another order. @type {Language | undefined} */
  #wanted;

  /** @param {Language} tag */
  async #choose(tag) {
    this.#wanted = tag;
    try {
      await loadTranslations(tag);
    } catch {
      return; // no network: the page goes on as it is
    }
    if (this.#wanted !== tag) return;
    try {
      localStorage.setItem(KEPT_AS, tag);
    } catch {
      // Then it holds for this page only.
    }
    keepLanguage();
    speak(tag);
    document.dispatchEvent(new Event("languagechange"));
  }

  #showChosen() {
    for (const button of this.querySelectorAll("button")) {
      button.setAttribute("aria-pressed", String(button.lang === language()));
    }
  }
}

/** As a script that failed to load: nothing after it runs. @returns {Promise<never>} */
function failToLoad() {
  dispatchEvent(new ErrorEvent("error", { filename: import.meta.url }));
  return new Promise(() => {});
}

/**
 * Says the first words. What the page holds is English, and hidden while another language is on its way (`base.css`). When words fail
 * to load, the page does (`start.js`); the second time English is better than nothing.
 */
async function begin() {
  keepLanguage();
  let chosen = chooseLanguage(keptLanguage(), navigator.languages);
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
  speak(chosen);
  dataset.translated = "";
  document.dispatchEvent(new Event("languagechange")); // what has said something already said it in English
}

/** The browser's languages have changed: another region may write times differently, and a language not chosen here follows. */
async function follow() {
  const chosen = chooseLanguage(keptLanguage(), navigator.languages);
  try {
    await loadTranslations(chosen);
  } catch {
    return; // no network: the page goes on as it is
  }
  speak(chosen);
  document.dispatchEvent(new Event("languagechange"));
}

await begin();
addEventListener("languagechange", () => void follow());
customElements.define("language-choice", LanguageChoice);
