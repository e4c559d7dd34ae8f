/**
 * Messages and typing notifications. After the commit, this pod's sockets receive their acks and
 * messages in one write each; then the event goes to the other pods. Also writes the frames of other pods,
 * of every kind, to this pod's sockets.
 */

import type { Limits } from "../accounts/limits.ts";
import type { Bus, BusEvent } from "../cluster/bus.ts";
import type { Database } from "../db/database.ts";
import type { NewMessage } from "../db/insert_messages.ts";
import type { Delivery } from "../delivery/delivery.ts";
import { type Hub, type Socket, WriteBatch } from "../delivery/hub.ts";
import { ChatError } from "../errors.ts";
import type { Log } from "../log.ts";
import type { Metrics } from "../metrics.ts";
import { ackFrame, errorFrame, type MessageFrame, messageFrame, SYNC_FRAME, typingFrame } from "../protocol.ts";
import { RateLimit } from "../util/rate_limit.ts";
import { isMessage, keyOfReference, nameKey } from "../util/text.ts";
import type { Receipts } from "./receipts.ts";
import type { Relationships } from "./relationships.ts";
import { ResendSyncs } from "./resend_syncs.ts";
import { type QueuedMessage, SendQueue, type SettledMessage } from "./send_queue.ts";
import type { TextQuota } from "./text_quota.ts";

/** An event of another pod that carries a frame for this pod's sockets. */
type RelayedEvent = Extract<BusEvent, { kind: "message" | "frame" }>;

export class Chat {
  readonly #hub: Hub;
  readonly #bus: Bus;
  readonly #delivery: Delivery;
  readonly #receipts: Receipts;
  readonly #relationships: Relationships;
  readonly #log: Log;
  readonly #queue: SendQueue;
  /** Events received from other pods during this turn of the event loop. */
  #relayed: RelayedEvent[] | undefined;
  readonly #limits: Limits;
  readonly #quota: TextQuota | undefined;
  readonly #metrics: Metrics;
  readonly #typing = new RateLimit({ burst: 1, perSecond: 0.5 }); // one per peer every 2 s (docs/protocol.md §4)
  readonly #resendSyncs: ResendSyncs;
  /** For the refs of sends without one. Random per pod; `~` never occurs in a client's ref. */
  readonly #refPrefix = `~${Buffer.from(crypto.getRandomValues(new Uint8Array(9))).toString("base64url")}~`;
  #refCount = 0;
  /** Counts accepted sends from a random start, so that pods and restarts do not share ids. */
  #sendId = crypto.getRandomValues(new Int32Array(1))[0] as number;
  #isDraining = false;

  /** @param parts.writer a pool of one connection, reserved for batches of messages */
  constructor(parts: {
    db: Database;
    writer: Database;
    hub: Hub;
    bus: Bus;
    delivery: Delivery;
    receipts: Receipts;
    relationships: Relationships;
    log: Log;
    limits: Limits;
    quota: TextQuota | undefined;
    metrics: Metrics;
  }) {
    this.#hub = parts.hub;
    this.#bus = parts.bus;
    this.#delivery = parts.delivery;
    this.#resendSyncs = new ResendSyncs(parts.delivery);
    this.#receipts = parts.receipts;
    this.#relationships = parts.relationships;
    this.#log = parts.log;
    this.#queue = new SendQueue(parts);
    this.#limits = parts.limits;
    this.#quota = parts.quota;
    this.#metrics = parts.metrics;
    void this.#settleAll();
  }

  /** Sends accepted and not yet settled. */
  get pendingCount(): number {
    return this.#queue.size;
  }

  /** Whether the last attempt to store messages failed for a reason that affects all of them. */
  get isFailing(): boolean {
    return this.#queue.isFailing;
  }

