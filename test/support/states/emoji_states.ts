/** States of the emoji picker, and of the suggestions. */

import type { State } from "./stage.ts";

export const EMOJI_STATES: readonly State[] = [
  {
    name: "emoji, all",
    user: "Ann",
    path: "/#Bob",
    shows: ".emoji-picker .cells button",
    reloaded: ".message",
    act: (page) => page.click(".emoji-button"),
  },
  {
    name: "emoji, search",
    user: "Ann",
    path: "/#Bob",
    shows: ".emoji-picker section:not([hidden]) button",
    reloaded: ".message",
    act: async (page) => {
      await page.click(".emoji-button");
      await page.fill(".emoji-picker input", "heart");
    },
  },
  {
    name: "emoji, not loaded",
    user: "Ann",
    path: "/#Bob",
    shows: ".emoji-picker .retry:visible",
    reloaded: ".message",
    act: async (page) => {
      await page.route("**/emoji.json", (route) => route.abort());
      await page.click(".emoji-button");
    },
  },
  {
    name: "emoji, suggestions",
    user: "Ann",
    path: "/#Bob",
    shows: ".emoji-suggestions",
    reloaded: ".message",
    act: async (page) => {
      await page.fill("message-composer textarea", "See you on the quay "); // in place of the draft of an earlier page
      await page.keyboard.type(":fac");
      await page.waitForSelector(".emoji-suggestions");
    },
  },
];
