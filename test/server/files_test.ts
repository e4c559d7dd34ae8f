/** Uploads and downloads of files: limits, resuming, what is stored, who reads it; on two pods. */

import { afterAll, describe, expect, setDefaultTimeout, test } from "bun:test";

import exifr from "exifr";

import { migratedDatabase, type Person, startApp } from "../support/harness.ts";
import { bomb, noise, phoneJpeg, png } from "../support/images.ts";
import { startS3 } from "../support/s3_server.ts";
import { CHUNK, content, fetchFile, putChunk, upload } from "../support/uploads.ts";

setDefaultTimeout(30_000);

const database = await migratedDatabase();
const env = { FILE_MAX: "2MB", FILES_QUOTA: "5MB" };
const [one, two] = [await startApp({ database, env }), await startApp({ database, env })];
afterAll(async () => {
  await two.stop();
  expect(one.log.filter((line) => line.includes('"level":"error"'))).toEqual([]);
  await one.stop();
});

let people = 0;
const newPerson = () => one.person(`p${++people}_${crypto.randomUUID().slice(0, 6)}`);
const begin = (who: Person, body: object) => who.post("/files", { name: "a.bin", size: 3, ...body });
const idOf = async (who: Person, body: object = {}) => ((await (await begin(who, body)).json()) as { id: string }).id;
const codeOf = async (answer: Response) => ((await answer.json()) as { error: { code: string } }).error.code;
const status = (who: Person, id: string) => who.json<{ have: number[]; complete: boolean }>(`/files/${id}/status`);
const rowOf = async (id: string) => (await one.sql`select * from files where id = ${id}`)[0];

describe("an upload", () => {
  test("arrives byte for byte, its chunks in any order and on both pods", async () => {
    const ann = await newPerson();
    const bytes = content(2 * CHUNK + 5);
    const answer = await begin(ann, { name: "../δ\u202e.bin", size: bytes.length });
    expect(answer.status).toBe(201);
    const { id, chunk_size } = (await answer.json()) as { id: string; chunk_size: number };
    expect(chunk_size).toBe(CHUNK);
    expect(id).toMatch(/^[\w-]{22}$/);
    for (const [n, pod] of [
      [2, two],
      [0, one],
      [0, two],
      [1, two],
    ] as const) {
      expect((await putChunk(ann.at(pod), id, n, bytes)).status).toBe(204);
    }
    expect(await status(ann, id)).toMatchObject({ have: [0, 1, 2], size: bytes.length, complete: true });
    expect((await putChunk(ann, id, 1, bytes)).status).toBe(204);
    const file = await fetchFile(ann, id);
    expect(Buffer.compare(file.bytes, bytes)).toBe(0);
    expect(file.headers.get("content-disposition")).toBe("attachment; filename=\"_.bin\"; filename*=UTF-8''%CE%B4.bin");
  });

  test("cannot be read before it is complete, and continues after a pod stopped", async () => {
    const ann = await newPerson();
    const bytes = content(2 * CHUNK);
    const third = await startApp({ database, env });
    const id = await idOf(ann.at(third), { size: bytes.length });
    await putChunk(ann.at(third), id, 1, bytes);
    await third.stop();
    expect((await ann.get(`/files/${id}`)).status).toBe(404);
    expect(await status(ann, id)).toMatchObject({ have: [1], complete: false });
    await putChunk(ann, id, 0, bytes);
    expect(Buffer.compare((await fetchFile(ann, id)).bytes, bytes)).toBe(0);
  });

  test("is completed once when the last chunks arrive at once on both pods", async () => {
    const ann = await newPerson();
    const image = await phoneJpeg(noise(500, 500), 6);
    const id = await idOf(ann, { size: image.length });
    const count = Math.ceil(image.length / CHUNK);
    const puts = [one, two, one, two].flatMap((pod) =>
      Array.from({ length: count }, (_, n) => putChunk(ann.at(pod), id, n, image)),
    );
    expect((await Promise.all(puts)).map(({ status }) => status)).toEqual(puts.map(() => 204));
    const { blob, size } = (await rowOf(id)) as { blob: string; size: number };
    const file = await fetchFile(ann.at(two), id);
    expect(file.bytes.length).toBe(size);
    const chunks = await one.sql`select n from file_chunks where blob = ${blob} order by n`;
    expect(chunks.map(({ n }) => n as number)).toEqual([
      -1,
      ...Array.from({ length: Math.ceil(size / CHUNK) }, (_, n) => n),
    ]);
    const others = await one.sql`
      select distinct blob from file_chunks c where not exists (select from files f where f.blob = c.blob)
    `;
    expect([...others]).toEqual([]);
  });

  test("with an announced digest is checked", async () => {
    const ann = await newPerson();
    const bytes = content(CHUNK + 9);
    const sha256 = new Bun.CryptoHasher("sha256").update(bytes).digest("hex");
    const { id } = await upload(ann, bytes, { sha256 });
    expect(Buffer.compare((await fetchFile(ann, id)).bytes, bytes)).toBe(0);
    const wrong = await upload(ann, content(CHUNK + 9), { sha256 });
    expect(wrong.last.status).toBe(422);
    expect(await codeOf(wrong.last)).toBe("file_damaged");
    expect((await ann.get(`/files/${wrong.id}/status`)).status).toBe(404);
  });

  test("can be removed, repeatedly", async () => {
    const ann = await newPerson();
    const { id } = await upload(ann, content(9));
    for (let i = 0; i < 2; i++) expect((await ann.post(`/files/${id}/remove`)).status).toBe(200);
    expect((await ann.get(`/files/${id}`)).status).toBe(404);
    expect((await putChunk(ann, id, 0, content(9))).status).toBe(404);
  });

  test("is nothing to another user", async () => {
    const [ann, bob] = [await newPerson(), await newPerson()];
    const { id } = await upload(ann, content(9));
    const unfinished = await idOf(ann);
    expect((await putChunk(bob, unfinished, 0, content(3))).status).toBe(404);
    await bob.post(`/files/${id}/remove`);
    for (const path of ["", "/status", "/preview"]) expect((await bob.get(`/files/${id}${path}`)).status).toBe(404);
    expect((await bob.post(`/files/${id}/copy`)).status).toBe(404);
    expect((await ann.get(`/files/${id}`)).status).toBe(200);
    expect((await putChunk(ann, unfinished, 0, content(3))).status).toBe(204);
  });
});

