/** The stores of files' bytes: the same tests for PostgreSQL and for a real S3 server; and S3 while it fails. */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";

import { Database } from "../../src/db/database.ts";
import { blobTime, CHUNK_BYTES, type ChunkStore, newBlob, PREVIEW } from "../../src/files/chunk_store.ts";
import { PostgresChunks } from "../../src/files/postgres_chunks.ts";
import { S3Chunks } from "../../src/files/s3_chunks.ts";
import { migratedDatabase, SILENT } from "../support/harness.ts";
import { type S3Server, startS3 } from "../support/s3_server.ts";

let db: Database;
let s3: S3Server;
const stores: { postgres?: ChunkStore; s3?: ChunkStore } = {};

beforeAll(async () => {
  db = new Database({ target: await migratedDatabase(), name: "test", max: 4, log: SILENT });
  s3 = await startS3();
  stores.postgres = new PostgresChunks(db);
  stores.s3 = new S3Chunks(s3.settings, { log: SILENT });
});

afterAll(async () => {
  await db.end();
  await s3[Symbol.asyncDispose]();
});

const random = (bytes: number) => crypto.getRandomValues(new Uint8Array(Math.min(bytes, 65_536)));
/** Bytes of every value, of this length. */
function content(bytes: number): Uint8Array {
  const part = random(bytes);
  const all = new Uint8Array(bytes);
  for (let at = 0; at < bytes; at += part.length) all.set(part.subarray(0, bytes - at), at);
  return all;
}

describe.each(["postgres", "s3"] as const)("%s", (kind) => {
  const store = () => stores[kind] as ChunkStore;

  test.each([
    ["one byte", 1],
    ["a whole chunk", CHUNK_BYTES],
    ["an odd number of bytes", 99_999],
  ])("returns %s as it was stored", async (_, size) => {
    const [blob, bytes] = [newBlob(), content(size)];
    await store().put(blob, 0, bytes);
    expect(Buffer.compare((await store().get(blob, 0)) as Uint8Array, bytes)).toBe(0);
  });

  test("returns nothing for chunks that are not stored", async () => {
    const blob = newBlob();
    expect(await store().get(blob, 0)).toBeUndefined();
    await store().put(blob, 0, content(5));
    expect(await store().get(blob, 1)).toBeUndefined();
    expect(await store().get(newBlob(), 0)).toBeUndefined();
  });

  test("lists the sizes of a blob's chunks, the preview included", async () => {
    const [blob, other] = [newBlob(), newBlob()];
    await Promise.all([
      store().put(blob, 0, content(10)),
      store().put(blob, 10, content(3)),
      store().put(blob, 2, content(20)),
      store().put(blob, PREVIEW, content(7)),
      store().put(other, 0, content(1)),
    ]);
    expect(Object.fromEntries(await store().sizes(blob))).toEqual({ [PREVIEW]: 7, 0: 10, 2: 20, 10: 3 });
    expect((await store().sizes(newBlob())).size).toBe(0);
  });

  test("stores a chunk once, also when it is stored many times at once", async () => {
    const [blob, bytes] = [newBlob(), content(1_000)];
    await Promise.all(Array.from({ length: 8 }, () => store().put(blob, 0, bytes)));
    expect(Buffer.compare((await store().get(blob, 0)) as Uint8Array, bytes)).toBe(0);
    expect([...(await store().sizes(blob))]).toEqual([[0, 1_000]]);
  });

  test("deletes a blob with many chunks, and no other, however often", async () => {
    const [blob, other] = [newBlob(), newBlob()];
    await store().put(other, 0, content(1));
    for (let n = PREVIEW; n < 300; n++) await store().put(blob, n, content(1));
    await store().remove(blob);
    await store().remove(blob);
    expect((await store().sizes(blob)).size).toBe(0);
    expect((await store().sizes(other)).size).toBe(1);
  });

  test("lists all blobs in order, page by page", async () => {
    const added = Array.from({ length: 7 }, (_, i) => newBlob(i * 1_000));
    for (const blob of added) for (const n of [PREVIEW, 0, 1]) await store().put(blob, n, content(1));
    const listed: string[] = [];
    for (let page: string[], after = ""; ; after = page.at(-1) as string) {
      page = await store().blobs(after, 3);
      expect(page.length).toBeLessThanOrEqual(3);
      listed.push(...page);
      if (page.length === 0) break;
    }
    expect(listed).toEqual(listed.toSorted());
    expect(listed.filter((blob) => added.includes(blob))).toEqual(added.toSorted());
    expect(new Set(listed).size).toBe(listed.length);
  });

  test("serves many readers of one blob at once", async () => {
    const blob = newBlob();
    await store().put(blob, 0, Uint8Array.of(7));
    const read = await Promise.all(Array.from({ length: 300 }, () => store().get(blob, 0)));
    expect(read.filter((bytes) => bytes?.[0] === 7)).toHaveLength(300);
  });

  test("serves many transfers at once", async () => {
    const blobs = Array.from({ length: 40 }, () => newBlob());
    await Promise.all(blobs.map((blob, i) => store().put(blob, 0, Uint8Array.of(i))));
    const read = await Promise.all(blobs.map((blob) => store().get(blob, 0)));
    expect(read.map((bytes) => bytes?.[0])).toEqual(blobs.map((_, i) => i));
  });
});

