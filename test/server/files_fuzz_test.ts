/** Random names and broken images, uploaded to a real server: no crash, no 500, no growth. */

import { afterAll, expect, setDefaultTimeout, test } from "bun:test";

import fc from "fast-check";

import { bomb, noise, phoneJpeg, png } from "../support/images.ts";
import { sharedApp } from "../support/shared_app.ts";
import { fetchFile, upload } from "../support/uploads.ts";

setDefaultTimeout(120_000);

const app = await sharedApp({ env: { FILES_QUOTA: "100GB" } });
const ann = await app.person("ann");
afterAll(() => expect(app.log.filter((line) => line.includes('"level":"error"'))).toEqual([]));

const picture = noise(60, 40);
const GIF = Buffer.from("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7", "base64");
const WHOLE = [
  await phoneJpeg(picture, 6),
  picture,
  Buffer.from(await new Bun.Image(picture).webp({ quality: 80 }).bytes()),
  Buffer.from(await new Bun.Image(picture).webp({ lossless: true }).bytes()),
  GIF,
];

/** An image with bytes changed, removed or repeated. */
const broken = fc
  .record({
    image: fc.constantFrom(...WHOLE),
    changes: fc.array(fc.tuple(fc.double({ min: 0, max: 1, noNaN: true }), fc.integer({ min: 0, max: 255 })), {
      maxLength: 12,
    }),
    // most of what decides is in the first bytes
    head: fc.array(fc.tuple(fc.integer({ min: 4, max: 63 }), fc.integer({ min: 0, max: 255 })), { maxLength: 4 }),
    end: fc.double({ min: 0.1, max: 1, noNaN: true }),
    repeated: fc.boolean(),
  })
  .map(({ image, changes, head, end, repeated }) => {
    const bytes = Buffer.from(image);
    for (const [place, value] of changes) bytes[Math.floor(place * (bytes.length - 1))] = value;
    for (const [place, value] of head) if (place < bytes.length) bytes[place] = value;
    const cut = bytes.subarray(0, Math.max(12, Math.floor(end * bytes.length)));
    return repeated ? Buffer.concat([cut, cut]) : cut;
  });

/** Uploads bytes. @returns the status of the last chunk */
async function outcome(bytes: Uint8Array, original: boolean): Promise<number> {
  const { id, last } = await upload(ann, bytes, { original });
  if (last.status === 204) {
    const { bytes: stored, headers } = await fetchFile(ann, id);
    if (original) expect(Buffer.compare(stored, bytes)).toBe(0);
    else if (headers.get("content-type") !== "application/octet-stream") {
      expect(stored.includes("GPSLatitude")).toBeFalse();
    } // else it is no image any more
    expect(headers.get("x-content-type-options")).toBe("nosniff");
    expect((await ann.get(`/files/${id}/preview`)).status).toBeOneOf([200, 404]);
  } else expect(await last.json()).toMatchObject({ error: { code: "bad_image" } });
  await ann.post(`/files/${id}/remove`);
  return last.status;
}

test("broken images are stored without metadata, or refused in words", async () => {
  const statuses = new Set<number>();
  const property = fc.asyncProperty(broken, async (bytes) => {
    const status = await outcome(bytes, false);
    statuses.add(status);
    expect(status).toBeOneOf([204, 422]);
  });
  await fc.assert(property, { numRuns: 300 });
  expect(statuses).toEqual(new Set([204, 422])); // else this test tries only one kind
});

test("broken images are kept as files, byte for byte", async () => {
  const property = fc.asyncProperty(broken, async (bytes) => expect(await outcome(bytes, true)).toBe(204));
  await fc.assert(property, { numRuns: 100 });
});

test("bombs of all sizes are refused, and leave nothing in memory", async () => {
  await outcome(bomb(20_000, 20_000), true);
  Bun.gc(true);
  const before = process.memoryUsage.rss();
  const sides = [6_000, 20_000, 65_535, 2 ** 31 - 1, 2 ** 32 - 1];
  for (const width of sides) {
    for (const height of sides) expect(await outcome(bomb(width, height), false)).toBe(422);
  }
  Bun.gc(true);
  expect(process.memoryUsage.rss() - before).toBeLessThan(150 * 1024 * 1024);
});

test("a picture that is a thousand times as long as wide has a preview", async () => {
  for (const [width, height] of [
    [4_000, 1],
    [1, 4_000],
  ] as const) {
    expect(await outcome(png(width, height), false)).toBe(204);
  }
});

test("any name is stored as one that is safe in a header and on any system", async () => {
  const unit = fc.oneof(
    fc.string({ unit: "binary", maxLength: 1 }),
    fc.constantFrom("/", "\\", '"', "%", "..", "\r\n", "\u202e", "\0", ";", "'", "*", "\ud800", ".", " ", "👍🏽", "é"),
  );
  const name = fc.array(unit, { maxLength: 400 }).map((units) => units.join("").slice(0, 1_000));
  const property = fc.asyncProperty(name, async (name) => {
    const { id, last } = await upload(ann, Buffer.from("x"), { name });
    expect(last.status).toBe(204);
    const { headers } = await fetchFile(ann, id);
    const header = headers.get("content-disposition") ?? "";
    expect(header).toMatch(/^attachment; filename="[ !#-[\]-~]+"(; filename\*=UTF-8''[\w!#$&+\-.^`|~%]+)?$/);
    const [row] = await app.sql<{ name: string }[]>`select name from files where id = ${id}`;
    expect(row?.name).toMatch(/^[^/\\:<>"|?*\p{Cc}\p{Cf}\p{Cs}]{1,300}$/u);
    await ann.post(`/files/${id}/remove`);
  });
  await fc.assert(property, { numRuns: 200 });
});
