/** The chat page: builds its parts, follows the address, and lets a person leave. */

import * as api from "./sync/api.js";
import "./elements/chat_header.js";
import "./elements/chat_thread.js";
import { Connection } from "./sync/connection.js";
import "./elements/connection_line.js";
import { Drafts, isDraft } from "./store/drafts.js";
import { LocalDatabase } from "./store/local_database.js";
import { OfflineStore } from "./store/offline_store.js";
import { find, isTouch, pageStarted, setText } from "./util/dom.js";
import { keepLanguage } from "./util/language.js";
import "./elements/message_composer.js";
import { Messenger } from "./store/messenger.js";
import { OutboxStore } from "./store/outbox_store.js";
import { Outbox } from "./sync/outbox.js";
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
} from "./store/storage_keys.js";
import { followVersion } from "./sync/updates.js";
import { onTimeFormatChange } from "./util/time.js";
import { t } from "./util/translate.js";

const MINUTE_MS = 60_000;
/** What this browser keeps is there at once; should it not be, the page goes on without. */
const KEPT_MS = 500;
/** What could not be loaded is asked for again. */
const AGAIN_MS = 5_000;
/** After the page is there. */
const STILL_MS = 1_000;

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

/** Who is signed in; without an answer it asks again, for a page that knows nobody can do nothing. */
async function whoAmI() {
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
 * @param {boolean} sure whether the server has said so, just now
 */
async function start(me, sure) {
  const texts = new LocalDatabase(offlineStoreName(me), ["outbox", "unfinished"], "strict");
  const reading = new LocalDatabase(offlineCacheName(me), STORES, "relaxed");
  const places = { storage: safeLocalStorage(), database: texts };
  const store = new OutboxStore(places, me);
  const outbox = new Outbox(store);
  const drafts = new Drafts(new OfflineStore(places, "unfinished", draftsPrefix(me), isDraft));
  const cache = new OfflineCache(reading);
  const address = new URL(`/ws/${encodeURIComponent(me)}`, location.href);
  address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  address.hash = "";
  const connection = new Connection(address.href);
  const messenger = new Messenger(me, { api, connection, outbox, drafts, cache });
  messenger.isVolatile = () => store.isVolatile;

  /** Erases what can be read here. */
  async function close() {
    connection.end();
    cache.end();
    await Promise.all([reading.empty(), attention.now?.end()]);
    await eraseOfflineCopies();
  }

  /** Erases all that this browser keeps of the person: they leave. */
  async function forget() {
    keepLanguage();
    outbox.wipe();
    drafts.wipe();
    await Promise.all([texts.empty(), close()]);
    await eraseAllExcept(undefined);
  }

  let leaving = false;
  messenger.addEventListener("ended", async () => {
    if (leaving) return;
    leaving = true;
    const who = await whoIsIt(me);
    if (who !== me) await close();
    if (who === undefined && !signedOutHere) rememberEndedSession({ name: me, place: location.hash });
    if (who === me)
      location.reload(); // a new session of the same person ended the old one
    else location.replace("/"); // the server knows whether that is the login or another person's chat
  });
  messenger.addEventListener("people", () => showTitle(messenger));
  const attention = new Loaded(async () => {
    const { startNotifications } = await import("./notifications/notifications.js");
    return startNotifications(messenger);
  });
  beAttentive(messenger, attention);
  for (const part of [people, header, thread, composer, ...lines]) part.start(messenger);
  composer.onsent = () => {
    thread.toEnd();
    void attention.load().then((attending) => attending?.sent());
  };
  composer.onup = () => thread.focusLast();
  thread.onwrite = () => composer.focusText();
  header.onback = () => goBack();

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
  addEventListener("keydown", leaveToInputMethod, { capture: true });
  addEventListener("keydown", keyPressed);
  addEventListener("hashchange", () => void route(messenger));
  navigator.serviceWorker?.addEventListener("message", ({ data }) => {
    if (typeof data?.open === "string") location.hash = encodeURIComponent(data.open);
  });
  startMenu(messenger, attention, () => {
    leaving = true;
    broadcastSignOut();
    return forget();
  });
  addEventListener("beforeunload", (event) => {
    if (messenger.isVolatile() && outbox.size > 0) event.preventDefault();
  });
  joinTabs(me, { outbox, store, drafts, cache });
  const kept = messenger.start({ isIdentityKnown: sure });
  void shareDrafts(messenger, kept);
  await Promise.race([kept, new Promise((resolve) => setTimeout(resolve, KEPT_MS))]);
  void route(messenger);
}

/** Leads back to where the session of the same person ended in this tab, and nowhere else. Returns whether that is another page. @param {string} me */
function goesBack(me) {
  const { name, place } = endedSession() ?? {};
  forgetEndedSession();
  if (name !== me) return false;
  if (place === "/account") location.replace(place);
  else if (location.hash === "" && place?.startsWith("#")) history.replaceState(null, "", place);
  return place === "/account";
}

/** Who is signed in, undefined when nobody is. The server not answering tells nothing: `me` then. @param {string} me */
async function whoIsIt(me) {
  try {
    return await api.me();
  } catch (error) {
    return error instanceof api.SignedOut ? undefined : me;
  }
}

/**
 * The tabs of a person in one browser have one store. What left it, left it for all; what a closed tab leaves in it, another
 * one sends.
 * @param {string} me
 * @param {{ outbox: Outbox, store: OutboxStore, drafts: Drafts, cache: OfflineCache }} parts
 */
function joinTabs(me, { outbox, store, drafts, cache }) {
  const tabs = new BroadcastChannel(offlineStoreName(me));
  /** @param {{ removed?: string, unfinished?: import("./store/drafts.js").Draft, left?: boolean }} what */
  const tell = (what) => tabs.postMessage(what); // oxlint-disable-line unicorn/require-post-message-target-origin
  store.onremoved = (removed) => tell({ removed });
  drafts.onwritten = (unfinished) => tell({ unfinished });
  tabs.addEventListener("message", ({ data }) => {
    if (data.removed) store.quietly(() => outbox.discard(data.removed));
    if (data.unfinished) drafts.take(data.unfinished);
    if (data.left) void outbox.load();
  });
  onSignOut(() => {
    signedOutHere = true;
    outbox.wipe(); // or this tab would keep again what is being erased
    drafts.wipe();
    cache.end();
  });
  addEventListener("pagehide", () => {
    drafts.flush();
    if (outbox.size > 0) tell({ left: true });
  });
  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState === "hidden") drafts.flush();
    else void outbox.load(); // a tab may have gone without a word
  });
}

