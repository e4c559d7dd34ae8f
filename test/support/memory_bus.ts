/** The smallest bus, to which the others are compared. */

import { type Bus, type BusEvent, type BusHandlers, newPodName } from "../../src/cluster/bus.ts";
import { decodeEvent, encodeEvent } from "../../src/cluster/events.ts";

/** A bus between pods in one process that loses no event. @param pods shared by all pods of one bus */
export class MemoryBus implements Bus {
  readonly pod = newPodName();
  readonly #pods: Set<MemoryBus>;
  #on: BusHandlers | undefined;

  constructor(pods = new Set<MemoryBus>()) {
    this.#pods = pods;
  }

  get peers(): readonly string[] {
    return [...this.#pods].filter((pod) => pod !== this).map(({ pod }) => pod);
  }

  publish(events: readonly BusEvent[]): void {
    if (!this.#pods.has(this)) return;
    const sent = events.map((event) => decodeEvent(JSON.parse(encodeEvent(event))) as BusEvent);
    void this.#notifyPeers((on) => {
      for (const event of sent) on.deliver(event, this.pod);
    });
  }

  async start(on: BusHandlers): Promise<void> {
    this.#on = on;
    for (const other of this.peers) on.joined(other);
    this.#pods.add(this);
    await this.#notifyPeers(({ joined }) => joined(this.pod));
  }

  async stop(): Promise<void> {
    if (!this.#pods.delete(this)) return;
    this.#on = undefined;
    await this.#notifyPeers(({ left }) => left(this.pod, true));
  }

  /** Asynchronously, as over a network, so that a handler may publish in turn. */
  async #notifyPeers(notify: (on: BusHandlers) => void): Promise<void> {
    const receivers = [...this.#pods].filter((pod) => pod !== this);
    await Promise.resolve();
    for (const pod of receivers) if (pod.#on) notify(pod.#on);
  }
}
