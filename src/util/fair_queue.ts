/** Runs a few jobs at a time, in fair turns: a client that queues many jobs delays only itself. */

import { ChatError } from "../errors.ts";

interface Job {
  readonly start: () => void;
  readonly reject: (error: ChatError) => void;
}

/** The jobs under one key: in sub-branches, or queued at the end of a path. */
class Branch {
  /** In the order of their turns. */
  readonly branches = new Map<string, Branch>();
  readonly jobs: Job[] = [];
  /** Jobs in this branch and below. */
  size = 0;
}

interface Options {
  /** Jobs that run at a time. */
  readonly concurrency: number;
  /** Maximum number of waiting jobs. */
  readonly waiting: number;
  /** How many leading keys of a path identify a client, and its maximum of waiting jobs. */
  readonly client: { readonly keys: number; readonly waiting: number };
}

/**
 * Jobs queue under a path of keys, such as a network, an address in it and a name. The keys of each
 * level take turns, so a network's share does not depend on how many addresses it uses. If too many
 * jobs wait, the newest job of the longest branch is rejected.
 *
 * @example queue.run(["192.0.2", "192.0.2.7", "ann"], work)
 */
export class FairQueue {
  readonly #options: Options;
  readonly #root = new Branch();
  #running = 0;

  constructor(options: Options) {
    this.#options = options;
  }

  /**
   * Runs a job when its turn comes.
   *
   * @param path the same number of keys for every job
   * @throws ChatError `busy` if too many jobs wait @throws the error of the job
   */
  async run<T>(path: readonly string[], work: () => Promise<T>): Promise<T> {
    if (this.#running < this.#options.concurrency) this.#running++;
    else await new Promise<void>((start, reject) => this.#add(path, { start, reject }));
    try {
      return await work();
    } finally {
      const next = this.#takeNext();
      if (next) next.start();
      else this.#running--;
    }
  }

  #add(path: readonly string[], job: Job): void {
    const { waiting, client } = this.#options;
    let branch = this.#root;
    let ofClient = 0;
    branch.size++;
    for (const [level, key] of path.entries()) {
      const next = branch.branches.getOrInsertComputed(key, () => new Branch());
      next.size++;
      branch = next;
      if (level === client.keys - 1) ofClient = branch.size;
    }
    branch.jobs.push(job);
    if (ofClient > client.waiting) this.#drop(this.#longest(path, client.keys));
    else if (this.#root.size > waiting) this.#drop(this.#longest(path, 0));
  }

  /**
   * The path to the longest branch at each level below the first `kept` keys of `own`. Ties go to
   * `own`, so that a new job displaces only a client with more jobs.
   */
  #longest(own: readonly string[], kept: number): string[] {
    const path: string[] = [];
    let branch = this.#root;
    for (const [level, ownKey] of own.entries()) {
      let longest = branch.branches.has(ownKey) ? ownKey : "";
      for (const [key, { size }] of level < kept ? [] : branch.branches) {
        if (size > (branch.branches.get(longest)?.size ?? 0)) longest = key;
      }
      path.push(longest);
      branch = branch.branches.get(longest) as Branch;
    }
    return path;
  }

  /** Rejects the newest job on a path. */
  #drop(path: readonly string[]): void {
    let branch = this.#root;
    branch.size--;
    for (const key of path) {
      const next = branch.branches.get(key) as Branch;
      if (--next.size === 0) branch.branches.delete(key);
      branch = next;
    }
    branch.jobs.pop()?.reject(new ChatError("busy", { retryAfter: 2 }));
  }

  /** Removes the next job; every key on its path moves to the end of its level. */
  #takeNext(): Job | undefined {
    let branch = this.#root;
    if (branch.size === 0) return undefined;
    branch.size--;
    for (;;) {
      const [first] = branch.branches;
      if (!first) return branch.jobs.shift();
      const [key, next] = first;
      branch.branches.delete(key);
      if (--next.size > 0) branch.branches.set(key, next);
      branch = next;
    }
  }
}
