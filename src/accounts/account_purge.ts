/**
 * Erases what is left behind accounts that are gone: a while after each, when the server starts and every hour, so that it happens whatever was
 * interrupted. In small steps, which wait for nobody and keep nobody waiting.
 */

import type { Database } from "../db/client.ts";
import * as deletedAccounts from "../db/deleted_accounts.ts";
import { errorText, type Log } from "../log.ts";

const EVERY_MS = 3_600_000;
/** Not at once: see `db/deleted_accounts.ts`. */
const AFTER_MS = 11_000;
const BETWEEN_STEPS_MS = 20;

export class AccountPurge {
  readonly #db: Database;
  readonly #log: Log;
  readonly #timer: Timer;
  #soon: Timer | undefined;
  #working = false;
  #again = false;
  #stopped = false;

  constructor(parts: { db: Database; log: Log }) {
    this.#db = parts.db;
    this.#log = parts.log;
    this.#timer = setInterval(() => void this.#erase(), EVERY_MS);
    void this.#erase();
  }

  /** Takes an account away, and erases what is left of it soon. */
  async deleteAccount(user: { id: number; username: string }): Promise<void> {
    await deletedAccounts.softDelete(this.#db, user);
    clearTimeout(this.#soon); // the last one's time is good for those before
    this.#soon = setTimeout(() => void this.#erase(), AFTER_MS);
  }

  stop(): void {
    this.#stopped = true;
    clearInterval(this.#timer);
    clearTimeout(this.#soon);
  }

  async #erase(): Promise<void> {
    this.#again = true;
    if (this.#working) return;
    this.#working = true;
    try {
      while (this.#again && !this.#stopped) {
        this.#again = false;
        for (const user of await deletedAccounts.accountsToPurge(this.#db)) {
          while (!this.#stopped && (await deletedAccounts.purgeStep(this.#db, user.username)))
            await Bun.sleep(BETWEEN_STEPS_MS);
          if (this.#stopped) return;
          await deletedAccounts.markPurged(this.#db, user);
          this.#again = true; // there may be more than one look shows
        }
      }
    } catch (error) {
      if (!this.#stopped)
        this.#log.warn("what is left of accounts that are gone not erased, trying again in an hour", {
          error: errorText(error),
        });
    } finally {
      this.#working = false;
    }
  }
}
