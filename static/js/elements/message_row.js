/** The rows of a thread: messages, which the keyboard can focus, and the dividers between them. */

import { cloneTemplate, find, importAgain, setText, setTick } from "../util/dom.js";
import { caption, fileKind } from "../util/file_text.js";
import { formatted } from "../util/message_format.js";
import { clock, dayText, fullTime, timeRevision } from "../util/time.js";
import { errorText, language, t } from "../util/translate.js";
import { partNode } from "./message_parts.js";

/** @import { Item, ShownMessage } from "./thread_items.js" */

/** What each row shows. @type {WeakMap<HTMLElement, { key: string, text: string, extra: string }>} */
const rendered = new WeakMap();

/**
 * Renders quotes, reactions and the buttons of code blocks; loaded with the first of them.
 * @type {typeof import("./message_extras.js") | undefined}
 */
let extras;
let isLoadingExtras = false;
/** Fills the boxes of files; loaded with the first of them. @type {typeof import("./message_files.js") | undefined} */
let files;
let isLoadingFiles = false;
/** The sides of a picture's box are at most in this proportion. */
const RATIO_MAX = 2.5;

/** @param {Item<ShownMessage>} item */
export function makeRow(item) {
  if (item.kind === "message") return cloneTemplate("message");
  const divider = cloneTemplate("day");
  divider.classList.toggle("new", item.kind === "new");
  return divider;
}

/**
 * @param {HTMLElement} row
 * @param {Item<ShownMessage>} item
 */
export function updateRow(row, item) {
  if (item.kind !== "message") {
    setText(row, item.kind === "day" ? dayText(item.at) : t("unread_divider"));
    return;
  }
  const { message, first, last } = item;
  const { seq, tick, at, code, peerName, mine, editedAt, deleted, replyTo, reactions, upload, ref = "" } = message;
  const file = deleted ? undefined : message.file;
  const text = deleted ? t("message_deleted") : caption(message);
  const key = [
    language(),
    timeRevision(),
    seq,
    tick,
    code,
    at,
    first,
    last,
    editedAt,
    deleted,
    ref,
    peerName,
    item.tile,
    file?.id,
    files !== undefined,
  ].join(" ");
  const hasExtras =
    !deleted && (replyTo !== undefined || reactions !== undefined || upload !== undefined || text.includes("```"));
  const extra = hasExtras ? JSON.stringify([reactions, message.answered, upload, extras !== undefined]) : "";
  const before = rendered.get(row);
  // Unchanged, as most rows of a long thread are.
  if (before?.key === key && before.text === text && before.extra === extra) return;
  rendered.set(row, { key, text, extra });
  row.dataset.seq = String(seq);
  row.dataset.ref = ref;
  row.classList.toggle("mine", mine);
  row.classList.toggle("emoji", item.emoji);
  row.classList.toggle("deleted", deleted === true);
  row.classList.toggle("first", first);
  row.classList.toggle("run-end", last);
  row.dataset.tile = item.tile ?? "";
  row.classList.toggle("waiting", tick === "sending" || tick === "failed");
  if (before?.text !== text) find(row, ".text").replaceChildren(...formatted(text).map(partNode));
  setText(find(row, ".author"), `${mine ? t("from_me") : peerName}: `);
  const time = find(row, "time");
  const isEdited = editedAt !== undefined && !deleted;
  row.classList.toggle("edited", isEdited);
  setText(time, isEdited ? `${clock(at)} · ${t("edited")}` : clock(at));
  time.dateTime = new Date(at).toISOString();
  find(row, ".bubble").title = isEdited ? `${fullTime(at)} (${t("edited")} ${fullTime(editedAt)})` : fullTime(at);
  setTick(row, tick);
  showFailure(row, message);
  const box = fileBox(row, file);
  row.classList.toggle("captioned", box !== undefined && text !== "");
  if (files && file && box) files.showFile(box, file, message);
  else if (box && !isLoadingFiles) void loadFiles();
  if (extras) extras.showExtras(row, message);
  else if (hasExtras && !isLoadingExtras) void loadExtras();
}

/**
 * The box of a message's file, which has its final size before the module that fills it is loaded;
 * removed without a file.
 * @param {HTMLElement} row
 * @param {ShownMessage["file"]} file
 */
