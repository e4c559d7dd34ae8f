/**
 * What a message is made of: code, links, and text between them. `x` between backticks is code within a line, what stands between
 * two fences of three is a block of it. Code has no links. Nobody's text is made shorter: but for the backticks, and the line breaks
 * beside a fence, the parts are the text.
 *
 * Each character is looked at a few times however the text is made; no expression here can backtrack.
 */

import { links } from "./links.js";

/** @typedef {import("./links.js").Token & { code?: "inline" | "block", language?: string }} Part */

/** In brackets, so that splitting keeps it. */
const FENCE = /(`{3,})/;
/** Beside a letter it is somebody's apostrophe: don`t. */
const INLINE = /((?<![\p{L}\p{N}`])`[^`\n]+`(?![\p{L}\p{N}`]))/u;
const LANGUAGE = /^([\w+#-]{1,20})\n/;

/**
 * Splits a text into its parts.
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
      pieces[index + 1] = (pieces[index + 1] ?? "").replace(/^\n/, ""); // a block ends its line itself
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
