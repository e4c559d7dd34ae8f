/**
 * What the buses between processes have in common: sealed packets with numbers, heartbeats, a bounded backlog, and connections that are
 * replaced when they break or fall silent. How a packet travels is a `Transport`'s business; what is known of the other pods, `PeerTracker`'s.
 */

import type { Log } from "../log.ts";
import type { BusDrop } from "../metrics.ts";
import { type Bus, type BusEvent, type BusHandlers, newPodName } from "./bus.ts";
import { bodyOf, type DecodeFailure, decodePacket, encodePacket, Packer } from "./codec.ts";
import { PacketCipher, sealedRoom } from "./packet_cipher.ts";
import { PeerTracker } from "./peer_tracker.ts";
import { endQuietly, type Publisher, type Subscriber, type Transport, withTimeout } from "./transport.ts";

/** Milliseconds; tests use shorter ones. */
export interface BusTiming {
  /** A pod with nothing to publish sends a heartbeat this often. */
  readonly beatMs: number;
  /** A silent peer may have sent something that did not arrive. */
  readonly lateMs: number;
  /** A silent peer is given up. Shorter than the 6 s of CONTRACT §5.7, within which its last messages are fetched. */
  readonly leaseMs: number;
  /** A pod that does not receive its own packets opens a new connection; and what takes so long to connect or to send has failed. */
  readonly echoTimeoutMs: number;
  /** While the bus is down, everybody asks this often. */
  readonly repeatMs: number;
}

const TIMING: BusTiming = { beatMs: 500, lateMs: 2_000, leaseMs: 5_000, echoTimeoutMs: 3_000, repeatMs: 5_000 };
const RETRY_FIRST_MS = 50;
const RETRY_MOST_MS = 1_000;
const GOODBYE_MS = 1_000;
/** Many pods may ask at once: one beat answers them all. */
const ANSWER_AFTER_MS = 25;
/** Dropped packets are counted; the log mentions them this often at most. */
const DROPS_LOGGED_EVERY_MS = 600_000;
/** Beyond this the other pods ask the database, which costs them less than what they would have to read. */
const BACKLOG = { bytes: 8 * 1024 * 1024, events: 50_000 };

export interface PacketBusOptions {
  readonly log: Log;
  /** Shared by the pods of a chat, and by nobody else: it encrypts and authenticates their packets. */
  readonly secret: string;
  /** From `newPodName`, if the caller needs it before. */
  readonly pod?: string;
  /** Called for each packet or event that is dropped. */
  readonly dropped?: (why: BusDrop) => void;
  readonly timing?: Partial<BusTiming>;
  readonly backlog?: { readonly bytes: number; readonly events: number };
}

