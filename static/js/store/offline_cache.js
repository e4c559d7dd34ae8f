/**
 * Caches the newest conversations and messages in IndexedDB, so that the page is readable offline
 * and before the server responds. Written in batches when the page is idle; the server's data
 * always replaces it.
 */

import { nameKey } from "../util/names.js";

/** @import { Stored } from "../sync/api.js" */
/** @import { Conversation, Message, StableRow } from "./conversation.js" */
/** @import { Database, Change } from "./offline_store.js" */

/**
 * @typedef {object} CachedRow a stored row; browsers already hold these field names
 * @property {string} epoch the server's epoch when it was copied
 * @property {StableRow} row
 * @property {number} read the user's read mark, confirmed by the server or not
 * @property {Range | undefined} held the messages stored with it
 */

/** @typedef {{ first: number, last: number, revision?: number }} Range of seqs, with all changes up to a revision */
/** @typedef {{ epoch: string, messages: Message[], complete: boolean, revision?: number }} Page contiguous messages, with all changes up to a revision; complete: no message precedes them */

/**
 * @typedef {object} CacheSource provides the data to cache
 * @property {() => Conversation[]} newest non-empty conversations, newest first
 * @property {(peer: string) => import("./profiles.js").ProfileFields} [profile] of a peer
 * @property {(file: NonNullable<Message["file"]>) => void} [evict] the message of a cached file was deleted
 * @property {(peer: string, page: { limit: number, changed_after?: number }) => Promise<Stored[]>} fetch fetches the newest messages of a conversation, or those that changed
 */

export const STORES = ["about", "rows", "messages"];

const CONVERSATIONS = 30;
const MESSAGES = 200;
/** Changes are batched this long. */
const GATHER_MS = 1_000;
/**
 * After a write, waits this long, up to twice, before it fetches messages of unopened
 * conversations.
 */
const CATCH_UP_MS = 3_000;
/** After a failure; deleted texts must not stay for long. */
const CATCH_UP_AGAIN_MS = 20_000;

