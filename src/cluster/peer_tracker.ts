/**
 * Tracks the peers of a pod by their packets: which are alive, and whose events were missed.
 *
 * A peer is accepted once it answers this pod's challenge, because an authentic packet may be a
 * recording replayed after its pod stopped, to this pod or to a newer one. Challenges are random
 * and replaced whenever a peer is removed, so a recorded answer is useless; after the answer, a
 * peer's counter must increase. Thus no packet is accepted twice, without synchronized clocks and
 * without remembering pods that have stopped.
 */

import type { BusHandlers } from "./bus.ts";
import type { Packet } from "./codec.ts";
import { type Handshake, TOKENS_MAX } from "./events.ts";
import type { OpenedPacket } from "./packet_cipher.ts";

/** Challenges beyond this number stay unanswered until their pods repeat them. */
const OWED_MAX = 1_000;

interface Peer {
  /** Counter of its last packet. */
  counter: number;
  /** The last packet number that was received or reported as lost. */
  number: number;
  receivedAt: number;
  /** Its silence has been reported. */
  isLate: boolean;
}

/** A decrypted and decoded packet. */
export type PeerPacket = Packet & Pick<OpenedPacket, "pod" | "counter">;

/** "unproven": from a pod that has not answered this pod's challenge. */
export type PacketRejection = "replayed" | "unproven";

/** Instants are `performance.now()`. */
export class PeerTracker {
  readonly #peers = new Map<string, Peer>();
  readonly #on: BusHandlers;
  readonly #lateMs: number;
  readonly #leaseMs: number;
  readonly #challengeMs: number;
  #challenge = newChallenge();
  /** Every heartbeat carries the challenge until then. */
  #challengesUntil: number;
  #hasChallenged = false;
  /** Tokens to be answered by the next heartbeats. */
  readonly #owed = new Set<string>();

  /**
   * @param timing.lateMs silence after which a peer's events may have been missed
   * @param timing.leaseMs silence after which a peer is removed
   * @param timing.challengeMs how long this pod sends its challenge after an unproven packet
   */
  constructor(on: BusHandlers, timing: { lateMs: number; leaseMs: number; challengeMs: number }, now: number) {
    this.#on = on;
    this.#lateMs = timing.lateMs;
    this.#leaseMs = timing.leaseMs;
    this.#challengeMs = timing.challengeMs;
    this.#challengesUntil = now + timing.challengeMs; // so that running pods answer at once
  }

  get names(): readonly string[] {
    return [...this.#peers.keys()];
  }

  /** Processes a packet. @returns why it must be dropped, or undefined if it is accepted */
  receive(packet: PeerPacket, now: number): PacketRejection | undefined {
    const { kind, pod, counter, number, events } = packet;
    let peer = this.#peers.get(pod);
    // mutation: no replay
    if (peer && counter <= peer.counter) return "replayed";
    for (const event of events)
      if (event.kind === "challenge" && this.#owed.size < OWED_MAX) this.#owed.add(event.token);
    if (!peer) {
      if (kind === "goodbye" || !this.#isAnswered(events)) return this.#requestProof(now);
      // It may have sent earlier packets for users who are already connected here.
      peer = { counter, number: 0, receivedAt: now, isLate: false };
      this.#peers.set(pod, peer);
      this.#on.joined(pod);
    }
    peer.counter = counter;
    peer.receivedAt = now;
    peer.isLate = false;
    const before = kind === "events" ? number - 1 : number; // the last number sent before this packet
    if (before > peer.number) this.#on.lost(pod);
    peer.number = Math.max(peer.number, number);
    if (kind === "goodbye") {
      this.#remove(pod);
      this.#on.left(pod, true);
    }
    return undefined;
  }

  /** Whether a heartbeat is needed soon, to answer a challenge or to send this pod's first. */
  get owesHeartbeat(): boolean {
    return this.owesAnswer || !this.#hasChallenged;
  }

  get owesAnswer(): boolean {
    return this.#owed.size > 0;
  }

  isChallenging(now: number): boolean {
    return now < this.#challengesUntil;
  }

  /** The handshake events for the next heartbeat. */
  takeHandshake(now: number): Handshake[] {
    this.#hasChallenged = true;
    const tokens = [...this.#owed].slice(0, TOKENS_MAX);
    for (const answered of tokens) this.#owed.delete(answered);
    return [
      ...(this.isChallenging(now) ? [{ kind: "challenge" as const, token: this.#challenge }] : []),
      ...(tokens.length > 0 ? [{ kind: "answer" as const, tokens }] : []),
    ];
  }

  /** Called periodically: reports silent peers, first as late, then as having left. */
  check(now: number): void {
    for (const [pod, peer] of this.#peers) {
      const silentMs = now - peer.receivedAt;
      if (silentMs > this.#leaseMs) {
        this.#remove(pod);
        this.#on.left(pod, false);
        this.#on.lost(pod); // it may have stored messages without publishing them
      } else if (silentMs > this.#lateMs && !peer.isLate) {
        peer.isLate = true;
        this.#on.lost(pod);
      }
    }
  }

  /** Restarts every lease: while this pod receives nothing, a peer's silence means nothing. */
  renewLeases(now: number): void {
    for (const peer of this.#peers.values()) peer.receivedAt = now;
  }

  /** Extends every lease by the time this process was suspended. */
  extendLeases(stalledMs: number): void {
    for (const peer of this.#peers.values()) peer.receivedAt += stalledMs;
  }

  #isAnswered(events: PeerPacket["events"]): boolean {
    return events.some((event) => event.kind === "answer" && event.tokens.includes(this.#challenge));
  }

  #requestProof(now: number): PacketRejection {
    if (!this.isChallenging(now)) this.#hasChallenged = false;
    this.#challengesUntil = now + this.#challengeMs;
    return "unproven";
  }

  #remove(pod: string): void {
    this.#peers.delete(pod);
    this.#challenge = newChallenge();
  }
}

function newChallenge(): string {
  return Buffer.from(crypto.getRandomValues(new Uint8Array(12))).toString("base64url");
}