/**
 * A bus over a transport that may lose packets, stall, or be unreachable.
 *
 * What leaves together is under way alone; events published meanwhile gather into the next packets. What failed, or whose outcome is
 * unknown, is not sent again: its numbers are used up, and the hole tells the others that they missed something.
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
  /** A beat that goes before the backlog. */
  #isBeatUrgent = false;
  #beatAt = Number.NEGATIVE_INFINITY;
  #beatTimer: Timer | undefined;
  #failures = 0;
  #isBacklogged = false;
  readonly #sent = { packets: 0, bytes: 0 };

  #subscriber: Subscriber | undefined;
  #replaceSubscriber: (reason: unknown) => void = () => {};
  /** When it received a packet of its own, and which. */
  #echoAt = Number.POSITIVE_INFINITY;
  #echoed = 0;
  /** When it received any packet that counts. */
  #heardAt = Number.NEGATIVE_INFINITY;
  #listening = Promise.resolve();
  #dropLoggedAt = Number.NEGATIVE_INFINITY;

  /** Since when the bus is down, as this pod knows. */
  #downAt: number | undefined;
  #lostAt = Number.NEGATIVE_INFINITY;

  constructor(transport: Transport, options: PacketBusOptions) {
    this.pod = options.pod ?? newPodName();
    this.#transport = transport;
    this.#cipher = new PacketCipher(options.secret, this.pod);
    this.#log = options.log;
    this.#dropped = options.dropped ?? (() => {});
    this.#timing = { ...TIMING, ...options.timing };
    this.#backlogMax = options.backlog ?? BACKLOG;
    this.#backlog = new Packer(sealedRoom(transport.maxBytes));
    this.#publisher = transport.publisher();
  }

  get peers(): readonly string[] {
    return this.#peers?.names ?? [];
  }

  /** What left this pod since it began, heartbeats included. */
  get sent(): { readonly packets: number; readonly bytes: number } {
    return this.#sent;
  }

  publish(events: readonly BusEvent[]): void {
    if (!this.#on || this.#isStopped || events.length === 0) return;
    if (this.peers.length === 0) {
      this.#number++; // received by no pod; one not met yet sees the number used up, and asks
      return;
    }
    for (const event of events) this.#backlog.add(event);
    const { bytes, events: count } = this.#backlog;
    if (bytes > this.#backlogMax.bytes || count > this.#backlogMax.events) {
      if (!this.#isBacklogged)
        this.#log.warn("bus too slow, events dropped: the other pods ask the database", { bytes });
      this.#isBacklogged = true;
      this.#drop();
    }
    this.#send();
  }

  /** Resolves when it receives, or when the first try failed: then it goes on trying. */
  async start(on: BusHandlers): Promise<void> {
    if (this.#on) throw new TypeError("Cannot start a bus twice");
    this.#on = guarded(on, this.#log);
    const tickMs = this.#timing.beatMs / 2;
    this.#tickedAt = performance.now();
    this.#peers = new PeerTracker(this.#on, { ...this.#timing, askMs: 2 * this.#timing.beatMs }, this.#tickedAt);
    this.#ticking = setInterval(() => this.#tick(tickMs), tickMs);
    const tried = Promise.withResolvers<void>();
    this.#listening = this.#listen(tried.resolve);
    await Promise.race([tried.promise, this.#listening]);
  }

  async stop(): Promise<void> {
    if (this.#isStopped) return;
    await Promise.race([this.#sending, Bun.sleep(GOODBYE_MS)]);
    this.#isStopped = true;
    clearInterval(this.#ticking);
    clearTimeout(this.#beatTimer);
    this.#drop();
    if (this.#on && this.#downAt === undefined) {
      const goodbye = this.#publisher.send([this.#cipher.seal(encodePacket("goodbye", this.#number))]);
      await withTimeout(GOODBYE_MS, goodbye).catch(() => {}); // then the others wait for the lease
    }
    this.#replaceSubscriber("stopped");
    await Promise.race([this.#listening, Bun.sleep(GOODBYE_MS)]);
    await endQuietly(this.#publisher);
    if (this.#olderPublisher) await endQuietly(this.#olderPublisher);
  }

  /**
   * Makes pods from before packets were sealed ask the database for what this one published: they take it for a pod whose packets they
   * missed. Their format names only this pod and its last number.
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

  /** One send after the other, as long as there is something to send. */
  #send(): void {
    if (!this.#isSending) this.#sending = this.#sendAll();
  }

  async #sendAll(): Promise<void> {
    this.#isSending = true;
    try {
      await Promise.resolve(); // what is published in the same tick leaves together
      await this.#sendWaiting();
    } finally {
      this.#isSending = false;
    }
  }

  async #sendWaiting(): Promise<void> {
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
        if (++this.#failures > 1) this.#drop(); // not a passing failure: what waits grows stale, and who missed one asks for all
        this.#beatDue = true;
        await Bun.sleep(delayMs);
        delayMs = Math.min(delayMs * 2, RETRY_MOST_MS);
      }
    }
  }

  /**
   * What leaves next: an urgent beat, or events, or a beat that is due. Events never overtake an answer: whoever waits for that accepts none
   * before.
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

  /** A beat for the sake of its handshake. Whatever arrives, and however often: eight a second at most. */
  #beatSoon(): void {
    if (this.#beatTimer !== undefined) return;
    const waitMs = Math.max(ANSWER_AFTER_MS, this.#beatAt + this.#timing.beatMs / 4 - performance.now());
    this.#beatTimer = setTimeout(() => {
      this.#beatTimer = undefined;
      this.#isBeatUrgent = true;
      this.#send();
    }, waitMs);
  }

  /** Gives up what waits, and uses up a number, so that the others ask. */
  #drop(): void {
    if (this.#backlog.events === 0) return;
    this.#backlog.clear();
    this.#number++;
  }

  /** Keeps a connection that receives, and opens a new one when it broke. @param tried called after the first try */
  async #listen(tried: () => void): Promise<void> {
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
        tried();
        const reason = await broken.promise;
        this.#down(reason);
        if (this.#echoAt > readyAt) delayMs = RETRY_FIRST_MS;
      } else this.#down(failed);
      isFirst = false;
      tried();
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
    if (text.length > this.#transport.maxBytes) return this.#count("foreign"); // it would cost as much as its writer likes
    const now = performance.now();
    const own = this.#cipher.ownCounter(text);
    if (own !== undefined) return this.#receiveOwn(own, now);
    const opened = this.#cipher.open(text);
    if (!opened) return this.#count("foreign");
    const misfits: DecodeFailure[] = [];
    const packet = decodePacket(opened.text, (why) => misfits.push(why));
    if (!packet) return this.#count("malformed");
    const refusal = this.#peers.receive({ ...packet, pod: opened.pod, counter: opened.counter }, now);
    if (this.#peers.owesBeat) this.#beatSoon();
    if (refusal) return this.#count(refusal);
    for (const why of misfits) this.#count(why);
    this.#heardAt = now;
    for (const event of packet.events) {
      if (event.kind !== "challenge" && event.kind !== "answer") this.#on?.deliver(event, opened.pod);
    }
  }

  /** Not opened: it is only a sign that the connection receives, which is true of a forged one as well. */
  #receiveOwn(counter: number, now: number): void {
    if (!(counter > this.#echoed && counter <= this.#cipher.counter)) return this.#count("replayed");
    this.#echoed = counter;
    this.#heardAt = this.#echoAt = now;
    if (this.#downAt === undefined) return;
    this.#log.info("bus carries again", { afterMs: Math.round(now - this.#downAt) });
    this.#downAt = undefined;
  }

  #count(why: BusDrop): void {
    this.#dropped(why);
    const now = performance.now();
    if (why !== "foreign" || now - this.#dropLoggedAt < DROPS_LOGGED_EVERY_MS) return;
    this.#dropLoggedAt = now;
    this.#log.warn(
      "packets on the bus that no pod of this chat sealed are dropped: another program writes to its channel",
    );
  }

  #down(reason: unknown): void {
    if (this.#downAt !== undefined || this.#isStopped) return;
    this.#downAt = performance.now();
    this.#log.warn("bus interrupted, trying again: until then people wait for what other pods store", {
      reason: inWords(reason),
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
    if (now - this.#heardAt > this.#timing.lateMs) this.#peers?.renewLeases(now);
    this.#peers?.check(now);
    if (this.#downAt !== undefined && now - this.#lostAt > this.#timing.repeatMs) this.#lost();
    const dueAfterMs = this.#timing.beatMs - tickMs / 2;
    this.#isBeatUrgent ||= this.#peers?.isAsking(now) === true && now - this.#beatAt > dueAfterMs;
    this.#beatDue ||= now - this.#sentAt > dueAfterMs;
    if (this.#beatDue || this.#isBeatUrgent) this.#send();
  }
}

/** What fails in a handler must not reach the driver whose packet it was called for. */
function guarded(on: BusHandlers, log: Log): BusHandlers {
  const guard = (call: () => void) => {
    try {
      call();
    } catch (error) {
      log.error("an event of the bus was not taken", error);
    }
  };
  return {
    deliver: (event, from) => guard(() => on.deliver(event, from)),
    lost: (from) => guard(() => on.lost(from)),
    joined: (pod) => guard(() => on.joined(pod)),
    vanished: (pod, graceful) => guard(() => on.vanished(pod, graceful)),
  };
}

function reject(reason: unknown): never {
  throw reason;
}

/** The code of an error, which holds no password as an address would. */
function inWords(reason: unknown): string {
  if (!(reason instanceof Error)) return String(reason);
  return "code" in reason ? String(reason.code) : reason.message;
}
