/** Steps that bring a page into its states. */

import type { Locator, Page } from "playwright-core";

import { fillForm, scripted } from "../browser.ts";
import { until } from "../until.ts";

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

/** Whether the page is used by touch. */
export const isTouch = (page: Page) => page.evaluate(() => matchMedia("(hover: none)").matches);

/** Holds a finger on an element until a selector matches; again if loading moved the element. */
export const pressLong = async (page: Page, element: Locator, shown: string) => {
  const client = await page.context().newCDPSession(page);
  await until(`a long press shows ${shown}`, async () => {
    await element.scrollIntoViewIfNeeded();
    const { x, y } = (await element.boundingBox())!;
    await client.send("Input.dispatchTouchEvent", { type: "touchStart", touchPoints: [{ x: x + 6, y: y + 6 }] });
    const isShown = await page.waitForSelector(shown, { timeout: 2_000 }).catch(() => undefined);
    await client.send("Input.dispatchTouchEvent", { type: "touchEnd", touchPoints: [] });
    return isShown !== undefined;
  });
  await client.detach();
};
