/**
 * Several servers on one port of one machine: starts them, starts another for one that ended, and ends them all. They are pods like
 * any others, over one database.
 */

import type { Log } from "./log.ts";

export const WORKERS_MAX = 12; // each has seven connections of PostgreSQL's hundred

/** A worker that ends sooner than this is started again later and later. */
const SHORT_LIFE_MS = 10_000;
const AGAIN_FIRST_MS = 200;
const AGAIN_MOST_MS = 10_000;

/** Starts a worker; `serves` is called when it does. */
type Spawn = (serves: () => void) => Bun.Subprocess;

export class Workers {
  readonly #spawn: Spawn;
  readonly #log: Log;
  readonly #alive = new Set<Bun.Subprocess>();
  readonly #lives: Promise<void>[] = [];
  readonly #leaving = Promise.withResolvers<void>();
  #isLeaving = false;

  constructor(options: { spawn: Spawn; log: Log }) {
    this.#spawn = options.spawn;
    this.#log = options.log;
  }

  /** Starts them. @returns 0 when all serve, or the exit code of one that could not: then the others are ended */
  async start(count: number): Promise<number> {
    const codes = await Promise.all(
      Array.from({ length: count }, () => {
        const started = Promise.withResolvers<number>();
        this.#lives.push(this.#live(started.resolve));
        return started.promise;
      }),
    );
    const failed = codes.find((code) => code !== 0) ?? 0;
    if (failed !== 0) await this.stop("SIGINT");
    return failed;
  }

  /** Passes a signal on. @returns when every worker has ended */
  async stop(signal: NodeJS.Signals): Promise<void> {
    this.#isLeaving = true;
    this.#leaving.resolve();
    for (const worker of this.#alive) worker.kill(signal);
    await Promise.all(this.#lives);
  }

  /** One worker after the other in the same place. @param started told 0 when the first serves, or its exit code */
  async #live(started: (code: number) => void): Promise<void> {
    let hasServed = false;
    let delayMs = AGAIN_FIRST_MS;
    while (!this.#isLeaving) {
      const begunAt = performance.now();
      const worker = this.#spawn(() => {
        if (hasServed) this.#log.info("worker serves", { pid: worker.pid });
        hasServed = true;
        started(0);
      });
      this.#alive.add(worker);
      const code = await worker.exited;
      this.#alive.delete(worker);
      if (!hasServed) return started(code || 1);
      if (this.#isLeaving) return;
      this.#log.error("a worker ended, starting another", undefined, {
        pid: worker.pid,
        code,
        signal: worker.signalCode ?? undefined,
      });
      if (performance.now() - begunAt > SHORT_LIFE_MS) delayMs = AGAIN_FIRST_MS;
      await Promise.race([Bun.sleep(delayMs), this.#leaving.promise]);
      delayMs = Math.min(delayMs * 2, AGAIN_MOST_MS);
    }
  }
}
