/** Runs a few jobs at a time and shares the turns between clients, so that one that queues many delays only itself. */

import { ChatError } from "./errors.ts";

interface Job {
  readonly start: () => void;
  readonly refuse: (error: ChatError) => void;
}

/** Jobs below one key: in further branches, or at the end of a path in a line. */
class Branch {
  /** In the order of their turns. */
  readonly branches = new Map<string, Branch>();
  readonly line: Job[] = [];
  /** Jobs in all of it. */
  size = 0;
}

/**
 * Jobs wait on a path of keys, such as a network and an address in it. At each level the keys take turns, so what one network gets does not
 * depend on how many addresses it uses. When too many wait, the newest job of the longest branch makes room.
 *
 * @example new FairQueue({ atOnce: 2, waiting: 128, waitingOnPath: 32 }).pass(["2001:db8:1", "2001:db8:1:2300"], work)
 */
export class FairQueue {
  readonly #options: { readonly atOnce: number; readonly waiting: number; readonly waitingOnPath: number };
  readonly #root = new Branch();
  #running = 0;

  /** @param options.waiting jobs that wait at most, in all @param options.waitingOnPath on one path */
  constructor(options: { atOnce: number; waiting: number; waitingOnPath: number }) {
    this.#options = options;
  }

  /**
   * Runs a job when its turn comes.
   *
   * @param path as many keys as every other job has
   * @throws ChatError `busy` when too many wait @throws what the job threw
   */
  async pass<T>(path: readonly string[], work: () => Promise<T>): Promise<T> {
    if (this.#running < this.#options.atOnce) this.#running++;
    else await new Promise<void>((start, refuse) => this.#add(path, { start, refuse }));
    try {
      return await work();
    } finally {
      const next = this.#takeNext();
      if (next) next.start();
      else this.#running--;
    }
  }

  #add(path: readonly string[], job: Job): void {
    let branch = this.#root;
    branch.size++;
    for (const key of path) {
      let next = branch.branches.get(key);
      if (!next) branch.branches.set(key, (next = new Branch()));
      next.size++;
      branch = next;
    }
    branch.line.push(job);
    if (branch.line.length > this.#options.waitingOnPath) this.#drop(path);
    else if (this.#root.size > this.#options.waiting) this.#drop(this.#longest(path));
  }

  /** The path of the longest branch at each level; of equally long ones `own`, so that a newcomer displaces only who has more. */
  #longest(own: readonly string[]): string[] {
    const path: string[] = [];
    let branch = this.#root;
    for (const ownKey of own) {
      let longest = branch.branches.has(ownKey) ? ownKey : "";
      for (const [key, { size }] of branch.branches) {
        if (size > (branch.branches.get(longest)?.size ?? 0)) longest = key;
      }
      path.push(longest);
      branch = branch.branches.get(longest) as Branch;
    }
    return path;
  }

  /** Refuses the newest job on a path. */
  #drop(path: readonly string[]): void {
    let branch = this.#root;
    branch.size--;
    for (const key of path) {
      const next = branch.branches.get(key) as Branch;
      if (--next.size === 0) branch.branches.delete(key);
      branch = next;
    }
    branch.line.pop()?.refuse(new ChatError("busy", { retryAfter: 2 }));
  }

  /** Takes the job whose turn it is; every key on its path goes to the end of its row. */
  #takeNext(): Job | undefined {
    let branch = this.#root;
    if (branch.size === 0) return undefined;
    branch.size--;
    for (;;) {
      const [first] = branch.branches;
      if (!first) return branch.line.shift();
      const [key, next] = first;
      branch.branches.delete(key);
      if (--next.size > 0) branch.branches.set(key, next);
      branch = next;
    }
  }
}
