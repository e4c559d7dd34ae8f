/** The one seam: what carries events between pods. The database is the truth; an event lost on the way costs a delay, nothing else. */

/** What other pods hear of. `frame` is a line of JSON, encoded once: pods pass it on unread. */
export type BusEvent =
  /** For every socket of these people, by their name keys. */
  | { readonly kind: "frame"; readonly to: readonly string[]; readonly frame: string }
  /** A session ended: its sockets close. */
  | { readonly kind: "end"; readonly nameKey: string; readonly sessionId: number }
  /** Somebody hides when they were last seen, and does not see it of others; or no longer. */
  | { readonly kind: "veil"; readonly nameKey: string; readonly on: boolean }
  /** One of two users blocked the other or ended a block. */
  | { readonly kind: "block"; readonly nameKeys: readonly string[] }
  /** Somebody signed up. */
  | { readonly kind: "user"; readonly username: string }
  /** A person's first socket at the sending pod. */
  | { readonly kind: "came"; readonly nameKey: string; readonly username: string }
  /** A person's last socket at the sending pod closed, and did not come back in time. */
  | { readonly kind: "went"; readonly nameKey: string; readonly lastSeen: string }
  /** The sending pod serves nobody new, and is about to end. */
  | { readonly kind: "leaving" }
  /** The sender wants this pod's list of people. */
  | { readonly kind: "ask"; readonly pod: string }
  /** A part of that list, as pairs of name key and name; `first` replaces what was known. A long one arrives as several. */
  | { readonly kind: "people"; readonly first: boolean; readonly people: readonly (readonly [string, string])[] };

export interface BusHandlers {
  /** An event of another pod. */
  deliver(event: BusEvent, from: string): void;
  /** Events may have been missed: of this pod, or of any when none is named. */
  lost(from?: string): void;
  /** A pod is heard that was not there before. */
  joined(pod: string): void;
  /** A pod said goodbye (`politely`), or was silent too long; then `lost` names it as well. */
  vanished(pod: string, politely: boolean): void;
}

/**
 * Moves events from a pod to every *other* pod (a pod serves its own people itself): at most once, in order per sending pod.
 * Whoever may have missed something is told by `lost`, and asks the database.
 */
export interface Bus {
  /** This pod's name, random for each process. */
  readonly pod: string;
  /** The other pods that are alive, as far as this one hears. */
  readonly others: readonly string[];
  /** Never throws and never waits. Before `start` and after `stop` nobody hears it. */
  publish(events: readonly BusEvent[]): void;
  /** Begins delivery. Does not throw: while the bus is out of reach, `lost` is called again and again. */
  start(on: BusHandlers): Promise<void>;
  /** Says goodbye. */
  stop(): Promise<void>;
}

/** A name for a pod that no other has. */
export function newPodName(): string {
  return Buffer.from(crypto.getRandomValues(new Uint8Array(9))).toString("base64url");
}

/** Pods of one process, the reference for the others. It loses nothing. @param pods shared by those that hear each other */
export class MemoryBus implements Bus {
  readonly pod = newPodName();
  readonly #pods: Set<MemoryBus>;
  #on: BusHandlers | undefined;

  constructor(pods = new Set<MemoryBus>()) {
    this.#pods = pods;
  }

  get others(): readonly string[] {
    return [...this.#pods].filter((pod) => pod !== this).map(({ pod }) => pod);
  }

  publish(events: readonly BusEvent[]): void {
    if (!this.#pods.has(this)) return;
    void this.#tell((on) => {
      for (const event of events) on.deliver(event, this.pod);
    });
  }

  async start(on: BusHandlers): Promise<void> {
    this.#on = on;
    for (const other of this.others) on.joined(other);
    this.#pods.add(this);
    await this.#tell(({ joined }) => joined(this.pod));
  }

  async stop(): Promise<void> {
    if (!this.#pods.delete(this)) return;
    this.#on = undefined;
    await this.#tell(({ vanished }) => vanished(this.pod, true));
  }

  /** A moment later, as over a network: what hears an event may publish its answer. */
  async #tell(say: (on: BusHandlers) => void): Promise<void> {
    const hearing = [...this.#pods].filter((pod) => pod !== this);
    await Promise.resolve();
    for (const pod of hearing) if (pod.#on) say(pod.#on);
  }
}
