/** The keyboard focus among the messages of a thread. */

import { find } from "../util/dom.js";

/**
 * Focuses a message, labelled with author, text, time and delivery state for screen readers.
 * @param {Element | null | undefined} message
 */
export function focusMessage(message) {
  if (!(message instanceof HTMLElement)) return;
  const words = [".author", ".text", "time", ".state"].map((part) => find(message, part).textContent.trim());
  message.tabIndex = -1;
  message.setAttribute("aria-label", words.filter(Boolean).join(" "));
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
