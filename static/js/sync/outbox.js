/**
 * Messages not acknowledged yet, and changes to messages not answered yet. Each keeps its `ref`
 * across lost connections and reloads and is resent in order until the server answers it; the
 * server stores a ref once.
 */

import { isChange, mayBeStored, newRef, PendingRecords } from "../store/pending.js";
import { Emitter } from "../util/emitter.js";
import { nameKey } from "../util/names.js";
import { DeferredDeletions } from "./deferred_deletions.js";
import { OutboxSender, PACE, RETRYABLE } from "./outbox_sender.js";
import { PendingFiles } from "./pending_files.js";

/** @import { Pending, PendingChange, PendingFile, PendingMessage, PendingStore, Target } from "../store/pending.js" */
/** @import { Pace, Timers } from "./pacer.js" */

/** A change that the server rejected; the message is again as before. @typedef {{ peer: string, seq: number, type: PendingChange["type"], code: string }} RejectedChange */

/** This many messages of maximum length still fit into browser storage. */
const LIMIT = 200;

/**
 * - `changed`: a message or change to this peer was added, changed or removed
 * - `removed`: the message or change with this ref was stored or discarded
 * - `rejected`: the server rejected a change
 * - `limited`: `limitedFor` changed
 * @extends {Emitter<{ changed: string, removed: string, rejected: RejectedChange, limited: number }>}
 */
