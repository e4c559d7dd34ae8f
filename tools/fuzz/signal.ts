/** Waits for a condition that may change whenever `notify` is called. */

export class Signal {
  #wake: () => void = () => {};

  notify(): void {
    this.#wake();
  }

  /** @param options.gaveUp the condition can no longer change @returns whether the condition held in time */
  async until(condition: () => boolean, options: { withinMs: number; gaveUp: () => boolean }): Promise<boolean> {
    const deadline = performance.now() + options.withinMs;
    while (!condition()) {
      const leftMs = deadline - performance.now();
      if (leftMs <= 0 || options.gaveUp()) return condition();
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#wake = resolve;
      const timer = setTimeout(resolve, leftMs);
      await promise;
      clearTimeout(timer);
    }
    return true;
  }
}
