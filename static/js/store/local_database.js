/**
 * IndexedDB with promises: read, write a batch, erase. Where a browser lacks or forbids it, reads find nothing and writes
 * return false.
 */

/**
 * @typedef {object} Change
 * @property {string} store
 * @property {string} key
 * @property {unknown} [value] absent: the record is deleted
 */

/** The part that stores depend on. @typedef {Pick<LocalDatabase, "works" | "entries" | "get" | "write">} Database */

const VERSION = 1;
/** Safari sometimes never answers the first `open`. */
const OPEN_TIMEOUT_MS = 3_000;

export class LocalDatabase {
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
  async works() {
    return (await this.#open()) !== undefined;
  }

  /**
   * All records of a store, by key.
   * @param {string} store
   * @returns {Promise<Map<string, any>>}
   */
  async entries(store) {
    const transaction = await this.#transaction([store], "readonly");
    if (!transaction) return new Map();
    const objects = transaction.objectStore(store);
    const [keys, values] = await Promise.all([
      result(objects.getAllKeys(), /** @type {IDBValidKey[]} */ ([])),
      result(objects.getAll(), /** @type {any[]} */ ([])),
    ]);
    return new Map(values.map((value, index) => [String(keys[index]), value]));
  }

  /**
   * @param {string} store
   * @param {string} key
   * @returns {Promise<any>} undefined when there is no such record
   */
  async get(store, key) {
    const transaction = await this.#transaction([store], "readonly");
    return transaction && result(transaction.objectStore(store).get(key), undefined);
  }

  /**
   * Writes a batch atomically. Returns false when it was not written.
   * @param {readonly Change[]} changes
   * @returns {Promise<boolean>}
   */
  async write(changes) {
    const transaction = await this.#transaction([...new Set(changes.map(({ store }) => store))], "readwrite");
    if (!transaction) return false;
    return new Promise((resolve) => {
      transaction.addEventListener("complete", () => resolve(true));
      transaction.addEventListener("abort", () => resolve(false)); // for example, the quota is exceeded
      try {
        for (const { store, key, value } of changes) {
          if (value === undefined) transaction.objectStore(store).delete(key);
          else transaction.objectStore(store).put(value, key);
        }
        transaction.commit(); // explicitly, because the page may be closing
      } catch {
        resolve(false);
      }
    });
  }

  /** Deletes all records; later writes do nothing. */
  async empty() {
    const transaction = await this.#transaction(this.#stores, "readwrite");
    this.#isClosed = true;
    if (!transaction) return;
    await new Promise((resolve) => {
      for (const event of ["complete", "abort"]) transaction.addEventListener(event, resolve);
      for (const store of this.#stores) transaction.objectStore(store).clear();
    });
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
      const timer = setTimeout(() => resolve(undefined), OPEN_TIMEOUT_MS);
      try {
        const request = indexedDB.open(this.#name, VERSION);
        request.addEventListener("upgradeneeded", () => {
          for (const store of this.#stores) request.result.createObjectStore(store);
        });
        request.addEventListener("success", () => {
          clearTimeout(timer);
          this.#closeOnUpgrade(request.result);
          resolve(request.result);
        });
        request.addEventListener("error", () => resolve(undefined));
      } catch {
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
 * @param {IDBRequest<T>} request
 * @param {T} fallback returned on an error
 * @returns {Promise<T>}
 */
function result(request, fallback) {
  return new Promise((resolve) => {
    request.addEventListener("success", () => resolve(request.result));
    request.addEventListener("error", (event) => {
      event.preventDefault();
      resolve(fallback);
    });
  });
}
