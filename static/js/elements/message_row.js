/** Renders the rows of a thread: messages, and the lines between them. */

import { cloneTemplate, find, setText, setTick } from "../util/dom.js";
import { textParts } from "../util/text_parts.js";
import { clock, dayWords, fullTime, timeRevision } from "../util/time.js";
import { errorText, language, t } from "../util/translate.js";

/** @import { Item } from "../util/grouping.js" */
/** @import { Part } from "../util/text_parts.js" */

/**
 * A message to render, stored or pending.
 * @typedef {object} ShownMessage
 * @property {string} key
 * @property {string} from
 * @property {boolean} mine
 * @property {string} text
 * @property {number} at
 * @property {number} seq 0 while pending
 * @property {import("../util/dom.js").Tick | undefined} tick
 * @property {string} [ref] of a pending message
 * @property {string | undefined} [code] the error code of a failed message
 */

/**
 * The messages to render: stored ones in a range of seqs, then pending ones if the range includes the newest.
 * @param {import("../chat_model.js").Chat} chat
 * @param {import("../store/conversation.js").Conversation} conversation
 * @param {{ first: number, last: number, atEnd: boolean }} range
 * @returns {ShownMessage[]}
 */
export function shownMessages({ me, outbox }, conversation, { first, last, atEnd }) {
  const { firstSeq, peer } = conversation;
  const end = atEnd ? undefined : Math.max(0, last - firstSeq + 1);
  const stored = conversation
    .messages()
    .slice(Math.max(0, first - firstSeq), end)
    .map((message) => {
      const { seq, ref, from, text, at } = message;
      const mine = from === me;
      return {
        key: ref ?? `#${seq}`,
        from,
        mine,
        text,
        at,
        seq,
        tick: mine ? conversation.markOf(message) : undefined,
      };
    });
  if (!atEnd) return stored;
  const pending = outbox.to(peer).map(({ ref, text, at, state, code }) => {
    return { key: ref, from: me, mine: true, text, at, seq: 0, tick: state, ref, code };
  });
  return [...stored, ...pending];
}

/** What each row shows. @type {WeakMap<HTMLElement, { key: string, text: string }>} */
const rendered = new WeakMap();

/** @param {Item<ShownMessage>} item */
export function makeRow(item) {
  if (item.kind === "message") return cloneTemplate("message");
  const line = cloneTemplate("day");
  line.classList.toggle("new", item.kind === "new");
  return line;
}

/**
 * @param {HTMLElement} row
 * @param {Item<ShownMessage>} item
 */
export function updateRow(row, item) {
  if (item.kind !== "message") {
    setText(row, item.kind === "day" ? dayWords(item.at) : t("new_line"));
    return;
  }
  const { message, first, last } = item;
  const { seq, tick, at, code, text, from, mine } = message;
  const key = [language(), timeRevision(), seq, tick, code, at, first, last].join(" ");
  const before = rendered.get(row);
  if (before?.key === key && before.text === text) return; // unchanged, as most rows of a long thread are
  rendered.set(row, { key, text });
  row.dataset.seq = String(seq);
  row.classList.toggle("mine", mine);
  row.classList.toggle("emoji", item.emoji);
  row.classList.toggle("first", first);
  row.classList.toggle("last", last);
  row.classList.toggle("waiting", tick === "sending" || tick === "failed");
  if (before?.text !== text) find(row, ".text").replaceChildren(...textParts(text).map(partNode));
  setText(find(row, ".author"), `${mine ? t("from_me") : from}: `);
  const time = find(row, "time");
  setText(time, clock(at));
  time.dateTime = new Date(at).toISOString();
  find(row, ".bubble").title = fullTime(at);
  setTick(row, tick);
  showFailure(row, message);
}

/**
 * @param {HTMLElement} row
 * @param {ShownMessage} message
 */
function showFailure(row, { tick, ref = "", code = "" }) {
  let failure = /** @type {HTMLElement | null} */ (row.querySelector(".failure"));
  if (tick !== "failed") {
    failure?.remove();
    return;
  }
  if (!failure) row.append((failure = cloneTemplate("failure")));
  failure.dataset.ref = ref;
  setText(find(failure, ".why"), errorText(code));
}

/** @param {Part} part */
function partNode(part) {
  if (part.code) return code(part);
  return isSafeLink(part) ? link(part) : part.text;
}

/** @param {Part} part */
function code({ text, code: kind, language }) {
  const element = document.createElement("code");
  element.textContent = text;
  if (kind === "inline") return element;
  const block = document.createElement("pre");
  if (language) block.dataset.language = language;
  block.append(element);
  return block;
}

/**
 * Whether a part is a link that is safe to follow. Of this server only the chat page is: a link to /logout, for example, would
 * sign the user out.
 *
 * @param {Part} part
 */
function isSafeLink({ href }) {
  if (href === undefined) return false;
  const { origin, pathname } = new URL(href);
  return origin !== location.origin || pathname === "/";
}

/** @param {Part} part */
function link({ text, href = "" }) {
  const anchor = /** @type {HTMLAnchorElement} */ (cloneTemplate("link"));
  anchor.href = href;
  anchor.textContent = text;
  return anchor;
}
