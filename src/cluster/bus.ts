/** The one seam: what carries events between pods. The database is the truth; an event lost on the way costs a delay, nothing else. */

import { type BusEvent, decodeEvent, encodeEvent } from "./events.ts";

export type { BusEvent } from "./events.ts";

export interface BusHandlers {
  /** An event of another pod. */
  deliver(event: BusEvent, from: string): void;
  /** Events may have been missed: of this pod, or of any when none is named. */
  lost(from?: string): void;
  /** A pod was met that was not known before. */
  joined(pod: string): void;
  /** A pod said goodbye (`graceful`), or was silent too long; then `lost` names it as well. */
  vanished(pod: string, graceful: boolean): void;
}

/**
 * Moves events from a pod to every *other* pod (a pod serves its own users itself): at most once, in order per sending pod.
 * A pod that may have missed something gets `lost`, and asks the database.
 */
export interface Bus {
  /** This pod's name, random for each process. */
  readonly pod: string;
  /** The other pods that are alive, as far as this one knows. */
  readonly peers: readonly string[];
  /** Never throws and never waits. Before `start` and after `stop` no pod receives it. */
  publish(events: readonly BusEvent[]): void;
  /** Begins delivery. Does not throw: while the bus is out of reach, `lost` is called again and again. */
  start(on: BusHandlers): Promise<void>;
  /** Says goodbye. */
  stop(): Promise<void>;
}

/** A name for a pod that no other has: 128 random bits, which `PacketCipher` counts on. */
export function newPodName(): string {
  return crypto.getRandomValues(new Uint8Array(16)).toHex();
}

/** Pods of one process, the reference for the others. It loses nothing. @param pods shared by those that hear each other */
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
    void this.#tell((on) => {
      for (const event of sent) on.deliver(event, this.pod);
    });
  }

  async start(on: BusHandlers): Promise<void> {
    this.#on = on;
    for (const other of this.peers) on.joined(other);
    this.#pods.add(this);
    await this.#tell(({ joined }) => joined(this.pod));
  }

  async stop(): Promise<void> {
    if (!this.#pods.delete(this)) return;
    this.#on = undefined;
    await this.#tell(({ vanished }) => vanished(this.pod, true));
  }

  /** A moment later, as over a network: what receives an event may publish its answer. */
  async #tell(say: (on: BusHandlers) => void): Promise<void> {
    const hearing = [...this.#pods].filter((pod) => pod !== this);
    await Promise.resolve();
    for (const pod of hearing) if (pod.#on) say(pod.#on);
  }
}
