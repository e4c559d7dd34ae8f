/** Loads what acts on messages and on entries of the list when the user approaches one, or a deletion can be undone. */

import { importAgain } from "../util/dom.js";

/**
 * @param {import("../chat_model.js").Chat} chat
 * @param {{ thread: import("./chat_thread.js").ChatThread, composer: import("./message_composer.js").MessageComposer }} elements
 */
export function loadActionsWhenNeeded(chat, elements) {
  const { thread, composer } = elements;
  /** @type {Promise<import("./message_actions.js").MessageActions | undefined> | undefined} */
  let loading;
  /** @type {Event | undefined} */
  let latest;
  const load = (/** @type {Event | undefined} */ event) => {
    latest = event;
    return (loading ??= importAgain(() => import("./message_actions.js"), "elements/message_actions.js")
      .then((module) => module.startActions(chat, elements, () => latest))
      .catch(() => (loading = undefined)));
  };
  for (const type of ["pointerover", "pointerup", "pointercancel", "focusin"]) thread.addEventListener(type, load);
  chat.outbox.on("changed", () => loading ?? (chat.outbox.deferred.undoable().length > 0 && void load(undefined)));
  thread.addEventListener("view", async (event) => {
    const load = importAgain(() => import("./file_viewer.js"), "elements/file_viewer.js");
    const viewer = await load.catch(() => undefined);
    await viewer?.openViewer(chat, /** @type {CustomEvent<string>} */ (event).detail);
  });
  thread.addEventListener("act", async (event) => (await load(event))?.act(event));
  composer.addEventListener("edit-last", async (event) => (await load(event))?.editLast() || thread.focusLast());
}

/**
 * @param {import("../chat_model.js").Chat} chat
 * @param {HTMLElement} list
 */
export function loadListActionsWhenNeeded(chat, list) {
  /** @type {Promise<Awaited<ReturnType<typeof import("./list_actions.js").listActions>> | undefined> | undefined} */
  let loading;
  /** Whether it is loaded, and recognizes long presses itself. */
  let isLoaded = false;
  const load = () =>
    (loading ??= importAgain(() => import("./list_actions.js"), "elements/list_actions.js")
      .then((module) => module.listActions(chat))
      .catch(() => (loading = undefined)));
  for (const type of ["pointerover", "focusin"])
    list.addEventListener(type, ({ target }) => {
      if (entryOf(target)) void load();
    });
  /** @type {PointerEvent | undefined} */
  let touch;
  for (const type of ["pointerup", "pointercancel"]) addEventListener(type, () => (touch = undefined));
  list.addEventListener("pointerdown", async (event) => {
    if (isLoaded || !entryOf(event.target)) return;
    touch = event;
    const actions = await load();
    if (touch === event) actions?.touched(event);
    isLoaded = actions !== undefined;
  });
  list.addEventListener("contextmenu", async (event) => {
    const link = entryOf(event.target);
    if (!link) return;
    event.preventDefault();
    (await load())?.contextMenu(link, event);
  });
  list.addEventListener("keydown", async (event) => {
    const link = entryOf(event.target);
    if (!link || event.key !== "ArrowRight" || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    (await load())?.openMenu(link);
  });
}

/** The entry of a conversation. @param {EventTarget | null} target */
export function entryOf(target) {
  const link = target instanceof Element ? target.closest("a.entry:not(.only-name, .hit)") : undefined;
  return link instanceof HTMLElement ? link : undefined;
}
