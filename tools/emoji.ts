/**
 * Writes `static/emoji/emoji.json`, the emoji with their English and Greek names and keywords: `bun run emoji`. The file is
 * committed, because the pages have no build step. Its sources, packages of 200 MB, are installed for the run only.
 */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { isEmoji } from "../src/util/text.ts";
import { GROUPS, withTone } from "../static/js/util/emoji.js";

export const EMOJI_FILE = join(import.meta.dir, "..", "static", "emoji", "emoji.json");
const PACKAGES = {
  "emojibase-data": "17.0.0",
  "cldr-annotations-full": "48.2.0",
  "cldr-annotations-derived-full": "48.2.0",
};
/** Of 2023: older devices show newer emoji as boxes. */
const VERSION_MAX = 15.1;
/** Emojibase's numbers of groups, in the order of `GROUPS`; 2 is components. */
const NUMBERS = [0, 1, 3, 4, 5, 6, 7, 8, 9];

interface Emojibase {
  readonly emoji: string;
  readonly hexcode: string;
  readonly label: string;
  readonly tags?: string[];
  readonly group?: number;
  readonly order?: number;
  readonly version: number;
  readonly skins?: { emoji: string; version: number }[];
}
/** Greek names and keywords, by emoji without variation selectors. */
type Annotations = Record<string, { default?: string[]; tts?: string[] }>;

export class PackagesMissing extends Error {}

/** The contents of the file. Installs the packages from the registry, or Bun's cache. */
export async function emojiJson(): Promise<string> {
  const place = mkdtempSync(join(tmpdir(), "chatify-emoji-"));
  try {
    await Bun.write(join(place, "package.json"), JSON.stringify({ dependencies: PACKAGES }));
    const { exitCode, stderr } = Bun.spawnSync([process.execPath, "install"], { cwd: place });
    if (exitCode !== 0) throw new PackagesMissing(`Could not install the packages with the emoji: ${stderr}`);
    const read = (path: string) => Bun.file(join(place, "node_modules", path)).json();
    const derived = await read("cldr-annotations-derived-full/annotationsDerived/el/annotations.json");
    const basic = await read("cldr-annotations-full/annotations/el/annotations.json");
    return format(await read("emojibase-data/en/data.json"), await read("emojibase-data/en/shortcodes/github.json"), {
      ...derived.annotationsDerived.annotations,
      ...basic.annotations.annotations,
    });
  } finally {
    rmSync(place, { recursive: true });
  }
}

function format(all: Emojibase[], shortcodes: Record<string, string | string[]>, greek: Annotations): string {
  const sorted = all
    .filter(({ version }) => version <= VERSION_MAX)
    .toSorted((a, b) => (a.order ?? 0) - (b.order ?? 0));
  const groups = GROUPS.map((name, index) => {
    const entries = sorted.filter(({ group }) => group === NUMBERS[index]);
    return [name, entries.map((each) => line(each, [shortcodes[each.hexcode] ?? []].flat(), greek))] as const;
  });
  return `${JSON.stringify(Object.fromEntries(groups), null, 2)}\n`;
}

/** A line of the file: the emoji, whether it has skin tones, English name, shortcodes and keywords, Greek name and keywords. */
function line(each: Emojibase, shortcodes: string[], greek: Annotations): string {
  const { label, tags = [], skins = [] } = each;
  const emoji = qualified(each.emoji);
  const variants = new Set(skins.filter(({ version }) => version <= VERSION_MAX).map((skin) => qualified(skin.emoji)));
  const tones = [1, 2, 3, 4, 5].map((tone) => withTone(emoji, tone));
  const hasTones = variants.size > 0 && tones.every((tone) => variants.has(tone));
  for (const variant of [emoji, ...(hasTones ? tones : [])])
    if (!isEmoji(variant)) throw new Error(`The server would reject ${variant}, ${label}`);
  const { tts: [name = ""] = [], default: keywords = [] } = greek[bare(emoji)] ?? {};
  if (name === "") throw new Error(`${emoji}, ${label}, has no Greek name`);
  const codes = shortcodes.map((code) => code.replaceAll("_", " ")).filter((code) => code !== label);
  return [
    emoji,
    hasTones ? "t" : "",
    label,
    codes.join(),
    list(tags, label).join(),
    name,
    list(keywords, name).join(),
  ].join("|");
}

function bare(emoji: string): string {
  return emoji.replaceAll("\ufe0f", "");
}

/** With the variation selector only where the character is text by default: "❤️", but "👍", as in the quick reactions. */
function qualified(emoji: string): string {
  return /^\p{RGI_Emoji}$/v.test(bare(emoji)) ? bare(emoji) : emoji;
}

/** Keywords that the name does not contain. */
function list(words: string[], name: string): string[] {
  return [...new Set(words)].filter((word) => !` ${name} `.includes(` ${word} `) && !word.includes("|"));
}

if (import.meta.main) await Bun.write(EMOJI_FILE, await emojiJson());
