/** When deferred deletions are due: until then they can be undone, also after a reload. */

import { Emitter } from "../util/emitter.js";

/** @import { PendingChange, PendingRecords } from "../store/pending.js" */

/**
 * A page sends what another one deferred only this much later: the other page is still open, perhaps,
 * and has just undone, postponed or sent it.
 */
const TAKEOVER_MS = 2_000;
/** A page stops offering to undo what another one deferred this long before that one sends it. */
const MARGIN_MS = 300;
/** A clock that was set back must not defer a deletion for years. */
const MAX_MS = 60_000;

/**
 * - `due`: the deletion with this ref must be sent now
 * - `elsewhere`: another page undid, postponed or sent it
 * @extends {Emitter<{ due: string, elsewhere: PendingChange }>}
 */
export class DeferredDeletions extends Emitter {
  #pending;
  #timers;
  /** @type {unknown} */
  #timer;
  /** @type {Set<string>} refs of those that this page deferred */
  #own = new Set();

  /**
   * @param {PendingRecords} pending
   * @param {import("./pacer.js").Timers} timers
   */
  constructor(pending, timers) {
    super();
    this.#pending = pending;
    this.#timers = timers;
  }

  /**
   * Defers a deletion.
   * @param {PendingChange} change
   * @param {number} ms
   */
  add(change, ms) {
    this.#own.add(change.ref);
    this.#pending.save({ ...change, state: "deferred", sendAt: Date.now() + ms });
    this.schedule();
  }

  /**
   * Changes when deletions are due; 0 is now.
   * @param {readonly string[]} refs
   * @param {number} ms
   */
  postpone(refs, ms) {
    const changes = this.#all().filter(({ ref }) => refs.includes(ref));
    for (const change of changes) this.#pending.save({ ...change, sendAt: Date.now() + ms });
    if (ms === 0) for (const { ref } of changes) this.emit("due", ref);
    this.schedule();
  }

  /** Those that can be undone, and until when. */
  undoable() {
    return this.#all()
      .map(({ ref, sendAt = 0 }) => ({ ref, until: this.#own.has(ref) ? sendAt : sendAt - MARGIN_MS }))
      .filter(({ until }) => until > Date.now());
  }

  /** Waits for the next one; call it after loading or changing any. */
  schedule() {
    this.#timers.clearTimeout(this.#timer);
    const next = Math.min(...this.#all().map((each) => this.#dueAt(each)));
    if (next === Number.POSITIVE_INFINITY) return;
    const wait = Math.max(0, Math.min(next - Date.now(), MAX_MS));
    this.#timer = this.#timers.setTimeout(() => void this.#check(), wait);
  }

  async #check() {
    const now = Date.now();
    for (const change of this.#all()) {
      const { ref, sendAt = 0 } = change;
      if (this.#dueAt(change) > now && sendAt < now + MAX_MS) continue;
      const stored = this.#own.has(ref) ? change : await this.#pending.reload(ref);
      if (stored?.state !== "deferred" || stored.sendAt !== sendAt) this.emit("elsewhere", change);
      else this.emit("due", ref);
    }
    this.schedule();
  }

  /** @param {PendingChange} change */
  #dueAt({ ref, sendAt = 0 }) {
    return this.#own.has(ref) ? sendAt : sendAt + TAKEOVER_MS;
  }

  #all() {
    return this.#pending.changes(({ state }) => state === "deferred");
  }
}
