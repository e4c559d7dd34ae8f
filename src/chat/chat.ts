/**
 * What a person does: send, read, type. Checks, stores through the gathering queues, then tells everyone concerned, in this
 * order: the ack, this pod's sockets, the other pods. Nothing is told before its commit.
 */

import type { Limits } from "../accounts/limits.ts";
import type { Bus, BusEvent } from "../cluster/bus.ts";
import type { Database } from "../db/client.ts";
import { insertMessages, type NewMessage } from "../db/insert_messages.ts";
import { type DeliveredMark, markDelivered, markRead, type ReadMark } from "../db/receipts.ts";
import { findMany } from "../db/users.ts";
import type { Delivery } from "../delivery/delivery.ts";
import { type Hub, type Socket, WriteBatch } from "../delivery/hub.ts";
import { ChatError } from "../errors.ts";
import { errorText, type Log } from "../log.ts";
import type { Metrics } from "../metrics.ts";
import { ackFrame, deliveredFrame, errorFrame, messageFrame, readFrame, SYNC_FRAME, typingFrame } from "../protocol.ts";
import { CoalescingBatcher } from "../util/coalescing_batcher.ts";
import { RateLimit } from "../util/rate_limit.ts";
import { isMessage, keyOfReference, nameKey } from "../util/text.ts";
import type { Relationships } from "./relationships.ts";
import { type Outcome, type PendingSend, SendQueue } from "./send_queue.ts";
import type { TextQuota } from "./text_quota.ts";

/** Marks that wait for their statement; more would mean that it never comes. */
const MARKS_MAX = 10_000;
const DELIVERED_EVERY_MS = 500;
/** A leaving pod does not wait longer for PostgreSQL to take its last delivered marks. */
const LAST_MARKS_MS = 2_000;
/** Read marks in one statement: it holds their conversations, and sends wait for those. 500 made twice the wait of 10, at half the sends. */
const READS_MAX = 16;

/** A send's way back: the socket it came by and when, and the ref its client gave. */
interface From {
  readonly socket: Socket;
  readonly ref: string | undefined;
  readonly at: number;
}

/** What another pod has for sockets here. */
type Relayed = Extract<BusEvent, { kind: "message" | "frame" }>;

export class Chat {
  readonly #db: Database;
  readonly #writer: Database;
  readonly #hub: Hub;
  readonly #bus: Bus;
  readonly #delivery: Delivery;
  readonly #choices: Relationships;
  readonly #log: Log;
  readonly #queue: SendQueue<From>;
  readonly #reads: CoalescingBatcher<ReadMark, undefined>;
  /** What came from other pods in this turn of the event loop. */
  #relayed: Relayed[] | undefined;
  readonly #delivered = new Map<string, DeliveredMark>();
  readonly #deliveredTimer: Timer;
  #marking = Promise.resolve();
  /** Whether delivered marks may be stored of which nobody was told. */
  #deliveredUnknown = false;
  readonly #limits: Limits;
  readonly #quota: TextQuota | undefined;
  readonly #metrics: Metrics;
  readonly #typing = new RateLimit({ burst: 1, perSecond: 0.5 }); // CONTRACT §4: one in 2 s for each peer
  readonly #syncs = new RateLimit({ burst: 1, perSecond: 1 });
  /** Refs of sends that came without one; `~` is outside the clients' alphabet, the pod's part is random. */
  readonly #refPrefix = `~${Buffer.from(crypto.getRandomValues(new Uint8Array(9))).toString("base64url")}~`;
  #refCount = 0;
  #ticket = crypto.getRandomValues(new Int32Array(1))[0] as number;
  #leaving = false;

