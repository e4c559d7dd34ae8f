/** Where somebody reads in a scrolled list of messages. Keeps it while the layout changes: history above, rotation, text size. */

export class ScrollAnchor {
  #scroller;
  #list;
  /** The bubble at the top edge. @type {Element | undefined} */
  #first;
  /** How far the edge is below its top: within it as a part of its height, above it in pixels. */
  #into = 0;
  /** The layout and the position in which this was noted. */
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

  /** Notes the place. In another layout than before the top edge tells nothing: then the place is kept first. */
  note() {
    if (this.#first && this.#layout !== this.#layoutNow()) this.keep();
    else if (!this.#first || this.#top !== this.#scroller.scrollTop) this.#measure();
  }

  /** Goes to the place that was noted, and on by what the reader has scrolled since. */
  keep() {
    if (this.#first?.isConnected) {
      const { top, height } = this.#first.getBoundingClientRect();
      const { scrollTop, scrollHeight, clientHeight } = this.#scroller;
      const into = this.#into > 0 ? this.#into * height : this.#into;
      const isCut = scrollTop + clientHeight >= scrollHeight - 1; // by a list that has become shorter
      const moved = Math.round(top + into - this.#edge()) + (isCut ? 0 : scrollTop - this.#top);
      if (moved !== 0) this.#scroller.scrollTop += moved;
    }
    this.#measure();
  }

  forget() {
    this.#first = undefined;
  }

  #measure() {
    const edge = this.#edge();
    this.#first = [...this.#list.querySelectorAll(".bubble")].find(
      (each) => each.getBoundingClientRect().bottom > edge,
    );
    this.#layout = this.#layoutNow();
    this.#top = this.#scroller.scrollTop;
    if (!this.#first) return;
    const { top, height } = this.#first.getBoundingClientRect();
    this.#into = edge > top ? (edge - top) / height : edge - top;
  }

  #edge() {
    return this.#scroller.getBoundingClientRect().top;
  }

  #layoutNow() {
    const { clientWidth, scrollHeight } = this.#scroller;
    return `${clientWidth} ${scrollHeight}`;
  }
}
