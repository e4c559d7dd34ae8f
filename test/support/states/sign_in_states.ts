/** The states of the pages before the chat: signing in, signing up, and an unknown address. */

import { PASSWORD } from "../harness.ts";
import type { State } from "./stage.ts";
import { ageBrowser, breakScripts, submit } from "./steps.ts";

export const SIGN_IN_STATES: readonly State[] = [
  { name: "login", path: "/login", shows: "#username" },
  {
    name: "login, wrong password",
    path: "/login",
    shows: "form > [role=alert]:visible",
    act: (page) => submit(page, { username: "Ann", password: "not my password" }),
  },
  { name: "login, after a session ended elsewhere", user: "Ended", path: "/login", shows: ".ended:visible" },
  {
    name: "login, after the session of an open page ended",
    path: "/",
    shows: ".ended:visible",
    reloaded: "#username",
    prepare: (page, stage) => stage.logIn(page, "Petros"),
    act: async (page, stage) => {
      await page.waitForSelector(".entry, .archive-row:visible");
      await stage.endOtherSessions("Petros");
    },
  },
  { name: "sign-up", path: "/signup", shows: "#confirm" },
  {
    name: "sign-up, all fields invalid",
    path: "/signup",
    shows: "#confirm_error:visible",
    reloaded: "#username",
    act: (page) => submit(page, { username: "!", password: "short", confirm: "shorter" }),
  },
  {
    name: "sign-up, name taken",
    path: "/signup",
    shows: "#username_error:visible",
    reloaded: "#username",
    act: (page) => submit(page, { username: "ANN", password: PASSWORD, confirm: PASSWORD }),
  },
  { name: "sign-up, closed", path: "/signup", server: "closed", shows: ".why:visible" },
  { name: "sign-up, invitation required", path: "/signup", server: "invite", shows: ".why:visible" },
  {
    name: "sign-up, invitation used",
    path: "/signup",
    server: "invite",
    shows: ".why:visible >> text=/has been used|έχει ήδη χρησιμοποιηθεί/",
    act: (page, stage) => page.goto(stage.usedInvitation),
  },
  { name: "unknown address", path: "/nothing", shows: ".not-found" },
  {
    name: "form failed to load its scripts",
    path: "/login",
    shows: ".not-loaded p:visible",
    reloaded: "#username",
    prepare: breakScripts,
    lacksScript: true,
  },
  {
    name: "form in a browser too old",
    path: "/login",
    shows: ".too-old h1:visible",
    prepare: ageBrowser,
    lacksScript: true,
  },
];
