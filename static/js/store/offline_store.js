/**
 * Records that outlive the page from the moment `put` returns. A database answers later than a tab can be closed, so each
 * record stands in `localStorage` too until the database has it on the disk: what the one loses in a crash, the other has.
 */

import { keysOf } from "./safe_local_storage.js";

/** @import { Database } from "./local_database.js" */
/** @import { SafeStorage } from "./safe_local_storage.js" */

/** @template T */
export class OfflineStore {
  #storage;
  #database;
  #store;
  #prefix;
  #isRecord;
  /** @type {Set<string> | undefined} removed while everything is being read */
  #removed;
  /** @type {Set<string>} kept nowhere but in this page */
  #homeless = new Set();
  #nowhere = false;
  /** Its person has signed out: nothing is kept any more, whatever is still typed. */
  #over = false;

  /**
   * @param {{ storage: SafeStorage, database: Database }} places
   * @param {string} store the database's store
   * @param {string} prefix of the keys in `localStorage`
   * @param {(key: string, record: any) => boolean} isRecord what else stands there is left alone or thrown away
   */
  constructor({ storage, database }, store, prefix, isRecord) {
    this.#storage = storage;
    this.#database = database;
    this.#store = store;
    this.#prefix = prefix;
    this.#isRecord = isRecord;
  }

  /** Whether what is given to it will be gone with the page: no room, or no right to keep anything. */
  get isVolatile() {
    return this.#nowhere || this.#homeless.size > 0;
  }

  /** Everything kept. What a closed page had no time to bring to the database is brought there now. */
  async load() {
    const removed = (this.#removed = new Set());
    // The storage first: what leaves it meanwhile is in the database by then.
    const isInStorage = this.#storedKeys().map((key) => ({ key, record: this.#read(key) }));
    /** @type {Map<string, T>} */
    const records = new Map();
    for (const [key, record] of await this.#database.entries(this.#store)) {
      if (this.#isRecord(key, record)) records.set(key, record);
    }
    for (const { key, record } of isInStorage) {
      if (record === undefined) continue;
      records.set(key, record);
      if (this.#read(key) !== undefined) this.put(key, record);
    }
    for (const key of removed) records.delete(key);
    this.#removed = undefined;
    this.#nowhere = !this.#trySetItem(this.#prefix, "") && !(await this.#database.works());
    this.#storage.removeItem(this.#prefix);
    return [...records.values()];
  }

  /**
   * @param {string} key
   * @param {T} record
   */
  put(key, record) {
    // mutation: nothing after signing out
    if (this.#over) return;
    const text = JSON.stringify(record);
    this.#removed?.delete(key);
    const isInStorage = this.#trySetItem(this.#prefix + key, text);
    void this.#bring(key, record, text, isInStorage);
  }

  /**
   * Brings a record to the database, and then takes it off the storage, if it still stands there as it was.
   * @param {string} key
   * @param {T} record
   * @param {string} text
   * @param {boolean} isInStorage
   */
  async #bring(key, record, text, isInStorage) {
    const kept = await this.#database.write([{ store: this.#store, key, value: record }]);
    const name = this.#prefix + key;
    if (kept && isInStorage && this.#storage.getItem(name) === text) this.#storage.removeItem(name);
    if (kept || isInStorage) this.#homeless.delete(key);
    else this.#homeless.add(key);
  }

  /** @param {string} key */
  remove(key) {
    this.#removed?.add(key);
    this.#homeless.delete(key);
    this.#storage.removeItem(this.#prefix + key);
    void this.#database.write([{ store: this.#store, key }]);
  }

  /** Forgets what stands in `localStorage`, and keeps nothing from now on; the database is erased as a whole. */
  wipe() {
    this.#over = true;
    for (const key of this.#storedKeys()) this.#storage.removeItem(this.#prefix + key);
    this.#homeless.clear();
  }

  /** @param {string} key */
  #read(key) {
    try {
      const record = JSON.parse(this.#storage.getItem(this.#prefix + key) ?? "");
      if (this.#isRecord(key, record)) return record;
    } catch {
      // Written by something else, or cut short.
    }
    return undefined;
  }

  #storedKeys() {
    return keysOf(this.#storage)
      .filter((name) => name.startsWith(this.#prefix))
      .map((name) => name.slice(this.#prefix.length));
  }

  /**
   * @param {string} name
   * @param {string} text
   */
  #trySetItem(name, text) {
    try {
      this.#storage.setItem(name, text);
      return true;
    } catch {
      return false; // full or forbidden
    }
  }
}
