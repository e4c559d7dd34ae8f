/** The chat page: constructs its parts, shows the conversation in the URL and signs the user out. */

import * as api from "./sync/api.js";
import "./elements/chat_header.js";
import "./elements/chat_thread.js";
import { Connection } from "./sync/connection.js";
import "./elements/connection_line.js";
import { Drafts, isDraft } from "./store/drafts.js";
import { LocalDatabase } from "./store/local_database.js";
import { OfflineStore } from "./store/offline_store.js";
import { find, isTouch, pageStarted, setText } from "./util/dom.js";
import { persistLanguage } from "./util/language.js";
import "./elements/message_composer.js";
import { Messenger } from "./store/messenger.js";
import { isPendingMessage, Outbox } from "./sync/outbox.js";
import "./elements/people_list.js";
import { OfflineCache, STORES } from "./store/offline_cache.js";
import {
  endedSession,
  forgetEndedSession,
  rememberedName,
  rememberEndedSession,
  rememberName,
  safeLocalStorage,
  SINGLE_KEYS,
} from "./store/safe_local_storage.js";
import {
  broadcastSignOut,
  draftsPrefix,
  eraseAllExcept,
  eraseOfflineCopies,
  offlineCacheName,
  offlineStoreName,
  onSignOut,
  outboxPrefix,
} from "./store/storage_keys.js";
import { syncTabs } from "./sync/tab_sync.js";
import { followVersion } from "./sync/updates.js";
import { onTimeFormatChange } from "./util/time.js";
import { t } from "./util/translate.js";

const MINUTE_MS = 60_000;
/** Stored data normally load at once; after this time the page starts without them. */
const RESTORE_TIMEOUT_MS = 500;
/** A module that failed to load is requested again. */
const RETRY_MS = 5_000;
/** Storing the page for offline use waits this long after it has loaded. */
const IDLE_AFTER_LOAD_MS = 1_000;

/** @type {HTMLElement} */
const app = find(document, ".app");
/** @type {import("./elements/people_list.js").PeopleList} */
const people = find(document, "people-list");
/** @type {import("./elements/chat_header.js").ChatHeader} */
const header = find(document, "chat-header");
/** @type {import("./elements/chat_thread.js").ChatThread} */
const thread = find(document, "chat-thread");
/** @type {import("./elements/message_composer.js").MessageComposer} */
const composer = find(document, "message-composer");
/** @type {NodeListOf<import("./elements/connection_line.js").ConnectionLine>} */
const lines = document.querySelectorAll("connection-line");

/** The signed-in user's name, or undefined. Retries until the server responds, because the page is useless without it. */
async function requestMe() {
  for (;;) {
    try {
      return await api.me();
    } catch (error) {
      if (error instanceof api.SignedOut) return undefined;
      for (const line of lines) line.wait(error instanceof api.Intercepted ? "intercepted" : undefined);
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
  const texts = new LocalDatabase(offlineStoreName(me), ["outbox", "unfinished"], "strict");
  const reading = new LocalDatabase(offlineCacheName(me), STORES, "relaxed");
  const places = { storage: safeLocalStorage(), database: texts };
  const outbox = new Outbox(new OfflineStore(places, "outbox", outboxPrefix(me), isPendingMessage));
  const drafts = new Drafts(new OfflineStore(places, "unfinished", draftsPrefix(me), isDraft));
  const cache = new OfflineCache(reading);
  const address = new URL(`/ws/${encodeURIComponent(me)}`, location.href);
  address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  address.hash = "";
  const connection = new Connection(address.href);
  const messenger = new Messenger(me, { api, connection, outbox, drafts, cache });

  /** Disconnects and erases the offline cache. */
  async function close() {
    connection.end();
    cache.end();
    await Promise.all([reading.empty(), notifications.now?.end()]);
    await eraseOfflineCopies();
  }

  /** Erases all of the user's data in this browser, at sign-out. */
  async function forget() {
    persistLanguage();
    outbox.wipe();
    drafts.wipe();
    await Promise.all([texts.empty(), close()]);
    await eraseAllExcept(undefined);
  }

  let leaving = false;
  messenger.addEventListener("ended", async () => {
    if (leaving) return;
    leaving = true;
    const who = await signedInUser(me);
    if (who !== me) await close();
    if (who === undefined && !signedOutHere) rememberEndedSession({ name: me, place: location.hash });
    if (who === me)
      location.reload(); // a new session of the same user replaced this one
    else location.replace("/"); // the server responds with the login or another user's chat
  });
  messenger.addEventListener("people", () => showTitle(messenger));
  const notifications = new Lazy(async () => {
    const { startNotifications } = await import("./notifications/notifications.js");
    return startNotifications(messenger);
  });
  loadNotificationsOnDemand(messenger, notifications);
  for (const part of [people, header, thread, composer, ...lines]) part.start(messenger);
  composer.addEventListener("sent", () => {
    thread.toEnd();
    void notifications.load().then((loaded) => loaded?.sent());
  });
  composer.addEventListener("up", () => thread.focusLast());
  thread.addEventListener("write", () => composer.focusText());
  header.addEventListener("back", goBack);

  addEventListener("online", () => connection.probe());
  addEventListener("offline", () => connection.probe());
  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState !== "visible") return;
    connection.probe();
    renderAll();
  });
  document.addEventListener("languagechange", () => renderAll());
  setInterval(renderAll, MINUTE_MS);
  onTimeFormatChange(renderAll);
  followVersion(messenger, lines);

  find(document, ".open").addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
    if (event.key !== "Escape" || document.querySelector(":popover-open")) return;
    if (isNarrow()) goBack();
    else people.focusLine(messenger.open ?? "");
  });
  addEventListener("keydown", ignoreInputMethodKeys, { capture: true });
  addEventListener("keydown", keyPressed);
  addEventListener("hashchange", () => void route(messenger));
  navigator.serviceWorker?.addEventListener("message", ({ data }) => {
    if (typeof data?.open === "string") location.hash = encodeURIComponent(data.open);
  });
  setUpMenu(messenger, notifications, () => {
    leaving = true;
    broadcastSignOut();
    return forget();
  });
  addEventListener("beforeunload", (event) => {
    if (outbox.isVolatile && outbox.size > 0) event.preventDefault();
  });
  syncTabs(me, { outbox, drafts });
  onSignOut(() => {
    signedOutHere = true;
    outbox.wipe(); // otherwise this tab would store again what is being erased
    drafts.wipe();
    cache.end();
  });
  const kept = messenger.start({ isIdentityKnown: isConfirmed });
  void kept.then(() => syncDrafts(drafts, connection)); // stored drafts may be newer than the server's
  await Promise.race([kept, new Promise((resolve) => setTimeout(resolve, RESTORE_TIMEOUT_MS))]);
  void route(messenger);
}

