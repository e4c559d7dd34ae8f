/** Zooms and moves a picture by wheel, double click, pinch and drag, and recognizes swipes. */

import { Emitter } from "../util/emitter.js";

const DOUBLE = 2.5;
const SWIPE_PX = 60;

/**
 * - `changed`: the scale
 * - `swiped`: to the next or the previous picture, or away, which closes it
 * @extends {Emitter<{ changed: number, swiped: "next" | "previous" | "away" }>}
 */
export class PictureZoom extends Emitter {
  static MAX = 6;
  #stage;
  /** @type {HTMLElement | undefined} */
  #frame;
  #scale = 1;
  #x = 0;
  #y = 0;
  /** The pointers that are down, and where they are. @type {Map<number, { x: number, y: number }>} */
  #pointers = new Map();
  /** Where a swipe began, while it can be one. @type {{ x: number, y: number } | undefined} */
  #swipe;

  /** @param {HTMLElement} stage */
  constructor(stage) {
    super();
    this.#stage = stage;
    stage.addEventListener("wheel", (event) => this.#onWheel(event), { passive: false });
    stage.addEventListener("dblclick", (event) => this.#to(this.#scale === 1 ? DOUBLE : 1, event));
    stage.addEventListener("pointerdown", (event) => this.#onDown(event));
    stage.addEventListener("pointermove", (event) => this.#onMove(event));
    for (const type of /** @type {const} */ (["pointerup", "pointercancel"]))
      stage.addEventListener(type, (event) => this.#onUp(event));
  }

  /** Shows another picture, in its normal size. @param {HTMLElement} frame */
  show(frame) {
    this.#frame = frame;
    this.by(0);
  }

  /** Scales around the middle. @param {number} factor 0: to the normal size */
  by(factor) {
    this.#to(this.#scale * factor);
  }

  /**
   * @param {number} scale
   * @param {{ clientX: number, clientY: number }} [around] stays where it is; the middle by default
   */
  #to(scale, around) {
    const next = Math.min(PictureZoom.MAX, Math.max(1, scale));
    const { left, top, width, height } = this.#stage.getBoundingClientRect();
    const dx = around ? around.clientX - left - width / 2 : 0;
    const dy = around ? around.clientY - top - height / 2 : 0;
    const ratio = next / this.#scale;
    this.#x = dx - (dx - this.#x) * ratio;
    this.#y = dy - (dy - this.#y) * ratio;
    this.#scale = next;
    this.#apply();
    this.emit("changed", next);
  }

  #apply() {
    const frame = this.#frame;
    if (!frame) return;
    // At most to the picture's edges.
    const reach = (/** @type {number} */ size, /** @type {number} */ room) =>
      Math.max(0, (size * this.#scale - room) / 2);
    const maxX = reach(frame.clientWidth, this.#stage.clientWidth);
    const maxY = reach(frame.clientHeight, this.#stage.clientHeight);
    this.#x = Math.min(maxX, Math.max(-maxX, this.#x));
    this.#y = Math.min(maxY, Math.max(-maxY, this.#y));
    frame.style.transform = this.#scale === 1 ? "" : `translate(${this.#x}px, ${this.#y}px) scale(${this.#scale})`;
    this.#stage.classList.toggle("zoomed", this.#scale > 1);
  }

  /** @param {WheelEvent} event */
  #onWheel(event) {
    event.preventDefault();
    this.#to(this.#scale * Math.exp(-event.deltaY / 300), event);
  }

  /** @param {PointerEvent} event */
  #onDown(event) {
    if (event.target instanceof Element && event.target.closest("button")) return;
    this.#stage.setPointerCapture(event.pointerId);
    this.#pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    const isFirst = this.#pointers.size === 1;
    this.#swipe = isFirst && this.#scale === 1 ? { x: event.clientX, y: event.clientY } : undefined;
  }

  /** @param {PointerEvent} event */
  #onMove(event) {
    const before = this.#pointers.get(event.pointerId);
    if (!before) return;
    const now = { x: event.clientX, y: event.clientY };
    const other = [...this.#pointers].find(([id]) => id !== event.pointerId)?.[1];
    this.#pointers.set(event.pointerId, now);
    if (other) {
      const distance = (/** @type {{ x: number, y: number }} */ { x, y }) => Math.hypot(x - other.x, y - other.y) || 1;
      const middle = { clientX: (now.x + other.x) / 2, clientY: (now.y + other.y) / 2 };
      this.#to((this.#scale * distance(now)) / distance(before), middle);
    } else if (this.#scale > 1) {
      this.#x += now.x - before.x;
      this.#y += now.y - before.y;
      this.#apply();
    }
  }

  /** @param {PointerEvent} event */
  #onUp(event) {
    this.#pointers.delete(event.pointerId);
    const start = this.#swipe;
    this.#swipe = undefined;
    if (!start || event.type === "pointercancel") return;
    const [dx, dy] = [event.clientX - start.x, event.clientY - start.y];
    if (Math.abs(dx) > SWIPE_PX && Math.abs(dx) > 2 * Math.abs(dy)) this.emit("swiped", dx < 0 ? "next" : "previous");
    else if (dy > 2 * SWIPE_PX && dy > 2 * Math.abs(dx)) this.emit("swiped", "away");
  }
}
