/** The parts of a thread's document: its rows, the greeting in place of them, and the button that leads to the newest messages. */

import { find, renderList, setText } from "../util/dom.js";
import { t } from "../util/translate.js";
import { makeRow, updateRow } from "./message_row.js";

/** @import { Item, ShownMessage } from "./thread_items.js" */

/**
 * @param {HTMLElement} list
 * @param {Item<ShownMessage>[]} items
 * @param {{ isFresh?: (seq: number) => boolean }} [options] isFresh: whether a message slides in, as new ones at the end do; 0 while it is pending
 */
export function renderRows(list, items, { isFresh = () => false } = {}) {
  renderList(list, items, {
    key: (item) => (item.kind === "message" ? item.message.key : item.key),
    make: (item) => {
      const row = makeRow(item);
      if (item.kind === "message" && isFresh(item.message.seq || Number.POSITIVE_INFINITY)) {
        row.classList.add("new");
        row.addEventListener("animationend", () => row.classList.remove("new"), { once: true });
      }
      return row;
    },
    update: updateRow,
  });
}

/** The row of a message. @param {HTMLElement} list @param {number} seq @returns {HTMLElement | null} */
export function rowWith(list, seq) {
  return list.querySelector(`[data-seq="${seq}"]`);
}

/**
 * Retries or discards a failed message when one of its buttons was clicked. Returns whether one was.
 * @param {Event} event
 * @param {import("../sync/outbox.js").Outbox} outbox
 */
export function answerFailure({ target }, outbox) {
  const button = /** @type {Element} */ (target).closest("button");
  const ref = /** @type {HTMLElement | null} */ (button?.closest(".failure"))?.dataset.ref;
  if (!button || !ref) return false;
  if (button.classList.contains("retry")) outbox.retry(ref);
  else outbox.remove(ref);
  return true;
}

/**
 * @param {HTMLElement} jump the button
 * @param {{ isHidden: boolean, unread: number }} state
 */
export function showJump(jump, { isHidden, unread }) {
  jump.hidden = isHidden;
  setText(find(jump, ".count"), unread ? t("new_count", { count: unread }) : "");
  jump.setAttribute("aria-label", unread ? t("new_messages", { count: unread }) : t("to_newest"));
}

/** The greetings of an empty thread, and the button below each. */
const GREETINGS = /** @type {const} */ ({ say_hello: ".wave", no_such_person: ".find", notes_empty: "" });

/**
 * @param {HTMLElement} greeting
 * @param {keyof typeof GREETINGS | undefined} key undefined hides the greeting
 * @param {string} name
 */
export function showGreeting(greeting, key, name) {
  greeting.hidden = key === undefined;
  if (key === undefined) return;
  setText(find(greeting, "p"), t(key, { name }));
  for (const action of [".wave", ".find"]) find(greeting, action).hidden = action !== GREETINGS[key];
}
