/** The stored files of page versions: how many are kept, and the cost of made-up addresses. */

import { afterAll, beforeAll, expect, test } from "bun:test";

import { Database } from "../../src/db/database.ts";
import { list, load, save } from "../../src/db/page_versions.ts";
import { OtherVersions } from "../../src/http/other_versions.ts";
import { migratedDatabase, SILENT } from "../support/harness.ts";

let db: Database;
let queries = 0;

beforeAll(async () => {
  const target = await migratedDatabase();
  db = new Database({ target, name: "test-versions", max: 4, log: SILENT, onStatement: () => void queries++ });
});
afterAll(() => db?.end());

test("keeps the ten versions started last", async () => {
  for (let i = 1; i <= 12; i++) await save(db, `version-${i}`, Buffer.from(`files ${i}`));
  await save(db, "version-3", Buffer.from("never mind")); // one that is back
  await save(db, "version-13", Buffer.from("files 13"));
  const kept = [3, 5, 6, 7, 8, 9, 10, 11, 12, 13].map((i) => `version-${i}`);
  expect((await list(db)).toSorted()).toEqual(kept.toSorted());
  expect([await load(db, "version-3"), await load(db, "version-4")]).toEqual([Buffer.from("files 3"), undefined]);
});

test("made-up versions cost one query a second in all, and a real one is read once", async () => {
  const versions = new OtherVersions({ db, log: SILENT });
  await versions.save("shared", new Map([["js/a.js", Buffer.from("α")]]));
  queries = 0;
  const asked = Array.from({ length: 1_000 }, (_, i) => versions.filesOf(`made-up-${i}`));
  expect(new Set(await Promise.all(asked))).toEqual(new Set([undefined]));
  expect(queries).toBeLessThanOrEqual(2);
  queries = 0;
  const files = await Promise.all(Array.from({ length: 100 }, () => versions.filesOf("shared")));
  for (const each of files) expect(each?.get("js/a.js")?.toString()).toBe("α");
  expect(queries).toBeLessThanOrEqual(2);
});

test("a version whose stored files are damaged does not exist", async () => {
  await save(db, "damaged", Buffer.from("not compressed"));
  const versions = new OtherVersions({ db, log: SILENT });
  expect(await versions.filesOf("damaged")).toBeUndefined();
  expect(await versions.filesOf("damaged")).toBeUndefined();
});

test("without PostgreSQL there are no other versions, and no error", async () => {
  const gone = new Database({ target: "postgres://x@127.0.0.1:1/x", name: "test-gone", max: 1, log: SILENT });
  const versions = new OtherVersions({ db: gone, log: SILENT });
  expect(await versions.filesOf("AAAAAAAAAAA")).toBeUndefined();
  await versions.save("shared", new Map());
  await gone.end();
}, 20_000);
