/**
 * Records that survive closing the page once `put` returns. IndexedDB writes may finish after the tab is closed, so each
 * record stays in `localStorage` until IndexedDB has flushed it to disk.
 */

import { keysOf } from "./safe_local_storage.js";

/** @import { Database } from "./local_database.js" */
/** @import { SafeStorage } from "./safe_local_storage.js" */

/**
 * What stores of records offer to those that fill them.
 * @template T
 * @typedef {object} RecordStore
 * @property {() => T[] | Promise<T[]>} load
 * @property {(key: string, record: T) => void} put
 * @property {(key: string) => void} remove
 * @property {() => void} wipe
 * @property {boolean} [isVolatile] whether records are lost when the page closes
 */

/**
 * @template T
 * @implements {RecordStore<T>}
 */
export class OfflineStore {
  #storage;
  #database;
  #store;
  #prefix;
  #isRecord;
  /** @type {Set<string> | undefined} removed while `load` runs */
  #removedWhileLoading;
  /** @type {Set<string>} records that exist only in memory */
  #volatileKeys = new Set();
  #hasNoStorage = false;
  /** The user has signed out: nothing more is stored, even if typing continues. */
  #isWiped = false;

  /**
   * @param {{ storage: SafeStorage, database: Database }} places
   * @param {string} store object store in IndexedDB
   * @param {string} prefix of the keys in `localStorage`
   * @param {(key: string, record: any) => boolean} isRecord other records are ignored
   */
  constructor({ storage, database }, store, prefix, isRecord) {
    this.#storage = storage;
    this.#database = database;
    this.#store = store;
    this.#prefix = prefix;
    this.#isRecord = isRecord;
  }

  /** Whether records are lost when the page closes, because storage is full or forbidden. */
  get isVolatile() {
    return this.#hasNoStorage || this.#volatileKeys.size > 0;
  }

  /** Loads all records, and moves those that a closed page left in `localStorage` into the database. */
  async load() {
    const removed = (this.#removedWhileLoading = new Set());
    // `localStorage` is read first: a record removed from it meanwhile is in the database by then.
    const stored = this.#storedKeys().map((key) => ({ key, record: this.#read(key) }));
    /** @type {Map<string, T>} */
    const records = new Map();
    for (const [key, record] of await this.#database.entries(this.#store)) {
      if (this.#isRecord(key, record)) records.set(key, record);
    }
    for (const { key, record } of stored) {
      if (record === undefined) continue;
      records.set(key, record);
      if (this.#read(key) !== undefined) this.put(key, record);
    }
    for (const key of removed) records.delete(key);
    this.#removedWhileLoading = undefined;
    this.#hasNoStorage = !this.#trySetItem(this.#prefix, "") && !(await this.#database.works());
    this.#storage.removeItem(this.#prefix);
    return [...records.values()];
  }

  /**
   * @param {string} key
   * @param {T} record
   */
  put(key, record) {
    // mutation: nothing after signing out
    if (this.#isWiped) return;
    const text = JSON.stringify(record);
    this.#removedWhileLoading?.delete(key);
    const isInStorage = this.#trySetItem(this.#prefix + key, text);
    void this.#persist(key, record, text, isInStorage);
  }

  /**
   * Writes a record to the database, then removes it from `localStorage` unless it changed there.
   * @param {string} key
   * @param {T} record
   * @param {string} text
   * @param {boolean} isInStorage
   */
  async #persist(key, record, text, isInStorage) {
    const isInDatabase = await this.#database.write([{ store: this.#store, key, value: record }]);
    const name = this.#prefix + key;
    if (isInDatabase && isInStorage && this.#storage.getItem(name) === text) this.#storage.removeItem(name);
    if (isInDatabase || isInStorage) this.#volatileKeys.delete(key);
    else this.#volatileKeys.add(key);
  }

  /** @param {string} key */
  remove(key) {
    this.#removedWhileLoading?.add(key);
    this.#volatileKeys.delete(key);
    this.#storage.removeItem(this.#prefix + key);
    void this.#database.write([{ store: this.#store, key }]);
  }

  /** Deletes the records in `localStorage` and stores nothing from now on; the caller erases the database. */
  wipe() {
    this.#isWiped = true;
    for (const key of this.#storedKeys()) this.#storage.removeItem(this.#prefix + key);
    this.#volatileKeys.clear();
  }

  /** @param {string} key */
  #read(key) {
    try {
      const record = JSON.parse(this.#storage.getItem(this.#prefix + key) ?? "");
      if (this.#isRecord(key, record)) return record;
    } catch {
      // Written by other code, or truncated.
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
