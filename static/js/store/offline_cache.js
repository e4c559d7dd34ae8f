/**
 * Caches the newest conversations and messages in IndexedDB, so that the page is readable offline and before the server
 * responds. Written in batches when the page is idle; the server's data always replace it.
 */

import { nameKey } from "../util/names.js";

/** @import { Row, Stored } from "../sync/api.js" */
/** @import { Conversation, Message } from "./conversation.js" */
/** @import { Database, Change } from "./local_database.js" */

/** @typedef {Omit<Row, "online" | "last_seen">} StableRow without presence, which expires quickly */

/**
 * @typedef {object} CachedRow a stored row; browsers already hold these field names
 * @property {string} epoch the server's epoch when it was copied
 * @property {StableRow} row
 * @property {number} read the user's read mark, confirmed by the server or not
 * @property {{ first: number, last: number } | undefined} held the range of messages stored with it
 */

/** @typedef {{ epoch: string, messages: Message[], complete: boolean }} Page contiguous messages; complete: no message precedes them */

/**
 * @typedef {object} CacheSource provides the data to cache
 * @property {() => Conversation[]} newest non-empty conversations, newest first
 * @property {(peer: string, limit: number) => Promise<Stored[]>} fetch fetches the newest messages of a conversation
 */

export const STORES = ["about", "rows", "messages"];

const CONVERSATIONS = 30;
const MESSAGES = 200;
/** Changes are batched this long. */
const GATHER_MS = 1_000;
/** A new page waits before it fetches messages of unopened conversations. */
const CATCH_UP_MS = 3_000;

export class OfflineCache {
  #database;
  #idle;
  /** @type {CacheSource | undefined} */
  #source;
  /** @type {string | undefined} of the cached data */
  #epoch;
  /** Whether the server has confirmed the epoch; before that, nothing is written. */
  #isEpochConfirmed = false;
  /** @type {Map<string, { first: number, last: number } | undefined>} message ranges in the store, by name key */
  #held = new Map();
  /** @type {Set<Conversation>} */
  #dirty = new Set();
  /** @type {any} */
  #timer;
  /** @type {any} */
  #catchUpTimer;
  #catchingUp = false;
  #isEnded = false;

  /**
   * @param {Database} database
   * @param {(run: () => void) => void} [idle] runs a function when the page is idle
   */
  constructor(database, idle = whenIdle) {
    this.#database = database;
    this.#idle = idle;
  }

  /** @param {CacheSource} source */
  start(source) {
    this.#source = source;
  }

