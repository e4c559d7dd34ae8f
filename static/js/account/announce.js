/** Shows results and errors, and translates them again when the language changes. */

import { find, setText } from "../util/dom.js";

/** @typedef {() => string} Message */

/** The message shown in each element. @type {Map<Element, Message>} */
const messages = new Map();

document.addEventListener("languagechange", () => {
  for (const [element, message] of messages) setText(element, message());
});

/**
 * Shows a message in an element, or removes it.
 * @param {HTMLElement} element
 * @param {Message} [message]
 */
export function announce(element, message) {
  if (message) messages.set(element, message);
  else messages.delete(element);
  setText(element, message?.() ?? "");
  if (element.dataset.error !== undefined) element.dataset.error = message ? "messages" : "";
}

/**
 * Shows an error beside a field, or removes it.
 * @param {HTMLInputElement} input
 * @param {Message} [message]
 */
export function showFieldError(input, message) {
  announce(find(document, `#${input.id}_error`), message);
  input.setAttribute("aria-invalid", String(message !== undefined));
}

/**
 * Shows the errors of a form's fields and focuses the first. Editing a field removes its error.
 * @param {[HTMLInputElement, Message | undefined][]} errors
 * @returns {boolean} whether there is no error
 */
export function showFieldErrors(errors) {
  for (const [input, message] of errors) {
    showFieldError(input, message);
    input.addEventListener("input", () => showFieldError(input), { once: true });
  }
  const wrong = errors.find(([, message]) => message !== undefined);
  wrong?.[0].focus();
  return wrong === undefined;
}
