/** Validity of names and messages (docs/protocol.md §1), and the keys by which names are found. */

import { ChatError } from "../errors.ts";
import { isIdentifier, skeleton } from "./unicode_security.ts";

export const NAME_MAX = 50;
export const MESSAGE_MAX = 4_000;

/** Scripts in everyday use (Unicode UAX #31, table 5). */
const SCRIPTS =
  "Arabic Armenian Bengali Cyrillic Devanagari Ethiopic Georgian Greek Gujarati Gurmukhi Hebrew Kannada Khmer Lao Latin Malayalam Myanmar Oriya Sinhala Tamil Telugu Thaana Thai Tibetan";
/** The combinations of UTS #39 §5.2, "highly restrictive": Japanese, Chinese, Korean. */
const COMBINATIONS = ["Latin Han Hiragana Katakana", "Latin Han Bopomofo", "Latin Han Hangul"];

/** One pattern per script or combination: its letters, marks and digits, and the three signs. */
const ALPHABETS = [...SCRIPTS.split(" "), ...COMBINATIONS].map((scripts) => {
  const letters = [...scripts.split(" "), "Common", "Inherited"].map((script) => `\\p{Script_Extensions=${script}}`);
  return new RegExp(`^(?:(?=[\\p{L}\\p{M}\\p{Nd}])[${letters.join("")}]|[_.\\-])+$`, "u");
});

/** White space and zero-width characters that pasting and keyboards leave around a name. */
const SURROUNDING = /[\p{White_Space}\u180e\u200b-\u200d\u2060\ufeff]/u;

/** Strips white space and zero-width characters. A single pattern would take quadratic time. */
export function trimName(name: string): string {
  let [start, end] = [0, name.length];
  while (start < end && SURROUNDING.test(name[start] as string)) start++;
  while (start < end && SURROUNDING.test(name[end - 1] as string)) end--;
  return name.slice(start, end);
}

/**
 * Validates and normalizes a name for display.
 *
 * @param raw what was typed at sign-up
 * @returns its NFKC form, trimmed
 * @throws ChatError `bad_name`: not 2–50 characters, more than one script, a character that UTS #39
 *   does not allow, a sign other than `_` `-` `.`, no letter or digit
 * @example checkName("Ζωή ") // "Ζωή"
 */
export function checkName(raw: string): string {
  const name = trimName(raw.normalize("NFKC"));
  const length = codePoints(name);
  const fits =
    length >= 2 &&
    length <= NAME_MAX &&
    /^[\p{L}\p{Nd}_.-]/u.test(name) && // not a mark that would combine with the preceding text
    /[\p{L}\p{Nd}]/u.test(name) && // else ".." would be a name, and a path
    !hidesMarks(name.normalize("NFD")) &&
    isIdentifier(name) &&
    ALPHABETS.some((alphabet) => alphabet.test(name));
  if (!fits) throw new ChatError("bad_name");
  return name;
}

/** UTS #39 §5.4: too many marks, a repeated mark, or a dot on a dotted letter. */
function hidesMarks(decomposed: string): boolean {
  return (
    /\p{M}{5}/u.test(decomposed) ||
    /([\p{Mn}\p{Me}])\1/u.test(decomposed) ||
    /[\p{Soft_Dotted}l\u0131\u0237]\p{M}*\u0307/u.test(decomposed)
  );
}

/**
 * The key that makes a name unique and findable: trimmed, NFKC, lower case, final sigma as sigma,
 * NFKC. Computed only here, since SQL's lower() has other rules.
 *
 * @example nameKey("ΟΔΟΣ") === nameKey("οδος") // true
 */
export function nameKey(name: string): string {
  if (/^[a-z0-9_.-]*$/.test(name)) return name; // most names, thousands of times a second
  return trimName(name.normalize("NFKC")).toLowerCase().replaceAll("ς", "σ").normalize("NFKC");
}

/**
 * Skeletons of a name as shown, then of its other forms: names do not differ by case, so no other
 * name may look like any of them. UTS #39 maps a zero to a capital O; in lower case it also
 * resembles an o.
 *
 * @example skeletonsOf("alice") // ["alice", "ALlCE"]: no other user can take "aIice" or "ALlCE"
 */
export function skeletonsOf(name: string): string[] {
  const forms = [name, nameKey(name), name.toUpperCase()];
  return [...new Set([...forms, ...forms.map((form) => form.replaceAll("0", "o"))].map(skeleton))];
}

/**
 * The key for prefix search: ignores case and the accents of Latin, Greek and Cyrillic letters.
 *
 * @example searchKey("Ζωή") // "ζωη"
 */
export function searchKey(name: string): string {
  const bare = nameKey(name)
    .normalize("NFD")
    .replace(/[\u0300-\u036f]/g, "");
  return bare.normalize("NFKC");
}

/** Control characters, and the two line breaks that are not in that category. */
const BREAKS_LINES = /[\p{Cc}\u2028\u2029]/u;

/**
 * The key of a name in a path or frame. The account need not exist.
 *
 * @returns undefined when no account can have it (control character, lone surrogate, empty, over
 *   200 units), so no query is needed
 */
export function keyOfReference(name: string): string | undefined {
  // Fast path: most names are their own key, and `watch` lists up to 200.
  if (/^[a-z0-9_.-]{1,50}$/.test(name)) return name;
  if (name.length > 4 * NAME_MAX || !name.isWellFormed()) return undefined;
  const key = nameKey(name);
  return key === "" || BREAKS_LINES.test(key) ? undefined : key;
}

/**
 * A visible character: not white space, a default-ignorable, a control, a mark without a base, or
 * one of four blank signs. Arabic, Syriac and Kaithi number signs are formats, but visible. As in
 * static/js/util/message_text.js.
 */
const VISIBLE =
  /[^\p{White_Space}\p{Default_Ignorable_Code_Point}\p{M}\p{Cc}\p{Cf}\u2800\u{13441}\u{13442}\u{1d159}]|[\u0600-\u0605\u06dd\u070f\u0890\u0891\u08e2\u{110bd}\u{110cd}]/u;

/** Whether a text has a visible character. */
export function isVisible(text: string): boolean {
  return VISIBLE.test(text);
}

/** Whether a text can be sent: 1–4,000 code points, not blank, no NUL, no lone surrogate. */
export function isMessage(text: string): boolean {
  return isDraft(text) && isVisible(text);
}

/** Whether a text can be stored as a draft: as `isMessage`, but it may be blank or empty. */
export function isDraft(text: string): boolean {
  if (text.length > 2 * MESSAGE_MAX || text.includes("\0") || !text.isWellFormed()) return false;
  return text.length <= MESSAGE_MAX || codePoints(text) <= MESSAGE_MAX;
}

/** Longer than every emoji of Unicode; bounds the pattern's work. */
const EMOJI_MAX_UNITS = 40;

/** Whether a text is one emoji: of Unicode's recommended set (RGI), or a single emoji character. */
export function isEmoji(text: string): boolean {
  return text.length <= EMOJI_MAX_UNITS && /^(?:\p{RGI_Emoji}|\p{Extended_Pictographic}\ufe0f?)$/v.test(text);
}

function codePoints(text: string): number {
  let count = 0;
  for (const _ of text) count++;
  return count;
}
