import { afterEach, beforeAll, describe, expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

import { ERRORS } from "../../src/errors.ts";
import accountEl from "../../static/js/translations/account_el.js";
import accountEn from "../../static/js/translations/account_en.js";
import actionsEl from "../../static/js/translations/actions_el.js";
import actionsEn from "../../static/js/translations/actions_en.js";
import commonEl from "../../static/js/translations/el.js";
import commonEn from "../../static/js/translations/en.js";
import filesEl from "../../static/js/translations/files_el.js";
import filesEn from "../../static/js/translations/files_en.js";
import searchEl from "../../static/js/translations/search_el.js";
import searchEn from "../../static/js/translations/search_en.js";
import uploadsEl from "../../static/js/translations/uploads_el.js";
import uploadsEn from "../../static/js/translations/uploads_en.js";
import { hue, initials, nameKey } from "../../static/js/util/names.js";
import { ago, clock, dayText, lastSeen, shortTime } from "../../static/js/util/time.js";
import {
  chooseLanguage,
  errorText,
  loadTranslations,
  locale,
  t,
  useLanguage,
  waitText,
} from "../../static/js/util/translate.js";

const en = { ...commonEn, ...accountEn, ...actionsEn, ...searchEn, ...filesEn, ...uploadsEn };
const el = { ...commonEl, ...accountEl, ...actionsEl, ...searchEl, ...filesEl, ...uploadsEl };

const root = join(import.meta.dir, "../../static");
const files = (end: string) =>
  readdirSync(root, { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(end) && !name.includes("translations/"))
    .map((name) => ({ name, text: readFileSync(join(root, name), "utf8") }));
const pages = files(".html");
const scripts = files(".js");
const html = pages.map(({ text }) => text).join("\n");
/** What pages say in all languages where no translation can be loaded. */
const UNTRANSLATED = /^ {4}<div class="(?:not-loaded|too-old)"[^]*?^ {4}<\/div>/gm;
const script = scripts.map(({ text }) => text).join("\n");

beforeAll(async () => {
  await Promise.all([loadTranslations("el"), loadTranslations("en")]);
  useLanguage("en");
});
afterEach(() => useLanguage("en"));

test("skips a locale that Intl refuses, as Chromium's under LANG=C.UTF-8", () => {
  useLanguage("en", ["en-US@posix", "en_US", "en-GB"]);
  expect(locale()).toBe("en-GB");
  useLanguage("en", ["en-US@posix"]);
  expect(locale()).toBe("en");
});

describe("the translations", () => {
  test("have the same keys, values and plural forms in every language", () => {
    expect(Object.keys(commonEl)).toEqual(Object.keys(commonEn));
    expect(Object.keys(accountEl)).toEqual(Object.keys(accountEn));
    expect(Object.keys(actionsEl)).toEqual(Object.keys(actionsEn));
    expect(Object.keys(searchEl)).toEqual(Object.keys(searchEn));
    expect(Object.keys(uploadsEl)).toEqual(Object.keys(uploadsEn));
    expect(Object.keys(filesEl)).toEqual(Object.keys(filesEn));
    const values = (entry: unknown) => [...new Set(JSON.stringify(entry).match(/\{\w+\}/g) ?? [])].toSorted();
    for (const [key, entry] of Object.entries(en)) {
      const greek = el[key as keyof typeof el];
      expect([key, typeof greek]).toEqual([key, typeof entry]);
      // A sentence may do without a name that its grammar cannot bend.
      for (const value of values(greek)) expect([key, values(entry)]).toEqual([key, expect.arrayContaining([value])]);
    }
  });

  const inHtml = [...html.matchAll(/data-t(?:-\w+)?="(\w+)"/g)].map(([, key]) => key);
  const inScript = [...script.matchAll(/"(\w+)"/g)].map(([, key]) => key);

  test("exist for every key the pages ask for", () => {
    const asked = [...script.matchAll(/\bt\((?:[^()"]*\? )?"(\w+)"(?: : "(\w+)")?/g)].flatMap(([, a, b]) => [a, b]);
    expect(inHtml.length).toBeGreaterThan(20);
    expect(asked.length).toBeGreaterThan(20);
    expect(Object.keys(en)).toEqual(expect.arrayContaining([...inHtml, ...asked].filter(Boolean)));
  });

  test("are all used", () => {
    const used = new Set([...inHtml, ...inScript]);
    const unused = Object.keys(en).filter((key) => !used.has(key) && !key.startsWith("error_"));
    expect(unused).toEqual([]);
  });

  test("stand in the HTML in English as they stand in the table", () => {
    const tags = [...html.matchAll(/<[^<>]*data-t[^<>]*>(?:([^<>]*)<)?/g)];
    for (const [tag, text = ""] of tags) {
      for (const [, kind, key = ""] of tag.matchAll(/data-t(-\w+)?="(\w+)"/g)) {
        const said =
          kind === undefined
            ? text
            : tag.match(new RegExp(` ${kind === "-label" ? "aria-label" : kind.slice(1)}="([^"]*)"`))?.[1];
        expect([key, said?.replace(/\s+/g, " ").trim()]).toEqual([key, en[key as keyof typeof en] as string]);
      }
    }
  });

  test("stand nowhere else in the HTML", () => {
    for (const { name, text } of pages) {
      if (name === "not_found.html") continue; // has no scripts, and its text in both languages
      const body = text
        .slice(text.indexOf("<body"))
        .replace(UNTRANSLATED, "")
        .replace(/<noscript>[^]*?<\/noscript>|<!--[^]*?-->/g, "");
      for (const [tag, said = ""] of body.matchAll(/<[^<>]+>([^<>]*)/g)) {
        const shown = said.replace(/\{\{\w+\}\}/g, "").trim();
        if (!tag.includes("data-t=")) expect([name, shown]).toEqual([name, expect.stringMatching(/^(?:chatify)?$/)]);
        for (const [, attribute = "", value] of tag.matchAll(/ (aria-label|placeholder|title|alt)="([^"]+)"/g)) {
          const marked = tag.includes(` data-t-${attribute.replace("aria-", "")}="`);
          expect([name, value, marked]).toEqual([name, value, true]);
        }
      }
    }
  });

  test("stand nowhere else in the scripts", () => {
    for (const { name, text } of scripts) {
      const code = text.replace(/\/\*[^]*?\*\/|^\s*\/\/.*$| \/\/ .*$/gm, "");
      // What developers are told is English.
      const shown = code.replace(/\b(?:new \w*(?:Error|Exception|SignedOut|Limited|Rejected)|super)\([^;]*;/g, "");
      for (const [literal] of shown.matchAll(/"[^"\n]*"|`[^`\n]*`/g)) {
        // Two words in a row, or one with a capital that is not alone: what people read, and no selector or type has.
        const spoken = /(?:^.|\s)\p{L}{2,} \p{Ll}{2,}(?: \p{Ll}+|[.,!?…]|.$)|^.\p{Lu}.*[.!?…].$/u.test(literal);
        expect([name, spoken ? literal : ""]).toEqual([name, ""]);
      }
      const foreign = [...code.matchAll(/\p{Script=Greek}+/gu)].map(([greek]) => greek);
      const rules =
        { "js/util/translate.js": ["Ελληνικά"], "js/util/names.js": ["ς", "σ"], "js/util/text_match.js": ["ς", "σ"] }[
          name
        ] ?? [];
      expect([name, foreign]).toEqual([name, rules]);
    }
  });

  /** Never shown by a page: those who get them are programs, or are sent to the login, or need the server's own words. */
  const UNSEEN = new Set([
    "no_session",
    "not_yours",
    "foreign_origin",
    "not_found",
    "method_not_allowed",
    "unsupported_type",
    "upgrade_required",
    "bad_range",
  ]);

  test("has a text for every error in every language", () => {
    for (const code of Object.keys(ERRORS)) {
      if (!UNSEEN.has(code)) expect(Object.keys(el)).toContain(`error_${code}`);
    }
    const asked = new Set([
      "wrong_password",
      ...Object.keys(ERRORS),
      ...[...script.matchAll(/"(\w+)"/g)].map(([, word]) => word),
    ]);
    const unmet = Object.keys(en).filter((key) => key.startsWith("error_") && !asked.has(key.slice("error_".length)));
    expect(unmet).toEqual([]);
  });

  test("are written as Greeks write", () => {
    const sentence = /<p lang="el">([^]*?)<\/p>/.exec(html)?.[1] ?? "";
    expect(sentence).not.toBe("");
    for (const [key, entry] of Object.entries({ ...el, not_loaded: sentence.replace(/<[^<>]*>/g, "") })) {
      for (const text of typeof entry === "string" ? [entry] : Object.values(entry)) {
        const words = text.replace(/\{\w+\}/g, "");
        expect([key, words]).toEqual([
          key,
          expect.not.stringMatching(/[“”"'?;]\S|[?"“”]|\.\.\.|ς\p{L}|σ(?!\p{L})|\u0301/u),
        ]);
        // A word of more than two syllables has its accent.
        for (const [greek] of words.matchAll(/\p{Script=Greek}+/gu)) {
          const vowels = greek.replace(/[αεηου][ιυίύ]/giu, "ι").match(/[αεηιουωάέήίόύώϊϋΐΰ]/giu)?.length ?? 0;
          if (vowels > 2) expect([key, greek]).toEqual([key, expect.stringMatching(/[άέήίόύώΐΰ]/iu)]);
        }
      }
    }
  });

  test("are filled, counted and kept apart from the sentence", () => {
    expect(t("say_hello", { name: "bob" })).toBe("Say hello to \u2068bob\u2069");
    expect(t("unread", { count: 1 })).toBe("1 unread message");
    expect(t("unread", { count: 2 })).toBe("2 unread messages");
    useLanguage("el");
    expect(t("unread", { count: 1 })).toBe("1 αδιάβαστο μήνυμα");
    expect(t("unread", { count: 5 })).toBe("5 αδιάβαστα μηνύματα");
    expect(t("too_long", { count: 4012, limit: 4000 })).toStartWith("4.012 από 4.000");
  });

  test("say how long to wait", () => {
    const waits = [0.2, 1, 59, 60, 61, 720, 3_600, 3_601].map((seconds) => waitText(seconds));
    expect(waits.join(", ")).toBe("a second, a second, 59 seconds, a minute, 2 minutes, 12 minutes, an hour, 2 hours");
    expect(t("too_many_tries", { wait: waitText(720) })).toBe("Too many attempts. Please wait \u206812 minutes\u2069.");
    useLanguage("el");
    expect([1, 30, 60, 720, 3_600, 7_200].map((seconds) => waitText(seconds))).toEqual([
      "ένα δευτερόλεπτο",
      "30 δευτερόλεπτα",
      "ένα λεπτό",
      "12 λεπτά",
      "μία ώρα",
      "2 ώρες",
    ]);
  });

  test("for an unknown error are the server's own, or fit any", () => {
    expect(errorText("name_taken", "x")).toBe("That name is taken.");
    expect(errorText("teapot", "I am a teapot")).toBe("I am a teapot");
    expect(errorText("constructor")).toBe("Something went wrong. Try again.");
  });

  test("are in the chosen language, else the browser's first that exists", () => {
    expect(chooseLanguage("el", ["en-US"])).toBe("el");
    expect(chooseLanguage(null, ["de-DE", "el-GR", "en"])).toBe("el");
    expect(chooseLanguage("tlh", ["de"])).toBe("en");
  });
});

describe("formatted time", () => {
  const now = new Date(2026, 10, 22, 15, 0).getTime();
  const at = (day: number, hour = 14, minute = 5) => new Date(2026, 10, day, hour, minute).getTime();

  test("names near days, and dates far ones", () => {
    useLanguage("en", ["en-GB"]);
    expect(dayText(at(22), now)).toBe("Today");
    expect(dayText(at(21, 23, 59), now)).toBe("Yesterday");
    expect(dayText(at(18), now)).toBe("Wednesday");
    expect(dayText(at(2), now)).toBe("Monday 2 November");
    expect(dayText(new Date(2025, 5, 3).getTime(), now)).toContain("2025");
    expect(clock(at(22))).toBe("14:05");
    expect(clock(at(22, 0, 18))).toBe("00:18");
    expect(shortTime(at(22), now)).toBe("14:05");
    expect(shortTime(at(21), now)).toBe("Yesterday");
    expect(shortTime(at(18), now)).toBe("Wed");
    useLanguage("en", ["en-US"]);
    expect(clock(at(22, 0, 18))).toBe("12:18 AM");
    useLanguage("el");
    expect(clock(at(22, 0, 18))).toBe("00:18");
    expect(dayText(at(22), now)).toBe("Σήμερα");
    expect(dayText(at(18), now)).toBe("Τετάρτη");
  });

  test("shows when a user was last seen", () => {
    useLanguage("en", ["en-GB"]);
    expect(lastSeen(now - 20_000, now)).toBe("last seen just now");
    expect(lastSeen(now - 60_000, now)).toBe("last seen a minute ago");
    expect(lastSeen(now - 5 * 60_000, now)).toBe("last seen 5 minutes ago");
    expect(lastSeen(at(22, 9), now)).toBe("last seen today at \u206809:05\u2069");
    expect(lastSeen(at(21), now)).toBe("last seen yesterday at \u206814:05\u2069");
    useLanguage("el");
    expect(lastSeen(now - 5 * 60_000, now)).toBe("ήταν εδώ πριν από 5 λεπτά");
  });
});

test("shows age in hours, days, and then the date", () => {
  const now = new Date(2026, 10, 22, 15, 0).getTime();
  const times = [3, 20, 50, 24 * 30].map((hours) => now - hours * 3_600_000);
  useLanguage("en", ["en-GB"]);
  expect(times.map((at) => ago(at, now))).toEqual(["3 hours ago", "yesterday", "2 days ago", "23 October"]);
  useLanguage("el");
  expect(times.map((at) => ago(at, now))).toEqual(["πριν από 3 ώρες", "χθες", "προχθές", "23 Οκτωβρίου"]);
});

describe("a name", () => {
  test("gives initials in its own script", () => {
    expect(initials("bob")).toBe("B");
    expect(initials("maria_k")).toBe("MK");
    expect(initials("άννα.ζήση-κ")).toBe("ΑΖ");
    expect(initials("__")).toBe("_");
    expect(initials("किरण")).toBe("कि");
  });

  test("has one key and one hue in any spelling", () => {
    expect(nameKey("ΝίκοΣ")).toBe(nameKey("νίκος"));
    expect(hue("Bob")).toBe(hue("bob"));
    expect(new Set(["ann", "bob", "carl", "dora", "eve", "νίκος"].map(hue)).size).toBeGreaterThan(3);
  });
});
