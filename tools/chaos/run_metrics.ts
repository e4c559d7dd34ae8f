/** Figures of a history: how long acks took, when nothing was heard, how soon people were back after each fault. Judges nothing. */

import { percentile } from "../support/statistics.ts";
import type { Entry } from "./history.ts";

/** Acks and reconnections so long after a fault still count as its own: a page waits up to 5 s before it comes back. */
const AFTERMATH_MS = 6_000;

export interface FaultTimes {
  readonly n: number;
  readonly fault: string;
  readonly at: number;
  until: number;
  note: string;
  /** How long each page that lost its socket was without one. */
  readonly back: number[];
}

export class RunMetrics {
  readonly faults: FaultTimes[] = [];
  acked = 0;
  written = 0;
  duplicateAcks = 0;
  /** Sends whose socket closed before an answer. */
  unknown = 0;
  /** The longest time between two acks, and when it began. */
  silence = { ms: 0, at: 0 };
  #lastAckAt: number | undefined;
  readonly #writtenAt = new Map<string, number>();
  readonly #acks: { at: number; ms: number }[] = [];
  readonly #onSocket = new Map<number, { page: string; unanswered: Set<string> }>();
  readonly #awaySince = new Map<string, { t: number; fault: FaultTimes | undefined }>();

  take(entry: Entry): void {
    const { t } = entry;
    switch (entry.e) {
      case "write":
        this.written++;
        return void this.#writtenAt.set(entry.ref, t);
      case "open": {
        this.#onSocket.set(entry.socket, { page: entry.page, unanswered: new Set() });
        const away = this.#awaySince.get(entry.page);
        this.#awaySince.delete(entry.page);
        away?.fault?.back.push(t - away.t);
        return;
      }
      case "close": {
        const socket = this.#onSocket.get(entry.socket);
        this.#onSocket.delete(entry.socket);
        if (!socket) return;
        this.unknown += socket.unanswered.size;
        return void this.#awaySince.set(socket.page, { t, fault: this.#faultAt(t) });
      }
      case "send":
        return void this.#onSocket.get(entry.socket)?.unanswered.add(entry.ref);
      case "rejected":
        return void this.#onSocket.get(entry.socket)?.unanswered.delete(entry.ref);
      case "ack":
        return this.#acked(entry);
      case "fault": {
        const { n, fault } = entry;
        return void this.faults.push({ n, fault, at: t, until: Number.POSITIVE_INFINITY, note: "", back: [] });
      }
      case "healed": {
        const fault = this.faults.find(({ n }) => n === entry.n);
        if (fault) [fault.until, fault.note] = [t, entry.note];
      }
    }
  }

  /** p50 and p99 of the time from writing to the ack, of what was written in calm and what under a fault, in ms. */
  ackLatency(): { calm: { p50: number; p99: number }; fault: { p50: number; p99: number } } {
    const calm: number[] = [];
    const fault: number[] = [];
    for (const { at, ms } of this.#acks) (this.#faultAt(at) ? fault : calm).push(ms);
    const of = (times: readonly number[]) => ({ p50: percentile(times, 0.5), p99: percentile(times, 0.99) });
    return { calm: of(calm), fault: of(fault) };
  }

  #acked({ t, socket, ref, duplicate }: Entry & { e: "ack" }): void {
    this.#onSocket.get(socket)?.unanswered.delete(ref);
    if (duplicate) this.duplicateAcks++;
    const at = this.#writtenAt.get(ref);
    if (at === undefined) return; // an ack of it came before
    this.#writtenAt.delete(ref);
    this.#acks.push({ at, ms: t - at });
    this.acked++;
    if (this.#lastAckAt !== undefined && t - this.#lastAckAt > this.silence.ms)
      this.silence = { ms: t - this.#lastAckAt, at: this.#lastAckAt };
    this.#lastAckAt = t;
  }

  #faultAt(t: number): FaultTimes | undefined {
    return this.faults.findLast(({ at, until }) => at <= t && t <= until + AFTERMATH_MS);
  }
}
