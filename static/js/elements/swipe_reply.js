/** Recognizes a finger that swipes a message to the right, to reply to it. Loaded on demand. */

import { icon } from "./action_parts.js";

/** Near the edges, a swipe is the browser's: back or forward. */
const EDGE_PX = 28;
/** The finger has to move this far, and more sideways than up or down, before the message follows. */
const START_PX = 12;
const REPLY_PX = 56;
const MAX_PX = 80;

export class SwipeReply {
  #hint = document.createElement("span");
  #acts;
  /** @type {{ row: HTMLElement, x: number, y: number, isMoving: boolean, moved: number } | undefined} */
  #swipe;

  /**
   * @param {HTMLElement} list of messages
   * @param {{ canReply: (row: HTMLElement) => boolean, reply: (row: HTMLElement) => void }} acts
   */
  constructor(list, acts) {
    this.#acts = acts;
    this.#hint.className = "swipe-hint";
    this.#hint.append(icon("reply"));
    list.classList.add("swipeable"); // CSS leaves sideways movements to this, and others to the browser
    list.addEventListener("pointerdown", (event) => this.start(event));
    addEventListener("pointermove", (/** @type {PointerEvent} */ event) => this.#move(event));
    addEventListener("pointerup", () => this.#end());
    // The browser took over, to scroll or to go back.
    addEventListener("pointercancel", () => this.#cancel());
  }

  /** A finger touched the list. @param {PointerEvent} event */
  start({ target, pointerType, isPrimary, clientX: x, clientY: y }) {
    this.#cancel(); // a second finger ends it
    const row = target instanceof Element ? target.closest(".message") : null;
    if (pointerType !== "touch" || !isPrimary || !(row instanceof HTMLElement)) return;
    if (x < EDGE_PX || x > innerWidth - EDGE_PX || isScrollable(/** @type {Element} */ (target), row)) return;
    if (this.#acts.canReply(row)) this.#swipe = { row, x, y, isMoving: false, moved: 0 };
  }

  /** @param {PointerEvent} event */
  #move({ clientX, clientY, isPrimary }) {
    const swipe = this.#swipe;
    if (!swipe || !isPrimary) return;
    const [x, y] = [clientX - swipe.x, clientY - swipe.y];
    if (!swipe.isMoving) {
      if (Math.hypot(x, y) < START_PX) return;
      if (x < Math.abs(y) * 2) return this.#cancel(); // to the left, or a scroll
      swipe.isMoving = true;
    }
    const moved = Math.max(0, Math.min(x - START_PX, MAX_PX));
    const [was, is] = [swipe.moved >= REPLY_PX, moved >= REPLY_PX];
    swipe.moved = moved;
    if (!swipe.row.contains(this.#hint)) swipe.row.append(this.#hint);
    swipe.row.classList.add("swiped");
    swipe.row.classList.toggle("replies", is);
    swipe.row.style.setProperty("--swipe", String(moved));
    if (is && !was) navigator.vibrate?.(10); // iOS has no such function
  }

  #end() {
    const swipe = this.#swipe;
    this.#cancel();
    if (swipe && swipe.moved >= REPLY_PX && swipe.row.isConnected) this.#acts.reply(swipe.row);
  }

  #cancel() {
    const row = this.#swipe?.row;
    this.#swipe = undefined;
    this.#hint.remove();
    row?.classList.remove("swiped", "replies");
    row?.style.removeProperty("--swipe");
  }
}

/**
 * Whether a finger can scroll an element sideways, such as wide code. Quotes that are cut off do not scroll.
 * @param {Element} target
 * @param {Element} row
 */
function isScrollable(target, row) {
  for (let each = /** @type {Element | null} */ (target); each && each !== row; each = each.parentElement)
    if (each.scrollWidth > each.clientWidth && /^(?:auto|scroll)$/.test(getComputedStyle(each).overflowX)) return true;
  return false;
}
