/**
 * How much text each user sends per day (UTC), for `LIMIT_BYTES`. Counted in memory, so that a
 * message costs no query, and added to the table every two seconds by a statement that returns the
 * sum over all pods. A user can exceed the limit by at most what they send in that time on each pod that is
 * killed or partitioned meanwhile.
 */

import type { Database } from "../db/database.ts";
import { sweepAll } from "../db/sweep.ts";
import * as textSent from "../db/text_sent.ts";
import { ChatError } from "../errors.ts";
import { errorText, type Log } from "../log.ts";
import { Batcher } from "../util/batcher.ts";
import { formatSeconds } from "../util/duration.ts";

const FLUSH_EVERY_MS = 2_000;
const DAY_MS = 86_400_000;
const LOOKUPS_MAX = 200;

/** Bytes a user sent today. */
interface Usage {
  /** Over all pods, as far as this pod knows; without `unsaved`. */
  saved: number;
  /** Sent through this pod and not yet in the table. */
  unsaved: number;
  /** Without a socket on this pod: deleted once all is in the table. */
  isForgotten: boolean;
}

export class TextQuota {
  readonly #db: Database;
  readonly #maxBytes: number;
  readonly #log: Log;
  readonly #rejected: () => void;
  /** By username, for users with a socket on this pod or unsaved usage. */
  #users = new Map<string, Usage>();
  #day = dayOf(Date.now());
  #dayEndsAt = endOfDay(Date.now());
  readonly #lookups: Batcher<string, number>;
  readonly #timer: Timer;
  #flushing: Promise<void> | undefined;

  /** @param parts.maxBytes per user and day @param parts.rejected called on each rejection */
  constructor(parts: { db: Database; maxBytes: number; log: Log; rejected: () => void }) {
    this.#db = parts.db;
    this.#maxBytes = parts.maxBytes;
    this.#log = parts.log;
    this.#rejected = parts.rejected;
    this.#lookups = new Batcher((names) => this.#lookUp(names), { max: LOOKUPS_MAX });
    this.#timer = setInterval(() => void this.flush(), FLUSH_EVERY_MS);
    void this.#sweep();
  }

  /** Loads a user's total of today. To be called before their first socket on this pod opens. */
  async load(username: string): Promise<void> {
    if (this.#users.has(username)) {
      this.#usage(username);
      return;
    }
    const bytes = await this.#lookups.add(username);
    const usage = this.#usage(username);
    usage.saved = Math.max(usage.saved, bytes);
  }

  /** Charges a text. @param ref of the send, named in the error @throws ChatError `rate_limited` */
  charge(username: string, bytes: number, ref: string | undefined): void {
    const usage = this.#usage(username);
    if (usage.saved + usage.unsaved + bytes <= this.#maxBytes) {
      usage.unsaved += bytes;
      return;
    }
    this.#rejected();
    void this.flush(); // so that the other pods learn of it
    const retryAfter = Math.ceil((this.#dayEndsAt - Date.now()) / 1_000);
    const message = `You have reached the daily text limit. Please wait ${formatSeconds(retryAfter)}`;
    throw new ChatError("rate_limited", { ref, retryAfter, message });
  }

  /** Undoes a `charge` whose message was not stored. */
  refund(username: string, bytes: number): void {
    const usage = this.#users.get(username);
    if (usage) usage.unsaved -= bytes;
  }

  /**
   * Counts text that a user with a socket here sent through another pod, until the table includes
   * it.
   */
  addRemoteUsage(username: string, bytes: number): void {
    this.#usage(username).saved += bytes;
  }

  /** To be called when a user's last socket on this pod closes. */
  forget(username: string): void {
    const usage = this.#users.get(username);
    if (usage) usage.isForgotten = true; // deleted by the next save: a running save may still use it
  }

  /** Adds unsaved usage to the table. */
  async flush(): Promise<void> {
    this.#flushing ??= this.#save().finally(() => (this.#flushing = undefined));
    await this.#flushing;
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await this.#flushing;
    await this.flush();
  }

  async #save(): Promise<void> {
    this.#resetAtMidnight();
    const users = this.#users;
    for (const [username, { unsaved, isForgotten }] of users) if (isForgotten && unsaved === 0) users.delete(username);
    const sent = [...users]
      .filter(([, { unsaved }]) => unsaved !== 0)
      .map(([sender, { unsaved }]) => ({ day: this.#day, sender, bytes: unsaved }));
    try {
      for (let i = 0; i < sent.length; i += textSent.ROWS_MAX) {
        const rows = sent.slice(i, i + textSent.ROWS_MAX);
        const sums = new Map((await textSent.add(this.#db, rows)).map(({ sender, bytes }) => [sender, bytes]));
        for (const { sender, bytes } of rows) {
          const usage = users.get(sender) as Usage;
          usage.unsaved -= bytes;
          usage.saved = Math.max(usage.saved + bytes, sums.get(sender) ?? 0);
        }
      }
    } catch (error) {
      this.#log.warn("text quotas not saved, will retry", { error: errorText(error) });
    }
  }

  #usage(username: string): Usage {
    this.#resetAtMidnight();
    const usage = this.#users.getOrInsertComputed(username, () => ({ saved: 0, unsaved: 0, isForgotten: false }));
    usage.isForgotten = false;
    return usage;
  }

  /** Starts a new day for every user. Unsaved usage of the old day is dropped. */
  #resetAtMidnight(): void {
    const now = Date.now();
    if (now < this.#dayEndsAt) return;
    this.#day = dayOf(now);
    this.#dayEndsAt = endOfDay(now);
    this.#users = new Map();
    void this.#sweep();
  }

  async #lookUp(usernames: readonly string[]): Promise<number[]> {
    const found = await textSent.find(this.#db, this.#day, usernames);
    return usernames.map((username) => found.get(username) ?? 0);
  }

  /** Deletes old days; yesterday is kept, since pods' clocks differ. */
  async #sweep(): Promise<void> {
    try {
      await sweepAll(() => textSent.sweep(this.#db, dayOf(Date.now() - DAY_MS)));
    } catch (error) {
      this.#log.warn("old text quotas not removed, will retry tomorrow", { error: errorText(error) });
    }
  }
}

/** The UTC date of an instant. */
function dayOf(at: number): string {
  return new Date(at).toISOString().slice(0, 10);
}

function endOfDay(at: number): number {
  return (Math.floor(at / DAY_MS) + 1) * DAY_MS;
}
