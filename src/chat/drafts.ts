/**
 * Drafts, the same on all devices of a person: stored in gathered statements, then told to the person's other sockets. Of one conversation only
 * the last that came is stored; those it overtook are nobody's loss.
 */

import type { Limits } from "../accounts/limits.ts";
import type { Database } from "../db/client.ts";
import * as drafts from "../db/drafts.ts";
import type { Delivery } from "../delivery/delivery.ts";
import type { Socket } from "../delivery/hub.ts";
import { ChatError } from "../errors.ts";
import { draftFrame, draftSavedFrame } from "../protocol.ts";
import { CoalescingBatcher } from "../util/coalescing_batcher.ts";
import { isDraft, keyOfReference } from "../util/text.ts";

/** Drafts that wait for their statement; more would mean that it never comes. */
const WAITING_MAX = 10_000;
/** And their UTF-16 units: 8 MiB. */
const WAITING_MAX_LENGTH = 4 * 1024 * 1024;
const IN_ONE_STATEMENT = 100;

/** A draft on its way: a later one of the same conversation takes its place. */
interface Waiting {
  readonly owner: string;
  readonly peerKey: string;
  text: string;
  socket: Socket;
  /** The client's number for it, when it asks to know that it is stored. */
  ack: number | undefined;
}

export class Drafts {
  readonly #db: Database;
  readonly #delivery: Delivery;
  readonly #batcher: CoalescingBatcher<Waiting, undefined>;
  readonly #limits: Limits;
  /** UTF-16 units of the drafts that wait. */
  #waitingLength = 0;
  #leaving = false;

  constructor(parts: { db: Database; delivery: Delivery; limits: Limits }) {
    this.#db = parts.db;
    this.#delivery = parts.delivery;
    this.#batcher = new CoalescingBatcher((waiting) => this.#store(waiting), { max: IN_ONE_STATEMENT });
    this.#limits = parts.limits;
  }

  /**
   * Keeps what a person has begun to write, or nothing when the text is empty; their other sockets are told. To a name that nobody has: nothing happens.
   * With `ack`, the socket gets a `draft_saved` once this very draft is stored; a later one that takes its place has its own.
   *
   * @throws ChatError `invalid_text`, `rate_limited`, `busy`, or `not_ready` when PostgreSQL stayed out of reach
   */
  save(
    socket: Socket,
    { peer, text, ack }: { peer: string; text: string; ack?: number },
  ): Promise<unknown> | undefined {
    if (!isDraft(text))
      throw new ChatError("invalid_text", {
        message: "A draft has at most 4,000 characters and no control character NUL",
      });
    const peerKey = keyOfReference(peer);
    if (peerKey === undefined) return undefined;
    this.#limits.spend("drafts", socket.nameKey);
    const key = `${socket.nameKey}\n${peerKey}`;
    const waiting = this.#batcher.waiting(key);
    const length = this.#waitingLength - (waiting?.text.length ?? 0) + text.length;
    if (length > WAITING_MAX_LENGTH) throw new ChatError("busy");
    if (!waiting && this.#batcher.size >= WAITING_MAX) throw new ChatError("busy");
    this.#waitingLength = length;
    const draft = { owner: socket.username, peerKey, text, socket, ack };
    return this.#batcher.add(key, draft, (older) => Object.assign(older, { text, socket, ack }));
  }

  /** Resolves when what was taken is stored. */
  drain(): Promise<void> {
    this.#leaving = true;
    return this.#batcher.drain();
  }

  async #store(waiting: readonly Waiting[]): Promise<undefined[]> {
    for (const { text } of waiting) this.#waitingLength -= text.length;
    const stored = await this.#db.run((sql) => drafts.save(sql, waiting), { keepTrying: () => !this.#leaving });
    for (const [i, { socket, ack }] of waiting.entries()) {
      const draft = stored[i];
      if (!draft) continue;
      if (ack !== undefined) socket.send(draftSavedFrame(draft.peer, ack));
      this.#delivery.send([socket.nameKey], draftFrame(draft), { except: socket });
    }
    return waiting.map(() => undefined);
  }
}
