/** A batcher that merges an item into a queued item with the same key. */

import { Batcher } from "./batcher.ts";

interface Waiting<In, Out> {
  readonly item: In;
  readonly answer: Promise<Out>;
}

export class CoalescingBatcher<In, Out> {
  readonly #batcher: Batcher<{ key: string; item: In }, Out>;
  readonly #waiting = new Map<string, Waiting<In, Out>>();

  /** @param write returns a result per item, in order @param options.max items per write */
  constructor(write: (items: In[]) => Promise<Out[]>, options: { max: number }) {
    this.#batcher = new Batcher((batch) => {
      for (const { key } of batch) this.#waiting.delete(key);
      return write(batch.map(({ item }) => item));
    }, options);
  }

  /** Items that are not being written yet. */
  get size(): number {
    return this.#batcher.size;
  }

  /** The queued item of a key, which may still be changed. */
  waiting(key: string): In | undefined {
    return this.#waiting.get(key)?.item;
  }

  /**
   * Queues an item, or merges it into the queued item of its key.
   *
   * @param merge merges the new item into the waiting one
   * @returns the result of the merged item @throws the error of its write
   */
  add(key: string, item: In, merge: (waiting: In) => void): Promise<Out> {
    const found = this.#waiting.get(key);
    if (found) {
      merge(found.item);
      return found.answer;
    }
    const answer = this.#batcher.add({ key, item });
    this.#waiting.set(key, { item, answer });
    return answer;
  }

  /** Resolves when no item is queued or being written. */
  drain(): Promise<void> {
    return this.#batcher.drain();
  }
}
