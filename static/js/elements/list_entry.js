/** Renders an entry of the list: a conversation, or a user found by a search. */

import { pendingTick } from "../store/pending.js";
import { find, setAvatar, setText, setTick } from "../util/dom.js";
import { previewText } from "../util/file_text.js";
import { plainText } from "../util/message_format.js";
import { searchKey } from "../util/names.js";
import { shortTime } from "../util/time.js";
import { language, t } from "../util/translate.js";

/** @import { Chat } from "../chat_model.js" */
/** @import { ListEntry } from "../store/conversation_store.js" */

/** A name of this length is shown whole, with its `@`. */
const SHORT_HANDLE = 11;
const LINE_MAX = 120;

/**
 * A user's name in the list; the user's own is that of the notes.
 * @param {Chat} chat
 * @param {string} name
 */
export function nameInList({ me, profiles }, name) {
  return name === me ? t("notes") : profiles.shown(name);
}

/**
 * Whether a user's name, or that in the list, contains `query`.
 * @param {Chat} chat
 * @param {string} name
 * @param {string} query a search key
 */
export function contains(chat, name, query) {
  return namesOf(chat, name).some((each) => searchKey(each).includes(query));
}

/**
 * The same for the beginning of a word in it.
 * @param {Chat} chat
 * @param {string} name
 * @param {string} query a search key
 */
export function begins(chat, name, query) {
  return namesOf(chat, name)
    .map(searchKey)
    .some((folded) => folded.startsWith(query) || folded.split(/[\s_.-]/u).some((part) => part.startsWith(query)));
}

/** @param {Chat} chat @param {string} name */
function namesOf(chat, name) {
  return [nameInList(chat, name), name];
}

/**
 * @param {HTMLElement} element
 * @param {ListEntry} entry
 * @param {Chat} chat
 */
export function showEntry(element, { peer, preview, pending, unread, conversation }, chat) {
  const { isMuted, isPinned, isBlocked } = conversation;
  const isMarked = unread === 0 && conversation.isMarkedUnread;
  const typing = !isBlocked && chat.people.presence.isTyping(peer);
  const failed = !isBlocked && pending?.state === "failed";
  const isOpen = chat.conversations.open === peer; // then the draft is on screen
  const draft = typing || failed || isBlocked || isOpen ? "" : oneLine(chat.drafts.of(peer)).trim();
  const newest = isBlocked
    ? t("blocked_row")
    : preview?.deleted && !pending
      ? t("message_deleted")
      : lineOf(pending ?? preview);
  const text = typing ? t("typing") : failed ? t("not_sent") : draft || newest;
  const when = shortTime(pending?.at ?? preview?.at ?? 0);
  const mine = !isBlocked && preview?.from === chat.me && !preview.deleted && peer !== chat.me;
  const tick = pending ? pendingTick(pending) : mine ? conversation.markOf({ seq: conversation.lastSeq }) : undefined;
  const content = [typing, failed, draft !== "", text, when, tick, unread, isMuted, isPinned, isMarked, isBlocked].join(
    " ",
  );
  if (!showPerson(element, peer, chat, content)) return;
  find(element, ".entry").classList.toggle("blocked", isBlocked);
  find(element, ".entry").classList.toggle("has-unread", (unread > 0 || isMarked) && !isMuted);
  const line = find(element, ".preview");
  line.classList.toggle("live", typing);
  line.classList.toggle("failed", failed && !typing);
  if (draft) line.dataset.draft = t("draft");
  else delete line.dataset.draft;
  setText(line, text);
  setText(find(element, "time"), when);
  setTick(element, tick);
  find(element, ".muted").toggleAttribute("hidden", !isMuted);
  find(element, ".pinned").toggleAttribute("hidden", !isPinned);
  setText(find(element, ".quiet"), [isMuted && t("muted"), isPinned && t("pinned")].filter(Boolean).join(", "));
  find(element, ".badge").hidden = unread === 0 && !isMarked;
  find(element, ".badge").classList.toggle("mark", isMarked);
  find(element, ".badge").classList.toggle("low", isMuted);
  setText(find(element, ".number"), isMarked ? "" : unread > 99 ? t("many", { count: 99 }) : String(unread));
  setText(find(element, ".unread"), isMarked ? t("marked_unread") : unread ? t("unread", { count: unread }) : "");
}

/**
 * Renders what entries of conversations and of found users share. Returns false for an unchanged
 * entry, which the caller skips.
 * @param {HTMLElement} element
 * @param {string} name
 * @param {Chat} chat
 * @param {string} [content] identifies the entry's other content; found users have none
 */
export function showPerson(element, name, chat, content = "") {
  const shown = nameInList(chat, name);
  const handle = name === chat.me ? "" : chat.profiles.handle(name);
  const profile = chat.profiles.of(name);
  const open = chat.conversations.open === name;
  const online = name !== chat.me && chat.people.presence.of(name)?.online === true;
  const renderKey = [language(), shown, handle, profile.photo, open, online, content].join(" ");
  if (element.dataset.renderKey === renderKey) return false;
  element.dataset.renderKey = renderKey;
  const link = /** @type {HTMLAnchorElement} */ (find(element, ".entry"));
  link.classList.toggle("only-name", content === "");
  link.dataset.name = name;
  link.href = `#${encodeURIComponent(name)}`;
  setAvatar(find(link, ".avatar"), name, profile);
  setText(find(link, ".name"), shown);
  setText(find(link, ".handle"), handle);
  find(link, ".handle").classList.toggle("short", handle.length <= SHORT_HANDLE);
  if (open) link.setAttribute("aria-current", "true");
  else link.removeAttribute("aria-current");
  find(link, ".dot").hidden = !online;
  setText(find(link, ".presence"), online ? t("online") : "");
  return true;
}

/** A message in one line. @param {Parameters<typeof previewText>[0] | undefined} message */
export function lineOf(message) {
  return message ? oneLine(previewText(message)) : "";
}

/**
 * The part of a text that fits an entry, without the marks of its format; more would cost layout
 * time and be cut off. Marks that are not closed within four times that stay.
 * @param {string} text
 */
export function oneLine(text) {
  return plainText(text.slice(0, 4 * LINE_MAX))
    .slice(0, LINE_MAX)
    .replace(/\s+/gu, " ");
}
