/** Images for tests: of given pixels, with metadata, and broken ones. */

import { randomBytes } from "node:crypto";
import { deflateSync, inflateSync } from "node:zlib";

export type Color = readonly [red: number, green: number, blue: number];
export const RED: Color = [220, 20, 20];
export const GREEN: Color = [20, 180, 20];
export const BLUE: Color = [20, 20, 220];

/** A PNG of this size. @param pixel the color at a position from 0 to 1 */
export function png(width: number, height: number, pixel: (x: number, y: number) => Color = () => RED): Buffer {
  const rows = Buffer.alloc(height * (1 + width * 3));
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) rows.set(pixel(x / width, y / height), y * (1 + width * 3) + 1 + x * 3);
  }
  return pngOf(width, height, rows);
}

/** Of noise, which compresses badly. */
export function noise(width: number, height: number): Buffer {
  return pngOf(
    width,
    height,
    Buffer.concat(Array.from({ length: height }, () => Buffer.concat([Buffer.alloc(1), randomBytes(width * 3)]))),
  );
}

/** A small PNG whose header claims a size. */
export function bomb(width: number, height: number): Buffer {
  return pngOf(width, height, Buffer.alloc(1_000));
}

function pngOf(width: number, height: number, rows: Buffer): Buffer {
  const header = Buffer.from("00000000000000000802000000", "hex");
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  const chunk = (type: string, data: Buffer) => {
    const bytes = Buffer.concat([Buffer.alloc(4), Buffer.from(type), data, Buffer.alloc(4)]);
    bytes.writeUInt32BE(data.length, 0);
    bytes.writeUInt32BE(Bun.hash.crc32(bytes.subarray(4, 8 + data.length)), 8 + data.length);
    return bytes;
  };
  const signature = Buffer.from("89504e470d0a1a0a", "hex");
  const parts = [chunk("IHDR", header), chunk("IDAT", deflateSync(rows)), chunk("IEND", Buffer.alloc(0))];
  return Buffer.concat([signature, ...parts]);
}

/** A JPEG with a place and an orientation in its Exif data, as a phone writes it. */
export async function phoneJpeg(image: Buffer, orientation: number): Promise<Buffer> {
  const jpeg = Buffer.from(await new Bun.Image(image).jpeg({ quality: 95 }).bytes());
  const entry = (tag: number, type: number, count: number, value: number) => {
    const bytes = Buffer.alloc(12);
    bytes.writeUInt16LE(tag, 0);
    bytes.writeUInt16LE(type, 2);
    bytes.writeUInt32LE(count, 4);
    bytes.writeUInt32LE(value, 8);
    return bytes;
  };
  const directory = (...entries: Buffer[]) => {
    const count = Buffer.alloc(2);
    count.writeUInt16LE(entries.length);
    return Buffer.concat([count, ...entries, Buffer.alloc(4)]);
  };
  // offsets from the start of the TIFF header: 8 the directory, 38 the GPS directory, 56 the latitude
  const latitude = Buffer.alloc(24);
  for (const [i, value] of [37, 1, 58, 1, 17, 1].entries()) latitude.writeUInt32LE(value, i * 4);
  const tiff = Buffer.concat([
    Buffer.from("II*\0\b\0\0\0", "latin1"),
    directory(entry(0x0112, 3, 1, orientation), entry(0x8825, 4, 1, 38)),
    directory(entry(0x0002, 5, 3, 56)),
    latitude,
  ]);
  const xmp = Buffer.from("http://ns.adobe.com/xap/1.0/\0<x:xmpmeta>GPSLatitude 37,58.28N</x:xmpmeta>");
  const segment = (marker: number, data: Buffer) => {
    const head = Buffer.from([0xff, marker, 0, 0]);
    head.writeUInt16BE(data.length + 2, 2);
    return Buffer.concat([head, data]);
  };
  return Buffer.concat([
    jpeg.subarray(0, 2),
    segment(0xe1, Buffer.concat([Buffer.from("Exif\0\0"), tiff])),
    segment(0xe1, xmp),
    segment(0xfe, Buffer.from("taken at home")),
    jpeg.subarray(2),
  ]);
}

/** The colors of `count` equal bands of an image, from top to bottom, or from left to right. */
export async function bands(image: Uint8Array, count: number, direction: "down" | "across"): Promise<Color[]> {
  const turned = direction === "down" ? new Bun.Image(image) : new Bun.Image(image).rotate(90);
  const encoded = Buffer.from(await turned.resize(1, count, { filter: "box" }).png().bytes());
  const data = inflateSync(encoded.subarray(encoded.indexOf("IDAT") + 4));
  const colors: Color[] = [];
  let above = [0, 0, 0];
  for (let y = 0; y < count; y++) {
    const [filter = 0, ...row] = data.subarray(y * 5, y * 5 + 4);
    // of one pixel: nothing is to its left
    const predicted = above.map((value) => [0, 0, value, value >> 1, value][filter] as number);
    above = predicted.map((value, i) => (value + (row[i] as number)) & 255);
    colors.push(above as unknown as Color);
  }
  return colors;
}

/** The chunks of a WebP file. */
export function webpChunks(webp: Uint8Array): string[] {
  const buffer = Buffer.from(webp);
  const chunks: string[] = [];
  for (let at = 12; at < buffer.length; at += 8 + buffer.readUInt32LE(at + 4) + (buffer.readUInt32LE(at + 4) % 2)) {
    chunks.push(buffer.toString("latin1", at, at + 4));
  }
  return chunks;
}
