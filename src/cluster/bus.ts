/** Events between pods. The database is the source of truth, so a lost event costs only a delay. */

import type { Log } from "../log.ts";
import type { BusEvent } from "./events.ts";

export type { BusEvent } from "./events.ts";

export interface BusHandlers {
  /** An event from another pod arrived. */
  deliver(event: BusEvent, from: string): void;
  /** Events may have been missed: those of `from`, or of any pod if it is omitted. */
  lost(from?: string): void;
  /** A new pod was discovered. */
  joined(pod: string): void;
  /**
   * A pod announced its stop (`graceful`), or its lease expired, in which case `lost` is called too.
   */
  left(pod: string, graceful: boolean): void;
}

/**
 * Delivers events to every *other* pod: at most once, in order per sending pod. A pod that may have
 * missed events gets `lost` and queries the database.
 */
export interface Bus {
  /** This pod's name, random per process. */
  readonly pod: string;
  /** The other pods that this one considers alive. */
  readonly peers: readonly string[];
  /** Never throws or waits. Before `start` and after `stop` the events are dropped. */
  publish(events: readonly BusEvent[]): void;
  /** Starts delivery. Does not throw: while the bus is unreachable, `lost` is called repeatedly. */
  start(on: BusHandlers): Promise<void>;
  /** Announces the stop to the other pods and disconnects. */
  stop(): Promise<void>;
}

/** A unique pod name: 128 random bits, on which the security of `PacketCipher` depends. */
export function newPodName(): string {
  return crypto.getRandomValues(new Uint8Array(16)).toHex();
}

/** Wraps handlers to log their errors, which would otherwise reach the driver. */
export function catchHandlerErrors(handlers: BusHandlers, log: Log): BusHandlers {
  const guard = (call: () => void) => {
    try {
      call();
    } catch (error) {
      log.error("bus event handler failed", error);
    }
  };
  return {
    deliver: (event, from) => guard(() => handlers.deliver(event, from)),
    lost: (from) => guard(() => handlers.lost(from)),
    joined: (pod) => guard(() => handlers.joined(pod)),
    left: (pod, graceful) => guard(() => handlers.left(pod, graceful)),
  };
}
