/** What the search shows of messages. */

import type { State } from "./stage.ts";

export const SEARCH_STATES: readonly State[] = [
  {
    name: "search, messages",
    user: "Ann",
    path: "/",
    shows: ".hit mark",
    reloaded: "conversation-list .entry",
    act: (page) => page.fill("conversation-list input", "an"),
  },
  {
    name: "search, messages are being searched",
    user: "Ann",
    path: "/",
    shows: ".hits .skeleton i",
    reloaded: "conversation-list .entry",
    prepare: (page) => page.route(/\/search\?/, () => {}),
    act: (page) => page.fill("conversation-list input", "an"),
  },
  {
    name: "search, messages failed",
    user: "Ann",
    path: "/",
    shows: ".more-hits:visible",
    reloaded: "conversation-list .entry",
    prepare: (page) => page.route(/\/search\?/, (route) => route.abort("failed")),
    act: (page) => page.fill("conversation-list input", "an"),
  },
  {
    name: "search, messages paused",
    user: "Ann",
    path: "/",
    shows: ".more-hits:visible",
    reloaded: "conversation-list .entry",
    prepare: (page) =>
      page.route(/\/search\?/, (route) => {
        const headers = { "content-type": "application/json", "chatify-continue": "MQ" };
        return route.fulfill({ headers, body: "[]" });
      }),
    act: (page) => page.fill("conversation-list input", "an"),
  },
];
