/** Delivers frames to users' sockets on this pod and on the other pods. */

import type { Bus } from "../cluster/bus.ts";
import { SYNC_FRAME } from "../protocol.ts";
import type { Hub, Socket } from "./hub.ts";

export class Delivery {
  readonly #hub: Hub;
  readonly #bus: Bus;

  constructor({ hub, bus }: { hub: Hub; bus: Bus }) {
    this.#hub = hub;
    this.#bus = bus;
  }

  /**
   * Sends a frame to every socket of these users. Never throws. Frames may be lost: resync recovers
   * everything but typing: messages, changes, marks, drafts and settings.
   *
   * @param nameKeys from the database, because other pods trust the names in events
   * @param options.except a socket of this pod that is left out
   */
  send(nameKeys: readonly string[], frame: string, options: { except?: Socket } = {}): void {
    if (nameKeys.length === 0) return;
    for (const nameKey of nameKeys) this.#hub.deliver(nameKey, frame, options.except);
    this.#bus.publish([{ kind: "frame", to: nameKeys, frame }]);
  }

  /** Asks all pages of these users to fetch what they are missing. @param options as for `send` */
  sync(nameKeys: readonly string[], options: { except?: Socket } = {}): void {
    this.send(nameKeys, SYNC_FRAME, options);
  }

  /** Closes the sockets of an ended session on every pod. */
  endSession({ id, nameKey }: { id: number; nameKey: string }): void {
    this.#hub.endSession(id);
    this.#bus.publish([{ kind: "end", nameKey, sessionId: id }]);
  }
}
