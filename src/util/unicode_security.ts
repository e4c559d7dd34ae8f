/**
 * UTS #39: characters allowed in names, and texts that look alike. test/support/unicode_data.ts
 * generates the data in unicode/: confusables of Unicode 18, but Identifier_Status of 16, since 17
 * disallows letters that names need (polytonic Greek, Bopomofo, rare ideographs). The rest comes
 * from the runtime.
 */

import confusables from "./unicode/confusables.txt" with { type: "text" };
import identifierStatus from "./unicode/identifier_status.txt" with { type: "text" };

const ALLOWED = Array.from(
  identifierStatus.matchAll(/^([0-9A-F]+)(?:\.\.([0-9A-F]+))? ; Allowed$/gm),
  ([, first, last = first]) => String.raw`\u{${first}}-\u{${last}}`,
);
const IDENTIFIER = new RegExp(`^[${ALLOWED.join("")}]*$`, "u");

/** Whether every character has Identifier_Status=Allowed. */
export function isIdentifier(text: string): boolean {
  return IDENTIFIER.test(text);
}

/**
 * The skeleton of UTS #39 §4, for comparison only: two texts are confusable if their skeletons are
 * equal.
 *
 * @example skeleton("раураl") === skeleton("paypal") // true: the first has Cyrillic letters
 */
export function skeleton(text: string): string {
  const seen = text.normalize("NFD").replace(/\p{Default_Ignorable_Code_Point}/gu, "");
  return Array.from(seen, prototypeOf).join("").normalize("NFD");
}

/** Characters looked up so far. The whole table as a map would take 15 MB and 25 ms per start. */
const prototypes = new Map<string, string>();

function prototypeOf(character: string): string {
  return prototypes.getOrInsertComputed(character, () => {
    const code = (character.codePointAt(0) as number).toString(16).toUpperCase().padStart(4, "0");
    const start = `\n${code} ; `;
    const at = confusables.indexOf(start);
    return at < 0 ? character : fromCodes(confusables.slice(at + start.length, confusables.indexOf("\n", at + 1)));
  });
}

/** @example fromCodes("0072 006E") // "rn" */
function fromCodes(codes: string): string {
  return String.fromCodePoint(...codes.split(" ").map((code) => Number.parseInt(code, 16)));
}
