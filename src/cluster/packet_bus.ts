/**
 * The bus over a network: numbered encrypted packets, heartbeats, a bounded backlog, and connections that are replaced when they
 * break or fall silent. A `Transport` carries the packets; `PeerTracker` keeps the state of the other pods.
 */

import type { Log } from "../log.ts";
import type { BusDrop } from "../metrics.ts";
import { type Bus, type BusEvent, type BusHandlers, catchHandlerErrors, newPodName } from "./bus.ts";
import { type BusTiming, DEFAULT_TIMING } from "./bus_timing.ts";
import { bodyOf, type DecodeFailure, decodePacket, encodePacket, Packer } from "./codec.ts";
import { PacketCipher, sealedRoom } from "./packet_cipher.ts";
import { PeerTracker } from "./peer_tracker.ts";
import { endQuietly, type Publisher, type Subscriber, type Transport, withTimeout } from "./transport.ts";

const RETRY_FIRST_MS = 50;
const RETRY_MOST_MS = 1_000;
const GOODBYE_MS = 1_000;
/** Many pods may send challenges at once; one beat answers all of them. */
const ANSWER_AFTER_MS = 25;
/** Dropped packets are counted, but logged at most this often. */
const DROPS_LOGGED_EVERY_MS = 600_000;
/** Beyond this limit the other pods query the database, which is cheaper than reading the backlog. */
const BACKLOG = { bytes: 8 * 1024 * 1024, events: 50_000 };

export interface PacketBusOptions {
  readonly log: Log;
  /** Encrypts and authenticates packets. Known only to the pods of this chat. */
  readonly secret: string;
  /** From `newPodName`, if the caller already has one. */
  readonly pod?: string;
  /** Called for each dropped packet or event. */
  readonly dropped?: (why: BusDrop) => void;
  readonly timing?: Partial<BusTiming>;
  readonly backlog?: { readonly bytes: number; readonly events: number };
}

/**
 * A bus over a transport that may lose packets, stall, or be unreachable.
 *
 * Only one send is in progress at a time; events published meanwhile are collected into the next packets. A send that failed, or
 * whose outcome is unknown, is not repeated: its packet numbers stay used, so peers see the gap and query the database.
 */
export class PacketBus implements Bus {
  readonly pod: string;
  readonly #transport: Transport;
  readonly #cipher: PacketCipher;
  readonly #log: Log;
  readonly #dropped: (why: BusDrop) => void;
  readonly #timing: BusTiming;
  readonly #backlogMax: { readonly bytes: number; readonly events: number };
  readonly #backlog: Packer;
  #on: BusHandlers | undefined;
  #peers: PeerTracker | undefined;
  #isStopped = false;
  #ticking: Timer | undefined;
  #tickedAt = 0;

  #publisher: Publisher;
  #olderPublisher: Publisher | undefined;
  /** The last number used. */
  #number = 0;
  #isSending = false;
  #sending = Promise.resolve();
  #sentAt = Number.NEGATIVE_INFINITY;
  #beatDue = false;
  /** The next beat is sent before the backlog. */
  #isBeatUrgent = false;
  #beatAt = Number.NEGATIVE_INFINITY;
  #beatTimer: Timer | undefined;
  #failures = 0;
  #isBacklogged = false;
  readonly #sent = { packets: 0, bytes: 0 };

  #subscriber: Subscriber | undefined;
  #replaceSubscriber: (reason: unknown) => void = () => {};
  /** When this pod last received one of its own packets, and its counter. */
  #echoAt = Number.POSITIVE_INFINITY;
  #echoed = 0;
  /** When it last received any accepted packet. */
  #receivedAt = Number.NEGATIVE_INFINITY;
  #listening = Promise.resolve();
  #dropLoggedAt = Number.NEGATIVE_INFINITY;

  /** When this pod noticed that the bus is down. */
  #downAt: number | undefined;
  #lostAt = Number.NEGATIVE_INFINITY;

  constructor(transport: Transport, options: PacketBusOptions) {
    this.pod = options.pod ?? newPodName();
    this.#transport = transport;
    this.#cipher = new PacketCipher(options.secret, this.pod);
    this.#log = options.log;
    this.#dropped = options.dropped ?? (() => {});
    this.#timing = { ...DEFAULT_TIMING, ...options.timing };
    this.#backlogMax = options.backlog ?? BACKLOG;
    this.#backlog = new Packer(sealedRoom(transport.maxBytes));
    this.#publisher = transport.publisher();
  }

  get peers(): readonly string[] {
    return this.#peers?.names ?? [];
  }

  /** Totals sent by this pod, including heartbeats. */
  get sent(): { readonly packets: number; readonly bytes: number } {
    return this.#sent;
  }

