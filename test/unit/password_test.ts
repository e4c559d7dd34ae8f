import { describe, expect, test } from "bun:test";

import { ChatError } from "../../src/errors.ts";
import { checkPassword, hashPassword, verifyPassword } from "../../src/util/password.ts";

const isAccepted = (password: string) => {
  try {
    checkPassword(password);
    return true;
  } catch (error) {
    if (error instanceof ChatError && error.code === "bad_password") return false;
    throw error;
  }
};

test("a password has 8 to 128 code points of any kind, and is not trimmed", () => {
  for (const good of ["12345678", "        ", "\0".repeat(8), "p".repeat(128), "😀".repeat(128), " a long one "]) {
    expect(isAccepted(good)).toBeTrue();
  }
  for (const bad of ["", "1234567", "😀".repeat(7), "p".repeat(129), "😀".repeat(129)]) {
    expect(isAccepted(bad)).toBeFalse();
  }
});

test("a password is counted in the form that is hashed", () => {
  expect(isAccepted("e\u0301".repeat(7))).toBeFalse();
  expect(isAccepted("e\u0301".repeat(128))).toBeTrue();
});

/** One password as different keyboards type it. */
const FORMS: readonly (readonly [string, string, string])[] = [
  ["an accent apart", "caf\u00e9 noir", "cafe\u0301 noir"],
  ["polytonic accents", "\u03ba\u03cc\u03c3\u03bc\u03bf\u03c2 1", "\u03ba\u1f79\u03c3\u03bc\u03bf\u03c2 1"],
  ["marks in another order", "vi\u1ec7t nam", "vie\u0302\u0323t nam"],
  ["Hangul letter by letter", "\ud55c\uad6d\uc5b4 1234", "\u1112\u1161\u11ab\u1100\u116e\u11a8\u110b\u1165 1234"],
  ["the sign of a unit for its letter", "10 k\u03a9 5 \u00c5 K", "10 k\u2126 5 \u212b \u212a"],
  ["no-break spaces", "two wide words", "two\u00a0wide\u202fwords"],
  ["ideographic spaces", "two wide words", "two\u3000wide\u2003words"],
  ["the Ogham space", "two wide words", "two\u1680wide\u205fwords"],
];

describe("a password matches", () => {
  test.each(FORMS)("with %s, whichever form was hashed", async (_, one, other) => {
    expect(one).not.toBe(other);
    expect(await verifyPassword(other, await hashPassword(one))).toBe("right");
    expect(await verifyPassword(one, await hashPassword(other))).toBe("right");
  });

  test("the hash of an unprepared password of an older version, as outdated", async () => {
    for (const [, prepared, typed] of FORMS) {
      const old = await Bun.password.hash(typed, { algorithm: "argon2id", memoryCost: 1_024, timeCost: 1 });
      expect(await verifyPassword(typed, old)).toBe("outdated");
      expect(await verifyPassword(prepared, old)).toBe("wrong");
    }
  });

  test("a hash of another program, which is outdated", async () => {
    for (const options of [
      { algorithm: "bcrypt", cost: 4 },
      { algorithm: "argon2id", memoryCost: 8_192, timeCost: 3 },
      { algorithm: "argon2d", memoryCost: 19_456, timeCost: 2 },
    ] as const) {
      const old = await Bun.password.hash("Pass the fish", options);
      expect(await verifyPassword("Pass the fish", old)).toBe("outdated");
      expect(await verifyPassword("pass the fish", old)).toBe("wrong");
    }
  });

  test("no other: case, width, ligatures, joiners and surrounding spaces matter", async () => {
    const phc = await hashPassword("Pass the fish");
    for (const other of [
      "pass the fish",
      "Ｐass the fish",
      "Pass the \ufb01sh",
      "Pass\u200b the fish",
      "Pass the fish ",
    ]) {
      expect(await verifyPassword(other, phc)).toBe("wrong");
    }
    for (const phc of ["", "!", "$argon2id$v=19$m=19456"])
      expect(await verifyPassword("Pass the fish", phc)).toBe("wrong");
  });
});
