/**
 * Syncs drafts across a user's devices through the server. `drafts.js` decides which of two drafts
 * is newer; this file decides when to send, and translates the server's clock. A draft the server
 * never had is joined with a newer one instead of replaced.
 */

import { nameKey } from "../util/names.js";

/** @import { Drafts, Draft } from "../store/drafts.js" */

/**
 * @typedef {object} DraftServer
 * @property {Pick<import("./connection.js").Connection, "on" | "send" | "state">} connection
 * @property {() => Promise<{ drafts: { peer: string, text: string, at: string }[], now: number }>} fetch `now`: by the server's clock
 */

const SEND_EVERY_MS = 600; // plus the pause before a draft is saved: less than a second
const LIMIT = 4_000; // code points, as the server counts
/**
 * The server stores this many drafts. A list this long may omit some, so absence from it proves
 * nothing.
 */
const SERVER_LIMIT = 100;
const RETRY_MS = 5_000;
/** Bursts of `sync` frames cause one comparison. */
const SYNC_AFTER_MS = 1_000;
/** Joins two drafts that were written independently. */
const GAP = "\n\n";

export class DraftSync {
  /**
   * @type {Map<string, { timer: unknown, again: boolean }>} by name key: sent within the interval, and whether it changed since
   */
  #recentlySent = new Map();
  /**
   * @type {Map<string, { text: string, ack: number }>} by name key: sent on the current socket, not confirmed
   */
  #unsavedDrafts = new Map();
  #acks = 0;
  /** Whether the server sends `draft_saved`; older versions do not. */
  #confirms = false;
  #isComparing = false;
  /** Whether the drafts may have changed since the running comparison began. */
  #comparesAgain = false;
  /** @type {unknown} runs from a `sync` frame until the drafts are compared */
  #syncTimer;
  #drafts;
  #connection;
  #fetch;
  #env;

  /**
   * Keeps `drafts` in sync from now on.
   * @param {Drafts} drafts
   * @param {DraftServer} server
   * @param {{ setTimeout: (run: () => void, ms: number) => unknown, clearTimeout: (timer: any) => void, now: () => number }} [env]
   */
  constructor(drafts, { connection, fetch }, env) {
    this.#drafts = drafts;
    this.#connection = connection;
    this.#fetch = fetch;
    this.#env = env ?? {
      setTimeout: (run, ms) => setTimeout(run, ms),
      clearTimeout: (timer) => clearTimeout(timer),
      now: () => Date.now(),
    };
    drafts.on("written", (draft) => this.#written(draft));
    connection.on("frame", (frame) => this.#receive(frame));
    connection.on("state", () => {
      this.#unsavedDrafts.clear(); // drafts sent on a lost socket may be lost
      void this.#compare();
    });
    void this.#compare();
  }

  /**
   * Merges the server's drafts after every `hello` and `sync`: changes made before were not sent to
   * this page.
   */
  async #compare() {
    this.#comparesAgain = this.#isComparing;
    if (this.#isComparing || this.#connection.state !== "open") return;
    this.#isComparing = true;
    try {
      const requestedAt = this.#env.now();
      const { drafts, now } = await this.#fetch();
      this.#mergeAll(drafts, { requestedAt, aheadMs: this.#env.now() - now });
    } catch {
      this.#env.setTimeout(() => void this.#compare(), RETRY_MS);
    }
    this.#isComparing = false;
    if (this.#comparesAgain) void this.#compare();
  }

  /** Frames may have been lost. */
  #compareSoon() {
    if (this.#syncTimer !== undefined) return;
    this.#syncTimer = this.#env.setTimeout(() => {
      this.#syncTimer = undefined;
      void this.#compare();
    }, SYNC_AFTER_MS);
  }

