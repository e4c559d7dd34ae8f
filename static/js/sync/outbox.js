/**
 * Messages not acknowledged yet. Each keeps its `ref` across lost connections and reloads and is
 * resent in order until the server acknowledges it; the server stores a ref once.
 */

import { Emitter } from "../util/emitter.js";
import { nameKey } from "../util/names.js";

/**
 * @typedef {object} PendingMessage
 * @property {string} ref
 * @property {string} peer
 * @property {string} text
 * @property {number} at milliseconds since 1970, unique within an outbox so that messages sort
 * @property {"sending" | "failed"} state
 * @property {string} [code] the error code of a failed message
 */

/** Persists pending messages by ref. @typedef {import("../store/offline_store.js").RecordStore<PendingMessage>} PendingMessageStore */

/** This many messages of maximum length still fit into browser storage. */
const LIMIT = 200;
/** Error codes after which a retry can succeed. */
const RETRYABLE = new Set(["rate_limited", "busy", "restarting"]);
const RETRY_MS = 1_000;
/** The slowest pace after repeated `rate_limited` errors. */
const SLOWEST_MS = 8_000;

/**
 * How fast messages are sent. It stays below the server's default limit (a burst of 20, then 5/s),
 * because the server closes the sockets of clients that exceed it too often.
 * @typedef {{ atOnce: number, everyMs: number }} Pace
 */

/** @type {Pace} */
const PACE = { atOnce: 15, everyMs: 250 };

/**
 * - `changed`: a message to this peer was added, changed or removed
 * - `removed`: the message with this ref was stored or discarded
 * - `limited`: `limitedFor` changed
 * @extends {Emitter<{ changed: string, removed: string, limited: number }>}
 */
export class Outbox extends Emitter {
  /** @type {Map<string, PendingMessage>} by ref, in order of writing */
  #pending = new Map();
  /** The number of running loads. */
  #loads = 0;
  /**
   * @type {Map<string, string>} sent on the current socket, not acknowledged: ref to the peer's name key
   */
  #inFlight = new Map();
  /** @type {((pending: PendingMessage) => boolean) | undefined} defined while connected */
  #send;
  /** @type {unknown} set while the server's retry delay runs */
  #retryTimer;
  /** @type {unknown} set while the pace forbids sending */
  #paceTimer;
  #store;
  #timers;
  #now;
  /** @type {Pace | undefined} */
  #pace;
  /** Messages that may be sent now, as of `#countedAt`. */
  #credits = 0;
  #countedAt = 0;
  #everyMs = 0;
  /**
   * After a retryable error, one message is in flight at a time: sent together, a later one could
   * be stored before an earlier one.
   */
  #isOneAtATime = false;
  #limitedFor = 0;
  #lastAt = 0;

  /**
   * @param {PendingMessageStore} store
   * @param {object} [options]
   * @param {{ setTimeout: (run: () => void, ms: number) => unknown, clearTimeout: (id: any) => void }} [options.timers]
   * @param {() => number} [options.now] a monotonic clock in milliseconds
   * @param {Pace | null} [options.pace] null sends everything at once, for servers without a limit
   */
  constructor(store, { timers = globalThis, now = () => performance.now(), pace = PACE } = {}) {
    super();
    this.#store = store;
    this.#timers = timers;
    this.#now = now;
    this.#pace = pace ?? undefined;
    this.#credits = pace?.atOnce ?? 0;
    this.#everyMs = pace?.everyMs ?? 0;
    this.#countedAt = now();
  }

