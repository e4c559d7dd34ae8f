/** The page's database without a browser: values are copied, and every call is asynchronous. */

import type { Change, Database } from "../../static/js/store/offline_store.js";

export class MemoryDatabase implements Database {
  readonly stores = new Map<string, Map<string, unknown>>();
  /** The number of batches written. */
  writes = 0;

  canOpen = async () => true;

  // oxlint-disable-next-line typescript/no-explicit-any
  async entries(store: string): Promise<Map<string, any>> {
    const entries = [...this.#store(store)].map(([key, value]) => [key, structuredClone(value)] as const);
    await Bun.sleep(3); // without what another tab writes meanwhile
    return new Map(entries);
  }

  async get(store: string, key: string): Promise<unknown> {
    await Bun.sleep(1);
    return structuredClone(this.#store(store).get(key));
  }

  async write(changes: readonly Change[]): Promise<boolean> {
    const copies = structuredClone(changes); // a snapshot
    await Bun.sleep(1);
    this.writes++;
    for (const { store, key, value } of copies) {
      if (value === undefined) this.#store(store).delete(key);
      else this.#store(store).set(key, value);
    }
    return true;
  }

  #store(name: string): Map<string, unknown> {
    let store = this.stores.get(name);
    if (!store) this.stores.set(name, (store = new Map()));
    return store;
  }
}

/** A browser without a database, or one that forbids it. */
export const NO_DATABASE: Database = {
  canOpen: async () => false,
  entries: async () => new Map(),
  get: async () => undefined,
  write: async () => false,
};
