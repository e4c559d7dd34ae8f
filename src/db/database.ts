/** A pool that survives restarts and failovers of PostgreSQL. */

import { ChatError } from "../errors.ts";
import type { Log } from "../log.ts";
import { type Client, connect, type Sql, type Target, withDeadline } from "./client.ts";
import { codeOf, environmentFailureOf, isConflict, isLost, isRefused } from "./failures.ts";

const GIVE_UP_AFTER_MS = 10_000;
const LOGGED_EVERY_MS = 60_000;

interface DatabaseOptions {
  readonly target: Target;
  readonly name: string;
  readonly max: number;
  readonly parameters?: Record<string, string | number>;
  readonly log: Log;
  /** Called after a lost connection: PostgreSQL may have restarted or failed over. */
  readonly onLost?: () => void;
  /** Called with the duration of each successful statement. */
  readonly onStatement?: (ms: number) => void;
}

/**
 * Every query must be safe to repeat, because after a lost connection it is unknown whether the
 * first run was committed. Each consists of reads and idempotent writes, usually one statement;
 * `insertMessages` adds one for replies, and one for rare outcomes.
 *
 * `postgres` 3.4.9 alone, under Bun 1.4.5, left 7–8 queries hanging forever after 3 s of terminated
 * backends; replacing the whole pool at the first loss left none.
 */
export class Database {
  readonly #options: DatabaseOptions;
  #pool: Client;
  #ended = false;
  #answeredAt = performance.now();
  /** When the database became unreachable, which is logged once, not at every retry. */
  #lostAt: number | undefined;
  /** By error code: until when further failures of that kind are not logged. */
  readonly #quietUntil = new Map<string, number>();

  constructor(options: DatabaseOptions) {
    this.#options = options;
    this.#pool = this.#open();
  }

  /**
   * Runs a query and retries it after lost connections and conflicts.
   *
   * @param query builds the statement; called once per try
   * @param options.giveUpAfterMs how long to retry, 10 s by default
   * @param options.keepTrying after that time: whether to continue while PostgreSQL is unreachable
   * @param options.isProbe exclude its duration from the metrics, since no user waits for it
   * @param options.onUnknown called when the outcome of a try is unknown: the next may find its
   *   rows
   * @throws ChatError `not_ready` if PostgreSQL stayed unreachable, or a lock or full disk
   *   prevented the statement; otherwise PostgreSQL's own error, also for locks and full disks if
   *   `giveUpAfterMs` is infinite
   */
  async run<T>(
    query: (sql: Sql) => PromiseLike<T>,
    options: { giveUpAfterMs?: number; keepTrying?: () => boolean; isProbe?: boolean; onUnknown?: () => void } = {},
  ): Promise<T> {
    const giveUpAt = performance.now() + (options.giveUpAfterMs ?? GIVE_UP_AFTER_MS);
    for (let delayMs = 50; ; delayMs = Math.min(delayMs * 2, 1_000)) {
      const pool = this.#pool;
      const startedAt = performance.now();
      try {
        const result = await withDeadline(query(pool));
        this.#markAnswered();
        if (!options.isProbe) this.#options.onStatement?.(this.#answeredAt - startedAt);
        return result;
      } catch (error) {
        const [code, environmentFailure] = [codeOf(error), environmentFailureOf(error)];
        if (isLost(error)) {
          if (isRefused(error)) this.#warn(code, "database refuses further connections");
          else this.#replace(pool, error);
          options.onUnknown?.();
        } else if (environmentFailure !== undefined && giveUpAt < Number.POSITIVE_INFINITY) {
          this.#warn(code, environmentFailure);
          throw new ChatError("not_ready", { cause: error });
        } else if (!isConflict(error)) throw error;
        const isOver = performance.now() + delayMs > giveUpAt && options.keepTrying?.() !== true;
        if (this.#ended || isOver) throw new ChatError("not_ready", { cause: error });
      }
      await Bun.sleep(delayMs * (0.5 + Math.random() / 2));
    }
  }

  /** Closes every connection at once; running queries are rejected. */
  async end(): Promise<void> {
    this.#ended = true;
    await this.#pool.end({ timeout: 0 });
  }

  #open(): Client {
    const { target, name, max, parameters } = this.#options;
    return connect(target, {
      name,
      max,
      parameters: {
        statement_timeout: 5_000,
        lock_timeout: 4_000,
        idle_in_transaction_session_timeout: 10_000,
        ...parameters,
      },
    });
  }

  #markAnswered(): void {
    this.#answeredAt = performance.now();
    if (this.#lostAt === undefined) return;
    this.#options.log.info("database reachable again", { afterMs: Math.round(this.#answeredAt - this.#lostAt) });
    this.#lostAt = undefined;
  }

  /** Logs at most once per minute and code: such failures affect many statements at once. */
  #warn(code: string, event: string): void {
    if (performance.now() < (this.#quietUntil.get(code) ?? 0)) return;
    this.#quietUntil.set(code, performance.now() + LOGGED_EVERY_MS);
    this.#options.log.warn(event, { code });
  }

  /** Replaces a broken pool once, however many of its queries fail; ending it rejects the rest. */
  #replace(broken: Client, error: unknown): void {
    if (this.#pool !== broken || this.#ended) return;
    if (this.#lostAt === undefined) this.#options.log.warn("database connection lost", { code: codeOf(error) });
    this.#lostAt ??= performance.now();
    this.#pool = this.#open();
    void broken.end({ timeout: 0 }).catch(() => {});
    this.#options.onLost?.();
  }
}
