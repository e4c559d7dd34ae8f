/** Keeps the scroll position in a list of messages while the layout changes: history loading above, rotation, text size. */

export class ScrollAnchor {
  #scroller;
  #list;
  /** The bubble at the top edge. @type {Element | undefined} */
  #anchor;
  /** Distance of the edge below the bubble's top: inside the bubble as a fraction of its height, above it in pixels. */
  #offset = 0;
  /** The layout and scroll position at the time of recording. */
  #layout = "";
  #top = 0;

  /**
   * @param {HTMLElement} scroller
   * @param {HTMLElement} list
   */
  constructor(scroller, list) {
    this.#scroller = scroller;
    this.#list = list;
  }

  /** Saves the position. After a layout change the top edge is meaningless, so the saved position is restored first. */
  save() {
    if (this.#anchor && this.#layout !== this.#layoutNow()) this.restore();
    else if (!this.#anchor || this.#top !== this.#scroller.scrollTop) this.#record();
  }

  /** Restores the saved position plus what the user has scrolled since. */
  restore() {
    if (this.#anchor?.isConnected) {
      const { top, height } = this.#anchor.getBoundingClientRect();
      const { scrollTop, scrollHeight, clientHeight } = this.#scroller;
      const into = this.#offset > 0 ? this.#offset * height : this.#offset;
      const isCut = scrollTop + clientHeight >= scrollHeight - 1; // because the list became shorter
      const moved = Math.round(top + into - this.#edge()) + (isCut ? 0 : scrollTop - this.#top);
      if (moved !== 0) this.#scroller.scrollTop += moved;
    }
    this.#record();
  }

  clear() {
    this.#anchor = undefined;
  }

  #record() {
    const edge = this.#edge();
    this.#anchor = [...this.#list.querySelectorAll(".bubble")].find(
      (each) => each.getBoundingClientRect().bottom > edge,
    );
    this.#layout = this.#layoutNow();
    this.#top = this.#scroller.scrollTop;
    if (!this.#anchor) return;
    const { top, height } = this.#anchor.getBoundingClientRect();
    this.#offset = edge > top ? (edge - top) / height : edge - top;
  }

  #edge() {
    return this.#scroller.getBoundingClientRect().top;
  }

  #layoutNow() {
    const { clientWidth, scrollHeight } = this.#scroller;
    return `${clientWidth} ${scrollHeight}`;
  }
}
