/** Closes sockets whose sessions have ended, and deletes expired sessions. */

import type { Database } from "../db/database.ts";
import * as sessions from "../db/sessions.ts";
import { sweepAll } from "../db/sweep.ts";
import type { Hub } from "../delivery/hub.ts";
import { errorText, type Log } from "../log.ts";
import { CLOSE } from "../protocol.ts";
import type { SessionRenewals } from "./session_renewals.ts";

const CHECK_EVERY_MS = 60_000;
/** Losses come in bursts, one per peer; each burst causes one check. */
const CHECK_SOON_MS = 100;
const SWEEP_EVERY_MS = 3_600_000;

export class SessionSweeper {
  readonly #db: Database;
  readonly #hub: Hub;
  readonly #renewals: SessionRenewals;
  readonly #log: Log;
  readonly #timers: readonly Timer[];
  #debounce: Timer | undefined;
  #isStopped = false;

  constructor(parts: { db: Database; hub: Hub; renewals: SessionRenewals; log: Log }) {
    this.#db = parts.db;
    this.#hub = parts.hub;
    this.#renewals = parts.renewals;
    this.#log = parts.log;
    this.#timers = [
      setInterval(() => void this.#check(), CHECK_EVERY_MS),
      setInterval(() => void this.#sweep(), SWEEP_EVERY_MS),
    ];
    void this.#sweep();
  }

  /**
   * Checks the sessions of open sockets soon, because the event that one has ended may have been
   * lost.
   */
  checkSoon(): void {
    this.#debounce ??= setTimeout(() => {
      this.#debounce = undefined;
      void this.#check();
    }, CHECK_SOON_MS);
  }

  stop(): void {
    this.#isStopped = true;
    this.#timers.forEach(clearInterval);
    clearTimeout(this.#debounce);
  }

  async #check(): Promise<void> {
    const open = new Set([...this.#hub.sockets()].map(({ sessionId }) => sessionId));
    if (open.size === 0) return;
    try {
      const alive = await sessions.alive(this.#db, [...open]);
      this.#hub.closeWhere(CLOSE.sessionEnded, ({ sessionId }) => open.has(sessionId) && !alive.has(sessionId));
      for (const [id, { isDue }] of alive) if (isDue) this.#renewals.note(id); // an open socket counts as use
    } catch (error) {
      this.#warn("checking sessions failed, will retry in a minute", error);
    }
  }

  async #sweep(): Promise<void> {
    try {
      await sweepAll(() => sessions.sweep(this.#db));
    } catch (error) {
      this.#warn("deleting expired sessions failed, will retry in an hour", error);
    }
  }

  #warn(event: string, error: unknown): void {
    if (!this.#isStopped) this.#log.warn(event, { error: errorText(error) });
  }
}
