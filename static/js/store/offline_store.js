/**
 * One user's IndexedDB database, and record stores that survive closing the page. Where a browser
 * lacks or forbids IndexedDB, reads find nothing and writes return false.
 */

import { keysOf } from "./browser_storage.js";

/** @import { SafeStorage } from "./browser_storage.js" */

/**
 * @typedef {object} Change
 * @property {string} store
 * @property {string} key
 * @property {unknown} [value] absent: the record is deleted
 */

/** What the stores need of a database. @typedef {Pick<OfflineDatabase, "canOpen" | "entries" | "get" | "write">} Database */

const VERSION = 1;
/** Safari sometimes never answers the first `open`. */
const OPEN_TIMEOUT_MS = 3_000;

export class OfflineDatabase {
  #name;
  #stores;
  #durability;
  /** @type {Promise<IDBDatabase | undefined> | undefined} */
  #opening;
  /** Another page erased or upgraded the database; reopening would recreate it. */
  #isClosed = false;

  /**
   * @param {string} name
   * @param {readonly string[]} stores
   * @param {IDBTransactionDurability} durability `strict`: a write resolves once it is on disk
   */
  constructor(name, stores, durability) {
    this.#name = name;
    this.#stores = stores;
    this.#durability = durability;
  }

  /** Whether the database can be opened. */
  async canOpen() {
    return (await this.#open()) !== undefined;
  }

  /**
   * All records of a store, by key.
   * @param {string} store
   * @returns {Promise<Map<string, any>>}
   */
  async entries(store) {
    const objects = (await this.#transaction([store], "readonly"))?.objectStore(store);
    const [keys = [], values = []] = await Promise.all([result(objects?.getAllKeys()), result(objects?.getAll())]);
    return new Map(values.map((value, index) => [String(keys[index]), value]));
  }

  /**
   * @param {string} store
   * @param {string} key
   * @returns {Promise<any>} undefined when there is no such record
   */
  async get(store, key) {
    return result((await this.#transaction([store], "readonly"))?.objectStore(store).get(key));
  }

  /**
   * Writes a batch atomically. Returns false when it was not written.
   * @param {readonly Change[]} changes
   * @returns {Promise<boolean>}
   */
  async write(changes) {
    const transaction = await this.#transaction([...new Set(changes.map(({ store }) => store))], "readwrite");
    if (!transaction) return false;
    try {
      for (const { store, key, value } of changes) {
        if (value === undefined) transaction.objectStore(store).delete(key);
        else transaction.objectStore(store).put(value, key);
      }
      transaction.commit(); // explicitly, because the page may be closing
    } catch {
      return false;
    }
    return completion(transaction);
  }

  /** Deletes all records; later writes do nothing. */
  async clear() {
    const transaction = await this.#transaction(this.#stores, "readwrite");
    this.#isClosed = true;
    if (!transaction) return;
    for (const store of this.#stores) transaction.objectStore(store).clear();
    await completion(transaction);
    transaction.db.close();
  }

  /**
   * @param {readonly string[]} stores
   * @param {IDBTransactionMode} mode
   */
  async #transaction(stores, mode) {
    const database = await this.#open();
    try {
      return database?.transaction([...stores], mode, { durability: this.#durability });
    } catch {
      this.#opening = undefined; // the browser closed the database: the next call reopens it
      return undefined;
    }
  }

  #open() {
    if (this.#isClosed) return Promise.resolve(undefined);
    return (this.#opening ??= new Promise((resolve) => {
      const fail = () => {
        this.#opening = undefined; // the next call tries again
        resolve(undefined);
      };
      const timer = setTimeout(fail, OPEN_TIMEOUT_MS);
      try {
        const request = indexedDB.open(this.#name, VERSION);
        request.addEventListener("upgradeneeded", () => {
          const { result } = request;
          for (const store of this.#stores)
            if (!result.objectStoreNames.contains(store)) result.createObjectStore(store);
        });
        request.addEventListener("success", () => {
          clearTimeout(timer);
          this.#closeOnUpgrade(request.result);
          resolve(request.result);
          this.#opening ??= Promise.resolve(request.result); // after the timeout
        });
        request.addEventListener("error", fail);
      } catch {
        clearTimeout(timer);
        resolve(undefined); // missing or forbidden
      }
    }));
  }

  /** @param {IDBDatabase} database */
  #closeOnUpgrade(database) {
    database.addEventListener("versionchange", () => {
      this.#isClosed = true;
      database.close();
    });
    database.addEventListener("close", () => (this.#opening = undefined));
  }
}

/**
 * @template T
 * @param {IDBRequest<T> | undefined} request
 * @returns {Promise<T | undefined>} undefined on an error
 */
async function result(request) {
  return (
    request &&
    new Promise((resolve) => {
      request.addEventListener("success", () => resolve(request.result));
      request.addEventListener("error", (event) => {
        event.preventDefault();
        resolve(undefined);
      });
    })
  );
}

/**
 * Whether a transaction was written; it is not when the quota is exceeded, for example.
 * @param {IDBTransaction} transaction
 * @returns {Promise<boolean>}
 */
function completion(transaction) {
  return new Promise((resolve) => {
    transaction.addEventListener("complete", () => resolve(true));
    transaction.addEventListener("abort", () => resolve(false));
  });
}

/**
 * The interface of a record store, as `Outbox` and `Drafts` use it.
 * @template T
 * @typedef {object} RecordStore
 * @property {() => T[] | Promise<T[]>} load
 * @property {(key: string, record: T) => void} put
 * @property {(key: string) => void} remove
 * @property {() => void} wipe
 * @property {boolean} [isVolatile] whether records are lost when the page closes
 */

/**
 * Records that survive closing the page once `put` returns. IndexedDB writes may finish after the
 * tab is closed, so each record stays in `localStorage` until IndexedDB has flushed it to disk.
 * @template T
 * @implements {RecordStore<T>}
 */
export class OfflineStore {
  #storage;
  #database;
  #store;
  #prefix;
  #isRecord;
  /** @type {Set<Set<string>>} the keys removed during each running `load` */
  #removedWhileLoading = new Set();
  /** @type {Set<string>} records that exist only in memory */
  #volatileKeys = new Set();
  #hasNoStorage = false;
  /** The user has signed out: nothing more is stored, even if typing continues. */
  #isWiped = false;

  /**
   * @param {{ storage: SafeStorage, database: Database }} backends
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

  /**
   * Loads all records, and moves those that a closed page left in `localStorage` into the database.
   */
  async load() {
    /** @type {Set<string>} */
    const removed = new Set();
    this.#removedWhileLoading.add(removed);
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
    this.#removedWhileLoading.delete(removed);
    this.#hasNoStorage = !this.#trySetItem(this.#prefix, "") && !(await this.#database.canOpen());
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
    for (const removed of this.#removedWhileLoading) removed.delete(key);
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
    for (const removed of this.#removedWhileLoading) removed.add(key);
    this.#volatileKeys.delete(key);
    this.#storage.removeItem(this.#prefix + key);
    void this.#database.write([{ store: this.#store, key }]);
  }

  /**
   * Deletes the records in `localStorage` and stores nothing from now on; the caller erases the
   * database.
   */
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
