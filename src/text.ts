/** What a name and a message may be (CONTRACT §1), and the key by which a name is found. */

import { ChatError } from "./errors.ts";

export const NAME_MAX = 50;
export const MESSAGE_MAX = 4_000;

/** Scripts in everyday use (Unicode UAX #31, table 5). */
const SCRIPTS =
  "Arabic Armenian Bengali Cyrillic Devanagari Ethiopic Georgian Greek Gujarati Gurmukhi Hebrew Kannada Khmer Lao Latin Malayalam Myanmar Oriya Sinhala Tamil Telugu Thaana Thai Tibetan";
/** The combinations of UTS #39 §5.2, "highly restrictive": Japanese, Chinese with Bopomofo, Korean. */
const COMBINATIONS = ["Latin Han Hiragana Katakana", "Latin Han Bopomofo", "Latin Han Hangul"];

/** One pattern a script or combination: its letters, marks and digits, plus ASCII digits and the three signs. */
const ALPHABETS = [...SCRIPTS.split(" "), ...COMBINATIONS].map((scripts) => {
  const letters = scripts.split(" ").map((script) => `\\p{Script_Extensions=${script}}`);
  return new RegExp(`^(?:(?=[\\p{L}\\p{M}\\p{Nd}])[${letters.join("")}\\p{Script=Inherited}]|[0-9_.\\-])+$`, "u");
});

/**
 * The name as it will be shown.
 *
 * @param raw what was typed at sign-up
 * @returns its NFKC form
 * @throws ChatError `bad_name`: not 2–50 characters, more than one script, a sign other than `_` `-` `.`, no letter or digit
 * @example checkName("Ζωή") // "Ζωή"
 */
export function checkName(raw: string): string {
  const name = raw.normalize("NFKC");
  const length = codePoints(name);
  const fits =
    length >= 2 &&
    length <= NAME_MAX &&
    /^[\p{L}\p{Nd}_.-]/u.test(name) && // not a mark that would sit on what stands before
    /[\p{L}\p{Nd}]/u.test(name) && // else ".." would be a name, and a path
    !/\p{Default_Ignorable_Code_Point}/u.test(name) && // marks and fillers that nobody sees: two names would look the same
    !/\p{M}{5}/u.test(name) && // UTS #39 §5.4: more than four marks on a letter only disturb its neighbours
    ALPHABETS.some((alphabet) => alphabet.test(name));
  if (!fits) throw new ChatError("bad_name");
  return name;
}

/**
 * What a name is unique and found by: NFKC, lower case, final sigma as sigma, NFKC. Made here only; SQL's lower() follows other rules.
 *
 * @example nameKey("ΟΔΟΣ") === nameKey("οδος") // true
 */
export function nameKey(name: string): string {
  if (/^[a-z0-9_.-]*$/.test(name)) return name; // most names, thousands of times a second
  return name.normalize("NFKC").toLowerCase().replaceAll("ς", "σ").normalize("NFKC");
}

/**
 * What prefixes are searched in: the name without regard to case or to the accents of Latin, Greek and Cyrillic letters.
 *
 * @example searchKey("Ζωή") // "ζωη"
 */
export function searchKey(name: string): string {
  const bare = nameKey(name)
    .normalize("NFD")
    .replace(/[\u0300-\u036f]/g, "");
  return bare.normalize("NFKC");
}

/** Control characters, and the two line breaks that are none to Unicode. */
const BREAKS_LINES = /[\p{Cc}\u2028\u2029]/u;

/**
 * The key of a name that somebody refers to, in a path or a frame. An account need not exist.
 *
 * @returns undefined when no account can have it (control character, lone surrogate, empty, over 200 units), so no query is owed
 */
export function keyOfReference(name: string): string | undefined {
  if (/^[a-z0-9_.-]{1,50}$/.test(name)) return name; // its own key: most are, and a list of 200 is made of many
  const possible = name.length > 0 && name.length <= 4 * NAME_MAX && !BREAKS_LINES.test(name) && name.isWellFormed();
  return possible ? nameKey(name) : undefined;
}

/**
 * Anything that leaves ink. What does not: white space, default-ignorables, controls, marks without a base, and four blank signs. Signs
 * that stand before a number (Arabic, Syriac, Kaithi) are formats, but seen. The page has the same in static/js/message_text.js.
 */
const VISIBLE =
  /[^\p{White_Space}\p{Default_Ignorable_Code_Point}\p{M}\p{Cc}\p{Cf}\u2800\u{13441}\u{13442}\u{1d159}]|[\u0600-\u0605\u06dd\u070f\u0890\u0891\u08e2\u{110bd}\u{110cd}]/u;

/** Whether a text can be stored and shown byte for byte: 1–4,000 code points, not blank, no NUL, no lone surrogate. */
export function isMessage(text: string): boolean {
  return isDraft(text) && VISIBLE.test(text);
}

/** Whether a text can be kept as the beginning of a message: as `isMessage`, but it may be blank or empty. */
export function isDraft(text: string): boolean {
  if (text.length > 2 * MESSAGE_MAX || text.includes("\0") || !text.isWellFormed()) return false;
  return text.length <= MESSAGE_MAX || codePoints(text) <= MESSAGE_MAX;
}

function codePoints(text: string): number {
  let count = 0;
  for (const _ of text) count++;
  return count;
}
