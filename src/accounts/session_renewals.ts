/**
 * Extends sessions in use, in batches after the responses. A renewal that fails is repeated at the
 * next use.
 */

import type { Database } from "../db/database.ts";
import * as sessions from "../db/sessions.ts";
import { errorText, type Log } from "../log.ts";
import { Batcher } from "../util/batcher.ts";

/** Larger than the number of sessions due at once when all users of a pod reconnect. */
const PENDING_MAX = 10_000;

export class SessionRenewals {
  readonly #batcher: Batcher<number, undefined>;
  /** Sessions waiting to be renewed. */
  readonly #pending = new Set<number>();
  #isStopped = false;

  constructor({ db, log }: { db: Database; log: Log }) {
    this.#batcher = new Batcher(
      async (ids): Promise<undefined[]> => {
        try {
          if (!this.#isStopped) await sessions.renew(db, ids);
        } catch (error) {
          if (!this.#isStopped)
            log.warn("sessions not renewed, will retry at their next use", { error: errorText(error) });
        }
        for (const id of ids) this.#pending.delete(id);
        return [];
      },
      { max: 500 },
    );
  }

  /** Records a use of a session. */
  note(id: number): void {
    if (this.#pending.has(id) || this.#pending.size >= PENDING_MAX) return;
    this.#pending.add(id);
    void this.#batcher.add(id);
  }

  /** Drops pending renewals. */
  stop(): void {
    this.#isStopped = true;
  }
}
