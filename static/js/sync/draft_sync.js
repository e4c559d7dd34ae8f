/**
 * Draft texts on all devices of a person, by way of the server. `drafts.js` decides which of two texts is the newer one; this says
 * what is sent when, and what an answer of the server means here, where another clock goes. A text that the server never had is not
 * replaced by a newer one but joined with it.
 */

import { nameKey } from "../util/names.js";

/** @import { Drafts, Draft } from "../store/drafts.js" */

/**
 * @typedef {object} Wire
 * @property {() => boolean} open
 * @property {(frame: Record<string, unknown>) => boolean} send false when there is nobody to take it
 * @property {() => Promise<{ drafts: { peer: string, text: string, at: string }[], now: number }>} fetch `now`: by the server's clock
 */

const EVERY_MS = 600; // with the pause before a text is kept, less than a second
const LIMIT = 4_000; // code points, as the server counts
/** The server keeps so many; of a longer list it cannot be told what is not in it. */
const KEPT_BY_SERVER = 100;
const AGAIN_MS = 5_000;
/** Between two texts that were written without knowing of each other. */
const GAP = "\n\n";

export class DraftSync {
  /** @type {Map<string, { timer: unknown, again: boolean }>} by name key: sent just now, and whether it changed since */
  #sent = new Map();
  /** @type {Map<string, { text: string, ack: number }>} by name key: sent on the present socket, and not yet known to be stored */
  #unconfirmed = new Map();
  #acks = 0;
  /** Whether the server says what it has stored: an older one does not. */
  #confirms = false;
  #asking = false;
  #drafts;
  #wire;
  #around;

  /**
   * @param {Drafts} drafts
   * @param {Wire} wire
   * @param {{ setTimeout: (run: () => void, ms: number) => unknown, clearTimeout: (timer: any) => void, now: () => number }} [around]
   */
  constructor(drafts, wire, around) {
    this.#drafts = drafts;
    this.#wire = wire;
    this.#around = around ?? {
      setTimeout: (run, ms) => setTimeout(run, ms),
      clearTimeout: (timer) => clearTimeout(timer),
      now: () => Date.now(),
    };
  }

  /** Compares with what the server has: after every greeting, for nobody was told of anything before it. */
  async compare() {
    if (this.#asking || !this.#wire.open()) return;
    this.#asking = true;
    try {
      const { drafts, now } = await this.#wire.fetch();
      this.#merge(drafts, this.#around.now() - now);
    } catch {
      this.#around.setTimeout(() => void this.compare(), AGAIN_MS);
    }
    this.#asking = false;
  }

  /** Another device has changed a text, just now. @param {{ peer: string, text: string }} frame */
  receive({ peer, text }) {
    const at = Math.max(this.#around.now(), (this.#drafts.get(peer)?.at ?? 0) + 1);
    this.#learn(peer, text, at);
  }

  /** The server has stored a text. @param {{ peer: string, ack: number }} frame */
  saved({ peer, ack }) {
    this.#confirms = true;
    const key = nameKey(peer);
    const sent = this.#unconfirmed.get(key);
    if (sent?.ack !== ack) return;
    this.#unconfirmed.delete(key);
    this.#drafts.note(peer, sent.text);
  }

  /** The socket is gone: what it took may never have arrived. */
  disconnected() {
    this.#unconfirmed.clear();
  }

  /** A text was changed here. @param {Pick<Draft, "peer">} draft */
  written({ peer }) {
    const sent = this.#sent.get(nameKey(peer));
    if (sent) sent.again = true;
    else this.#send(nameKey(peer));
  }

  /** Sends what waits: the page may be about to go. */
  flush() {
    for (const [key, { timer, again }] of this.#sent) {
      if (!again) continue;
      this.#around.clearTimeout(timer);
      this.#send(key);
    }
  }

  /**
   * @param {{ peer: string, text: string, at: string }[]} theirs
   * @param {number} aheadMs how far the clock here is ahead of the server's
   */
  #merge(theirs, aheadMs) {
    const listed = new Set();
    for (const { peer, text, at } of theirs) {
      listed.add(nameKey(peer));
      const mine = this.#drafts.get(peer);
      const agreed = mine?.text === text ? mine.at + 1 : 0;
      this.#learn(peer, text, Math.max(Date.parse(at) + aheadMs, agreed));
    }
    for (const mine of this.#drafts.all()) {
      const absent = !listed.has(nameKey(mine.peer));
      if (absent && mine.text === "") continue;
      const had = mine.known || mine.text === mine.had;
      if (!mine.known && !(absent && had)) this.written(mine);
      // The server had it once: what it does not list was sent or taken away elsewhere.
      else if (absent && theirs.length < KEPT_BY_SERVER) {
        this.#drafts.take({ peer: mine.peer, text: "", at: mine.at + 1, known: true, had: "" });
      }
    }
  }

  /**
   * The server has this text.
   * @param {string} peer
   * @param {string} text
   * @param {number} at
   */
  #learn(peer, text, at) {
    const mine = this.#drafts.get(peer);
    const joined = mine && this.#wasNeverSent(mine) ? this.#joined(mine, text) : text;
    const disturbs = mine && this.#drafts.isTyped(peer) && !joined.startsWith(mine.text);
    if (!mine || joined === text || disturbs) this.#drafts.take({ peer, text, at, known: true, had: text });
    else if (joined === mine.text) this.#drafts.note(peer, text);
    else this.#drafts.replace({ peer, text: joined, at: Math.max(at, mine.at + 1), had: text, merged: text });
  }

  /** Whether nothing but this browser has a text. @param {Draft} mine */
  #wasNeverSent({ peer, text, known, had }) {
    return text !== "" && !known && text !== had && (this.#confirms || text !== this.#sentLast(peer));
  }

  /** What the present socket took last of a text, as long as it is not known to be stored. @param {string} peer */
  #sentLast(peer) {
    return this.#unconfirmed.get(nameKey(peer))?.text;
  }

  /**
   * What a text that was never sent becomes when the server has another one.
   * @param {Draft} mine
   * @param {string} theirs
   */
  #joined({ peer, text, had, merged }, theirs) {
    if (theirs === had || this.#drafts.wasHere(peer, theirs)) return text; // an older version of it
    const base = this.#sentLast(peer) ?? had;
    if (base && theirs.startsWith(base + GAP)) return text + theirs.slice(base.length);
    const own = merged && text.startsWith(merged + GAP) ? text.slice(merged.length + GAP.length) : text;
    if (own.startsWith(theirs)) return own;
    return theirs.startsWith(own) || theirs.endsWith(GAP + own) ? theirs : theirs + GAP + own;
  }

  /** Sends a text as it is now, unless another device has replaced it meanwhile. @param {string} key */
  #send(key) {
    this.#sent.delete(key);
    const { peer, text, known = false } = this.#drafts.get(key) ?? { peer: "", text: "", known: true };
    const clean = text.replaceAll("\0", "").toWellFormed();
    const tooLong = clean.length > LIMIT && [...clean].length > LIMIT; // it cannot be sent as a message either
    // Where nobody takes it, it is compared after the next greeting.
    const ack = ++this.#acks;
    if (known || tooLong || !this.#wire.send({ type: "draft", peer, text: clean, ack })) return;
    this.#unconfirmed.set(key, { text, ack });
    const sent = { again: false, timer: this.#around.setTimeout(() => this.#rest(key), EVERY_MS) };
    this.#sent.set(key, sent);
  }

  /** It may be sent again. @param {string} key */
  #rest(key) {
    const again = this.#sent.get(key)?.again;
    this.#sent.delete(key);
    if (again) this.#send(key);
  }
}
