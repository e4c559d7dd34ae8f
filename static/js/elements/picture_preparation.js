/** Makes pictures ready to send: smaller, upright, and without metadata. Loaded on demand. */

/** @import { MessageFile } from "../store/message_window.js" */

/** @typedef {{ bytes: Blob, name: string, image: ImageBitmap, shown: Pick<MessageFile, "width" | "height" | "placeholder"> }} Picture `shown`: as the server describes it */

const SIDE_MAX_PX = 2_560;
const QUALITY = 0.85;
/** What the server's placeholder has: the colors of 4 × 3 parts. */
const PLACEHOLDER = { width: 4, height: 3 };
/** @type {Record<string, string>} */
const EXTENSIONS = { "image/jpeg": "jpg", "image/png": "png", "image/webp": "webp" };

/** Whether a file is sent as a picture, unless the user prefers a file. @param {File} file */
export function isPicture({ type }) {
  return type.startsWith("image/") && !type.startsWith("image/svg");
}

/**
 * Scales and encodes a picture. Drawing applies its orientation and drops its metadata. Animations
 * keep their bytes; the server removes the metadata.
 * @param {File} file
 * @returns {Promise<Picture>} rejects when the browser cannot decode it
 */
export async function preparePicture(file) {
  const image = await createImageBitmap(file);
  const scale = Math.min(1, SIDE_MAX_PX / Math.max(image.width, image.height));
  const width = Math.max(1, Math.round(image.width * scale));
  const height = Math.max(1, Math.round(image.height * scale));
  const shown = { width, height, placeholder: placeholderOf(image) };
  if (file.type === "image/gif") return { bytes: file, name: file.name, image, shown: { ...shown, ...sizeOf(image) } };
  // Screenshots stay sharp, and transparency stays.
  const type = /^image\/(?:png|webp)$/.test(file.type) ? "image/webp" : "image/jpeg";
  const bytes = await encode(draw(image, width, height).canvas, type);
  const extension = EXTENSIONS[bytes.type] ?? "jpg";
  const isNamedSo =
    extension === "jpg" ? /\.jpe?g$/i.test(file.name) : file.name.toLowerCase().endsWith(`.${extension}`);
  const name = isNamedSo ? file.name : `${file.name.replace(/\.[^.]*$/, "")}.${extension}`;
  return { bytes, name, image, shown };
}

/** The pixels and the placeholder of a picture that is sent unchanged. @param {ImageBitmap} image */
export function describe(image) {
  return { ...sizeOf(image), placeholder: placeholderOf(image) };
}

/** @param {ImageBitmap} image */
function sizeOf({ width, height }) {
  return { width, height };
}

/** @param {ImageBitmap} image */
function placeholderOf(image) {
  const { width, height } = PLACEHOLDER;
  const { data } = draw(image, width, height).context.getImageData(0, 0, width, height);
  return btoa(String.fromCharCode(...data.filter((_, index) => index % 4 < 3)));
}

/**
 * @param {ImageBitmap} image
 * @param {number} width
 * @param {number} height
 */
function draw(image, width, height) {
  const canvas = makeCanvas(width, height);
  const context = /** @type {OffscreenCanvasRenderingContext2D | null} */ (canvas.getContext("2d"));
  if (!context) throw new Error("no memory for a canvas");
  context.imageSmoothingQuality = "high";
  context.drawImage(image, 0, 0, width, height);
  return { canvas, context };
}

/**
 * @param {number} width
 * @param {number} height
 * @returns {OffscreenCanvas | HTMLCanvasElement}
 */
function makeCanvas(width, height) {
  if (typeof OffscreenCanvas === "function") return new OffscreenCanvas(width, height);
  return Object.assign(document.createElement("canvas"), { width, height });
}

/**
 * @param {OffscreenCanvas | HTMLCanvasElement} canvas
 * @param {string} type browsers that cannot write it write PNG
 * @returns {Promise<Blob>}
 */
async function encode(canvas, type) {
  if ("convertToBlob" in canvas) return canvas.convertToBlob({ type, quality: QUALITY });
  return new Promise((resolve, reject) => {
    canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error("could not encode"))), type, QUALITY);
  });
}
