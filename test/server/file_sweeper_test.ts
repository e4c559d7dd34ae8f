/** What becomes of the bytes of deleted and unsent files, and of bytes without a file; `chatify files`. */

import { afterAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";

import { Database } from "../../src/db/database.ts";
import { type ChunkStore, newBlob, PREVIEW } from "../../src/files/chunk_store.ts";
import { FileSweeper } from "../../src/files/file_sweeper.ts";
import { PostgresChunks } from "../../src/files/postgres_chunks.ts";
import { S3Chunks } from "../../src/files/s3_chunks.ts";
import { Stores } from "../../src/files/stores.ts";
import { migratedDatabase, type Person, ROOT, SILENT, startApp, type Tab } from "../support/harness.ts";
import { phoneJpeg, png } from "../support/images.ts";
import { startS3 } from "../support/s3_server.ts";
import { until } from "../support/until.ts";
import { content, fetchFile, upload } from "../support/uploads.ts";

setDefaultTimeout(60_000);

const database = await migratedDatabase();
const s3 = await startS3("chat/");
const env = {
  FILES: `s3://${s3.settings.bucket}/chat`,
  S3_ENDPOINT: s3.endpoint,
  S3_ACCESS_KEY_ID: s3.settings.accessKeyId,
  S3_SECRET_ACCESS_KEY: s3.settings.secretAccessKey,
};
const apps = { postgres: await startApp({ database }), s3: await startApp({ database, env }) };
const { sql } = apps.postgres;
const db = new Database({ target: database, name: "test", max: 2, log: SILENT });
const stores = { postgres: new PostgresChunks(db), s3: new S3Chunks(s3.settings, { log: SILENT, timeoutMs: 500 }) };
afterAll(async () => {
  await db.end();
  await apps.s3.stop();
  await apps.postgres.stop();
  await s3[Symbol.asyncDispose]();
});

/** A sweep by a pod that has just started and is elected. */
async function sweep(): Promise<void> {
  const all = new Stores([stores.s3, stores.postgres]);
  const sweeper = new FileSweeper({ db, stores: all, log: SILENT, isElected: () => true, everyMs: 1e9 });
  await sweeper.sweep();
  sweeper.stop();
}

let people = 0;
async function pair(kind: "postgres" | "s3"): Promise<{ ann: Person; bob: Person; tab: Tab }> {
  const id = `${++people}_${crypto.randomUUID().slice(0, 6)}`;
  const [ann, bob] = (await apps[kind].people(`ann${id}`, `bob${id}`)) as [Person, Person];
  return { ann, bob, tab: await ann.open({ watch: [] }) };
}
async function send(tab: Tab, to: Person, file: string): Promise<void> {
  tab.say({ to: to.name, message: "", file, ref: tab.newRef() });
  await tab.next("ack");
}
async function remove(tab: Tab, peer: Person, seq: number): Promise<void> {
  tab.say({ type: "delete", peer: peer.name, seq, ref: tab.newRef() });
  await tab.next("changed");
}
const blobOf = async (id: string) =>
  ((await sql`select blob from files where id = ${id}`)[0]?.["blob"] ?? "") as string;
const exists = async (id: string) => (await sql`select from files where id = ${id}`).length > 0;
const isEmpty = async (store: ChunkStore, blob: string) => (await store.sizes(blob)).size === 0;
const age = (id: string) => sql`
  update files
  set created_at = created_at - interval '25 hours', claimed_at = claimed_at - interval '25 hours'
  where id = ${id}
`;

describe.each(["postgres", "s3"] as const)("in %s", (kind) => {
  const store = stores[kind];

  test("the bytes of a deleted message's file are deleted with its preview, and no others", async () => {
    const { ann, bob, tab } = await pair(kind);
    const files = await Promise.all([1, 2].map(async () => upload(ann, await phoneJpeg(png(300, 200), 1))));
    for (const { id } of files) await send(tab, bob, id);
    const [gone, kept] = files.map(({ id }) => id) as [string, string];
    const blob = await blobOf(gone);
    expect((await store.sizes(blob)).has(PREVIEW)).toBeTrue();
    await remove(tab, bob, 1);
    await sweep();
    expect([await exists(gone), await isEmpty(store, blob)]).toEqual([false, true]);
    await fetchFile(bob, kept);
    await fetchFile(bob, kept, "/preview");
  });

  test("a file that was not sent ends after a day, sent ones and younger ones stay", async () => {
    const { ann, bob, tab } = await pair(kind);
    const [unsent, sent, young] = await Promise.all([1, 2, 3].map(async () => (await upload(ann, content(9))).id));
    const unfinished = ((await (await ann.post("/files", { name: "a", size: 9 })).json()) as { id: string }).id;
    await send(tab, bob, sent!);
    for (const id of [unsent, sent, unfinished]) await age(id!);
    const blob = await blobOf(unsent!);
    await sweep();
    expect(await Promise.all([unsent, unfinished, sent, young].map((id) => exists(id!)))).toEqual([
      false,
      false,
      true,
      true,
    ]);
    expect(await isEmpty(store, blob)).toBeTrue();
    await fetchFile(bob, sent!);
  });

  test("a file whose message may be about to be stored stays", async () => {
    const { ann } = await pair(kind);
    const { id } = await upload(ann, content(9));
    await age(id);
    await sql`update files set claim_ref = 'a-ref-of-ann', claimed_at = now() where id = ${id}`;
    await sweep();
    expect(await exists(id)).toBeTrue();
    await age(id);
    await sweep();
    expect(await exists(id)).toBeFalse();
  });

  test("bytes are shared by copies, and deleted with the last one", async () => {
    const { ann, bob, tab } = await pair(kind);
    const { id } = await upload(ann, content(9));
    await send(tab, bob, id);
    const { id: copy } = (await (await ann.post(`/files/${id}/copy`)).json()) as { id: string };
    const blob = await blobOf(id);
    await remove(tab, bob, 1);
    await sweep();
    expect(await exists(id)).toBeFalse();
    expect((await fetchFile(ann, copy)).bytes.length).toBe(9);
    await ann.post(`/files/${copy}/remove`);
    await sweep();
    expect([await exists(copy), await isEmpty(store, blob)]).toEqual([false, true]);
  });

  test("bytes without a file are deleted after a day, and what is not chatify's is left alone", async () => {
    const [old, young, foreign] = [newBlob(Date.now() - 25 * 3_600_000), newBlob(), "0000-not-of-chatify"];
    for (const blob of [old, young, foreign]) await store.put(blob, 0, content(5));
    await sweep();
    expect(await Promise.all([old, young, foreign].map((blob) => isEmpty(store, blob)))).toEqual([true, false, false]);
    for (const blob of [young, foreign]) await store.remove(blob);
  });
});

test("a pod that is not elected sweeps nothing", async () => {
  const own = new Database({ target: await migratedDatabase(), name: "test", max: 2, log: SILENT }); // no pod sweeps it
  await own.run(
    (sql) => sql`
      insert into files (id, owner, name, announced_type, is_original, size, chunks, store, blob, created_at)
      values ('a', 'ann', 'a', '', false, 1, '', 'postgres', 'b', now() - interval '25 hours')
    `,
  );
  const all = new Stores([new PostgresChunks(own)]);
  const left: number[] = [];
  for (const isElected of [false, true]) {
    const sweeper = new FileSweeper({ db: own, stores: all, log: SILENT, isElected: () => isElected, everyMs: 1e9 });
    await sweeper.sweep();
    sweeper.stop();
    left.push((await own.run((sql) => sql`select from files`)).length);
  }
  expect(left).toEqual([1, 0]);
  await own.end();
});

test("while S3 is down, files in PostgreSQL are erased, and those in S3 later", async () => {
  const [one, other] = [await pair("postgres"), await pair("s3")];
  const [inPostgres, inS3] = [(await upload(one.ann, content(9))).id, (await upload(other.ann, content(9))).id];
  await one.ann.post(`/files/${inPostgres}/remove`);
  await other.ann.post(`/files/${inS3}/remove`);
  s3.behaviors = ["fail"];
  await sweep();
  expect([await exists(inPostgres), await exists(inS3)]).toEqual([false, true]);
  s3.behaviors = ["forward"];
  await sweep();
  expect(await exists(inS3)).toBeFalse();
});

test("a running pod deletes the bytes of a deleted message within a minute", async () => {
  await using app = await startApp();
  const [ann, bob] = (await app.people("ann", "bob")) as [Person, Person];
  const tab = await ann.open();
  const { id } = await upload(ann, content(9));
  await send(tab, bob, id);
  await remove(tab, bob, 1);
  const left = async () => (await app.sql`select from files`).length + (await app.sql`select from file_chunks`).length;
  await until("the bytes are deleted", async () => (await left()) === 0, 45_000);
});

describe("chatify files", () => {
  async function chatify(words: string[], settings: Record<string, string> = {}) {
    const { PATH = "", HOME = "" } = Bun.env;
    const child = Bun.spawn([process.execPath, join(ROOT, "src/main.ts"), ...words], {
      cwd: ROOT,
      env: { PATH, HOME, DATABASE_URL: database, ...settings },
      stdio: ["ignore", "pipe", "pipe"],
    });
    const [out, err] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()]);
    return { code: await child.exited, out, err };
  }

  test("check names damaged files, and deletes bytes that no file has", async () => {
    const { ann } = await pair("postgres");
    const [whole, damaged, cut] = await Promise.all(
      [1, 2, 3].map(async () => (await upload(ann, content(300_000))).id),
    );
    const { id: picture } = await upload(ann, await phoneJpeg(png(300, 200), 1));
    await sql`delete from file_chunks where blob = ${await blobOf(damaged!)} and n = 1`;
    await sql`update file_chunks set data = 'x' where blob = ${await blobOf(cut!)} and n = 0`;
    await sql`delete from file_chunks where blob = ${await blobOf(picture)} and n = ${PREVIEW}`;
    const orphan = newBlob(Date.now() - 25 * 3_600_000);
    await stores.postgres.put(orphan, 0, content(5));
    await ann.post(`/files/${whole}/remove`);
    const { code, out, err } = await chatify(["files", "check"], env);
    expect(out.trim().split("\n").toSorted()).toEqual(
      [
        `${damaged} of ${ann.name}: 1 of its 2 chunks are missing or have another size`,
        `${cut} of ${ann.name}: 1 of its 2 chunks are missing or have another size`,
        `${picture} of ${ann.name}: its preview is missing`,
      ].toSorted(),
    );
    expect(err).toContain("Files damaged: 3");
    expect(code).toBe(6);
    expect(await isEmpty(stores.postgres, orphan)).toBeTrue();
    expect(await exists(whole!)).toBeFalse();
    for (const id of [damaged, cut, picture]) await ann.post(`/files/${id}/remove`);
    expect(await chatify(["files", "check"], env)).toMatchObject({ code: 0, out: "" });
  });

  test("move brings all files into S3, with their copies and previews", async () => {
    const { ann, bob, tab } = await pair("postgres");
    const bytes = content(600_000);
    const { id } = await upload(ann, bytes);
    const { id: picture } = await upload(ann, await phoneJpeg(png(300, 200), 1));
    await send(tab, bob, id);
    const { id: copy } = (await (await ann.post(`/files/${id}/copy`)).json()) as { id: string };
    const blob = await blobOf(id);
    expect(await chatify(["files", "move"], env)).toMatchObject({ code: 0 });
    await stores.postgres.remove(blob);
    for (const file of [id, copy]) {
      expect(await sql`select store from files where id = ${file}`).toMatchObject([{ store: "s3" }]);
      expect(Buffer.compare((await fetchFile(ann.at(apps.s3), file)).bytes, bytes)).toBe(0);
    }
    await fetchFile(ann.at(apps.s3), picture, "/preview");
    expect((await sql`select from files where store = 'postgres' and completed_at is not null`).length).toBe(0);
  });

  test.each([
    [["files", "frob"], 'Unknown command: chatify files "frob"'],
    [["files", "check", "all"], 'chatify files check accepts no argument, got "all"'],
  ])("%j is refused", async (words, sentence) => {
    const { code, err } = await chatify(words);
    expect([code, err.includes(sentence)]).toEqual([2, true]);
  });
});