describe("refused", () => {
  const ann = newPerson();

  test.each<[object, number]>([
    [{ size: 0 }, 400],
    [{ size: -1 }, 400],
    [{ size: 1.5 }, 400],
    [{ size: "3" }, 400],
    [{ size: null }, 400],
    [{ size: 2_000_001 }, 413],
    [{ size: 2 ** 53 }, 400],
    [{ name: 7 }, 400],
    [{ name: undefined }, 400],
    [{ name: "x".repeat(1_001) }, 400],
    [{ type: 7 }, 400],
    [{ type: "x".repeat(201) }, 400],
    [{ sha256: "abc" }, 400],
    [{ sha256: "A".repeat(64) }, 400],
    [{ original: "yes" }, 400],
  ])("%j: %d", async (body, expected) => {
    expect((await begin(await ann, body)).status).toBe(expected);
  });

  test.each([
    ["too few bytes", 0, 2, 400],
    ["too many bytes", 0, 4, 400],
    ["no bytes", 0, 0, 400],
    ["more than a chunk", 0, CHUNK + 1, 413],
    ["a chunk beyond the end", 1, 3, 400],
    ["a chunk far beyond", 999_999, 3, 400],
  ])("%s", async (_, n, size, expected) => {
    const id = await idOf(await ann);
    const answer = await (await ann).put(`/files/${id}/${n}`, content(size));
    expect(answer.status).toBe(expected);
    expect(await status(await ann, id)).toMatchObject({ have: [], complete: false });
  });

  test.each(["-1", "x", "1e3", "0x0", "1234567", "%00", "00000001"])("chunk %s is nowhere", async (n) => {
    expect((await (await ann).put(`/files/${await idOf(await ann)}/${n}`, content(3))).status).toBe(404);
  });

  test.each(["x", "A".repeat(22), "A".repeat(23), "a/b", "%00", "'", "\u00e9"])("the id %p is nowhere", async (id) => {
    const who = await ann;
    for (const path of ["", "/preview", "/status"]) {
      expect((await who.get(`/files/${encodeURIComponent(id)}${path}`)).status).toBe(404);
    }
    expect((await who.put(`/files/${encodeURIComponent(id)}/0`, content(3))).status).toBe(404);
  });

  test("without a session, from another site, and with other methods", async () => {
    const { id } = await upload(await ann, content(9));
    const headers = { cookie: (await ann).cookie, origin: "https://evil.example" };
    const ask = (path: string, init: RequestInit) => fetch(`${one.url}/files${path}`, init);
    for (const path of [`/${id}`, `/${id}/preview`, `/${id}/status`]) expect((await ask(path, {})).status).toBe(401);
    expect((await ask(`/${id}/0`, { method: "PUT", body: "x" })).status).toBe(401);
    expect((await ask(`/${id}/0`, { method: "PUT", body: "x", headers })).status).toBe(403);
    expect((await ask("", { method: "POST", body: "{}", headers })).status).toBe(403);
    const deleted = await ask(`/${id}`, { method: "DELETE", headers: { cookie: headers.cookie } });
    expect([deleted.status, deleted.headers.get("allow")]).toEqual([405, "GET, HEAD"]);
    expect((await ask(`/${id}/0`, { headers: { cookie: headers.cookie } })).headers.get("allow")).toBe("PUT");
  });

  test("beyond the quota, also when uploads begin at once, until files are deleted", async () => {
    const bob = await newPerson();
    const answers = await Promise.all(
      Array.from({ length: 6 }, (_, i) => begin(bob.at(i % 2 ? one : two), { size: 1_500_000 })),
    );
    expect(answers.map(({ status }) => status).toSorted()).toEqual([201, 201, 201, 507, 507, 507]);
    expect(await bob.json<object>("/me/files")).toEqual({ bytes: 4_500_000, quota: 5_000_000 });
    const { id } = (await answers.find(({ status }) => status === 201)!.json()) as { id: string };
    await bob.post(`/files/${id}/remove`);
    expect((await begin(bob, { size: 1_500_000 })).status).toBe(201);
  });

  test("too many files that were not sent", async () => {
    const bob = await newPerson();
    const answers = await Promise.all(Array.from({ length: 201 }, () => begin(bob, { size: 1 })));
    expect(answers.filter(({ status }) => status === 201)).toHaveLength(200);
    const refused = answers.find(({ status }) => status !== 201);
    expect(refused?.status).toBe(429);
    expect(refused?.headers.get("retry-after")).toBe("60");
  });

  test("too many uploads at a time and in a minute", async () => {
    await using limited = await startApp({
      env: { RATE_LIMIT: "on", LIMIT_FILES: "1/h burst 2", LIMIT_FILE_REQUESTS: "1/h burst 3" },
    });
    const bob = await limited.person("bob");
    const id = await idOf(bob);
    await begin(bob, {});
    expect((await begin(bob, {})).status).toBe(429);
    for (let i = 0; i < 3; i++) await status(bob, id);
    expect((await bob.get(`/files/${id}`)).status).toBe(429);
  });
});