function fileBox(row, file) {
  let box = /** @type {HTMLElement | null} */ (row.querySelector(".file"));
  row.dataset.file = file ? fileKind(file) : "";
  if (!file) {
    box?.remove();
    return undefined;
  }
  if (!box) {
    box = document.createElement("div");
    box.className = "file";
    box.setAttribute("role", "group");
    find(row, ".text").before(box);
  }
  const { width = 4, height = 3, type } = file;
  const kind = fileKind(file);
  box.setAttribute("aria-label", kind === "file" ? file.name : t(kind === "voice" ? "voice_message" : kind));
  box.classList.toggle("audio", type.startsWith("audio/"));
  box.style.setProperty("--ratio", String(Math.min(RATIO_MAX, Math.max(1 / RATIO_MAX, width / height))));
  box.style.setProperty("--width", `${width}px`);
  return box;
}

/** Loads the module that fills the boxes of files, then renders the thread again. */
async function loadFiles() {
  isLoadingFiles = true;
  const load = importAgain(() => import("./message_files.js"), "elements/message_files.js");
  const module = await load.catch(() => undefined);
  isLoadingFiles = false;
  await module?.ready.catch(() => {});
  if (!module) return; // no network: the next rendering tries again
  files = module;
  document.dispatchEvent(new Event("extras"));
}

/** Loads the module that renders extras, then renders the thread again. */
async function loadExtras() {
  isLoadingExtras = true;
  const load = importAgain(() => import("./message_extras.js"), "elements/message_extras.js");
  const module = await load.catch(() => undefined);
  isLoadingExtras = false;
  await module?.ready.catch(() => {});
  if (!module) return; // no network: the next rendering tries again
  extras = module;
  document.dispatchEvent(new Event("extras")); // not on the row: its conversation may have been closed meanwhile
}

/**
 * @param {HTMLElement} row
 * @param {ShownMessage} message
 */
function showFailure(row, { tick, ref = "", code = "" }) {
  let failure = /** @type {HTMLElement | null} */ (row.querySelector(".failure"));
  if (tick !== "failed") {
    failure?.remove();
    return;
  }
  if (!failure) row.append((failure = cloneTemplate("failure")));
  failure.dataset.ref = ref;
  setText(find(failure, ".why"), errorText(code));
}

/**
 * Author, text, time and delivery state of a message, for screen readers.
 * @param {HTMLElement} message
 */
export function messageLabel(message) {
  const texts = [".author", ".quote", ".file", ".upload .about", ".text", "time", ".state", ".reactions"].map(
    (selector) => {
      const part = message.querySelector(selector);
      return (part?.getAttribute("aria-label") ?? part?.textContent ?? "").trim();
    },
  );
  return texts.filter(Boolean).join(" ");
}

/**
 * Focuses a message.
 * @param {Element | null | undefined} message
 */
export function focusMessage(message) {
  if (!(message instanceof HTMLElement)) return;
  message.tabIndex = -1;
  message.setAttribute("aria-label", messageLabel(message));
  message.addEventListener("blur", () => message.removeAttribute("aria-label"), { once: true });
  message.focus();
}

/**
 * Where a key moves the focus from a message; undefined for other keys.
 * @param {KeyboardEvent} event
 * @returns {Element | "first" | "last" | "composer" | undefined}
 */
export function targetOf(event) {
  const message = /** @type {Element} */ (event.target).closest(".message");
  if (!message || event.ctrlKey || event.altKey || event.metaKey || event.shiftKey) return undefined;
  switch (event.key) {
    case "ArrowUp":
      return sibling(message, "previousElementSibling") ?? message;
    case "ArrowDown":
      return sibling(message, "nextElementSibling") ?? "composer";
    case "Home":
      return "first";
    case "End":
      return "last";
    case "Escape":
      return "composer";
    default:
      return undefined;
  }
}

/**
 * @param {Element} message
 * @param {"previousElementSibling" | "nextElementSibling"} side
 */
function sibling(message, side) {
  let next = message[side];
  while (next && !next.classList.contains("message")) next = next[side];
  return next;
}
