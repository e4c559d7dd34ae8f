/** The chat page: builds its parts, follows the address, and lets a person leave. */

import * as api from "./api.js";
import "./chat_header.js";
import "./chat_thread.js";
import { Connection } from "./connection.js";
import "./connection_line.js";
import { find, isTouch, setText } from "./dom.js";
import "./language.js";
import { LocalStore } from "./local_store.js";
import "./message_composer.js";
import { Messenger } from "./messenger.js";
import { Outbox } from "./outbox.js";
import "./people_list.js";
import { word } from "./words.js";

const MINUTE_MS = 60_000;

/** @type {HTMLElement} */
const app = find(document, ".app");
/** @type {import("./people_list.js").PeopleList} */
const people = find(document, "people-list");
/** @type {import("./chat_header.js").ChatHeader} */
const header = find(document, "chat-header");
/** @type {import("./chat_thread.js").ChatThread} */
const thread = find(document, "chat-thread");
/** @type {import("./message_composer.js").MessageComposer} */
const composer = find(document, "message-composer");
/** @type {NodeListOf<import("./connection_line.js").ConnectionLine>} */
const lines = document.querySelectorAll("connection-line");

/** Who is signed in; without an answer it asks again, for a page that knows nobody can do nothing. */
async function whoAmI() {
  for (;;) {
    try {
      return await api.me();
    } catch (error) {
      if (error instanceof api.SignedOut) return undefined;
      await new Promise((resolve) => setTimeout(resolve, 1_000 + Math.random() * 1_000));
    }
  }
}

/** @param {string} me */
function start(me) {
  const store = new LocalStore(browserStorage(), me);
  const outbox = new Outbox(store);
  const address = new URL(`/ws/${encodeURIComponent(me)}`, location.href);
  address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  address.hash = "";
  const connection = new Connection(address.href);
  const messenger = new Messenger(me, { api, connection, outbox });

  let leaving = false;
  messenger.addEventListener("ended", () => {
    if (!leaving) location.replace("/"); // the server knows whether that is the login or another person's chat
  });
  messenger.addEventListener("people", () => showTitle(messenger));
  for (const part of [people, header, thread, composer, ...lines]) part.start(messenger);
  composer.onsent = () => thread.toEnd();
  header.onback = () => goBack();

  addEventListener("online", () => connection.probe());
  addEventListener("offline", () => connection.probe());
  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState === "visible") connection.probe();
  });
  // A draft that left the store was sent or thrown away by another tab.
  window.addEventListener("storage", (event) => {
    const ref = store.refOf(event.key);
    if (ref && event.newValue === null) outbox.discard(ref);
  });
  document.addEventListener("languagechange", () => renderAll());
  setInterval(renderAll, MINUTE_MS);

  find(document, ".open").addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
    if (event.key !== "Escape" || event.isComposing) return;
    if (isNarrow()) goBack();
    else people.focusLine(messenger.open ?? "");
  });
  addEventListener("hashchange", () => void route(messenger));
  startMenu(messenger, () => {
    leaving = true;
    connection.end();
    outbox.wipe();
  });
  messenger.start();
  void route(messenger);
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

/** Shows what the address names. @param {Messenger} messenger */
async function route(messenger) {
  const name = nameInAddress();
  const left = messenger.open;
  const peer = name === "" ? undefined : await messenger.find(name);
  if (nameInAddress() !== name) return; // gone on meanwhile
  app.toggleAttribute("data-open", name !== "");
  find(document, ".nothing").hidden = name !== "";
  find(document, ".open").hidden = name === "";
  if (name !== "" && shownName === "" && history.state === null) history.replaceState({ fromList: true }, "");
  shownName = name;
  messenger.show(peer);
  people.clear();
  if (name === "") {
    if (left !== undefined) people.focusLine(left);
    return;
  }
  header.show(peer ?? name);
  composer.hidden = peer === undefined;
  composer.show(peer);
  if (peer === undefined) thread.showNobody(name);
  else thread.show(peer);
  if (isTouch() || peer === undefined) header.focusName();
  else composer.focusText();
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
 * @param {() => void} leave forgets what this browser keeps of the person
 */
function startMenu(messenger, leave) {
  const menu = find(document, "#menu");
  setText(find(menu, ".name"), messenger.me);
  const notes = find(menu, ".notes");
  notes.href = `#${encodeURIComponent(messenger.me)}`;
  notes.addEventListener("click", () => menu.hidePopover());
  find(menu, ".sign-out").addEventListener("submit", (/** @type {Event} */ event) => {
    const { size } = messenger.outbox;
    if (size > 0 && !confirm(word("sign_out_unsent", { count: size }))) event.preventDefault();
    else leave();
  });
}

/** The browser's storage, or one that keeps nothing where it is forbidden. */
function browserStorage() {
  try {
    return localStorage;
  } catch {
    return { length: 0, key: () => null, getItem: () => null, setItem: () => {}, removeItem: () => {} };
  }
}

const me = await whoAmI();
if (me === undefined) location.replace("/login");
else start(me);
