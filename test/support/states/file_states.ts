/** The states of files in a conversation. */

import type { State } from "./stage.ts";

const LOADED = "chat-thread .picture img.loaded";

export const FILE_STATES: readonly State[] = [
  {
    name: "files, photos",
    user: "Nina",
    path: "/#Kostas",
    shows: LOADED,
  },
  {
    name: "files, cards and players",
    user: "Nina",
    path: "/#Kostas",
    shows: ".card",
    act: async (page) => {
      await page.waitForSelector(LOADED);
      await page.locator(".card").scrollIntoViewIfNeeded();
    },
  },
  {
    name: "files, photo that failed",
    user: "Nina",
    path: "/#Kostas",
    shows: ".load-failed",
    reloaded: LOADED,
    prepare: (page) => page.route("**/preview", (route) => route.abort("failed")),
  },
  {
    name: "files, viewer",
    user: "Nina",
    path: "/#Kostas",
    shows: ".file-viewer[open] img.loaded",
    reloaded: LOADED,
    act: async (page) => {
      await page.locator(".open-picture").last().click();
    },
  },
];
