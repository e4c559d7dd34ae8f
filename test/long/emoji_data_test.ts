/**
 * The committed emoji are those that `bun run emoji` writes. Installs 200 MB from the registry, or Bun's cache of it;
 * where neither has the packages, this is skipped.
 */

import { expect, test } from "bun:test";

import { EMOJI_FILE, emojiJson, PackagesMissing } from "../../tools/emoji.ts";

const written = await emojiJson().catch((error: unknown) => {
  if (!(error instanceof PackagesMissing)) throw error;
  console.warn(`NOT CHECKED: whether the emoji are up to date. ${error.message}`);
});

test.skipIf(written === undefined)("static/emoji/emoji.json is what `bun run emoji` writes", async () => {
  expect(await Bun.file(EMOJI_FILE).text()).toBe(written!);
});
