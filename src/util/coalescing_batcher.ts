/** A batcher in which an item joins the one of the same key that still waits. */

import { Batcher } from "./batcher.ts";

interface Waiting<In, Out> {
  readonly item: In;
  readonly answer: Promise<Out>;
}

export class CoalescingBatcher<In, Out> {
  readonly #batcher: Batcher<{ key: string; item: In }, Out>;
  readonly #waiting = new Map<string, Waiting<In, Out>>();

  /** @param write answers each item at its place; no two have the same key @param options.max items in one write */
  constructor(write: (items: In[]) => Promise<Out[]>, options: { max: number }) {
    this.#batcher = new Batcher((batch) => {
      for (const { key } of batch) this.#waiting.delete(key);
      return write(batch.map(({ item }) => item));
    }, options);
  }

  /** Items not yet taken by a write. */
  get size(): number {
    return this.#batcher.size;
  }

  /** The item of a key that waits, which may still be changed. */
  waiting(key: string): In | undefined {
    return this.#waiting.get(key)?.item;
  }

  /**
   * Queues an item, or changes the one of its key that waits.
   *
   * @param join changes the waiting item so that it stands for both
   * @returns the answer to both @throws what the write threw
   */
  add(key: string, item: In, join: (waiting: In) => void): Promise<Out> {
    const found = this.#waiting.get(key);
    if (found) {
      join(found.item);
      return found.answer;
    }
    const answer = this.#batcher.add({ key, item });
    this.#waiting.set(key, { item, answer });
    return answer;
  }

  /** Resolves when nothing waits or is under way. */
  drain(): Promise<void> {
    return this.#batcher.drain();
  }
}
