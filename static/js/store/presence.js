/** Who is here and who is writing, as far as this page has asked; and telling a peer that I am writing. */

import { nameKey } from "../util/names.js";

/** @typedef {{ online: boolean, lastSeen: number | undefined }} Seen */

const TYPING_SHOWN_MS = 4_000;
const TYPING_SENT_MS = 2_000;
const STALE_MS = 4_000; // without a connection, nobody's presence is known for longer
const WATCH_LIMIT = 200;
const WATCH_EVERY_MS = 1_000; // the list changes with each letter of a search; the server takes one a second
const WATCH_FIRST_MS = 100; // after a list of nobody: who comes first is on screen

export class Presence {
  /** @type {Map<string, Seen>} by name key */
  #seen = new Map();
  /** @type {Map<string, any>} by name key: the timer that ends it */
  #typing = new Map();
  /** @type {string[]} */
  #watched = [];
  /** Whether sign-ups are worth knowing. */
  #newUsers = false;
  /** @type {any} */
  #staleTimer;
  /** @type {any} runs while the last list is younger than that */
  #watchTimer;
  /** Whether the server has an older list. */
  #watchedAnew = false;
  #toldAt = 0;
  #toldWhom = "";
  #me;
  #send;
  #changed;

  /**
   * @param {string} me
   * @param {(frame: Record<string, unknown>) => boolean} send
   * @param {() => void} changed called when somebody came, left, or began or ended to write
   */
  constructor(me, send, changed) {
    this.#me = me;
    this.#send = send;
    this.#changed = changed;
  }

  /** What is known of a person; undefined when nothing is. @param {string} name */
  of(name) {
    return this.#seen.get(nameKey(name));
  }

  /** @param {string} name */
  isTyping(name) {
    return this.#typing.has(nameKey(name));
  }

  /**
   * These people are on screen: their presence is worth knowing.
   * @param {string[]} names
   * @param {{ newUsers?: boolean }} [options] newUsers: whoever signs up is worth knowing, too
   */
  watch(names, { newUsers = false } = {}) {
    const users = [...new Set(names)].filter((name) => name !== this.#me).slice(0, WATCH_LIMIT);
    users.sort();
    const isSame = newUsers === this.#newUsers && users.length === this.#watched.length;
    if (isSame && users.every((name, index) => name === this.#watched[index])) return;
    this.#watched = users;
    this.#newUsers = newUsers;
    this.#watchedAnew = true;
    if (this.#watchTimer === undefined) this.#tellWatched();
  }

  /**
   * The server refused a list, as one too many.
   * @param {number} seconds until it takes one
   */
  refused(seconds) {
    this.#watchedAnew = true;
    this.#tellWatchedIn(seconds * 1_000);
  }

  #tellWatched() {
    this.#watchedAnew = false;
    this.#tellWatchedIn(this.#watched.length === 0 ? WATCH_FIRST_MS : WATCH_EVERY_MS);
    const newUsers = this.#newUsers ? { new_users: true } : {};
    this.#send({ type: "watch", users: this.#watched, ...newUsers });
  }

  /** @param {number} ms */
  #tellWatchedIn(ms) {
    clearTimeout(this.#watchTimer);
    this.#watchTimer = setTimeout(() => {
      this.#watchTimer = undefined;
      if (this.#watchedAnew) this.#tellWatched();
    }, ms);
  }

  /** Tells the peer that I am writing, now and then. @param {string} peer */
  sendTyping(peer) {
    const now = Date.now();
    if (peer === this.#me || (peer === this.#toldWhom && now - this.#toldAt < TYPING_SENT_MS)) return;
    if (!this.#send({ type: "typing", peer })) return;
    this.#toldAt = now;
    this.#toldWhom = peer;
  }

  /** The text is sent: the next letter is news again. */
  messageSent() {
    this.#toldAt = 0;
  }

  /** A new socket: it is told whom to watch, or it would be told about everybody. */
  connected() {
    clearTimeout(this.#staleTimer);
    this.#staleTimer = undefined;
    this.#tellWatched();
  }

  /** The socket is gone. */
  disconnected() {
    this.#staleTimer ??= setTimeout(() => this.forget(), STALE_MS);
  }

  forget() {
    this.#seen.clear();
    this.#changed();
  }

  /**
   * What the server says of people.
   * @param {Record<string, { online: boolean, last_seen: string | null }>} users
   */
  update(users) {
    for (const [name, { online, last_seen }] of Object.entries(users)) {
      this.#seen.set(nameKey(name), { online, lastSeen: last_seen ? Date.parse(last_seen) : undefined });
      if (!online) this.stoppedTyping(name);
    }
    this.#changed();
  }

  /** @param {string} name */
  startedTyping(name) {
    const key = nameKey(name);
    clearTimeout(this.#typing.get(key));
    this.#typing.set(
      key,
      setTimeout(() => this.stoppedTyping(name), TYPING_SHOWN_MS),
    );
    this.#changed();
  }

  /** @param {string} name */
  stoppedTyping(name) {
    const key = nameKey(name);
    clearTimeout(this.#typing.get(key));
    if (this.#typing.delete(key)) this.#changed();
  }
}
