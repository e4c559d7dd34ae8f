/**
 * What a user does in a conversation: send, mark as read, type. Validates, stores in batches and,
 * after the commit, notifies in this order: the ack, this pod's sockets, the other pods.
 */

import type { Limits } from "../accounts/limits.ts";
import type { Bus, BusEvent } from "../cluster/bus.ts";
import type { Database } from "../db/database.ts";
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
import { type PendingSend, SendQueue, type Settled } from "./send_queue.ts";
import type { TextQuota } from "./text_quota.ts";

/** Marks waiting to be stored; reaching this cap means the database has stalled. */
const MARKS_MAX = 10_000;
const DELIVERED_EVERY_MS = 500;
/** Limits how long shutdown waits for the last delivered marks to be stored. */
const LAST_MARKS_MS = 2_000;
/**
 * Read marks per statement, which locks their conversations against sends. With 500, sends waited
 * twice as long as with 10, at half the throughput.
 */
const READS_MAX = 16;

/** Where a send's ack or error goes. `ref` is undefined when the client sent none. */
interface Origin {
  readonly socket: Socket;
  readonly ref: string | undefined;
  readonly receivedAt: number;
}

/** An event of another pod that carries a frame for this pod's sockets. */
type RelayedEvent = Extract<BusEvent, { kind: "message" | "frame" }>;

export class Chat {
  readonly #db: Database;
  readonly #writer: Database;
  readonly #hub: Hub;
  readonly #bus: Bus;
  readonly #delivery: Delivery;
  readonly #relationships: Relationships;
  readonly #log: Log;
  readonly #queue: SendQueue<Origin>;
  readonly #reads: CoalescingBatcher<ReadMark, undefined>;
  /** Events received from other pods during this turn of the event loop. */
  #relayed: RelayedEvent[] | undefined;
  /** Delivered marks waiting to be stored, by receiver and sender. */
  readonly #delivered = new Map<string, DeliveredMark>();
  readonly #deliveredTimer: Timer;
  #storingDelivered = Promise.resolve();
  /** Whether delivered marks may have been committed without notifying their senders. */
  #deliveredUnknown = false;
  readonly #limits: Limits;
  readonly #quota: TextQuota | undefined;
  readonly #metrics: Metrics;
  readonly #typing = new RateLimit({ burst: 1, perSecond: 0.5 }); // CONTRACT §4: one per peer every 2 s
  readonly #syncs = new RateLimit({ burst: 1, perSecond: 1 });
  /** For the refs of sends without one. Random per pod; `~` never occurs in a client's ref. */
  readonly #refPrefix = `~${Buffer.from(crypto.getRandomValues(new Uint8Array(9))).toString("base64url")}~`;
  #refCount = 0;
  #attemptId = crypto.getRandomValues(new Int32Array(1))[0] as number;
  #isDraining = false;

