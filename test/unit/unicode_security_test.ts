import { expect, test } from "bun:test";

import { isIdentifier, skeleton } from "../../src/util/unicode_security.ts";
import { compact, fileOf, KINDS } from "../support/unicode_data.ts";

test.each([
  ["paypal", "\u0440\u0430\u0443\u0440\u0430l"],
  ["scope", "\u0455\u0441\u043e\u0440\u0435"],
  ["modem", "modern"],
  ["l", "1"],
  ["l", "\u05c0"],
  ["e\u0301", "\u0435\u0301"],
  ["\u0440\u0430y", "pa\u0443"],
])("skeleton of %s is that of %s", (one, other) => expect(skeleton(one)).toBe(skeleton(other)));

test("a skeleton omits invisible characters, and is its own skeleton", async () => {
  expect(skeleton("a\u200dn\u2060n\u{e0100}")).toBe("ann");
  const table = await Bun.file(fileOf("confusables")).text();
  const codes = new Set([...table.matchAll(/\b[0-9A-F]{4,6}\b/g)].map(([code]) => Number.parseInt(code, 16)));
  expect(codes.size).toBeGreaterThan(7_000);
  for (const code of codes) {
    const once = skeleton(String.fromCodePoint(code));
    if (skeleton(once) !== once) throw new Error(`U+${code.toString(16)} has the skeleton ${once}, whose own differs`);
  }
});

test("characters of names are visible, and not bidirectional controls", () => {
  for (let code = 0; code <= 0x10_ffff; code++) {
    const character = String.fromCodePoint(code);
    if (!/[\p{L}\p{M}\p{Nd}]/u.test(character) || !isIdentifier(character)) continue;
    expect(character.normalize("NFKC"), `U+${code.toString(16)}`).toBe(character);
    expect(character).not.toMatch(/[\p{Default_Ignorable_Code_Point}\p{Bidi_Control}\p{White_Space}]/u);
  }
});

test.each(KINDS)("%s is kept as the script that makes it would make it", async (kind) => {
  const kept = await Bun.file(fileOf(kind)).text();
  expect(compact(kind, kept)).toBe(kept);
});

test("Unicode's own files are read with their comments, columns and ranges", () => {
  const confusables =
    "\ufeff# confusables.txt\n# Version: 16.0.0\n\n05AD ;\t0596 ;\tMA\t# ( ֭ → ֖ )\n0022 ;\t0027 0027 ;\tMA\t#* x\n\n# total: 2\n";
  expect(compact("confusables", confusables)).toMatch(
    /^# Unicode 16\.0\.0, .*\n# .*\n0022 ; 0027 0027\n05AD ; 0596\n$/,
  );
  const status = "# Version: 16.0.0\n0041..005A    ; Allowed    # 1.1 [26]\n005B ; Allowed # x\n0061 ; Allowed # 1.1\n";
  expect(compact("identifier_status", status)).toMatch(/\n0041\.\.005B ; Allowed\n0061 ; Allowed\n$/);
});