  /** @param parts.writer a pool of one connection, used for nothing but batches of messages */
  constructor(parts: {
    db: Database;
    writer: Database;
    hub: Hub;
    bus: Bus;
    delivery: Delivery;
    choices: Relationships;
    log: Log;
    limits: Limits;
    quota: TextQuota | undefined;
    metrics: Metrics;
  }) {
    this.#db = parts.db;
    this.#writer = parts.writer;
    this.#hub = parts.hub;
    this.#bus = parts.bus;
    this.#delivery = parts.delivery;
    this.#choices = parts.choices;
    this.#log = parts.log;
    this.#queue = new SendQueue({
      store: (messages, { quarantined }) => this.#store(messages, quarantined),
      settle: (settled) => this.#settle(settled),
      log: parts.log,
    });
    this.#reads = new CoalescingBatcher((marks) => this.#markRead(marks), { max: READS_MAX });
    this.#deliveredTimer = setInterval(() => void this.#markDelivered(), DELIVERED_EVERY_MS);
    this.#limits = parts.limits;
    this.#quota = parts.quota;
    this.#metrics = parts.metrics;
  }

  /** Sends accepted and not yet settled. */
  get pendingCount(): number {
    return this.#queue.size;
  }

  /** Whether PostgreSQL currently stores no messages at all. */
  get isFailing(): boolean {
    return this.#queue.isFailing;
  }

  /**
   * Accepts a message. Synchronous, since the order of arrival is the order of numbers; the ack follows the commit.
   *
   * @throws ChatError what was refused, before anything was stored
   */
  send(socket: Socket, to: string, message: string, ref: string | undefined): void {
    if (this.#leaving) throw new ChatError("restarting", { ref });
    if (!isMessage(message)) throw new ChatError("invalid_text", { ref });
    const toKey = keyOfReference(to);
    if (toKey === undefined) throw new ChatError("no_such_user", { ref });
    this.#limits.spend("sends", socket.nameKey, ref);
    this.#quota?.spend(socket.username, Buffer.byteLength(message), ref);
    const send: PendingSend<From> = {
      sender: socket.username,
      senderKey: socket.nameKey,
      toKey,
      ref: ref ?? this.#refPrefix + ++this.#refCount,
      attemptId: (this.#ticket = (this.#ticket + 1) | 0),
      content: message,
      from: { socket, ref, at: performance.now() },
    };
    if (this.#queue.add(send)) return;
    this.#refund(send);
    this.#metrics.messages.add("busy");
    throw new ChatError("busy", { ref });
  }

  /**
   * Moves the read mark of `reader` in the conversation with `peer`, as far as it goes; both people's sockets are told.
   *
   * @throws ChatError `busy`, or `not_ready` when PostgreSQL stayed out of reach
   */
  async markRead(reader: string, peer: string, seq: number): Promise<void> {
    const peerKey = keyOfReference(peer);
    if (peerKey === undefined || seq === 0) return;
    const key = `${reader}\n${peerKey}`;
    if (this.#reads.size >= MARKS_MAX && !this.#reads.waiting(key)) throw new ChatError("busy");
    await this.#reads.add(key, { reader, peerKey, seq }, (mark) => (mark.seq = Math.max(mark.seq, seq)));
  }

  /** Notes that a device of `receiver` has what `sender` wrote, up to `seq`. Stored and told within a second. */
  noteDelivered(receiver: string, sender: string, seq: number): void {
    if (receiver === sender) return;
    const key = `${receiver}\n${sender}`;
    const noted = this.#delivered.get(key);
    if (noted ? noted.seq < seq : this.#delivered.size < MARKS_MAX) this.#delivered.set(key, { receiver, sender, seq });
  }

  /** Tells `peer`, if there is one, that somebody types, unless one blocks the other; at most once in 2 s. */
  async sendTyping(socket: Socket, peer: string): Promise<void> {
    const peerKey = keyOfReference(peer);
    if (peerKey === undefined || peerKey === socket.nameKey) return;
    if (!this.#limits.allows("typing", socket.nameKey)) return;
    if (this.#typing.take(`${socket.nameKey}\n${peerKey}`) > 0) return;
    const key = await this.#choices.reachablePeer(socket.username, peerKey).catch(() => undefined); // a hint: not worth another try
    // mutation: names from the database
    if (key !== undefined) this.#delivery.send([key], typingFrame(socket.username));
  }

  /** Passes on what another pod stored, to this pod's sockets. What comes in one packet leaves in one write for each socket. */
  relay(event: Relayed): void {
    this.#relayed ??= this.#relayTogether();
    this.#relayed.push(event);
  }

  #relayTogether(): Relayed[] {
    const relayed: Relayed[] = [];
    queueMicrotask(() => {
      this.#relayed = undefined;
      try {
        this.#passOn(relayed);
      } catch (error) {
        this.#log.error("events of another pod not passed on", error); // nobody above would catch it
      }
    });
    return relayed;
  }

  #passOn(relayed: readonly Relayed[]): void {
    const bundle = new WriteBatch(this.#hub);
    for (const event of relayed) this.#address(bundle, event);
    bundle.send();
    for (const event of relayed) {
      if (event.kind === "frame" || event.message === null) continue;
      const { from, to, message, seq, hidden } = event;
      if (!hidden && bundle.wasAccepted(nameKey(to))) this.noteDelivered(to, from, seq);
      if (this.#quota && this.#hub.socketsOf(nameKey(from)).length > 0)
        this.#quota.addRemoteUsage(from, Buffer.byteLength(message));
    }
  }

  /** Adds an event's frame for those of this pod's sockets that it is for, if there are any. */
  #address(bundle: WriteBatch, event: Relayed, except?: Socket): void {
    const all = event.kind === "frame" ? event.to : keysOf(event);
    const keys = all.filter((key) => this.#hub.socketsOf(key).some((socket) => socket !== except));
    if (keys.length === 0) return;
    const frame = event.kind === "frame" ? event.frame : frameOf(event);
    for (const key of keys) bundle.addForUser(key, frame, except);
  }

  /** New sends are refused from now on. @returns when what was accepted, and delivered so far, is stored */
  async drain(): Promise<void> {
    this.#leaving = true;
    await Promise.all([this.#queue.drain(), this.#reads.drain()]);
    await this.#markDelivered();
  }

  stop(): void {
    this.#leaving = true;
    clearInterval(this.#deliveredTimer);
    this.#queue.stop();
  }

  #store(messages: readonly NewMessage[], quarantined: boolean): ReturnType<typeof insertMessages> {
    const db = quarantined ? this.#db : this.#writer;
    this.#metrics.batchMessages.observe(messages.length);
    return db.run((sql) => insertMessages(sql, messages), { giveUpAfterMs: Number.POSITIVE_INFINITY });
  }

  #settle(settled: readonly { send: PendingSend<From>; outcome: Outcome }[]): void {
    const bundle = new WriteBatch(this.#hub);
    const events: BusEvent[] = [];
    for (const { send, outcome } of settled) {
      const { socket, ref } = send.from;
      if (outcome.kind === "refused" || outcome.duplicate) this.#refund(send);
      if (outcome.kind === "refused") {
        bundle.add(socket, errorFrame(new ChatError(outcome.code, { ref })));
        continue;
      }
      const { id, seq, timestamp, receiver, hidden } = outcome.stored;
      bundle.add(socket, ackFrame(outcome.stored, receiver, ref, outcome.duplicate));
      if (outcome.duplicate) {
        this.#syncAfterResend(send.senderKey, socket);
        if (!hidden) this.#syncAfterResend(nameKey(receiver), socket);
        continue;
      }
      const { sender: from, content: message } = send;
      const event = {
        kind: "message" as const,
        from,
        to: receiver,
        message,
        id,
        seq,
        timestamp,
        ref: ref ?? null,
        hidden,
      };
      this.#address(bundle, event, socket);
      events.push(event);
    }
    bundle.send();
    const now = performance.now();
    this.#bus.publish(events);
    const { messages, ackSeconds } = this.#metrics;
    for (const { send, outcome } of settled) {
      messages.add(outcome.kind === "refused" ? outcome.code : outcome.duplicate ? "duplicate" : "stored");
      if (outcome.kind === "refused") continue;
      ackSeconds.observe((now - send.from.at) / 1_000);
      if (outcome.duplicate || outcome.stored.hidden) continue;
      if (!bundle.wasAccepted(send.toKey, send.from.socket)) continue;
      this.noteDelivered(outcome.stored.receiver, send.sender, outcome.stored.seq);
    }
  }

  /** Only what is stored counts towards a day's text. */
  #refund({ sender, content }: NewMessage): void {
    this.#quota?.refund(sender, Buffer.byteLength(content));
  }

  /** A client that sent again may have missed the rest too, and so may the others: they ask, at most once a second. */
  #syncAfterResend(key: string, except: Socket): void {
    if (this.#syncs.take(key) === 0) this.#delivery.sync([key], { except });
  }

  async #markRead(marks: ReadMark[]): Promise<undefined[]> {
    let left = marks;
    let unknown = false;
    while (left.length > 0) {
      const moved = await this.#db.run((sql) => markRead(sql, left), {
        keepTrying: () => !this.#leaving, // giving up would close the sockets of an outage
        onUnknown: () => (unknown = true),
      });
      for (const { reader, peer, seq, isShownToPeer, isNewlyDelivered } of moved) {
        const waiting = this.#delivered.get(`${reader}\n${peer}`);
        if (waiting && waiting.seq <= seq) this.#delivered.delete(`${reader}\n${peer}`); // what is read is delivered
        const to = isShownToPeer ? [nameKey(reader), nameKey(peer)] : [nameKey(reader)];
        this.#delivery.send(to, readFrame(reader, peer, seq));
        if (!isShownToPeer && isNewlyDelivered) this.#delivery.send([nameKey(peer)], deliveredFrame(reader, seq));
      }
      const unfinished = new Set(
        moved.filter(({ hasMore }) => hasMore).map(({ reader, peer }) => `${reader}\n${nameKey(peer)}`),
      );
      left = left.filter(({ reader, peerKey }) => unfinished.has(`${reader}\n${peerKey}`));
    }
    if (unknown) {
      const peers = await findMany(this.#db, [...new Set(marks.map(({ peerKey }) => peerKey))]);
      this.#askForMarks([...marks.map(({ reader }) => nameKey(reader)), ...peers.map((peer) => peer.nameKey)]);
    }
    return marks.map(() => undefined);
  }

  /** A mark that was stored, and the answer lost, rises no more when it is tried again: those whom it concerns ask. */
  #askForMarks(keys: readonly string[]): void {
    this.#delivery.sync([...new Set(keys)]);
  }

  /** Resolves when those under way are stored as well. */
  async #markDelivered(): Promise<void> {
    await this.#marking;
    if (this.#delivered.size === 0) return;
    this.#marking = this.#storeDelivered();
    await this.#marking;
  }

  async #storeDelivered(): Promise<void> {
    const marks = [...this.#delivered.values()];
    this.#delivered.clear();
    try {
      const giveUp = this.#leaving ? { giveUpAfterMs: LAST_MARKS_MS } : {};
      const onUnknown = () => (this.#deliveredUnknown = true);
      const risen = await this.#db.run((sql) => markDelivered(sql, marks), { ...giveUp, onUnknown });
      for (const { receiver, sender, seq } of risen)
        this.#delivery.send([nameKey(sender)], deliveredFrame(receiver, seq));
      if (this.#deliveredUnknown) this.#askForMarks(marks.map(({ sender }) => nameKey(sender)));
      this.#deliveredUnknown = false;
    } catch (error) {
      this.#log.warn("delivered marks not stored, trying again", { error: errorText(error) });
      for (const { receiver, sender, seq } of marks) this.noteDelivered(receiver, sender, seq);
    }
  }
}

type MessageEvent = Extract<BusEvent, { kind: "message" }>;

/** Keys of the people whose sockets get a message: the receiver's first. */
function keysOf({ from, to, hidden }: MessageEvent): string[] {
  return hidden || from === to ? [nameKey(from)] : [nameKey(to), nameKey(from)];
}

function frameOf({ from, to, message, id, seq, timestamp, ref }: MessageEvent): string {
  return message === null ? SYNC_FRAME : messageFrame({ from, to, message, id, seq, timestamp }, ref ?? undefined);
}
