/** What dialogs share: they are built, styled and removed on demand, because most visits open none. */

import { fileUrl } from "../util/dom.js";

/** @type {Promise<unknown> | undefined} */
let style;

/**
 * Shows a dialog, unless another one opened meanwhile; closing it removes it and restores the focus.
 * @param {HTMLDialogElement} dialog
 */
export async function openDialog(dialog) {
  await loadStyle();
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

function loadStyle() {
  style ??= new Promise((resolve) => {
    const link = document.createElement("link");
    link.rel = "stylesheet";
    link.href = fileUrl("css/dialogs.css");
    for (const event of ["load", "error"]) link.addEventListener(event, resolve);
    document.head.append(link);
  });
  return style;
}
