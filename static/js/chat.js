/**
 * The chat page: finds out who is signed in, constructs the parts, and leaves when the session
 * ends.
 */

import { createChat } from "./chat_model.js";
import * as api from "./sync/api.js";
import "./elements/chat_header.js";
import "./elements/chat_thread.js";
import { followVersion } from "./elements/connection_banner.js";
import "./elements/conversation_list.js";
import "./elements/message_composer.js";
import { loadActionsWhenNeeded, loadListActionsWhenNeeded } from "./elements/actions_loader.js";
import { loadAttachmentsWhenNeeded } from "./elements/attachments_loader.js";
import { loadSearchWhenNeeded } from "./elements/search_loader.js";
import { goBack, openAtMessage, route, startMenu, startNavigation } from "./navigation.js";
import { storeForOffline } from "./page_storing.js";
import {
  broadcastSignOut,
  draftsPrefix,
  endedSession,
  eraseAllExcept,
  eraseOfflineCopies,
  forgetEndedSession,
  offlineCacheName,
  offlineStoreName,
  onSignOut,
  outboxPrefix,
  rememberedName,
  rememberedProfile,
  rememberEndedSession,
  rememberName,
  rememberProfile,
  safeLocalStorage,
} from "./store/browser_storage.js";
import { Drafts, isDraft } from "./store/drafts.js";
import { OfflineCache, STORES } from "./store/offline_cache.js";
import { OfflineDatabase, OfflineStore } from "./store/offline_store.js";
import { isPending } from "./store/pending.js";
import { Connection } from "./sync/connection.js";
import { Outbox } from "./sync/outbox.js";
import { find, importAgain, pageStarted } from "./util/dom.js";
import { persistLanguage, translated } from "./util/language.js";
import { onTimeFormatChange } from "./util/time.js";

/** @import { Chat } from "./chat_model.js" */
/** @typedef {{ removed?: string, unfinished?: import("./store/drafts.js").Draft, left?: boolean }} TabMessage */

const MINUTE_MS = 60_000;
/** Stored data normally loads at once; after this time the page starts without it. */
const RESTORE_TIMEOUT_MS = 500;
/** If syncing drafts fails to load, it is tried again after this time. */
const RETRY_MS = 5_000;

/** @type {import("./elements/conversation_list.js").ConversationList} */
const conversationList = find(document, "conversation-list");
/** @type {import("./elements/chat_header.js").ChatHeader} */
const header = find(document, "chat-header");
/** @type {import("./elements/chat_thread.js").ChatThread} */
const thread = find(document, "chat-thread");
/** @type {import("./elements/message_composer.js").MessageComposer} */
const composer = find(document, "message-composer");
/** @type {NodeListOf<import("./elements/connection_banner.js").ConnectionBanner>} */
const banners = document.querySelectorAll("connection-banner");

/** Whether the user signed out, in this tab or another; nothing is stored from then on. */
let isSignedOut = false;
/**
 * @type {Promise<ReturnType<typeof import("./notifications/notifications.js").startNotifications> | undefined> | undefined}
 */
let notifications;

/**
 * The signed-in user's name, or undefined. Retries until the server responds, because the page is
 * useless without it.
 */
async function requestMe() {
  for (;;) {
    try {
      return await api.fetchUsername();
    } catch (error) {
      if (error instanceof api.SignedOut) return undefined;
      for (const banner of banners) banner.wait(error instanceof api.Intercepted ? "intercepted" : undefined);
      pageStarted();
      await new Promise((resolve) => setTimeout(resolve, 1_000 + Math.random() * 1_000));
    }
  }
}

/**
 * @param {string} me
 * @param {boolean} isConfirmed whether the server has just confirmed that `me` is signed in
 */
