/**
 * Makes the stored form of a photo from an untrusted image: a small square, newly encoded, so that
 * nothing of the original but its pixels remains.
 */

import { promisify } from "node:util";
import { deflate, inflate } from "node:zlib";

import { ChatError } from "../errors.ts";

/** Side of the square: 96 px at twice the density. */
export const PHOTO_SIDE = 192;
export const PHOTO_MAX_BYTES = 20 * 1024;
/** 24 million take 96 MB to decode; phones beyond that are scaled down by the page. */
const PIXELS_MAX = 24_000_000;
/** Longer images would be scaled to more than `PHOTO_SIDE` × this. */
const ASPECT_MAX = 8;
const DAMAGED = "The photo is damaged or incomplete";
/** Random noise fits at 30. */
const QUALITIES = [85, 70, 50, 30, 10, 1];

/** A photo as stored. `version`: a digest of its bytes. */
export interface Photo {
  readonly bytes: Uint8Array;
  readonly version: string;
}

/**
 * Decodes an image, applies its orientation, crops it to a square from its center, and encodes it
 * without metadata as WebP.
 *
 * @throws ChatError `bad_photo`: not a JPEG, PNG or WebP by its bytes, damaged, truncated, too many
 *   pixels, or too long
 */
export async function makePhoto(image: Uint8Array): Promise<Photo> {
  if (!isRasterImage(image)) throw new ChatError("bad_photo");
  if (!isIntact(image)) throw new ChatError("bad_photo", { message: DAMAGED });
  try {
    const options = { maxPixels: PIXELS_MAX };
    const { width, height } = await new Bun.Image(image, options).metadata(); // with the orientation applied
    const [short, long] = [Math.min(width, height), Math.max(width, height)];
    if (short === 0 || long > short * ASPECT_MAX) {
      throw new ChatError("bad_photo", { message: `The photo is more than ${ASPECT_MAX} times as long as wide` });
    }
    const scaled = (side: number) => Math.round((side * PHOTO_SIDE) / short);
    const decoded = new Bun.Image(image, options).resize(scaled(width), scaled(height));
    const square = await cropPng(await decoded.png({ compressionLevel: 1 }).bytes());
    // mutation: photos without metadata
    for (const quality of QUALITIES) {
      const bytes = await new Bun.Image(square).webp({ quality }).bytes();
      if (bytes.length <= PHOTO_MAX_BYTES) return { bytes, version: versionOf(bytes) };
    }
  } catch (error) {
    if (error instanceof ChatError) throw error;
    const isTooLarge = codeOf(error) === "ERR_IMAGE_TOO_MANY_PIXELS";
    const message = isTooLarge ? `The photo has more than ${PIXELS_MAX / 1e6} million pixels` : DAMAGED;
    throw new ChatError("bad_photo", { message, cause: error });
  }
  throw new ChatError("bad_photo", { message: "The photo has too much detail" });
}

function versionOf(bytes: Uint8Array): string {
  return new Bun.CryptoHasher("sha256").update(bytes).digest("base64url").slice(0, 16);
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && "code" in error ? error.code : undefined;
}

/**
 * Whether the bytes begin as a format that this server decodes itself on every system. GIF, BMP,
 * HEIC and the like would add decoders, and the page converts them.
 */
function isRasterImage(image: Uint8Array): boolean {
  const start = Buffer.from(image.buffer, image.byteOffset, Math.min(image.length, 16)).toString("latin1");
  const isWebp = start.startsWith("RIFF") && start.startsWith("WEBP", 8);
  return isWebp || start.startsWith("\x89PNG\r\n\x1a\n") || start.startsWith("\xff\xd8\xff");
}

/** Whether no damage is found that Bun would decode. JPEG and WebP have no checksums. */
function isIntact(image: Uint8Array): boolean {
  if (image[0] === 0x89) return isIntactPng(image);
  return image[0] !== 0xff || isWholeJpeg(image);
}

/** Whether a JPEG has its end marker: Bun fills what is missing with gray (ITU-T T.81 annex B). */
function isWholeJpeg(image: Uint8Array): boolean {
  for (let at = 2; at + 1 < image.length;) {
    const marker = image[at + 1] as number;
    const isMarker = image[at] === 0xff && marker !== 0x00 && marker !== 0xff && (marker < 0xd0 || marker > 0xd7);
    if (!isMarker) at++;
    else if (marker === 0xd9) return true;
    else at += 2 + (((image[at + 2] ?? 0) << 8) | (image[at + 3] ?? 0)); // skips a thumbnail with its own end
  }
  return false;
}

/** Whether the checksums of a PNG are right, which Bun does not check. */
function isIntactPng(image: Uint8Array): boolean {
  const buffer = Buffer.from(image.buffer, image.byteOffset, image.length);
  for (let at = FIRST_CHUNK, end; at + 12 <= buffer.length; at = end) {
    end = at + 12 + buffer.readUInt32BE(at);
    if (end > buffer.length) return false;
    if (Bun.hash.crc32(buffer.subarray(at + 4, end - 4)) !== buffer.readUInt32BE(end - 4)) return false;
    if (buffer.toString("latin1", at + 4, at + CHUNK_DATA) === "IEND") return true;
  }
  return false;
}

const RGBA = 4;
/** Offset of the first chunk of a PNG, and of the data in a chunk. */
const [FIRST_CHUNK, CHUNK_DATA] = [8, 8];

/**
 * Crops a PNG as Bun encodes it, 8-bit RGBA and not interlaced, to its central square: `Bun.Image`
 * cannot crop.
 */
async function cropPng(png: Uint8Array): Promise<Uint8Array> {
  const buffer = Buffer.from(png.buffer, png.byteOffset, png.length);
  const [width, height] = [buffer.readUInt32BE(16), buffer.readUInt32BE(20)];
  const format = buffer.toString("hex", 24, 29);
  if (format !== "0806000000") throw new TypeError(`not the PNG format that Bun encodes: ${format}`);
  const parts: Buffer[] = [];
  for (let at = FIRST_CHUNK; at < buffer.length;) {
    const length = buffer.readUInt32BE(at);
    const data = at + CHUNK_DATA;
    if (buffer.toString("latin1", at + 4, data) === "IDAT") parts.push(buffer.subarray(data, data + length));
    at = data + length + 4;
  }
  const pixels = unfilter(await promisify(inflate)(Buffer.concat(parts)), width * RGBA);
  const side = Math.min(width, height);
  const [left, top] = [(width - side) >> 1, (height - side) >> 1];
  const rows = Buffer.alloc(side * (1 + side * RGBA)); // filter type 0 before each row
  for (let y = 0; y < side; y++) {
    const from = ((top + y) * width + left) * RGBA;
    pixels.copy(rows, y * (1 + side * RGBA) + 1, from, from + side * RGBA);
  }
  const header = Buffer.from(buffer.subarray(16, 29));
  header.writeUInt32BE(side, 0);
  header.writeUInt32BE(side, 4);
  return Buffer.concat([
    buffer.subarray(0, FIRST_CHUNK),
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