  /** Loads the messages that earlier pages or other tabs stored. */
  async load() {
    this.#loads++;
    const stored = await this.#store.load();
    this.#loads--;
    const all = [...stored, ...this.#pending.values()].toSorted((a, b) => a.at - b.at);
    this.#pending = new Map(all.map((pending) => [pending.ref, pending]));
    this.#lastAt = Math.max(this.#lastAt, all.at(-1)?.at ?? 0);
    for (const peer of new Set(all.map((pending) => pending.peer))) this.emit("changed", peer);
    this.#sendNext();
  }

  /** The number of unacknowledged messages. */
  get size() {
    return this.#pending.size;
  }

  /**
   * Seconds for which the server accepts no message, from its last `rate_limited` error; 0 when it
   * accepts them.
   */
  get limitedFor() {
    return this.#limitedFor;
  }

  /** Whether unsent messages are lost when the page closes. */
  get isVolatile() {
    return this.#store.isVolatile === true;
  }

  /** The newest unacknowledged message to each peer, by name key. */
  newest() {
    return new Map([...this.#pending.values()].map((pending) => [nameKey(pending.peer), pending]));
  }

  /**
   * The unacknowledged messages to one peer in any spelling, in order.
   * @param {string} peer
   */
  to(peer) {
    const key = nameKey(peer);
    return [...this.#pending.values()].filter((pending) => nameKey(pending.peer) === key);
  }

  /**
   * Queues a text and sends it as soon as possible. Returns undefined when the outbox is full; the
   * caller keeps the text then.
   * @param {string} peer
   * @param {string} text
   */
  add(peer, text) {
    if (this.#pending.size >= LIMIT) return undefined;
    this.#lastAt = Math.max(Date.now(), this.#lastAt + 1);
    /** @type {PendingMessage} */
    const pending = { ref: newRef(), peer, text, at: this.#lastAt, state: "sending" };
    this.#save(pending);
    this.#sendNext();
    return pending;
  }

  /**
   * Resends everything in order on a new socket. `send` returns whether the socket accepted the
   * message.
   * @param {(pending: PendingMessage) => boolean} send
   */
  connected(send) {
    this.#send = send;
    this.#inFlight.clear();
    this.#cancelRetry();
    this.#sendNext();
  }

  /** The socket closed; the outcome of the messages sent on it is unknown. */
  disconnected() {
    this.#send = undefined;
    this.#inFlight.clear();
  }

  /**
   * The server has stored the message, or the user discards it. Returns it, or undefined when it is
   * not pending.
   * @param {string} ref
   */
  remove(ref) {
    const pending = this.#pending.get(ref);
    // A running load may have read it before another tab removed it.
    if (pending || this.#loads > 0) this.#store.remove(ref);
    if (!pending) return undefined;
    this.#pending.delete(ref);
    this.#inFlight.delete(ref);
    this.emit("removed", ref);
    this.emit("changed", pending.peer);
    this.#restorePace();
    this.#sendNext();
    return pending;
  }

  /**
   * The server rejected the message. After a retryable error it is sent again, and later ones wait
   * to keep the order.
   * @param {string} ref
   * @param {string} code
   * @param {number} [retryAfter] in seconds
   */
  reject(ref, code, retryAfter) {
    const pending = this.#pending.get(ref);
    if (!pending) return;
    this.#inFlight.delete(ref);
    if (!RETRYABLE.has(code)) {
      this.#save({ ...pending, state: "failed", code });
      this.#restorePace();
      this.#sendNext();
      return;
    }
    this.#isOneAtATime = true;
    this.#cancelRetry();
    const wait = retryAfter === undefined ? RETRY_MS : retryAfter * 1000;
    this.#retryTimer = this.#timers.setTimeout(() => {
      this.#cancelRetry();
      this.#sendNext();
    }, wait);
    if (code !== "rate_limited") return;
    // Other tabs and devices send too, or the server's limit is lower: slow down until all are
    // sent.
    this.#everyMs = Math.min(SLOWEST_MS, this.#everyMs * 2);
    this.#credits = Math.min(1, this.#credits);
    this.#setLimit(wait / 1000);
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
    if (code === "ref_reused") {
      this.remove(ref);
      this.#save({ ...rest, ref: newRef(), state: "sending" });
    } else {
      this.#save({ ...rest, state: "sending" });
    }
    this.#sendNext();
  }

  /** Sends at full pace again once no message waits to be sent; failed ones wait for the user. */
  #restorePace() {
    for (const { state } of this.#pending.values()) if (state === "sending") return;
    this.#isOneAtATime = false;
    this.#everyMs = this.#pace?.everyMs ?? 0;
  }

  /** Deletes everything, here and in the store, at sign-out. */
  wipe() {
    this.#pending.clear();
    this.#inFlight.clear();
    this.#cancelRetry();
    this.#store.wipe();
  }

  /** @param {PendingMessage} pending */
  #save(pending) {
    this.#pending.set(pending.ref, pending);
    this.#store.put(pending.ref, pending);
    this.emit("changed", pending.peer);
  }

  #cancelRetry() {
    if (this.#retryTimer !== undefined) this.#timers.clearTimeout(this.#retryTimer);
    this.#retryTimer = undefined;
    this.#setLimit(0);
  }

  /** @param {number} seconds */
  #setLimit(seconds) {
    if (seconds === this.#limitedFor) return;
    this.#limitedFor = seconds;
    this.emit("limited", seconds);
  }

  #sendNext() {
    if (!this.#send || this.#retryTimer !== undefined || this.#paceTimer !== undefined) return;
    // One message per conversation at a time: if it were rejected and later ones accepted, the
    // order would be lost.
    const busy = new Set(this.#pace ? this.#inFlight.values() : []);
    for (const pending of this.#pending.values()) {
      const peerKey = nameKey(pending.peer);
      if (pending.state !== "sending" || this.#inFlight.has(pending.ref) || busy.has(peerKey)) continue;
      if ((this.#isOneAtATime && this.#inFlight.size > 0) || !this.#hasCredit() || !this.#send(pending)) return;
      if (this.#pace) {
        this.#credits--;
        busy.add(peerKey);
      }
      this.#inFlight.set(pending.ref, peerKey);
    }
  }

  /** Whether the pace allows another message now; if not, schedules sending for when it does. */
  #hasCredit() {
    if (!this.#pace) return true;
    const now = this.#now();
    this.#credits = Math.min(this.#pace.atOnce, this.#credits + (now - this.#countedAt) / this.#everyMs);
    this.#countedAt = now;
    if (this.#credits >= 1) return true;
    this.#paceTimer = this.#timers.setTimeout(
      () => {
        this.#paceTimer = undefined;
        this.#sendNext();
      },
      Math.ceil((1 - this.#credits) * this.#everyMs),
    );
    return false;
  }
}

/**
 * Whether a stored record is a pending message. Keys of user `ann.b` also start with the prefix of
 * `ann`; the rest of such a key is not a ref.
 * @param {string} key
 * @param {any} record
 * @returns {record is PendingMessage}
 */
export function isPendingMessage(key, record) {
  return (
    record?.ref === key &&
    typeof record.peer === "string" &&
    typeof record.text === "string" &&
    typeof record.at === "number" &&
    (record.state === "sending" || record.state === "failed")
  );
}

/**
 * A unique id: the time, then 80 random bits. The time comes first because the database indexes
 * refs by sender: random refs would touch a different index page per message. `crypto.randomUUID`
 * is missing on plain http, where chatify must work too.
 */
function newRef() {
  const random = Array.from(crypto.getRandomValues(new Uint8Array(10)), (byte) => byte.toString(16).padStart(2, "0"));
  return Date.now().toString(16).padStart(12, "0") + random.join("");
}
