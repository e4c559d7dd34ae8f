/** Checks an image, removes its metadata and makes its preview. Decoding runs on Bun's threads. */

import { ChatError } from "../errors.ts";
import type { ImageType } from "../util/file_type.ts";
import { withoutMetadata } from "../util/image_metadata.ts";
import { isWholeJpeg } from "../util/photo.ts";
import { decodePng, isIntactPng, RGBA } from "../util/png.ts";
import { CHUNK_BYTES } from "./chunk_store.ts";

/** 24 million pixels take 96 MB to decode; the page scales larger pictures down. */
export const PIXELS_MAX = 24_000_000;
/** Larger images are files: their bytes are held in memory while they are decoded. */
export const PICTURE_MAX_BYTES = 32 * 1024 * 1024;
const PREVIEW_SIDE = 960;
/** Columns and rows of a placeholder: 36 bytes. */
const PLACEHOLDER = { columns: 4, rows: 3 } as const;
/** Noise fits at 30. */
const QUALITIES = [75, 55, 30, 10, 1];

export interface Picture {
  /** Without metadata. */
  readonly bytes: Uint8Array;
  /** As shown, with the orientation applied. */
  readonly width: number;
  readonly height: number;
  /** WebP of at most 960 pixels a side, in one chunk. */
  readonly preview: Uint8Array;
  /** What to show until the preview has loaded: the colors of 4 × 3 equal parts, row by row, as RGB in base64. */
  readonly placeholder: string;
}

/** @throws ChatError `bad_image`: damaged, truncated or too many pixels */
export async function makePicture(image: Uint8Array, type: ImageType): Promise<Picture> {
  try {
    const isDamaged = type === "image/jpeg" ? !isWholeJpeg(image) : type === "image/png" && !isIntactPng(image);
    if (isDamaged) throw new ChatError("bad_image");
    // mutation: pictures without metadata
    const bytes = withoutMetadata(image, type);
    const options = { maxPixels: PIXELS_MAX };
    const { width, height } = await new Bun.Image(bytes, options).metadata(); // with the orientation applied
    const scale = Math.min(1, PREVIEW_SIDE / Math.max(width, height));
    const side = (length: number) => Math.max(1, Math.round(length * scale));
    let scaled = new Bun.Image(bytes, options).resize(side(width), side(height));
    for (const quality of QUALITIES) {
      const preview = await scaled.webp({ quality }).bytes();
      scaled = new Bun.Image(preview); // if it is too large: decoding the picture again would take longer
      if (preview.length > CHUNK_BYTES) continue;
      return { bytes, width, height, preview, placeholder: await placeholderOf(preview) };
    }
  } catch (error) {
    if (error instanceof ChatError) throw error;
    const isTooLarge = error instanceof Error && "code" in error && error.code === "ERR_IMAGE_TOO_MANY_PIXELS";
    const message = `The image has more than ${PIXELS_MAX / 1e6} million pixels. Send it as a file`;
    throw new ChatError("bad_image", { ...(isTooLarge && { message }), cause: error });
  }
  throw new ChatError("bad_image");
}

async function placeholderOf(preview: Uint8Array): Promise<string> {
  const { columns, rows } = PLACEHOLDER;
  const png = await new Bun.Image(preview).resize(columns, rows, { fit: "fill", filter: "box" }).png().bytes();
  const { bytes } = await decodePng(png);
  const colors = Buffer.alloc(columns * rows * 3);
  for (let i = 0; i < columns * rows; i++) {
    const alpha = (bytes[i * RGBA + 3] as number) / 255;
    for (let k = 0; k < 3; k++) colors[i * 3 + k] = alpha * (bytes[i * RGBA + k] as number) + (1 - alpha) * 255; // on white
  }
  return colors.toString("base64");
}
