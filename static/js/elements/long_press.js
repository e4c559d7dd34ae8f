/** Recognizes a finger that rests on an element. Loaded on demand. */

const LONG_PRESS_MS = 500;
/** A finger that moves further scrolls. */
const STILL_PX = 10;

export class LongPress {
  /** @type {any} */
  #timer;
  /** @type {PointerEvent | undefined} */
  #start;
  #pressed;

  /**
   * @param {HTMLElement} element
   * @param {(start: PointerEvent) => void} pressed
   */
  constructor(element, pressed) {
    this.#pressed = pressed;
    element.addEventListener("pointerdown", (event) => this.start(event));
    for (const type of ["pointerup", "pointercancel"]) addEventListener(type, () => this.cancel());
    addEventListener("scroll", () => this.cancel(), { capture: true, passive: true });
    element.addEventListener("pointermove", ({ clientX, clientY }) => {
      const { clientX: x = clientX, clientY: y = clientY } = this.#start ?? {};
      if (Math.hypot(clientX - x, clientY - y) > STILL_PX) this.cancel();
    });
  }

  /** A finger touched the element. @param {PointerEvent} event */
  start(event) {
    this.cancel();
    if (event.pointerType !== "touch") return;
    this.#start = event;
    const { target } = event;
    this.#timer = setTimeout(() => {
      this.#start = undefined;
      if (!(target instanceof Element) || !target.isConnected) return;
      // Otherwise lifting the finger would click what has opened under it.
      target.addEventListener("touchend", (end) => end.preventDefault(), { once: true, passive: false });
      this.#pressed(event);
    }, LONG_PRESS_MS);
  }

  cancel() {
    clearTimeout(this.#timer);
    this.#start = undefined;
  }
}
