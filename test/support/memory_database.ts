/** What the page's database does, without a browser: values are copies, and every answer comes later. */

import type { Change, Database } from "../../static/js/store/offline_store.js";

export class MemoryDatabase implements Database {
  readonly stores = new Map<string, Map<string, unknown>>();
  /** How many batches were written. */
  writes = 0;

  works = async () => true;

  // oxlint-disable-next-line typescript/no-explicit-any
  async entries(store: string): Promise<Map<string, any>> {
    const entries = [...this.#store(store)].map(([key, value]) => [key, structuredClone(value)] as const);
    await Bun.sleep(3); // what another tab writes meanwhile is not in it
    return new Map(entries);
  }

  async get(store: string, key: string): Promise<unknown> {
    await Bun.sleep(1);
    return structuredClone(this.#store(store).get(key));
  }

  async write(changes: readonly Change[]): Promise<boolean> {
    const copies = structuredClone(changes); // as they are now
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

/** A browser that has none, or forbids it. */
export const NO_DATABASE: Database = {
  works: async () => false,
  entries: async () => new Map(),
  get: async () => undefined,
  write: async () => false,
};
