import { describe, expect, test } from "bun:test";

import fc from "fast-check";

import { ChatError } from "../../src/errors.ts";
import { checkName, isMessage, keyOfReference, nameKey, searchKey, skeletonsOf } from "../../src/util/text.ts";

/** The code of what a call throws, undefined when it does not. */
function refusal(call: () => unknown): string | undefined {
  try {
    call();
    return undefined;
  } catch (error) {
    if (error instanceof ChatError) return error.code;
    throw error;
  }
}

const point = (...codes: number[]) => String.fromCodePoint(...codes);

describe("a name may be", () => {
  test.each([
    ["Latin", "Ann"],
    ["Latin with accents", "Zoë-Müller"],
    ["Greek", "Ζωή"],
    ["Cyrillic", "Алёна"],
    ["Devanagari, marks included", "नमस्ते"],
    ["Arabic with its own digits", "سارة٢"],
    ["Hebrew", "דוד"],
    ["Thai", "สมชาย"],
    ["Japanese of three scripts", "山田たろうタロー"],
    ["Japanese with Latin", "山田Taro"],
    ["Korean", "김철수"],
    ["Korean with Latin and Han", "김Kim金"],
    ["Chinese", "王小明"],
    ["Chinese with Bopomofo and Latin", "王ㄅㄆab"],
    ["digits", "42"],
    ["a letter and signs", "a._-"],
    ["two characters", "ab"],
    ["50 characters", "x".repeat(50)],
    ["50 characters beyond the first plane", "𠮷".repeat(50)],
    ["a word of JavaScript's own", "__proto__"],
    ["Greek with the marks of old", "\u1f08\u03bd\u03b4\u03c1\u1fb6\u03c2"],
    ["Ukrainian with its apostrophe", "\u0414\u0435\u043c\u02bc\u044f\u043d"],
    ["Turkish with a dot on a capital", "\u0130smail"],
    ["Vietnamese with two marks on a letter", "Nguy\u1ec5n"],
  ])("%s: %j", (_, name) => {
    expect(checkName(name)).toBe(name);
  });

  test.each([
    ["spaces", "  Ann "],
    ["line breaks and tabs", "\t\r\nAnn\n"],
    ["no-break spaces", "\u00a0\u202fAnn\u00a0"],
    ["wide spaces", "\u3000Ann\u2003"],
    ["zero-width spaces", "\u200bAnn\u200b\u200b"],
    ["joiners and non-joiners", "\u200dAnn\u200c"],
    ["a byte order mark and a word joiner", "\ufeffAnn\u2060"],
    ["all of them", " \u200b\u00a0\ufeffAnn\u2060 \u200d"],
  ])("trimmed of %s", (_, typed) => {
    expect(checkName(typed)).toBe("Ann");
    expect(nameKey(typed)).toBe("ann");
    expect(keyOfReference(typed)).toBe("ann");
  });

  test("stored in NFKC: decomposed or full-width input is the same name", () => {
    expect(checkName("Zoe\u0308")).toBe("Zoë");
    expect(checkName("Ａｎｎ")).toBe("Ann");
    expect(checkName("ﬁn")).toBe("fin");
  });
});

