/** Typed events. An exception in one listener does not stop the others. */

/** @template {Record<string, any>} Events the detail of each type of event */
export class Emitter {
  /** @type {Map<keyof Events, Set<(detail: any) => void>>} */
  #listeners = new Map();
  /** @type {Set<string>} */
  #scheduled = new Set();

  /**
   * @template {keyof Events} T
   * @param {T} type
   * @param {(detail: Events[T]) => void} listener
   * @returns {() => void} unsubscribes
   */
  on(type, listener) {
    const listeners = this.#listeners.get(type) ?? new Set();
    this.#listeners.set(type, listeners.add(listener));
    return () => void listeners.delete(listener);
  }

  /**
   * @template {keyof Events} T
   * @param {T} type
   * @param {Events[T]} [detail]
   */
  emit(type, detail) {
    for (const listener of this.#listeners.get(type) ?? []) {
      try {
        listener(detail);
      } catch (error) {
        reportError(error);
      }
    }
  }

  /**
   * Emits in a microtask, once for equal events: a burst of changes renders once.
   * @template {keyof Events & string} T
   * @param {T} type
   * @param {Events[T] & (string | void)} [detail]
   */
  emitSoon(type, detail) {
    const key = `${type} ${detail ?? ""}`;
    if (this.#scheduled.has(key)) return;
    this.#scheduled.add(key);
    queueMicrotask(() => {
      this.#scheduled.delete(key);
      this.emit(type, detail);
    });
  }
}
