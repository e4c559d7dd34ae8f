/** A file served from memory: compressed once, with a strong ETag per encoding. */

import { promisify } from "node:util";
import { brotliCompress, constants, gzip, zstdCompress } from "node:zlib";

import { DATA_HEADERS, FILE_HEADERS, HEADERS, type Request } from "./request.ts";

const CSP = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self'",
  "media-src 'self'",
  "connect-src 'self'",
  "manifest-src 'self'",
  "worker-src 'self'",
  "object-src 'none'",
  "base-uri 'none'",
  "form-action 'self'",
  "frame-ancestors 'none'",
  "require-trusted-types-for 'script'",
  "trusted-types service-worker", // may create one script URL, its own
].join("; ");

const HTML = "text/html; charset=utf-8";
/** No DNS prefetching: a link in a message must not cause a lookup before the user follows it. */
export const PAGE_HEADERS = {
  ...HEADERS,
  "Content-Security-Policy": CSP,
  "X-DNS-Prefetch-Control": "off",
  "Content-Type": HTML,
} as const;

const TYPES: Record<string, string> = {
  html: HTML,
  css: "text/css; charset=utf-8",
  // Always UTF-8 (RFC 9239 §4); a charset would cost 15 bytes in each of forty responses.
  js: "text/javascript",
  svg: "image/svg+xml",
  png: "image/png",
  json: "application/json",
  webmanifest: "application/manifest+json",
};
/** Types that a browser may open as documents; an SVG opened so could run scripts. */
const DOCUMENT_HEADERS: Record<string, Record<string, string>> = {
  [HTML]: PAGE_HEADERS,
  [TYPES["svg"] as string]: DATA_HEADERS,
};
/** Best compression first. Speed does not matter: each file is compressed once. */
const ENCODINGS = ["br", "zstd", "gzip"] as const;
type Encoding = (typeof ENCODINGS)[number] | "identity";
/** Cached `Accept-Encoding` values; clients that invent more are parsed on each request. */
const ACCEPT_CACHE_MAX = 50;

export const IMMUTABLE = "max-age=31536000, immutable";
export type CachePolicy = "no-cache" | "no-store" | typeof IMMUTABLE;

/** Headers are built once per policy: building them took longer than the rest of the response. */
interface Variant {
  readonly bytes: Buffer;
  readonly etag: string;
  readonly headers: Map<CachePolicy, Headers>;
}

export class StaticFile {
  readonly bytes: Buffer;
  readonly type: string;
  readonly #digest: string;
  readonly #variants = new Map<Encoding, Variant>();

  /** @param path decides the type by its extension */
  constructor(path: string, bytes: Buffer) {
    this.bytes = bytes;
    this.type = TYPES[path.slice(path.lastIndexOf(".") + 1)] ?? "application/octet-stream";
    this.#digest = digest(bytes);
    this.#addVariant("identity", bytes);
  }

  get isPage(): boolean {
    return this.type === HTML;
  }

  /** Compresses the file in the background; until then it is served uncompressed. */
  async compress(): Promise<void> {
    const variants = compressed.getOrInsertComputed(this.#digest, () => compressedVariants(this));
    for (const [encoding, bytes] of await variants) this.#addVariant(encoding, bytes);
  }

  respond(request: Request, cache: CachePolicy): Response {
    const accepted = acceptedEncodings(request.headers.get("accept-encoding") ?? "");
    const encoding = accepted.find((encoding) => this.#variants.has(encoding)) ?? "identity";
    const variant = this.#variants.get(encoding) as Variant;
    const headers = variant.headers.getOrInsertComputed(cache, () => this.#headers(encoding, variant.etag, cache));
    const known = request.headers.get("if-none-match");
    if (known === null || !matches(known, variant.etag))
      return new Response(variant.bytes as Uint8Array<ArrayBuffer>, { headers });
    const unencoded = new Headers(headers);
    unencoded.delete("Content-Encoding");
    return new Response(null, { status: 304, headers: unencoded });
  }

  #addVariant(encoding: Encoding, bytes: Buffer): void {
    const etag = encoding === "identity" ? `"${this.#digest}"` : `"${this.#digest}-${encoding}"`;
    this.#variants.set(encoding, { bytes, etag, headers: new Map() });
  }

  #headers(encoding: Encoding, etag: string, cache: CachePolicy): Headers {
    const headers = new Headers(DOCUMENT_HEADERS[this.type] ?? FILE_HEADERS);
    headers.set("Content-Type", this.type);
    headers.set("Cache-Control", cache);
    headers.set("ETag", etag);
    headers.set("Vary", "Accept-Encoding");
    if (encoding !== "identity") headers.set("Content-Encoding", encoding);
    return headers;
  }
}

/** 66 bits: long enough to avoid collisions, short enough for the many URLs of a first visit. */
export function digest(bytes: Buffer): string {
  return new Bun.CryptoHasher("sha256").update(bytes).digest("base64url").slice(0, 11);
}

/** By digest: other apps in this process (in tests) and other versions share most files. */
const compressed = new Map<string, Promise<[Encoding, Buffer][]>>();

/** The encodings that make a file smaller. All files take about 0.4 s together, on Bun's threads. */
async function compressedVariants({ bytes, type }: StaticFile): Promise<[Encoding, Buffer][]> {
  if (type === TYPES["png"]) return [];
  const zstdOptions = { params: { [constants.ZSTD_c_compressionLevel]: 19 } };
  const brOptions = { params: { [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length } };
  const all: [Encoding, Buffer][] = [
    ["gzip", await promisify(gzip)(bytes, { level: 9 })],
    ["zstd", await promisify(zstdCompress)(bytes, zstdOptions)],
    ["br", await promisify(brotliCompress)(bytes, brOptions)],
  ];
  return all.filter(([, smaller]) => smaller.length < bytes.length);
}

/** By `Accept-Encoding`, of which browsers send a handful of values. */
const accepted = new Map<string, readonly Encoding[]>();

function acceptedEncodings(header: string): readonly Encoding[] {
  let encodings = accepted.get(header);
  if (!encodings) {
    encodings = parseAcceptEncoding(header);
    if (accepted.size < ACCEPT_CACHE_MAX) accepted.set(header, encodings);
  }
  return encodings;
}

/** The accepted encodings, best first (RFC 9110 §12.5.3; a weight of 0 forbids one). */
function parseAcceptEncoding(header: string): readonly Encoding[] {
  const parts = header
    .toLowerCase()
    .split(",")
    .map((part) => part.trim().split(/\s*;\s*q=/));
  return ENCODINGS.filter((name) => parts.some(([coding, weight]) => coding === name && Number(weight ?? 1) > 0));
}

/** `If-None-Match` (RFC 9110 §13.1.2): weak comparison, a list, or `*`. */
export function matches(ifNoneMatch: string, etag: string): boolean {
  return ifNoneMatch.split(",").some((part) => part.trim() === "*" || part.trim().replace(/^W\//, "") === etag);
}
