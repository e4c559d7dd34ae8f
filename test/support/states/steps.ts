/** What brings a page into its states. */

import type { Page } from "playwright-core";

import { fillForm, scripted } from "../browser.ts";

export const submit = async (page: Page, values: Record<string, string>) => {
  await scripted(page); // before, the browser validates the form itself
  await fillForm(page, values);
};

/** Makes the browser seem to lack a feature that the page needs. */
export const ageBrowser = (page: Page) => page.addInitScript(() => (CSS.supports = () => false));

export const breakScripts = (page: Page) =>
  page.route(/\/js\/(?:chat|account|form|signup)\.js$/, (route) => route.abort("failed"));

/** Sends a message by the button: on a phone, Enter breaks the line. */
export const send = async (page: Page, text: string) => {
  await page.fill("message-composer textarea", text);
  await page.click("message-composer .send");
};
