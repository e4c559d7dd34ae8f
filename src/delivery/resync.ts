/**
 * After bus events may have been lost, asks the affected users' pages to fetch what they are
 * missing. The database decides which users are affected, so the lost events need not be known.
 * What pages do not fetch by themselves is sent again (`refresh`).
 */

import { usersWithRecentChanges } from "../db/conversations.ts";
import type { Database } from "../db/database.ts";
import { errorText, type Log } from "../log.ts";
import { SYNC_FRAME } from "../protocol.ts";
import type { Hub } from "./hub.ts";

/** A loss is noticed within seconds; the rest allows for statements that waited for a lock. */
const LOOK_BACK_MS = 60_000;
/** Losses come in bursts, one per peer; each burst causes one query. */
const DEBOUNCE_MS = 100;
const CLOCK_CHECK_MS = 1_000;
/** Every notified page sends requests, so notifications are spread over a second. */
const SPREAD_MS = 1_000;
const SLICES = 20;

export class Resync {
  readonly #db: Database;
  readonly #hub: Hub;
  readonly #log: Log;
  readonly #refresh: (lookBackMs: number) => Promise<void>;
  readonly #clockTimer: Timer;
  /** Time this process was suspended since the last resync; it extends the look-back. */
  #suspendedMs = 0;
  #lastTickAt = performance.now();
  #debounce: Timer | undefined;
  #isRunning = false;
  #runAgain = false;
  #lookBackMs = 0;
  #isStopped = false;

  /** @param parts.refresh sends again what changed within this time; never rejects */
  constructor(parts: { db: Database; hub: Hub; log: Log; refresh: (lookBackMs: number) => Promise<void> }) {
    this.#db = parts.db;
    this.#hub = parts.hub;
    this.#log = parts.log;
    this.#refresh = parts.refresh;
    this.#clockTimer = setInterval(() => this.#measureSuspension(), CLOCK_CHECK_MS);
  }

  /**
   * Resyncs this pod's users soon.
   *
   * @param lookBackMs maximum age of the changes that may have been missed
   */
  schedule(lookBackMs = LOOK_BACK_MS): void {
    if (this.#isStopped) return;
    this.#lookBackMs = Math.max(this.#lookBackMs, lookBackMs);
    this.#debounce ??= setTimeout(() => {
      this.#debounce = undefined;
      void this.#run();
    }, DEBOUNCE_MS);
  }

  stop(): void {
    this.#isStopped = true;
    clearInterval(this.#clockTimer);
    clearTimeout(this.#debounce);
  }

  #measureSuspension(): void {
    const now = performance.now();
    this.#suspendedMs += Math.max(0, now - this.#lastTickAt - 2 * CLOCK_CHECK_MS);
    this.#lastTickAt = now;
  }

  async #run(): Promise<void> {
    this.#runAgain = true;
    if (this.#isRunning) return;
    this.#isRunning = true;
    while (this.#runAgain && !this.#isStopped) {
      this.#runAgain = false;
      this.#measureSuspension();
      const names = new Map([...this.#hub.sockets()].map(({ nameKey, username }) => [username, nameKey]));
      const refreshed = this.#refresh(this.#lookBackMs + this.#suspendedMs);
      if (names.size > 0) await this.#notify(await this.#affectedUsers(names));
      await refreshed;
    }
    this.#isRunning = false;
  }

  /**
   * Name keys of users with recent changes to conversations, drafts or settings; of all connected
   * users when the query fails.
   */
  async #affectedUsers(names: ReadonlyMap<string, string>): Promise<string[]> {
    const suspendedMs = this.#suspendedMs;
    const lookBackMs = this.#lookBackMs;
    this.#lookBackMs = 0;
    try {
      const changed = await usersWithRecentChanges(this.#db, [...names.keys()], lookBackMs + suspendedMs);
      this.#suspendedMs -= suspendedMs;
      return changed.flatMap((name) => names.get(name) ?? []);
    } catch (error) {
      if (!this.#isStopped)
        this.#log.warn("resync query failed, notifying all connected users", { error: errorText(error) });
      return [...names.values()];
    }
  }

  async #notify(keys: readonly string[]): Promise<void> {
    const slice = Math.ceil(keys.length / SLICES);
    for (let i = 0; i < keys.length; i += slice) {
      if (i > 0) await Bun.sleep(SPREAD_MS / SLICES);
      for (const key of keys.slice(i, i + slice)) this.#hub.deliver(key, SYNC_FRAME);
    }
  }
}
