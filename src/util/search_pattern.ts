/**
 * Turns a search into a regular expression for PostgreSQL that matches any part of a message,
 * whatever its case, accents and form of normalization. PostgreSQL compares code points only, so
 * the result depends on no collation, and messages need no second, normalized copy.
 */

/**
 * Dropped from searches and skipped in messages: accents, Hebrew and Arabic vowel points, variation
 * selectors, and invisible formats such as ZWJ. Marks of other scripts are letters: without them
 * は, ば and ぱ would be the same. So is U+0338: ≠ is not =. Ranges of a bracket expression.
 */
const SKIPPED =
  "\u0300-\u0337\u0339-\u036f\u0483-\u0487\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u064b-\u065f\u0670\u1ab0-\u1aff\u1dc0-\u1dff" +
  "\u20d0-\u20dc\ufe20-\ufe2f\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufe00-\ufe0f\ufeff";
const SKIP = `[${SKIPPED}]*`;
const SKIPPED_ALL = new RegExp(`[${SKIPPED}]`, "gu");

/** Letters that Unicode does not decompose, and characters that keyboards insert by themselves. */
const REPLACED: Readonly<Record<string, string>> = {
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

/** Characters that may differ from their folded form: the others need not be tried. */
const MAY_FOLD =
  /[\p{Changes_When_NFKC_Casefolded}\p{Changes_When_Lowercased}\u00c0-\u052f\u0620-\u06d3\u1e00-\u1fff\u0904-\u0fff\u{1d15e}-\u{1d1c0}\s‘’“”„…]/gu;
/** The spellings of a run of ligatures grow with its length: 13 of six "s". */
const RUN_MAX = 6;
/** Without Han, Hangul, surrogates and private use, which fold to themselves. */
const TRIED: readonly (readonly [first: number, last: number])[] = [
  [0, 0x33ff],
  [0xa000, 0xabff],
  [0xf900, 0xffff],
  [0x1_0000, 0x1_ffff],
  [0x2_f800, 0x2_fa1f],
];

/**
 * The form in which characters are compared. Empty for skipped ones. Of the characters that
 * decompose into several, only ligatures of two or three letters do so here, and those that NFC
 * decomposes too.
 */
function foldCharacter(character: string): string {
  const bare = character.normalize("NFKD").toLowerCase().normalize("NFKD").replace(SKIPPED_ALL, "");
  const folded = [...bare.normalize("NFC")].map((one) => REPLACED[one] ?? one).join("");
  if (/^\s$/u.test(folded)) return /\s/u.test(character) ? " " : character.normalize("NFC"); // not ´, a space with an accent
  const { length } = [...folded];
  const isLigature = length <= 3 && /^\p{L}+$/u.test(character + folded);
  const isDecomposed = length <= 3 && character.normalize("NFC") !== character;
  return length <= 1 || isLigature || isDecomposed || folded === "..."
    ? folded
    : character.normalize("NFC").toLowerCase();
}

/** The inverse of `foldCharacter`. */
interface Table {
  /** By folded form of one to three characters: all other characters with it. */
  readonly whole: ReadonlyMap<string, string>;
  /** By first and by last character of longer folded forms. */
  readonly heads: ReadonlyMap<string, string>;
  readonly tails: ReadonlyMap<string, string>;
}

let table: Table | undefined;

/** Made by the first search: 30 ms, 1 MB. */
function makeTable(): Table {
  const [whole, heads, tails] = [new Map<string, string>(), new Map<string, string>(), new Map<string, string>()];
  for (const [first, last] of TRIED) {
    let block = "";
    for (let code = first; code <= last; code++) block += String.fromCodePoint(code);
    for (const [character] of block.matchAll(MAY_FOLD)) {
      const folded = foldCharacter(character);
      if (folded === character || folded === "") continue;
      append(whole, folded, character);
      const points = [...folded];
      if (points.length === 1) continue;
      append(heads, points[0] as string, character);
      append(tails, points.at(-1) as string, character);
    }
  }
  return { whole, heads, tails };
}

function append(map: Map<string, string>, key: string, character: string): void {
  map.set(key, (map.get(key) ?? "") + character);
}

/**
 * A regular expression of PostgreSQL for texts that contain `text`, for a case-sensitive match
 * under collation "C". Undefined if the text has only skipped characters.
 *
 * Its length is linear in that of the text, and matching it takes no backtracking.
 *
 * @example searchPattern("Καφές") // matches "καφεσ", "ΚΑΦΕΣ" and "ένας καφές"
 */
export function searchPattern(text: string): string | undefined {
  const { whole, heads, tails } = (table ??= makeTable());
  const units = [...text.normalize("NFC")].map(foldCharacter).filter((unit) => unit !== "");
  const folded = [...units.join("")];
  const count = folded.length;
  if (count === 0) return undefined;

  const like = (unit: string, more = "") =>
    oneOf(([...unit].length === 1 ? unit : "") + (whole.get(unit) ?? "") + more);
  const character = (at: number): string => {
    const point = folded[at] as string;
    const inside = at === 0 ? (tails.get(point) ?? "") : ""; // "s" also begins inside of ß
    const split = at === count - 1 ? (heads.get(point) ?? "") : "";
    const parts = [...point.normalize("NFD")]; // of Hangul and kana, which folding composes
    const one = like(point, inside + split);
    return parts.length === 1 ? one : `(?:${one}|${parts.map((part) => like(part)).join(SKIP)})`;
  };
  /** Every way to write a part of the text with characters and ligatures. */
  const spellings = (at: number, end: number): string[] => {
    const found = at === end ? [""] : [];
    for (let length = 1; at + length <= end; length++) {
      const unit = folded.slice(at, at + length).join("");
      if (length > 1 && !whole.has(unit)) continue;
      const first = length === 1 ? character(at) : like(unit);
      for (const rest of spellings(at + length, end)) found.push(rest === "" ? first : first + SKIP + rest);
    }
    return found;
  };

  const elements: string[] = [];
  for (let at = 0; at < count;) {
    const end = endOfRun(folded, at, whole);
    elements.push(anyOf(spellings(at, end)));
    at = end;
  }
  const pattern = elements.join(SKIP);
  // Of longer runs of ligatures, the pattern lacks some spellings; it must not lack that of the search itself.
  return units.length === count ? pattern : anyOf([pattern, units.map((unit) => like(unit)).join(SKIP)]);
}

/** Where the ligatures end that begin at a character and overlap: "sss" may be written "ßs" and "sß". */
function endOfRun(folded: readonly string[], begin: number, whole: ReadonlyMap<string, string>): number {
  let end = begin + 1;
  for (let at = begin; at < end; at++) {
    for (const length of [2, 3]) {
      const isLigature = at + length <= folded.length && whole.has(folded.slice(at, at + length).join(""));
      if (isLigature) end = Math.max(end, Math.min(at + length, begin + RUN_MAX));
    }
  }
  return end;
}

function anyOf(alternatives: readonly string[]): string {
  return alternatives.length === 1 ? (alternatives[0] as string) : `(?:${alternatives.join("|")})`;
}

/** A bracket expression, or a single character. */
function oneOf(characters: string): string {
  const escaped = characters.replace(/[!-/:-@[-`{-~]/g, "\\$&");
  return characters.length === 1 ? escaped : `[${escaped}]`;
}
