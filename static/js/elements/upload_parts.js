/** The file in the bubble of a pending message: its picture or name, the progress, and a button to cancel. Loaded on demand. */

import { importAgain } from "../util/dom.js";
import { percentText, sizeText } from "../util/file_size.js";
import { extendTranslations, t } from "../util/translate.js";
import { icon, iconButton, ready as actionsReady } from "./action_parts.js";
import { loadStyle, make } from "./dialogs.js";

/** @import { PendingFile } from "../store/pending.js" */
/** @import { FileUploads } from "../sync/file_uploads.js" */

/** Longest side of a small picture, in CSS pixels, twice for sharp screens. */
const THUMBNAIL_PX = 640;

/** Resolves once texts and styles are loaded. */
export const ready = Promise.all([
  actionsReady,
  loadStyle("attachments.css"),
  extendTranslations({
    en: () => importAgain(() => import("../translations/uploads_en.js"), "translations/uploads_en.js"),
    el: () => importAgain(() => import("../translations/uploads_el.js"), "translations/uploads_el.js"),
  }),
]);

/** @type {FileUploads | undefined} */
let uploads;

/** Shows the state of these uploads from now on. @param {FileUploads} shown */
export function followUploads(shown) {
  uploads = shown;
  shown.on("progress", ({ ref, file, state }) => {
    const row = document.querySelector(`chat-thread [data-ref="${CSS.escape(ref)}"]`);
    if (row instanceof HTMLElement) showUpload(row, state === "failed" ? undefined : file);
  });
  document.dispatchEvent(new Event("extras"));
  for (const part of document.querySelectorAll(".upload")) if (part instanceof HTMLElement) void drawInto(part);
}

/**
 * Shows the file of a pending message in its row, or removes it.
 * @param {HTMLElement} row
 * @param {PendingFile | undefined} file
 */
export function showUpload(row, file) {
  let part = /** @type {HTMLElement | null} */ (row.querySelector(".upload"));
  if (!file) return part?.remove();
  if (part?.dataset.key !== file.key) {
    part?.remove();
    part = makeUpload(file);
    row.querySelector(".text")?.before(part);
    void drawInto(part);
  }
  const { part: sent, isPaused } = uploads?.stateOf(file) ?? { part: 0, isPaused: true };
  const isFailed = row.querySelector(".failure") !== null;
  const bar = /** @type {HTMLProgressElement} */ (part.querySelector("progress"));
  bar.value = sent;
  bar.hidden = isFailed;
  /** @type {HTMLElement} */ (part.querySelector("button")).hidden = isFailed || file.id !== "";
  const text = isPaused ? t("upload_paused") : t("upload_part", { part: percentText(sent), size: sizeText(file.size) });
  /** @type {HTMLElement} */ (part.querySelector(".size")).textContent = isFailed ? sizeText(file.size) : text;
}

/**
 * Draws an image so that it fits a square, and releases it.
 * @param {HTMLCanvasElement} canvas
 * @param {ImageBitmap} image
 */
export function drawThumbnail(canvas, image) {
  const scale = Math.min(1, THUMBNAIL_PX / Math.max(image.width, image.height));
  canvas.width = Math.max(1, Math.round(image.width * scale));
  canvas.height = Math.max(1, Math.round(image.height * scale));
  canvas.getContext("2d")?.drawImage(image, 0, 0, canvas.width, canvas.height);
}

/** @param {PendingFile} file */
function makeUpload({ key, name, width, height }) {
  const part = make("div");
  part.className = "upload";
  part.dataset.key = key;
  const about = make("div");
  about.className = "about";
  const title = make("span", name);
  title.className = "name";
  title.dir = "auto";
  const size = make("span");
  size.className = "size";
  const progress = make("progress");
  progress.max = 1;
  progress.setAttribute("aria-label", name);
  const cancel = iconButton("x", t("upload_cancel", { name }));
  cancel.className = "round cancel-upload";
  about.append(title, size, progress);
  if (width && height) {
    const canvas = make("canvas");
    canvas.width = width; // reserves the space
    canvas.height = height;
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", name);
    part.classList.add("picture");
    part.append(canvas);
  } else part.append(icon("file"));
  part.append(about, cancel);
  return part;
}

/** Draws the picture once its bytes can be read. @param {HTMLElement} part */
async function drawInto(part) {
  const canvas = part.querySelector("canvas");
  if (!canvas || !uploads || canvas.dataset.drawn !== undefined) return;
  canvas.dataset.drawn = "";
  const bytes = await uploads.bytes(part.dataset.key ?? "").catch(() => undefined);
  const image = bytes && (await createImageBitmap(bytes).catch(() => undefined));
  if (!image) return;
  drawThumbnail(canvas, image);
  image.close();
}