/**
 * Restores the place where the same user's session ended in this tab. Returns whether that is another page.
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

/** The signed-in user, or undefined. Assumes `me` when the server does not respond. @param {string} me */
async function signedInUser(me) {
  try {
    return await api.me();
  } catch (error) {
    return error instanceof api.SignedOut ? undefined : me;
  }
}

/**
 * A value loaded on first use.
 * @template T
 */
class Lazy {
  /** @type {T | undefined} once loaded */
  now;
  /** @type {Promise<T | undefined> | undefined} */
  #loading;
  #load;

  /** @param {() => Promise<T>} load */
  constructor(load) {
    this.#load = load;
  }

  /** Resolves to the value, or to undefined when loading fails. */
  load() {
    this.#loading ??= this.#load().then(
      (it) => (this.now = it),
      () => (this.#loading = undefined),
    );
    return this.#loading;
  }
}

/**
 * Loads notifications and sound when the user interacts with the page, hides it, or a message arrives.
 * @param {Messenger} messenger
 * @param {Lazy<ReturnType<typeof import("./notifications/notifications.js").startNotifications>>} notifications
 */
function loadNotificationsOnDemand(messenger, notifications) {
  for (const type of ["arrived", "missed"]) {
    messenger.addEventListener(type, async (event) => {
      (await notifications.load())?.messageArrived(/** @type {CustomEvent} */ (event).detail);
    });
  }
  const load = () => void notifications.load();
  for (const type of ["pointerdown", "keydown", "visibilitychange"])
    document.addEventListener(type, load, { once: true });
}

/**
 * Syncs drafts with the user's other devices, from the first connection on.
 * @param {Drafts} drafts
 * @param {Connection} connection
 */
