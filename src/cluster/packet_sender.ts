/**
 * The sending half of a `PacketBus`: numbers packets, sends heartbeats and handshakes, bounds the
 * backlog, and replaces connections that fail.
 *
 * Only one send is in progress at a time; events added meanwhile share the next packets. A send
 * that failed, or whose outcome is unknown, is not repeated: its packet numbers stay used, so peers
 * see the gap and query the database.
 */

import type { Log } from "../log.ts";
import type { BusEvent } from "./bus.ts";
import type { BusTiming } from "./bus_timing.ts";
import { bodyOf, encodePacket, Packer } from "./codec.ts";
import { type PacketCipher, sealedRoom } from "./packet_cipher.ts";
import type { PeerTracker } from "./peer_tracker.ts";
import {
  endQuietly,
  type Publisher,
  RETRY_FIRST_MS,
  RETRY_MOST_MS,
  type Transport,
  withReplyTimeout,
} from "./transport.ts";

/** Limits how long a stop waits for a connection. */
export const GOODBYE_MS = 1_000;
/** Many pods may send challenges at once; one heartbeat answers all of them. */
const ANSWER_AFTER_MS = 25;
/** Beyond it the other pods query the database, which is cheaper than reading the backlog. */
const BACKLOG = { bytes: 8 * 1024 * 1024, events: 50_000 };

/** Limits on the pending events. */
export interface BacklogLimits {
  readonly bytes: number;
  readonly events: number;
}

export class PacketSender {
  readonly #transport: Transport;
  readonly #cipher: PacketCipher;
  readonly #timing: BusTiming;
  readonly #log: Log;
  readonly #failed: (error: unknown) => void;
  readonly #backlogMax: BacklogLimits;
  readonly #backlog: Packer;
  #publisher: Publisher;
  #peers: PeerTracker | undefined;
  /** The last number used. */
  #number = 0;
  #isSending = false;
  #sending = Promise.resolve();
  #isStopped = false;
  #sentAt = Number.NEGATIVE_INFINITY;
  #isHeartbeatDue = false;
  /** The next heartbeat is sent before the backlog. */
  #isHeartbeatUrgent = false;
  #heartbeatAt = Number.NEGATIVE_INFINITY;
  #heartbeatTimer: Timer | undefined;
  #failures = 0;
  #isBacklogged = false;
  /** Totals, including heartbeats. */
  readonly sent = { packets: 0, bytes: 0 };

  /** @param parts.failed called with the error of each failed send */
  constructor(parts: {
    transport: Transport;
    cipher: PacketCipher;
    timing: BusTiming;
    backlog: BacklogLimits | undefined;
    log: Log;
    failed: (error: unknown) => void;
  }) {
    this.#transport = parts.transport;
    this.#cipher = parts.cipher;
    this.#timing = parts.timing;
    this.#log = parts.log;
    this.#failed = parts.failed;
    this.#backlogMax = parts.backlog ?? BACKLOG;
    this.#backlog = new Packer(sealedRoom(parts.transport.maxBytes));
    this.#publisher = parts.transport.publisher();
  }

  /** The number of the last packet. */
  get number(): number {
    return this.#number;
  }

  /** From now on, heartbeats carry the challenges and answers that `peers` has pending. */
  start(peers: PeerTracker): void {
    this.#peers = peers;
  }

  /** Skips a number, so that pods discovered later query the database. */
  skip(): void {
    this.#number++;
  }

