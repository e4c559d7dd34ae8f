/**
 * Deletes accounts, and later purges the data that no remaining user can read: shortly after each
 * deletion, at startup and every hour, so that an interrupted purge is completed. Works in small
 * steps that neither wait for locks nor hold them for long.
 */

import type { Database } from "../db/database.ts";
import * as deletedAccounts from "../db/deleted_accounts.ts";
import { errorText, type Log } from "../log.ts";

const PURGE_EVERY_MS = 3_600_000;
/** The delay after a deletion: see `SETTLED` in `db/deleted_accounts.ts`. */
const PURGE_DELAY_MS = 11_000;
const BETWEEN_STEPS_MS = 20;

export class AccountPurge {
  readonly #db: Database;
  readonly #log: Log;
  readonly #timer: Timer;
  #delayed: Timer | undefined;
  #isRunning = false;
  #runAgain = false;
  #isStopped = false;

  constructor(parts: { db: Database; log: Log }) {
    this.#db = parts.db;
    this.#log = parts.log;
    this.#timer = setInterval(() => void this.#purge(), PURGE_EVERY_MS);
    void this.#purge();
  }

  /** Deletes an account and schedules the purge of its data. */
  async deleteAccount(user: { id: number; username: string }): Promise<void> {
    await deletedAccounts.softDelete(this.#db, user);
    clearTimeout(this.#delayed); // one purge after the last deletion covers the earlier ones
    this.#delayed = setTimeout(() => void this.#purge(), PURGE_DELAY_MS);
  }

  stop(): void {
    this.#isStopped = true;
    clearInterval(this.#timer);
    clearTimeout(this.#delayed);
  }

  async #purge(): Promise<void> {
    this.#runAgain = true;
    if (this.#isRunning) return;
    this.#isRunning = true;
    try {
      while (this.#runAgain && !this.#isStopped) {
        this.#runAgain = false;
        for (const user of await deletedAccounts.accountsToPurge(this.#db)) {
          while (!this.#isStopped && (await deletedAccounts.purgeStep(this.#db, user.username)))
            await Bun.sleep(BETWEEN_STEPS_MS);
          if (this.#isStopped) return;
          await deletedAccounts.markPurged(this.#db, user);
          this.#runAgain = true; // the query returns a limited number of accounts
        }
      }
    } catch (error) {
      if (!this.#isStopped)
        this.#log.warn("purging deleted accounts failed, will retry in an hour", {
          error: errorText(error),
        });
    } finally {
      this.#isRunning = false;
    }
  }
}
