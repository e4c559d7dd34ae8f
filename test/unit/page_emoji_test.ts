/** Emoji: the committed data, search, skin tones and shortcodes. */

import { describe, expect, test } from "bun:test";

import { isEmoji } from "../../src/util/text.ts";
import { parseEmoji, searchEmoji, tonedEmoji } from "../../static/js/util/emoji.js";
import { shortcodeAtEnd } from "../../static/js/util/shortcode.js";
import { EMOJI_FILE } from "../../tools/emoji.ts";

const all = parseEmoji(await Bun.file(EMOJI_FILE).json());
const find = (query: string, max = 3) => searchEmoji(all, query, max).map(({ emoji }) => emoji);

describe("the data", () => {
  test("has each emoji once, with a name in each language", () => {
    expect(all.length).toBeGreaterThan(1_800);
    expect(new Set(all.map(({ emoji }) => emoji)).size).toBe(all.length);
    for (const { emoji, names } of all) {
      expect([emoji, names.en]).toEqual([emoji, expect.stringMatching(/\w/)]);
      expect([emoji, names.el]).toEqual([emoji, expect.stringMatching(/\p{L}/u)]);
    }
  });

  test("has only emoji that the server accepts as reactions, in every skin tone", () => {
    const variants = all.flatMap((entry) => [0, 1, 2, 3, 4, 5].map((tone) => tonedEmoji(entry, tone)));
    expect(variants.filter((variant) => !isEmoji(variant))).toEqual([]);
    expect(new Set(variants).size).toBeGreaterThan(3_000);
  });

  test("has a variation selector only where a character alone is text, as keyboards write it", () => {
    const known = new Set(all.map(({ emoji }) => emoji));
    for (const emoji of ["👍", "❤️", "✈️", "⭐", "☝️"]) expect(known).toContain(emoji);
    const superfluous = [...known].filter((emoji) => /^\p{RGI_Emoji}$/v.test(emoji.replace("\ufe0f", "")));
    expect(superfluous.filter((emoji) => emoji.includes("\ufe0f"))).toEqual([]);
  });
});

describe("search", () => {
  test.each([
    ["thumbsup", "👍"],
    ["+1", "👍"],
    ["red heart", "❤️"],
    ["RED  HE", "❤️"],
    ["heart red", "❤️"],
    ["woman's hat", "👒"],
    ["greece", "🇬🇷"],
    ["σημαία ελλάδα", "🇬🇷"],
    ["κοκκινη καρδια", "❤️"],
    ["ΚΌΚΚΙΝΗ ΚΑΡΔΙΆ", "❤️"],
    ["πιτσα", "🍕"],
    ["πίτσα", "🍕"],
    ["ΑΕΡΟΠΛΆΝΟ", "✈️"],
  ])("finds %s first", (query, emoji) => {
    expect(find(query)[0]).toBe(emoji);
  });

  test("matches the beginnings of words only", () => {
    expect(find("heart", 99)).toContain("❤️");
    expect(find("eart", 99)).not.toContain("❤️");
  });

  test("orders names and shortcodes, then words, then the beginnings of names, then those of keywords", () => {
    const found = find("cat", 99);
    expect(found.slice(0, 2)).toEqual(["🐱", "🐈"]);
    expect(found.indexOf("😺")).toBeGreaterThan(1);
    const sunny = find("sun", 99);
    const order = ["☀️", "🌻", "😎", "🍳"].map((emoji) => sunny.indexOf(emoji));
    expect(order).toEqual(order.toSorted((a, b) => a - b));
    expect(order[0]).toBe(0);
  });

  test("finds nothing for nothing, for signs and for other words", () => {
    for (const query of ["", "  ", "_-:", "qwxz", "heart qwxz"]) expect(find(query)).toEqual([]);
  });

  test("returns at most as many as asked", () => {
    expect(find("face", 8)).toHaveLength(8);
  });
});

test.each([
  ["👍", 0, "👍"],
  ["👍", 1, "👍🏻"],
  ["👍", 5, "👍🏿"],
  ["☝️", 3, "☝🏽"], // the modifier replaces the variation selector
  ["🧑‍🚀", 2, "🧑🏼‍🚀"],
  ["❤️", 5, "❤️"],
  ["😀", 5, "😀"],
])("%s in skin tone %i is %s", (emoji, tone, expected) => {
  expect(
    tonedEmoji(
      all.find((each) => each.emoji === emoji)!,
      tone,
    ),
  ).toBe(expected);
});

describe("a shortcode", () => {
  test.each([
    [":sm", 0, "sm"],
    ["hello :smile", 6, "smile"],
    ["hello\n:heart_eyes", 6, "heart_eyes"],
    ["(:tada", 1, "tada"],
    [":καρδ", 0, "καρδ"],
    [":καρδια\u0301", 0, "καρδια\u0301"],
    [":+1", 0, "+1"],
    ["don`t :smile", 6, "smile"],
    ["`code` :smile", 7, "smile"],
    ["```\ncode\n```\n:smile", 13, "smile"],
    ["a `b\n:smile", 5, "smile"], // code does not span lines
  ])("begins in %j", (text, from, name) => {
    expect(shortcodeAtEnd(text)).toEqual({ from, name });
  });

  test.each([
    ["one letter", ":s"],
    ["an ended one", ":smile: "],
    ["an address", "http://example"],
    ["an address without its beginning", "see ://example"],
    ["a time", "12:30"],
    ["a time before noon", "at 9:am"],
    ["digits", "at :30"],
    ["a word before it", "note:this"],
    ["a face", ":D"],
    ["a laughing face", "ha :DDD"],
    ["a sad face", ":'("],
    ["code", "`:smile"],
    ["code after code", "`a` and `b :smile"],
    ["a block of code", "```\na :smile"],
    ["a block of code after another", "```\na\n```\nb\n```ts\nc :smile"],
    ["a long word", `:${"a".repeat(40)}`],
  ])("is not %s", (_, text) => {
    expect(shortcodeAtEnd(text)).toBeUndefined();
  });

  test("finds its emoji first", () => {
    for (const [text, emoji] of [
      [":heart_eyes", "😍"],
      [":tada", "🎉"],
      [":+1", "👍"],
      [":thumbs", "👍"],
      [":πίτσα", "🍕"],
    ] as const)
      expect(find(shortcodeAtEnd(text)?.name ?? "", 8)[0]).toBe(emoji);
  });
});