describe("a picture", () => {
  test("is stored without the place it was taken at, and with a preview", async () => {
    const ann = await newPerson();
    const image = await phoneJpeg(noise(1_200, 400), 6);
    expect(await exifr.gps(image)).toBeDefined();
    const { id } = await upload(ann, image, { name: "a.html", type: "text/html" });
    expect(await rowOf(id)).toMatchObject({ type: "image/jpeg", width: 400, height: 1_200 });
    expect((await rowOf(id))?.["placeholder"]).toHaveLength(48);
    const file = await fetchFile(ann, id);
    expect(file.headers.get("content-type")).toBe("image/jpeg");
    expect(file.headers.get("content-disposition")).toBe('inline; filename="a.html"');
    const preview = await fetchFile(ann, id, "/preview");
    expect(preview.headers.get("content-type")).toBe("image/webp");
    expect(await new Bun.Image(preview.bytes).metadata()).toMatchObject({ width: 320, height: 960 });
    const all = await one.sql<{ data: Buffer }[]>`select data from file_chunks`;
    for (const bytes of [file.bytes, preview.bytes, ...all.map(({ data }) => Buffer.from(data))]) {
      expect(bytes.includes("GPSLatitude")).toBeFalse();
      expect(bytes.includes("taken at home")).toBeFalse();
    }
    expect(await exifr.gps(file.bytes).catch(() => undefined)).toBeUndefined();
  });

  test("sent as a file keeps every byte, and has a preview", async () => {
    const ann = await newPerson();
    const image = await phoneJpeg(noise(300, 200), 6);
    const { id } = await upload(ann, image, { original: true });
    expect(Buffer.compare((await fetchFile(ann, id)).bytes, image)).toBe(0);
    expect((await fetchFile(ann, id, "/preview")).bytes.includes("GPSLatitude")).toBeFalse();
  });

  const heic = Buffer.concat([Buffer.from("\0\0\0\x18ftypheic\0\0\0\0", "latin1"), content(99)]);

  test.each<[string, Uint8Array]>([
    ["a bomb", bomb(30_000, 30_000)],
    ["half a picture", png(300, 300).subarray(0, 200)],
    ["a signature", png(1, 1).subarray(0, 8)],
    ["HEIC", heic],
    ["AVIF", Buffer.from("\0\0\0\x18ftypavif\0\0\0\0", "latin1")],
    ["TIFF", Buffer.from("II*\0\b\0\0\0 and more", "latin1")],
  ])("that is %s is refused in words, but kept as a file, as an attachment", async (_, bytes) => {
    const ann = await newPerson();
    const picture = await upload(ann, bytes);
    expect(picture.last.status).toBe(422);
    expect(await picture.last.json()).toMatchObject({
      error: { code: "bad_image", message: expect.stringContaining("Send it as a file") },
    });
    expect((await ann.get(`/files/${picture.id}/status`)).status).toBe(404);
    const { id } = await upload(ann, bytes, { original: true });
    const file = await fetchFile(ann, id);
    expect(Buffer.compare(file.bytes, bytes)).toBe(0);
    expect(file.headers.get("content-disposition")).toStartWith("attachment");
    expect((await ann.get(`/files/${id}/preview`)).status).toBe(404);
  });
});

