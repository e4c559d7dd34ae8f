import { describe, expect, test } from "bun:test";

import fc from "fast-check";

import { sign, verify } from "../../src/accounts/session_cookie.ts";
import { hashToken, newToken } from "../../src/util/token.ts";

const SECRET = "a secret of thirty-two characters";

test("a token is 256 random bits, made for a header", () => {
  const tokens = new Set(Array.from({ length: 100 }, newToken));
  expect(tokens.size).toBe(100);
  for (const token of tokens) {
    expect(token).toMatch(/^[\w-]{43}$/);
    expect(Buffer.from(token, "base64url")).toHaveLength(32);
  }
});

test("a token is kept as its SHA-256 in hex", () => {
  expect(hashToken("abc")).toBe("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
});

describe("a cookie", () => {
  test("is signed with HMAC-SHA-256, and returns its token", () => {
    // as OpenSSL does it: printf abc | openssl dgst -sha256 -hmac key
    const hmac = "9c196e32dc0175f86f4b1cb89289d6619de6bee699e4c378e68309ed97a1a6ab";
    expect(sign("abc", "key")).toBe(`abc.${Buffer.from(hmac, "hex").toString("base64url")}`);
    const token = newToken();
    expect(verify(sign(token, SECRET), [SECRET])).toEqual({ token, isCurrent: true });
  });

  test("signed with another secret is rejected", () => {
    expect(verify(sign("abc", SECRET), [`${SECRET}.`])).toBeUndefined();
  });

  test("signed with any of several secrets is read, and known to be signed with the first or not", () => {
    const [old, older] = [`${SECRET}.`, `${SECRET}..`];
    expect(verify(sign("abc", SECRET), [SECRET, old, older])).toEqual({ token: "abc", isCurrent: true });
    expect(verify(sign("abc", older), [SECRET, old, older])).toEqual({ token: "abc", isCurrent: false });
    expect(verify(sign("abc", older), [SECRET, old])).toBeUndefined();
    expect(verify(sign("abc", old), [])).toBeUndefined();
  });

  test("with any bit flipped is rejected", () => {
    const cookie = Buffer.from(sign(newToken(), SECRET));
    for (let bit = 0; bit < cookie.length * 8; bit++) {
      const flipped = Buffer.from(cookie);
      flipped[bit >> 3]! ^= 1 << (bit & 7);
      expect(verify(flipped.toString("latin1"), [SECRET])).toBeUndefined();
    }
  });

  test("with any character changed, removed or added is rejected", () => {
    const cookie = sign(newToken(), SECRET);
    for (let i = 0; i < cookie.length; i++) {
      const other = cookie[i] === "A" ? "B" : "A";
      expect(verify(cookie.slice(0, i) + other + cookie.slice(i + 1), [SECRET])).toBeUndefined();
      expect(verify(cookie.slice(0, i), [SECRET])).toBeUndefined();
    }
    for (const more of ["=", "A", ".", " ", "\u0101"]) expect(verify(cookie + more, [SECRET])).toBeUndefined();
  });

  test.each(["", ".", "..", "abc", "abc.", ".abc", "\u{1f600}.\u{1f600}", `.${sign("", SECRET).slice(1)}`])(
    "of %j is rejected",
    (cookie) => expect(verify(cookie, [SECRET])).toBeUndefined(),
  );

  test("returns its token, and no other cookie does", () => {
    const token = fc.stringMatching(/^[\w-]{1,64}$/);
    const sign64 = fc.constantFrom(..."ABCxyz019-_.=% \0é\ud800");
    fc.assert(
      fc.property(token, fc.nat(200), sign64, fc.constantFrom(0, 1), (token, at, other, cut) => {
        const cookie = sign(token, SECRET);
        expect(verify(cookie, [SECRET])?.token).toBe(token);
        const changed = cookie.slice(0, at) + other + cookie.slice(at + cut);
        if (changed !== cookie) expect(verify(changed, [SECRET])).toBeUndefined();
      }),
      { numRuns: 2_000 },
    );
  });

  test("that is made up is rejected", () => {
    const value = fc.oneof(
      fc.string({ unit: "binary" }),
      fc.tuple(fc.string(), fc.base64String()).map((of) => of.join(".")),
    );
    fc.assert(
      fc.property(value, (value) => expect(verify(value, [SECRET])).toBeUndefined()),
      { numRuns: 2_000 },
    );
  });
});
