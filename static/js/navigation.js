/** Navigation and page-wide shortcuts, and the menu with sign-out. */

import { safeLocalStorage, SINGLE_KEYS } from "./store/browser_storage.js";
import * as api from "./sync/api.js";
import { find, importAgain, isTouch, setText } from "./util/dom.js";
import { t } from "./util/translate.js";

/**
 * @typedef {object} Elements
 * @property {import("./elements/conversation_list.js").ConversationList} conversationList
 * @property {import("./elements/chat_header.js").ChatHeader} header
 * @property {import("./elements/chat_thread.js").ChatThread} thread
 * @property {import("./elements/message_composer.js").MessageComposer} composer
 */

/** @type {import("./chat_model.js").Chat} */
let chat;
/** @type {Elements} */
let elements;
/** The name in the URL on screen; "" for the list alone. @type {string | undefined} */
let shownName;
/** Whether going back to the list focuses the search. */
let returnsToSearch = false;
/** The message to open a conversation at. @type {{ peer: string, show: () => void } | undefined} */
let target;
/** Whether the search is kept because the open message is one of its hits. */
let keepsSearch = false;

/**
 * Call `route` once the stored data is loaded.
 * @param {import("./chat_model.js").Chat} model
 * @param {Elements} parts
 */
export function startNavigation(model, parts) {
  chat = model;
  elements = parts;
  addEventListener("hashchange", () => void route());
  addEventListener("keydown", ignoreInputMethodKeys, { capture: true });
  addEventListener("keydown", onKey);
  for (const button of document.querySelectorAll(".nothing .find, .greeting .find"))
    button.addEventListener("click", search);
  find(document, ".open").addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
    if (event.key !== "Escape" || document.querySelector(":popover-open")) return;
    if (isNarrow()) goBack();
    else elements.conversationList.focusEntry(chat.conversations.open ?? "");
  });
  navigator.serviceWorker?.addEventListener("message", ({ data }) => {
    if (typeof data?.open === "string") location.hash = encodeURIComponent(data.open);
  });
}

/**
 * @param {import("./chat_model.js").Chat} model
 * @param {{ load: () => void, signOut: () => Promise<void> }} actions load: loads what only the menu shows; signOut: erases the user's data in this browser
 */
export function startMenu({ me, outbox, profiles }, { load, signOut }) {
  const menu = find(document, "#menu");
  const loadMenu = () => {
    void importAgain(() => import("./elements/invite_link.js"), "elements/invite_link.js").catch(() => {});
    load();
  };
  if (menu.matches(":popover-open")) loadMenu(); // the menu can open before its scripts have loaded
  menu.addEventListener("beforetoggle", loadMenu);
  const showName = () => {
    setText(find(menu, ".name"), profiles.shown(me));
    setText(find(menu, ".handle"), profiles.handle(me));
    find(menu, ".handle").hidden = profiles.handle(me) === "";
  };
  profiles.on("changed", showName);
  showName();
  const notes = find(menu, ".notes");
  notes.href = `#${encodeURIComponent(me)}`;
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
    await outbox.load(); // other tabs may have stored messages too
    if (outbox.size > 0 && !confirm(t("sign_out_unsent", { count: outbox.size }))) return;
    try {
      // Signing out needs the server; otherwise the session would live on.
      await api.fetchUsername();
    } catch (error) {
      if (!(error instanceof api.SignedOut)) return alert(api.failureText(error));
    }
    await signOut();
    form.submit();
  });
}

/**
 * Goes back to the list: by the browser's history if the user came from there, otherwise by
 * replacing the entry.
 */
export function goBack() {
  if (history.state?.fromList) {
    history.back();
    return;
  }
  history.replaceState(null, "", location.pathname);
  dispatchEvent(new HashChangeEvent("hashchange"));
}

/**
 * Opens a conversation at a message that a search found.
 * @param {string} peer
 * @param {() => void} show shows the message in the open conversation
 */
export function openAtMessage(peer, show) {
  if (chat.conversations.open === peer && shownName) return show();
  target = { peer, show };
  location.hash = encodeURIComponent(peer);
}

