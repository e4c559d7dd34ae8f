/**
 * Syncs one user's tabs in this browser, which share one offline store: a message settled in one tab is settled in all, drafts
 * follow, and an open tab sends what a closed one left behind. Tabs may run different versions of the page.
 */

import { offlineStoreName } from "../store/storage_keys.js";

/** @typedef {{ removed?: string, unfinished?: import("../store/drafts.js").Draft, left?: boolean }} TabMessage */

/**
 * @param {string} me
 * @param {{ outbox: import("./outbox.js").Outbox, drafts: import("../store/drafts.js").Drafts }} stores
 */
export function syncTabs(me, { outbox, drafts }) {
  const tabs = new BroadcastChannel(offlineStoreName(me));
  /** @param {TabMessage} message */
  const post = (message) => tabs.postMessage(message); // oxlint-disable-line unicorn/require-post-message-target-origin
  outbox.on("settled", (removed) => post({ removed }));
  drafts.on("written", (unfinished) => post({ unfinished }));
  tabs.addEventListener("message", (/** @type {MessageEvent<TabMessage>} */ { data }) => {
    if (data.removed) outbox.settle(data.removed);
    if (data.unfinished) drafts.take(data.unfinished);
    if (data.left) void outbox.load();
  });
  addEventListener("pagehide", () => {
    drafts.flush();
    if (outbox.size > 0) post({ left: true });
  });
  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState === "hidden") drafts.flush();
    else void outbox.load(); // a tab may have crashed without notifying the others
  });
}