export class Outbox extends Emitter {
  #pending;
  #sender;
  files;
  /** The deletions that can still be undone. */
  deferred;

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
    this.#sender = new OutboxSender(this.#pending, { timers, now, pace });
    this.#sender.on("limited", (seconds) => this.emit("limited", seconds));
    this.files = new PendingFiles(this.#pending);
    this.files.on("ready", () => this.#sender.sendNext());
    this.deferred = new DeferredDeletions(this.#pending, timers);
    this.deferred.on("due", (ref) => this.#deleteNow(ref));
    this.deferred.on("elsewhere", ({ ref, peer }) => {
      this.#sender.markSent(ref);
      this.emit("changed", peer);
      this.#sender.sendNext();
    });
  }

  /** Loads what earlier pages or other tabs stored. */
  async load() {
    for (const pending of await this.#pending.load()) {
      if (mayBeStored(pending)) this.#sender.markSent(pending.ref);
      this.emit("changed", pending.peer);
    }
    this.deferred.schedule();
    this.#sender.sendNext();
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
    return this.#sender.limitedFor;
  }

  /** How many more messages and changes it accepts. */
  get room() {
    return Math.max(0, LIMIT - this.#pending.size);
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
    return this.#pending.messages(peer);
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
   * Queues a text and sends it as soon as possible, or once its file is uploaded. Returns undefined
   * when the outbox is full; the caller keeps the text then.
   * @param {string} peer
   * @param {string} text
   * @param {{ replyTo?: number | undefined, file?: PendingFile | undefined }} [options] replyTo: the seq of the message that it answers
   */
  add(peer, text, { replyTo, file } = {}) {
    if (this.room === 0) return undefined;
    /** @type {PendingMessage} */
    const pending = {
      ref: newRef(),
      peer,
      text,
      at: this.#pending.nextAt(),
      state: file ? "uploading" : "sending",
      ...(replyTo && { replyTo }),
      ...(file && { file }),
    };
    this.#save(pending);
    this.#sender.sendNext();
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
   * Deletes own messages after a while, also if the page is reloaded meanwhile; until then `remove`
   * undoes it. They are shown as deleted at once. Returns false when the outbox is full.
   * @param {string} peer
   * @param {readonly Target[]} messages
   * @param {number} ms
   */
  deleteLater(peer, messages, ms) {
    if (messages.length > this.room) return false;
    for (const message of messages)
      this.deferred.add(this.#pending.makeChange("delete", peer, this.#pending.identify(message), ""), ms);
    this.emit("changed", peer);
    return true;
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
    this.#sender.connected(send);
  }

  /** The socket closed; the outcome of what was sent on it is unknown. */
  disconnected() {
    this.#sender.disconnected();
  }

  /**
   * The server has stored the message with this number. Returns it, or undefined when it is not
   * pending.
   * @param {string} ref
   * @param {number} seq
   */
  acknowledge(ref, seq) {
    this.#pending.acknowledge(ref, seq);
    for (const { target: _, ...change } of this.#pending.changes((each) => each.target === ref))
      this.#save({ ...change, seq });
    const pending = this.remove(ref);
    this.#sender.sendNext(); // changes that waited for the number
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
    this.#sender.forget(ref);
    this.emit("removed", ref);
    this.emit("changed", pending.peer);
    this.#sender.restorePace();
    this.#sender.sendNext();
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
    if (RETRYABLE.has(code)) return this.#sender.retryLater(ref, code, retryAfter);
    if (isChange(pending)) {
      const { peer, seq, type } = pending;
      this.remove(ref);
      this.emit("rejected", { peer, seq, type, code });
      return;
    }
    this.#sender.forget(ref);
    this.#save({ ...pending, state: "failed", code });
    this.#sender.restorePace();
    // Nothing is stored that they could change.
    for (const { type, text, state, ref: change } of this.#pending.changesOf(pending.peer, { seq: 0, target: ref })) {
      if (state === "deferred") continue;
      this.remove(change);
      if (type === "delete") this.remove(ref);
      else this.#save({ ...pending, text, state: "failed", code });
    }
    this.#sender.sendNext();
  }

  /** An older server rejected a frame that it does not know; it does not say which. @param {string} code */
  rejectChangesInFlight(code) {
    for (const { ref } of this.#pending.changes((each) => this.#sender.isInFlight(each.ref))) this.reject(ref, code);
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
    this.#save({ ...rest, state: rest.file ? "uploading" : "sending" });
    this.#sender.sendNext();
  }

  /** Deletes everything, here and in the store, at sign-out. */
  wipe() {
    this.#pending.wipe();
    this.#sender.stop();
  }

  /**
   * @param {PendingChange["type"]} type
   * @param {string} peer
   * @param {Target} message
   * @param {string} text
   */
  #change(type, peer, message, text) {
    const { seq, target } = this.#pending.identify(message);
    const pending = this.#sender.unsent(target);
    if (seq === 0 && !this.#pending.get(target)) {
      this.emit("rejected", { peer, seq, type, code: "no_such_message" }); // discarded in another tab
      return true;
    }
    if (!pending && this.room === 0) return false;
    this.#supersede(type, peer, { seq, target });
    if (pending && type === "delete") this.remove(target);
    else if (pending) this.#replace(pending, text);
    else this.#save(this.#pending.makeChange(type, peer, { seq, target }, text));
    this.#sender.sendNext();
    return true;
  }

  /** A deferred deletion can no longer be undone. @param {string} ref */
  #deleteNow(ref) {
    const change = this.#pending.get(ref);
    if (change?.state !== "deferred") return;
    const { sendAt: _, ...deletion } = change;
    const { peer, seq, target = "" } = deletion;
    this.#supersede("delete", peer, { seq, target });
    if (seq > 0 || (this.#pending.get(target) && !this.#sender.unsent(target))) {
      this.#save({ ...deletion, state: "changing" });
      this.#sender.sendNext();
    } else for (const each of [target, ref]) this.remove(each);
  }

  /**
   * An unsent change is superseded by a later one of its kind, and by a deletion.
   * @param {PendingChange["type"]} type
   * @param {string} peer
   * @param {{ seq: number, target: string }} message
   */
  #supersede(type, peer, message) {
    for (const { ref, state, type: other } of this.#pending.changesOf(peer, message)) {
      const isUnsent = state === "changing" && !this.#sender.isInFlight(ref);
      if (isUnsent && (type === "delete" || other === type)) this.remove(ref);
    }
  }

  /**
   * Changes the text of a message that no server has. The new ref keeps other tabs, which may have
   * loaded it, from sending both texts under one.
   * @param {PendingMessage} pending
   * @param {string} text
   */
  #replace(pending, text) {
    const { code: _, ...rest } = pending;
    this.#save({ ...rest, ref: newRef(), text, state: rest.file ? "uploading" : "sending" });
    this.#pending.sort(); // into its old place
    this.remove(pending.ref);
  }

  /** @param {Pending} pending */
  #save(pending) {
    this.#pending.save(pending);
    this.emit("changed", pending.peer);
  }
}
