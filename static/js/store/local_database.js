/**
 * IndexedDB in three acts: read, write a batch, and be gone. Where a browser has none or forbids it, there is nothing to
 * read and every write says that it was not kept.
 */

/**
 * @typedef {object} Change
 * @property {string} store
 * @property {string} key
 * @property {unknown} [value] absent: the record of this key is removed
 */

/** What the parts that keep something need of it. @typedef {Pick<LocalDatabase, "works" | "entries" | "get" | "write">} Database */

const VERSION = 1;
/** Safari at times never answers the first opening. */
const PATIENCE_MS = 3_000;

export class LocalDatabase {
  #name;
  #stores;
  #durability;
  /** @type {Promise<IDBDatabase | undefined> | undefined} */
  #opening;
  /** Another page is erasing it, or has changed what it looks like: this page must not bring it back. */
  #over = false;

  /**
   * @param {string} name
   * @param {readonly string[]} stores
   * @param {IDBTransactionDurability} durability `strict`: a write is kept when it is on the disk
   */
  constructor(name, stores, durability) {
    this.#name = name;
    this.#stores = stores;
    this.#durability = durability;
  }

  /** Whether it can be had at all. */
  async works() {
    return (await this.#open()) !== undefined;
  }

  /**
   * Everything in a store, by key.
   * @param {string} store
   * @returns {Promise<Map<string, any>>}
   */
  async entries(store) {
    const transaction = await this.#begin([store], "readonly");
    if (!transaction) return new Map();
    const objects = transaction.objectStore(store);
    const [keys, values] = await Promise.all([
      answer(objects.getAllKeys(), /** @type {IDBValidKey[]} */ ([])),
      answer(objects.getAll(), /** @type {any[]} */ ([])),
    ]);
    return new Map(values.map((value, index) => [String(keys[index]), value]));
  }

  /**
   * @param {string} store
   * @param {string} key
   * @returns {Promise<any>} undefined when there is nothing
   */
  async get(store, key) {
    const transaction = await this.#begin([store], "readonly");
    return transaction && answer(transaction.objectStore(store).get(key), undefined);
  }

  /**
   * Writes all of a batch or nothing of it. False when it was not kept.
   * @param {readonly Change[]} changes
   * @returns {Promise<boolean>}
   */
  async write(changes) {
    const transaction = await this.#begin([...new Set(changes.map(({ store }) => store))], "readwrite");
    if (!transaction) return false;
    return new Promise((resolve) => {
      transaction.addEventListener("complete", () => resolve(true));
      transaction.addEventListener("abort", () => resolve(false)); // no room
      try {
        for (const { store, key, value } of changes) {
          if (value === undefined) transaction.objectStore(store).delete(key);
          else transaction.objectStore(store).put(value, key);
        }
        transaction.commit(); // not left to the page, which may be closing
      } catch {
        resolve(false);
      }
    });
  }

  /** Empties it, and keeps nothing from now on. */
  async empty() {
    const transaction = await this.#begin(this.#stores, "readwrite");
    this.#over = true;
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
  async #begin(stores, mode) {
    const database = await this.#open();
    try {
      return database?.transaction([...stores], mode, { durability: this.#durability });
    } catch {
      this.#opening = undefined; // the browser has closed it: the next one opens it again
      return undefined;
    }
  }

  #open() {
    if (this.#over) return Promise.resolve(undefined);
    return (this.#opening ??= new Promise((resolve) => {
      const timer = setTimeout(() => resolve(undefined), PATIENCE_MS);
      try {
        const request = indexedDB.open(this.#name, VERSION);
        request.addEventListener("upgradeneeded", () => {
          for (const store of this.#stores) request.result.createObjectStore(store);
        });
        request.addEventListener("success", () => {
          clearTimeout(timer);
          this.#guard(request.result);
          resolve(request.result);
        });
        request.addEventListener("error", () => resolve(undefined));
      } catch {
        resolve(undefined); // there is none, or it is forbidden
      }
    }));
  }

  /** @param {IDBDatabase} database */
  #guard(database) {
    database.addEventListener("versionchange", () => {
      this.#over = true;
      database.close();
    });
    database.addEventListener("close", () => (this.#opening = undefined));
  }
}

/**
 * @template T
 * @param {IDBRequest<T>} request
 * @param {T} fallback when it cannot be read
 * @returns {Promise<T>}
 */
function answer(request, fallback) {
  return new Promise((resolve) => {
    request.addEventListener("success", () => resolve(request.result));
    request.addEventListener("error", (event) => {
      event.preventDefault();
      resolve(fallback);
    });
  });
}
