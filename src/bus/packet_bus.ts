/**
 * What the buses between processes have in common: packets with numbers, heartbeats, a bounded backlog, and connections that are
 * replaced when they break or fall silent. How a packet travels is a `Wire`'s business; who was missed is `Others`'.
 */

import type { Log } from "../log.ts";
import { type Bus, type BusEvent, type BusHandlers, newPodName } from "./bus.ts";
import { Others } from "./others.ts";
import { encodePacket, isFrom, Packer, parsePacket } from "./packet.ts";

/** What carries packets to every pod, the sender included. */
export interface Wire {
  /** The largest packet, and how many may leave together. */
  readonly maxBytes: number;
  readonly maxPackets: number;
  /** Opens a connection that hears. `on.closed` when it broke, at most once. */
  hear(on: { packet(text: string): void; closed(): void }): Ear;
  /** Opens a connection that sends, at the first packet at the latest. */
  speak(): Mouth;
}

/** A connection that hears. */
export interface Ear {
  /** Resolves when it hears everything sent from now on; rejects when it never will. */
  readonly ready: Promise<unknown>;
  end(): Promise<void> | void;
}

/** A connection that sends. */
export interface Mouth {
  /** Sends them in their order. Rejects when it is not known that all of them left. */
  send(packets: readonly string[]): Promise<unknown>;
  end(): Promise<void> | void;
}

/** Milliseconds; tests are more hurried. */
export interface BusTiming {
  /** A pod that has nothing to say says so this often. */
  readonly beatMs: number;
  /** A silent pod may have said what was not heard. */
  readonly lateMs: number;
  /** A silent pod is gone. Shorter than the 6 s of CONTRACT §5.7, within which its last messages are fetched. */
  readonly leaseMs: number;
  /** A pod that does not hear itself takes a new connection; and what takes so long to connect or to send failed. */
  readonly deafMs: number;
  /** While the bus is down, everybody asks this often. */
  readonly repeatMs: number;
}

const TIMING: BusTiming = { beatMs: 500, lateMs: 2_000, leaseMs: 5_000, deafMs: 3_000, repeatMs: 5_000 };
const RETRY_FIRST_MS = 50;
const RETRY_MOST_MS = 1_000;
const GOODBYE_MS = 1_000;
/** Beyond this the others are told to ask, which costs them less than what they would have to read. */
const BACKLOG = { bytes: 8 * 1024 * 1024, events: 50_000 };

export interface PacketBusOptions {
  readonly log: Log;
  readonly timing?: Partial<BusTiming>;
  readonly backlog?: { readonly bytes: number; readonly events: number };
}

/**
 * A bus over a wire that may lose packets, stall, or not be there.
 *
 * What leaves together is under way alone; events published meanwhile gather into the next packets. What failed, or whose fate is
 * unknown, is not sent again: its numbers are used up, and by the hole the others know that they missed something.
 */
export class PacketBus implements Bus {
  readonly pod = newPodName();
  readonly #wire: Wire;
  readonly #log: Log;
  readonly #timing: BusTiming;
  readonly #backlogMax: { readonly bytes: number; readonly events: number };
  readonly #backlog: Packer;
  #on: BusHandlers | undefined;
  #others: Others | undefined;
  #stopped = false;
  #ticking: Timer | undefined;
  #tickedAt = 0;

  #mouth: Mouth;
  /** The last number used. */
  #number = 0;
  #isSending = false;
  #sending = Promise.resolve();
  #sentAt = Number.NEGATIVE_INFINITY;
  #beatDue = false;
  #failures = 0;
  #tooMuch = false;
  readonly #sent = { packets: 0, bytes: 0 };

  #ear: Ear | undefined;
  #replaceEar: (reason: unknown) => void = () => {};
  /** When it heard a packet of its own. */
  #heardSelfAt = Number.POSITIVE_INFINITY;
  /** When it heard anything at all. */
  #heardAt = Number.NEGATIVE_INFINITY;
  #listening = Promise.resolve();

  /** Since when the bus is down, as this pod knows. */
  #downAt: number | undefined;
  #lostAt = Number.NEGATIVE_INFINITY;
  #misread = false;

  constructor(wire: Wire, options: PacketBusOptions) {
    this.#wire = wire;
    this.#log = options.log;
    this.#timing = { ...TIMING, ...options.timing };
    this.#backlogMax = options.backlog ?? BACKLOG;
    this.#backlog = new Packer(wire.maxBytes);
    this.#mouth = wire.speak();
  }

  get others(): readonly string[] {
    return this.#others?.names ?? [];
  }

