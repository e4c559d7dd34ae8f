/**
 * The users this page knows: their names and search, which of them are blocked, and their
 * presence. All in one file, because each adds about 350 bytes to a first visit.
 */

import { Emitter } from "../util/emitter.js";
import { nameKey, searchKey } from "../util/names.js";

/** @typedef {{ online: boolean, lastSeen: number | undefined }} Seen */

const SEARCH_LIMIT = 20;
const TYPING_SHOWN_MS = 4_000;
const TYPING_SENT_MS = 2_000;
const STALE_MS = 4_000; // presence is forgotten this long after the connection is lost
const WATCH_LIMIT = 200;
// The list changes with each letter of a search; the server accepts one per second.
const WATCH_EVERY_MS = 1_000;
const WATCH_AFTER_EMPTY_MS = 100; // an empty list is replaced sooner
const REJECTED_WITHIN_MS = 5_000; // an error on a slow network arrives by then

/**
 * - `signedUp`: a user with this name signed up
 * - `unblocked`: the user with this name is no longer blocked
 * @extends {Emitter<{ signedUp: string, unblocked: string }>}
 */
export class PeopleDirectory extends Emitter {
  /**
   * Names as their owners spell them, from server responses.
   * @type {Map<string, string>} by name key
   */
  #names = new Map();
  #me;
  #api;
  #conversations;

  /**
   * @param {string} me
   * @param {{
   *   api: import("../chat_model.js").Api,
   *   conversations: import("./conversation_store.js").ConversationStore,
   *   send: (frame: Record<string, unknown>) => boolean,
   * }} parts
   */
  constructor(me, { api, conversations, send }) {
    super();
    this.#me = me;
    this.#api = api;
    this.#conversations = conversations;
    this.presence = new Presence(me, send);
  }

  /**
   * A user's name as its owner spells it, without asking the server; undefined when unknown.
   * @param {string} name
   */
  knownName(name) {
    const key = nameKey(name);
    return key === nameKey(this.#me) ? this.#me : (this.#conversations.nameOf(name) ?? this.#names.get(key));
  }

  /**
   * The same, asking the server if necessary: `name` itself when the server cannot be asked;
   * undefined when no active user has it.
   * @param {string} name
   */
  async find(name) {
    const known = this.knownName(name);
    if (known !== undefined) return known;
    const people = await this.#search(name).catch(() => undefined);
    if (people === undefined) return name; // no network
    // An exact match wins over one that ignores accents.
    return this.knownName(name) ?? people.find((person) => searchKey(person) === searchKey(name));
  }

  /**
   * Users whose name or display name contains `part`. Also loads the user's conversations with them, wherever they
   * are in the list.
   * @param {string} part
   */
  async search(part) {
    const isMore = part !== "" && !this.#conversations.isListComplete;
    const [people, rows] = await Promise.all([
      this.#search(part),
      isMore ? this.#api.conversations({ limit: SEARCH_LIMIT, part }) : [],
    ]);
    for (const row of rows) this.applyRow(row);
    return people;
  }

  /**
   * Applies a row's presence, and the rest to the conversation.
   * @param {import("../sync/api.js").Row} row
   */
  applyRow({ online, last_seen, ...row }) {
    this.presence.update({ [row.peer]: { online, last_seen } });
    return this.#conversations.applyRow(row);
  }

  /** A user signed up. @param {string} name */
  add(name) {
    this.#names.set(nameKey(name), name);
    this.emit("signedUp", name);
  }

  /** The server's database may have been rolled back. */
  forget() {
    this.#names.clear();
    this.presence.forget();
  }

  /**
   * Changes how the user has arranged a conversation. Shows that at once, and no longer if it fails.
   * @param {string} peer
   * @param {import("./membership.js").Arrangement} changes
   */
  async arrange(peer, changes) {
    const conversation = this.#conversations.getOrCreate(peer);
    const settle = conversation.membership.change(changes, conversation);
    this.#conversations.changed(peer);
    try {
      conversation.membership.update(await this.#api.arrange(peer, changes));
    } finally {
      settle();
      this.#conversations.changed(peer);
    }
  }

  /**
   * Blocks a user, whose new messages and typing are hidden then, or unblocks them.
   * @param {string} peer
   * @param {boolean} blocked
   */
  async block(peer, blocked) {
    await this.#api.block(peer, blocked);
    this.#conversations.getOrCreate(peer).isBlocked = blocked;
    this.#conversations.changed(peer);
    if (blocked) this.presence.stoppedTyping(peer);
    else this.emit("unblocked", peer);
  }

  /** @param {string} part */
  async #search(part) {
    const people = await this.#api.people(part);
    return people.map(({ username, ...profile }) => {
      this.#names.set(nameKey(username), username);
      this.#conversations.profiles.apply(username, profile);
      return username;
    });
  }
}

/**
 * Presence and typing of the users this page watches, and the user's own typing.
 * - `changed`: a user's presence or typing changed
 * @extends {Emitter<{ changed: void }>}
 */
export class Presence extends Emitter {
  /** @type {Map<string, Seen>} by name key */
  #presence = new Map();
  /** @type {Map<string, any>} by name key: the timer that hides it */
  #typing = new Map();
  /** @type {string[]} */
  #users = [];
  /** Whether the page wants `new_user` frames. */
  #newUsers = false;
  /** @type {any} */
  #staleTimer;
  /** @type {any} runs until the next `watch` frame may be sent */
  #watchTimer;
  #watchSentAt = 0;
  /** Whether the server's list is outdated. */
  #isListOutdated = false;
  #typingSentAt = 0;
  #typingSentTo = "";
  #me;
  #send;

