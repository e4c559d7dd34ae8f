/** Fills the boxes of files in messages: pictures, players, and cards to download. Loaded with the first of them. */

import { setText } from "../util/dom.js";
import { sizeText } from "../util/file_size.js";
import { caption, fileKind } from "../util/file_text.js";
import { language, t } from "../util/translate.js";
import { icon } from "./action_parts.js";
import { make } from "./dialogs.js";
import { loadImage, placeholder, ready } from "./file_parts.js";

/** @import { MessageFile } from "../store/message_window.js" */
/** @import { ShownMessage } from "./thread_items.js" */

export { ready };

/** Icons by type, as a prefix. @type {[string, Parameters<typeof icon>[0]][]} */
const ICONS = [
  ["audio/", "music"],
  ["text/", "file-text"],
  ["application/pdf", "file-text"],
  ["application/zip", "file-archive"],
  ["application/gzip", "file-archive"],
];

/**
 * Shows a file in its box.
 * @param {HTMLElement} box
 * @param {MessageFile} file
 * @param {ShownMessage} message
 */
export function showFile(box, file, message) {
  if (box.dataset.id !== file.id) {
    box.dataset.id = file.id;
    box.replaceChildren(...content(file));
  }
  const shown = language();
  if (box.dataset.language === shown) return;
  box.dataset.language = shown;
  name(box, file, message);
}

/** @param {MessageFile} file @returns {HTMLElement[]} */
function content(file) {
  const url = `/files/${encodeURIComponent(file.id)}`;
  if (fileKind(file) === "photo") return [picture(file, url)];
  if (file.type.startsWith("video/")) return [player("video", url)];
  if (file.type.startsWith("audio/"))
    return [...(fileKind(file) === "voice" ? [] : [title(file)]), player("audio", url)];
  return [card(file, url)];
}

/**
 * @param {MessageFile} file
 * @param {string} url
 */
function picture(file, url) {
  const frame = make("div");
  frame.className = "picture";
  const button = make("button");
  button.type = "button";
  button.className = "open-picture";
  button.tabIndex = -1; // arrow keys reach it from the focused row
  button.addEventListener("click", () =>
    button.dispatchEvent(new CustomEvent("view", { bubbles: true, detail: file.id })),
  );
  frame.append(placeholder(file), button);
  loadImage(frame, `${url}/preview`, { isLazy: true });
  return frame;
}

/**
 * @param {"audio" | "video"} tag
 * @param {string} url
 */
function player(tag, url) {
  const element = document.createElement(tag);
  element.controls = true;
  element.preload = "metadata";
  if (element instanceof HTMLVideoElement) element.playsInline = true;
  element.src = url;
  return element;
}

/** @param {MessageFile} file */
function title(file) {
  const line = make("bdi", file.name);
  line.className = "file-name";
  line.title = file.name;
  return line;
}

/**
 * @param {MessageFile} file
 * @param {string} url
 */
function card(file, url) {
  const link = make("a");
  link.className = "card";
  link.href = url;
  link.download = file.name;
  link.tabIndex = -1;
  const words = make("span");
  words.className = "words";
  const size = make("span");
  size.className = "size";
  const act = make("span");
  act.className = "visually-hidden";
  words.append(title(file), size, act);
  const type = make("span");
  type.className = "type";
  type.append(icon(ICONS.find(([prefix]) => file.type.startsWith(prefix))?.[1] ?? "file"));
  link.append(type, words, icon("download"));
  return link;
}

/**
 * Names the parts in the page's language.
 * @param {HTMLElement} box
 * @param {MessageFile} file
 * @param {ShownMessage} message
 */
function name(box, file, message) {
  const words = caption(message);
  for (const each of box.querySelectorAll("audio, video"))
    each.setAttribute("aria-label", box.getAttribute("aria-label") ?? "");
  for (const each of box.querySelectorAll(".open-picture"))
    each.setAttribute("aria-label", [t("file_photo_open"), words].filter(Boolean).join(": "));
  for (const each of box.querySelectorAll(".size")) setText(each, sizeText(file.size));
  for (const each of box.querySelectorAll(".card .visually-hidden")) setText(each, t("file_download"));
  for (const each of box.querySelectorAll(".load-failed span")) setText(each, t("file_failed"));
  for (const each of box.querySelectorAll(".load-failed button")) setText(each, t("try_again"));
}
