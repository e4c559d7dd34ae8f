/**
 * The words of the page in the chosen language. All of them stand in `words/`; this file finds and fills them. A language is
 * loaded before it is spoken, and no other.
 */

/** @typedef {keyof (typeof import("../words/en.js"))["default"] | keyof (typeof import("../words/account_en.js"))["default"]} Key */
/** @typedef {"en" | "el"} Language */
/** @typedef {string | { one: string, other: string }} Word by number, where the number matters */

/** The languages there are, each by its own name. @type {Record<Language, string>} */
export const LANGUAGES = { en: "English", el: "Ελληνικά" };

/** @typedef {Record<Key, Word>} Table */

/** @typedef {() => Promise<{ default: Partial<Table> }>} File */

/** Where the words of a language stand. @type {Record<Language, File[]>} */
const files = { en: [() => import("../words/en.js")], el: [() => import("../words/el.js")] };
/** Those that are here by now. @type {Partial<Record<Language, Table>>} */
const loaded = {};

/** @type {Language} */
let current = "en";
/** Empty where no words could be loaded: what the page holds is English. @type {Partial<Table>} */
let table = {};
let currentLocale = "en";
let plural = new Intl.PluralRules("en");
let numbers = new Intl.NumberFormat("en");

/**
 * The language for a person: the one they chose, else the first of the browser's that exists here, else English.
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
 * Adds what only some page says, before any language is loaded: the others need not load it.
 * @param {Record<Language, File>} more
 */
export function addTranslations(more) {
  files.en.push(more.en);
  files.el.push(more.el);
}

/**
 * Fetches the words of a language, once; only then can it be spoken. Rejects without a network.
 * @param {Language} language
 */
export async function loadTranslations(language) {
  if (loaded[language]) return;
  const tables = await Promise.all(files[language].map(async (file) => (await file()).default));
  loaded[language] = Object.assign({}, ...tables);
}

/**
 * Speaks `language`, which must be loaded, from now on. Dates follow the person's own region where it is known (`en-GB` has no "PM").
 * @param {Language} language
 * @param {readonly string[]} [preferred]
 */
export function useLanguage(language, preferred = []) {
  const words = loaded[language];
  if (!words) throw new Error(`Cannot speak ${language}: it is not loaded`);
  table = words;
  current = language;
  currentLocale = preferred.find((tag) => tag.toLowerCase().split("-")[0] === language && isLocale(tag)) ?? language;
  plural = new Intl.PluralRules(currentLocale);
  numbers = new Intl.NumberFormat(currentLocale);
}

/** Whether `Intl` accepts it: under LANG=C.UTF-8 Chromium reports "en-US@posix". @param {string} tag */
function isLocale(tag) {
  try {
    return Intl.DateTimeFormat.supportedLocalesOf(tag).length > 0;
  } catch {
    return false;
  }
}

/** The language spoken now. */
export function language() {
  return current;
}

/** The locale for dates and numbers. */
export function locale() {
  return currentLocale;
}

/**
 * The words for `key`, with `{name}` filled from `values`: `word("say_hello", { name: "bob" })`.
 * @param {Key} key
 * @param {Record<string, string | number>} [values]
 */
export function t(key, values = {}) {
  const entry = table[key] ?? "";
  const form =
    typeof entry === "string" ? entry : plural.select(Number(values.count)) === "one" ? entry.one : entry.other;
  return form.replace(/\{(\w+)\}/gu, (whole, name) => {
    const value = values[name];
    if (value === undefined) return whole;
    // Isolated: a name from right to left must not turn the sentence around it.
    return typeof value === "number" ? numbers.format(value) : `\u2068${value}\u2069`;
  });
}

/** A wait in words, rounded up: "12 minutes". @param {number} seconds */
export function waitText(seconds) {
  if (seconds < 60) return t("seconds", { count: Math.max(1, Math.ceil(seconds)) });
  if (seconds < 3_600) return t("minutes", { count: Math.ceil(seconds / 60) });
  return t("hours", { count: Math.ceil(seconds / 3_600) });
}

/**
 * The words for an error code of the server. For a code not known here: what the server said, or words that always fit.
 * @param {string} code
 * @param {string | null} [said]
 */
export function errorText(code, said) {
  const key = `error_${code}`;
  return Object.hasOwn(table, key) ? t(/** @type {Key} */ (key)) : said || t("error_unknown");
}

/**
 * @param {unknown} value
 * @returns {value is Language}
 */
function isLanguage(value) {
  return typeof value === "string" && Object.hasOwn(LANGUAGES, value);
}
