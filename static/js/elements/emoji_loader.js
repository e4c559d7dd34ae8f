/** Loads the emoji picker when it is opened, and suggestions when a shortcode is typed. */

import { find, importAgain } from "../util/dom.js";
import { shortcodeAtEnd } from "../util/shortcode.js";

/**
 * Opens the picker.
 * @param {string} me
 * @param {import("./emoji_picker.js").Purpose} purpose
 * @returns {Promise<boolean>} false if its script could not be loaded
 */
export async function pickEmoji(me, purpose) {
  const load = importAgain(() => import("./emoji_picker.js"), "elements/emoji_picker.js");
  const module = await load.catch(() => undefined);
  await module?.openPicker(me, purpose);
  return module !== undefined;
}

/**
 * Starts suggesting emoji at the first shortcode. If that fails to load, the next keystroke retries.
 * @param {string} me
 * @param {import("./message_composer.js").MessageComposer} composer
 */
export function suggestEmoji(me, composer) {
  /** @type {HTMLTextAreaElement} */
  const field = find(composer, "textarea");
  let isRequested = false;
  field.addEventListener("input", async () => {
    if (isRequested || !shortcodeAtEnd(field.value.slice(0, field.selectionEnd))) return;
    isRequested = true;
    const load = importAgain(() => import("./emoji_suggestions.js"), "elements/emoji_suggestions.js");
    await load.then((module) => module.startSuggestions(me, composer)).catch(() => (isRequested = false));
  });
}
