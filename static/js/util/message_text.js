/**
 * What message texts may contain, by the same rules as src/util/text.ts
 * (test/unit/message_text_test.ts compares them).
 */

/** In code points. */
export const MESSAGE_MAX = 4_000;

/**
 * Any visible character: not white space, default-ignorables, controls, marks without a base, or
 * four blank characters. Signs that precede a number (Arabic, Syriac, Kaithi) are format characters
 * but visible.
 */
const VISIBLE =
  /[^\p{White_Space}\p{Default_Ignorable_Code_Point}\p{M}\p{Cc}\p{Cf}\u2800\u{13441}\u{13442}\u{1d159}]|[\u0600-\u0605\u06dd\u070f\u0890\u0891\u08e2\u{110bd}\u{110cd}]/u;

/** Whether a text has no visible character. @param {string} text */
export function isBlank(text) {
  return !VISIBLE.test(text);
}

/**
 * The text as sent: without leading empty lines, trailing white space, NUL and lone surrogates.
 * @param {string} text
 */
export function sanitizeMessage(text) {
  return text
    .replaceAll("\0", "")
    .replace(/^(?:[^\S\n]*\n)+|\s+$/gu, "")
    .toWellFormed();
}
