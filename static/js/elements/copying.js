/** Copies messages: as they are, or as quotes with name and time. Loaded on demand. */

import { dateTime } from "../util/time.js";

/**
 * Copies a text. Returns whether the browser did.
 * @param {string} text
 */
export async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Without clipboard permission, as on plain http, `execCommand` may work.
    const field = document.createElement("textarea");
    field.value = text;
    field.className = "visually-hidden";
    document.body.append(field);
    const focused = document.activeElement;
    field.select();
    const isCopied = document.execCommand("copy");
    field.remove();
    if (focused instanceof HTMLElement) focused.focus({ preventScroll: true });
    return isCopied;
  }
}

/**
 * Messages as quotes: `Ann, 18 Mar 2026, 14:05:` and the lines of her text, each after `> `.
 * @param {readonly { from: string, at: number, text: string }[]} messages
 */
export function quoteText(messages) {
  return messages
    .map(({ from, at, text }) =>
      [`${from}, ${dateTime(at)}:`, ...text.split("\n").map((line) => `> ${line}`)].join("\n"),
    )
    .join("\n\n");
}
