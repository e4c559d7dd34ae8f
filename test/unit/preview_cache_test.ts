/** The memory of recent previews is bounded, and keeps no failure. */

import { expect, test } from "bun:test";

import { type ChunkStore, PREVIEW } from "../../src/files/chunk_store.ts";
import { PreviewCache } from "../../src/files/preview_cache.ts";
import { Stores } from "../../src/files/stores.ts";

/** A store that counts reads. */
function openStore(read: (blob: string) => Promise<Uint8Array | undefined>) {
  const reads: string[] = [];
  const store = {
    kind: "postgres",
    get(blob: string, n: number) {
      expect(n).toBe(PREVIEW);
      reads.push(blob);
      return read(blob);
    },
  } as ChunkStore;
  return { reads, cache: new PreviewCache(new Stores([store])) };
}
const place = (blob: string) => ({ store: "postgres", blob, size: 1 }) as const;

test("reads a preview once for many requests", async () => {
  const { reads, cache } = openStore(async () => Uint8Array.of(7));
  const all = await Promise.all(Array.from({ length: 10 }, () => cache.get(place("a"))));
  expect(all.map(([byte]) => byte)).toEqual(Array(10).fill(7));
  await cache.get(place("a"));
  expect(reads).toEqual(["a"]);
});

test("keeps at most 16 MiB, the newest", async () => {
  const { reads, cache } = openStore(async () => new Uint8Array(256 * 1024));
  for (let i = 0; i < 100; i++) await cache.get(place(`${i}`));
  reads.length = 0;
  await cache.get(place("99"));
  await cache.get(place("36"));
  expect(reads).toEqual([]);
  await cache.get(place("35"));
  expect(reads).toEqual(["35"]);
});

test("reads again after a failure and when the preview is missing", async () => {
  let answer: () => Promise<Uint8Array | undefined> = () => Promise.reject(new Error("down"));
  const { cache } = openStore(() => answer());
  expect(cache.get(place("a"))).rejects.toThrow("down");
  await Bun.sleep(0);
  answer = async () => undefined;
  expect(cache.get(place("a"))).rejects.toThrow("is missing");
  await Bun.sleep(0);
  answer = async () => Uint8Array.of(1);
  expect(await cache.get(place("a"))).toEqual(Uint8Array.of(1));
});
