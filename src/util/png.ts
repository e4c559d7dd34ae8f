/**
 * PNG files: their checksums; and the pixels of those that Bun encodes, 8-bit RGBA and not
 * interlaced, since `Bun.Image` gives no other access to pixels.
 */

import { promisify } from "node:util";
import { deflate, inflate } from "node:zlib";

export const RGBA = 4;
const SIGNATURE = Buffer.from("89504e470d0a1a0a", "hex");
/** Offset of the data in a chunk. */
const CHUNK_DATA = 8;

/** Whether the checksums of a PNG are right, which Bun does not check. */
export function isIntactPng(image: Uint8Array): boolean {
  const buffer = Buffer.from(image.buffer, image.byteOffset, image.length);
  for (let at = SIGNATURE.length, end; at + 12 <= buffer.length; at = end) {
    end = at + 12 + buffer.readUInt32BE(at);
    if (end > buffer.length) return false;
    if (Bun.hash.crc32(buffer.subarray(at + 4, end - 4)) !== buffer.readUInt32BE(end - 4)) return false;
    if (buffer.toString("latin1", at + 4, at + CHUNK_DATA) === "IEND") return true;
  }
  return false;
}

/** Rows from the top, `RGBA` bytes per pixel. */
export interface Pixels {
  readonly width: number;
  readonly height: number;
  readonly bytes: Buffer;
}

/** @param png encoded by `Bun.Image` @throws TypeError for other PNG formats */
export async function decodePng(png: Uint8Array): Promise<Pixels> {
  const buffer = Buffer.from(png.buffer, png.byteOffset, png.length);
  const [width, height] = [buffer.readUInt32BE(16), buffer.readUInt32BE(20)];
  const format = buffer.toString("hex", 24, 29);
  if (format !== "0806000000") throw new TypeError(`not the PNG format that Bun encodes: ${format}`);
  const parts: Buffer[] = [];
  for (let at = SIGNATURE.length; at < buffer.length;) {
    const length = buffer.readUInt32BE(at);
    const data = at + CHUNK_DATA;
    if (buffer.toString("latin1", at + 4, data) === "IDAT") parts.push(buffer.subarray(data, data + length));
    at = data + length + 4;
  }
  return { width, height, bytes: unfilter(await promisify(inflate)(Buffer.concat(parts)), width * RGBA) };
}

/** Encodes pixels quickly, without regard to size. */
export async function encodePng({ width, height, bytes }: Pixels): Promise<Uint8Array> {
  const rowBytes = width * RGBA;
  const rows = Buffer.alloc(height * (1 + rowBytes)); // filter type 0 before each row
  for (let y = 0; y < height; y++) bytes.copy(rows, y * (1 + rowBytes) + 1, y * rowBytes, (y + 1) * rowBytes);
  const header = Buffer.from("00000000000000000806000000", "hex");
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  return Buffer.concat([
    SIGNATURE,
    chunk("IHDR", header),
    chunk("IDAT", await promisify(deflate)(rows, { level: 1 })),
    chunk("IEND", Buffer.alloc(0)),
  ]);
}

/** Reverses the filters of PNG rows (PNG specification, §9). */
function unfilter(filtered: Buffer, rowBytes: number): Buffer {
  const height = filtered.length / (rowBytes + 1);
  const pixels = Buffer.alloc(height * rowBytes);
  for (let y = 0; y < height; y++) {
    const type = filtered[y * (rowBytes + 1)];
    for (let x = 0; x < rowBytes; x++) {
      const at = y * rowBytes + x;
      const left = x < RGBA ? 0 : (pixels[at - RGBA] as number);
      const up = y === 0 ? 0 : (pixels[at - rowBytes] as number);
      const upLeft = x < RGBA || y === 0 ? 0 : (pixels[at - rowBytes - RGBA] as number);
      const predicted = [0, left, up, (left + up) >> 1, paeth(left, up, upLeft)][type as number] as number;
      pixels[at] = (filtered[at + y + 1] as number) + predicted;
    }
  }
  return pixels;
}

function paeth(left: number, up: number, upLeft: number): number {
  const estimate = left + up - upLeft;
  const [a, b, c] = [Math.abs(estimate - left), Math.abs(estimate - up), Math.abs(estimate - upLeft)];
  return a <= b && a <= c ? left : b <= c ? up : upLeft;
}

function chunk(type: string, data: Buffer): Buffer {
  const bytes = Buffer.alloc(12 + data.length);
  bytes.writeUInt32BE(data.length, 0);
  bytes.write(type, 4, "latin1");
  data.copy(bytes, CHUNK_DATA);
  bytes.writeUInt32BE(Bun.hash.crc32(bytes.subarray(4, CHUNK_DATA + data.length)), CHUNK_DATA + data.length);
  return bytes;
}
