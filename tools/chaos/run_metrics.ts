/** Figures of a history: ack latency, the longest time without an ack, reconnection times after each fault. */

import { percentile } from "../support/statistics.ts";
import type { Entry } from "./history.ts";

/** How long after a fault acks and reconnections still count as its effect: a page waits up to 5 s before it reconnects. */
const AFTERMATH_MS = 6_000;

export interface FaultTimes {
  readonly n: number;
  readonly fault: string;
  readonly at: number;
  until: number;
  note: string;
  /** For each page that lost its socket, the time without one. */
  readonly reconnectMs: number[];
}

export class RunMetrics {
  readonly faults: FaultTimes[] = [];
  acked = 0;
  written = 0;
  duplicateAcks = 0;
  /** Changes that were answered, on any socket. */
  changed = 0;
  /** Sends and changes whose socket closed before an answer. */
  unknown = 0;
  /** The longest time between two acks, and its start. */
  silence = { ms: 0, at: 0 };
  #lastAckAt: number | undefined;
  readonly #writtenAt = new Map<string, number>();
  readonly #acks: { at: number; ms: number }[] = [];
  readonly #sockets = new Map<number, { page: string; unanswered: Set<string> }>();
  readonly #disconnected = new Map<string, { t: number; fault: FaultTimes | undefined }>();

  take(entry: Entry): void {
    const { t } = entry;
    switch (entry.e) {
      case "write":
        this.written++;
        return void this.#writtenAt.set(entry.ref, t);
      case "open": {
        this.#sockets.set(entry.socket, { page: entry.page, unanswered: new Set() });
        const disconnected = this.#disconnected.get(entry.page);
        this.#disconnected.delete(entry.page);
        disconnected?.fault?.reconnectMs.push(t - disconnected.t);
        return;
      }
      case "close": {
        const socket = this.#sockets.get(entry.socket);
        this.#sockets.delete(entry.socket);
        if (!socket) return;
        this.unknown += socket.unanswered.size;
        return void this.#disconnected.set(socket.page, { t, fault: this.#faultAt(t) });
      }
      case "send":
        return void this.#sockets.get(entry.socket)?.unanswered.add(entry.ref);
      case "rejected":
        return void this.#sockets.get(entry.socket)?.unanswered.delete(entry.ref);
      case "ack":
        return this.#acked(entry);
      case "changed":
        if (entry.ref === undefined) return;
        this.changed++;
        return void this.#sockets.get(entry.socket)?.unanswered.delete(entry.ref);
      case "fault": {
        const { n, fault } = entry;
        const times = { n, fault, at: t, until: Number.POSITIVE_INFINITY, note: "", reconnectMs: [] };
        return void this.faults.push(times);
      }
      case "healed": {
        const fault = this.faults.find(({ n }) => n === entry.n);
        if (fault) [fault.until, fault.note] = [t, entry.note];
      }
    }
  }

  /** p50 and p99 from writing to the ack in ms, of messages written without a fault and under one. */
  ackLatency(): { calm: { p50: number; p99: number }; fault: { p50: number; p99: number } } {
    const calm: number[] = [];
    const fault: number[] = [];
    for (const { at, ms } of this.#acks) (this.#faultAt(at) ? fault : calm).push(ms);
    const of = (times: readonly number[]) => ({ p50: percentile(times, 0.5), p99: percentile(times, 0.99) });
    return { calm: of(calm), fault: of(fault) };
  }

  #acked({ t, socket, ref, duplicate }: Entry & { e: "ack" }): void {
    this.#sockets.get(socket)?.unanswered.delete(ref);
    if (duplicate) this.duplicateAcks++;
    const at = this.#writtenAt.get(ref);
    if (at === undefined) return; // acknowledged before
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
