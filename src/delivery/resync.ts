/**
 * What happens when events between pods may have been lost: whoever has a conversation that changed lately is told to ask, and only
 * they. The database is the truth; nobody has to know what was lost.
 */

import type { Database } from "../db/client.ts";
import { usersWithRecentChanges } from "../db/conversations.ts";
import { errorText, type Log } from "../log.ts";
import { SYNC_FRAME } from "../protocol.ts";
import type { Hub } from "./hub.ts";

/** What is lost is noticed, or tried again, within seconds; the rest is for statements that waited for a lock. */
const LOOK_BACK_MS = 60_000;
/** Losses that come together are one. */
const GATHER_MS = 100;
const TICK_MS = 1_000;
/** Not all at once: each told asks for its conversations. */
const SPREAD_MS = 1_000;
const SLICES = 20;

export class Resync {
  readonly #db: Database;
  readonly #hub: Hub;
  readonly #log: Log;
  readonly #timer: Timer;
  /** How much further back than usual: what this process slept. */
  #sleptMs = 0;
  #tickedAt = performance.now();
  #gathering: Timer | undefined;
  #working = false;
  #again = false;
  #lookBackMs = 0;
  #stopped = false;

  constructor(parts: { db: Database; hub: Hub; log: Log }) {
    this.#db = parts.db;
    this.#hub = parts.hub;
    this.#log = parts.log;
    this.#timer = setInterval(() => this.#tick(), TICK_MS);
  }

  /** Events may have been lost: soon everyone here whom it concerns is told. @param lookBackMs how old the changes are at most */
  schedule(lookBackMs = LOOK_BACK_MS): void {
    if (this.#stopped) return;
    this.#lookBackMs = Math.max(this.#lookBackMs, lookBackMs);
    this.#gathering ??= setTimeout(() => {
      this.#gathering = undefined;
      void this.#resync();
    }, GATHER_MS);
  }

  stop(): void {
    this.#stopped = true;
    clearInterval(this.#timer);
    clearTimeout(this.#gathering);
  }

  #tick(): void {
    const now = performance.now();
    this.#sleptMs += Math.max(0, now - this.#tickedAt - 2 * TICK_MS);
    this.#tickedAt = now;
  }

  async #resync(): Promise<void> {
    this.#again = true;
    if (this.#working) return;
    this.#working = true;
    while (this.#again && !this.#stopped) {
      this.#again = false;
      this.#tick();
      const names = new Map([...this.#hub.sockets()].map(({ nameKey, username }) => [username, nameKey]));
      if (names.size > 0) await this.#tell(await this.#whom(names));
    }
    this.#working = false;
  }

  /** The keys of those with changes; of all when the database cannot say. */
  async #whom(names: ReadonlyMap<string, string>): Promise<string[]> {
    const slept = this.#sleptMs;
    const lookBackMs = this.#lookBackMs;
    this.#lookBackMs = 0;
    try {
      const changed = await usersWithRecentChanges(this.#db, [...names.keys()], lookBackMs + slept);
      this.#sleptMs -= slept;
      return changed.flatMap((name) => names.get(name) ?? []);
    } catch (error) {
      if (!this.#stopped)
        this.#log.warn("who may lack something is not known: everybody is told to ask", { error: errorText(error) });
      return [...names.values()];
    }
  }

  async #tell(keys: readonly string[]): Promise<void> {
    const slice = Math.ceil(keys.length / SLICES);
    for (let i = 0; i < keys.length; i += slice) {
      if (i > 0) await Bun.sleep(SPREAD_MS / SLICES);
      for (const key of keys.slice(i, i + slice)) this.#hub.deliver(key, SYNC_FRAME);
    }
  }
}
