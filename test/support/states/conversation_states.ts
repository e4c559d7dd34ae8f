/** The states of an open conversation, its header and its composer. */

import { until } from "../until.ts";
import type { State } from "./stage.ts";
import { LONG, RIGHT_TO_LEFT } from "./stage_users.ts";
import { send } from "./steps.ts";

export const CONVERSATION_STATES: readonly State[] = [
  { name: "conversation, empty", user: "Newcomer", path: "/#Ann", shows: ".greeting:visible" },
  { name: "conversation, unknown name", user: "Ann", path: "/#unknown-name", shows: ".greeting:visible" },
  { name: "conversation, history", user: "Ann", path: "/#Bob", shows: ".message pre" },
  { name: "conversation, several days", user: "Iris", path: "/#Eleni", shows: ".message .quote + .text" },
  {
    name: "conversation, earlier days",
    user: "Iris",
    path: "/#Eleni",
    shows: ".jump:visible",
    reloaded: ".message",
    act: async (page) => {
      await page.waitForSelector(".message .quote");
      const message = page.locator(".message").first();
      // A view at its end stays there while quotes and reactions load.
      await until("the view is away from its end", async () => {
        await message.evaluate((message) => message.scrollIntoView());
        return page.isVisible(".jump");
      });
    },
  },
  { name: "conversation, unread messages", user: "Ann", path: `/#${encodeURIComponent(LONG)}`, shows: ".day.new" },
  {
    name: "conversation, failed message",
    user: "Ann",
    path: "/#Bob",
    shows: ".failure:visible",
    reloaded: '.message:has-text("cannot be sent")',
    act: async (page) => {
      await page.waitForSelector(".message");
      await page.evaluate(() => {
        const send = WebSocket.prototype.send;
        WebSocket.prototype.send = function (data) {
          const { ref } = JSON.parse(String(data));
          if (!ref) return send.call(this, data);
          const refusal = { type: "error", code: "invalid_text", message: "", ref };
          this.dispatchEvent(new MessageEvent("message", { data: JSON.stringify(refusal) }));
        };
      });
      await send(page, "cannot be sent");
    },
  },
  {
    name: "peer typing",
    user: "Ann",
    path: "/#Bob",
    shows: "chat-header .status:text-matches('typing|γράφει')",
    reloaded: "chat-header .status.live",
    act: async (page, stage) => {
      const status = page.locator("chat-header .status", { hasText: /typing|γράφει/ });
      // Before the socket is open, the frame is lost; the server passes on one in 2 s.
      await until(
        "the page shows that Bob is typing",
        () => {
          stage.bob.say({ type: "typing", peer: "Ann" });
          return status.waitFor({ timeout: 2_100 }).then(
            () => true,
            () => false,
          );
        },
        15_000,
      );
    },
  },
  {
    name: "conversation, unusual texts",
    user: "Ann",
    path: `/#${encodeURIComponent(RIGHT_TO_LEFT)}`,
    shows: ".message .text pre",
  },
  { name: "notes, empty", user: "Ann", path: "/#Ann", shows: ".greeting:visible" },
  {
    name: "composer, text too long",
    user: "Ann",
    path: "/#Bob",
    shows: "message-composer .problem:visible",
    act: (page) => page.fill("textarea", "x".repeat(4_001)),
  },
  {
    name: "conversation menu",
    user: "Ann",
    path: "/#Bob",
    shows: "#options:popover-open",
    reloaded: ".message",
    act: (page) => page.click("chat-header .more"),
  },
  {
    name: "block confirmation",
    user: "Ann",
    path: "/#Bob",
    shows: "dialog.question",
    reloaded: ".message",
    act: async (page) => {
      await page.click("chat-header .more");
      await page.click("#options .block");
    },
  },
  {
    name: "notification prompt",
    user: "Ann",
    path: "/#Bob",
    shows: ".ask-notifications:visible",
    reloaded: ".message",
    act: (page) => page.evaluate(() => document.querySelector(".ask-notifications")?.removeAttribute("hidden")),
  },
  { name: "conversation, long display name", user: "Ann", path: "/#Quiet", shows: "chat-header .handle:visible" },
  { name: "conversation, peer blocked", user: "Ann", path: "/#Blocked", shows: "chat-thread[data-blocked] .message a" },
  { name: "conversation, peer deleted", user: "Ann", path: "/#Gone", shows: ".closed:visible" },
];
