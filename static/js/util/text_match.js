/**
 * Finds where a text contains a search, by the same rules as the server's src/util/search_pattern.ts
 * (test/unit/page_search_test.ts compares them).
 */

/** Accents, vowel points and invisible formats. */
const SKIPPED = new RegExp(
  "[\\u0300-\\u0337\\u0339-\\u036f\\u0483-\\u0487\\u0591-\\u05bd\\u05bf\\u05c1\\u05c2\\u05c4\\u05c5\\u05c7\\u064b-\\u065f\\u0670\\u1ab0-\\u1aff" +
    "\\u1dc0-\\u1dff\\u20d0-\\u20dc\\ufe20-\\ufe2f\\u00ad\\u200b-\\u200f\\u202a-\\u202e\\u2060-\\u2064\\u2066-\\u2069\\ufe00-\\ufe0f\\ufeff]",
  "gu",
);

/** Letters that Unicode does not decompose, and characters that keyboards insert by themselves. @type {Record<string, string>} */
const REPLACED = {
  ς: "σ",
  ß: "ss",
  æ: "ae",
  œ: "oe",
  ø: "o",
  ł: "l",
  đ: "d",
  ħ: "h",
  ı: "i",
  "…": "...",
  "‘": "'",
  "’": "'",
  "“": '"',
  "”": '"',
  "„": '"',
};

/** @type {Map<string, string>} */
const folded = new Map();

/** The form in which a character is compared; empty for skipped ones. @param {string} character */
function fold(character) {
  let form = folded.get(character);
  if (form === undefined) folded.set(character, (form = foldCharacter(character)));
  return form;
}

/** @param {string} character */
function foldCharacter(character) {
  const bare = character.normalize("NFKD").toLowerCase().normalize("NFKD").replace(SKIPPED, "");
  const form = [...bare.normalize("NFC")].map((one) => REPLACED[one] ?? one).join("");
  if (/^\s$/u.test(form)) return /\s/u.test(character) ? " " : character.normalize("NFC");
  const { length } = [...form];
  const isLigature = length <= 3 && /^\p{L}+$/u.test(character + form);
  const isDecomposed = length <= 3 && character.normalize("NFC") !== character;
  return length <= 1 || isLigature || isDecomposed || form === "..." ? form : character.normalize("NFC").toLowerCase();
}

/**
 * Where a text contains a search, in order and without overlaps.
 * @example findMatches("Ένας ΚΑΦΈΣ", "καφες") // [{ start: 5, end: 10 }]
 * @param {string} text
 * @param {string} query
 * @param {number} [most]
 * @returns {{ start: number, end: number }[]} in UTF-16 code units
 */
export function findMatches(text, query, most = Number.POSITIVE_INFINITY) {
  const needle = [...query.normalize("NFC")].map(fold).join("").normalize("NFD");
  if (needle === "") return [];
  let haystack = "";
  /** For each code unit of the haystack: the index of its character in the text. @type {number[]} */
  const origins = [];
  /** Where a match may begin or end: a composed letter is one. @type {Set<number>} */
  const edges = new Set();
  let at = 0;
  for (const character of text) {
    for (const one of fold(character)) {
      edges.add(haystack.length);
      const form = one.normalize("NFD");
      for (let index = 0; index < form.length; index++) origins.push(at);
      haystack += form;
    }
    at += character.length;
  }
  edges.add(haystack.length);
  /** @type {{ start: number, end: number }[]} */
  const matches = [];
  for (let from = 0; matches.length < most;) {
    const begin = haystack.indexOf(needle, from);
    if (begin === -1) break;
    const last = begin + needle.length;
    from = begin + 1;
    if (!edges.has(begin) || !edges.has(last)) continue;
    // Up to the next character that counts: accents belong to the match.
    from = last;
    while (origins[from] === origins[last - 1]) from++;
    matches.push({ start: origins[begin] ?? 0, end: origins[from] ?? text.length });
  }
  return matches;
}

/** Characters shown before and after a match. */
const [BEFORE, AFTER] = [24, 60];

/**
 * The part of a text around the first match, with white space as single spaces.
 * @param {string} text
 * @param {string} query
 * @returns {{ before: string, match: string, after: string }}
 */
export function excerpt(text, query) {
  const [first] = findMatches(text, query, 1);
  const { start, end } = first ?? { start: 0, end: 0 };
  const line = (/** @type {number} */ from, /** @type {number} */ to) =>
    text.slice(from, to).toWellFormed().replace(/\s+/gu, " ");
  let before = line(0, start);
  if (start > BEFORE + 8) {
    const near = line(start - BEFORE, start).replace(/^\ufffd/u, "");
    before = `…${near.replace(/^\S*\s/u, "")}`;
  }
  return { before, match: line(start, end), after: line(end, end + AFTER).replace(/\ufffd$/u, "") };
}
