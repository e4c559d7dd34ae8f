/** The key that undoes what the user did last. Loaded on demand. */

/**
 * Calls `undo` on Ctrl+Z, unless the user is writing; it returns whether it undid something.
 * @param {() => boolean} undo
 */
export function onUndoKey(undo) {
  addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
    const isUndo = (event.ctrlKey || event.metaKey) && !event.shiftKey && !event.altKey && event.code === "KeyZ";
    const { target } = event;
    const isField =
      target instanceof HTMLTextAreaElement || (target instanceof HTMLInputElement && target.type !== "checkbox");
    if (!isUndo || event.defaultPrevented || (isField && target.value !== "")) return;
    if (undo()) event.preventDefault();
  });
}
