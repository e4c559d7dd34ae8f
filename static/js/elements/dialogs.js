/** What dialogs share: they are built, styled and removed on demand, because most visits open none. */

import { fileUrl } from "../util/dom.js";

/** A style that failed to load is requested again after this time. */
const RETRY_MS = 2_000;

/** @type {Map<string, Promise<void>>} by file name */
const styles = new Map();

/**
 * Shows a dialog, unless another one opened meanwhile; closing it removes it and restores the focus.
 * @param {HTMLDialogElement} dialog
 */
export async function openDialog(dialog) {
  await loadStyle("dialogs.css");
  if (document.querySelector("dialog[open]")) return;
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}

/**
 * Creates an element with a text.
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {string} [text]
 */
export function make(tag, text = "") {
  const element = document.createElement(tag);
  element.textContent = text;
  return element;
}

/**
 * Loads a style once. If that fails, resolves anyway and requests it again until it has loaded.
 * @param {string} name of the file in `css/`
 */
export function loadStyle(name) {
  const style = styles.get(name) ?? requestStyle(name);
  styles.set(name, style);
  return style;
}

/** @param {string} name @returns {Promise<void>} */
function requestStyle(name) {
  return new Promise((resolve) => {
    const link = document.createElement("link");
    link.rel = "stylesheet";
    link.href = fileUrl(`css/${name}`);
    link.addEventListener("load", () => resolve());
    link.addEventListener("error", () => {
      link.remove();
      setTimeout(requestStyle, RETRY_MS, name);
      resolve();
    });
    document.head.append(link);
  });
}
