/**
 * Asks a user's pages to resync after a resend: the pod that stored the message may have died, or lost the
 * connection to PostgreSQL, before it delivered the message.
 */

import type { Delivery } from "../delivery/delivery.ts";
import type { Socket } from "../delivery/hub.ts";

const EVERY_MS = 1_000;

export class ResendSyncs {
  readonly #delivery: Delivery;
  /** Users who received a sync within the last second: whether there was a resend since. */
  readonly #recent = new Map<string, boolean>();

  constructor(delivery: Delivery) {
    this.#delivery = delivery;
  }

  /**
   * Syncs a user at once, or after a second if they received a sync within it: each resend is followed by
   * one, because an earlier one may have come before the message was stored.
   *
   * @param except the socket of the resend, which received the ack; a later sync may include it
   */
  add(nameKey: string, except: Socket): void {
    if (this.#recent.has(nameKey)) return void this.#recent.set(nameKey, true);
    this.#sync(nameKey, except);
  }

  /** Sends what is due. Call when no more resends are settled. */
  flush(): void {
    for (const [nameKey, isDue] of this.#recent) if (isDue) this.#delivery.sync([nameKey]);
    this.#recent.clear();
  }

  #sync(nameKey: string, except?: Socket): void {
    this.#delivery.sync([nameKey], except && { except });
    this.#recent.set(nameKey, false);
    setTimeout(() => {
      const isDue = this.#recent.get(nameKey);
      this.#recent.delete(nameKey);
      if (isDue) this.#sync(nameKey);
    }, EVERY_MS).unref();
  }
}
