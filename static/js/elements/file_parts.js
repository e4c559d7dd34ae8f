/** What the parts that show files share: texts, style, and pictures. Loaded on demand. */

import { importAgain } from "../util/dom.js";
import { extendTranslations, t } from "../util/translate.js";
import { icon, ready as actionsReady } from "./action_parts.js";
import { loadStyle, make } from "./dialogs.js";

/** @import { MessageFile } from "../store/message_window.js" */

/** Resolves once texts and style are loaded; without them nothing here can be shown. */
export const ready = Promise.all([
  actionsReady,
  loadStyle("files.css"),
  extendTranslations({
    en: () => importAgain(() => import("../translations/files_en.js"), "translations/files_en.js"),
    el: () => importAgain(() => import("../translations/files_el.js"), "translations/files_el.js"),
  }),
]);

const [COLUMNS, ROWS] = [4, 3];

/**
 * The colors of a picture's equal parts, to be shown smoothly enlarged.
 * @param {MessageFile} file
 */
export function placeholder({ placeholder: base64 = "" }) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [COLUMNS, ROWS];
  canvas.setAttribute("aria-hidden", "true");
  const context = canvas.getContext("2d");
  if (!context) return canvas;
  const bytes = atob(base64);
  for (let part = 0; part * 3 + 2 < bytes.length; part++) {
    const [red, green, blue] = [0, 1, 2].map((offset) => bytes.charCodeAt(part * 3 + offset));
    context.fillStyle = `rgb(${red} ${green} ${blue})`;
    context.fillRect(part % COLUMNS, Math.floor(part / COLUMNS), 1, 1);
  }
  return canvas;
}

/**
 * Loads an image into an element. If that fails, shows a button that tries again.
 * @param {HTMLElement} parent
 * @param {string} src
 * @param {{ alt?: string, isLazy?: boolean, loaded?: (image: HTMLImageElement) => void }} [options] alt: "" where the parent has a name
 */
export function loadImage(parent, src, { alt = "", isLazy = false, loaded } = {}) {
  parent.querySelector(".load-failed")?.remove();
  const image = new Image();
  image.alt = alt;
  image.decoding = "async";
  image.draggable = false;
  if (isLazy) image.loading = "lazy";
  image.addEventListener("load", () => {
    image.classList.add("loaded");
    loaded?.(image);
  });
  image.addEventListener("error", () => {
    const hadFocus = parent.contains(document.activeElement);
    image.remove();
    const failed = make("div");
    failed.className = "load-failed";
    const button = make("button", t("try_again"));
    button.type = "button";
    button.addEventListener("click", (event) => {
      event.stopPropagation();
      loadImage(parent, src, { alt, loaded: loaded ?? (() => {}) });
    });
    failed.append(icon("image-off"), make("span", t("file_failed")), button);
    parent.append(failed);
    if (hadFocus) button.focus({ preventScroll: true });
  });
  image.src = src;
  parent.append(image);
  return image;
}
