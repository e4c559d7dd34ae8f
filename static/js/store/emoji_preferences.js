/** A user's skin tone and last used emoji, stored in this browser until sign-out. */

import { emojiKey, safeLocalStorage } from "./browser_storage.js";

/** Two lines of the picker. */
const RECENT_MAX = 16;

/** @typedef {{ tone: number, recent: string[] }} EmojiPreferences recent: without skin tones, newest first */

/**
 * @param {string} me
 * @returns {EmojiPreferences}
 */
export function emojiPreferences(me) {
  try {
    const { tone, recent } = JSON.parse(safeLocalStorage().getItem(emojiKey(me)) ?? "{}");
    return {
      tone: [1, 2, 3, 4, 5].includes(tone) ? tone : 0,
      recent: (Array.isArray(recent) ? recent : []).filter((each) => typeof each === "string").slice(0, RECENT_MAX),
    };
  } catch {
    return { tone: 0, recent: [] };
  }
}

/** @param {string} me @param {number} tone */
export function chooseTone(me, tone) {
  save(me, { ...emojiPreferences(me), tone });
}

/** @param {string} me @param {string} emoji without a skin tone */
export function noteEmoji(me, emoji) {
  const { tone, recent } = emojiPreferences(me);
  save(me, { tone, recent: [emoji, ...recent.filter((each) => each !== emoji)].slice(0, RECENT_MAX) });
}

/** @param {string} me @param {EmojiPreferences} preferences */
function save(me, preferences) {
  try {
    safeLocalStorage().setItem(emojiKey(me), JSON.stringify(preferences));
  } catch {
    // Storage is forbidden or full: the next page starts without them.
  }
}
