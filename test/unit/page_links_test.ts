import { describe, expect, test } from "bun:test";

import fc from "fast-check";

import { links } from "../../static/js/util/links.js";
import { LINKS } from "../support/hostile_links.ts";

const hrefs = (text: string) => links(text).flatMap(({ href }) => href ?? []);

describe("links", () => {
  test("match the list in any position, without changing the text", () => {
    for (const [text, ...expected] of LINKS) {
      const places = [
        [text, expected],
        [`before ${text} after`, expected],
        [`${text}\n${text}`, [...expected, ...expected]],
      ] as const;
      for (const [place, all] of places) {
        expect([place, ...hrefs(place)]).toEqual([place, ...all]);
        const texts = links(place).map((token) => token.text);
        expect(texts.join("")).toBe(place);
      }
    }
  });

  test("are checked on at least a hundred texts", () => {
    expect(new Set(LINKS.map(([text]) => text)).size).toBe(LINKS.length);
    expect(LINKS.length).toBeGreaterThanOrEqual(100);
  });

  test("are marked where they stand", () => {
    expect(links("see (www.example.org), or ann@example.org.")).toEqual([
      { text: "see (" },
      { text: "www.example.org", href: "https://www.example.org/" },
      { text: "), or " },
      { text: "ann@example.org", href: "mailto:ann@example.org" },
      { text: "." },
    ]);
    expect(links("")).toEqual([]);
    expect(links("hello")).toEqual([{ text: "hello" }]);
  });

  test("show the host that they lead to", () => {
    for (const { text, href } of LINKS.flatMap(([text]) => links(text))) {
      if (href === undefined) continue;
      const { protocol, hostname, username } = new URL(href);
      expect(protocol).toMatch(/^(https?|mailto):$/);
      expect(username).toBe("");
      expect(text.toLowerCase()).toContain(hostname);
      expect(text).not.toMatch(/[\p{Cc}\p{Cf}]/u);
    }
  });

  test("preserve any text, and lead exactly where they show", () => {
    const piece = fc.constantFrom(
      ..."http:// https:// HTTPS:// www. mailto: javascript: data: ftp:// //".split(" "),
      ..."example.org a.b xn--e1afmkfd.example 127.0.0.1 0x7f.1 [::1] localhost гугл.рф ann@example.org user:pass@ :443 :99999".split(
        " ",
      ),
      ..."— – , を · ’ é. .ελ / /path ?q=1 #x %00 %2e \\ @ . , ; : ) ( ] [ \" ' < > * ~ é 。 / ＠ ．".split(" "),
      ..." \n\t\0\u00a0\u00ad\u200b\u200f\u202e\u2028\u2066\ufeff\ud800\udc00",
      "a",
      "word ",
      "😀",
    );
    const text = fc.oneof(
      fc.array(piece, { maxLength: 12 }).map((pieces) => pieces.join("")),
      fc.string({ unit: "binary" }),
      fc.webUrl({ withQueryParameters: true, withFragments: true }),
      fc.emailAddress(),
    );
    let found = 0;
    fc.assert(
      fc.property(text, (text) => {
        const tokens = links(text);
        expect(tokens.map((token) => token.text).join("")).toBe(text);
        for (const { text: shown, href } of tokens) {
          expect(shown).not.toBe("");
          if (href === undefined) continue;
          found++;
          expect(href).toMatch(/^(https?|mailto):/);
          expect(shown).not.toMatch(/[\p{Cc}\p{Cf}\p{Cs}\p{Z}]/u);
          const { protocol, username, password, hostname } = new URL(href);
          expect(protocol).toMatch(/^(https?|mailto):$/);
          expect(username + password).toBe("");
          expect(shown.toLowerCase()).toContain(hostname);
          expect(links(shown)).toEqual([{ text: shown, href }]); // alone it is the same link
        }
      }),
      { numRuns: 4_000 },
    );
    expect(found).toBeGreaterThan(200); // else this test reads nothing
  });

  test.each([
    "a",
    "@",
    "(",
    ")",
    "[",
    ".",
    ":",
    "/",
    "www.",
    "www.a.",
    "http://",
    "xhttp://",
    "https://a.b",
    "https://a.org/)",
    "https://a.org(",
    "(https://a.org",
    "https://a.org,",
    "https://a@",
    "a@b.",
    "a@b ",
    "mailto:",
    "a.b-",
    '"https://a.org"',
    "1:",
    "\u200b",
    "😀",
    "。",
    "[1:",
    "https://a.bc,",
    "https://a.bcを",
    "を",
    "www.a.bc—",
    "a@b.cdを",
  ])("are found in 4,000 characters of %j in bounded time", (piece) => {
    const time = (text: string) => {
      const runs = Array.from({ length: 7 }, () => {
        const startedAt = performance.now();
        links(text);
        return performance.now() - startedAt;
      });
      return Math.min(...runs);
    };
    for (const head of ["", "https://", "https://a.org/", "www.a.", "mailto:", "a@"]) {
      // Sixteen times the text takes about sixteen times as long; 256 times, if each character were compared with each.
      const text = head + piece.repeat(4_000 / piece.length);
      expect(time(text)).toBeLessThan(5);
      const long = time(head + piece.repeat(64_000 / piece.length));
      expect(long).toBeLessThan(80);
    }
  });
});
