/** What may be sent, as the server and the page have it: one rule, two files. */

import { describe, expect, test } from "bun:test";

import fc from "fast-check";

import { isMessage } from "../../src/util/text.ts";
import { isBlank, MESSAGE_MAX, sanitizeMessage } from "../../static/js/util/message_text.js";

const point = (...codes: number[]) => String.fromCodePoint(...codes);

describe("both refuse as blank", () => {
  test.each([
    ["nothing", ""],
    ["spaces of all kinds", " \t\n\u00a0\u1680\u2003\u2028\u2029\u202f\u205f\u3000\u0085"],
    ["the blank Braille pattern", "\u2800"],
    ["Hangul fillers", "\u3164\u115f\u1160\uffa0"],
    ["a lone combining mark", "\u0301"],
    ["a mark on a space", "\u00a0\u0308"],
    ["a mark on a filler", "\u3164\u0302"],
    ["vowel signs without a letter", "\u093e\u0e38\u0bcd"],
    ["an enclosing keycap without a digit", "\ufe0f\u20e3"],
    ["a joiner alone", "\u200d"],
    ["joiners, marks of direction, byte order marks", "\u200b\u200c\u2060\ufeff\u200e\u200f\u061c\u202e\u2066\u2069"],
    ["invisible operators and a soft hyphen", "\u2061\u2062\u2063\u2064\u00ad\u034f"],
    ["variation selectors", `\ufe0f\ufe00${point(0xe0100)}\u180b\u180f`],
    ["the Mongolian vowel separator", "\u180e"],
    ["Khmer vowels that show nothing", "\u17b4\u17b5"],
    ["tags without a flag", point(0xe0067, 0xe0062, 0xe007f)],
    ["controls", "\u0001\u001b\u007f\u0080\u009f"],
    ["anchors of annotations", "\ufff9\ufffa\ufffb"],
    ["a null notehead and other signs of music", point(0x1d159, 0x1d173, 0x1d17a)],
    ["blank hieroglyphs", point(0x13441, 0x13442, 0x13430)],
    ["ignorables that are not assigned", `\u2065\ufff0${point(0xe0fff)}`],
  ])("%s", (_, text) => {
    expect(isMessage(text)).toBeFalse();
    expect(isBlank(text)).toBeTrue();
  });
});

describe("both accept", () => {
  test.each([
    ["a full stop", "."],
    ["a heart drawn as emoji", "\u2764\ufe0f"],
    ["a keycap", "1\ufe0f\u20e3"],
    ["a family", "👩‍👩‍👧‍👦"],
    ["a flag of tags", `🏴${point(0xe0067, 0xe0062, 0xe0065, 0xe006e, 0xe0067, 0xe007f)}`],
    ["the flag of Greece", "🇬🇷"],
    ["a tone of skin alone", "🏻"],
    ["Hangul", "한국어"],
    ["Hangul letter by letter", "\u1112\u1161\u11ab"],
    ["a medial without its initial", "\u1160\u1161"],
    ["Persian with a non-joiner", "می\u200cخواهم"],
    ["Arabic behind a mark of direction", "\u200fسلام"],
    ["an Arabic sign of a year", "\u0601"],
    ["the end of a verse", "\u06dd"],
    ["a Devanagari syllable", "कि"],
    ["Mongolian", "ᠮᠣᠩᠭᠣᠯ"],
    ["a letter with an accent apart", "e\u0301"],
    ["a spacing accent", "\u00b4"],
    ["a Braille letter", "\u2801"],
    ["a private sign", "\ue000"],
    ["the sign for what could not be read", "\ufffd"],
  ])("%s", (_, text) => {
    expect(isMessage(text)).toBeTrue();
    expect(isBlank(text)).toBeFalse();
  });
});

test("both say the same of every code point", () => {
  for (let code = 1; code <= 0x10_ffff; code++) {
    if (code >= 0xd800 && code <= 0xdfff) continue;
    const text = point(code);
    if (isBlank(text) === isMessage(text)) throw new Error(`U+${code.toString(16)}: the page says ${isBlank(text)}`);
    if (isBlank(text)) continue;
    const leavesNoInk = /[\p{White_Space}\p{Default_Ignorable_Code_Point}\p{M}\p{Cc}\p{Z}]/u.test(text);
    if (leavesNoInk) throw new Error(`U+${code.toString(16)} is accepted`);
  }
});

test("the server accepts exactly the texts that the page would send", () => {
  const unit = fc.oneof(
    fc.constantFrom(..." \n\t\0a.\u200b\u0301\u2800\u3164\ufe0f\u200d\ud83d", "😀"),
    fc.string({ unit: "binary", minLength: 1, maxLength: 1 }),
  );
  const long = fc.integer({ min: MESSAGE_MAX - 3, max: MESSAGE_MAX + 3 }).map((count) => ` \n${"😀".repeat(count)}\n `);
  fc.assert(
    fc.property(fc.oneof(fc.string({ unit, maxLength: 8 }), long), (typed) => {
      const text = sanitizeMessage(typed);
      expect(!isBlank(text) && [...text].length <= MESSAGE_MAX).toBe(isMessage(text));
    }),
    { numRuns: 5_000 },
  );
});
