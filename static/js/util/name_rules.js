/**
 * Detects names the server would certainly reject. Its rules (src/util/text.ts) are stricter and
 * need a table of all letters.
 */

const INVISIBLE = /^[\s\u0085\u180e\u200b-\u200d\u2060\ufeff]+|[\s\u0085\u180e\u200b-\u200d\u2060\ufeff]+$/gu;
/** Alphabets that must not be mixed. */
const ALPHABETS = [/\p{Script=Latin}/u, /\p{Script=Greek}/u, /\p{Script=Cyrillic}/u];

/**
 * Whether the server would reject a name for its length, its characters, or letters of two
 * alphabets.
 * @param {string} raw as typed
 */
export function isImpossibleName(raw) {
  const name = raw.replace(INVISIBLE, "").normalize("NFKC");
  const { length } = [...name];
  return (
    length < 2 ||
    length > 50 ||
    !/^[\p{L}\p{Nd}_.-][\p{L}\p{M}\p{Nd}_.-]*$/u.test(name) ||
    !/[\p{L}\p{Nd}]/u.test(name) ||
    ALPHABETS.filter((alphabet) => alphabet.test(name)).length > 1
  );
}
