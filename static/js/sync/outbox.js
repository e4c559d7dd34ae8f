/**
 * What was written and is not confirmed. Every text keeps its `ref` until the server has acknowledged it, through lost
 * connections and reloads, and goes out again in order: the same ref never makes two messages.
 */

/**
 * @typedef {object} PendingMessage
 * @property {string} ref
 * @property {string} peer
 * @property {string} text
 * @property {number} at milliseconds since 1970; drafts of one person differ, so that they sort
 * @property {"sending" | "failed"} state
 * @property {string} [code] why it failed
 */

/**
 * Where drafts outlive the page. May answer later (a database) or at once.
 * @typedef {object} PendingMessageStore
 * @property {() => PendingMessage[] | Promise<PendingMessage[]>} load
 * @property {(pending: PendingMessage) => void} put
 * @property {(ref: string) => void} remove
 * @property {() => void} wipe
 */

/** So many unsent texts at most; with the longest texts they still fit into what a browser keeps. */
const LIMIT = 200;
/** Refusals that say "later", not "no". */
const LATER = new Set(["rate_limited", "busy", "restarting"]);
const LATER_MS = 1_000;
/** However often the server says that it was too much, one text goes out in this time. */
const SLOWEST_MS = 8_000;

/**
 * How fast texts go out; below what the server takes by default (20, then five a second), since it sends away who is refused too often.
 * @typedef {{ atOnce: number, everyMs: number }} Pace
 */

/** @type {Pace} */
const PACE = { atOnce: 15, everyMs: 250 };

export class Outbox {
  /** @type {Map<string, PendingMessage>} by ref, in the order they were written */
  #pending = new Map();
  /** @type {Map<string, string>} handed to the present socket: ref and peer */
  #handed = new Map();
  /** @type {((pending: PendingMessage) => boolean) | undefined} there is one while connected */
  #send;
  /** @type {unknown} until when nothing goes out: the server said so */
  #pause;
  /** @type {unknown} until when the pace lets nothing go out */
  #breath;
  #store;
  #timers;
  #now;
  /** @type {Pace | undefined} */
  #pace;
  /** Texts that may go out now, as of `#countedAt`. */
  #credits = 0;
  #countedAt = 0;
  #everyMs = 0;
  /** After a refusal, one at a time: sent together, a later one could slip in before an earlier one. */
  #gently = false;
  /** Whether the pause is the server's for too much. */
  #limited = false;
  #lastAt = 0;

  /** Called when the server said that it was too much: nothing goes out for so many seconds; with 0 it goes on. @type {(seconds: number) => void} */
  onlimited = () => {};

  /** Called when a pending was added, changed or settled. @type {(peer: string) => void} */
  onchanged = () => {};

  /**
   * @param {PendingMessageStore} store
   * @param {object} [options]
   * @param {{ setTimeout: (run: () => void, ms: number) => unknown, clearTimeout: (id: any) => void }} [options.timers]
   * @param {() => number} [options.now] milliseconds that only rise
   * @param {Pace | null} [options.pace] null: everything at once, for a server that takes it
   */
  constructor(store, { timers = globalThis, now = () => performance.now(), pace = PACE } = {}) {
    this.#store = store;
    this.#timers = timers;
    this.#now = now;
    this.#pace = pace ?? undefined;
    this.#credits = pace?.atOnce ?? 0;
    this.#everyMs = pace?.everyMs ?? 0;
    this.#countedAt = now();
  }