  /** @param parts.writer a pool of one connection, reserved for batches of messages */
  constructor(parts: {
    db: Database;
    writer: Database;
    hub: Hub;
    bus: Bus;
    delivery: Delivery;
    relationships: Relationships;
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
    this.#relationships = parts.relationships;
    this.#log = parts.log;
    this.#queue = new SendQueue({
      store: (messages, { quarantined }) => this.#store(messages, quarantined),
      settle: (settled) => this.#settle(settled),
      log: parts.log,
    });
    this.#reads = new CoalescingBatcher((marks) => this.#storeReadMarks(marks), { max: READS_MAX });
    this.#deliveredTimer = setInterval(() => void this.#flushDelivered(), DELIVERED_EVERY_MS);
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
   * Accepts a message. Synchronous, so that messages are numbered in order of arrival; the ack is
   * sent after the commit.
   *
   * @throws ChatError when the message is rejected; nothing was stored
   */
  send(socket: Socket, to: string, message: string, ref: string | undefined): void {
    if (this.#isDraining) throw new ChatError("restarting", { ref });
    if (!isMessage(message)) throw new ChatError("invalid_text", { ref });
    const toKey = keyOfReference(to);
    if (toKey === undefined) throw new ChatError("no_such_user", { ref });
    this.#limits.spend("sends", socket.nameKey, ref);
    this.#quota?.spend(socket.username, Buffer.byteLength(message), ref);
    const send: PendingSend<Origin> = {
      sender: socket.username,
      senderKey: socket.nameKey,
      toKey,
      ref: ref ?? this.#refPrefix + ++this.#refCount,
      attemptId: (this.#attemptId = (this.#attemptId + 1) | 0),
      content: message,
      origin: { socket, ref, receivedAt: performance.now() },
    };
    if (this.#queue.add(send)) return;
    this.#refund(send);
    this.#metrics.messages.add("busy");
    throw new ChatError("busy", { ref });
  }

  /**
   * Advances `reader`'s read mark in the conversation with `peer`, at most to the last message, and
   * notifies both users' sockets.
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

  /**
   * Notes that a device of `receiver` has received `sender`'s messages up to `seq`. Stored, and
   * `sender` notified, within a second.
   */
  noteDelivered(receiver: string, sender: string, seq: number): void {
    if (receiver === sender) return;
    const key = `${receiver}\n${sender}`;
    const noted = this.#delivered.get(key);
    if (noted ? noted.seq < seq : this.#delivered.size < MARKS_MAX) this.#delivered.set(key, { receiver, sender, seq });
  }

  /**
   * Notifies `peer` that the socket's user is typing, at most once every 2 s. Does nothing for
   * unknown peers and across a block.
   */
  async sendTyping(socket: Socket, peer: string): Promise<void> {
    const peerKey = keyOfReference(peer);
    if (peerKey === undefined || peerKey === socket.nameKey) return;
    if (!this.#limits.allows("typing", socket.nameKey)) return;
    if (this.#typing.take(`${socket.nameKey}\n${peerKey}`) > 0) return;
    const key = await this.#relationships.reachablePeer(socket.username, peerKey).catch(() => undefined); // a hint, not worth a retry
    // mutation: names from the database
    if (key !== undefined) this.#delivery.send([key], typingFrame(socket.username));
  }

  /**
   * Delivers another pod's event to this pod's sockets. Events of one packet are delivered in one
   * write per socket.
   */
  relay(event: RelayedEvent): void {
    this.#relayed ??= this.#startRelay();
    this.#relayed.push(event);
  }

  #startRelay(): RelayedEvent[] {
    const events: RelayedEvent[] = [];
    queueMicrotask(() => {
      this.#relayed = undefined;
      try {
        this.#deliverRelayed(events);
      } catch (error) {
        this.#log.error("delivering events of another pod failed", error); // in a microtask no caller would catch it
      }
    });
    return events;
  }

  #deliverRelayed(relayed: readonly RelayedEvent[]): void {
    const batch = new WriteBatch(this.#hub);
    for (const event of relayed) this.#addToBatch(batch, event);
    batch.send();
    for (const event of relayed) {
      if (event.kind === "frame" || event.message === null) continue;
      const { from, to, message, seq, hidden } = event;
      if (!hidden && batch.wasAccepted(nameKey(to))) this.noteDelivered(to, from, seq);
      if (this.#quota && this.#hub.socketsOf(nameKey(from)).length > 0)
        this.#quota.addRemoteUsage(from, Buffer.byteLength(message));
    }
  }

  /**
   * Adds an event's frame for its recipients' sockets on this pod. Without any, the frame is not
   * encoded.
   */
  #addToBatch(batch: WriteBatch, event: RelayedEvent, except?: Socket): void {
    const all = event.kind === "frame" ? event.to : recipientsOf(event);
    const keys = all.filter((key) => this.#hub.socketsOf(key).some((socket) => socket !== except));
    if (keys.length === 0) return;
    const frame = event.kind === "frame" ? event.frame : frameOf(event);
    for (const key of keys) batch.addForUser(key, frame, except);
  }

  /**
   * Rejects new sends from now on. Resolves when all accepted sends, read marks and delivered marks
   * are stored.
   */
  async drain(): Promise<void> {
    this.#isDraining = true;
    await Promise.all([this.#queue.drain(), this.#reads.drain()]);
    await this.#flushDelivered();
  }

  stop(): void {
    this.#isDraining = true;
    clearInterval(this.#deliveredTimer);
    this.#queue.stop();
  }

  #store(messages: readonly NewMessage[], quarantined: boolean): ReturnType<typeof insertMessages> {
    const db = quarantined ? this.#db : this.#writer;
    this.#metrics.batchMessages.observe(messages.length);
    return db.run((sql) => insertMessages(sql, messages), { giveUpAfterMs: Number.POSITIVE_INFINITY });
  }

  /** Acks or rejects settled sends and delivers their messages, here and to the other pods. */
  #settle(settled: readonly Settled<Origin>[]): void {
    const batch = new WriteBatch(this.#hub);
    const events: BusEvent[] = [];
    for (const { send, outcome } of settled) {
      const { socket, ref } = send.origin;
      if (outcome.kind === "refused" || outcome.duplicate) this.#refund(send);
      if (outcome.kind === "refused") {
        batch.add(socket, errorFrame(new ChatError(outcome.code, { ref })));
        continue;
      }
      const { id, seq, timestamp, receiver, hidden } = outcome.stored;
      batch.add(socket, ackFrame(outcome.stored, receiver, ref, outcome.duplicate));
      if (outcome.duplicate) {
        this.#syncAfterResend(send.senderKey, socket);
        if (!hidden) this.#syncAfterResend(nameKey(receiver), socket);
        continue;
      }
      const { sender: from, content: message } = send;
      const kind = "message" as const;
      const event = { kind, from, to: receiver, message, id, seq, timestamp, ref: ref ?? null, hidden };
      this.#addToBatch(batch, event, socket);
      events.push(event);
    }
    batch.send();
    const now = performance.now();
    this.#bus.publish(events);
    const { messages, ackSeconds } = this.#metrics;
    for (const { send, outcome } of settled) {
      messages.add(outcome.kind === "refused" ? outcome.code : outcome.duplicate ? "duplicate" : "stored");
      if (outcome.kind === "refused") continue;
      ackSeconds.observe((now - send.origin.receivedAt) / 1_000);
      if (outcome.duplicate || outcome.stored.hidden) continue;
      if (!batch.wasAccepted(send.toKey, send.origin.socket)) continue;
      this.noteDelivered(outcome.stored.receiver, send.sender, outcome.stored.seq);
    }
  }

  /** Only stored text counts toward the daily quota. */
  #refund({ sender, content }: NewMessage): void {
    this.#quota?.refund(sender, Buffer.byteLength(content));
  }

  /**
   * A client that resends, and the other recipients, may also have missed other events: they
   * resync, at most once a second.
   */
  #syncAfterResend(key: string, except: Socket): void {
    if (this.#syncs.take(key) === 0) this.#delivery.sync([key], { except });
  }

  async #storeReadMarks(marks: ReadMark[]): Promise<undefined[]> {
    let left = marks;
    let isUnknown = false;
    while (left.length > 0) {
      const moved = await this.#db.run((sql) => markRead(sql, left), {
        keepTrying: () => !this.#isDraining, // giving up would close the readers' sockets in an outage
        onUnknown: () => (isUnknown = true),
      });
      for (const { reader, peer, seq, isShownToPeer, isNewlyDelivered } of moved) {
        const waiting = this.#delivered.get(`${reader}\n${peer}`);
        if (waiting && waiting.seq <= seq) this.#delivered.delete(`${reader}\n${peer}`); // read implies delivered
        const to = isShownToPeer ? [nameKey(reader), nameKey(peer)] : [nameKey(reader)];
        this.#delivery.send(to, readFrame(reader, peer, seq));
        if (!isShownToPeer && isNewlyDelivered) this.#delivery.send([nameKey(peer)], deliveredFrame(reader, seq));
      }
      const incomplete = new Set(
        moved.filter(({ hasMore }) => hasMore).map(({ reader, peer }) => `${reader}\n${nameKey(peer)}`),
      );
      left = left.filter(({ reader, peerKey }) => incomplete.has(`${reader}\n${peerKey}`));
    }
    if (isUnknown) {
      const peers = await findMany(this.#db, [...new Set(marks.map(({ peerKey }) => peerKey))]);
      this.#syncMarks([...marks.map(({ reader }) => nameKey(reader)), ...peers.map((peer) => peer.nameKey)]);
    }
    return marks.map(() => undefined);
  }

  /**
   * A mark committed before a lost reply does not advance again on the retry, so its users resync.
   */
  #syncMarks(keys: readonly string[]): void {
    this.#delivery.sync([...new Set(keys)]);
  }

  /** Stores all delivered marks noted so far. Resolves when those in flight are stored as well. */
  async #flushDelivered(): Promise<void> {
    await this.#storingDelivered;
    if (this.#delivered.size === 0) return;
    this.#storingDelivered = this.#storeDeliveredMarks();
    await this.#storingDelivered;
  }

  async #storeDeliveredMarks(): Promise<void> {
    const marks = [...this.#delivered.values()];
    this.#delivered.clear();
    try {
      const giveUp = this.#isDraining ? { giveUpAfterMs: LAST_MARKS_MS } : {};
      const onUnknown = () => (this.#deliveredUnknown = true);
      const advanced = await this.#db.run((sql) => markDelivered(sql, marks), { ...giveUp, onUnknown });
      for (const { receiver, sender, seq } of advanced)
        this.#delivery.send([nameKey(sender)], deliveredFrame(receiver, seq));
      if (this.#deliveredUnknown) this.#syncMarks(marks.map(({ sender }) => nameKey(sender)));
      this.#deliveredUnknown = false;
    } catch (error) {
      this.#log.warn("storing delivered marks failed, will retry", { error: errorText(error) });
      for (const { receiver, sender, seq } of marks) this.noteDelivered(receiver, sender, seq);
    }
  }
}

type MessageEvent = Extract<BusEvent, { kind: "message" }>;

/** Name keys of the users whose sockets receive a message, the receiver's first. */
function recipientsOf({ from, to, hidden }: MessageEvent): string[] {
  return hidden || from === to ? [nameKey(from)] : [nameKey(to), nameKey(from)];
}

function frameOf({ from, to, message, id, seq, timestamp, ref }: MessageEvent): string {
  return message === null ? SYNC_FRAME : messageFrame({ from, to, message, id, seq, timestamp }, ref ?? undefined);
}
