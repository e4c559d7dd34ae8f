/** Read and delivered marks: gathers them, stores them in batches, and notifies both users. */

import type { Database } from "../db/database.ts";
import { type DeliveredMark, markDelivered, markRead, type ReadMark } from "../db/receipts.ts";
import { findMany } from "../db/users.ts";
import type { Delivery } from "../delivery/delivery.ts";
import { ChatError } from "../errors.ts";
import { errorText, type Log } from "../log.ts";
import { deliveredFrame, readFrame } from "../protocol.ts";
import { CoalescingBatcher } from "../util/coalescing_batcher.ts";
import { keyOfReference, nameKey } from "../util/text.ts";

/** Marks waiting to be stored; reaching this cap means the database has stalled. */
const MARKS_MAX = 10_000;
const DELIVERED_EVERY_MS = 500;
/** Limits how long shutdown waits for the last delivered marks to be stored. */
const LAST_MARKS_MS = 2_000;
/**
 * Read marks per statement, which locks their conversations against sends until it commits. With
 * 500, sends waited twice as long as with 10, at half the throughput: so a batch stays near 10.
 */
const READS_MAX = 16;

export class Receipts {
  readonly #db: Database;
  readonly #delivery: Delivery;
  readonly #log: Log;
  readonly #reads: CoalescingBatcher<ReadMark, undefined>;
  /** Delivered marks waiting to be stored, by receiver and sender. */
  readonly #delivered = new Map<string, DeliveredMark>();
  readonly #deliveredTimer: Timer;
  #storingDelivered: Promise<void> | undefined;
  /** Whether delivered marks may have been committed without their senders having been notified. */
  #deliveredUnknown = false;
  #isDraining = false;

  constructor(parts: { db: Database; delivery: Delivery; log: Log }) {
    this.#db = parts.db;
    this.#delivery = parts.delivery;
    this.#log = parts.log;
    this.#reads = new CoalescingBatcher((marks) => this.#storeReadMarks(marks), { max: READS_MAX });
    this.#deliveredTimer = setInterval(() => void this.#flushDelivered(), DELIVERED_EVERY_MS);
  }

  /**
   * Advances `reader`'s read mark in the conversation with `peer`, at most to the last message, and
   * notifies both users' sockets.
   *
   * @throws ChatError `busy`, or `not_ready` when a lock or a full disk
   *   prevented it, or PostgreSQL was unreachable during shutdown
   */
  async markRead(reader: string, peer: string, seq: number): Promise<void> {
    const peerKey = keyOfReference(peer);
    if (peerKey === undefined || seq === 0) return;
    const key = `${reader}\n${peerKey}`;
    if (this.#reads.size >= MARKS_MAX && !this.#reads.waiting(key)) throw new ChatError("busy");
    await this.#reads.add(key, { reader, peerKey, seq }, (mark) => (mark.seq = Math.max(mark.seq, seq)));
  }

  /**
   * Notes that a socket of `receiver` accepted `sender`'s messages up to `seq`, or that a request
   * fetched them. Stored, and `sender` notified, within a second.
   */
  noteDelivered(receiver: string, sender: string, seq: number): void {
    if (receiver === sender) return;
    const key = `${receiver}\n${sender}`;
    const noted = this.#delivered.get(key);
    if (noted ? noted.seq < seq : this.#delivered.size < MARKS_MAX) this.#delivered.set(key, { receiver, sender, seq });
  }

  /** Resolves when all marks accepted so far are stored. */
  async drain(): Promise<void> {
    this.#isDraining = true;
    await this.#reads.drain();
    await this.#storingDelivered; // it may have started before the last marks were noted
    await this.#flushDelivered();
  }

  stop(): void {
    this.#isDraining = true;
    clearInterval(this.#deliveredTimer);
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
      this.#sync([...marks.map(({ reader }) => nameKey(reader)), ...peers.map((peer) => peer.nameKey)]);
    }
    return marks.map(() => undefined);
  }

  /** Stores the marks noted so far. While a statement runs, new marks wait for the next tick. */
  #flushDelivered(): Promise<void> {
    this.#storingDelivered ??= this.#storeDeliveredMarks().finally(() => (this.#storingDelivered = undefined));
    return this.#storingDelivered;
  }

  async #storeDeliveredMarks(): Promise<void> {
    if (this.#delivered.size === 0) return;
    const marks = [...this.#delivered.values()];
    this.#delivered.clear();
    try {
      const giveUp = this.#isDraining ? { giveUpAfterMs: LAST_MARKS_MS } : {};
      const onUnknown = () => (this.#deliveredUnknown = true);
      const advanced = await this.#db.run((sql) => markDelivered(sql, marks), { ...giveUp, onUnknown });
      for (const { receiver, sender, seq } of advanced)
        this.#delivery.send([nameKey(sender)], deliveredFrame(receiver, seq));
      if (this.#deliveredUnknown) this.#sync(marks.map(({ sender }) => nameKey(sender)));
      this.#deliveredUnknown = false;
    } catch (error) {
      this.#log.warn("storing delivered marks failed, will retry", { error: errorText(error) });
      for (const { receiver, sender, seq } of marks) this.noteDelivered(receiver, sender, seq);
    }
  }

  /** A mark committed before a lost reply does not advance on the retry, so its users resync. */
  #sync(keys: readonly string[]): void {
    this.#delivery.sync([...new Set(keys)]);
  }
}
