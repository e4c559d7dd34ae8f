/** Metadata is removed from images, and their pixels stay. */

import { describe, expect, test } from "bun:test";

import exifr from "exifr";

import type { ImageType } from "../../src/util/file_type.ts";
import { ImageStructureError, withoutMetadata } from "../../src/util/image_metadata.ts";
import { bands, BLUE, GREEN, noise, phoneJpeg, png, RED } from "../support/images.ts";

const stripes = png(60, 90, (_, y) => (y < 1 / 3 ? RED : y < 2 / 3 ? GREEN : BLUE));

/** All metadata that exifr finds. */
const metadata = (image: Uint8Array) =>
  exifr.parse(Buffer.from(image), { tiff: true, xmp: true, iptc: true, gps: true, mergeOutput: false });

/** Puts a chunk before the last one of a PNG. */
function withPngChunk(image: Buffer, type: string, data: Buffer): Buffer {
  const chunk = Buffer.alloc(12 + data.length);
  chunk.writeUInt32BE(data.length, 0);
  chunk.write(type, 4, "latin1");
  data.copy(chunk, 8);
  chunk.writeUInt32BE(Bun.hash.crc32(chunk.subarray(4, 8 + data.length)), 8 + data.length);
  return Buffer.concat([image.subarray(0, -12), chunk, image.subarray(-12)]);
}

function withWebpChunk(image: Buffer, type: string, data: Buffer): Buffer {
  const head = Buffer.from(`${type}\0\0\0\0`, "latin1");
  head.writeUInt32LE(data.length, 4);
  const all = Buffer.concat([image, head, data, Buffer.alloc(data.length % 2)]);
  all.writeUInt32LE(all.length - 8, 4);
  return all;
}

const SECRET = Buffer.from("Exif\0\0 taken at 37,58.28N at home ");
const GIF = Buffer.from("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7", "base64");
const webp = Buffer.from(await new Bun.Image(stripes).webp({ quality: 90 }).bytes());
const jpeg = Buffer.from(await new Bun.Image(stripes).jpeg({ quality: 95 }).bytes());

test("the images of these tests contain what exifr finds", async () => {
  expect(JSON.stringify(await metadata(await phoneJpeg(stripes, 6)))).toMatch(/GPSLatitude/);
});

test.each([1, 2, 3, 4, 5, 6, 7, 8])(
  "removes the place from a phone's JPEG, and keeps orientation %d",
  async (orientation) => {
    const phone = await phoneJpeg(stripes, orientation);
    const bare = withoutMetadata(phone, "image/jpeg");
    const left = await metadata(bare);
    expect(JSON.stringify(left ?? {})).not.toMatch(/GPS|xmp/i);
    expect(Buffer.from(bare).includes("taken at home")).toBeFalse();
    const [before, after] = await Promise.all([new Bun.Image(phone).png().bytes(), new Bun.Image(bare).png().bytes()]);
    expect(Buffer.compare(before, after)).toBe(0);
  },
);

test.each<[string, ImageType, Buffer]>([
  [
    "a JPEG comment",
    "image/jpeg",
    Buffer.concat([jpeg.subarray(0, 2), Buffer.from([0xff, 0xfe, 0, SECRET.length + 2]), SECRET, jpeg.subarray(2)]),
  ],
  ["a second picture after a JPEG", "image/jpeg", Buffer.concat([jpeg, await phoneJpeg(stripes, 1), SECRET])],
  [
    "IPTC in a JPEG",
    "image/jpeg",
    Buffer.concat([jpeg.subarray(0, 2), Buffer.from([0xff, 0xed, 0, SECRET.length + 2]), SECRET, jpeg.subarray(2)]),
  ],
  ["text in a PNG", "image/png", withPngChunk(stripes, "tEXt", SECRET)],
  ["Exif in a PNG", "image/png", withPngChunk(stripes, "eXIf", SECRET)],
  ["an unknown chunk of a PNG", "image/png", withPngChunk(stripes, "prVt", SECRET)],
  ["what follows a PNG", "image/png", Buffer.concat([stripes, SECRET])],
  ["Exif in a WebP", "image/webp", withWebpChunk(webp, "EXIF", SECRET)],
  ["XMP in a WebP", "image/webp", withWebpChunk(webp, "XMP ", SECRET)],
  ["what follows a WebP", "image/webp", Buffer.concat([webp, SECRET])],
  [
    "a comment in a GIF",
    "image/gif",
    Buffer.concat([GIF.subarray(0, -1), Buffer.from([0x21, 0xfe, SECRET.length]), SECRET, Buffer.from([0, 0x3b])]),
  ],
  ["what follows a GIF", "image/gif", Buffer.concat([GIF, SECRET])],
])("removes %s", async (_, type, image) => {
  expect(image.includes("at home")).toBeTrue();
  const bare = Buffer.from(withoutMetadata(image, type));
  expect(bare.includes("at home")).toBeFalse();
  const [before, after] = await Promise.all([new Bun.Image(image).png().bytes(), new Bun.Image(bare).png().bytes()]);
  expect(Buffer.compare(before, after)).toBe(0);
});

test.each<[ImageType, Buffer]>([
  ["image/jpeg", jpeg],
  ["image/png", stripes],
  ["image/webp", webp],
  ["image/gif", GIF],
])("keeps a %s without metadata as it is", (type, image) => {
  expect(Buffer.compare(withoutMetadata(image, type), image)).toBe(0);
});

test("an orientation of 6 turns the picture", async () => {
  const bare = withoutMetadata(await phoneJpeg(stripes, 6), "image/jpeg");
  const colors = await bands(bare, 3, "across");
  expect(colors[0]?.indexOf(Math.max(...(colors[0] ?? [])))).toBe(2);
});

describe("broken images", () => {
  const images: [ImageType, Buffer][] = [
    ["image/jpeg", jpeg],
    ["image/png", stripes],
    ["image/webp", webp],
    ["image/gif", GIF],
  ];

  test.each(images)("a %s cut anywhere is rejected, or still an image", (type, image) => {
    for (let length = 0; length < image.length; length++) {
      try {
        withoutMetadata(image.subarray(0, length), type);
      } catch (error) {
        expect(error).toBeInstanceOf(ImageStructureError);
      }
    }
  });

  test.each(images)("no changed byte of a %s fails otherwise", (type, image) => {
    for (let i = 0; i < 3_000; i++) {
      const broken = Buffer.from(image);
      for (let k = 0; k < 3; k++) broken[Math.floor(Math.random() * broken.length)] = Math.floor(Math.random() * 256);
      try {
        withoutMetadata(broken, type);
      } catch (error) {
        expect(error).toBeInstanceOf(ImageStructureError);
      }
    }
  });

  test("millions of tiny parts are rejected quickly", () => {
    const parts = Buffer.alloc(20_000_000);
    for (let at = 0; at < parts.length; at += 4) parts.writeUInt32BE(0xffdb0002, at);
    const many = Buffer.concat([jpeg.subarray(0, 2), parts]);
    expect(() => withoutMetadata(many, "image/jpeg")).toThrow(ImageStructureError);
  });

  test("noise is not an image", () => {
    expect(() => withoutMetadata(noise(9, 9).subarray(20), "image/png")).toThrow(ImageStructureError);
  });
});
