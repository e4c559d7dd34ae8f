/** Sends what the outbox holds: in order, at the server's pace, again after each reconnect. */

import { awaitsUpload, isChange } from "../store/pending.js";
import { Emitter } from "../util/emitter.js";
import { nameKey } from "../util/names.js";
import { Pacer } from "./pacer.js";

/** @import { Pending, PendingRecords } from "../store/pending.js" */
/** @import { Pace, Timers } from "./pacer.js" */

/** Error codes after which a retry can succeed. */
export const RETRYABLE = new Set(["rate_limited", "busy", "restarting"]);
/** @type {Pace} */
export const PACE = { atOnce: 15, everyMs: 250 };

/**
 * - `limited`: `limitedFor` changed
 * @extends {Emitter<{ limited: number }>}
 */
export class OutboxSender extends Emitter {
  #pending;
  #pacer;
  /** @type {Set<string>} refs that this or another page may have sent */
  #perhapsStored = new Set();
  /**
   * @type {Map<string, string>} sent on the current socket, not answered: ref to the peer's name key
   */
  #inFlight = new Map();
  /** @type {((pending: Pending) => boolean) | undefined} defined while connected */
  #send;

  /**
   * @param {PendingRecords} pending
   * @param {{ timers: Timers, now: () => number, pace: Pace | null }} options as for `Outbox`
   */
  constructor(pending, { timers, now, pace }) {
    super();
    this.#pending = pending;
    this.#pacer = new Pacer(pace, timers, now);
    this.#pacer.on("ready", () => this.sendNext());
    this.#pacer.on("limited", (seconds) => this.emit("limited", seconds));
  }

  /** As `Outbox.limitedFor`. */
  get limitedFor() {
    return this.#pacer.limitedFor;
  }

  /** Whether a message or change waits for its answer on the current socket. @param {string} ref */
  isInFlight(ref) {
    return this.#inFlight.has(ref);
  }

  /** A pending message that no server can have. @param {string} ref */
  unsent(ref) {
    const pending = this.#pending.get(ref);
    return pending && !isChange(pending) && !this.#perhapsStored.has(ref) ? pending : undefined;
  }

  /** Another page may have sent it. @param {string} ref */
  markSent(ref) {
    this.#perhapsStored.add(ref);
  }

  /** It is no longer pending, or is certainly not stored. @param {string} ref */
  forget(ref) {
    this.#perhapsStored.delete(ref);
    this.#inFlight.delete(ref);
  }

  /**
   * Sends everything in order on a new socket.
   * @param {(pending: Pending) => boolean} send returns whether the socket accepted it
   */
  connected(send) {
    this.#send = send;
    this.#inFlight.clear();
    this.#pacer.cancelRetry();
    this.sendNext();
  }

  /** The socket closed; the outcome of what was sent on it is unknown. */
  disconnected() {
    this.#send = undefined;
    this.#inFlight.clear();
  }

  /**
   * The server rejected it with an error after which a retry can succeed: it is sent again, and later
   * ones wait to keep the order.
   * @param {string} ref
   * @param {string} code
   * @param {number} [retryAfter] in seconds
   */
  retryLater(ref, code, retryAfter) {
    this.#inFlight.delete(ref);
    this.#pacer.rejected(code, retryAfter);
  }

  /** Sends at full pace again once nothing waits to be sent; failed messages wait for the user. */
  restorePace() {
    for (const { state } of this.#pending.all()) if (state !== "failed" && state !== "deferred") return;
    this.#pacer.restore();
  }

  /** The user signed out. */
  stop() {
    this.#inFlight.clear();
    this.#pacer.cancelRetry();
  }

  /** Sends what can be sent now. */
  sendNext() {
    if (!this.#send || this.#pacer.isWaiting) return;
    // One frame per conversation at a time: if it were rejected and later ones accepted, the order
    // would be lost.
    const busy = new Set(this.#pacer.isPaced ? this.#inFlight.values() : []);
    const deferred = new Set(this.#pending.changes(({ state }) => state === "deferred").map(({ target }) => target));
    for (const pending of this.#pending.all()) {
      const { ref, state } = pending;
      const peerKey = nameKey(pending.peer);
      if (deferred.has(ref) && this.unsent(ref)) busy.add(peerKey); // later ones follow it if it is restored
      if (awaitsUpload(pending)) busy.add(peerKey);
      const waits = state === "failed" || state === "deferred" || (isChange(pending) && pending.seq === 0);
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