describe("a download", () => {
  const bytes = content(CHUNK + 100_000);
  const size = bytes.length;
  const ann = newPerson();
  const id = ann.then(async (who) => (await upload(who, bytes)).id);

  test.each<[string, number, number]>([
    ["bytes=0-0", 0, 1],
    ["bytes=0-", 0, size],
    ["bytes=5-10", 5, 11],
    [`bytes=${CHUNK - 1}-${CHUNK}`, CHUNK - 1, CHUNK + 1],
    ["bytes=-1", size - 1, size],
    [`bytes=-${size + 7}`, 0, size],
    [`bytes=${size - 1}-${size + 99}`, size - 1, size],
    [`bytes=${CHUNK}-`, CHUNK, size],
  ])("%s is answered with 206", async (range, start, end) => {
    const { status, bytes: part, headers } = await fetchFile(await ann, await id, "", { range });
    expect(status).toBe(206);
    expect(headers.get("content-range")).toBe(`bytes ${start}-${end - 1}/${size}`);
    expect(Buffer.compare(part, bytes.subarray(start, end))).toBe(0);
  });

  test.each([`bytes=${size}-`, `bytes=${size + 1}-${size + 2}`, "bytes=-0", "bytes=999999999999999-"])(
    "%s is answered with 416",
    async (range) => {
      const answer = await (await ann).get(`/files/${await id}`, { range });
      expect(answer.status).toBe(416);
      expect(answer.headers.get("content-range")).toBe(`bytes */${size}`);
      expect(await codeOf(answer)).toBe("bad_range");
    },
  );

  test.each(["bytes=5-2", "bytes=0-1,5-6", "bytes=-", "bytes=a-b", "items=0-1", "bytes=99999999999999999999-", ""])(
    "the range %p is ignored",
    async (range) => {
      const { status, bytes: all } = await fetchFile(await ann, await id, "", { range });
      expect([status, Buffer.compare(all, bytes)]).toEqual([200, 0]);
    },
  );

  test("has the headers of a file that is not trusted, and is cached by its reader for ever", async () => {
    const { headers } = await fetchFile(await ann, await id);
    expect(Object.fromEntries(headers)).toMatchObject({
      "content-type": "application/octet-stream",
      "content-disposition": 'attachment; filename="a.bin"',
      "content-security-policy": expect.stringMatching(/^sandbox; default-src 'none'/),
      "x-content-type-options": "nosniff",
      "cross-origin-resource-policy": "same-origin",
      "cache-control": "private, max-age=31536000, immutable",
      "accept-ranges": "bytes",
      etag: `"${await id}"`,
    });
    const etag = headers.get("etag") ?? "";
    expect((await (await ann).get(`/files/${await id}`, { "if-none-match": etag })).status).toBe(304);
    const other = { range: "bytes=0-1", "if-range": '"other"' };
    expect((await fetchFile(await ann, await id, "", other)).status).toBe(200);
    expect((await fetchFile(await ann, await id, "", { ...other, "if-range": etag })).status).toBe(206);
  });

  test("is not stored by browsers over plain http", async () => {
    const { headers } = await fetchFile(await ann, await id, "", { host: "chat.example.org" });
    expect(headers.get("cache-control")).toBe("no-store");
  });

  test("HEAD answers with the length, and no bytes", async () => {
    const headers = { cookie: (await ann).cookie };
    const answer = await fetch(`${one.url}/files/${await id}`, { method: "HEAD", headers });
    expect([answer.status, answer.headers.get("content-length")]).toEqual([200, String(size)]);
  });

  test.each<[string, string, string]>([
    ["<script>alert(1)</script>", "a.html", "application/octet-stream"],
    ["<svg xmlns='http://www.w3.org/2000/svg'/>", "a.svg", "application/octet-stream"],
    ["%PDF-1.7", "a.pdf", "application/octet-stream"],
    ["MZ", "a.png", "application/octet-stream"],
  ])("%p is never shown inline", async (text, name, type) => {
    const { id } = await upload(await ann, Buffer.from(text), { name, type: "image/png" });
    const { headers } = await fetchFile(await ann, id);
    expect([headers.get("content-type"), headers.get("content-disposition")]).toEqual([
      type,
      `attachment; filename="${name}"`,
    ]);
  });

  test("a copy has the same bytes, and outlives the original", async () => {
    const copied = await (await ann).post(`/files/${await id}/copy`);
    expect(copied.status).toBe(201);
    const { id: copy } = (await copied.json()) as { id: string };
    expect(Buffer.compare((await fetchFile(await ann, copy)).bytes, bytes)).toBe(0);
  });

  test("fails without a promise of more bytes when some are missing", async () => {
    const bob = await newPerson();
    const { id } = await upload(bob, content(3 * CHUNK));
    const { blob } = (await rowOf(id)) as { blob: string };
    await one.sql`delete from file_chunks where blob = ${blob} and n = 2`;
    const whole = await fetchFile(bob, id).catch((error: unknown) => error);
    expect(whole).toBeInstanceOf(Error);
    expect((await bob.get(`/files/${id}`, { range: `bytes=${2 * CHUNK}-` })).status).toBe(500);
    one.log.splice(0);
  });
});

