/** Writes that sessions are used, behind the answers and in batches. What is not written now is at the session's next use. */

import type { Database } from "../db/client.ts";
import * as sessions from "../db/sessions.ts";
import { errorText, type Log } from "../log.ts";
import { Batcher } from "../util/batcher.ts";

/** Larger than what comes due together when a pod's people all come back. */
const WAITING_MAX = 10_000;

export class SessionRenewals {
  readonly #batcher: Batcher<number, undefined>;
  /** Sessions that wait for their write, each once. */
  readonly #waiting = new Set<number>();
  #stopped = false;

  constructor({ db, log }: { db: Database; log: Log }) {
    this.#batcher = new Batcher(
      async (ids): Promise<undefined[]> => {
        try {
          if (!this.#stopped) await sessions.renew(db, ids);
        } catch (error) {
          if (!this.#stopped)
            log.warn("sessions not renewed, trying again when they are used", { error: errorText(error) });
        }
        for (const id of ids) this.#waiting.delete(id);
        return [];
      },
      { max: 500 },
    );
  }

  /** Notes that a session is used. */
  note(id: number): void {
    if (this.#waiting.has(id) || this.#waiting.size >= WAITING_MAX) return;
    this.#waiting.add(id);
    void this.#batcher.add(id);
  }

  /** Writes nothing more, and waits for nothing. */
  stop(): void {
    this.#stopped = true;
  }
}
