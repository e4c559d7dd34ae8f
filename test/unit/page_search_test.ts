/** The page's search for messages: where a text matches, and which pages are requested when. */

import { describe, expect, jest, test } from "bun:test";

import fc from "fast-check";

import { searchPattern } from "../../src/util/search_pattern.ts";
import { Limited, Rejected } from "../../static/js/sync/api.js";
import { type Hit, type HitPage, MessageSearch } from "../../static/js/sync/message_search.js";
import { excerpt, findMatches } from "../../static/js/util/text_match.js";

/** Whether the server finds it: see search_pattern_test.ts. */
const isFound = (text: string, q: string) => {
  const pattern = searchPattern(q);
  return pattern !== undefined && new RegExp(pattern.replace(/\\([!"#%&',:;<=>@_`~ ])/g, "$1"), "u").test(text);
};
const matched = (text: string, q: string) => findMatches(text, q).map(({ start, end }) => text.slice(start, end));

describe("a match", () => {
  test.each<[text: string, q: string, found: string[]]>([
    ["Ένας ΚΑΦΈΣ, δύο καφές", "καφες", ["ΚΑΦΈΣ", "καφές"]],
    ["Café au lait", "CAFE", ["Café"]],
    ["Cafe\u0301 au lait", "café a", ["Cafe\u0301 a"]],
    ["Ёлка и ёжик", "ЕЖ", ["ёж"]],
    ["Straße", "strasse", ["Straße"]],
    ["Straße", "s", ["S", "ß"]],
    ["100 % sure", "%", ["%"]],
    ["a_b", "_", ["_"]],
    ["nice 👩‍👩‍👧 family", "👩‍👩‍👧", ["👩‍👩‍👧"]],
    ["two  spaces\u00a0and\na break", "spaces and a", ["spaces\u00a0and\na"]],
    ["“quoted”", '"quoted"', ["“quoted”"]],
    ["soft\u00adhyphen", "softhyphen", ["soft\u00adhyphen"]],
    ["ばなな", "は", []],
    ["は\u3099なな", "ばな", ["は\u3099な"]],
    ["각", "가", []],
    ["\u1100\u1161\u11a8 한국어", "한국", ["한국"]],
    ["aaaa", "aa", ["aa", "aa"]],
    ["text", "", []],
    ["text", "\u0301", []],
    ["sẞa", "ẞs", ["sẞ"]],
    ["ßs", "sß", ["ßs"]],
    ["", "text", []],
  ])("in %j of %j is %j", (text, q, found) => {
    expect(matched(text, q)).toEqual(found);
    expect(isFound(text, q)).toBe(found.length > 0);
  });

  test("is found in the same texts as by the server", () => {
    const unit = fc.constantFrom(
      ..."aAáÁeéßsæoœłıİiIσςΣάΑё ЕеЁé한각가ㄱばは゛カがﬁfi..“\"'’½1㎏kg①👍🏽🇬🇷\u0301\u200d\u00ad%_\u1e9e",
    );
    const text = fc.string({ unit, minLength: 1, maxLength: 8 });
    fc.assert(
      fc.property(text, fc.string({ unit, minLength: 1, maxLength: 3 }), (text, q) => {
        for (const form of [text, text.normalize("NFC"), text.normalize("NFD")])
          expect([form, q, findMatches(form, q).length > 0]).toEqual([form, q, isFound(form, q)]);
      }),
      { numRuns: 20_000 },
    );
  });

  test("lies within the text, in order and without overlaps", () => {
    const text = fc.string({ unit: "binary", maxLength: 20 });
    fc.assert(
      fc.property(text, fc.string({ unit: "grapheme", minLength: 1, maxLength: 2 }), (text, q) => {
        let last = 0;
        for (const { start, end } of findMatches(text + q + text, q)) {
          expect(start).toBeGreaterThanOrEqual(last);
          expect(end).toBeGreaterThan(start);
          last = end;
        }
        expect(last).toBeLessThanOrEqual(2 * text.length + q.length);
      }),
    );
  });

  test.each([
    ["short and near", "near", ["short and ", "near", ""]],
    ["near\n\n  the start", "NEAR", ["", "near", " the start"]],
    ["one two three four five six seven eight nine", "eight", ["…four five six seven ", "eight", " nine"]],
    [`${"x".repeat(300)}needle${"y".repeat(300)}`, "needle", [`…${"x".repeat(24)}`, "needle", "y".repeat(60)]],
    ["👍".repeat(30) + "needle" + "👍".repeat(100), "needle", [`…${"👍".repeat(12)}`, "needle", "👍".repeat(30)]],
    [
      `${"👍".repeat(30)}aNEEDLEb${"👍".repeat(99)}`,
      "needle",
      [`…${"👍".repeat(11)}a`, "NEEDLE", `b${"👍".repeat(29)}`],
    ],
    ["edited meanwhile", "needle", ["", "", "edited meanwhile"]],
  ])("has an excerpt of its line: %j", (text, q, parts) => {
    const { before, match, after } = excerpt(text, q);
    expect([before, match, after]).toEqual(parts);
  });
});

describe("a search", () => {
  const hit = (seq: number): Hit & { cursor: string } => ({
    seq,
    id: seq,
    from: "bob",
    to: "ann",
    text: `text ${seq}`,
    at: seq,
    peer: "bob",
    cursor: `after ${seq}`,
  });
  const hits = (from: number, to: number) => Array.from({ length: from - to + 1 }, (_, i) => hit(from - i));
  type Asked = { q: string; before: string | undefined; limit: number };

  /** A search whose server gives these answers, and its requests so far. */
  function searching(...answers: (HitPage | Error | Promise<HitPage>)[]) {
    const asked: (Asked & { signal: AbortSignal })[] = [];
    const search = new MessageSearch(async (page: Asked, signal: AbortSignal) => {
      asked.push({ ...page, signal });
      const answer = await answers.shift();
      if (answer instanceof Error || !answer) throw answer ?? new TypeError("no answer");
      return answer;
    });
    return { search, asked };
  }
  const settled = async (search: MessageSearch) => {
    while (search.state === "searching") await Bun.sleep(5);
  };

  test("waits for a pause in typing, and ignores a single letter", async () => {
    const { search, asked } = searching({ hits: hits(3, 1), continueAt: undefined });
    for (const text of ["c", "co", "cof", " coffee "]) search.set(text);
    expect([search.state, asked.length]).toEqual(["searching", 0]);
    await settled(search);
    expect(asked.map(({ q, before }) => [q, before])).toEqual([["coffee", undefined]]);
    expect([search.hits.length, search.isComplete, search.state]).toEqual([3, true, ""]);
    search.set("c");
    expect([search.hits.length, search.state]).toEqual([0, ""]);
    search.more();
    expect(asked).toHaveLength(1);
  });

  test("aborts a request that the next letter replaces, and ignores its answer", async () => {
    const late = Promise.withResolvers<HitPage>();
    const { search, asked } = searching(late.promise, { hits: hits(2, 2), continueAt: undefined });
    search.set("co");
    while (asked.length === 0) await Bun.sleep(5);
    search.set("cof");
    expect(asked[0]!.signal.aborted).toBe(true);
    late.resolve({ hits: hits(9, 1), continueAt: undefined });
    await settled(search);
    expect(search.hits.map(({ seq }) => seq)).toEqual([2]);
  });

  test("loads more on demand, until there are none", async () => {
    const { search, asked } = searching(
      { hits: hits(50, 31), continueAt: undefined },
      { hits: hits(30, 11), continueAt: undefined },
      { hits: hits(10, 9), continueAt: undefined },
    );
    search.set("text");
    await settled(search);
    expect([search.hits.length, search.isComplete]).toEqual([20, false]);
    for (let i = 0; i < 3; i++) {
      search.more();
      search.more(); // at once: ignored
      await settled(search);
    }
    expect(asked.map(({ before }) => before)).toEqual([undefined, "after 31", "after 11"]);
    expect([search.hits.length, search.isComplete]).toEqual([42, true]);
  });

  test("continues by itself where the server stopped, then pauses", async () => {
    const none = { hits: [], continueAt: "older" };
    const { search, asked } = searching(
      none,
      none,
      none,
      none,
      { hits: hits(1, 1), continueAt: "oldest" },
      {
        hits: [],
        continueAt: undefined,
      },
    );
    search.set("rare");
    await settled(search);
    expect([search.state, search.hits.length, asked.length]).toEqual(["paused", 1, 5]);
    search.more();
    await settled(search);
    expect([search.state, search.isComplete, asked.at(-1)?.before]).toEqual(["", true, "oldest"]);
  });

  test("continues after a rate limit, and when the server is busy", async () => {
    jest.useFakeTimers();
    try {
      const found = { hits: hits(1, 1), continueAt: undefined };
      const { search, asked } = searching(new Limited("/search", 7), new Rejected("busy"), found);
      search.set("coffee");
      const states: string[] = [];
      search.on("changed", () => states.push(search.state));
      for (let second = 0; second < 12; second++) {
        jest.advanceTimersByTime(1_000);
        for (let i = 0; i < 10; i++) await Promise.resolve();
      }
      expect(states.filter((state) => state !== "searching")).toEqual(["limited", "limited", ""]);
      expect([asked.length, search.hits.length]).toEqual([3, 1]);
    } finally {
      jest.useRealTimers();
    }
  });

  test("reports a failure, and retries", async () => {
    const { search } = searching(new TypeError("no network"), { hits: hits(1, 1), continueAt: undefined });
    search.set("coffee");
    await settled(search);
    expect(search.state).toBe("failed");
    search.more();
    await settled(search);
    expect([search.state, search.hits.length]).toEqual(["", 1]);
  });

  test("finds nothing for invisible characters", async () => {
    const { search } = searching(new Rejected("bad_request"));
    search.set("\u200b\u200d\u200b");
    await settled(search);
    expect([search.state, search.isComplete, search.hits]).toEqual(["", true, []]);
  });
});
