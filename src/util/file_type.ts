/** The type of a file, by its first bytes and never by its name. */

/** How many bytes are enough to recognize a type. */
export const RECOGNIZED_BY_BYTES = 64 * 1024;

export const UNKNOWN_TYPE = "application/octet-stream";

/** Images that this server decodes, and so can show. */
const IMAGES = ["image/jpeg", "image/png", "image/webp", "image/gif"] as const;
export type ImageType = (typeof IMAGES)[number];

/** Types that browsers show in place: they contain no scripts. */
const INLINE: ReadonlySet<string> = new Set([
  ...IMAGES,
  "audio/mpeg",
  "audio/mp4",
  "audio/ogg",
  "audio/wav",
  "audio/flac",
  "audio/aac",
  "audio/webm",
  "video/mp4",
  "video/ogg",
  "video/webm",
  "video/quicktime",
]);

export function isInline(type: string): boolean {
  return INLINE.has(type);
}

export function isImage(type: string): type is ImageType {
  return (IMAGES as readonly string[]).includes(type);
}

/**
 * @param announced decides only between audio and video, in containers of both
 * @returns `UNKNOWN_TYPE` unless recognized
 */
export function recognizeType(start: Uint8Array, announced: string): string {
  const bytes = Buffer.from(start.buffer, start.byteOffset, Math.min(start.length, RECOGNIZED_BY_BYTES));
  const head = bytes.toString("latin1", 0, 64);
  const audioOr = (video: string, audio: string) => (announced.startsWith("audio/") ? audio : video);
  if (head.startsWith("\xff\xd8\xff")) return "image/jpeg";
  if (head.startsWith("\x89PNG\r\n\x1a\n")) return "image/png";
  if (/^GIF8[79]a/.test(head)) return "image/gif";
  if (/^RIFF[^]{4}WEBP/.test(head)) return "image/webp";
  if (/^RIFF[^]{4}WAVE/.test(head)) return "audio/wav";
  if (head.startsWith("fLaC")) return "audio/flac";
  if (head.startsWith("OggS")) return /theora|\x80theora/.test(head) ? "video/ogg" : audioOr("video/ogg", "audio/ogg");
  if (head.startsWith("\x1aE\xdf\xa3"))
    return bytes.includes("webm") ? audioOr("video/webm", "audio/webm") : UNKNOWN_TYPE;
  if (head.startsWith("ID3") || /^\xff[\xfa\xfb\xf2\xf3]/.test(head)) return "audio/mpeg";
  if (/^\xff[\xf1\xf9]/.test(head)) return "audio/aac";
  if (head.startsWith("%PDF-")) return "application/pdf";
  if (head.startsWith("PK\x03\x04")) return "application/zip";
  return isoType(head, audioOr) ?? (isTiff(head) ? "image/tiff" : UNKNOWN_TYPE);
}

/** ISO base media files: MP4, QuickTime, HEIC and AVIF. */
function isoType(head: string, audioOr: (video: string, audio: string) => string): string | undefined {
  if (head.slice(4, 8) !== "ftyp") return undefined;
  const brand = head.slice(8, 12);
  if (/^(hei[cxms]|hev[cxms]|mif1|msf1)$/.test(brand)) return "image/heic";
  if (/^avi[fs]$/.test(brand)) return "image/avif";
  if (brand === "qt  ") return "video/quicktime";
  if (/^M4[AB] $/.test(brand)) return "audio/mp4";
  return /^(iso\w|mp4\d|avc\d|dash|M4V |MSNV|3gp\w|f4v )$/.test(brand) ? audioOr("video/mp4", "audio/mp4") : undefined;
}

/** TIFF, and the raw formats of cameras, which are TIFF. */
function isTiff(head: string): boolean {
  return /^(II\*\0|MM\0\*|II\+\0|MM\0\+|IIRO|IIRS|IIU\0)/.test(head);
}

/** Images with metadata that this server cannot remove. */
export function isOpaqueImage(type: string): boolean {
  return type === "image/heic" || type === "image/avif" || type === "image/tiff";
}
