/**
 * Messages not acknowledged yet, and changes to messages not answered yet. Each keeps its `ref`
 * across lost connections and reloads and is resent in order until the server answers it; the
 * server stores a ref once.
 */

import { isChange, newRef, PendingRecords } from "../store/pending.js";
import { Emitter } from "../util/emitter.js";
import { nameKey } from "../util/names.js";
import { Pacer } from "./pacer.js";

/** @import { Pending, PendingChange, PendingMessage, PendingStore } from "../store/pending.js" */
/** @import { Pace, Timers } from "./pacer.js" */

/** An own or received message: its `seq`, or, while that is 0 or absent, the `ref` of a pending one. @typedef {{ seq?: number, ref?: string }} Target */

/** A change that the server rejected; the message is again as before. @typedef {{ peer: string, seq: number, type: PendingChange["type"], code: string }} RejectedChange */

/** This many messages of maximum length still fit into browser storage. */
const LIMIT = 200;
/** Error codes after which a retry can succeed. */
const RETRYABLE = new Set(["rate_limited", "busy", "restarting"]);

/** @type {Pace} */
const PACE = { atOnce: 15, everyMs: 250 };

/**
 * - `changed`: a message or change to this peer was added, changed or removed
 * - `removed`: the message or change with this ref was stored or discarded
 * - `rejected`: the server rejected a change
 * - `limited`: `limitedFor` changed
 * @extends {Emitter<{ changed: string, removed: string, rejected: RejectedChange, limited: number }>}
 */
export class Outbox extends Emitter {
  #pending;
  /** @type {Set<string>} refs that this or another page may have sent */
  #perhapsStored = new Set();
  /**
   * @type {Map<string, string>} sent on the current socket, not answered: ref to the peer's name key
   */
  #inFlight = new Map();
  /** @type {((pending: Pending) => boolean) | undefined} defined while connected */
  #send;
  #pacer;

  /**
   * @param {PendingStore} store
   * @param {object} [options]
   * @param {Timers} [options.timers]
   * @param {() => number} [options.now] a monotonic clock in milliseconds
   * @param {Pace | null} [options.pace] null sends everything at once, for servers without a limit
   */
  constructor(store, { timers = globalThis, now = () => performance.now(), pace = PACE } = {}) {
    super();
    this.#pending = new PendingRecords(store);
    this.#pacer = new Pacer(pace, timers, now);
    this.#pacer.on("ready", () => this.#sendNext());
    this.#pacer.on("limited", (seconds) => this.emit("limited", seconds));
  }

  /** Loads what earlier pages or other tabs stored. */
  async load() {
    for (const { ref, peer, state } of await this.#pending.load()) {
      if (state !== "failed") this.#perhapsStored.add(ref);
      this.emit("changed", peer);
    }
    this.#sendNext();
  }

  /** The number of unacknowledged messages and unanswered changes. */
  get size() {
    return this.#pending.size;
  }

  /**
   * Seconds for which the server accepts no message, from its last `rate_limited` error; 0 when it
   * accepts them.
   */
  get limitedFor() {
    return this.#pacer.limitedFor;
  }

  /** Whether unsent messages are lost when the page closes. */
  get isVolatile() {
    return this.#pending.isVolatile;
  }

