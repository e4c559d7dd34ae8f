/** The states of the chat while it loads, and without a working connection. */

import type { Page } from "playwright-core";

import type { State } from "./stage.ts";
import { ageBrowser, breakScripts, send } from "./steps.ts";

const goOffline = async (page: Page) => {
  await page.waitForSelector(".message");
  await page.context().setOffline(true);
  await page.evaluate(() => {
    WebSocket.prototype.send = function () {
      this.close(); // an open socket outlives the network until its probe times out
    };
    dispatchEvent(new Event("offline"));
  });
};

const TROUBLE = "connection-banner[data-state=trouble]:visible";

const refuseSockets = (page: Page, code?: number) =>
  page.routeWebSocket(/\/ws\//, (socket) => socket.close(code === undefined ? {} : { code }));

export const CONNECTION_STATES: readonly State[] = [
  {
    name: "offline",
    user: "Ann",
    path: "/#Bob",
    shows: "connection-banner:visible",
    reloaded: ".message",
    act: goOffline,
  },
  {
    name: "offline, pending messages",
    user: "Petros",
    path: "/#Host",
    shows: ".message.waiting + .message.waiting",
    reloaded: '.message:has-text("Back in an hour")',
    act: async (page) => {
      await goOffline(page);
      for (const text of ["I am on the ferry", "Back in an hour"]) await send(page, text);
      await page.waitForSelector("connection-banner:visible");
    },
  },
  {
    name: "server unreachable",
    user: "Ann",
    path: "/#Bob",
    shows: "connection-banner:visible",
    act: async (page) => {
      await page.route("**/me", (route) => route.abort("failed"));
      await refuseSockets(page);
      await page.reload(); // the browser remembers the user by now
    },
  },
  {
    name: "WebSockets blocked",
    user: "Ann",
    path: "/#Bob",
    shows: TROUBLE,
    reloaded: ".message",
    prepare: (page) => refuseSockets(page),
  },
  {
    name: "update available",
    user: "Ann",
    path: "/#Bob",
    shows: "connection-banner[data-state=update]:visible",
    reloaded: ".message",
    prepare: (page) =>
      page.routeWebSocket(/\/ws\//, (socket) => {
        const server = socket.connectToServer();
        server.onMessage((frame) => socket.send(String(frame).replace(/"version":"[^"]*"/, '"version":"newer"')));
      }),
  },
  {
    name: "too many tabs",
    user: "Ann",
    path: "/#Bob",
    shows: TROUBLE,
    reloaded: ".message",
    prepare: (page) => refuseSockets(page, 4_429),
  },
  {
    name: "captive portal",
    user: "Ann",
    path: "/",
    shows: TROUBLE,
    reloaded: ".entry",
    act: async (page) => {
      await page.route("**/me", (route) => route.fulfill({ contentType: "text/html", body: "Welcome to the hotel" }));
      await refuseSockets(page);
      await page.reload(); // the browser remembers the user by now
    },
  },
  {
    name: "page loading slowly",
    user: "Ann",
    path: "/#Bob",
    shows: "chat-thread .skeleton i:visible",
    reloaded: ".message",
    prepare: (page) => page.route("**/messages/**", () => {}),
  },
  {
    name: "page failed to load",
    user: "Ann",
    path: "/#Bob",
    shows: ".not-loaded p:visible",
    reloaded: ".message",
    prepare: breakScripts,
    lacksScript: true,
  },
  {
    name: "browser too old",
    user: "Ann",
    path: "/#Bob",
    shows: ".too-old h1:visible",
    prepare: ageBrowser,
    lacksScript: true,
  },
];
