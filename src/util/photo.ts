/**
 * Makes the stored form of a photo from an untrusted image: a small square, newly encoded, so that
 * nothing of the original but its pixels remains.
 */

import { ChatError } from "../errors.ts";
import { decodePng, encodePng, isIntactPng, RGBA } from "./png.ts";

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
    const square = await croppedPng(await decoded.png({ compressionLevel: 1 }).bytes());
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
export function isWholeJpeg(image: Uint8Array): boolean {
  for (let at = 2; at + 1 < image.length;) {
    const marker = image[at + 1] as number;
    const isMarker = image[at] === 0xff && marker !== 0x00 && marker !== 0xff && (marker < 0xd0 || marker > 0xd7);
    if (!isMarker) at++;
    else if (marker === 0xd9) return true;
    else at += 2 + (((image[at + 2] ?? 0) << 8) | (image[at + 3] ?? 0)); // skips a thumbnail with its own end
  }
  return false;
}

/** Crops a PNG to its central square: `Bun.Image` cannot crop. */
async function croppedPng(png: Uint8Array): Promise<Uint8Array> {
  const { width, height, bytes } = await decodePng(png);
  const side = Math.min(width, height);
  const [left, top] = [(width - side) >> 1, (height - side) >> 1];
  const square = Buffer.alloc(side * side * RGBA);
  for (let y = 0; y < side; y++) {
    const from = ((top + y) * width + left) * RGBA;
    bytes.copy(square, y * side * RGBA, from, from + side * RGBA);
  }
  return encodePng({ width: side, height: side, bytes: square });
}
