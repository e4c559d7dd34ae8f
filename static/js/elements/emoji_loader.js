/** Loads the emoji picker when it is opened. */

import { importAgain } from "../util/dom.js";

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