/** Opens the dialog of keyboard shortcuts. */
async function openKeys() {
  const sheet = await importAgain(() => import("./elements/keys_sheet.js"), "elements/keys_sheet.js").catch(
    () => undefined,
  );
  await sheet?.openKeys();
}

/** Shows the conversation in the URL. */
export async function route() {
  const { conversationList, header, thread, composer } = elements;
  const name = nameInUrl();
  const previous = chat.conversations.open;
  find(document, ".app").toggleAttribute("data-open", name !== "");
  find(document, ".nothing").hidden = name !== "";
  find(document, ".open").hidden = name === "";
  if (name !== "" && shownName === "" && history.state === null) history.replaceState({ fromList: true }, "");
  const isFirst = shownName === undefined;
  const message = target?.peer === name ? target : undefined;
  target = undefined;
  if (name !== "") keepsSearch = message !== undefined;
  if (!isFirst && !keepsSearch) conversationList.clear(); // keeps what the user typed while the page loaded
  shownName = name;
  if (name === "") {
    chat.conversations.show(undefined);
    if (returnsToSearch) conversationList.focusSearch();
    else if (keepsSearch) conversationList.focusHit();
    else if (previous !== undefined) conversationList.focusEntry(previous);
    returnsToSearch = false;
    return;
  }
  const from = isFirst ? document.body : document.activeElement;
  let peer = chat.people.knownName(name);
  if (peer === undefined) {
    // Hide the previous conversation's composer until the name is resolved.
    show(undefined, name);
    thread.showPlaceholder();
    // Deleted users are in no search result, but in the lists of the users they wrote with.
    peer = (await chat.people.find(name)) ?? (await chat.loader.loadRow(name));
    if (nameInUrl() !== name) return; // the user navigated meanwhile
  }
  show(peer, name, { isHeld: message !== undefined && peer !== undefined });
  if (message && peer !== undefined) return message.show();
  if (peer === undefined) {
    header.show(name, { isUnknown: true });
    thread.showUnknown(name);
  }
  const { activeElement } = document;
  const searches = activeElement instanceof HTMLInputElement && activeElement.value !== "";
  // The user moved the focus meanwhile.
  if (searches || (activeElement !== from && activeElement !== document.body)) return;
  if (isTouch() || peer === undefined) header.focusName();
  else composer.focusText();
}

/**
 * @param {string | undefined} peer the peer's name, if known
 * @param {string} name the name in the URL
 * @param {{ isHeld?: boolean }} [options] as for `ChatThread.show`
 */
function show(peer, name, options) {
  const { header, thread, composer } = elements;
  chat.conversations.show(peer);
  header.show(peer ?? name);
  composer.hidden = peer === undefined;
  composer.show(peer);
  thread.show(peer, options);
}

/**
 * Ignores keys while an input method composes a word (Japanese, Greek accents …). In Safari the
 * Enter that ends a composition is dispatched after it and recognizable only by key code 229.
 *
 * @param {KeyboardEvent} event
 */
function ignoreInputMethodKeys(event) {
  if (event.isComposing || event.keyCode === 229) event.stopImmediatePropagation();
}

/** @param {KeyboardEvent} event */
function onKey(event) {
  if (event.defaultPrevented || event.altKey || document.querySelector("dialog[open]")) return;
  const isControl = event.ctrlKey || event.metaKey;
  const isWriting = /** @type {Element} */ (event.target).matches("input, textarea");
  const isSingle = !isControl && !isWriting && safeLocalStorage().getItem(SINGLE_KEYS) !== "off";
  // By position on the keyboard: a Greek layout has a κ there.
  if ((isControl && !event.shiftKey && event.code === "KeyK") || (isSingle && event.key === "/")) search();
  else if (isSingle && event.key === "?") void openKeys();
  else return;
  event.preventDefault();
}

function search() {
  if (!isNarrow() || !shownName) {
    elements.conversationList.focusSearch();
    return;
  }
  returnsToSearch = true;
  goBack();
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
