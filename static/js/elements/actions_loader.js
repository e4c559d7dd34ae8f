/** Loads what acts on messages when the user approaches one. */

import { importAgain } from "../util/dom.js";

/**
 * @param {import("../chat_model.js").Chat} chat
 * @param {{ thread: import("./chat_thread.js").ChatThread, composer: import("./message_composer.js").MessageComposer }} elements
 */
export function loadActionsWhenNeeded(chat, elements) {
  const { thread, composer } = elements;
  /** @type {Promise<import("./message_actions.js").MessageActions | undefined> | undefined} */
  let loading;
  /** @type {Event} */
  let latest;
  const load = (/** @type {Event} */ event) => {
    latest = event;
    return (loading ??= importAgain(() => import("./message_actions.js"), "elements/message_actions.js")
      .then((module) => module.startActions(chat, elements, () => latest))
      .catch(() => (loading = undefined)));
  };
  for (const type of ["pointerover", "pointerup", "pointercancel", "focusin"]) thread.addEventListener(type, load);
  thread.addEventListener("act", async (event) => (await load(event))?.act(event));
  composer.addEventListener("edit-last", async (event) => (await load(event))?.editLast() || thread.focusLast());
}