describe("a name may not be", () => {
  test.each([
    ["empty", ""],
    ["one character", "a"],
    ["one character that takes two to type", "e\u0301"],
    ["51 characters", "x".repeat(51)],
    ["51 characters after NFKC", "ﬁ".repeat(25) + "x"],
    ["without end", "x".repeat(100_000)],
    ["two dots, which are a path", ".."],
    ["signs alone", "-_."],
    ["with a space", "Ann Lee"],
    ["with a no-break space", "Ann\u00a0Lee"],
    ["with a slash", "a/b"],
    ["with a percent sign", "a%2f"],
    ["markup", "<b>ann</b>"],
    ["with a quote", 'ann"'],
    ["with an at sign", "ann@example"],
    ["with an emoji", "ann😀"],
    ["with a NUL", "an\0n"],
    ["with a line break", "ann\nbob"],
    ["with DEL", "ann\u007f"],
    ["a lone surrogate", "ann\ud800"],
    ["Latin and Cyrillic", "аdmin"],
    ["Latin and Greek", "Αnn"],
    ["Greek and Cyrillic", "αб"],
    ["Japanese with Hangul", "たろう김"],
    ["Bopomofo with Hiragana", "ㄅたろ"],
    ["Latin with Arabic digits", "ann٢"],
    ["Cyrillic with Han", "Алё王"],
    ["with a zero-width space", "an\u200bn"],
    ["with a zero-width joiner", "an\u200dn"],
    ["with a zero-width non-joiner", "an\u200cn"],
    ["with a word joiner", "an\u2060n"],
    ["with a byte order mark", "an\ufeffn"],
    ["with a control at the end", "ann\u0000"],
    ["with a mark of direction in front", "\u200fann"],
    ["with a soft hyphen", "an\u00adn"],
    ["with an override of direction", "an\u202en"],
    ["with an isolate of direction", "an\u2066n"],
    ["with a mark of direction", "an\u200fn"],
    ["with a variation selector", "ann\ufe0f"],
    ["with a variation selector of the supplement", `ann${point(0xe0100)}`],
    ["with a grapheme joiner", "an\u034fn"],
    ["with a Hangul filler", "김철\u3164수"],
    ["with a Khmer vowel that shows nothing", "កខ\u17b4"],
    ["with a tag character", `ann${point(0xe0061)}`],
    ["with a private character", "ann\ue000"],
    ["with a character not given out", "ann\u0378"],
    ["with a letter of phonetics that looks like g", "\u0261eorge"],
    ["with a dotless i and a dot", "al\u0131\u0307ce"],
    ["with a second dot on an i", "ali\u0307ce"],
    ["with a dot on a j, below another mark", "j\u0323\u0307an"],
    ["with one mark twice", "anx\u0304\u0304"],
    ["with a mark of another script", "ann\u064e"],
    ["with a letter of old manuscripts", "\ua751etros"],
    ["with a letter for linguists", "\u0250nn"],
    ["Cyrillic with a letter of the Middle Ages", "\u0461\u043d\u043d"],
    ["of a script out of use", "\u{10330}\u{10331}"],
    ["of a script of few", "\u13a0\u13a1"],
    ["begun by a mark", "\u0301ann"],
    ["five marks high", "a\u0316\u0317\u0318\u0319\u031cnn"],
  ])("%s: %j", (_, name) => {
    expect(refusal(() => checkName(name))).toBe("bad_name");
  });
});

/** Letters of several scripts, some of which look alike, marks, digits, signs, and what must never be in a name. */
const UNITS = [
  ..."abzAZéëñ",
  ..."αβςσΣΖώΐ",
  ..."абёАЖ",
  ..."नमत\u094d",
  ..."سر٢",
  ..."דו",
  ..."山王たター",
  ..."김ㅎ",
  ..."ㄅ",
  ..."09_.-",
  ..."Ａｚ９ﬁ²",
  "\u0301",
  "\u0308",
];
const HOSTILE = [..."\0\n\u007f\u0085\u00a0\u00ad\u034f\u061c\u115f\u180e\u200b\u200c\u200d\u200e\u200f\u2028"];
HOSTILE.push(..."\u202a\u202e\u2060\u2066\u2069\u3164\ufe0f\ufeff\uffa0\ufff9 /%@<'\\", point(0xe0001), point(0xe0100));

/** What of it may surround a name. */
const TRIMMED = /[\s\u0085\u180e\u200b-\u200d\u2060]/u;

/** Of one script, of two, of anything at all: enough of each to be accepted, or to be nearly so. */
const typedName = fc.oneof(
  fc
    .subarray(UNITS, { minLength: 1, maxLength: 4 })
    .chain((units) => fc.string({ unit: fc.constantFrom(...units), minLength: 2, maxLength: 12 })),
  fc.string({ unit: fc.constantFrom(...UNITS, ...HOSTILE), maxLength: 12 }),
  fc.string({ unit: "grapheme", maxLength: 6 }),
  fc.string({ unit: "binary", maxLength: 4 }),
);

/** Hands over each name that may be had. @returns how many there were */
function accepted(see: (name: string, typed: string) => void): number {
  let count = 0;
  const seen = (typed: string) => {
    if (refusal(() => checkName(typed)) !== undefined) return;
    count++;
    see(checkName(typed), typed);
  };
  fc.assert(fc.property(typedName, seen), { numRuns: 5_000 });
  return count;
}

describe("a name that may be had", () => {
  /** UTS #39 §5.2, written down anew: what may stand together. */
  const SCRIPTS = ["Latin", "Greek", "Cyrillic", "Devanagari", "Arabic", "Hebrew", "Han", "Hiragana", "Katakana"];
  SCRIPTS.push("Hangul", "Bopomofo");
  const TOGETHER = [
    ["Latin", "Han", "Hiragana", "Katakana"],
    ["Latin", "Han", "Bopomofo"],
    ["Latin", "Han", "Hangul"],
  ];
  const scriptsOf = (name: string) => SCRIPTS.filter((script) => new RegExp(`\\p{Script=${script}}`, "u").test(name));

  test("contains no invisible or bidirectional characters, and letters of one script", () => {
    const seen = accepted((name) => {
      expect(name).not.toMatch(/[^\p{L}\p{M}\p{Nd}_.-]/u);
      expect(name).not.toMatch(/[\p{C}\p{Z}\p{Bidi_Control}\p{Default_Ignorable_Code_Point}]/u);
      const scripts = scriptsOf(name);
      const fit = scripts.length <= 1 || TOGETHER.some((set) => scripts.every((script) => set.includes(script)));
      expect(fit, `${name} is of ${scripts}`).toBeTrue();
      expect([...name].length).toBeWithin(2, 51);
    });
    expect(seen).toBeGreaterThan(500);
  });

  test("cannot look like another name: one with an invisible character is invalid", () => {
    accepted((name) => {
      const points = [...name];
      for (const sign of HOSTILE) {
        const at = sign.codePointAt(0)! % (points.length + 1);
        const other = [...points.slice(0, at), sign, ...points.slice(at)].join("");
        const isTrimmed = (at === 0 || at === points.length) && TRIMMED.test(sign);
        if (isTrimmed) expect(checkName(other)).toBe(name);
        else
          expect(
            refusal(() => checkName(other)),
            JSON.stringify(other),
          ).toBe("bad_name");
      }
    });
  });
});

