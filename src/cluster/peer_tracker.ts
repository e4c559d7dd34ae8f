/**
 * What a pod knows of its peers from their packets: which of them run, and whose events were missed. Knows nothing of connections.
 *
 * A peer counts from the moment it answers a challenge of this pod: an authentic packet may be a recording, played back after its pod has
 * stopped, to this pod or to one started since. A challenge is random, and a new one is drawn whenever a peer is given up, so a recorded
 * answer is of no use; from the answer on, a peer's counter must rise. Hence no packet is accepted twice, without a clock that pods would
 * have to agree on, and nothing has to be remembered of pods that have stopped.
 */

import type { BusHandlers } from "./bus.ts";
import type { Packet } from "./codec.ts";
import { type Handshake, TOKENS_MAX } from "./events.ts";
import type { OpenedPacket } from "./packet_cipher.ts";

/** Answers owed to more pods than that wait until those ask again. */
const OWED_MAX = 1_000;

interface Peer {
  /** Of its last packet. */
  counter: number;
  /** The last of its numbers that is accounted for. */
  number: number;
  heardAt: number;
  /** Whether its silence was reported already. */
  isLate: boolean;
}

/** An opened packet, and what it says. */
export type PeerPacket = Packet & Pick<OpenedPacket, "pod" | "counter">;

/** "unproven": from a pod that has not answered this pod's challenge. */
export type PacketRefusal = "replayed" | "unproven";

/** Instants are `performance.now()`. */
export class PeerTracker {
  readonly #peers = new Map<string, Peer>();
  readonly #on: BusHandlers;
  readonly #lateMs: number;
  readonly #leaseMs: number;
  readonly #askMs: number;
  #challenge = newToken();
  /** Until then every beat carries the challenge. */
  #asksUntil: number;
  #hasAsked = false;
  /** Tokens that the next beats answer. */
  readonly #owed = new Set<string>();

  /**
   * @param timing.lateMs a silence after which events may have been missed
   * @param timing.leaseMs one after which a peer is given up
   * @param timing.askMs how long an unproven packet makes this pod ask
   */
  constructor(on: BusHandlers, timing: { lateMs: number; leaseMs: number; askMs: number }, now: number) {
    this.#on = on;
    this.#lateMs = timing.lateMs;
    this.#leaseMs = timing.leaseMs;
    this.#askMs = timing.askMs;
    this.#asksUntil = now + timing.askMs; // so that those that run already answer at once
  }

  get names(): readonly string[] {
    return [...this.#peers.keys()];
  }

  /** Notes a packet. @returns why it must be dropped, undefined when it is accepted */
  receive(packet: PeerPacket, now: number): PacketRefusal | undefined {
    const { kind, pod, counter, number, events } = packet;
    let peer = this.#peers.get(pod);
    // mutation: no replay
    if (peer && counter <= peer.counter) return "replayed";
    for (const event of events)
      if (event.kind === "challenge" && this.#owed.size < OWED_MAX) this.#owed.add(event.token);
    if (!peer) {
      if (kind === "goodbye" || !this.#isAnswered(events)) return this.#ask(now);
      // Met amid its numbers: what it sent before may concern users who are here already.
      peer = { counter, number: 0, heardAt: now, isLate: false };
      this.#peers.set(pod, peer);
      this.#on.joined(pod);
    }
    peer.counter = counter;
    peer.heardAt = now;
    peer.isLate = false;
    const before = kind === "events" ? number - 1 : number; // everything up to here was sent earlier
    if (before > peer.number) this.#on.lost(pod);
    peer.number = Math.max(peer.number, number);
    if (kind === "goodbye") {
      this.#forget(pod);
      this.#on.vanished(pod, true);
    }
    return undefined;
  }

  /** Whether a beat should leave soon: it would answer a challenge, or be the first to carry one. */
  get owesBeat(): boolean {
    return this.owesAnswer || !this.#hasAsked;
  }

  get owesAnswer(): boolean {
    return this.#owed.size > 0;
  }

  isAsking(now: number): boolean {
    return now < this.#asksUntil;
  }

  /** What the next beat says besides being one. */
  takeHandshake(now: number): Handshake[] {
    this.#hasAsked = true;
    const tokens = [...this.#owed].slice(0, TOKENS_MAX);
    for (const answered of tokens) this.#owed.delete(answered);
    return [
      ...(this.isAsking(now) ? [{ kind: "challenge" as const, token: this.#challenge }] : []),
      ...(tokens.length > 0 ? [{ kind: "answer" as const, tokens }] : []),
    ];
  }

  /** To be called again and again: reports peers that are silent, first as late, then as gone. */
  check(now: number): void {
    for (const [pod, peer] of this.#peers) {
      const silentMs = now - peer.heardAt;
      if (silentMs > this.#leaseMs) {
        this.#forget(pod);
        this.#on.vanished(pod, false);
        this.#on.lost(pod); // what it stored last, and published to nobody
      } else if (silentMs > this.#lateMs && !peer.isLate) {
        peer.isLate = true;
        this.#on.lost(pod);
      }
    }
  }

  /** Nothing at all arrives, so no single peer's silence means anything: every lease begins anew. */
  renewLeases(now: number): void {
    for (const peer of this.#peers.values()) peer.heardAt = now;
  }

  /** This process itself stood still: no peer was silent for that long. */
  extendLeases(stalledMs: number): void {
    for (const peer of this.#peers.values()) peer.heardAt += stalledMs;
  }

  #isAnswered(events: PeerPacket["events"]): boolean {
    return events.some((event) => event.kind === "answer" && event.tokens.includes(this.#challenge));
  }

  #ask(now: number): PacketRefusal {
    if (!this.isAsking(now)) this.#hasAsked = false;
    this.#asksUntil = now + this.#askMs;
    return "unproven";
  }

  #forget(pod: string): void {
    this.#peers.delete(pod);
    this.#challenge = newToken();
  }
}

function newToken(): string {
  return Buffer.from(crypto.getRandomValues(new Uint8Array(12))).toString("base64url");
}
