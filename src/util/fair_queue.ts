/** Runs a few jobs at a time and shares the turns between clients, so that one that queues many delays only itself. */

import { ChatError } from "../errors.ts";

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

interface Options {
  readonly atOnce: number;
  /** Jobs that wait at most, in all. */
  readonly waiting: number;
  /** So many keys of a path name a client, of which so many jobs wait at most. */
  readonly client: { readonly keys: number; readonly waiting: number };
}

/**
 * Jobs wait on a path of keys, such as a network and an address in it. At each level the keys take turns, so what one network gets does not
 * depend on how many addresses it uses. When too many wait, the newest job of the longest branch makes room.
 *
 * @example new FairQueue({ atOnce: 2, waiting: 128, client: { keys: 2, waiting: 32 } }).pass(["192.0.2", "192.0.2.7", "ann"], work)
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
    const { waiting, client } = this.#options;
    let branch = this.#root;
    let ofClient = 0;
    branch.size++;
    for (const [level, key] of path.entries()) {
      let next = branch.branches.get(key);
      if (!next) branch.branches.set(key, (next = new Branch()));
      next.size++;
      branch = next;
      if (level === client.keys - 1) ofClient = branch.size;
    }
    branch.line.push(job);
    if (ofClient > client.waiting) this.#drop(this.#longest(path, client.keys));
    else if (this.#root.size > waiting) this.#drop(this.#longest(path, 0));
  }

  /**
   * The path of the longest branch at each level below the first `kept` keys of `own`; of equally long ones that of `own`, so that a newcomer
   * displaces only a client that has more.
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
