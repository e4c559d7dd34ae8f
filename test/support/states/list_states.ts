/** The states of the list of conversations, its search and its menu. */

import type { Page } from "playwright-core";

import type { State } from "./stage.ts";

const openEntryMenu = async (page: Page, name = "Bob") => {
  await page.click(`.entry[data-name="${name}"]`, { button: "right" });
  await page.waitForSelector(".message-menu");
};

/** Opens the menu once its buttons work, with all its parts. */
const openMenu = async (page: Page) => {
  await page.waitForSelector("conversation-list .entry");
  await page.click(".me");
  await page.waitForSelector("#menu .sound:enabled", { state: "attached" });
};

export const LIST_STATES: readonly State[] = [
  { name: "no conversations", user: "Newcomer", path: "/", shows: "conversation-list .empty:visible" },
  {
    name: "no one else here",
    user: "First",
    server: "invite",
    path: "/",
    shows: "conversation-list .alone .ask:visible",
  },
  { name: "conversations", user: "Ann", path: "/", shows: "conversation-list .entry" },
  { name: "conversations, of a year", user: "Iris", path: "/", shows: ".preview[data-draft]" },
  {
    name: "conversations, loading slowly",
    user: "Ann",
    path: "/",
    shows: "conversation-list .skeleton i:visible",
    reloaded: "conversation-list .entry",
    prepare: (page) => page.route("**/conversations*", () => {}),
  },
  {
    name: "conversations, menu of one",
    user: "Ann",
    path: "/",
    shows: ".message-menu",
    reloaded: "conversation-list .entry",
    act: (page) => openEntryMenu(page),
  },
  {
    name: "conversations, for how long to mute",
    user: "Ann",
    path: "/",
    shows: ".message-menu",
    reloaded: "conversation-list .entry",
    act: async (page) => {
      await openEntryMenu(page);
      await page.locator(".message-menu [aria-haspopup]").click();
    },
  },
  {
    name: "conversations, archive",
    user: "Ann",
    path: "/",
    shows: ".archive-head:visible",
    reloaded: "conversation-list .entry",
    act: (page) => page.click(".archive-row"),
  },
  {
    name: "conversations, archive is empty",
    user: "Petros",
    path: "/",
    shows: ".archive-empty:visible",
    reloaded: "conversation-list .entry",
    act: async (page) => {
      await openEntryMenu(page, "Host");
      await page.locator(".message-menu [role=menuitem]").last().click();
      await page.click(".archive-row");
      await page.click(".toast button");
    },
  },
  {
    name: "conversations, archiving that can be undone",
    user: "Petros",
    path: "/",
    shows: ".toast",
    reloaded: "conversation-list .entry, .archive-row:visible",
    act: async (page) => {
      await page.waitForSelector(".entry, .archive-row:visible");
      if (await page.locator(".archive-row").isVisible()) await page.click(".archive-row");
      await openEntryMenu(page, "Host");
      await page.locator(".message-menu [role=menuitem]").last().click();
    },
  },
  {
    name: "search, results",
    user: "Ann",
    path: "/",
    shows: ".found a",
    reloaded: "conversation-list .entry",
    act: (page) => page.fill("conversation-list input", "newc"),
  },
  {
    name: "search, no results",
    user: "Ann",
    path: "/",
    shows: "conversation-list .note:not(:empty)",
    reloaded: "conversation-list .entry",
    act: (page) => page.fill("conversation-list input", "unknown-name"),
  },
  {
    name: "menu",
    user: "Ann",
    path: "/",
    shows: "#menu:popover-open",
    reloaded: "conversation-list .entry",
    act: openMenu,
  },
  {
    name: "menu, the browser blocks notifications",
    user: "Ann",
    path: "/",
    shows: "#menu .forbidden:not(:empty)",
    reloaded: "conversation-list .entry",
    prepare: (page) =>
      page.addInitScript(() => (Notification.requestPermission = () => Promise.resolve("denied" as const))),
    act: async (page) => {
      await openMenu(page);
      await page.click("#menu .notifications");
    },
  },
  {
    name: "menu, invitation",
    user: "Host",
    path: "/",
    shows: "invite-link .made:visible",
    reloaded: "conversation-list .entry",
    act: async (page) => {
      await openMenu(page);
      await page.click("invite-link .ask");
    },
  },
  {
    name: "keyboard shortcuts",
    needsMouse: true,
    user: "Ann",
    path: "/",
    shows: ".keys-sheet",
    reloaded: "conversation-list .entry",
    act: async (page) => {
      await openMenu(page);
      await page.click("#menu .keys");
    },
  },
  {
    name: "search, found by display name",
    user: "Newcomer",
    path: "/",
    shows: "conversation-list .found .handle:visible",
    reloaded: "conversation-list .empty:visible",
    act: (page) => page.fill("conversation-list input", "Smith"),
  },
];
