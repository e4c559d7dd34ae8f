/** What a name looks like without a picture: its initials, its hue, and the key by which two spellings are one person. */

/** Around a name: white space and what has no width. */
const SURROUNDING =
  /^[\p{White_Space}\u180e\u200b-\u200d\u2060\ufeff]+|[\p{White_Space}\u180e\u200b-\u200d\u2060\ufeff]+$/gu;

/**
 * The key under which a name is found: `nameKey("ΝίκοΣ") === nameKey("νίκος")`. The server makes the same one.
 * @param {string} name
 */
export function nameKey(name) {
  return name.normalize("NFKC").replace(SURROUNDING, "").toLowerCase().replaceAll("ς", "σ").normalize("NFKC");
}

/**
 * What a name is searched by: `searchKey("Μαρία") === "μαρια"`. The server makes the same one.
 * @param {string} name
 */
export function searchKey(name) {
  const bare = nameKey(name)
    .normalize("NFD")
    .replace(/[\u0300-\u036f]/gu, "");
  return bare.normalize("NFKC");
}

/**
 * One or two letters for an avatar: `initials("maria_k") === "MK"`, `initials("bob") === "B"`.
 * @param {string} name
 */
export function initials(name) {
  const parts = name.split(/[\s_.-]+/u).filter(Boolean);
  const letters = (parts.length ? parts : [name]).slice(0, 2).map(firstLetter);
  return letters.join("");
}

/**
 * A hue in degrees, the same on every device and however the name is spelled.
 * @param {string} name
 */
export function hue(name) {
  let hash = 2166136261; // FNV-1a
  for (const character of nameKey(name)) hash = Math.imul(hash ^ (character.codePointAt(0) ?? 0), 16777619);
  return HUES[(hash >>> 0) % HUES.length] ?? 0;
}

/** Two people differ clearly or not at all; without the yellows, which are mud where white letters are to be read. */
const HUES = [12, 40, 145, 172, 205, 235, 262, 290, 318, 350];

const letters = new Intl.Segmenter(undefined, { granularity: "grapheme" });

/** @param {string} part */
function firstLetter(part) {
  const [first] = letters.segment(part);
  const upper = (first?.segment ?? "").toUpperCase();
  // Greek capitals carry no accent.
  return /\p{Script=Greek}/u.test(upper) ? upper.normalize("NFD").replace(/\u0301/gu, "") : upper;
}