  /** @param {import("./connection.js").Frame} frame */
  #receive({ type, peer, text, ack, ref, retry_after }) {
    if (type === "draft_saved") this.#confirm(peer, ack);
    else if (type === "sync") this.#compareSoon();
    // Drafts have no ref, so one may have been rejected.
    else if (type === "error" && ref === undefined && retry_after !== undefined)
      this.#env.setTimeout(() => this.#sendUnsaved(), retry_after * 1_000);
    // Another device changed the draft just now.
    else if (type === "draft")
      this.#merge(peer, text, Math.max(this.#env.now(), (this.#drafts.get(peer)?.at ?? 0) + 1));
  }

  /** @param {string} peer @param {number} ack */
  #confirm(peer, ack) {
    this.#confirms = true;
    const key = nameKey(peer);
    const sent = this.#unsavedDrafts.get(key);
    if (sent?.ack !== ack) return;
    this.#unsavedDrafts.delete(key);
    this.#drafts.noteStored(peer, sent.text);
  }

  /** @param {Pick<Draft, "peer">} draft */
  #written({ peer }) {
    const sent = this.#recentlySent.get(nameKey(peer));
    if (sent) sent.again = true;
    else this.#send(nameKey(peer));
  }

  /** Sends waiting changes now, because the page may be about to close. */
  flush() {
    for (const [key, { timer, again }] of this.#recentlySent) {
      if (!again) continue;
      this.#env.clearTimeout(timer);
      this.#send(key);
    }
  }

  /**
   * @param {{ peer: string, text: string, at: string }[]} remote
   * @param {{ requestedAt: number, aheadMs: number }} clock aheadMs: how far the local clock is ahead of the server's
   */
  #mergeAll(remote, { requestedAt, aheadMs }) {
    const listed = new Set();
    for (const { peer, text, at } of remote) {
      listed.add(nameKey(peer));
      const local = this.#drafts.get(peer);
      const agreed = local?.text === text ? local.at + 1 : 0;
      this.#merge(peer, text, Math.max(Date.parse(at) + aheadMs, agreed));
    }
    for (const local of this.#drafts.all()) {
      const absent = !listed.has(nameKey(local.peer));
      if (absent && local.text === "") continue;
      const wasOnServer = local.known || local.text === local.had;
      if (!local.known && !(absent && wasOnServer)) this.#written(local);
      // The server had this draft once, so it was sent or deleted on another device, unless it was
      // stored during the request.
      else if (absent && remote.length < SERVER_LIMIT && local.at <= requestedAt) {
        this.#drafts.mergeAndSave({ peer: local.peer, text: "", at: local.at + 1, known: true, had: "" });
      }
    }
  }

  /**
   * Merges one draft of the server.
   * @param {string} peer
   * @param {string} text
   * @param {number} at
   */
  #merge(peer, text, at) {
    const local = this.#drafts.get(peer);
    const joined = local && this.#isOnlyHere(local) ? this.#join(local, text) : text;
    const disturbs = local && this.#drafts.isBeingTyped(peer) && !joined.startsWith(local.text);
    if (!local || joined === text || disturbs) this.#drafts.mergeAndSave({ peer, text, at, known: true, had: text });
    else if (joined === local.text) this.#drafts.noteStored(peer, text);
    else this.#drafts.replace({ peer, text: joined, at: Math.max(at, local.at + 1), had: text, merged: text });
  }

  /** Whether only this browser has this draft. @param {Draft} local */
  #isOnlyHere({ peer, text, known, had }) {
    return text !== "" && !known && text !== had && (this.#confirms || text !== this.#unsavedText(peer));
  }

  /** The text last sent on the current socket and not confirmed. @param {string} peer */
  #unsavedText(peer) {
    return this.#unsavedDrafts.get(nameKey(peer))?.text;
  }

  /**
   * Joins a draft the server never had with the server's draft.
   * @param {Draft} local
   * @param {string} remote
   */
  #join({ peer, text, had, merged }, remote) {
    // The server's is an older version.
    if (remote === had || this.#drafts.hadText(peer, remote)) return text;
    const base = this.#unsavedText(peer) ?? had;
    if (base && remote.startsWith(base + GAP)) return text + remote.slice(base.length);
    const own = merged && text.startsWith(merged + GAP) ? text.slice(merged.length + GAP.length) : text;
    if (own.startsWith(remote)) return own;
    return remote.startsWith(own) || remote.endsWith(GAP + own) ? remote : remote + GAP + own;
  }

  /** Sends the current draft, unless the server already has it. @param {string} key */
  #send(key) {
    this.#recentlySent.delete(key);
    const { peer, text, known = false } = this.#drafts.get(key) ?? { peer: "", text: "", known: true };
    const clean = text.replaceAll("\0", "").toWellFormed();
    // Could not be sent as a message either.
    const tooLong = clean.length > LIMIT && [...clean].length > LIMIT;
    // If not connected, `#compare` sends it after the next `hello`.
    const ack = ++this.#acks;
    if (known || tooLong || !this.#connection.send({ type: "draft", peer, text: clean, ack })) return;
    this.#unsavedDrafts.set(key, { text, ack });
    const sent = { again: false, timer: this.#env.setTimeout(() => this.#afterInterval(key), SEND_EVERY_MS) };
    this.#recentlySent.set(key, sent);
  }

  #sendUnsaved() {
    for (const key of this.#unsavedDrafts.keys()) if (!this.#recentlySent.has(key)) this.#send(key);
  }

  /** Sends changes made during the interval. @param {string} key */
  #afterInterval(key) {
    const again = this.#recentlySent.get(key)?.again;
    this.#recentlySent.delete(key);
    if (again) this.#send(key);
  }
}
