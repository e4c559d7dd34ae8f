/** Group commit without a timer: items added during a write form the next batch. */

export class Batcher<In, Out> {
  readonly #write: (items: In[]) => Promise<Out[]>;
  readonly #max: number;
  #waiting: { item: In; done: PromiseWithResolvers<Out> }[] = [];
  #flushing: Promise<void> | undefined;

  /** @param write returns results in the order of the items @param options.max items per write */
  constructor(write: (items: In[]) => Promise<Out[]>, options: { max: number }) {
    if (!(options.max >= 1)) throw new RangeError(`Batcher: max must be at least 1, got ${options.max}`);
    this.#write = write;
    this.#max = options.max;
  }

  /** Items that are not being written yet. */
  get size(): number {
    return this.#waiting.length;
  }

  /** Queues an item. @returns its result @throws the error of its write */
  add(item: In): Promise<Out> {
    const done = Promise.withResolvers<Out>();
    this.#waiting.push({ item, done });
    this.#flushing ??= this.#flush();
    return done.promise;
  }

  /** Resolves when no item is queued or being written. */
  async drain(): Promise<void> {
    while (this.#flushing) await this.#flushing;
  }

  async #flush(): Promise<void> {
    await Promise.resolve(); // the rest of this tick joins the first batch
    while (this.#waiting.length > 0) {
      const batch = this.#waiting.splice(0, this.#max);
      try {
        const answers = await this.#write(batch.map(({ item }) => item));
        for (const [i, { done }] of batch.entries()) done.resolve(answers[i] as Out);
      } catch (error) {
        for (const { done } of batch) done.reject(error);
      }
    }
    this.#flushing = undefined;
  }
}
