/** Loads and searches the emoji of `emoji/emoji.json`, which `bun run emoji` writes, and applies skin tones. Loaded on demand. */

import { fileUrl } from "./dom.js";
import { searchKey } from "./names.js";

/**
 * @typedef {object} Emoji
 * @property {string} emoji without a skin tone
 * @property {boolean} hasTones
 * @property {Record<"en" | "el", string>} names
 * @property {(typeof GROUPS)[number]} group
 * @property {string[]} titles its names and shortcodes
 * @property {string} words these and its keywords, in both languages
 */

/** As in the file, in this order. */
export const GROUPS = /** @type {const} */ ([
  "smileys",
  "people",
  "animals",
  "food",
  "travel",
  "activities",
  "objects",
  "symbols",
  "flags",
]);
const TONES = ["", "\u{1f3fb}", "\u{1f3fc}", "\u{1f3fd}", "\u{1f3fe}", "\u{1f3ff}"];
const SEPARATORS = /[\s_:.,’'“”«»()!-]+/gu;

/** @type {Promise<Emoji[]> | undefined} */
let loading;
/** Search keys, made by the first search: the words, each after a space, and the titles. @type {WeakMap<Emoji, { words: string, titles: string[] }>} */
const keys = new WeakMap();

/** Loads the emoji once; rejects without a network. @returns {Promise<Emoji[]>} */
export function loadEmoji() {
  return (loading ??= fetchEmoji().catch((error) => {
    loading = undefined;
    throw error;
  }));
}

async function fetchEmoji() {
  const response = await fetch(fileUrl("emoji/emoji.json"));
  if (!response.ok) throw new Error(`Could not load the emoji: status ${response.status}`);
  return parseEmoji(await response.json());
}

/**
 * @param {Record<string, string[]>} file
 * @returns {Emoji[]}
 */
export function parseEmoji(file) {
  return GROUPS.flatMap((group) =>
    (file[group] ?? []).map((line) => {
      const [emoji = "", tones, en = "", codes = "", enWords = "", el = "", elWords = ""] = line.split("|");
      const titles = [en, el, ...codes.split(",")];
      return {
        emoji,
        hasTones: tones !== "",
        names: { en, el },
        group,
        titles,
        words: [titles, enWords, elWords].join(),
      };
    }),
  );
}

/**
 * The emoji whose names or keywords have words that begin with those of `query`, in English or
 * Greek, without regard to accents. Exact names and shortcodes are first, then exact
 * words, then names with words that begin so.
 * @param {Emoji[]} all
 * @param {string} query
 * @param {number} [max]
 */
export function searchEmoji(all, query, max = all.length) {
  const phrase = foldWords(query);
  if (phrase === "") return [];
  const terms = phrase.split(" ");
  /** @type {Emoji[][]} */
  const ranked = [[], [], [], []];
  for (const entry of all) {
    const key = keyOf(entry);
    if (!terms.every((term) => key.words.includes(` ${term}`))) continue;
    const isTitle = key.titles.some((title) => ` ${title}`.includes(` ${phrase}`));
    const rank = key.titles.includes(phrase) ? 0 : key.words.includes(` ${phrase} `) ? 1 : isTitle ? 2 : 3;
    ranked[rank]?.push(entry);
  }
  return ranked.flat().slice(0, max);
}

/** @param {Emoji} entry */
function keyOf(entry) {
  const key = keys.get(entry) ?? { words: ` ${foldWords(entry.words)} `, titles: entry.titles.map(foldWords) };
  keys.set(entry, key);
  return key;
}

/** @param {string} text */
const foldWords = (text) => searchKey(text.replace(SEPARATORS, " ")).trim();

/**
 * An emoji in a skin tone, if it has any.
 * @param {Pick<Emoji, "emoji" | "hasTones">} entry
 * @param {number} tone
 */
export function tonedEmoji({ emoji, hasTones }, tone) {
  return hasTones ? withTone(emoji, tone) : emoji;
}

/**
 * An emoji in a skin tone that it has: 0 is none, 1 is light, 5 is dark.
 * @param {string} emoji
 * @param {number} tone
 */
export function withTone(emoji, tone) {
  return tone === 0 ? emoji : emoji.replace(/(\p{Emoji_Modifier_Base})\ufe0f?/gu, `$1${TONES[tone] ?? ""}`);
}
