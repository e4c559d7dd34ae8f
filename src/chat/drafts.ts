/**
 * Drafts, shared by all devices of a user. Stored in batches, then sent to the user's other
 * sockets. Only the newest draft per conversation is stored; those it replaces are dropped.
 */

import type { Limits } from "../accounts/limits.ts";
import type { Database } from "../db/database.ts";
import * as drafts from "../db/drafts.ts";
import type { Delivery } from "../delivery/delivery.ts";
import type { Socket } from "../delivery/hub.ts";
import { ChatError } from "../errors.ts";
import { draftFrame, draftSavedFrame } from "../protocol.ts";
import { CoalescingBatcher } from "../util/coalescing_batcher.ts";
import { isDraft, keyOfReference } from "../util/text.ts";

/** Drafts waiting to be stored; reaching this cap means the database has stalled. */
const PENDING_MAX = 10_000;
/** UTF-16 units of the waiting drafts: 8 MiB. */
const PENDING_MAX_LENGTH = 4 * 1024 * 1024;
const BATCH_MAX_ROWS = 100;

/** A draft waiting to be stored; a later one of the same conversation replaces it. */
interface PendingDraft {
  readonly owner: string;
  readonly peerKey: string;
  text: string;
  socket: Socket;
  /** The client's number for this draft, if it requested a `draft_saved`. */
  ack: number | undefined;
}

export class Drafts {
  readonly #db: Database;
  readonly #delivery: Delivery;
  readonly #batcher: CoalescingBatcher<PendingDraft, undefined>;
  readonly #limits: Limits;
  /** UTF-16 units of the waiting drafts. */
  #pendingLength = 0;
  #isDraining = false;

  constructor(parts: { db: Database; delivery: Delivery; limits: Limits }) {
    this.#db = parts.db;
    this.#delivery = parts.delivery;
    this.#batcher = new CoalescingBatcher((pending) => this.#store(pending), { max: BATCH_MAX_ROWS });
    this.#limits = parts.limits;
  }

  /**
   * Stores the draft for `peer`, or deletes it when the text is empty, and notifies the user's
   * other sockets. Does nothing when no user has that name. With `ack`, the socket receives a
   * `draft_saved` once this draft is stored; a draft that replaces it brings its own `ack`.
   *
   * @throws ChatError `invalid_text`, `rate_limited`, `busy`, or `not_ready` when PostgreSQL stayed
   *   unreachable
   */
  save(
    socket: Socket,
    { peer, text, ack }: { peer: string; text: string; ack?: number },
  ): Promise<unknown> | undefined {
    if (!isDraft(text))
      throw new ChatError("invalid_text", {
        message: "A draft has at most 4,000 characters and no NUL character",
      });
    const peerKey = keyOfReference(peer);
    if (peerKey === undefined) return undefined;
    this.#limits.charge("drafts", socket.nameKey);
    const key = `${socket.nameKey}\n${peerKey}`;
    const replaced = this.#batcher.waiting(key);
    const length = this.#pendingLength - (replaced?.text.length ?? 0) + text.length;
    if (length > PENDING_MAX_LENGTH) throw new ChatError("busy");
    if (!replaced && this.#batcher.size >= PENDING_MAX) throw new ChatError("busy");
    this.#pendingLength = length;
    const draft = { owner: socket.username, peerKey, text, socket, ack };
    return this.#batcher.add(key, draft, (older) => Object.assign(older, { text, socket, ack }));
  }

  /** Resolves when all accepted drafts are stored. */
  drain(): Promise<void> {
    this.#isDraining = true;
    return this.#batcher.drain();
  }

  async #store(pending: readonly PendingDraft[]): Promise<undefined[]> {
    for (const { text } of pending) this.#pendingLength -= text.length;
    const stored = await this.#db.run((sql) => drafts.save(sql, pending), { keepTrying: () => !this.#isDraining });
    for (const [i, { socket, ack }] of pending.entries()) {
      const draft = stored[i];
      if (!draft) continue;
      if (ack !== undefined) socket.send(draftSavedFrame(draft.peer, ack));
      this.#delivery.send([socket.nameKey], draftFrame(draft), { except: socket });
    }
    return pending.map(() => undefined);
  }
}
