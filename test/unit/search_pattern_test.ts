/** The patterns of searches. What they match is tested in PostgreSQL: test/server/search_test.ts. */

import { describe, expect, test } from "bun:test";

import fc from "fast-check";

import { searchPattern } from "../../src/util/search_pattern.ts";

/**
 * The same in JavaScript, for quick tests: its `u` mode needs no escapes before letters of other
 * classes, and has the same brackets, groups and repetitions.
 */
const matches = (text: string, q: string) => {
  const pattern = searchPattern(q);
  return pattern !== undefined && new RegExp(pattern.replace(/\\([!"#%&',:;<=>@_`~ ])/g, "$1"), "u").test(text);
};

describe("a pattern", () => {
  test("matches the text it was made of, anywhere, in either case and normalization", () => {
    const anyText = fc.string({ unit: "grapheme", minLength: 1, maxLength: 30 });
    fc.assert(
      fc.property(anyText, anyText, anyText, (before, q, after) => {
        // Arabic presentation forms, several in a row, do not match a letter that NFD decomposes after them.
        fc.pre(searchPattern(q) !== undefined && !/[\ufb50-\ufdff\ufe70-\ufefc]/u.test(q));
        const text = before + q + after;
        expect(matches(text, q)).toBe(true);
        for (const form of ["NFC", "NFD"] as const) expect(matches(q.normalize(form), q)).toBe(true);
      }),
      { numRuns: 2_000 },
    );
  });

  test.each([..."aäßσςæﬁяёőﬀıİ"])("of %s matches its upper and lower case", (letter) => {
    const q = `x${letter}y`;
    for (const text of [q.toLowerCase(), q.toUpperCase()]) expect([text, matches(text, q)]).toEqual([text, true]);
    for (const text of [q.toLowerCase(), q.toUpperCase()]) expect([text, matches(q, text)]).toEqual([text, true]);
  });

  test("of only accents or invisible characters is none", () => {
    for (const q of ["\u0301\u0302", "\u200d\ufe0f", "\u00ad\u200b"]) expect(searchPattern(q)).toBeUndefined();
  });

  test("is linear in the length of the text", () => {
    for (const unit of ["o", "s", "ss", "ffi", ".", "한", "لا", "ﷺ", "👍", "(", "か\u3099"]) {
      const lengths = [50, 100].map((count) => searchPattern(unit.repeat(count))!.length);
      expect(lengths[1]! / lengths[0]!).toBeLessThan(2.1);
      expect(lengths[1]! / [...unit].length).toBeLessThan(100_000);
    }
  });
});