/**
 * Something that is loaded when it is first needed.
 * @template T
 */
class Loaded {
  /** @type {T | undefined} once it is there */
  now;
  /** @type {Promise<T | undefined> | undefined} */
  #loading;
  #load;

  /** @param {() => Promise<T>} load */
  constructor(load) {
    this.#load = load;
  }

  /** It, or undefined where there is no network. */
  load() {
    this.#loading ??= this.#load().then(
      (it) => (this.now = it),
      () => (this.#loading = undefined),
    );
    return this.#loading;
  }
}

/**
 * Notifications and sound are needed from the moment the page is touched or left, or hears something.
 * @param {Messenger} messenger
 * @param {Loaded<ReturnType<typeof import("./notifications/notifications.js").startNotifications>>} attention
 */
function beAttentive(messenger, attention) {
  for (const type of ["arrived", "missed"]) {
    messenger.addEventListener(type, async (event) => {
      (await attention.load())?.hear(/** @type {CustomEvent} */ (event).detail);
    });
  }
  const load = () => void attention.load();
  for (const type of ["pointerdown", "keydown", "visibilitychange"])
    document.addEventListener(type, load, { once: true });
}

/**
 * Draft texts go to the other devices, too.
 * @param {Messenger} messenger
 * @param {Promise<void>} kept what this browser keeps is there
 */
async function shareDrafts(messenger, kept) {
  const { connection, drafts } = messenger;
  const shared = new Loaded(async () => {
    const { DraftSync } = await import("./sync/draft_sync.js");
    return new DraftSync(drafts, {
      open: () => connection.state === "open",
      send: (frame) => connection.send(frame),
      fetch: api.drafts,
    });
  });
  const compare = async () => {
    if (connection.state !== "open") return shared.now?.disconnected();
    const loaded = await shared.load();
    if (loaded) void loaded.compare();
    else setTimeout(compare, AGAIN_MS);
  };
  const tell = drafts.onwritten;
  drafts.onwritten = (unfinished) => {
    tell(unfinished);
    shared.now?.written(unfinished);
  };
  messenger.addEventListener("drafted", (event) => {
    const { detail } = /** @type {CustomEvent} */ (event);
    if (detail.type === "draft") shared.now?.receive(detail);
    else shared.now?.saved(detail);
  });
  addEventListener("pagehide", () => shared.now?.flush());
  document.addEventListener("visibilitychange", () => shared.now?.flush());
  await kept; // it may be newer
  messenger.addEventListener("connection", () => void compare());
  await compare();
}

/** Words that depend on the language or on what time it is. */
function renderAll() {
  for (const part of [people, header, thread, composer, ...lines]) part.render();
}

/** @param {Messenger} messenger */
function showTitle(messenger) {
  const { unread } = messenger;
  const title = unread ? `(${unread > 99 ? "99+" : unread}) chatify` : "chatify";
  if (document.title !== title) document.title = title;
}

