import { describe, expect, test } from "bun:test";

import fc from "fast-check";

import { formatted, type Part, plainText } from "../../static/js/util/message_format.js";

/** The parts as one line: [code], {link}, <tag>…</tag>. */
const shape = (parts: Part[]): string =>
  parts
    .map((part) => {
      if (!("tag" in part)) return part.code ? `[${part.text}]` : part.href ? `{${part.text}}` : part.text;
      const { tag, value, language, children } = part;
      return `<${[tag, value, language].filter((each) => each !== undefined).join(" ")}>${shape(children)}</${tag}>`;
    })
    .join("");
const textOf = (parts: Part[]): string =>
  parts.map((part) => ("tag" in part ? textOf(part.children) : part.text)).join("");
const leaves = (parts: Part[]): Exclude<Part, { tag: string }>[] =>
  parts.flatMap((part) => ("tag" in part ? leaves(part.children) : [part]));
const depth = (parts: Part[]): number =>
  Math.max(0, ...parts.map((part) => ("tag" in part ? 1 + depth(part.children) : 0)));

describe("a message shows", () => {
  test.each([
    ["bold", "**a** and __b c__", "<strong>a</strong> and <strong>b c</strong>"],
    ["italic", "*a* and _b_", "<em>a</em> and <em>b</em>"],
    ["strike", "~~a~~", "<s>a</s>"],
    ["bold and italic", "***a*** ___b___", "<strong><em>a</em></strong> <strong><em>b</em></strong>"],
    ["one in the other", "**a *b* ~~c~~**", "<strong>a <em>b</em> <s>c</s></strong>"],
    ["both ending together", "**a *b***", "<strong>a <em>b</em></strong>"],
    ["both beginning together", "***a* b**", "<strong><em>a</em> b</strong>"],
    ["other marks directly inside", "**_a_** ~~**b**~~", "<strong><em>a</em></strong> <s><strong>b</strong></s>"],
    ["the same once", "**a **b** c**", "<strong>a b c</strong>"],
    ["emphasis between punctuation", "(*a*), «_β_», “**c**”!", "(<em>a</em>), «<em>β</em>», “<strong>c</strong>”!"],
    ["emphasis before an apostrophe", "*Ann*'s and *Ann*’s", "<em>Ann</em>'s and <em>Ann</em>’s"],
    ["emphasis around Greek and emoji", "**καλημέρα** 🎉*ναι*🎉", "<strong>καλημέρα</strong> 🎉<em>ναι</em>🎉"],
    ["emphasis without spaces around it", "这是**粗体**文字", "这是<strong>粗体</strong>文字"],
    ["marks of words within emphasis", "_a_b_ *2*3*", "<em>a_b</em> <em>2*3</em>"],
    ["code", "use `ls -l` here, (`a`), «`β`»", "use [ls -l] here, ([a]), «[β]»"],
    ["code in emphasis, which has none", "**`*x*`** *a `*` b*", "<strong>[*x*]</strong> <em>a [*] b</em>"],
    ["links", "see www.example.org for `x`", "see {www.example.org} for [x]"],
    [
      "links in emphasis",
      "**https://x.org/a_b_c** _see https://x.org/a_b_",
      "<strong>{https://x.org/a_b_c}</strong> <em>see {https://x.org/a_b}</em>",
    ],
    [
      "links after marks that belong to addresses",
      "~~https://x.org~~ _www.x.org_",
      "<s>{https://x.org}</s> <em>{www.x.org}</em>",
    ],
    ["emphasis after a link with a mark", "https://x.org/a*b *c*", "{https://x.org/a*b} <em>c</em>"],
    ["quotes", "> a\n> b\nc", "<blockquote>a\nb\n</blockquote>c"],
    ["a quote with an empty line", "> a\n>\n> b", "<blockquote>a\n\nb</blockquote>"],
    ["a quote in a quote", "> > a\n> b", "<blockquote><blockquote>a\n</blockquote>b</blockquote>"],
    ["formats in a quote", "> **a** `b`", "<blockquote><strong>a</strong> [b]</blockquote>"],
    ["an empty line after a quote", "> a\n\nb", "<blockquote>a\n</blockquote>\nb"],
    ["bullets", "- a\n- b", "<ul><li>a\n</li><li>b</li></ul>"],
    ["bullets of stars, with formats", "* *a*\n* b", "<ul><li><em>a</em>\n</li><li>b</li></ul>"],
    ["numbers as they were typed", "3. a\n5. b", "<ol><li 3>a\n</li><li 5>b</li></ol>"],
    ["bullets, then numbers", "- a\n1. b", "<ul><li>a\n</li></ul><ol><li 1>b</li></ol>"],
    [
      "lists in lists",
      "- a\n  - b\n    - c\n- d",
      "<ul><li>a\n<ul><li>b\n<ul><li>c\n</li></ul></li></ul></li><li>d</li></ul>",
    ],
    ["bullets below a number", "1. a\n   - b", "<ol><li 1>a\n<ul><li>b</li></ul></li></ol>"],
    ["further lines of an item", "- a\n  b", "<ul><li>a\nb</li></ul>"],
    ["a list in a quote", "> - a\n> - b", "<blockquote><ul><li>a\n</li><li>b</li></ul></blockquote>"],
    ["blocks of code", "```\na\n  b\n```", "<pre>[a\n  b]</pre>"],
    ["a block with its language", "so:\n```ts\nlet a;\n```\nok?", "so:\n<pre ts>[let a;]\n</pre>ok?"],
    ["a block on one line", "```one line```", "<pre>[one line]</pre>"],
    ["blank lines of a block", "```\n\na\n\n```", "<pre>[\na\n]</pre>"],
    [
      "blocks without formats or links",
      "```\n> **x** http://example.org `x`\n- y\n```",
      "<pre>[> **x** http://example.org `x`\n- y]</pre>",
    ],
    ["a block in a quote", "> ```\n> a\n> ```\nb", "<blockquote><pre>[a]\n</pre></blockquote>b"],
    ["HTML as text", "`<script>` **<b>**", "[<script>] <strong><b></strong>"],
  ])("%s", (_, text, expected) => expect(shape(formatted(text))).toBe(expected));
});