describe("in S3", () => {
  const opened = startS3();
  const app = opened.then(({ endpoint, settings }) =>
    startApp({
      database,
      env: {
        ...env,
        FILES: `s3://${settings.bucket}/chat`,
        S3_ENDPOINT: endpoint,
        S3_ACCESS_KEY_ID: settings.accessKeyId,
        S3_SECRET_ACCESS_KEY: settings.secretAccessKey,
      },
    }),
  );
  afterAll(async () => {
    await (await app).stop();
    await (await opened)[Symbol.asyncDispose]();
  });

  test("files are stored and read whole, also by ranges, and those in PostgreSQL remain readable", async () => {
    const [ann, s3] = [await newPerson(), await opened];
    const bytes = content(2 * CHUNK + 5);
    const inPostgres = await upload(ann, bytes);
    const { id } = await upload(ann.at(await app), bytes);
    expect(await rowOf(id)).toMatchObject({ store: "s3" });
    expect(s3.requests).toBeGreaterThan(2);
    for (const each of [id, inPostgres.id]) {
      const file = await fetchFile(ann.at(await app), each, "", { range: `bytes=${CHUNK - 1}-` });
      expect(Buffer.compare(file.bytes, bytes.subarray(CHUNK - 1))).toBe(0);
    }
    const picture = await upload(ann.at(await app), await phoneJpeg(noise(200, 100), 1));
    expect((await fetchFile(ann.at(await app), picture.id, "/preview")).bytes.length).toBeGreaterThan(100);
    expect((await ann.get(`/files/${id}`)).status).toBe(503); // a pod without these settings
  });

  test("a chunk that S3 refuses is asked for again, and the upload continues", async () => {
    const [ann, s3] = [(await newPerson()).at(await app), await opened];
    const bytes = content(2 * CHUNK);
    const id = await idOf(ann, { size: bytes.length });
    await putChunk(ann, id, 0, bytes);
    s3.behaviors = ["fail"];
    const refused = await putChunk(ann, id, 1, bytes);
    s3.behaviors = ["forward"];
    expect([refused.status, refused.headers.get("retry-after")]).toEqual([503, "2"]);
    expect(await status(ann, id)).toMatchObject({ have: [0], complete: false });
    expect((await putChunk(ann, id, 1, bytes)).status).toBe(204);
    expect(Buffer.compare((await fetchFile(ann, id)).bytes, bytes)).toBe(0);
  });

  test("a download is cut when S3 dies midway, never completed with other bytes", async () => {
    const [ann, s3] = [(await newPerson()).at(await app), await opened];
    const bytes = content(4 * CHUNK);
    const { id } = await upload(ann, bytes);
    s3.behaviors = ["forward", "forward", "cut"];
    const failed = await fetchFile(ann, id).catch((error: unknown) => error);
    s3.behaviors = ["forward"];
    expect(failed).toBeInstanceOf(Error);
    expect(Buffer.compare((await fetchFile(ann, id)).bytes, bytes)).toBe(0);
  });

  test("the last chunk completes the upload when it is sent again after S3 died", async () => {
    const [ann, s3] = [(await newPerson()).at(await app), await opened];
    const image = await phoneJpeg(noise(600, 500), 1);
    const id = await idOf(ann, { size: image.length });
    const last = Math.ceil(image.length / CHUNK) - 1;
    for (let n = 0; n < last; n++) await putChunk(ann, id, n, image);
    s3.behaviors = ["forward", "fail"]; // stores the chunk, then cannot read the first one
    expect((await putChunk(ann, id, last, image)).status).toBe(503);
    s3.behaviors = ["forward"];
    expect(await status(ann, id)).toMatchObject({ complete: false });
    expect((await ann.get(`/files/${id}`)).status).toBe(404);
    expect((await putChunk(ann, id, last, image)).status).toBe(204);
    expect((await fetchFile(ann, id, "/preview")).status).toBe(200);
  });

  test("a chunk that arrives slowly does not change a file that was completed meanwhile", async () => {
    const ann = (await newPerson()).at(await app);
    const [bytes, other] = [content(1_000), content(1_000)];
    const id = await idOf(ann, { size: bytes.length });
    const completed = Promise.withResolvers<void>();
    const slow = new ReadableStream({
      async start(controller) {
        controller.enqueue(other.subarray(0, 10));
        await completed.promise;
        await Bun.sleep(700);
        controller.enqueue(other.subarray(10));
        controller.close();
      },
    });
    const url = `${(await app).url}/files/${id}/0`;
    const late = fetch(url, { method: "PUT", body: slow, headers: { cookie: ann.cookie } });
    await Bun.sleep(100); // it has begun
    expect((await putChunk(ann, id, 0, bytes)).status).toBe(204);
    completed.resolve();
    expect((await late).status).toBe(204);
    expect(Buffer.compare((await fetchFile(ann, id)).bytes, bytes)).toBe(0);
  });
});
