/** Finds the emoji shortcode that is being typed, such as `:smile`. */

/** Not within a word, an address or a time, and not `:DD`, which is a face. */
const SHORTCODE = /(?<![^\s(«“"]):(?!(\p{L})\1+$)([+-]1|\p{L}[\p{L}\p{M}\p{N}_+-]{1,30})$/iu;
/** The same rule as for messages (`message_format.js`): next to a letter, a backtick is an apostrophe. */
const OPEN_CODE = /(?<![\p{L}\p{N}`])`[^`]*$/u;

/**
 * The name of the shortcode that ends at the caret, and where its colon is.
 * @param {string} text up to the caret
 * @returns {{ from: number, name: string } | undefined}
 */
export function shortcodeAtEnd(text) {
  const match = SHORTCODE.exec(text.slice(-40));
  if (!match || isInCode(text)) return undefined;
  return { from: text.length - match[0].length, name: match[2] ?? "" };
}

/** @param {string} text */
function isInCode(text) {
  if (!text.includes("`")) return false;
  const blocks = text.split("```");
  if (blocks.length % 2 === 0) return true;
  const line = (blocks.at(-1) ?? "").split("\n").at(-1) ?? "";
  return OPEN_CODE.test(line.replace(/`[^`]+`/g, ""));
}
