/** What a pod knows of the others from their packets: who is alive, and whose events were missed. Knows nothing of connections. */

import type { BusHandlers } from "./bus.ts";
import type { Packet } from "./packet.ts";

interface Other {
  /** The last of its numbers that is accounted for. */
  number: number;
  heardAt: number;
  /** Whether its silence was told already. */
  late: boolean;
}

/** Instants are `performance.now()`. */
export class Others {
  readonly #pods = new Map<string, Other>();
  readonly #on: BusHandlers;
  readonly #lateMs: number;
  readonly #leaseMs: number;

  /** @param timing.lateMs a silence after which events may have been missed @param timing.leaseMs one after which a pod is gone */
  constructor(on: BusHandlers, timing: { lateMs: number; leaseMs: number }) {
    this.#on = on;
    this.#lateMs = timing.lateMs;
    this.#leaseMs = timing.leaseMs;
  }

  get names(): readonly string[] {
    return [...this.#pods.keys()];
  }

  /** Takes note of a packet. @returns false when its events must not be delivered: they are old */
  hear({ kind, pod, number }: Packet, now: number): boolean {
    const before = kind === "events" ? number - 1 : number; // everything up to here was sent earlier
    let other = this.#pods.get(pod);
    if (!other) {
      if (kind === "goodbye") return false;
      // Heard in the midst of its numbers: what it said before may concern people who are here already.
      other = { number: 0, heardAt: now, late: false };
      this.#pods.set(pod, other);
      this.#on.joined(pod);
    }
    other.heardAt = now;
    other.late = false;
    const old = number <= other.number;
    if (before > other.number) this.#on.lost(pod);
    other.number = Math.max(other.number, number);
    if (kind === "goodbye") {
      this.#pods.delete(pod);
      this.#on.vanished(pod, true);
    }
    return kind === "events" && !old;
  }

  /** To be called again and again: whoever is silent is told of, soon as late, then as gone. */
  check(now: number): void {
    for (const [pod, other] of this.#pods) {
      const silentMs = now - other.heardAt;
      if (silentMs > this.#leaseMs) {
        this.#pods.delete(pod);
        this.#on.vanished(pod, false);
        this.#on.lost(pod); // what it stored last, and told nobody
      } else if (silentMs > this.#lateMs && !other.late) {
        other.late = true;
        this.#on.lost(pod);
      }
    }
  }

  /** Nothing at all is heard, so nobody's silence means anything: the lease of each begins anew. */
  excuse(now: number): void {
    for (const other of this.#pods.values()) other.heardAt = now;
  }

  /** This pod itself stood still: nobody else was silent for so long. */
  forgive(stoodStillMs: number): void {
    for (const other of this.#pods.values()) other.heardAt += stoodStillMs;
  }
}
