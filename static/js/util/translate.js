/**
 * Translates the page's texts, which are in `translations/`. Only the chosen language is loaded.
 */

/** @typedef {keyof (typeof import("../translations/en.js"))["default"] | keyof (typeof import("../translations/account_en.js"))["default"] | keyof (typeof import("../translations/actions_en.js"))["default"] | keyof (typeof import("../translations/search_en.js"))["default"] | keyof (typeof import("../translations/uploads_en.js"))["default"] | keyof (typeof import("../translations/files_en.js"))["default"]} TranslationKey */
/** @typedef {"en" | "el"} Language */
/** @typedef {string | { one: string, other: string }} Translation plural forms where the count matters */

/** The supported languages by their own names. @type {Record<Language, string>} */
export const LANGUAGES = { en: "English", el: "Ελληνικά" };

/** @typedef {Record<TranslationKey, Translation>} Translations */

/** @typedef {() => Promise<{ default: Partial<Translations> }>} File */

/** Texts that failed to load are requested again after this time. */
const RETRY_MS = 2_000;

/** The files of each language. @type {Record<Language, File[]>} */
const files = { en: [() => import("../translations/en.js")], el: [() => import("../translations/el.js")] };
/** The languages loaded so far. @type {Partial<Record<Language, Translations>>} */
const loaded = {};

/** @type {Language} */
let current = "en";
/** Empty if no language could be loaded; the HTML is English. @type {Partial<Translations>} */
let translations = {};
let currentLocale = "en";
let plural = new Intl.PluralRules("en");
let numbers = new Intl.NumberFormat("en");

/**
 * The user's language: the chosen one, otherwise the first supported one of the browser's,
 * otherwise English.
 * @param {string | null | undefined} chosen
 * @param {readonly string[]} preferred
 * @returns {Language}
 */
export function chooseLanguage(chosen, preferred) {
  if (isLanguage(chosen)) return chosen;
  for (const tag of preferred) {
    const [language] = tag.toLowerCase().split("-");
    if (isLanguage(language)) return language;
  }
  return "en";
}

/**
 * Registers the texts of a single page; call it before a language is loaded.
 * @param {Record<Language, File>} more
 */
export function addTranslations(more) {
  files.en.push(more.en);
  files.el.push(more.el);
}

/**
 * As `addTranslations`, while a language is in use. Resolves when they can be used; tries again
 * until then.
 * @param {Record<Language, File>} more
 */
export async function extendTranslations(more) {
  addTranslations(more);
  const tags = /** @type {Language[]} */ (Object.keys(loaded));
  await Promise.all(tags.map(async (tag) => Object.assign(loaded[tag] ?? {}, await loadedFile(more[tag]))));
}

/** @param {File} file */
async function loadedFile(file) {
  for (;;) {
    try {
      return (await file()).default;
    } catch {
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
  }
}

/**
 * Loads a language once. Rejects without a network.
 * @param {Language} language
 */
export async function loadTranslations(language) {
  if (loaded[language]) return;
  const tables = await Promise.all(files[language].map(async (file) => (await file()).default));
  loaded[language] = Object.assign({}, ...tables);
}

/**
 * Switches to `language`, which must be loaded. Dates follow the user's region if known (`en-GB`
 * has no "PM").
 * @param {Language} language
 * @param {readonly string[]} [preferred]
 */
export function useLanguage(language, preferred = []) {
  const table = loaded[language];
  if (!table) throw new Error(`Cannot use ${language}: it is not loaded`);
  translations = table;
  current = language;
  currentLocale = preferred.find((tag) => tag.toLowerCase().split("-")[0] === language && isLocale(tag)) ?? language;
  plural = new Intl.PluralRules(currentLocale);
  numbers = new Intl.NumberFormat(currentLocale);
}

/**
 * Whether `Intl` accepts it: under LANG=C.UTF-8 Chromium reports "en-US@posix".
 * @param {string} tag
 */
function isLocale(tag) {
  try {
    return Intl.DateTimeFormat.supportedLocalesOf(tag).length > 0;
  } catch {
    return false;
  }
}

/** The current language. */
export function language() {
  return current;
}

/** The locale for dates and numbers. */
export function locale() {
  return currentLocale;
}

/**
 * Translates `key`, replacing `{name}` by `values.name`: `t("say_hello", { name: "bob" })`.
 * @param {TranslationKey} key
 * @param {Record<string, string | number>} [values]
 */
export function t(key, values = {}) {
  const entry = translations[key] ?? "";
  const form =
    typeof entry === "string" ? entry : plural.select(Number(values.count)) === "one" ? entry.one : entry.other;
  return form.replace(/\{(\w+)\}/gu, (whole, name) => {
    const value = values[name];
    if (value === undefined) return whole;
    // Isolated, so that a right-to-left name does not reorder the sentence.
    return typeof value === "number" ? numbers.format(value) : `\u2068${value}\u2069`;
  });
}

/** A duration, rounded up: "12 minutes". @param {number} seconds */
export function waitText(seconds) {
  if (seconds < 60) return t("seconds", { count: Math.max(1, Math.ceil(seconds)) });
  if (seconds < 3_600) return t("minutes", { count: Math.ceil(seconds / 60) });
  return t("hours", { count: Math.ceil(seconds / 3_600) });
}

/**
 * The text for a server error code. For an unknown code, the server's message or a generic text.
 * @param {string} code
 * @param {string | null} [message] the server's
 */
export function errorText(code, message) {
  const key = `error_${code}`;
  return Object.hasOwn(translations, key) ? t(/** @type {TranslationKey} */ (key)) : message || t("error_unknown");
}

/**
 * @param {unknown} value
 * @returns {value is Language}
 */
function isLanguage(value) {
  return typeof value === "string" && Object.hasOwn(LANGUAGES, value);
}