describe("S3 that fails", () => {
  const store = (timeoutMs = 10_000) => new S3Chunks(s3.settings, { log: SILENT, timeoutMs });
  const blob = newBlob();
  const bytes = content(200_000);
  const actions = [
    ["put", (s: ChunkStore) => s.put(blob, 1, bytes)],
    ["get", (s: ChunkStore) => s.get(blob, 0)],
    ["sizes", (s: ChunkStore) => s.sizes(blob)],
    ["remove", (s: ChunkStore) => s.remove(newBlob())],
    ["blobs", (s: ChunkStore) => s.blobs("", 10)],
  ] as const;

  beforeAll(() => store().put(blob, 0, bytes));

  test.each(actions)("%s answers not_ready while S3 answers 500", async (_, act) => {
    s3.behaviors = ["fail"];
    expect(await act(store()).catch((error: unknown) => error)).toMatchObject({ code: "not_ready" });
    s3.behaviors = ["forward"];
    await act(store());
  });

  test.each(actions)("%s answers not_ready while S3 does not answer", async (_, act) => {
    s3.behaviors = ["hang"];
    expect(await act(store(100)).catch((error: unknown) => error)).toMatchObject({ code: "not_ready" });
    s3.behaviors = ["forward"];
  });

  test.each(actions)("%s succeeds after two failures", async (_, act) => {
    s3.behaviors = ["fail", "fail", "forward"];
    await act(store());
  });

  test("never returns a part of a chunk when S3 dies midway", async () => {
    s3.behaviors = ["cut", "forward"];
    expect(Buffer.compare((await store().get(blob, 0)) as Uint8Array, bytes)).toBe(0);
    s3.behaviors = ["cut"];
    expect(
      await store()
        .get(blob, 0)
        .catch((error: unknown) => error),
    ).toMatchObject({ code: "not_ready" });
    s3.behaviors = ["forward"];
  });

  test("answers not_ready when nothing listens", async () => {
    const settings = { ...s3.settings, endpoint: "http://127.0.0.1:9" };
    const failed = await new S3Chunks(settings, { log: SILENT }).get(blob, 0).catch((error: unknown) => error);
    expect(failed).toMatchObject({ code: "not_ready" });
  });
});

test("the name of a blob contains the time it was made", () => {
  const now = Date.now();
  expect(Math.abs(blobTime(newBlob(now)) - now)).toBeLessThan(1_000);
  expect(blobTime("something else")).toBeNaN();
  expect(newBlob(1e12) < newBlob(2e12)).toBeTrue();
});