test.each([
  ["names", "snake_case_name __init__.py a_b a_b_ _a_b"],
  ["multiplication", "2*3*4 and 2 * 3 * 4, 2**3**4, 5*3 or 4*2"],
  ["faces", ":-* :* >_< >_< ^_^ ^_^ -_- -_- *_* *_* T_T o_o >.< ¯\\_(ツ)_/¯"],
  ["marks alone", "** * *** _ __ ~~ ~ ` `` ``` > - 1."],
  ["marks apart from words", "** a ** and _ a _ and ~~ a ~~"],
  ["what is not closed", "**a *b ~~c _d `e"],
  ["arguments and globs", "*args, **kwargs and *.ts or **.js"],
  ["paths", "~/a and ~/b, /*x*/ c:\\_a_\\b"],
  ["many marks", "****a**** ____b____ ~~~c~~~"],
  ["marks on two lines", "**a\nb** _c\nd_"],
  ["a mark within a word", "*a*b a**b**"],
  ["arrows and quotes without a space", ">a\n>> b\n>:("],
  ["an empty quote", "> "],
  ["lines of dashes and stars", "- - -\n* * *\n---\n***"],
  ["dates, negative numbers, years", "-5 degrees\n2024. A year\n1.5 litres\n01. a\n1) b"],
  ["empty items", "- \n* \n1. "],
  ["headings, images, tables, links, HTML", "# a\n![a](b)\n|a|b|\n[a](b)\n<b>a</b>\n&amp; \\*"],
  ["ASCII art", "  /\\_/\\\n ( o.o )\n  > ^ <\n _____\n|_*_*_|"],
  [
    "apostrophes, one backtick, none between two, two lines",
    "I don`t and won`t a ` b `` ` ` `a\nb` ``a``b rock`n`roll",
  ],
  ["fences that are not closed or empty", "```a"],
  ["an empty block", "``` ```"],
  ["indented text", "one line\n\n\n    indented"],
])("leaves %s as they were typed", (_, text) => {
  expect(shape(formatted(text))).toBe(text);
  expect(plainText(text)).toBe(text);
});