function syncDrafts(drafts, connection) {
  const load = async () => {
    try {
      const { DraftSync } = await import("./sync/draft_sync.js");
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

/** Renders all text that depends on the language or the time. */
function renderAll() {
  for (const part of [people, header, thread, composer, ...lines]) part.render();
}

/** @param {Messenger} messenger */
function showTitle(messenger) {
  const { unread } = messenger;
  const title = unread ? `(${unread > 99 ? "99+" : unread}) chatify` : "chatify";
  if (document.title !== title) document.title = title;
}

/** The name in the URL on screen; "" for the list alone. @type {string | undefined} */
let shownName;
/** Whether the user signed out in another tab; nothing is stored from then on. */
let signedOutHere = false;
/** Whether going back to the list focuses the search. */
let returnsToSearch = false;

/** Shows the conversation in the URL. @param {Messenger} messenger */
async function route(messenger) {
  const name = nameInUrl();
  const left = messenger.open;
  app.toggleAttribute("data-open", name !== "");
  find(document, ".nothing").hidden = name !== "";
  find(document, ".open").hidden = name === "";
  if (name !== "" && shownName === "" && history.state === null) history.replaceState({ fromList: true }, "");
  const isFirst = shownName === undefined;
  if (!isFirst) people.clear(); // keeps what the user typed while the page loaded
  shownName = name;
  if (name === "") {
    messenger.show(undefined);
    if (returnsToSearch) people.focusSearch();
    else if (left !== undefined) people.focusLine(left);
    returnsToSearch = false;
    return;
  }
  const from = isFirst ? document.body : document.activeElement;
  let peer = messenger.knownName(name);
  if (peer === undefined) {
    // Hide the previous conversation's composer until the name is resolved.
    show(messenger, undefined, name);
    thread.expect();
    peer = await messenger.find(name);
    if (nameInUrl() !== name) return; // the user navigated meanwhile
  }
  show(messenger, peer, name);
  if (peer === undefined) {
    header.show(name, { isUnknown: true });
    thread.showNobody(name);
  }
  const { activeElement } = document;
  const searches = activeElement instanceof HTMLInputElement && activeElement.value !== "";
  if (searches || (activeElement !== from && activeElement !== document.body)) return; // the user moved the focus meanwhile
  if (isTouch() || peer === undefined) header.focusName();
  else composer.focusText();
}

/**
 * @param {Messenger} messenger
 * @param {string | undefined} peer the peer's name, if known
 * @param {string} name the name in the URL
 */
function show(messenger, peer, name) {
  messenger.show(peer);
  header.show(peer ?? name);
  composer.hidden = peer === undefined;
  composer.show(peer);
  thread.show(peer);
}

/**
 * Ignores keys while an input method composes a word (Japanese, Greek accents …). In Safari the Enter that ends a composition is
 * dispatched after it and recognizable only by key code 229.
 *
 * @param {KeyboardEvent} event
 */
function ignoreInputMethodKeys(event) {
  if (event.isComposing || event.keyCode === 229) event.stopImmediatePropagation();
}

/** Page-wide shortcuts. @param {KeyboardEvent} event */
function keyPressed(event) {
  if (event.defaultPrevented || event.altKey || document.querySelector("dialog[open]")) return;
  const control = event.ctrlKey || event.metaKey;
  const writing = /** @type {Element} */ (event.target).matches("input, textarea");
  const single = !control && !writing && safeLocalStorage().getItem(SINGLE_KEYS) !== "off";
  // By position on the keyboard: a Greek layout has a κ there.
  if ((control && !event.shiftKey && event.code === "KeyK") || (single && event.key === "/")) search();
  else if (single && event.key === "?") void openKeys();
  else return;
  event.preventDefault();
}

function search() {
  if (!isNarrow() || !shownName) {
    people.focusSearch();
    return;
  }
  returnsToSearch = true;
  goBack();
}

async function openKeys() {
  const sheet = await import("./elements/keys_sheet.js").catch(() => undefined);
  await sheet?.openKeys();
}

/** Whether the window has room for only one pane. */
function isNarrow() {
  return !matchMedia("(min-width: 720px)").matches;
}

function nameInUrl() {
  try {
    return decodeURIComponent(location.hash.slice(1));
  } catch {
    return ""; // malformed, such as "#%zz"
  }
}

/** Goes back to the list: by the browser's history if the user came from there, otherwise by replacing the entry. */
function goBack() {
  if (history.state?.fromList) {
    history.back();
    return;
  }
  history.replaceState(null, "", location.pathname);
  dispatchEvent(new HashChangeEvent("hashchange"));
}

/**
 * @param {Messenger} messenger
 * @param {Lazy<unknown>} notifications
 * @param {() => Promise<void>} leave erases the user's data in this browser
 */
function setUpMenu(messenger, notifications, leave) {
  const menu = find(document, "#menu");
  /** Loads what only the menu shows. */
  const load = () => {
    void import("./elements/invite_link.js").catch(() => {});
    void notifications.load();
  };
  if (menu.matches(":popover-open"))
    load(); // the menu can open before its scripts have loaded
  else menu.addEventListener("beforetoggle", load, { once: true });
  setText(find(menu, ".name"), messenger.me);
  const notes = find(menu, ".notes");
  notes.href = `#${encodeURIComponent(messenger.me)}`;
  notes.addEventListener("click", () => menu.hidePopover());
  find(menu, ".keys").addEventListener("click", () => {
    menu.hidePopover();
    void openKeys();
  });
  /** @type {HTMLFormElement} */
  const form = find(menu, ".sign-out");
  for (const button of [find(menu, ".keys"), find(form, "button")]) button.disabled = false;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    await messenger.outbox.load(); // other tabs may have stored messages too
    const { size } = messenger.outbox;
    if (size > 0 && !confirm(t("sign_out_unsent", { count: size }))) return;
    try {
      await api.me(); // signing out needs the server; otherwise the session would live on
    } catch (error) {
      const isThere = error instanceof api.SignedOut;
      if (!isThere) return alert(t(error instanceof api.Intercepted ? "trouble_intercepted" : "no_connection"));
    }
    await leave();
    form.submit();
  });
}

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
} else {
  await start(remembered, false);
}
pageStarted();

/** Runs after loading, because offline use must not delay the page. */
async function storeForOffline() {
  const offline = await import("./sync/service_worker.js").catch(() => undefined); // no network: the next visit stores it
  await offline?.cachePage();
}

if (document.readyState === "complete") setTimeout(storeForOffline, IDLE_AFTER_LOAD_MS);
else addEventListener("load", () => setTimeout(storeForOffline, IDLE_AFTER_LOAD_MS));