describe("a name's key", () => {
  test.each([
    ["case", "Ann", "aNN"],
    ["final sigma", "ΟΔΟΣ", "οδος"],
    ["final sigma within the name", "ΟΔΟΣ.ΟΔΟΣ", "οδοσ.οδος"],
    ["decomposed accents", "ζωη\u0301", "Ζωή"],
    ["full width", "Ａｎｎ", "ann"],
    ["ligatures", "ﬁn", "FIN"],
  ])("is the same whatever the %s: %s and %s", (_, one, other) => {
    expect(nameKey(one)).toBe(nameKey(other));
  });

  test.each([
    ["οδος", "οδός"],
    ["Zoe", "Zoë"],
    ["strasse", "straße"],
    ["ann", "ann."],
  ])("differs between %s and %s", (one, other) => {
    expect(nameKey(one)).not.toBe(nameKey(other));
  });

  test("is its own key, for every name there can be", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary", maxLength: 8 }), (text) => {
        const key = nameKey(text);
        expect(nameKey(key)).toBe(key);
        expect(nameKey(text.normalize("NFKC"))).toBe(key);
      }),
      { numRuns: 2_000 },
    );
    for (let code = 0; code <= 0x1_ffff; code++) {
      const key = nameKey(point(code));
      if (nameKey(key) !== key) throw new Error(`U+${code.toString(16)} has the key ${key}, whose key is another`);
    }
  });

  test("of a name that may be had is found by any reference to it", () => {
    let capitals = 0;
    const seen = accepted((name, typed) => {
      expect(checkName(name)).toBe(name); // as it is shown, it may be typed
      const key = nameKey(name);
      expect(nameKey(typed)).toBe(key);
      expect(keyOfReference(name)).toBe(key);
      expect(keyOfReference(typed)).toBe(key);
      expect(nameKey(key)).toBe(key);
      expect(searchKey(searchKey(name))).toBe(searchKey(name));
      expect(searchKey(key)).toBe(searchKey(name));
      for (const form of ["NFC", "NFD", "NFKC", "NFKD"] as const) expect(nameKey(name.normalize(form))).toBe(key);
      expect(nameKey(name.toLowerCase())).toBe(key);
      // A letter whose capital is another letter, or several (as ß, ı and ᾳ), is not found by that capital.
      if (![...name].every((letter) => nameKey(letter.toUpperCase()) === nameKey(letter))) return;
      capitals++;
      expect(nameKey(name.toUpperCase())).toBe(key);
    });
    expect(seen).toBeGreaterThan(500); // else this test reads nothing
    expect(capitals).toBeGreaterThan(seen * 0.8);
  });

  test("of a reference is undefined where no account can be meant", () => {
    for (const name of ["", "a\0b", "a\tb", "a\rb", "\u001bann", "a\u007f", "a\u0085b", "a\u2028b", "a\u2029b"]) {
      expect(keyOfReference(name), JSON.stringify(name)).toBeUndefined();
    }
    for (const name of ["a\ud800", "x".repeat(201)]) expect(keyOfReference(name)).toBeUndefined();
    expect(keyOfReference("John Smith")).toBe("john smith"); // an older program allowed it
  });
});

/** As sign-up compares them: one name as shown, the other in any case. */
function areAlike(one: string, other: string): boolean {
  const [ones, others] = [skeletonsOf(one), skeletonsOf(other)];
  return others.includes(ones[0]!) || ones.includes(others[0]!);
}