test.each([
  ["**a** _b_ ~~c~~ `d`", "a b c d"],
  ["> a\nb", "a\nb"],
  ["- a\n- b", "• a\n• b"],
  ["2. a\n3. **b**", "2. a\n3. b"],
  ["so:\n```ts\nlet a;\n```\nok", "so:\nlet a;\nok"],
])("previews show %j as %j", (text, expected) => expect(plainText(text)).toBe(expected));

test("links no text that hides its direction, with or without marks", () => {
  for (const text of [
    "\u202ehttps://x.org",
    "\u202e**https://x.org**",
    "**\u202ehttps://x.org**",
    "a\u202e ~~https://x.org~~",
  ])
    expect(shape(formatted(text))).not.toContain("{");
});

const PIECES = [
  ..."* ** *** _ __ ~~ ` ``` > - 1. a β ( ) . http://x.org www.x.org/a_b http://`x` don`t ```js \\` \u202e 🙂 \u2028".split(
    " ",
  ),
  " ",
  "\n",
  "\n> ",
  "\n- ",
  "\n  - ",
  "\n1. ",
];
const TEXT = fc
  .array(fc.oneof({ weight: 9, arbitrary: fc.constantFrom(...PIECES) }, fc.string({ unit: "binary" })), {
    maxLength: 40,
  })
  .map((pieces) => pieces.join(""));

test("any text loses only marks, spaces and line breaks beside them", () => {
  const bare = (text: string) => text.replace(/[\s*_~`>.\d-]/g, "");
  fc.assert(
    fc.property(TEXT, (text) => {
      const parts = formatted(text);
      const languages = [...shape(parts).matchAll(/<pre ([^>]+)>/g)].length;
      if (languages === 0) expect(bare(textOf(parts))).toBe(bare(text));
      for (const { code, href, text: shown } of leaves(parts)) {
        if (code) expect(href).toBeUndefined();
        if (href) expect(text).toContain(shown);
      }
      expect(depth(parts)).toBeLessThanOrEqual(9);
    }),
    { numRuns: 2_000 },
  );
});

test("parses hostile texts in linear time, with bounded nesting", () => {
  const size = 30_000; // seven times the longest message
  const pieces = [
    ..."*|**|***|****|*a |**a |*a* |_|*_|*_a |~~a|*a**b |***a |a*** | *a_ **b |~|*~_|`|``|```|` |`a|a`|``` `|``` |> |> > > > |- |1. |<|www.x.org* |_www.x.org_ |*(".split(
      "|",
    ),
    ..."```a|`a|```|`#```|> > > > a|- a|  - a|    - a|1. a|a|>a|>| |- |*a|a*".split("|").map((line) => `${line}\n`),
  ];
  for (const piece of pieces) {
    const text = piece.repeat(size / piece.length);
    const before = process.cpuUsage(); // the time would depend on what else the machine does
    const parts = formatted(text);
    plainText(text);
    expect([piece, process.cpuUsage(before).user < 300_000]).toEqual([piece, true]);
    expect(depth(parts)).toBeLessThanOrEqual(9);
  }
  const nested = Array.from({ length: 300 }, (_, i) => `${"  ".repeat(i)}- a`).join("\n");
  expect(depth(formatted(nested + "> ".repeat(2_000) + "a" + "**a _a ~~a ".repeat(300)))).toBeLessThanOrEqual(9);
});
