/**
 * Message texts: what they may contain, by the same rules as src/util/text.ts
 * (test/unit/message_text_test.ts compares them), and the parts they consist of.
 */

import { links } from "./links.js";

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

/** @typedef {import("./links.js").Token & { code?: "inline" | "block", language?: string }} Part */

/** A capturing group, so that `split` returns the fences. */
const FENCE = /(`{3,})/;
/** Next to a letter, a backtick is an apostrophe: don`t. */
const INLINE = /((?<![\p{L}\p{N}`])`[^`\n]+`(?![\p{L}\p{N}`]))/u;
const LANGUAGE = /^([\w+#-]{1,20})\n/;

/**
 * Splits a message into code, links and text. Backticks enclose inline code, fences of three
 * enclose a block. Code contains no links. The parts contain the whole text except the backticks
 * and the line breaks next to a fence. Linear time: each character is examined a bounded number of
 * times, and no expression backtracks.
 *
 * @example textParts("use `ls -l`") // [{text: "use "}, {text: "ls -l", code: "inline"}]
 * @param {string} text
 * @returns {Part[]}
 */
export function textParts(text) {
  if (!text.includes("`")) return links(text);
  /** @type {Part[]} */
  const parts = [];
  const pieces = text.split(FENCE); // text, fence, text, fence, text
  for (let index = 0; index < pieces.length; index++) {
    const piece = pieces[index] ?? "";
    const inside = pieces[index + 1] ?? "";
    if (index % 2 === 0) parts.push(...inlineParts(piece));
    else if (index + 2 < pieces.length && inside.trim() !== "") {
      parts.push(block(inside));
      index += 2; // the closing fence
      pieces[index + 1] = (pieces[index + 1] ?? "").replace(/^\n/, ""); // a block ends its own line
    } else parts.push({ text: piece });
  }
  return parts;
}

/** @param {string} inside @returns {Part} */
function block(inside) {
  const language = LANGUAGE.exec(inside)?.[1];
  const code = inside.slice(language?.length ?? 0).replace(/^\n/, "");
  const text = code.endsWith("\n") ? code.slice(0, -1) : code;
  return { text, code: "block", ...(language ? { language } : {}) };
}

/** @param {string} text @returns {Part[]} */
function inlineParts(text) {
  return text.split(INLINE).flatMap((piece, index) => {
    const code = piece.slice(1, -1);
    return index % 2 === 1 && code.trim() !== "" ? [{ text: code, code: "inline" }] : links(piece);
  });
}