async function start(me, isConfirmed) {
  const database = new OfflineDatabase(offlineStoreName(me), ["outbox", "unfinished"], "strict");
  const cacheDatabase = new OfflineDatabase(offlineCacheName(me), STORES, "relaxed");
  const backends = { storage: safeLocalStorage(), database };
  const outbox = new Outbox(new OfflineStore(backends, "outbox", outboxPrefix(me), isPending));
  const drafts = new Drafts(new OfflineStore(backends, "unfinished", draftsPrefix(me), isDraft));
  const cache = new OfflineCache(cacheDatabase);
  const connection = new Connection(socketUrl(me));
  const chat = createChat(me, { api, connection, outbox, drafts, cache });
  chat.profiles.apply(me, rememberedProfile());
  chat.profiles.on("changed", (name) => name === me && rememberProfile(chat.profiles.fields(me)));

  /** Disconnects and erases the offline cache. */
  async function close() {
    connection.end();
    cache.end();
    await Promise.all([cacheDatabase.clear(), notifications?.then((loaded) => loaded?.end())]);
    await eraseOfflineCopies();
  }

  /** Erases all of the user's data in this browser. */
  async function signOut() {
    isSignedOut = true;
    broadcastSignOut();
    persistLanguage();
    outbox.wipe();
    drafts.wipe();
    await Promise.all([database.clear(), close()]);
    await eraseAllExcept(undefined);
  }

  let isLeaving = false;
  chat.sync.on("ended", async () => {
    if (isLeaving) return;
    isLeaving = true;
    const current = await signedInUser(me);
    if (current !== me) await close();
    if (current === undefined && !isSignedOut) rememberEndedSession({ name: me, place: location.hash });
    if (current === me)
      location.reload(); // a new session of the same user replaced this one
    else location.replace("/"); // the server responds with the login or another user's chat
  });
  onSignOut(() => {
    isSignedOut = true;
    outbox.wipe(); // otherwise this tab would store again what is being erased
    drafts.wipe();
    cache.end();
  });

  for (const part of [conversationList, header, thread, composer, ...banners]) part.start(chat);
  chat.conversations.on("list", () => showTitle(chat.conversations.unread));
  loadNotificationsWhenNeeded(chat);
  startMenu(chat, {
    load: () => void loadNotifications(chat), // their settings are in the menu
    signOut: () => {
      isLeaving = true;
      return signOut();
    },
  });
  composer.addEventListener("sent", () => {
    thread.toEnd();
    void loadNotifications(chat).then((loaded) => loaded?.sent());
  });
  composer.addEventListener("focus-messages", () => thread.focusLast());
  loadActionsWhenNeeded(chat, { thread, composer });
  loadListActionsWhenNeeded(chat, conversationList);
  loadAttachmentsWhenNeeded(chat, composer);
  loadSearchWhenNeeded(chat, { conversationList, thread, openAtMessage });
  thread.addEventListener("focus-composer", () => composer.focusText());
  find(thread, ".wave").addEventListener("click", () => composer.wave());
  header.addEventListener("back", goBack);
  startNavigation(chat, { conversationList, header, thread, composer });
  followPage(connection);
  storeForOffline(connection);
  followVersion(chat, banners);
  syncTabs(me, { outbox, drafts });
  addEventListener("beforeunload", (event) => {
    if (outbox.isVolatile && outbox.size > 0) event.preventDefault();
  });

  const restored = Promise.all([chat.sync.start({ isIdentityKnown: isConfirmed }), drafts.load()]);
  // Stored drafts may be newer than the server's.
  void restored.then(() => syncDrafts(drafts, connection));
  await Promise.race([restored, new Promise((resolve) => setTimeout(resolve, RESTORE_TIMEOUT_MS))]);
  void route();
}

/** @param {string} me */
function socketUrl(me) {
  const address = new URL(`/ws/${encodeURIComponent(me)}`, location.href);
  address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  address.hash = "";
  return address.href;
}

/**
 * Probes the connection after events that break sockets, and renders text that depends on the
 * language or the time.
 * @param {Connection} connection
 */
function followPage(connection) {
  for (const type of ["online", "offline"]) addEventListener(type, () => connection.probe());
  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState !== "visible") return;
    connection.probe();
    renderAll();
  });
  document.addEventListener("languagechange", renderAll);
  setInterval(renderAll, MINUTE_MS);
  onTimeFormatChange(renderAll);
}

function renderAll() {
  for (const part of [conversationList, header, thread, composer, ...banners]) part.render();
}