  /** Takes up what an earlier page left. */
  async load() {
    const kept = await this.#store.load();
    const all = [...kept, ...this.#pending.values()].toSorted((a, b) => a.at - b.at);
    this.#pending = new Map(all.map((pending) => [pending.ref, pending]));
    this.#lastAt = Math.max(this.#lastAt, all.at(-1)?.at ?? 0);
    for (const peer of new Set(all.map((pending) => pending.peer))) this.onchanged(peer);
    this.#pump();
  }

  /** How many texts wait. */
  get size() {
    return this.#pending.size;
  }

  /** What was written last of what waits, by whom it waits for. */
  newest() {
    return new Map([...this.#pending.values()].map((pending) => [pending.peer, pending]));
  }

  /**
   * What waits for one person, in order.
   * @param {string} peer
   */
  to(peer) {
    return [...this.#pending.values()].filter((pending) => pending.peer === peer);
  }

  /**
   * Takes a text and sends it as soon as that can be. Undefined when the box is full: the text must stay where it is.
   * @param {string} peer
   * @param {string} text
   */
  add(peer, text) {
    if (this.#pending.size >= LIMIT) return undefined;
    this.#lastAt = Math.max(Date.now(), this.#lastAt + 1);
    /** @type {PendingMessage} */
    const pending = { ref: newRef(), peer, text, at: this.#lastAt, state: "sending" };
    this.#keep(pending);
    this.#pump();
    return pending;
  }

  /**
   * A socket is there: everything goes out again, in order. `send` says whether it took the pending.
   * @param {(pending: PendingMessage) => boolean} send
   */
  connected(send) {
    this.#send = send;
    this.#handed.clear();
    this.#resume();
    this.#pump();
  }

  /** The socket is gone, and with it what is known about the drafts handed to it. */
  disconnected() {
    this.#send = undefined;
    this.#handed.clear();
  }

  /**
   * The server has the message of this ref. Returns its pending; undefined when it was settled before.
   * @param {string} ref
   */
  settle(ref) {
    const pending = this.#pending.get(ref);
    if (!pending) return undefined;
    this.#pending.delete(ref);
    this.#handed.delete(ref);
    this.#store.remove(ref);
    this.onchanged(pending.peer);
    if (this.#pending.size === 0) {
      this.#gently = false;
      this.#everyMs = this.#pace?.everyMs ?? 0;
    }
    this.#pump();
    return pending;
  }

  /**
   * The server refused the pending of this ref. What may come later is tried again, and everything behind it waits too, so
   * that the order stays.
   * @param {string} ref
   * @param {string} code
   * @param {number} [retryAfter] in seconds
   */
  refuse(ref, code, retryAfter) {
    const pending = this.#pending.get(ref);
    if (!pending) return;
    this.#handed.delete(ref);
    if (!LATER.has(code)) {
      this.#keep({ ...pending, state: "failed", code });
      this.#pump();
      return;
    }
    this.#gently = true;
    this.#resume();
    const wait = retryAfter === undefined ? LATER_MS : retryAfter * 1000;
    this.#pause = this.#timers.setTimeout(() => {
      this.#resume();
      this.#pump();
    }, wait);
    if (code !== "rate_limited") return;
    // Other tabs and devices send too, or the server takes less: slower, until everything is out.
    this.#everyMs = Math.min(SLOWEST_MS, this.#everyMs * 2);
    this.#credits = Math.min(1, this.#credits);
    this.#limited = true;
    this.onlimited(wait / 1000);
  }

  /**
   * Tries a failed one again.
   * @param {string} ref
   */
  retry(ref) {
    const pending = this.#pending.get(ref);
    if (pending?.state !== "failed") return;
    const { code, ...rest } = pending;
    // The server knows another text under this ref, so this one needs its own.
    if (code === "ref_reused") {
      this.discard(ref);
      this.#keep({ ...rest, ref: newRef(), state: "sending" });
    } else {
      this.#keep({ ...rest, state: "sending" });
    }
    this.#pump();
  }

  /**
   * Throws a pending away because its writer said so.
   * @param {string} ref
   */
  discard(ref) {
    this.settle(ref);
  }

  /** Forgets everything, here and in the store: the person signs out. */
  wipe() {
    this.#pending.clear();
    this.#handed.clear();
    this.#resume();
    this.#store.wipe();
  }

  /** @param {PendingMessage} pending */
  #keep(pending) {
    this.#pending.set(pending.ref, pending);
    this.#store.put(pending);
    this.onchanged(pending.peer);
  }

  #resume() {
    if (this.#pause !== undefined) this.#timers.clearTimeout(this.#pause);
    this.#pause = undefined;
    if (!this.#limited) return;
    this.#limited = false;
    this.onlimited(0);
  }

  #pump() {
    if (!this.#send || this.#pause !== undefined || this.#breath !== undefined) return;
    // One of a conversation at a time: were it refused and those behind it not, their order would be lost.
    const busy = new Set(this.#pace ? this.#handed.values() : []);
    for (const pending of this.#pending.values()) {
      if (pending.state !== "sending" || this.#handed.has(pending.ref) || busy.has(pending.peer)) continue;
      if ((this.#gently && this.#handed.size > 0) || !this.#mayGo() || !this.#send(pending)) return;
      if (this.#pace) {
        this.#credits--;
        busy.add(pending.peer);
      }
      this.#handed.set(pending.ref, pending.peer);
    }
  }

  /** Whether the pace lets another text go out; if not, it goes as soon as it does. */
  #mayGo() {
    if (!this.#pace) return true;
    const now = this.#now();
    this.#credits = Math.min(this.#pace.atOnce, this.#credits + (now - this.#countedAt) / this.#everyMs);
    this.#countedAt = now;
    if (this.#credits >= 1) return true;
    this.#breath = this.#timers.setTimeout(
      () => {
        this.#breath = undefined;
        this.#pump();
      },
      Math.ceil((1 - this.#credits) * this.#everyMs),
    );
    return false;
  }
}

/**
 * An id no other send will ever have: the time, then 80 random bits. The time first, since the database keeps a person's refs in
 * order: at random places each message would touch a page of its own there. `crypto.randomUUID` is missing on plain http, where
 * chatify must work too.
 */
function newRef() {
  const random = Array.from(crypto.getRandomValues(new Uint8Array(10)), (byte) => byte.toString(16).padStart(2, "0"));
  return Date.now().toString(16).padStart(12, "0") + random.join("");
}
