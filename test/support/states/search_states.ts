/** The search for messages, and the question for a date. */

import type { Page } from "playwright-core";

import type { State } from "./stage.ts";

/** Opens the search within the conversation and types a text. */
const openFindBar = async (page: Page, text: string) => {
  await page.waitForSelector(".message");
  await page.click("chat-header .more");
  await page.click("#options .find-messages");
  await page.fill(".find-bar input", text);
};

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
  {
    name: "search in a conversation",
    user: "Ann",
    path: "/#Bob",
    shows: ".find-bar .count:not(:empty)",
    reloaded: ".message",
    act: async (page) => {
      await openFindBar(page, "an");
      await page.waitForFunction(() => /\d/.test(document.querySelector(".find-bar .count")?.textContent ?? ""));
    },
  },
  {
    name: "search in a conversation, no results",
    user: "Ann",
    path: "/#Bob",
    shows: ".find-bar .count:not(:empty)",
    reloaded: ".message",
    act: (page) => openFindBar(page, "unknown words"),
  },
  {
    name: "search in a conversation, failed",
    user: "Ann",
    path: "/#Bob",
    shows: ".find-bar .retry:visible",
    reloaded: ".message",
    prepare: (page) => page.route(/\/search\?/, (route) => route.abort("failed")),
    act: (page) => openFindBar(page, "an"),
  },
  {
    name: "date question",
    user: "Ann",
    path: "/#Bob",
    shows: ".date-question",
    reloaded: ".message",
    act: async (page) => {
      await page.waitForSelector(".message");
      await page.click("chat-header .more");
      await page.click("#options .go-to-date");
      await page.waitForSelector(".date-question");
      await page.fill(".date-question input", "");
      await page.click(".date-question .primary");
    },
  },
];
