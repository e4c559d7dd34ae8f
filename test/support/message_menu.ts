/** What the tests of the page do with the menu of a message. */

import type { Locator, Page } from "playwright-core";

import { until } from "./until.ts";

export const MENU = ".message-menu";

/** The first message that contains a text. */
export const row = (page: Page, text: string): Locator => page.locator(".message", { hasText: text }).first();

/** Opens the menu of a message with the right button, once the script that does has loaded. */
export async function openMenu(page: Page, text: string): Promise<void> {
  await row(page, text).locator(".text").hover();
  await until("the menu is open", async () => {
    await row(page, text)
      .locator(".text")
      .click({ button: "right", position: { x: 4, y: 8 } });
    return page.locator(MENU).isVisible();
  });
}

/** Opens the menu of a message and chooses an item. */
export async function choose(page: Page, text: string, item: string | RegExp): Promise<void> {
  await openMenu(page, text);
  const names = typeof item === "string" ? new RegExp(`^${item}$`) : item;
  await page.locator(`${MENU} button`, { hasText: names }).click();
  await page.waitForSelector(MENU, { state: "detached" });
}
