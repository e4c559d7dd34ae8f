/** Which messages stand together: day lines, what is new, runs by one person, and messages that are nothing but emoji. */

const RUN_MS = 5 * 60_000;

/** @typedef {{ from: string, at: number, text: string, seq?: number }} Said */

/**
 * @template {Said} M
 * @typedef {{ kind: "day", key: string, at: number } | { kind: "new", key: string } | { kind: "message", message: M, first: boolean, last: boolean, emoji: boolean }} Item
 */

/**
 * The lines of a thread, oldest first. A run is broken by the other person, by five minutes of silence and by midnight.
 * @template {Said} M
 * @param {readonly M[]} messages
 * @param {number} [newFrom] the seq of the message above which the line stands that says what is new
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
    // A pending message has this device's clock; it must not draw a day line that goes back.
    if (today > day) {
      items.push({ kind: "day", key: today, at: message.at });
      day = today;
    }
    if (isNew(message)) items.push({ kind: "new", key: "new" });
    items.push({
      kind: "message",
      message,
      first: !before || isNew(message) || !together(before, message),
      last: !after || isNew(after) || !together(message, after),
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

/** Whether looking closer is worth it: the exact expression takes some ten milliseconds to prepare. */
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
function together(before, after) {
  return before.from === after.from && after.at - before.at < RUN_MS && dayKey(before.at) === dayKey(after.at);
}