  publish(events: readonly BusEvent[]): void {
    if (!this.#on || this.#isStopped || events.length === 0) return;
    if (this.peers.length === 0) {
      this.#number++; // no pod receives it; a pod discovered later sees the skipped number and queries the database
      return;
    }
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

  /** Resolves when the subscription is ready or its first attempt failed; retries continue in the background. */
  async start(on: BusHandlers): Promise<void> {
    if (this.#on) throw new TypeError("Cannot start a bus twice");
    this.#on = catchHandlerErrors(on, this.#log);
    const tickMs = this.#timing.beatMs / 2;
    this.#tickedAt = performance.now();
    this.#peers = new PeerTracker(this.#on, { ...this.#timing, challengeMs: 2 * this.#timing.beatMs }, this.#tickedAt);
    this.#ticking = setInterval(() => this.#tick(tickMs), tickMs);
    const attempted = Promise.withResolvers<void>();
    this.#listening = this.#subscribeUntilStopped(attempted.resolve);
    await Promise.race([attempted.promise, this.#listening]);
  }

  async stop(): Promise<void> {
    if (this.#isStopped) return;
    await Promise.race([this.#sending, Bun.sleep(GOODBYE_MS)]);
    this.#isStopped = true;
    clearInterval(this.#ticking);
    clearTimeout(this.#beatTimer);
    this.#dropBacklog();
    if (this.#on && this.#downAt === undefined) {
      const goodbye = this.#publisher.send([this.#cipher.seal(encodePacket("goodbye", this.#number))]);
      await withTimeout(GOODBYE_MS, goodbye).catch(() => {}); // the peers then wait for the lease to expire
    }
    this.#replaceSubscriber("stopped");
    await Promise.race([this.#listening, Bun.sleep(GOODBYE_MS)]);
    await endQuietly(this.#publisher);
    if (this.#olderPublisher) await endQuietly(this.#olderPublisher);
  }

  /**
   * Makes older pods, which use unencrypted packets, query the database for this pod's events: to them it looks like a pod whose
   * packets they missed. Their format holds only the pod's name and last packet number.
   */
  async alertOlderPods(): Promise<void> {
    this.#olderPublisher ??= this.#transport.olderPublisher();
    try {
      await withTimeout(this.#timing.echoTimeoutMs, this.#olderPublisher.send([`b\t${this.pod}\t${this.#number}`]));
    } catch {
      void endQuietly(this.#olderPublisher);
      this.#olderPublisher = undefined; // the next call tries again
    }
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
        await withTimeout(this.#timing.echoTimeoutMs, this.#publisher.send(packets));
        this.#sentAt = performance.now();
        this.#sent.packets += packets.length;
        for (const { length } of packets) this.#sent.bytes += length; // ASCII
        this.#failures = 0;
        this.#isBacklogged = false;
        delayMs = RETRY_FIRST_MS;
      } catch (error) {
        if (this.#isStopped) return;
        this.#down(error);
        void endQuietly(this.#publisher);
        this.#publisher = this.#transport.publisher();
        if (++this.#failures > 1) this.#dropBacklog(); // the failure persists: pending events grow stale, and peers query the database after any gap
        this.#beatDue = true;
        await Bun.sleep(delayMs);
        delayMs = Math.min(delayMs * 2, RETRY_MOST_MS);
      }
    }
  }

  /**
   * The next packets: an urgent beat, events, or a due beat. Events never overtake the answer to a challenge: the peer that sent it
   * rejects them until the answer arrives.
   */
  #take(): string[] {
    const packets: string[] = [];
    this.#isBeatUrgent ||= this.#backlog.events > 0 && this.#peers?.owesAnswer === true;
    while (!this.#isBeatUrgent && packets.length < this.#transport.maxPackets) {
      const body = this.#backlog.take();
      if (body === undefined) break;
      packets.push(this.#cipher.seal(encodePacket("events", ++this.#number, body)));
    }
    if (this.#isBeatUrgent || (this.#beatDue && packets.length === 0)) packets.push(this.#beat());
    this.#beatDue = false;
    return packets;
  }

  #beat(): string {
    this.#isBeatUrgent = false;
    this.#beatAt = performance.now();
    const handshake = this.#peers?.takeHandshake(this.#beatAt) ?? [];
    return this.#cipher.seal(encodePacket("beat", this.#number, bodyOf(handshake)));
  }

  /** Schedules a beat for its handshake, at most eight a second whatever arrives. */
  #beatSoon(): void {
    if (this.#beatTimer !== undefined) return;
    const waitMs = Math.max(ANSWER_AFTER_MS, this.#beatAt + this.#timing.beatMs / 4 - performance.now());
    this.#beatTimer = setTimeout(() => {
      this.#beatTimer = undefined;
      this.#isBeatUrgent = true;
      this.#send();
    }, waitMs);
  }

  /** Discards pending events and skips a packet number, so that the peers query the database. */
  #dropBacklog(): void {
    if (this.#backlog.events === 0) return;
    this.#backlog.clear();
    this.#number++;
  }

  /** Keeps a subscription open, replacing broken ones. @param attempted called after the first attempt */
  async #subscribeUntilStopped(attempted: () => void): Promise<void> {
    let isFirst = true;
    for (let delayMs = RETRY_FIRST_MS; !this.#isStopped;) {
      const begunAt = performance.now();
      const broken = Promise.withResolvers<unknown>();
      this.#replaceSubscriber = broken.resolve;
      const subscriber = this.#transport.subscribe({
        packet: (text) => {
          if (this.#subscriber === subscriber) this.#receive(text);
        },
        closed: () => broken.resolve("closed"),
      });
      this.#subscriber = subscriber;
      const connecting = Promise.race([subscriber.ready, broken.promise.then(reject)]);
      const failed = await withTimeout(this.#timing.echoTimeoutMs, connecting).then(
        () => undefined,
        (error: unknown) => error ?? "failed",
      );
      if (failed === undefined) {
        const readyAt = performance.now();
        this.#echoAt = readyAt;
        if (!isFirst) this.#lost();
        this.#beatDue = true;
        this.#send();
        isFirst = false;
        attempted();
        const reason = await broken.promise;
        this.#down(reason);
        if (this.#echoAt > readyAt) delayMs = RETRY_FIRST_MS;
      } else this.#down(failed);
      isFirst = false;
      attempted();
      this.#subscriber = undefined;
      this.#echoAt = Number.POSITIVE_INFINITY;
      if (this.#isStopped) return endQuietly(subscriber);
      void endQuietly(subscriber);
      await Bun.sleep(Math.max(0, delayMs - (performance.now() - begunAt)));
      delayMs = Math.min(delayMs * 2, RETRY_MOST_MS);
    }
  }

  #receive(text: string): void {
    if (this.#isStopped || !this.#peers) return;
    if (text.length > this.#transport.maxBytes) return this.#count("foreign"); // decrypting it would cost as much as its author likes
    const now = performance.now();
    const own = this.#cipher.ownCounter(text);
    if (own !== undefined) return this.#receiveOwn(own, now);
    const opened = this.#cipher.open(text);
    if (!opened) return this.#count("foreign");
    const failures: DecodeFailure[] = [];
    const packet = decodePacket(opened.text, (why) => failures.push(why));
    if (!packet) return this.#count("malformed");
    const refusal = this.#peers.receive({ ...packet, pod: opened.pod, counter: opened.counter }, now);
    if (this.#peers.owesBeat) this.#beatSoon();
    if (refusal) return this.#count(refusal);
    for (const why of failures) this.#count(why);
    this.#receivedAt = now;
    for (const event of packet.events) {
      if (event.kind !== "challenge" && event.kind !== "answer") this.#on?.deliver(event, opened.pod);
    }
  }

  /** Not decrypted: it only proves that the connection receives, which a forged packet proves as well. */
  #receiveOwn(counter: number, now: number): void {
    if (!(counter > this.#echoed && counter <= this.#cipher.counter)) return this.#count("replayed");
    this.#echoed = counter;
    this.#receivedAt = this.#echoAt = now;
    if (this.#downAt === undefined) return;
    this.#log.info("bus restored", { afterMs: Math.round(now - this.#downAt) });
    this.#downAt = undefined;
  }

  #count(why: BusDrop): void {
    this.#dropped(why);
    const now = performance.now();
    if (why !== "foreign" || now - this.#dropLoggedAt < DROPS_LOGGED_EVERY_MS) return;
    this.#dropLoggedAt = now;
    this.#log.warn("foreign packets on the bus dropped: another program writes to its channel");
  }

  #down(reason: unknown): void {
    if (this.#downAt !== undefined || this.#isStopped) return;
    this.#downAt = performance.now();
    this.#log.warn("bus interrupted, will retry: until then messages from other pods arrive late", {
      reason: reasonText(reason),
    });
  }

  #lost(): void {
    this.#lostAt = performance.now();
    this.#on?.lost();
  }

  #tick(tickMs: number): void {
    const now = performance.now();
    const stalledMs = now - this.#tickedAt - tickMs;
    this.#tickedAt = now;
    if (stalledMs > 2 * tickMs) {
      this.#peers?.extendLeases(stalledMs);
      this.#echoAt += stalledMs;
    }
    if (now - this.#echoAt > this.#timing.echoTimeoutMs) {
      this.#echoAt = Number.POSITIVE_INFINITY;
      this.#replaceSubscriber("silent");
    }
    if (now - this.#receivedAt > this.#timing.lateMs) this.#peers?.renewLeases(now);
    this.#peers?.check(now);
    if (this.#downAt !== undefined && now - this.#lostAt > this.#timing.repeatMs) this.#lost();
    const dueAfterMs = this.#timing.beatMs - tickMs / 2;
    this.#isBeatUrgent ||= this.#peers?.isChallenging(now) === true && now - this.#beatAt > dueAfterMs;
    this.#beatDue ||= now - this.#sentAt > dueAfterMs;
    if (this.#beatDue || this.#isBeatUrgent) this.#send();
  }
}

function reject(reason: unknown): never {
  throw reason;
}

/** Prefers the error code: the message could contain an address with a password. */
function reasonText(reason: unknown): string {
  if (!(reason instanceof Error)) return String(reason);
  return "code" in reason ? String(reason.code) : reason.message;
}