  /** The newest unacknowledged message to each peer, by name key. */
  newest() {
    return new Map(this.#pending.messages().map((pending) => [nameKey(pending.peer), pending]));
  }

  /**
   * The unacknowledged messages to one peer in any spelling, in order.
   * @param {string} peer
   */
  to(peer) {
    const key = nameKey(peer);
    return this.#pending.messages().filter((pending) => nameKey(pending.peer) === key);
  }

  /**
   * The unanswered changes to stored messages of a conversation, in order.
   * @param {string} peer
   */
  changesOf(peer) {
    const key = nameKey(peer);
    return this.#pending.changes(({ seq, peer: name }) => seq > 0 && nameKey(name) === key);
  }

  /**
   * Queues a text and sends it as soon as possible. Returns undefined when the outbox is full; the
   * caller keeps the text then.
   * @param {string} peer
   * @param {string} text
   * @param {{ replyTo?: number | undefined }} [options] replyTo: the seq of the message that it answers
   */
  add(peer, text, { replyTo } = {}) {
    if (this.#pending.size >= LIMIT) return undefined;
    /** @type {PendingMessage} */
    const pending = {
      ref: newRef(),
      peer,
      text,
      at: this.#pending.nextAt(),
      state: "sending",
      ...(replyTo && { replyTo }),
    };
    this.#save(pending);
    this.#sendNext();
    return pending;
  }

  /**
   * Replaces the text of an own message, stored or pending. It is shown at once. Returns false when
   * the outbox is full.
   * @param {string} peer
   * @param {Target} message
   * @param {string} text
   */
  edit(peer, message, text) {
    return this.#change("edit", peer, message, text);
  }

  /**
   * Deletes an own message, stored or pending. Returns as `edit`.
   * @param {string} peer
   * @param {Target} message
   */
  delete(peer, message) {
    return this.#change("delete", peer, message, "");
  }

  /**
   * Reacts to a stored message. Returns as `edit`.
   * @param {string} peer
   * @param {{ seq: number }} message
   * @param {string} emoji replaces an earlier one; "" removes it
   */
  react(peer, message, emoji) {
    return this.#change("react", peer, message, emoji);
  }

  /**
   * Resends everything in order on a new socket. `send` returns whether the socket accepted the
   * message or change.
   * @param {(pending: Pending) => boolean} send
   */
  connected(send) {
    this.#send = send;
    this.#inFlight.clear();
    this.#pacer.cancelRetry();
    this.#sendNext();
  }

  /** The socket closed; the outcome of what was sent on it is unknown. */
  disconnected() {
    this.#send = undefined;
    this.#inFlight.clear();
  }

  /**
   * The server has stored the message with this number. Returns it, or undefined when it is not
   * pending.
   * @param {string} ref
   * @param {number} seq
   */
  acknowledge(ref, seq) {
    for (const { target: _, ...change } of this.#pending.changes((each) => each.target === ref))
      this.#save({ ...change, seq });
    const pending = this.remove(ref);
    this.#sendNext(); // changes that waited for the number
    return pending && !isChange(pending) ? pending : undefined;
  }

  /**
   * The server has stored the message or change, or the user discards it. Returns it, or undefined
   * when it is not pending.
   * @param {string} ref
   */
  remove(ref) {
    const pending = this.#pending.remove(ref);
    if (!pending) return undefined;
    this.#perhapsStored.delete(ref);
    this.#inFlight.delete(ref);
    this.emit("removed", ref);
    this.emit("changed", pending.peer);
    this.#restorePace();
    this.#sendNext();
    return pending;
  }

  /**
   * The server rejected the message or change. After a retryable error it is sent again, and later
   * ones wait to keep the order. Another rejected change is dropped.
   * @param {string} ref
   * @param {string} code
   * @param {number} [retryAfter] in seconds
   */
  reject(ref, code, retryAfter) {
    const pending = this.#pending.get(ref);
    if (!pending) return;
    this.#inFlight.delete(ref);
    if (!RETRYABLE.has(code)) {
      if (isChange(pending)) {
        const { peer, seq, type } = pending;
        this.remove(ref);
        this.emit("rejected", { peer, seq, type, code });
        return;
      }
      this.#perhapsStored.delete(ref);
      this.#save({ ...pending, state: "failed", code });
      this.#restorePace();
      // Nothing is stored that they could change.
      for (const { type, text, ref: change } of this.#pending.changes(({ target }) => target === ref)) {
        this.remove(change);
        if (type === "delete") this.remove(ref);
        else this.#save({ ...pending, text, state: "failed", code });
      }
      this.#sendNext();
      return;
    }
    this.#pacer.rejected(code, retryAfter);
  }

  /** An older server rejected a frame that it does not know; it does not say which. @param {string} code */
  rejectChangesInFlight(code) {
    for (const { ref } of this.#pending.changes((each) => this.#inFlight.has(each.ref))) this.reject(ref, code);
  }

  /**
   * Sends a failed message again.
   * @param {string} ref
   */
  retry(ref) {
    const pending = this.#pending.get(ref);
    if (pending?.state !== "failed") return;
    const { code, ...rest } = pending;
    // The server has a different text under this ref, so this one needs a new ref.
    if (code === "ref_reused") return this.#replace(pending, pending.text);
    this.#save({ ...rest, state: "sending" });
    this.#sendNext();
  }

  /** Deletes everything, here and in the store, at sign-out. */
  wipe() {
    this.#pending.wipe();
    this.#inFlight.clear();
    this.#pacer.cancelRetry();
  }

  /**
   * @param {PendingChange["type"]} type
   * @param {string} peer
   * @param {Target} message
   * @param {string} text
   */
  #change(type, peer, { seq = 0, ref: target = "" }, text) {
    // An unsent change is superseded by a later one of its kind, and by a deletion.
    for (const each of this.#pending.changesOf(peer, { seq, target }))
      if ((type === "delete" || each.type === type) && !this.#inFlight.has(each.ref)) this.remove(each.ref);
    const pending = seq > 0 ? undefined : this.#pending.get(target);
    if (pending && !isChange(pending) && !this.#perhapsStored.has(target)) {
      if (type === "delete") this.remove(target);
      else this.#replace(pending, text);
      return true;
    }
    if (this.#pending.size >= LIMIT) return false;
    const of = seq > 0 ? { seq } : { seq, target };
    this.#save({ ref: newRef(), peer, type, ...of, text, at: this.#pending.nextAt(), state: "changing" });
    this.#sendNext();
    return true;
  }

  /**
   * Changes the text of a message that no server has. The new ref keeps other tabs, which may have
   * loaded it, from sending both texts under one.
   * @param {PendingMessage} pending
   * @param {string} text
   */
  #replace({ ref, peer, at, replyTo }, text) {
    this.#save({ ref: newRef(), peer, text, at, state: "sending", ...(replyTo && { replyTo }) });
    this.#pending.sort(); // into its old place
    this.remove(ref);
  }

  /** Sends at full pace again once nothing waits to be sent; failed messages wait for the user. */
  #restorePace() {
    for (const { state } of this.#pending.all()) if (state !== "failed") return;
    this.#pacer.restore();
  }

  /** @param {Pending} pending */
  #save(pending) {
    this.#pending.save(pending);
    this.emit("changed", pending.peer);
  }

  #sendNext() {
    if (!this.#send || this.#pacer.isWaiting) return;
    // One frame per conversation at a time: if it were rejected and later ones accepted, the order
    // would be lost.
    const busy = new Set(this.#pacer.isPaced ? this.#inFlight.values() : []);
    for (const pending of this.#pending.all()) {
      const { ref, state } = pending;
      const peerKey = nameKey(pending.peer);
      const waits = state === "failed" || (isChange(pending) && pending.seq === 0);
      if (waits || this.#inFlight.has(ref) || busy.has(peerKey)) continue;
      if (this.#pacer.isOneAtATime && this.#inFlight.size > 0) return;
      if (!this.#pacer.hasCredit() || !this.#send(pending)) return;
      if (this.#pacer.isPaced) busy.add(peerKey);
      this.#pacer.sent();
      this.#perhapsStored.add(ref);
      this.#inFlight.set(ref, peerKey);
    }
  }
}
