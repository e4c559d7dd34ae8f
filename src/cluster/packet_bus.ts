/**
 * The bus over a network that may lose packets, stall, or be unreachable: encrypted packets, and
 * connections that are replaced when they break or fall silent. `PacketSender` sends, a `Transport`
 * carries the packets, `PeerTracker` keeps the state of the other pods.
 */

import type { Log } from "../log.ts";
import type { BusDrop } from "../metrics.ts";
import { type Bus, type BusEvent, type BusHandlers, catchHandlerErrors, newPodName } from "./bus.ts";
import { type BusTiming, DEFAULT_TIMING } from "./bus_timing.ts";
import { type DecodeFailure, decodePacket } from "./codec.ts";
import { PacketCipher } from "./packet_cipher.ts";
import { type BacklogLimits, GOODBYE_MS, PacketSender } from "./packet_sender.ts";
import { PeerTracker } from "./peer_tracker.ts";
import {
  endQuietly,
  type Publisher,
  RETRY_FIRST_MS,
  RETRY_MOST_MS,
  type Subscriber,
  type Transport,
  withReplyTimeout,
} from "./transport.ts";

/** Dropped packets are counted, but logged at most this often. */
const DROPS_LOGGED_EVERY_MS = 600_000;

export interface PacketBusOptions {
  readonly log: Log;
  /** Encrypts and authenticates packets. Known only to the pods of this chat. */
  readonly secret: string;
  /** From `newPodName`, if the caller already has one. */
  readonly pod?: string;
  /** Called for each dropped packet or event. */
  readonly dropped?: (why: BusDrop) => void;
  readonly timing?: Partial<BusTiming>;
  readonly backlog?: BacklogLimits;
}

export class PacketBus implements Bus {
  readonly pod: string;
  readonly #transport: Transport;
  readonly #cipher: PacketCipher;
  readonly #sender: PacketSender;
  readonly #log: Log;
  readonly #dropped: (why: BusDrop) => void;
  readonly #timing: BusTiming;
  #on: BusHandlers | undefined;
  #peers: PeerTracker | undefined;
  #olderPublisher: Publisher | undefined;
  #isStopped = false;
  #ticking: Timer | undefined;
  #tickedAt = 0;

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
    const { secret, pod = newPodName(), log, dropped = () => {}, backlog } = options;
    this.pod = pod;
    this.#transport = transport;
    this.#cipher = new PacketCipher(secret, pod);
    this.#log = log;
    this.#dropped = dropped;
    this.#timing = { ...DEFAULT_TIMING, ...options.timing };
    const [cipher, timing] = [this.#cipher, this.#timing];
    this.#sender = new PacketSender({ transport, cipher, timing, backlog, log, failed: (error) => this.#down(error) });
  }

  get peers(): readonly string[] {
    return this.#peers?.names ?? [];
  }

  /** Totals sent by this pod, including heartbeats. */
  get sent(): { readonly packets: number; readonly bytes: number } {
    return this.#sender.sent;
  }

  publish(events: readonly BusEvent[]): void {
    if (!this.#on || this.#isStopped || events.length === 0) return;
    if (this.peers.length === 0) this.#sender.skip();
    else this.#sender.add(events);
  }

  /**
   * Resolves when the subscription is ready or its first attempt failed; retries continue in the
   * background.
   */
  async start(on: BusHandlers): Promise<void> {
    if (this.#on) throw new TypeError("Cannot start a bus twice");
    this.#on = catchHandlerErrors(on, this.#log);
    const tickMs = this.#timing.heartbeatMs / 2;
    this.#tickedAt = performance.now();
    this.#peers = new PeerTracker(
      this.#on,
      { ...this.#timing, challengeMs: 2 * this.#timing.heartbeatMs },
      this.#tickedAt,
    );
    this.#sender.start(this.#peers);
    this.#ticking = setInterval(() => this.#tick(tickMs), tickMs);
    const attempted = Promise.withResolvers<void>();
    this.#listening = this.#subscribeUntilStopped(attempted.resolve);
    await Promise.race([attempted.promise, this.#listening]);
  }

  async stop(): Promise<void> {
    if (this.#isStopped) return;
    await this.#sender.stop();
    this.#isStopped = true;
    clearInterval(this.#ticking);
    if (this.#on && this.#downAt === undefined) await this.#sender.sayGoodbye();
    this.#replaceSubscriber("stopped");
    await Promise.race([this.#listening, Bun.sleep(GOODBYE_MS)]);
    await this.#sender.end();
    if (this.#olderPublisher) await endQuietly(this.#olderPublisher);
  }

  /**
   * Makes older pods, which use unencrypted packets, query the database for this pod's events: to
   * them it looks like a pod whose packets they missed.
   */
  async alertOlderPods(): Promise<void> {
    this.#olderPublisher ??= this.#transport.olderPublisher();
    try {
      const packet = `b\t${this.pod}\t${this.#sender.number}`;
      await withReplyTimeout(this.#timing.echoTimeoutMs, this.#olderPublisher.send([packet]));
    } catch {
      void endQuietly(this.#olderPublisher);
      this.#olderPublisher = undefined; // the next call tries again
    }
  }

  /** Replaces broken subscriptions until `stop`. @param attempted called after the first attempt */
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
      const failed = await withReplyTimeout(this.#timing.echoTimeoutMs, connecting).then(
        () => undefined,
        (error: unknown) => error ?? "failed",
      );
      if (failed === undefined) {
        const readyAt = performance.now();
        this.#echoAt = readyAt;
        if (!isFirst) this.#lost();
        this.#sender.sendHeartbeat();
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
    if (text.length > this.#transport.maxBytes) return this.#count("foreign"); // bounds the cost of decrypting
    const now = performance.now();
    const own = this.#cipher.ownCounter(text);
    if (own !== undefined) return this.#receiveOwn(own, now);
    const opened = this.#cipher.open(text);
    if (!opened) return this.#count("foreign");
    const failures: DecodeFailure[] = [];
    const packet = decodePacket(opened.text, (why) => failures.push(why));
    if (!packet) return this.#count("malformed");
    const rejection = this.#peers.receive({ ...packet, pod: opened.pod, counter: opened.counter }, now);
    if (this.#peers.owesHeartbeat) this.#sender.sendHeartbeatSoon();
    if (rejection) return this.#count(rejection);
    for (const why of failures) this.#count(why);
    this.#receivedAt = now;
    for (const event of packet.events) {
      if (event.kind !== "challenge" && event.kind !== "answer") this.#on?.deliver(event, opened.pod);
    }
  }

  /** Not decrypted: it only proves that the connection receives, which a forged packet does too. */
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
    this.#sender.tick(now, this.#timing.heartbeatMs - tickMs / 2);
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
