/**
 * Edits, deletions and reactions: gathers them, stores them in batches, and shows the changed
 * message to both users' sockets, after the commit.
 */

import type { Limits } from "../accounts/limits.ts";
import { type Change, changeMessages, type ChangeOutcome, type ChangeWindows, sweep } from "../db/changes.ts";
import type { Database } from "../db/database.ts";
import { sweepAll } from "../db/sweep.ts";
import type { Delivery } from "../delivery/delivery.ts";
import type { Socket } from "../delivery/hub.ts";
import { ChatError } from "../errors.ts";
import { errorText, type Log } from "../log.ts";
import { changedFrame, type ChangeFrame } from "../protocol.ts";
import { Batcher } from "../util/batcher.ts";
import { isEmoji, isMessage, keyOfReference, nameKey } from "../util/text.ts";
import { messageRow } from "./message_row.ts";
import type { TextQuota } from "./text_quota.ts";

/** Changes per statement, which locks their conversations against sends until it commits. */
const BATCH_MAX = 16;
/** Waiting changes; reaching this cap means the database has stalled. */
const PENDING_MAX = 2_000;
const SWEEP_EVERY_MS = 3_600_000;

interface PendingChange extends Change {
  readonly socket: Socket;
}

export class Changes {
  readonly #db: Database;
  readonly #delivery: Delivery;
  readonly #limits: Limits;
  readonly #quota: TextQuota | undefined;
  readonly #log: Log;
  readonly #windows: ChangeWindows;
  readonly #batcher: Batcher<PendingChange, ChangeOutcome>;
  readonly #sweepTimer: Timer;
  #isDraining = false;

  constructor(parts: {
    db: Database;
    delivery: Delivery;
    limits: Limits;
    quota: TextQuota | undefined;
    log: Log;
    windows: ChangeWindows;
  }) {
    this.#db = parts.db;
    this.#delivery = parts.delivery;
    this.#limits = parts.limits;
    this.#quota = parts.quota;
    this.#log = parts.log;
    this.#windows = parts.windows;
    this.#batcher = new Batcher((changes) => this.#store(changes), { max: BATCH_MAX });
    this.#sweepTimer = setInterval(() => void this.#sweep(), SWEEP_EVERY_MS);
    void this.#sweep(); // a pod may not live for an hour
  }

  /**
   * Changes a message. Changes of one socket are made in the order of their frames.
   *
   * @throws ChatError when the change is rejected: nothing was changed; `not_ready` when a lock or a full disk
   *   prevented it, or PostgreSQL was unreachable during shutdown
   */
  async make(socket: Socket, { type, peer, seq, text, ref }: ChangeFrame): Promise<void> {
    if (this.#isDraining) throw new ChatError("restarting", { ref });
    if (type === "edit" && !isMessage(text)) throw new ChatError("invalid_text", { ref });
    if (type === "react" && text !== "" && !isEmoji(text)) {
      throw new ChatError("invalid_text", { message: "A reaction is a single emoji", ref });
    }
    const peerKey = keyOfReference(peer);
    if (peerKey === undefined) throw new ChatError("no_such_user", { ref });
    this.#limits.charge("changes", socket.nameKey, ref);
    if (this.#batcher.size >= PENDING_MAX) throw new ChatError("busy", { ref });
    const bytes = type === "edit" ? Buffer.byteLength(text) : 0;
    this.#quota?.charge(socket.username, bytes, ref);
    const outcome = await this.#batcher.add({ actor: socket.username, peerKey, type, seq, text, ref, socket });
    if (outcome.error === undefined) return;
    this.#quota?.refund(socket.username, bytes);
    throw new ChatError(outcome.error, { ref });
  }

  /** Rejects new changes. Resolves when all accepted ones are stored. */
  drain(): Promise<void> {
    this.#isDraining = true;
    return this.#batcher.drain();
  }

  stop(): void {
    this.#isDraining = true;
    clearInterval(this.#sweepTimer);
  }

  async #store(changes: readonly PendingChange[]): Promise<ChangeOutcome[]> {
    const outcomes = await this.#db.run((sql) => changeMessages(sql, changes, this.#windows), {
      keepTrying: () => !this.#isDraining, // giving up would close sockets in an outage
    });
    for (const [i, outcome] of outcomes.entries()) {
      if (outcome.error === undefined) this.#show(changes[i] as PendingChange, outcome);
    }
    return outcomes;
  }

  #show({ actor, socket, ref }: PendingChange, outcome: Extract<ChangeOutcome, { error?: undefined }>): void {
    const { isUnchanged, isShownToPeer, hidesRead, peer, message } = outcome;
    const revision = message.revision ?? 0; // null only if unchanged: 0 is never relayed
    const forActor = { peer, revision, message: messageRow(message, actor, { hidesRead }) };
    socket.send(changedFrame(forActor, ref));
    if (isUnchanged) return;
    this.#delivery.send([socket.nameKey], changedFrame(forActor), { except: socket });
    // mutation: changes across a block
    if (!isShownToPeer || peer === actor) return;
    const forPeer = { peer: actor, revision, message: messageRow(message, peer, { hidesRead }) };
    this.#delivery.send([nameKey(peer)], changedFrame(forPeer));
  }

  async #sweep(): Promise<void> {
    try {
      await sweepAll(() => sweep(this.#db));
    } catch (error) {
      if (!this.#isDraining)
        this.#log.warn("deleting old refs of changes failed, will retry in an hour", { error: errorText(error) });
    }
  }
}
