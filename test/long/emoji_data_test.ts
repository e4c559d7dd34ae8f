/** The committed emoji are those that `bun run emoji` writes; it installs 200 MB from the registry, or Bun's cache of it. */

import { expect, test } from "bun:test";

import { EMOJI_FILE, emojiJson } from "../../tools/emoji.ts";

test("static/emoji/emoji.json is what `bun run emoji` writes", async () => {
  expect(await Bun.file(EMOJI_FILE).text()).toBe(await emojiJson());
}, 240_000);