  /** The cached list, newest first, and its epoch. */
  async load() {
    const [epoch, rows] = await Promise.all([this.#database.get("about", "epoch"), this.#database.entries("rows")]);
    if (!this.#isEpochConfirmed && typeof epoch === "string") this.#epoch = epoch;
    /** @type {CachedRow[]} */
    const records = [];
    for (const [key, record] of rows) {
      const good = record?.epoch === this.#epoch; // otherwise of an older epoch, possibly written by a tab that does not know the new one
      if (!this.#held.has(key)) this.#held.set(key, good ? record.held : undefined);
      if (good) records.push(record);
    }
    return { epoch: this.#epoch, records: records.toSorted((a, b) => time(b) - time(a)) };
  }

  /**
   * The cached messages of a conversation, or undefined.
   * @param {string} peer
   * @returns {Promise<Page | undefined>}
   */
  async messages(peer) {
    const key = nameKey(peer);
    if (!this.#held.get(key)) return undefined;
    const page = await this.#database.get("messages", key);
    return this.#held.get(key) && page?.epoch === this.#epoch ? page : undefined;
  }

  /**
   * Applies the server's epoch; if it differs from the cache's, the cache is dropped.
   * @param {string} epoch
   */
  greeted(epoch) {
    if (this.#epoch === epoch && this.#isEpochConfirmed) return;
    if (this.#epoch !== undefined && this.#epoch !== epoch) this.forget();
    this.#epoch = epoch;
    this.#isEpochConfirmed = true;
    void this.#database.write([{ store: "about", key: "epoch", value: epoch }]);
    this.#flushSoon();
  }

  /**
   * Relabels the cache with a new epoch after the server confirmed that its data match.
   * @param {string} epoch
   */
  async adopt(epoch) {
    const before = this.#epoch;
    if (before === undefined || before === epoch) return this.greeted(epoch);
    const records = await Promise.all([this.#database.entries("rows"), this.#database.entries("messages")]);
    if (this.#epoch !== before || this.#isEnded) return;
    this.#epoch = epoch;
    /** @type {Change[]} */
    const changes = [{ store: "about", key: "epoch", value: epoch }];
    for (const [index, store] of ["rows", "messages"].entries()) {
      for (const [key, value] of records[index] ?? []) {
        if (value?.epoch === before && this.#held.has(key)) changes.push({ store, key, value: { ...value, epoch } });
      }
    }
    this.#isEpochConfirmed = true;
    void this.#database.write(changes);
    this.#flushSoon();
  }

  /**
   * Schedules writing a changed conversation.
   * @param {Conversation} conversation
   */
  changed(conversation) {
    this.#dirty.add(conversation);
    this.#flushSoon();
  }

  /** Deletes a conversation. @param {string} peer */
  drop(peer) {
    const key = nameKey(peer);
    this.#held.delete(key);
    for (const conversation of this.#dirty) if (nameKey(conversation.peer) === key) this.#dirty.delete(conversation);
    void this.#database.write([
      { store: "rows", key },
      { store: "messages", key },
    ]);
  }

  /** Deletes everything. */
  forget() {
    const keys = [...this.#held.keys()];
    this.#held.clear();
    this.#dirty.clear();
    if (keys.length === 0) return;
    void this.#database.write(
      keys.flatMap((key) => [
        { store: "rows", key },
        { store: "messages", key },
      ]),
    );
  }

  /** Stops writing. */
  end() {
    this.#isEnded = true;
    this.#held.clear();
    clearTimeout(this.#timer);
    clearTimeout(this.#catchUpTimer);
  }

  #flushSoon() {
    if (!this.#isEpochConfirmed || this.#isEnded) return;
    this.#timer ??= setTimeout(() => this.#idle(() => void this.flush()), GATHER_MS);
  }

  /** Writes changed conversations and deletes those no longer among the newest. */
  async flush() {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (!this.#isEpochConfirmed || this.#isEnded || !this.#source) return;
    const newest = this.#source.newest().slice(0, CONVERSATIONS);
    const keys = new Set(newest.map(({ peer }) => nameKey(peer)));
    /** @type {Change[]} */
    const changes = [];
    for (const conversation of newest) {
      if (!this.#dirty.has(conversation) && this.#held.has(nameKey(conversation.peer))) continue;
      changes.push(...this.#records(conversation));
    }
    this.#dirty.clear();
    for (const key of this.#held.keys()) {
      if (keys.has(key)) continue;
      this.#held.delete(key);
      changes.push({ store: "rows", key }, { store: "messages", key });
    }
    if (changes.length > 0) await this.#database.write(changes);
    this.#catchUpTimer ??= setTimeout(
      () => {
        this.#catchUpTimer = undefined;
        this.#idle(() => void this.#catchUp());
      },
      CATCH_UP_MS * (1 + Math.random()),
    );
  }

  /**
   * The changes that store a conversation; messages are included only if their range differs from the stored one.
   * @param {Conversation} conversation
   * @returns {Change[]}
   */
  #records(conversation) {
    const key = nameKey(conversation.peer);
    /** @type {Change[]} */
    const changes = [];
    const before = this.#held.get(key);
    if (conversation.loaded) {
      const { messages, complete } = conversation.tail(MESSAGES);
      const [first, last] = [messages[0]?.seq ?? 0, messages.at(-1)?.seq ?? 0];
      if (first !== before?.first || last !== before.last) {
        changes.push(this.#page(key, messages, complete));
      }
    }
    return [...changes, this.#row(key, conversation)];
  }

  /**
   * @param {string} key
   * @param {Message[]} messages
   * @param {boolean} complete
   */
  #page(key, messages, complete) {
    this.#held.set(key, { first: messages[0]?.seq ?? 0, last: messages.at(-1)?.seq ?? 0 });
    return { store: "messages", key, value: { epoch: this.#epoch, messages, complete } };
  }

  /**
   * @param {string} key
   * @param {Conversation} conversation
   */
  #row(key, conversation) {
    const held = this.#held.get(key);
    this.#held.set(key, held);
    return {
      store: "rows",
      key,
      value: { epoch: this.#epoch, row: conversation.row, read: conversation.myRead, held },
    };
  }

  /** Fetches messages of unopened conversations, one at a time, so that they can be read offline too. */
  async #catchUp() {
    if (this.#catchingUp) return;
    this.#catchingUp = true;
    try {
      for (const conversation of this.#source?.newest().slice(0, CONVERSATIONS) ?? []) {
        const { peer, loaded, lastSeq } = conversation;
        const missing = lastSeq - (this.#held.get(nameKey(peer))?.last ?? 0);
        if (!loaded && missing > 0 && !this.#isEnded)
          await this.#catchUpWith(conversation, Math.min(missing, MESSAGES));
      }
    } catch {
      // No network, or the session is over: the next change tries again.
    } finally {
      this.#catchingUp = false;
    }
  }

  /**
   * @param {Conversation} conversation
   * @param {number} limit
   */
  async #catchUpWith(conversation, limit) {
    const key = nameKey(conversation.peer);
    const epoch = this.#epoch;
    const before = await this.messages(conversation.peer);
    const stored = (await this.#source?.fetch(conversation.peer, limit)) ?? [];
    const fetched = stored.map(({ message }) => message);
    const first = fetched[0];
    if (!first || conversation.loaded || this.#isEnded || epoch !== this.#epoch) return;
    const continues = before?.messages.at(-1)?.seq === first.seq - 1;
    const all = continues ? [...before.messages, ...fetched] : fetched;
    const messages = all.slice(-MESSAGES);
    const complete = messages[0]?.seq === 1;
    await this.#database.write([this.#page(key, messages, complete), this.#row(key, conversation)]);
  }
}

/** @param {CachedRow} record */
function time({ row }) {
  return row.last ? Date.parse(row.last.timestamp) : 0;
}

/** @param {() => void} run */
function whenIdle(run) {
  if (typeof requestIdleCallback === "function") requestIdleCallback(run, { timeout: 5_000 });
  else setTimeout(run, 0); // Safari
}
