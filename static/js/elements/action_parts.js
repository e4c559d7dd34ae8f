/**
 * What the parts that act on messages share: their texts, style and icons, loaded with the first of
 * them.
 */

import { fileUrl, importAgain } from "../util/dom.js";
import { extendTranslations } from "../util/translate.js";
import { loadStyle } from "./dialogs.js";

const SPRITE = fileUrl("icons/actions.svg");

/** Resolves once texts and style are loaded; without them nothing here can be shown. */
export const ready = Promise.all([
  loadStyle("actions.css"),
  extendTranslations({
    en: () => importAgain(() => import("../translations/actions_en.js"), "translations/actions_en.js"),
    el: () => importAgain(() => import("../translations/actions_el.js"), "translations/actions_el.js"),
  }),
]);

/**
 * An icon of `icons/actions.svg`, which `bun run icons` writes.
 * @param {"archive" | "archive-restore" | "bell" | "bell-off" | "bookmark" | "check-check" | "chevron-down" | "chevron-left" | "chevron-right" | "chevron-up" | "circle-check" | "clock" | "copy" | "corner-up-left" | "download" | "ellipsis" | "file" | "file-archive" | "file-text" | "forward" | "image" | "image-off" | "message-square-dot" | "music" | "pencil" | "pin" | "pin-off" | "plus" | "quote" | "reply" | "rotate-cw" | "search" | "smile-plus" | "trash-2" | "x" | "zoom-in" | "zoom-out"} name at lucide.dev
 */
export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  use.setAttribute("href", `${SPRITE}#icon-${name}`);
  svg.append(use);
  return svg;
}

/**
 * A button with an icon and a name for screen readers.
 * @param {Parameters<typeof icon>[0]} name
 * @param {string} label
 */
export function iconButton(name, label) {
  const button = document.createElement("button");
  button.type = "button";
  button.setAttribute("aria-label", label);
  button.title = label;
  button.append(icon(name));
  return button;
}
