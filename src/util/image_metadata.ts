/**
 * Removes metadata from images without touching their pixels. Keeps only listed parts, so it
 * drops metadata of any kind and anything after the image.
 */

import type { ImageType } from "./file_type.ts";

/** The image is damaged, or its structure is not understood. */
export class ImageStructureError extends Error {}

/**
 * The same image without metadata. A JPEG keeps its orientation, and all keep their color profile and animation.
 *
 * @throws ImageStructureError
 */
export function withoutMetadata(image: Uint8Array, type: ImageType): Uint8Array {
  const buffer = Buffer.from(image.buffer, image.byteOffset, image.length);
  try {
    return STRIP[type](buffer);
  } catch (error) {
    if (error instanceof RangeError) throw new ImageStructureError("ends too early", { cause: error });
    throw error;
  }
}

/** Real images have a few thousand; millions of tiny ones would fill memory. */
const PARTS_MAX = 20_000;

/** What is kept of an image, in order. */
class Parts {
  readonly #parts: Buffer[] = [];

  add(part: Buffer, at = this.#parts.length): void {
    if (this.#parts.length >= PARTS_MAX) throw new ImageStructureError("too many parts");
    this.#parts.splice(at, 0, part);
  }

  join(): Buffer {
    return Buffer.concat(this.#parts);
  }
}

const STRIP: Readonly<Record<ImageType, (image: Buffer) => Buffer>> = {
  "image/jpeg": stripJpeg,
  "image/png": stripPng,
  "image/webp": stripWebp,
  "image/gif": stripGif,
};

/** `buffer.subarray`, which must not end too early. */
function slice(buffer: Buffer, from: number, to: number): Buffer {
  if (to > buffer.length || to < from) throw new ImageStructureError("ends too early");
  return buffer.subarray(from, to);
}

/** The Exif tag, and its place among markers (ITU-T T.81 §B, Exif 2.32 §4.6). */
const ORIENTATION = 0x0112;
const [SOI, EOI, SOS, APP0, APP1, APP2, APP14] = [0xd8, 0xd9, 0xda, 0xe0, 0xe1, 0xe2, 0xee];

function stripJpeg(jpeg: Buffer): Buffer {
  const kept = new Parts();
  kept.add(jpeg.subarray(0, 2));
  let orientation = 1;
  let at = 2;
  for (;;) {
    while (jpeg.readUInt8(at) === 0xff && jpeg.readUInt8(at + 1) === 0xff) at++; // fill bytes
    if (jpeg.readUInt8(at) !== 0xff) throw new ImageStructureError("no marker");
    const marker = jpeg.readUInt8(at + 1);
    if (marker === EOI) break;
    if (marker === SOI || (marker >= 0xd0 && marker <= 0xd7)) throw new ImageStructureError("misplaced marker");
    const end = at + 2 + jpeg.readUInt16BE(at + 2);
    const segment = slice(jpeg, at, end);
    if (marker === APP1 && segment.toString("latin1", 4, 10) === "Exif\0\0")
      orientation = exifOrientation(segment.subarray(10));
    if (isKeptJpegSegment(marker, segment)) kept.add(segment);
    at = end;
    if (marker !== SOS) continue;
    at = endOfScan(jpeg, at);
    kept.add(slice(jpeg, end, at));
  }
  if (orientation !== 1) kept.add(orientationSegment(orientation), 1);
  kept.add(Buffer.from([0xff, EOI])); // without what follows: more pictures, a video, their places
  return kept.join();
}

function isKeptJpegSegment(marker: number, segment: Buffer): boolean {
  if (marker === 0xfe) return false; // a comment
  if (marker < 0xe0 || marker > 0xef) return true; // tables, frames and scans
  if (marker === APP0) return segment.length <= 18; // JFIF without a thumbnail
  if (marker === APP2) return segment.toString("latin1", 4, 16) === "ICC_PROFILE\0";
  return marker === APP14 && segment.toString("latin1", 4, 9) === "Adobe"; // how its colors are encoded
}

/** The place of the next marker that is neither data nor a restart. */
function endOfScan(jpeg: Buffer, from: number): number {
  for (let at = from; ; at++) {
    at = jpeg.indexOf(0xff, at);
    if (at < 0) throw new ImageStructureError("ends too early");
    const next = jpeg.readUInt8(at + 1);
    if (next !== 0 && next !== 0xff && (next < 0xd0 || next > 0xd7)) return at;
  }
}

/** @returns 1 if there is none that is valid */
function exifOrientation(tiff: Buffer): number {
  try {
    const isLittle = tiff.toString("latin1", 0, 2) === "II";
    const [u16, u32] = isLittle
      ? [(at: number) => tiff.readUInt16LE(at), (at: number) => tiff.readUInt32LE(at)]
      : [(at: number) => tiff.readUInt16BE(at), (at: number) => tiff.readUInt32BE(at)];
    const directory = u32(4);
    for (let i = 0; i < u16(directory); i++) {
      const entry = directory + 2 + i * 12;
      if (u16(entry) !== ORIENTATION) continue;
      const value = u16(entry + 8);
      return value >= 1 && value <= 8 ? value : 1;
    }
  } catch {
    // damaged metadata is no reason to reject the image
  }
  return 1;
}

/** Exif data with the orientation and nothing else. */
function orientationSegment(orientation: number): Buffer {
  const tiff = ["4d4d002a00000008", "0001", "0112000300000001", `000${orientation}0000`, "00000000"].join("");
  const data = Buffer.concat([Buffer.from("Exif\0\0"), Buffer.from(tiff, "hex")]);
  const head = Buffer.from([0xff, APP1, 0, data.length + 2]);
  return Buffer.concat([head, data]);
}

/** Chunks that pixels, colors and animation need (PNG 3rd edition §11). */
const PNG_CHUNKS = /^(IHDR|PLTE|IDAT|IEND|tRNS|cHRM|gAMA|iCCP|sBIT|sRGB|cICP|bKGD|pHYs|acTL|fcTL|fdAT)$/;

function stripPng(png: Buffer): Buffer {
  const kept = new Parts();
  kept.add(png.subarray(0, 8));
  for (let at = 8; ;) {
    const end = at + 12 + png.readUInt32BE(at);
    const type = png.toString("latin1", at + 4, at + 8);
    const chunk = slice(png, at, end);
    if (PNG_CHUNKS.test(type)) kept.add(chunk);
    if (type === "IEND") return kept.join();
    at = end;
  }
}

const WEBP_CHUNKS = /^(VP8 |VP8L|VP8X|ALPH|ANIM|ANMF|ICCP)$/;
/** Flags of VP8X that announce Exif and XMP. */
const WEBP_METADATA_FLAGS = 0b0000_1100;

function stripWebp(webp: Buffer): Buffer {
  const end = 8 + webp.readUInt32LE(4);
  const kept = new Parts();
  for (let at = 12; at < end;) {
    const length = webp.readUInt32LE(at + 4);
    const type = webp.toString("latin1", at, at + 4);
    const next = at + 8 + length + (length % 2);
    const chunk = Buffer.from(slice(webp, at, next));
    if (type === "VP8X") chunk[8] = (chunk[8] as number) & ~WEBP_METADATA_FLAGS;
    if (WEBP_CHUNKS.test(type)) kept.add(chunk);
    at = next;
  }
  const body = Buffer.concat([Buffer.from("WEBP"), kept.join()]);
  const head = Buffer.from("RIFF\0\0\0\0");
  head.writeUInt32LE(body.length, 4);
  return Buffer.concat([head, body]);
}

const [EXTENSION, IMAGE, TRAILER, APPLICATION, COMMENT, PLAIN_TEXT] = [0x21, 0x2c, 0x3b, 0xff, 0xfe, 0x01];

function stripGif(gif: Buffer): Buffer {
  let at = 13 + tableBytes(gif.readUInt8(10));
  const kept = new Parts();
  kept.add(slice(gif, 0, at));
  for (;;) {
    const start = at;
    const kind = gif.readUInt8(at);
    if (kind === TRAILER) {
      kept.add(Buffer.from([TRAILER]));
      return kept.join();
    }
    if (kind === IMAGE) at += 11 + tableBytes(gif.readUInt8(at + 9));
    else if (kind === EXTENSION) at += 2;
    else throw new ImageStructureError("unknown block");
    while (gif.readUInt8(at) !== 0) at += 1 + gif.readUInt8(at);
    at++;
    if (kind === IMAGE || isKeptGifExtension(gif, start)) kept.add(slice(gif, start, at));
  }
}

/** The size of the color table that follows these flags. */
function tableBytes(flags: number): number {
  return flags & 0x80 ? 3 * 2 ** ((flags & 7) + 1) : 0;
}

function isKeptGifExtension(gif: Buffer, at: number): boolean {
  const label = gif.readUInt8(at + 1);
  if (label === APPLICATION) return /^(NETSCAPE2\.0|ANIMEXTS1\.0)$/.test(gif.toString("latin1", at + 3, at + 14)); // loops
  return label !== COMMENT && label !== PLAIN_TEXT;
}
