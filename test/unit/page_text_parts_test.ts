import { describe, expect, test } from "bun:test";

import fc from "fast-check";

import { textParts } from "../../static/js/util/message_text.js";

/** The parts as one line: [code], {block}, <link>. */
const shape = (text: string) =>
  textParts(text)
    .map((part) => {
      if (part.code === "block") return `{${part.language ?? ""}|${part.text}}`;
      if (part.code === "inline") return `[${part.text}]`;
      return part.href ? `<${part.text}>` : part.text;
    })
    .join("");

describe("the parts of a message", () => {
  test("are code between backticks, links, and text", () => {
    expect(shape("use `ls -l` here")).toBe("use [ls -l] here");
    expect(shape("`a` and `b`.")).toBe("[a] and [b].");
    expect(shape("see www.example.org for `x`")).toBe("see <www.example.org> for [x]");
    expect(shape("(`a`), «`β`»")).toBe("([a]), «[β]»");
    expect(textParts("hello")).toEqual([{ text: "hello" }]);
  });

  test("are blocks between fences, with the language named apart", () => {
    expect(shape("```\na\n  b\n```")).toBe("{|a\n  b}");
    expect(shape("so:\n```ts\nlet a;\n```\nok?")).toBe("so:\n{ts|let a;}ok?");
    expect(shape("```one line```")).toBe("{|one line}");
    expect(shape("```\n\na\n\n```")).toBe("{|\na\n}");
    expect(shape("````\n``` not the end of this\n````")).not.toContain("<");
  });

  test("have no links inside of code, and no code inside of a block", () => {
    expect(textParts("`http://example.org`")).toEqual([{ text: "http://example.org", code: "inline" }]);
    expect(shape("```\nhttp://example.org `x`\n```")).toBe("{|http://example.org `x`}");
    expect(shape("`<script>alert(1)</script>`")).toBe("[<script>alert(1)</script>]");
  });

  test("ignore text that is no code: apostrophes, one backtick, nothing between two, two lines", () => {
    for (const text of [
      "I don`t and won`t",
      "a ` b",
      "``",
      "` `",
      "`a\nb`",
      "```",
      "``` ```",
      "```a",
      "``a``b",
      "rock`n`roll",
      "don`t say` that",
    ]) {
      expect(shape(text)).toBe(text);
    }
  });

  test("of any text lose nothing but backticks and line breaks around a block", () => {
    const piece = fc.constantFrom(
      ..."` `` ``` ```` \n a β don`t ```js\n `x` http://example.org http://`x` \\` \u202e 🙂 \u2028".split(" "),
      " ",
    );
    const bare = (text: string) => text.replace(/[`\n]/g, "");
    fc.assert(
      fc.property(fc.array(fc.oneof(piece, fc.string({ unit: "binary" })), { maxLength: 40 }), (pieces) => {
        const text = pieces.join("");
        const parts = textParts(text);
        expect(bare(parts.map((part) => (part.language ?? "") + part.text).join(""))).toBe(bare(text));
        for (const part of parts) if (part.code) expect(part.href).toBeUndefined();
      }),
      { numRuns: 150 },
    );
  });

  test("parse hostile text in bounded time", () => {
    const size = 200_000; // fifty times the longest message
    for (const piece of ["`", "``", "```", "` ", "`a", "```a", "`a\n", "```\n", "a`", "``` `", "`\n```"]) {
      const text = piece.repeat(size / piece.length);
      const begun = performance.now();
      textParts(text);
      expect([piece, performance.now() - begun < 2_000]).toEqual([piece, true]);
    }
  });
});
