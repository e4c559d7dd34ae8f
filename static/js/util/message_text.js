/** What a message may be, as the server has it in src/util/text.ts: test/page_text_test.ts holds the two together. */

/** In code points. */
export const MESSAGE_MAX = 4_000;

/**
 * Anything that leaves ink. What does not: white space, default-ignorables, controls, marks without a base, and four blank signs. Signs
 * that stand before a number (Arabic, Syriac, Kaithi) are formats, but seen.
 */
const VISIBLE =
  /[^\p{White_Space}\p{Default_Ignorable_Code_Point}\p{M}\p{Cc}\p{Cf}\u2800\u{13441}\u{13442}\u{1d159}]|[\u0600-\u0605\u06dd\u070f\u0890\u0891\u08e2\u{110bd}\u{110cd}]/u;

/** Whether there is nothing to see in a text. @param {string} text */
export function isBlank(text) {
  return !VISIBLE.test(text);
}

/**
 * The text as it is sent: without the empty lines and blanks around it, and without what no server could store.
 * @param {string} text
 */
export function messageOf(text) {
  return text
    .replaceAll("\0", "")
    .replace(/^(?:[^\S\n]*\n)+|\s+$/gu, "")
    .toWellFormed();
}
