/** The states of the account page. */

import { png } from "../images.ts";
import type { State } from "./stage.ts";
import { submit } from "./steps.ts";

export const ACCOUNT_STATES: readonly State[] = [
  { name: "account", user: "Ann", path: "/account", shows: "blocked-people li" },
  {
    name: "account, a photo before it is saved, and an invalid display name",
    user: "Ann",
    path: "/account",
    shows: "profile-form canvas:visible",
    reloaded: "profile-form .remove:visible",
    act: async (page) => {
      await page.waitForSelector("profile-form #display_name:enabled");
      await page.setInputFiles("profile-form .file", { name: "a.png", mimeType: "image/png", buffer: png(64, 64) });
      await page.waitForSelector("profile-form canvas:visible");
      await submit(page, { display_name: "@ann" });
      await page.waitForSelector("#display_name_error:visible");
    },
  },
  {
    name: "account, a file that is no image",
    user: "Ann",
    path: "/account",
    shows: "profile-form .photo-error:visible",
    reloaded: "profile-form .remove:visible",
    act: async (page) => {
      await page.waitForSelector("profile-form #display_name:enabled");
      const buffer = Buffer.from("<svg/>");
      await page.setInputFiles("profile-form .file", { name: "a.png", mimeType: "image/png", buffer });
    },
  },
  {
    name: "account, errors",
    user: "Ann",
    path: "/account",
    shows: "#new_error:visible",
    reloaded: "blocked-people li",
    act: async (page) => {
      await page.waitForSelector("blocked-people li");
      await submit(page, { old: "x", new: "short", again: "shorter" });
    },
  },
  {
    name: "account, deletion confirmation",
    user: "Ann",
    path: "/account",
    shows: "account-deletion dialog:visible",
    reloaded: "blocked-people li",
    act: async (page) => {
      await page.waitForSelector("blocked-people li");
      await submit(page, { deletion_password: "x" });
    },
  },
];
