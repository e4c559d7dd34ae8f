/**
 * The quote above a reply, the reactions below a message, and the buttons that copy code. Loaded
 * with the first of them.
 */

import { find, setText } from "../util/dom.js";
import { language, t } from "../util/translate.js";
import { iconButton } from "./action_parts.js";
import { lineOf } from "./list_entry.js";
import { focusMessage } from "./message_row.js";
import { ready, showUpload } from "./upload_parts.js";

/** @import { Message } from "../store/conversation.js" */
/** @import { ShownMessage } from "./thread_items.js" */

/**
 * What a row asks for, as the detail of a bubbling `act` event: to react with an emoji ("" removes
 * it), to go to the message with this seq, to load it for its quote, or to copy a text.
 * @typedef {{ react: string } | { jump: number } | { quote: number } | { copy: string }} Act
 */

export { ready };

/**
 * Shows the quote and the reactions of a message, or removes them, and makes its code copyable.
 * @param {HTMLElement} row
 * @param {ShownMessage} message
 */
export function showExtras(row, { me, peerName, replyTo, answered, reactions = {}, deleted, upload }) {
  const quote = /** @type {HTMLElement | null} */ (row.querySelector(".quote"));
  if (replyTo === undefined || deleted) quote?.remove();
  else showQuote(quote ?? makeQuote(row), { me, peerName, replyTo, answered });
  showUpload(row, upload);
  showReactions(row, { me, peerName }, deleted ? {} : reactions);
  for (const block of row.querySelectorAll(".code-block")) showCopyButton(block);
}

/** @param {Element} block */
function showCopyButton(block) {
  const button = /** @type {HTMLElement} */ (block.querySelector("button") ?? makeCopyButton(block));
  button.title = t("copy_code");
  button.setAttribute("aria-label", button.title);
}

/** @param {Element} block */
function makeCopyButton(block) {
  const button = iconButton("copy", "");
  button.className = "copy-code";
  button.addEventListener("click", () => act(button, { copy: find(block, "code").textContent }));
  block.append(button);
  return button;
}

/**
 * @param {HTMLElement} row
 */
function makeQuote(row) {
  const quote = makeButton("quote");
  quote.dir = "auto";
  const [prefix, line] = [document.createElement("span"), document.createElement("span")];
  prefix.className = "visually-hidden";
  line.className = "line";
  quote.append(prefix, document.createElement("b"), " ", line);
  quote.addEventListener("click", () => act(row, { jump: Number(quote.dataset.seq) }));
  find(row, ".text").before(quote);
  return quote;
}

/**
 * @param {HTMLElement} quote
 * @param {{ me: string, peerName: string, replyTo: number, answered: Message | undefined }} reply
 */
function showQuote(quote, { me, peerName, replyTo, answered }) {
  const isNew = quote.dataset.seq !== String(replyTo);
  quote.dataset.seq = String(replyTo);
  if (answered) fillQuote(quote, answered, answered.from === me ? t("from_me") : peerName);
  else if (isNew) act(quote, { quote: replyTo });
}

/**
 * @param {HTMLElement} quote
 * @param {Message} answered the quoted message
 * @param {string} author what its author is called
 */
export function fillQuote(quote, answered, author) {
  const text = answered.deleted ? t("message_deleted") : lineOf(answered);
  setText(find(quote, ".visually-hidden"), `${t("reply")}: `);
  setText(find(quote, "b"), author);
  setText(find(quote, ".line"), text);
  quote.classList.toggle("gone", answered.deleted === true);
}

/**
 * @param {HTMLElement} row
 * @param {Pick<ShownMessage, "me" | "peerName">} users
 * @param {Record<string, string>} reactions
 */
function showReactions(row, { me, peerName }, reactions) {
  /** @type {Map<string, string[]>} names by emoji */
  const names = new Map();
  for (const [name, emoji] of Object.entries(reactions)) names.set(emoji, [...(names.get(emoji) ?? []), name]);
  let list = /** @type {HTMLElement | null} */ (row.querySelector(".reactions"));
  const focused = list?.contains(document.activeElement)
    ? document.activeElement?.getAttribute("data-emoji")
    : undefined;
  if (names.size === 0) {
    list?.remove();
    if (focused) focusMessage(row);
    return;
  }
  // Replacing an unchanged chip would lose the focus or a click on it.
  const shown = JSON.stringify([language(), peerName, reactions]);
  if (list?.dataset.shown === shown) return;
  if (!list) {
    list = document.createElement("div");
    list.className = "reactions";
    list.setAttribute("role", "group");
    find(row, ".bubble").after(list);
  }
  const chips = [...names].map(([emoji, who]) => {
    const isMine = who.includes(me);
    const chip = makeButton("reaction");
    chip.setAttribute("aria-pressed", String(isMine));
    chip.dataset.emoji = emoji;
    chip.textContent = who.length > 1 ? `${emoji} ${who.length}` : emoji;
    chip.title = `${chip.textContent} ${who.map((name) => (name === me ? t("from_me") : peerName)).join(", ")}`;
    chip.setAttribute("aria-label", chip.title); // begins with the visible text, as WCAG 2.5.3 asks
    chip.addEventListener("click", () => act(row, { react: isMine ? "" : emoji }));
    return chip;
  });
  list.setAttribute("aria-label", t("reactions", { list: chips.map(({ title }) => title).join("; ") }));
  list.replaceChildren(...chips);
  list.dataset.shown = shown;
  const again = chips.find(({ dataset }) => dataset.emoji === focused);
  if (again) again.focus();
  else if (focused) focusMessage(row);
}

/**
 * Moves the focus between a row, its quote and its reactions.
 * @param {HTMLElement} row
 * @param {KeyboardEvent} event
 */
export function moveWithin(row, event) {
  const stops = [row, ...row.querySelectorAll(".quote, .file :is(button, a), .reaction")].filter(
    (each) => each instanceof HTMLElement,
  );
  const index = stops.findIndex((each) => each === event.target) + (event.key === "ArrowRight" ? 1 : -1);
  if (stops.length === 1) return;
  event.preventDefault();
  const next = stops.at(index % stops.length);
  if (next === row) focusMessage(row);
  else next?.focus();
}

/**
 * A button that arrow keys reach from the focused row, so that Tab does not stop at each.
 * @param {string} className
 */
function makeButton(className) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = className;
  button.tabIndex = -1;
  return button;
}

/**
 * @param {HTMLElement} element
 * @param {Act} detail
 */
function act(element, detail) {
  // A microtask later, because a row is filled before it is in the document.
  queueMicrotask(() => element.dispatchEvent(new CustomEvent("act", { bubbles: true, detail })));
}
