/** The one seam: what carries events between pods. The database is the truth; an event lost on the way costs a delay, nothing else. */

/** What other pods hear of. `frame` is encoded already: pods pass it on unread. */
export type BusEvent =
  | { readonly kind: "frame"; readonly to: string; readonly frame: string }
  | { readonly kind: "end"; readonly nameKey: string; readonly sessionId: number }
  | { readonly kind: "user"; readonly username: string };

/**
 * Moves events from a pod to every *other* pod (a pod serves its own people itself): at most once, in order per sending pod.
 * Whoever may have missed something is told by `lost`, and asks the database.
 */
export interface Bus {
  /** Never throws and never waits: a lost event is recovered by the page. */
  publish(events: readonly BusEvent[]): void;
  /** Begins delivery. `lost` is called whenever events may have been missed. */
  start(on: { deliver(event: BusEvent): void; lost(): void }): Promise<void>;
  stop(): Promise<void>;
}

/** Pods of one process, the reference for the others. @param pods shared by those that hear each other */
export class MemoryBus implements Bus {
  readonly #pods: Set<MemoryBus>;
  #deliver: ((event: BusEvent) => void) | undefined;

  constructor(pods = new Set<MemoryBus>()) {
    this.#pods = pods;
  }

  publish(events: readonly BusEvent[]): void {
    for (const pod of this.#pods) if (pod !== this) for (const event of events) pod.#deliver?.(event);
  }

  async start(on: { deliver(event: BusEvent): void; lost(): void }): Promise<void> {
    this.#deliver = on.deliver;
    this.#pods.add(this);
  }

  async stop(): Promise<void> {
    this.#pods.delete(this);
  }
}
