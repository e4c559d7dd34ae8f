/** The states of acting on messages. */

import type { Page } from "playwright-core";

import { until } from "../until.ts";
import type { State } from "./stage.ts";
import { isTouch, pressLong } from "./steps.ts";

/** Moves the pointer over a message until its bar is shown: it loads, and quotes that load move the message. */
const showBar = async (page: Page, message: string) => {
  const text = page.locator(`${message} .text`).last();
  let x = 0;
  await until("the bar is shown", async () => {
    await text.hover({ position: { x: 2 + (x++ % 2), y: 4 } });
    return page.locator(message).last().locator(".message-bar").isVisible();
  });
  return text;
};

/** Opens the menu of a message, with the mouse or a finger. */
const openMessageMenu = async (page: Page, message = ".message:not(.mine)") => {
  if (await isTouch(page)) return pressLong(page, page.locator(`${message} .text`).last(), ".message-menu");
  const text = await showBar(page, message);
  await text.click({ button: "right" });
  await page.waitForSelector(".message-menu");
};

const SELECT = /Select|Επιλογή/;

const select = async (page: Page) => {
  await openMessageMenu(page);
  await page.locator(".message-menu .row", { hasText: SELECT }).click();
  await page.locator(".message .bubble").first().click();
};

export const MESSAGE_STATES: readonly State[] = [
  {
    name: "message, bar",
    user: "Ann",
    path: "/#Bob",
    shows: ".message-bar",
    needsMouse: true,
    reloaded: ".message",
    act: (page) => showBar(page, ".message"),
  },
  {
    name: "message, menu",
    user: "Ann",
    path: "/#Bob",
    shows: ".message-menu:popover-open",
    reloaded: ".message",
    act: (page) => openMessageMenu(page),
  },
  {
    name: "message, reply",
    user: "Ann",
    path: "/#Bob",
    shows: ".reference",
    reloaded: ".message",
    act: async (page) => {
      await openMessageMenu(page);
      await page.locator(".message-menu .row").first().click();
    },
  },
  {
    name: "message, edit",
    user: "Ann",
    path: "/#Bob",
    shows: ".reference",
    reloaded: ".message",
    act: async (page) => {
      await page.waitForSelector(".message.mine");
      await page.press("textarea", "ArrowUp");
    },
  },
  {
    name: "message, deletion that can be undone",
    user: "Petros",
    path: "/#Petros",
    shows: ".toast button",
    reloaded: "message-composer",
    act: async (page) => {
      await page.fill("textarea", "a note");
      await page.click("message-composer .send");
      await openMessageMenu(page, ".message:not(.deleted)");
      await page.click(".message-menu .danger");
    },
  },
  {
    name: "messages, selection",
    user: "Ann",
    path: "/#Bob",
    shows: ".selection-bar",
    reloaded: ".message",
    act: select,
  },
  {
    name: "messages, forward",
    user: "Ann",
    path: "/#Bob",
    shows: ".forward-dialog[open]",
    reloaded: ".message",
    act: async (page) => {
      await select(page);
      await page.click(".selection-bar .forward");
      await page.locator(".forward-dialog label").first().click();
    },
  },
  {
    name: "messages, deletion question",
    user: "Petros",
    path: "/#Petros",
    shows: ".question[open]",
    reloaded: "message-composer",
    act: async (page) => {
      await page.fill("textarea", "a note");
      await page.click("message-composer .send");
      await openMessageMenu(page, ".message:not(.deleted)");
      await page.locator(".message-menu .row", { hasText: SELECT }).click();
      await page.click(".selection-bar .delete");
    },
  },
];