export class OfflineCache {
  #database;
  #idle;
  /** @type {CacheSource | undefined} */
  #source;
  /** @type {string | undefined} of the cached data */
  #epoch;
  /**
   * Whether the server has confirmed the epoch and the user is signed in; otherwise nothing is
   * written.
   */
  #isWritable = false;
  /**
   * The conversations in the store, with the messages stored.
   * @type {Map<string, Range | undefined>} by name key
   */
  #stored = new Map();
  /** @type {Set<Conversation>} */
  #dirty = new Set();
  /** @type {any} */
  #timer;
  /** @type {any} */
  #catchUpTimer;
  #isCatchingUp = false;
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
    if (!this.#isWritable && typeof epoch === "string") this.#epoch = epoch;
    /** @type {CachedRow[]} */
    const records = [];
    for (const [key, record] of rows) {
      // Otherwise possibly written by a tab that does not know the new epoch.
      const isCurrent = record?.epoch === this.#epoch;
      if (!this.#stored.has(key)) this.#stored.set(key, isCurrent ? record.held : undefined);
      if (isCurrent) records.push(record);
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
    if (!this.#stored.get(key)) return undefined;
    const page = await this.#database.get("messages", key);
    return this.#stored.get(key) && page?.epoch === this.#epoch ? page : undefined;
  }

  /**
   * Applies the server's epoch; if it differs from the cache's, the cache is dropped.
   * @param {string} epoch
   */
  setEpoch(epoch) {
    if (this.#epoch === epoch && this.#isWritable) return;
    if (this.#epoch !== undefined && this.#epoch !== epoch) this.forget();
    this.#confirmEpoch(epoch, []);
  }

  /**
   * Relabels the cache with a new epoch after the server confirmed that its data matches.
   * @param {string} epoch
   */
  async adopt(epoch) {
    const before = this.#epoch;
    if (before === undefined || before === epoch) return this.setEpoch(epoch);
    /** @type {Change[]} */
    const changes = [];
    for (const store of ["rows", "messages"]) {
      for (const [key, value] of await this.#database.entries(store))
        if (value?.epoch === before && this.#stored.has(key)) changes.push({ store, key, value: { ...value, epoch } });
    }
    if (this.#epoch === before) this.#confirmEpoch(epoch, changes);
  }

  /**
   * @param {string} epoch
   * @param {Change[]} changes
   */
  #confirmEpoch(epoch, changes) {
    if (this.#isEnded) return;
    this.#epoch = epoch;
    this.#isWritable = true;
    void this.#database.write([{ store: "about", key: "epoch", value: epoch }, ...changes]);
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
    for (const conversation of this.#dirty) if (nameKey(conversation.peer) === key) this.#dirty.delete(conversation);
    void this.#database.write(this.#erase([key]));
  }

  /** Deletes everything. */
  forget() {
    this.#dirty.clear();
    if (this.#stored.size > 0) void this.#database.write(this.#erase([...this.#stored.keys()]));
  }

  /** Stops writing. */
  end() {
    this.#isEnded = true;
    this.#isWritable = false;
    this.#stored.clear();
    clearTimeout(this.#timer);
    clearTimeout(this.#catchUpTimer);
  }

  #flushSoon() {
    if (this.#isWritable) this.#timer ??= setTimeout(() => this.#idle(() => void this.flush()), GATHER_MS);
  }

  /** Writes changed conversations and deletes those no longer among the newest. */
  async flush() {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (!this.#isWritable) return;
    const newest = this.#newest();
    const keys = new Set(newest.map(({ peer }) => nameKey(peer)));
    const changed = newest.filter((each) => this.#dirty.has(each) || !this.#stored.has(nameKey(each.peer)));
    this.#dirty.clear();
    const changes = [
      ...changed.flatMap((conversation) => this.#records(conversation)),
      ...this.#erase([...this.#stored.keys()].filter((key) => !keys.has(key))),
    ];
    if (changes.length > 0) await this.#database.write(changes);
    this.#catchUpIn(CATCH_UP_MS);
  }

  /** @param {number} ms up to twice as long */
  #catchUpIn(ms) {
    this.#catchUpTimer ??= setTimeout(
      () => {
        this.#catchUpTimer = undefined;
        this.#idle(() => void this.#catchUp());
      },
      ms * (1 + Math.random()),
    );
  }

  #newest() {
    return this.#source?.newest().slice(0, CONVERSATIONS) ?? [];
  }

  /**
   * The changes that store a conversation. Messages are included only if their range or revision
   * differs from the stored one.
   * @param {Conversation} conversation
   * @param {{ messages: Message[], complete: boolean, revision: number } | undefined} [page] its newest messages
   * @returns {Change[]}
   */
  #records(conversation, page = conversation.isLoaded ? conversation.tail(MESSAGES) : undefined) {
    const key = nameKey(conversation.peer);
    const before = this.#stored.get(key);
    const range = page
      ? { first: page.messages[0]?.seq ?? 0, last: page.messages.at(-1)?.seq ?? 0, revision: page.revision }
      : before;
    this.#stored.set(key, range);
    const epoch = this.#epoch;
    const isSame =
      range?.first === before?.first && range?.last === before?.last && range?.revision === before?.revision;
    return [
      ...(isSame ? [] : [{ store: "messages", key, value: { epoch, ...page } }]),
      {
        store: "rows",
        key,
        value: {
          epoch,
          row: { ...toRow(conversation), ...this.#source?.profile?.(conversation.peer) },
          read: conversation.myRead,
          held: range,
        },
      },
    ];
  }

  /**
   * The changes that delete conversations.
   * @param {string[]} keys
   */
  #erase(keys) {
    for (const key of keys) this.#stored.delete(key);
    return keys.flatMap((key) => ["rows", "messages"].map((store) => ({ store, key })));
  }

  /**
   * Fetches messages of unopened conversations and their changes, one at a time, so that they can
   * be read offline too, and no deleted text stays.
   */
  async #catchUp() {
    if (this.#isCatchingUp) return;
    this.#isCatchingUp = true;
    try {
      for (const conversation of this.#newest()) {
        const { peer, isLoaded, lastSeq, revision } = conversation;
        const { last, revision: before = 0 } = this.#stored.get(nameKey(peer)) ?? { last: 0 };
        if (!isLoaded && (lastSeq > last || revision > before) && this.#isWritable)
          await this.#catchUpWith(conversation);
      }
    } catch {
      if (this.#isWritable) this.#catchUpIn(CATCH_UP_AGAIN_MS); // no network, for example
    } finally {
      this.#isCatchingUp = false;
    }
  }

  /** @param {Conversation} conversation */
  async #catchUpWith(conversation) {
    const epoch = this.#epoch;
    const { peer, lastSeq, revision } = conversation; // before the requests, so they contain all of it
    /** @param {{ limit: number, changed_after?: number }} page */
    const fetch = async (page) => ((await this.#source?.fetch(peer, page)) ?? []).map(({ message }) => message);
    let before = await this.messages(peer);
    const known = before?.revision ?? 0;
    const changes = before && revision > known ? await fetch({ limit: MESSAGES, changed_after: known }) : [];
    if (changes.length === MESSAGES) before = undefined; // and more
    const missing = Math.min(MESSAGES, lastSeq - (before?.messages.at(-1)?.seq ?? 0));
    const fetched = missing > 0 ? await fetch({ limit: missing }) : [];
    if (conversation.isLoaded || !this.#isWritable || epoch !== this.#epoch) return;
    const continues = !fetched[0] || before?.messages.at(-1)?.seq === fetched[0].seq - 1;
    const changed = new Map(changes.map((message) => [message.seq, message]));
    for (const { seq, file } of before?.messages ?? [])
      if (file && changed.get(seq)?.deleted) this.#source?.evict?.(file);
    const kept = continues ? (before?.messages ?? []).map((message) => changed.get(message.seq) ?? message) : [];
    const messages = [...kept, ...fetched].slice(-MESSAGES);
    if (messages.length === 0) return;
    await this.#database.write(this.#records(conversation, { messages, complete: messages[0]?.seq === 1, revision }));
  }
}

/**
 * A conversation as a row, with what frames have changed since. It contains only read marks that
 * the server has confirmed.
 * @param {Conversation} conversation
 * @returns {StableRow}
 */
export function toRow({ preview, peer, lastSeq, revision, unread, membership, isBlocked, isPeerDeleted, readState }) {
  const last = preview && {
    sender: preview.from,
    content: preview.text,
    timestamp: new Date(preview.at).toISOString(),
    ...(preview.deleted && { deleted: true }),
    ...(preview.file && { file: preview.file }),
  };
  return {
    cursor: "",
    peer,
    last_seq: lastSeq,
    last: last ?? null,
    revision,
    unread,
    ...membership.toRow(),
    blocked: isBlocked,
    gone: isPeerDeleted,
    peer_read_seq: readState.peerRead,
    peer_delivered_seq: readState.peerDelivered,
    my_read_seq: readState.confirmed,
  };
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
