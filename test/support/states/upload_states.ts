/** The states of files that are attached and sent. */

import type { Page } from "playwright-core";

import { png } from "../images.ts";
import type { State } from "./stage.ts";

const PICTURE = png(600, 400, (x, y) => [x * 255, y * 255, 128]);

/** Attaches a picture, a file, and one that is empty. */
async function attach(page: Page): Promise<void> {
  await page.click(".attach-button");
  const [chooser] = await Promise.all([
    page.waitForEvent("filechooser"),
    page.locator("[role=menuitem]").first().click(),
  ]);
  await chooser.setFiles([
    { name: "sunset at the harbour.png", mimeType: "image/png", buffer: PICTURE },
    { name: "contract.pdf", mimeType: "application/pdf", buffer: Buffer.alloc(1_234_567, 1) },
    { name: "holiday.mov", mimeType: "video/quicktime", buffer: Buffer.alloc(0) },
  ]);
  await page.waitForSelector(".attachments .picture");
}

export const UPLOAD_STATES: readonly State[] = [
  {
    name: "attach menu",
    user: "Newcomer",
    path: "/#Ann",
    shows: "[role=menuitem]",
    reloaded: ".greeting:visible",
    act: (page) => page.click(".attach-button"),
  },
  {
    name: "composer, files attached",
    user: "Newcomer",
    path: "/#Ann",
    shows: ".attachments .picture",
    reloaded: ".greeting:visible",
    act: attach,
  },
  {
    name: "conversation, files being sent",
    user: "Newcomer",
    path: "/#Newcomer",
    shows: ".upload.picture",
    prepare: (page) => page.route(/\/files$/, (route) => route.abort()),
    act: async (page) => {
      await attach(page);
      await page.fill("message-composer textarea", "Look at this!");
      await page.click(".send");
      await page.waitForSelector(".upload:not(.picture)");
    },
  },
];