  /** What left this pod since it began, heartbeats included. */
  get sent(): { readonly packets: number; readonly bytes: number } {
    return this.#sent;
  }

  publish(events: readonly BusEvent[]): void {
    if (!this.#on || this.#stopped || events.length === 0) return;
    if (this.others.length === 0) {
      this.#number++; // nobody there to hear it; whoever is not known yet sees the number used up, and asks
      return;
    }
    for (const event of events) this.#backlog.add(event);
    const { bytes, events: count } = this.#backlog;
    if (bytes > this.#backlogMax.bytes || count > this.#backlogMax.events) {
      if (!this.#tooMuch) this.#log.warn("bus too slow, events dropped: the other pods ask the database", { bytes });
      this.#tooMuch = true;
      this.#drop();
    }
    this.#send();
  }

  /** Resolves when it hears, or when the first try failed: then it goes on trying. */
  async start(on: BusHandlers): Promise<void> {
    if (this.#on) throw new TypeError("Cannot start a bus twice");
    this.#on = guarded(on, this.#log);
    this.#others = new Others(this.#on, this.#timing);
    const tickMs = this.#timing.beatMs / 2;
    this.#tickedAt = performance.now();
    this.#ticking = setInterval(() => this.#tick(tickMs), tickMs);
    const tried = Promise.withResolvers<void>();
    this.#listening = this.#listen(tried.resolve);
    await Promise.race([tried.promise, this.#listening]);
  }

  async stop(): Promise<void> {
    if (this.#stopped) return;
    await Promise.race([this.#sending, Bun.sleep(GOODBYE_MS)]);
    this.#stopped = true;
    clearInterval(this.#ticking);
    this.#drop();
    if (this.#on && this.#downAt === undefined) {
      const goodbye = this.#mouth.send([encodePacket("goodbye", this.pod, this.#number)]);
      await within(GOODBYE_MS, goodbye).catch(() => {}); // then the others wait for the lease
    }
    this.#replaceEar("stopped");
    await Promise.race([this.#listening, Bun.sleep(GOODBYE_MS)]);
    await ended(this.#mouth);
  }

  /** One send after the other, as long as there is something to say. */
  #send(): void {
    if (!this.#isSending) this.#sending = this.#sendAll();
  }

  async #sendAll(): Promise<void> {
    this.#isSending = true;
    try {
      await this.#sendWaiting();
    } finally {
      this.#isSending = false;
    }
  }

  async #sendWaiting(): Promise<void> {
    for (let delayMs = RETRY_FIRST_MS; !this.#stopped;) {
      const packets = this.#take();
      if (packets.length === 0 && !this.#beatDue) return;
      if (packets.length === 0) packets.push(encodePacket("beat", this.pod, this.#number));
      this.#beatDue = false;
      try {
        await within(this.#timing.deafMs, this.#mouth.send(packets));
        this.#sentAt = performance.now();
        this.#sent.packets += packets.length;
        for (const packet of packets) this.#sent.bytes += Buffer.byteLength(packet);
        this.#failures = 0;
        this.#tooMuch = false;
        delayMs = RETRY_FIRST_MS;
      } catch (error) {
        if (this.#stopped) return;
        this.#down(error);
        void ended(this.#mouth);
        this.#mouth = this.#wire.speak();
        if (++this.#failures > 1) this.#drop(); // not a moment's matter: what waits grows stale, and who missed one asks for all
        this.#beatDue = true;
        await Bun.sleep(delayMs);
        delayMs = Math.min(delayMs * 2, RETRY_MOST_MS);
      }
    }
  }

  /** What leaves next. */
  #take(): string[] {
    const packets: string[] = [];
    while (packets.length < this.#wire.maxPackets) {
      const body = this.#backlog.take();
      if (body === undefined) break;
      packets.push(encodePacket("events", this.pod, ++this.#number, body));
    }
    return packets;
  }

  /** Gives up what waits, and uses up a number, so that the others ask. */
  #drop(): void {
    if (this.#backlog.events === 0) return;
    this.#backlog.clear();
    this.#number++;
  }

  /** Keeps a connection that hears, and a new one when it broke. @param tried called after the first try */
  async #listen(tried: () => void): Promise<void> {
    let starting = true;
    for (let delayMs = RETRY_FIRST_MS; !this.#stopped;) {
      const begunAt = performance.now();
      const broken = Promise.withResolvers<unknown>();
      this.#replaceEar = broken.resolve;
      const ear = this.#wire.hear({
        packet: (text) => {
          if (this.#ear === ear) this.#hear(text);
        },
        closed: () => broken.resolve("closed"),
      });
      this.#ear = ear;
      const failed = await within(this.#timing.deafMs, Promise.race([ear.ready, broken.promise.then(reject)])).then(
        () => undefined,
        (error: unknown) => error ?? "failed",
      );
      if (failed === undefined) {
        const readyAt = performance.now();
        this.#heardSelfAt = readyAt;
        if (!starting) this.#lost();
        this.#beatDue = true;
        this.#send();
        starting = false;
        tried();
        const reason = await broken.promise;
        this.#down(reason);
        if (this.#heardSelfAt > readyAt) delayMs = RETRY_FIRST_MS;
      } else this.#down(failed);
      starting = false;
      tried();
      this.#ear = undefined;
      this.#heardSelfAt = Number.POSITIVE_INFINITY;
      if (this.#stopped) return ended(ear);
      void ended(ear);
      await Bun.sleep(Math.max(0, delayMs - (performance.now() - begunAt)));
      delayMs = Math.min(delayMs * 2, RETRY_MOST_MS);
    }
  }

  #hear(text: string): void {
    if (this.#stopped) return;
    this.#heardAt = performance.now();
    if (isFrom(this.pod, text)) return this.#heardSelf();
    const packet = parsePacket(text);
    if (!packet) {
      if (!this.#misread) this.#log.warn("something on the bus is no packet of chatify", { bytes: text.length });
      this.#misread = true;
    } else if (this.#others?.hear(packet, performance.now())) {
      for (const event of packet.events) this.#on?.deliver(event, packet.pod);
    }
  }

  #heardSelf(): void {
    this.#heardSelfAt = performance.now();
    if (this.#downAt === undefined) return;
    this.#log.info("bus carries again", { afterMs: Math.round(this.#heardSelfAt - this.#downAt) });
    this.#downAt = undefined;
  }

  #down(reason: unknown): void {
    if (this.#downAt !== undefined || this.#stopped) return;
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
    const stoodStillMs = now - this.#tickedAt - tickMs;
    this.#tickedAt = now;
    if (stoodStillMs > 2 * tickMs) {
      this.#others?.forgive(stoodStillMs);
      this.#heardSelfAt += stoodStillMs;
    }
    if (now - this.#heardSelfAt > this.#timing.deafMs) {
      this.#heardSelfAt = Number.POSITIVE_INFINITY;
      this.#replaceEar("silent");
    }
    if (now - this.#heardAt > this.#timing.lateMs) this.#others?.excuse(now);
    this.#others?.check(now);
    if (this.#downAt !== undefined && now - this.#lostAt > this.#timing.repeatMs) this.#lost();
    if (now - this.#sentAt > this.#timing.beatMs - tickMs / 2) {
      this.#beatDue = true;
      this.#send();
    }
  }
}

/**
 * Tells every pod something, from a process that is none: a pod that says goodbye in the same breath, hears nobody and is asked for
 * nothing.
 */
export async function tellOnce(wire: Wire, events: readonly BusEvent[]): Promise<void> {
  const pod = newPodName();
  const packer = new Packer(wire.maxBytes);
  for (const event of events) packer.add(event);
  const packets: string[] = [];
  for (let body = packer.take(); body !== undefined; body = packer.take()) {
    packets.push(encodePacket("events", pod, packets.length + 1, body));
  }
  packets.push(encodePacket("goodbye", pod, packets.length));
  const mouth = wire.speak();
  try {
    for (let i = 0; i < packets.length; i += wire.maxPackets) {
      await within(TIMING.deafMs, mouth.send(packets.slice(i, i + wire.maxPackets)));
    }
  } finally {
    await ended(mouth);
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
    vanished: (pod, politely) => guard(() => on.vanished(pod, politely)),
  };
}

/** The answer, or an error when it takes too long. */
async function within<T>(ms: number, answer: Promise<T>): Promise<T> {
  const late = Promise.withResolvers<never>();
  const fail = () => late.reject(new Error(`no answer within ${ms} ms`));
  let timer = setTimeout(() => {
    timer = setTimeout(fail, ms / 10); // in a process that stood still the answer may be there, and timers come first
  }, ms);
  try {
    return await Promise.race([answer, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}

function reject(reason: unknown): never {
  throw reason;
}

/** Ends a connection, whatever state it is in. */
async function ended(connection: Ear | Mouth): Promise<void> {
  try {
    await connection.end();
  } catch {
    // it was over already
  }
}

/** The code of an error, which holds no password as an address would. */
function inWords(reason: unknown): string {
  if (!(reason instanceof Error)) return String(reason);
  return "code" in reason ? String(reason.code) : reason.message;
}