/** What is on screen: a name, "" for the list alone. @type {string | undefined} */
let shownName;
/** Whether the person has signed out in another tab: then nothing of theirs is kept. */
let signedOutHere = false;
/** Whether the way back to the list leads to the search in it. */
let searching = false;

/** Shows what the address names. @param {Messenger} messenger */
async function route(messenger) {
  const name = nameInAddress();
  const left = messenger.open;
  app.toggleAttribute("data-open", name !== "");
  find(document, ".nothing").hidden = name !== "";
  find(document, ".open").hidden = name === "";
  if (name !== "" && shownName === "" && history.state === null) history.replaceState({ fromList: true }, "");
  const isFirst = shownName === undefined;
  if (!isFirst) people.clear(); // not what somebody has typed while the page was coming
  shownName = name;
  if (name === "") {
    messenger.show(undefined);
    if (searching) people.focusSearch();
    else if (left !== undefined) people.focusLine(left);
    searching = false;
    return;
  }
  const from = isFirst ? document.body : document.activeElement;
  let peer = messenger.knownName(name);
  if (peer === undefined) {
    // Until it is known whose conversation this is, nobody writes into the one before.
    show(messenger, undefined, name);
    thread.expect();
    peer = await messenger.find(name);
    if (nameInAddress() !== name) return; // gone on meanwhile
  }
  show(messenger, peer, name);
  if (peer === undefined) {
    header.show(name, { isNobody: true });
    thread.showNobody(name);
  }
  const { activeElement } = document;
  const searches = activeElement instanceof HTMLInputElement && activeElement.value !== "";
  if (searches || (activeElement !== from && activeElement !== document.body)) return; // they went on to something else
  if (isTouch() || peer === undefined) header.focusName();
  else composer.focusText();
}

/**
 * @param {Messenger} messenger
 * @param {string | undefined} peer whose conversation is on screen, as far as that is known
 * @param {string} name as the address has it
 */
function show(messenger, peer, name) {
  messenger.show(peer);
  header.show(peer ?? name);
  composer.hidden = peer === undefined;
  composer.show(peer);
  thread.show(peer);
}

/**
 * While an input method composes a word (Japanese, Greek accents …), its keys choose and end that word and do nothing here. In Safari the
 * Enter that ends one comes after the composition, told only by its code.
 *
 * @param {KeyboardEvent} event
 */
function leaveToInputMethod(event) {
  if (event.isComposing || event.keyCode === 229) event.stopImmediatePropagation();
}

/** Keys that do the same wherever one is. @param {KeyboardEvent} event */
function keyPressed(event) {
  if (event.defaultPrevented || event.altKey || document.querySelector("dialog[open]")) return;
  const control = event.ctrlKey || event.metaKey;
  const writing = /** @type {Element} */ (event.target).matches("input, textarea");
  const single = !control && !writing && safeLocalStorage().getItem(SINGLE_KEYS) !== "off";
  // By its place on the keyboard: a Greek one has a κ there.
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
  searching = true;
  goBack();
}

async function openKeys() {
  const sheet = await import("./elements/keys_sheet.js").catch(() => undefined);
  await sheet?.openKeys();
}

/** Whether there is room for one pane only. */
function isNarrow() {
  return !matchMedia("(min-width: 720px)").matches;
}

function nameInAddress() {
  try {
    return decodeURIComponent(location.hash.slice(1));
  } catch {
    return ""; // "#%zz" is nobody
  }
}

/** Back to the list: where it was come from, the browser's own way; else without leaving this step in the history. */
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
 * @param {Loaded<unknown>} attention
 * @param {() => Promise<void>} leave forgets what this browser keeps of the person
 */
function startMenu(messenger, attention, leave) {
  const menu = find(document, "#menu");
  /** What only the menu shows. */
  const load = () => {
    void import("./elements/invite_link.js").catch(() => {});
    void attention.load();
  };
  if (menu.matches(":popover-open"))
    load(); // a menu opens before its scripts are there
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
    await messenger.outbox.load(); // other tabs may have written too
    const { size } = messenger.outbox;
    if (size > 0 && !confirm(t("sign_out_unsent", { count: size }))) return;
    try {
      await api.me(); // who signs out where nobody hears it would still be signed in
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
  const me = await whoAmI();
  if (me === undefined) {
    await eraseOfflineCopies();
    location.replace("/login");
  } else {
    await eraseAllExcept(me);
    rememberName(me);
    if (!goesBack(me)) await start(me, true);
  }
} else {
  await start(remembered, false);
}
pageStarted();

/** Once the page stands still: it must not wait for what only matters without a network. */
async function keepForOffline() {
  const offline = await import("./sync/service_worker.js").catch(() => undefined); // the network is gone: the next visit keeps it
  await offline?.cachePage();
}

if (document.readyState === "complete") setTimeout(keepForOffline, STILL_MS);
else addEventListener("load", () => setTimeout(keepForOffline, STILL_MS));
