/** Groups messages: day lines, the line "New messages", runs by one author, and emoji-only messages. */

const RUN_MS = 5 * 60_000;

/** @typedef {{ from: string, at: number, text: string, seq?: number }} Groupable */

/**
 * @template {Groupable} M
 * @typedef {{ kind: "day", key: string, at: number } | { kind: "new", key: string } | { kind: "message", message: M, first: boolean, last: boolean, emoji: boolean }} Item
 */

/**
 * The items of a thread, oldest first. A run ends at a message of the other author, after five minutes without one, and at midnight.
 * @template {Groupable} M
 * @param {readonly M[]} messages
 * @param {number} [newFrom] seq of the message below the line "New messages"
 * @returns {Item<M>[]}
 */
export function group(messages, newFrom) {
  /** @type {Item<M>[]} */
  const items = [];
  const isNew = (/** @type {M} */ { seq }) => seq !== undefined && seq === newFrom;
  let day = "";
  for (const [index, message] of messages.entries()) {
    const before = messages[index - 1];
    const after = messages[index + 1];
    const today = dayKey(message.at);
    // A pending message has this device's time, which must not cause a day line for an earlier day.
    if (today > day) {
      items.push({ kind: "day", key: today, at: message.at });
      day = today;
    }
    if (isNew(message)) items.push({ kind: "new", key: "new" });
    items.push({
      kind: "message",
      message,
      first: !before || isNew(message) || !sameRun(before, message),
      last: !after || isNew(after) || !sameRun(message, after),
      emoji: isEmoji(message.text),
    });
  }
  return items;
}

/**
 * The local day of an instant: `"2026-11-22"`.
 * @param {number} at
 */
export function dayKey(at) {
  const date = new Date(at);
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
}

/** @param {number} number */
function two(number) {
  return String(number).padStart(2, "0");
}

/** A cheap pre-check: compiling the exact expression takes about 10 ms. */
const PERHAPS_EMOJI = /[\p{Extended_Pictographic}\p{Regional_Indicator}\u20e3]/u;
const ONE_TO_THREE_EMOJI = /^\s*(?:\p{RGI_Emoji}\s*){1,3}$/v;

/**
 * Whether a text is one to three emoji and nothing else.
 * @param {string} text
 */
export function isEmoji(text) {
  return text.length < 120 && PERHAPS_EMOJI.test(text) && ONE_TO_THREE_EMOJI.test(text);
}

/**
 * @param {{ from: string, at: number }} before
 * @param {{ from: string, at: number }} after
 */
function sameRun(before, after) {
  return before.from === after.from && after.at - before.at < RUN_MS && dayKey(before.at) === dayKey(after.at);
}