  /**
   * Accepts a message. Synchronous, so that messages are numbered in order of arrival; the ack is
   * sent after the commit.
   *
   * @throws ChatError when the message is rejected; nothing was stored
   */
  send(socket: Socket, { to, message, replyTo, file, ref: clientRef }: MessageFrame): void {
    if (this.#isDraining) throw this.#rejection("restarting", clientRef);
    if (!isMessage(message) && (file === undefined || message !== "")) throw this.#rejection("invalid_text", clientRef);
    const toKey = keyOfReference(to);
    if (toKey === undefined) throw this.#rejection("no_such_user", clientRef);
    this.#limits.charge("sends", socket.nameKey, clientRef);
    this.#quota?.charge(socket.username, Buffer.byteLength(message), clientRef);
    const send: QueuedMessage = {
      sender: socket.username,
      toKey,
      ref: clientRef ?? this.#refPrefix + ++this.#refCount,
      sendId: (this.#sendId = (this.#sendId + 1) | 0),
      content: message,
      replyTo,
      fileId: file,
      socket,
      clientRef,
      receivedAt: performance.now(),
    };
    if (this.#queue.add(send)) return;
    this.#refund(send);
    throw this.#rejection("busy", clientRef);
  }

  #rejection(code: "restarting" | "invalid_text" | "no_such_user" | "busy", ref: string | undefined): ChatError {
    this.#metrics.messages.add(code);
    return new ChatError(code, { ref });
  }

  /**
   * Notifies `peer` that the socket's user is typing, at most once every 2 s. Does nothing for
   * unknown peers and across a block.
   */
  async sendTyping(socket: Socket, peer: string): Promise<void> {
    const peerKey = keyOfReference(peer);
    if (peerKey === undefined || peerKey === socket.nameKey) return;
    if (!this.#limits.tryCharge("typing", socket.nameKey)) return;
    if (this.#typing.charge(`${socket.nameKey}\n${peerKey}`) > 0) return;
    const key = await this.#relationships.reachablePeer(socket.username, peerKey).catch(() => undefined); // a hint, not worth a retry
    // mutation: names from the database
    if (key !== undefined) this.#delivery.send([key], typingFrame(socket.username));
  }

  /** Rejects new sends. Resolves when all accepted ones are settled and all marks are stored. */
  async drain(): Promise<void> {
    this.#isDraining = true;
    await this.#queue.drain();
    this.#resendSyncs.flush();
    await this.#receipts.drain();
  }

  stop(): void {
    this.#isDraining = true;
    this.#queue.stop();
  }

  async #settleAll(): Promise<void> {
    for await (const settled of this.#queue.settled()) this.#settle(settled);
  }

  /** Acks or rejects the sends of a batch and delivers their messages, here and on other pods. */
  #settle(settled: readonly SettledMessage[]): void {
    const batch = new WriteBatch(this.#hub);
    const events: BusEvent[] = [];
    for (const { send, outcome } of settled) {
      const { socket, clientRef } = send;
      if (outcome.kind === "rejected" || outcome.duplicate) this.#refund(send);
      if (outcome.kind === "rejected") {
        batch.add(socket, errorFrame(new ChatError(outcome.code, { ref: clientRef })));
        continue;
      }
      const { id, seq, timestamp, receiver, blockedByReceiver, withFile } = outcome.stored;
      batch.add(socket, ackFrame(outcome.stored, receiver, clientRef, outcome.duplicate));
      if (outcome.duplicate) {
        this.#resendSyncs.add(socket.nameKey, socket);
        if (!blockedByReceiver) this.#resendSyncs.add(nameKey(receiver), socket);
        continue;
      }
      const { sender: from, replyTo = null } = send;
      const kind = "message" as const;
      const event = {
        kind,
        from,
        to: receiver,
        message: withFile?.content ?? send.content,
        id,
        seq,
        timestamp,
        ref: clientRef ?? null,
        blockedByReceiver,
        replyTo,
        file: withFile?.file ?? null,
      };
      this.#addToBatch(batch, event, socket);
      events.push(event);
    }
    batch.send();
    const now = performance.now();
    this.#bus.publish(events);
    const { messages, ackSeconds } = this.#metrics;
    for (const { send, outcome } of settled) {
      messages.add(outcome.kind === "rejected" ? outcome.code : outcome.duplicate ? "duplicate" : "stored");
      if (outcome.kind === "rejected") continue;
      ackSeconds.observe((now - send.receivedAt) / 1_000);
      if (outcome.duplicate || outcome.stored.blockedByReceiver) continue;
      if (!batch.wasAccepted(send.toKey, send.socket)) continue;
      this.#receipts.noteDelivered(outcome.stored.receiver, send.sender, outcome.stored.seq);
    }
  }

  /** Only stored text counts toward the daily quota. */
  #refund({ sender, content }: NewMessage): void {
    this.#quota?.refund(sender, Buffer.byteLength(content));
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
      const { from, to, message, seq, blockedByReceiver } = event;
      if (!blockedByReceiver && batch.wasAccepted(nameKey(to))) this.#receipts.noteDelivered(to, from, seq);
      if (this.#quota && this.#hub.socketsOf(nameKey(from)).length > 0)
        this.#quota.addRemoteUsage(from, Buffer.byteLength(message));
    }
  }

  /**
   * Adds an event's frame for its recipients' sockets on this pod. If they have none, the frame is
   * not encoded.
   */
  #addToBatch(batch: WriteBatch, event: RelayedEvent, except?: Socket): void {
    const all = event.kind === "frame" ? event.to : recipientsOf(event);
    const keys = all.filter((key) => this.#hub.socketsOf(key).some((socket) => socket !== except));
    if (keys.length === 0) return;
    const frame = event.kind === "frame" ? event.frame : frameOf(event);
    for (const key of keys) batch.addForUser(key, frame, except);
  }
}

type MessageEvent = Extract<BusEvent, { kind: "message" }>;

/** Name keys of the users whose sockets receive a message, the receiver's first. */
function recipientsOf({ from, to, blockedByReceiver }: MessageEvent): string[] {
  return blockedByReceiver || from === to ? [nameKey(from)] : [nameKey(to), nameKey(from)];
}

function frameOf({ from, to, message, id, seq, timestamp, replyTo, file, ref }: MessageEvent): string {
  if (message === null) return SYNC_FRAME; // too large for a packet (`split` in cluster/codec.ts)
  const optional = { reply_to: replyTo ?? undefined, file: file ?? undefined };
  return messageFrame({ from, to, message, id, seq, timestamp, ...optional }, ref ?? undefined);
}