describe("a name's looks", () => {
  test.each([
    ["a capital I for an l", "alice", "aIice"],
    ["in the other order", "aIice", "alice"],
    ["a capital I for an l, beside capitals", "ALICE", "aIice"],
    ["an l for a capital I", "alice", "ALlCE"],
    ["a one for an l", "paul.lee", "pau1.lee"],
    ["a zero for a capital O", "OLGA", "0LGA"],
    ["a zero for an o", "bob", "b0b"],
    ["an o for a zero", "agent.007", "agent.oo7"],
    ["a zero for a Greek omicron", "\u03bf\u03b4\u03cc\u03c2", "0\u03b4\u03cc\u03c2"],
    ["Cyrillic", "ape", "\u0430\u0440\u0435"],
    ["Cyrillic, as the first", "\u0430\u0440\u0435", "ape"],
    ["Cyrillic capitals", "ape", "\u0410\u0420\u0415"],
    ["Cyrillic capitals whose small letters look otherwise", "kot", "\u041a\u041e\u0422"],
    ["Greek capitals", "hpa", "\u0397\u03a1\u0391"],
    ["rn for m", "modem", "modern"],
    ["a dotless i", "alice", "al\u0131ce"],
    ["a stroke apart", "\u00f8lga", "o\u0338lga"],
    ["another comma below", "\u0219tefan", "\u015ftefan"],
    ["digits of another kind", "\u0627\u0661\u0662", "\u0627\u06f1\u06f2"],
  ])("are like another's with %s: %s and %s", (_, one, other) => {
    expect(nameKey(one)).not.toBe(nameKey(other));
    expect(areAlike(one, other)).toBeTrue();
  });

  test.each([
    ["anna", "\u0391\u03bd\u03bd\u03b1"], // Αννα, which is ANNA in capitals only
    ["Tatiana", "\u03a4\u03b1\u03c4\u03b9\u03b1\u03bd\u03b1"],
    ["Kai", "Kal"],
    ["mia", "mla"],
    ["Zoe", "Zo\u00eb"],
    ["ann", "ann."],
    ["\u0391\u03bd\u03bd\u03b1", "\u0386\u03bd\u03bd\u03b1"],
    ["\u043a\u043e\u0442", "kot"],
  ])("are their own: %s and %s", (one, other) => {
    expect(areAlike(one, other)).toBeFalse();
  });
});

test("a search finds names without regard to case and accents", () => {
  expect(searchKey("Ζωή")).toBe("ζωη");
  expect(searchKey("ΖΩΉ")).toBe("ζωη");
  expect(searchKey("Όδυσσεύς")).toBe("οδυσσευσ");
  expect(searchKey("ΪΫ")).toBe("ιυ");
  expect(searchKey("Zoë")).toBe("zoe");
  expect(searchKey("Ёлка")).toBe("елка");
  expect(searchKey("がぎ")).toBe("がぎ"); // there the mark makes another letter
});

describe("a message", () => {
  test.each([
    ["a character", "x"],
    ["4,000 characters", "x".repeat(4_000)],
    ["4,000 characters of two units", "😀".repeat(4_000)],
    ["a control character", "\u0001x"],
    ["spaces around", "  x  "],
    ["one emoji of many parts", "👩‍👩‍👧‍👦"],
  ])("may be %s", (_, text) => expect(isMessage(text)).toBe(true));

  test.each([
    ["empty", ""],
    ["spaces", "   "],
    ["line breaks", "\r\n\n"],
    ["a no-break space", "\u00a0"],
    ["an ideographic space", "\u3000"],
    ["zero-width signs", "\u200b\u200d\ufeff"],
    ["a NUL", "a\0b"],
    ["half a pair", "a\ud83d"],
    ["the other half", "\ude00a"],
    ["4,001 characters", "x".repeat(4_001)],
    ["4,001 characters of two units", "😀".repeat(4_001)],
  ])("may not be %s", (_, text) => expect(isMessage(text)).toBe(false));

  test("is stored and shown byte for byte, or refused: any text is one of the two", () => {
    const unit = fc.oneof(
      fc.constantFrom("a", "😀", " ", "\n", "\0", "\ud800", "\udc00", "\u200b", "\u0301", "\ufeff"),
      fc.string({ unit: "binary", minLength: 1, maxLength: 1 }),
    );
    const long = fc.integer({ min: 3_990, max: 4_010 }).map((count) => "😀".repeat(count));
    fc.assert(
      fc.property(fc.oneof(fc.string({ unit, maxLength: 8 }), long), (text) => {
        const points = Array.from(text).length;
        const sound = points >= 1 && points <= 4_000 && !text.includes("\0") && text.isWellFormed();
        if (!sound) expect(isMessage(text)).toBeFalse();
        else if (
          /[[\p{L}\p{N}\p{P}\p{S}]--[\p{Default_Ignorable_Code_Point}\u2800\u{13441}\u{13442}\u{1d159}]]/v.test(text)
        )
          expect(isMessage(text)).toBeTrue();
        if (isMessage(text)) {
          expect(new TextDecoder("utf-8", { ignoreBOM: true }).decode(new TextEncoder().encode(text))).toBe(text);
          expect(isMessage(` ${text}`)).toBe(points < 4_000);
        }
      }),
      { numRuns: 5_000 },
    );
  });
});