/** @param {number} unread */
function showTitle(unread) {
  const title = unread ? `(${unread > 99 ? "99+" : unread}) chatify` : "chatify";
  if (document.title !== title) document.title = title;
}

/**
 * Loads notifications and sound once; resolves to undefined when that fails.
 * @param {Chat} chat
 */
function loadNotifications(chat) {
  notifications ??= importAgain(() => import("./notifications/notifications.js"), "notifications/notifications.js")
    .then((module) => module.startNotifications(chat))
    .catch(() => (notifications = undefined));
  return notifications;
}

/**
 * Loads notifications when the user interacts with the page, hides it, or a message arrives.
 * @param {Chat} chat
 */
function loadNotificationsWhenNeeded(chat) {
  /** @param {import("./sync/sync_engine.js").MissedMessage} message */
  const notify = async (message) => (await loadNotifications(chat))?.messageArrived(message);
  chat.conversations.on("arrived", notify);
  chat.sync.on("missed", notify);
  for (const type of ["pointerdown", "keydown", "visibilitychange"])
    document.addEventListener(type, () => void loadNotifications(chat), { once: true });
}

/**
 * Syncs one user's tabs in this browser, which share one offline store: a message removed in one
 * tab is removed in all, drafts follow, and an open tab sends what a closed one left behind. Tabs
 * may run different versions of the page.
 * @param {string} me
 * @param {{ outbox: Outbox, drafts: Drafts }} stores
 */
function syncTabs(me, { outbox, drafts }) {
  const tabs = new BroadcastChannel(offlineStoreName(me));
  /** @param {TabMessage} message */
  const post = (message) => tabs.postMessage(message); // oxlint-disable-line unicorn/require-post-message-target-origin
  outbox.on("removed", (removed) => post({ removed }));
  drafts.on("written", (unfinished) => post({ unfinished }));
  tabs.addEventListener("message", (/** @type {MessageEvent<TabMessage>} */ { data }) => {
    if (data.removed) outbox.remove(data.removed);
    if (data.unfinished) drafts.mergeAndSave(data.unfinished);
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

/**
 * Syncs drafts with the user's other devices, from the first connection on.
 * @param {Drafts} drafts
 * @param {Connection} connection
 */
function syncDrafts(drafts, connection) {
  const load = async () => {
    try {
      const { DraftSync } = await importAgain(() => import("./sync/draft_sync.js"), "sync/draft_sync.js");
      const sync = new DraftSync(drafts, { connection, fetch: api.drafts });
      addEventListener("pagehide", () => sync.flush());
      document.addEventListener("visibilitychange", () => sync.flush());
    } catch {
      setTimeout(load, RETRY_MS);
    }
  };
  const stop = connection.on("state", loadOnce);
  loadOnce(connection.state);
  /** @param {import("./sync/connection.js").State} state */
  function loadOnce(state) {
    if (state !== "open") return;
    stop();
    void load();
  }
}

/**
 * Restores the place where the same user's session ended in this tab. Returns whether that is
 * another page.
 * @param {string} me
 */
function returnToEndedSession(me) {
  const { name, place } = endedSession() ?? {};
  forgetEndedSession();
  if (name !== me) return false;
  if (place === "/account") location.replace(place);
  else if (location.hash === "" && place?.startsWith("#")) history.replaceState(null, "", place);
  return place === "/account";
}

/**
 * The signed-in user, or undefined. Assumes `me` when the server does not respond.
 * @param {string} me
 */
async function signedInUser(me) {
  try {
    return await api.fetchUsername();
  } catch (error) {
    return error instanceof api.SignedOut ? undefined : me;
  }
}

/** Not awaited at the top level, or modules imported on demand would wait for it. */
async function main() {
  await translated;
  const remembered = rememberedName();
  if (remembered === undefined) {
    const me = await requestMe();
    if (me === undefined) {
      await eraseOfflineCopies();
      location.replace("/login");
    } else {
      await eraseAllExcept(me);
      rememberName(me);
      if (!returnToEndedSession(me)) await start(me, true);
    }
  } else if (!returnToEndedSession(remembered)) {
    await start(remembered, false); // remembered by another tab, if this one's session had ended
  }
  pageStarted();
}

main().catch(reportError); // `start.js` handles it