  /**
   * @param {string} me
   * @param {(frame: Record<string, unknown>) => boolean} send
   */
  constructor(me, send) {
    super();
    this.#me = me;
    this.#send = send;
  }

  /** A user's presence; undefined when unknown. @param {string} name */
  of(name) {
    return this.#presence.get(nameKey(name));
  }

  /** @param {string} name */
  isTyping(name) {
    return this.#typing.has(nameKey(name));
  }

  /**
   * Subscribes to the presence of these users, 200 at most, in place of earlier ones.
   * @param {string[]} names
   * @param {{ newUsers?: boolean }} [options] newUsers: also subscribes to sign-ups
   */
  watch(names, { newUsers = false } = {}) {
    const users = [...new Set(names)].filter((name) => name !== this.#me).slice(0, WATCH_LIMIT);
    users.sort();
    const isSame = newUsers === this.#newUsers && users.length === this.#users.length;
    if (isSame && users.every((name, index) => name === this.#users[index])) return;
    this.#users = users;
    this.#newUsers = newUsers;
    this.#isListOutdated = true;
    if (this.#watchTimer === undefined) this.#sendWatch();
  }

  /**
   * The server rejected some frame because of its rate limit, the last `watch` frame if that was
   * sent just before.
   * @param {number} seconds until it accepts one
   */
  rejected(seconds) {
    if (Date.now() - this.#watchSentAt > REJECTED_WITHIN_MS) return;
    this.#isListOutdated = true;
    this.#sendWatchIn(seconds * 1_000);
  }

  #sendWatch() {
    this.#isListOutdated = false;
    this.#watchSentAt = Date.now();
    this.#sendWatchIn(this.#users.length === 0 ? WATCH_AFTER_EMPTY_MS : WATCH_EVERY_MS);
    const newUsers = this.#newUsers ? { new_users: true } : {};
    this.#send({ type: "watch", users: this.#users, ...newUsers });
  }

  /** @param {number} ms */
  #sendWatchIn(ms) {
    clearTimeout(this.#watchTimer);
    this.#watchTimer = setTimeout(() => {
      this.#watchTimer = undefined;
      if (this.#isListOutdated) this.#sendWatch();
    }, ms);
  }

  /** Sends `typing` to the peer, at most every 2 seconds. @param {string} peer */
  sendTyping(peer) {
    const now = Date.now();
    if (peer === this.#me || (peer === this.#typingSentTo && now - this.#typingSentAt < TYPING_SENT_MS)) return;
    if (!this.#send({ type: "typing", peer })) return;
    this.#typingSentAt = now;
    this.#typingSentTo = peer;
  }

  /** The message was sent: the next keystroke sends `typing` at once. */
  messageSent() {
    this.#typingSentAt = 0;
  }

  /** Sends the list on a new socket; without it, the server would send everyone's presence. */
  connected() {
    clearTimeout(this.#staleTimer);
    this.#staleTimer = undefined;
    this.#sendWatch();
  }

  /** The socket closed. */
  disconnected() {
    this.#staleTimer ??= setTimeout(() => this.forget(), STALE_MS);
  }

  forget() {
    this.#presence.clear();
    this.emitSoon("changed");
  }

  /**
   * Applies the presence the server sent.
   * @param {Record<string, { online: boolean, last_seen: string | null }>} users
   */
  update(users) {
    for (const [name, { online, last_seen }] of Object.entries(users)) {
      this.#presence.set(nameKey(name), { online, lastSeen: last_seen ? Date.parse(last_seen) : undefined });
      if (!online) this.stoppedTyping(name);
    }
    this.emitSoon("changed");
  }

  /** @param {string} name */
  startedTyping(name) {
    const key = nameKey(name);
    clearTimeout(this.#typing.get(key));
    this.#typing.set(
      key,
      setTimeout(() => this.stoppedTyping(name), TYPING_SHOWN_MS),
    );
    this.emitSoon("changed");
  }

  /** @param {string} name */
  stoppedTyping(name) {
    const key = nameKey(name);
    clearTimeout(this.#typing.get(key));
    if (this.#typing.delete(key)) this.emitSoon("changed");
  }
}