  add(events: readonly BusEvent[]): void {
    for (const event of events) this.#backlog.add(event);
    const { bytes, events: count } = this.#backlog;
    if (bytes > this.#backlogMax.bytes || count > this.#backlogMax.events) {
      if (!this.#isBacklogged)
        this.#log.warn("bus too slow, events dropped: the other pods query the database", { bytes });
      this.#isBacklogged = true;
      this.#dropBacklog();
    }
    this.#send();
  }

  /** Sends a heartbeat once nothing else is pending. */
  sendHeartbeat(): void {
    this.#isHeartbeatDue = true;
    this.#send();
  }

  /** Sends a heartbeat with its handshake soon, at most eight per second whatever arrives. */
  sendHeartbeatSoon(): void {
    if (this.#heartbeatTimer !== undefined) return;
    const waitMs = Math.max(ANSWER_AFTER_MS, this.#heartbeatAt + this.#timing.heartbeatMs / 4 - performance.now());
    this.#heartbeatTimer = setTimeout(() => {
      this.#heartbeatTimer = undefined;
      this.#isHeartbeatUrgent = true;
      this.#send();
    }, waitMs);
  }

  /** Called periodically: sends a heartbeat if none was sent for `dueAfterMs`. */
  tick(now: number, dueAfterMs: number): void {
    this.#isHeartbeatUrgent ||= this.#peers?.isChallenging(now) === true && now - this.#heartbeatAt > dueAfterMs;
    this.#isHeartbeatDue ||= now - this.#sentAt > dueAfterMs;
    if (this.#isHeartbeatDue || this.#isHeartbeatUrgent) this.#send();
  }

  /** Resolves when the send in progress has ended, or is given up. */
  async stop(): Promise<void> {
    await Promise.race([this.#sending, Bun.sleep(GOODBYE_MS)]);
    this.#isStopped = true;
    clearTimeout(this.#heartbeatTimer);
    this.#dropBacklog();
  }

  /** Announces the stop to the peers, which otherwise wait for the lease to expire. */
  async sayGoodbye(): Promise<void> {
    const goodbye = this.#publisher.send([this.#cipher.seal(encodePacket("goodbye", this.#number))]);
    await withReplyTimeout(GOODBYE_MS, goodbye).catch(() => {});
  }

  end(): Promise<void> {
    return endQuietly(this.#publisher);
  }

  /** Starts sending unless a send is in progress. */
  #send(): void {
    if (!this.#isSending) this.#sending = this.#sendAll();
  }

  async #sendAll(): Promise<void> {
    this.#isSending = true;
    try {
      await Promise.resolve(); // events published in the same tick share a packet
      await this.#sendPending();
    } finally {
      this.#isSending = false;
    }
  }

  async #sendPending(): Promise<void> {
    for (let delayMs = RETRY_FIRST_MS; !this.#isStopped;) {
      const packets = this.#take();
      if (packets.length === 0) return;
      try {
        await withReplyTimeout(this.#timing.echoTimeoutMs, this.#publisher.send(packets));
        this.#sentAt = performance.now();
        this.sent.packets += packets.length;
        for (const { length } of packets) this.sent.bytes += length; // ASCII
        this.#failures = 0;
        this.#isBacklogged = false;
        delayMs = RETRY_FIRST_MS;
      } catch (error) {
        if (this.#isStopped) return;
        this.#failed(error);
        void endQuietly(this.#publisher);
        this.#publisher = this.#transport.publisher();
        if (++this.#failures > 1) this.#dropBacklog(); // pending events grow stale, and peers query the database after any gap
        this.#isHeartbeatDue = true;
        await Bun.sleep(delayMs);
        delayMs = Math.min(delayMs * 2, RETRY_MOST_MS);
      }
    }
  }

  /**
   * The next packets: an urgent heartbeat, events, or a due heartbeat. Events never overtake the
   * answer to a challenge, because its sender rejects them until the answer arrives.
   */
  #take(): string[] {
    const packets: string[] = [];
    this.#isHeartbeatUrgent ||= this.#backlog.events > 0 && this.#peers?.owesAnswer === true;
    while (!this.#isHeartbeatUrgent && packets.length < this.#transport.maxPackets) {
      const body = this.#backlog.take();
      if (body === undefined) break;
      packets.push(this.#cipher.seal(encodePacket("events", ++this.#number, body)));
    }
    if (this.#isHeartbeatUrgent || (this.#isHeartbeatDue && packets.length === 0)) packets.push(this.#newHeartbeat());
    this.#isHeartbeatDue = false;
    return packets;
  }

  #newHeartbeat(): string {
    this.#isHeartbeatUrgent = false;
    this.#heartbeatAt = performance.now();
    const handshake = this.#peers?.takeHandshake(this.#heartbeatAt) ?? [];
    return this.#cipher.seal(encodePacket("beat", this.#number, bodyOf(handshake)));
  }

  /** Discards pending events and skips a packet number, so that the peers query the database. */
  #dropBacklog(): void {
    if (this.#backlog.events === 0) return;
    this.#backlog.clear();
    this.#number++;
  }
}
