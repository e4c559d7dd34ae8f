/** Words that come while the page is open: results and errors. They are said again when the language changes. */

import { find, setText } from "../util/dom.js";

/** @typedef {() => string} Words */

/** What stands where; as many as there are places for it in the page. @type {Map<Element, Words>} */
const said = new Map();

document.addEventListener("languagechange", () => {
  for (const [element, words] of said) setText(element, words());
});

/**
 * Says something in an element, or takes it back.
 * @param {HTMLElement} element
 * @param {Words} [words]
 */
export function announce(element, words) {
  if (words) said.set(element, words);
  else said.delete(element);
  setText(element, words?.() ?? "");
  if (element.dataset.error !== undefined) element.dataset.error = words ? "said" : "";
}

/**
 * Shows an error beside a field, or takes it away.
 * @param {HTMLInputElement} input
 * @param {Words} [words]
 */
export function showFieldError(input, words) {
  announce(find(document, `#${input.id}_error`), words);
  input.setAttribute("aria-invalid", String(words !== undefined));
}

/**
 * Shows what is wrong with the fields of a form and goes to the first of them; an error goes as soon as its field is touched.
 * @param {[HTMLInputElement, Words | undefined][]} faults
 * @returns {boolean} whether nothing is
 */
export function showFieldErrors(faults) {
  for (const [input, words] of faults) {
    showFieldError(input, words);
    input.addEventListener("input", () => showFieldError(input), { once: true });
  }
  const wrong = faults.find(([, words]) => words !== undefined);
  wrong?.[0].focus();
  return wrong === undefined;
}
