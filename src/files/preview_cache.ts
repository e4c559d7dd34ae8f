/** Previews that were sent a moment ago: a picture is often fetched by several devices at once. */

import { PREVIEW } from "./chunk_store.ts";
import type { Place, Stores } from "./stores.ts";

const MAX_BYTES = 16 * 1024 * 1024;
/** A deleted picture is in no memory after a minute. */
const KEPT_MS = 30_000;

interface Entry {
  readonly bytes: Promise<Uint8Array>;
  size: number;
  readonly expiresAt: number;
}

/** Whether a user may see a preview is the caller's to check, each time. */
export class PreviewCache {
  readonly #stores: Stores;
  /** By blob, in the order of expiry. */
  readonly #entries = new Map<string, Entry>();
  #size = 0;

  constructor(stores: Stores) {
    this.#stores = stores;
  }

  /** @throws Error if it is missing: the bytes were changed outside of chatify @throws ChatError `not_ready` */
  get(place: Place): Promise<Uint8Array> {
    this.#expire();
    const known = this.#entries.get(place.blob);
    if (known) return known.bytes;
    const bytes = this.#read(place);
    this.#entries.set(place.blob, { bytes, size: 0, expiresAt: Date.now() + KEPT_MS });
    return bytes;
  }

  async #read(place: Place): Promise<Uint8Array> {
    try {
      const bytes = await this.#stores.of(place).get(place.blob, PREVIEW);
      if (!bytes) throw new Error(`the preview of ${place.blob} is missing`);
      const entry = this.#entries.get(place.blob);
      if (entry) entry.size = bytes.length;
      this.#size += entry ? bytes.length : 0;
      this.#expire();
      return bytes;
    } catch (error) {
      this.#remove(place.blob); // the next request tries again
      throw error;
    }
  }

  #expire(): void {
    const now = Date.now();
    for (const [blob, { expiresAt }] of this.#entries) {
      if (expiresAt > now && this.#size <= MAX_BYTES) return;
      this.#remove(blob);
    }
  }

  #remove(blob: string): void {
    this.#size -= this.#entries.get(blob)?.size ?? 0;
    this.#entries.delete(blob);
  }
}
