import { describe, expect, test } from "bun:test";

import { isReserved } from "../../src/accounts/reserved_names.ts";

describe("a name is reserved", () => {
  test.each([
    ["as it is", "admin"],
    ["in capitals", "SUPPORT"],
    ["begun by a capital", "Moderator"],
    ["with signs in it", "a.d_m-i.n"],
    ["two in one", "chatify-support"],
    ["with an l for an i", "ADMlN"],
    ["with digits", "Supp0rt"],
    ["with other digits", "adm1n"],
    ["with a number behind", "admin2"],
    ["with a number behind a sign", "support_24"],
    ["with a number in front", "007.moderator"],
    ["with Arabic digits", "root١"],
    ["with digits in it and behind", "adm1n1"],
    ["with accents", "ádmìn"],
    ["with a dotless i", "admın"],
    ["with a stroke", "øfficial"],
    ["in Cyrillic capitals", "\u0405\u0423\u0405\u0422\u0415\u041c"],
    ["in Greek", "Υποστήριξη"],
    ["in Greek without accents", "ΔΙΑΧΕΙΡΙΣΤΗΣ"],
  ])("%s: %s", (_, name) => expect(isReserved(name)).toBeTrue());

  test.each([
    "adminton",
    "Rooted",
    "helen",
    "steam",
    "supporter",
    "mysupport",
    "roots",
    "Administra",
    "βοηθός",
    "ann",
    "42",
    "admin2x",
  ])("not when it only holds one: %s", (name) => expect(isReserved(name)).toBeFalse());
});
