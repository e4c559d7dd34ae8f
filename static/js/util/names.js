/** Derives a name's initials, hue and the keys that identify and find it. */

/** White space and zero-width characters around a name. */
const SURROUNDING =
  /^[\p{White_Space}\u180e\u200b-\u200d\u2060\ufeff]+|[\p{White_Space}\u180e\u200b-\u200d\u2060\ufeff]+$/gu;

/**
 * The key that identifies a name: `nameKey("ΝίκοΣ") === nameKey("νίκος")`. The server computes the
 * same.
 * @param {string} name
 */
export function nameKey(name) {
  return name.normalize("NFKC").replace(SURROUNDING, "").toLowerCase().replaceAll("ς", "σ").normalize("NFKC");
}

/**
 * The key that search compares: `searchKey("Μαρία") === "μαρια"`. The server computes the same.
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
 * A hue in degrees, the same on every device and for every spelling of the name.
 * @param {string} name
 */
export function hue(name) {
  let hash = 2166136261; // FNV-1a
  for (const character of nameKey(name)) hash = Math.imul(hash ^ (character.codePointAt(0) ?? 0), 16777619);
  return HUES[(hash >>> 0) % HUES.length] ?? 0;
}

/** Clearly distinct hues, without yellows, on which white letters are hard to read. */
const HUES = [12, 40, 145, 172, 205, 235, 262, 290, 318, 350];

const letters = new Intl.Segmenter(undefined, { granularity: "grapheme" });

/** @param {string} part */
function firstLetter(part) {
  const [first] = letters.segment(part);
  const upper = (first?.segment ?? "").toUpperCase();
  // Greek capitals have no accents.
  return /\p{Script=Greek}/u.test(upper) ? upper.normalize("NFD").replace(/\u0301/gu, "") : upper;
}
