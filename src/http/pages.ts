/**
 * Serves the pages and their files from memory: read once, minified, compressed, with a strong ETag
 * per encoding.
 */

import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { brotliCompress, constants, gzip, zstdCompress } from "node:zlib";

import type { Signup } from "../config.ts";
import { ChatError } from "../errors.ts";
import type { OtherVersions, VersionFiles } from "./other_versions.ts";
import { DATA_HEADERS, errorResponse, FILE_HEADERS, HEADERS, type Request } from "./request.ts";

const CSP = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self'",
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

/**
 * DNS prefetching is off: a link in a message must not cause a lookup of its host before the user
 * follows it.
 */
const PAGE_HEADERS = { ...HEADERS, "Content-Security-Policy": CSP, "X-DNS-Prefetch-Control": "off" } as const;

/** A version in the path of a file. Older releases used 16 characters. */
const HASH = /^[\w-]{11,16}$/;

const TYPES: Record<string, string> = {
  html: "text/html; charset=utf-8",
  css: "text/css; charset=utf-8",
  // Always UTF-8 (RFC 9239 §4); a charset would cost 15 bytes in each of forty responses.
  js: "text/javascript",
  svg: "image/svg+xml",
  png: "image/png",
  json: "application/json",
  webmanifest: "application/manifest+json",
};
/**
 * Types that a browser can open as documents need more headers. An SVG opened so could run scripts.
 */
const TYPE_HEADERS: Record<string, Record<string, string>> = {
  [TYPES["html"] as string]: PAGE_HEADERS,
  [TYPES["svg"] as string]: DATA_HEADERS,
};
/** Best compression first. Speed does not matter: each file is compressed once. */
const ENCODINGS = ["br", "zstd", "gzip"] as const;
type Encoding = (typeof ENCODINGS)[number] | "identity";
/** Cached `Accept-Encoding` values; clients that invent more are parsed on each request. */
const ACCEPT_CACHE_MAX = 50;

interface File {
  readonly bytes: Buffer;
  readonly type: string;
  readonly digest: string;
  /**
   * Plain and compressed. Compression runs in the background, so the first second may be served
   * uncompressed.
   */
  readonly variants: Map<Encoding, Variant>;
}

/**
 * One encoding of a file. Headers are built once per cache policy: building them took longer than
 * the rest of the response.
 */
interface Variant {
  readonly bytes: Buffer;
  readonly etag: string;
  readonly headers: Map<CachePolicy, Headers>;
}

const IMMUTABLE = "max-age=31536000, immutable";
type CachePolicy = "no-cache" | "no-store" | typeof IMMUTABLE;

export type PageName = "login" | "signup" | "chat" | "account";
const PERSONAL = new Set<PageName>(["chat", "account"]);
/** `no_signup` replaces the sign-up form for visitors who cannot sign up. */
type FormName = "login" | "signup" | "no_signup";

/** An error shown in a form, beside a field or for the form as a whole. */
export interface FormError {
  readonly field: "username" | "password" | "form" | "why";
  readonly error: ChatError;
}

/** Inserted as an attribute, so it must never contain client input. */
const FOCUS = "autofocus";

/** The error on the sign-up page without an invitation or code. */
const NO_SIGNUP_ERROR = { invite: "invite_needed", closed: "signup_closed" } as const;

export class Pages {
  readonly #files: Map<string, File>;
  /** HTML with placeholders, for forms. */
  readonly #templates: Map<string, string>;
  readonly #signup: Signup;
  readonly #hash: string;
  /** By `Accept-Encoding`, of which browsers send a handful of values. */
  readonly #acceptedEncodings = new Map<string, readonly Encoding[]>();

  private constructor(files: Map<string, File>, templates: Map<string, string>, signup: Signup, hash: string) {
    this.#files = files;
    this.#templates = templates;
    this.#signup = signup;
    this.#hash = hash;
  }

  /**
   * Reads `static/`. Links to `/static/` contain a hash of all files in it, so one change renames
   * all.
   */
  static async load(directory: string, signup: Signup): Promise<Pages> {
    const entries = await readdir(directory, { recursive: true, withFileTypes: true });
    const names = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
    const contents = await Promise.all(
      names.toSorted().map(async (name) => ({
        path: name.slice(directory.length + 1).replaceAll("\\", "/"),
        bytes: Buffer.from(await Bun.file(name).arrayBuffer()),
      })),
    );
    const hash = digest(Buffer.concat(contents.flatMap(({ path, bytes }) => [Buffer.from(path), bytes])));
    const scripts = await minified(
      directory,
      contents.map(({ path }) => path),
    );
    const templates = new Map<string, string>();
    const why = signup === "open" ? undefined : new ChatError(NO_SIGNUP_ERROR[signup]);
    const constants = { signup, username_focus: FOCUS, ...(why && { why_error: why.message, why_code: why.code }) };
    const files = contents.map(({ path, bytes }): [string, File] => {
      const extension = extensionOf(path);
      if (extension === "html") {
        const html = bytes.toString().replace(/\n\s+/g, "\n");
        templates.set(path, html.replaceAll('"/static/', `"/static/${hash}/`));
      }
      const template = templates.get(path);
      const style = extension === "css" ? Buffer.from(minifiedStyle(bytes.toString())) : undefined;
      const served =
        template === undefined ? (scripts.get(path) ?? style ?? bytes) : Buffer.from(fill(template, constants));
      return [path, fileOf(path, served)];
    });
    const pages = new Pages(new Map(files), templates, signup, hash);
    void pages.#compress();
    return pages;
  }

  /**
   * Changes with any file in `static/`. It is the directory in `/static/{version}/…`, by which a
   * page knows its own version.
   */
  get version(): string {
    return this.#hash;
  }

  /**
   * A page, with any form empty. Pages that fill with personal data are `no-store`: from the
   * back/forward cache they would show it after logout.
   */
  page(request: Request, name: PageName): Response {
    const file = name === "signup" && this.#signup !== "open" ? "no_signup" : name;
    return this.#respond(request, this.#file(`${file}.html`), PERSONAL.has(name) ? "no-store" : "no-cache");
  }

  /**
   * The service worker, served at the root because that is its scope. Browsers revalidate it on
   * each visit.
   */
  worker(request: Request): Response {
    return this.#respond(request, this.#file("js/sw.js"), "no-cache");
  }

  /** A form filled with values from a link or a rejected submission, and its error. */
  form(
    name: FormName,
    values: Record<string, string>,
    fault?: FormError,
    status = fault?.error.status ?? 200,
  ): Response {
    const { field, error } = fault ?? {};
    // The name is filled in, the password never is.
    const passwordIsNext = field === "password" || field === "form";
    const html = fill(this.#templates.get(`${name}.html`) ?? "", {
      signup: this.#signup,
      ...values,
      username_focus: passwordIsNext ? "" : FOCUS,
      password_focus: passwordIsNext ? FOCUS : "",
      ...(error && {
        [`${field}_error`]: error.message,
        [`${field}_code`]: error.code,
        [`${field}_invalid`]: "true",
        [`${field}_wait`]: String(error.retryAfter ?? ""),
      }),
    });
    const headers: Record<string, string> = {
      ...PAGE_HEADERS,
      "Content-Type": TYPES["html"] ?? "",
      "Cache-Control": "no-store",
    };
    if (error?.retryAfter !== undefined) headers["Retry-After"] = String(error.retryAfter);
    return new Response(html, { status, headers });
  }

  /** The files that `file` serves under the current version, for pods of other versions. */
  get files(): VersionFiles {
    const files = [...this.#files].filter(([, { type }]) => !isPage(type));
    return new Map(files.map(([path, { bytes }]) => [path, bytes]));
  }

  /**
   * A file below `/static/`. Under a stored version it is that version's file, which is immutable;
   * under an unknown one it is the current file, `no-store`.
   */
  file(request: Request, others: OtherVersions): Response | Promise<Response> {
    const path = below("/static/", request.url);
    const slash = path.indexOf("/");
    const hash = path.slice(0, slash);
    const name = path.slice(slash + 1);
    if (hash === this.#hash) return this.#fileNamed(request, name, IMMUTABLE);
    if (!HASH.test(hash)) return errorResponse(new ChatError("not_found"));
    return this.#fileOfOther(request, name, others.filesOf(hash));
  }

  async #fileOfOther(request: Request, name: string, stored: Promise<VersionFiles | undefined>): Promise<Response> {
    const bytes = (await stored)?.get(name);
    if (!bytes) return this.#fileNamed(request, name, "no-store");
    const file = fileOf(name, bytes);
    for (const [encoding, smaller] of await compress(file)) addVariant(file, encoding, smaller);
    return this.#respond(request, file, IMMUTABLE);
  }

  #fileNamed(request: Request, name: string, cache: CachePolicy): Response {
    const file = this.#files.get(name);
    return !file || isPage(file.type) ? errorResponse(new ChatError("not_found")) : this.#respond(request, file, cache);
  }

  #respond(request: Request, file: File, cache: CachePolicy): Response {
    const encoding = this.#encodingFor(request.headers.get("accept-encoding") ?? "", file);
    const variant = file.variants.get(encoding) as Variant;
    let headers = variant.headers.get(cache);
    if (!headers) variant.headers.set(cache, (headers = headersOf(file, encoding, variant.etag, cache)));
    const known = request.headers.get("if-none-match");
    if (known === null || !matches(known, variant.etag)) {
      return new Response(variant.bytes as Uint8Array<ArrayBuffer>, { headers });
    }
    headers = new Headers(headers);
    headers.delete("Content-Encoding");
    return new Response(null, { status: 304, headers });
  }

  /** The best available encoding that the client accepts. */
  #encodingFor(accept: string, file: File): Encoding {
    let usable = this.#acceptedEncodings.get(accept);
    if (!usable) {
      usable = acceptedEncodings(accept);
      if (this.#acceptedEncodings.size < ACCEPT_CACHE_MAX) this.#acceptedEncodings.set(accept, usable);
    }
    for (const encoding of usable) if (file.variants.has(encoding)) return encoding;
    return "identity";
  }

  #file(path: string): File {
    const file = this.#files.get(path);
    if (!file) throw new RangeError(`Cannot show page: static/${path} is missing`);
    return file;
  }

  async #compress(): Promise<void> {
    for (const file of this.#files.values()) {
      for (const [encoding, bytes] of await compress(file)) addVariant(file, encoding, bytes);
    }
  }
}

function extensionOf(path: string): string {
  return path.slice(path.lastIndexOf(".") + 1);
}

/** Whether a file is a page; pages are not served below `/static/`. */
function isPage(type: string): boolean {
  return type.startsWith("text/html");
}

function fileOf(path: string, bytes: Buffer): File {
  const type = TYPES[extensionOf(path)] ?? "application/octet-stream";
  const file: File = { bytes, type, digest: digest(bytes), variants: new Map() };
  addVariant(file, "identity", bytes);
  return file;
}

function addVariant(file: File, encoding: Encoding, bytes: Buffer): void {
  const etag = encoding === "identity" ? `"${file.digest}"` : `"${file.digest}-${encoding}"`;
  file.variants.set(encoding, { bytes, etag, headers: new Map() });
}

function headersOf(file: File, encoding: Encoding, etag: string, cache: CachePolicy): Headers {
  const headers = new Headers(TYPE_HEADERS[file.type] ?? FILE_HEADERS);
  headers.set("Content-Type", file.type);
  headers.set("Cache-Control", cache);
  headers.set("ETag", etag);
  headers.set("Vary", "Accept-Encoding");
  if (encoding !== "identity") headers.set("Content-Encoding", encoding);
  return headers;
}

/**
 * The encodings that `Accept-Encoding` allows, best first (RFC 9110 §12.5.3; a weight of 0 forbids
 * one).
 */
function acceptedEncodings(header: string): readonly Encoding[] {
  const parts = header
    .toLowerCase()
    .split(",")
    .map((part) => part.trim().split(/\s*;\s*q=/));
  return ENCODINGS.filter((name) => parts.some(([coding, weight]) => coding === name && Number(weight ?? 1) > 0));
}

/**
 * The path below `start`. Sliced, because `URL.parse` takes longer than the rest of the response.
 */
function below(start: string, url: string): string {
  const from = url.indexOf(start, url.startsWith("/") ? 0 : "https://".length) + start.length;
  const query = url.indexOf("?", from);
  return query < 0 ? url.slice(from) : url.slice(from, query);
}

/**
 * Compressed files of this process, by digest: other apps in it (in tests) and other versions share
 * most files.
 */
const compressed = new Map<string, Promise<[Encoding, Buffer][]>>();

/**
 * The encodings that make a file smaller. All files take about 0.4 s together, on Bun's own
 * threads.
 */
function compress(file: File): Promise<[Encoding, Buffer][]> {
  let variants = compressed.get(file.digest);
  if (!variants) compressed.set(file.digest, (variants = compressUncached(file)));
  return variants;
}

async function compressUncached({ bytes, type }: File): Promise<[Encoding, Buffer][]> {
  if (type === "image/png") return [];
  const zstdOptions = { params: { [constants.ZSTD_c_compressionLevel]: 19 } };
  const brOptions = { params: { [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length } };
  const all: [Encoding, Buffer][] = [
    ["gzip", await promisify(gzip)(bytes, { level: 9 })],
    ["zstd", await promisify(zstdCompress)(bytes, zstdOptions)],
    ["br", await promisify(brotliCompress)(bytes, brOptions)],
  ];
  return all.filter(([, smaller]) => smaller.length < bytes.length);
}

/**
 * Fills the placeholders of a form with escaped text. Fields are valid by default, missing values
 * are empty.
 */
function fill(template: string, values: Record<string, string>): string {
  const all: Record<string, string> = { username_invalid: "false", password_invalid: "false", ...values };
  return template.replace(/\{\{(\w+)\}\}/g, (_, key: string) => Bun.escapeHTML(all[key] ?? ""));
}

/**
 * Minifies all scripts below a directory, which halves their compressed size. Each stays a module
 * with its imports and exports.
 */
async function minified(directory: string, paths: readonly string[]): Promise<Map<string, Buffer>> {
  const entrypoints = paths.filter((path) => path.endsWith(".js")).map((path) => join(directory, path));
  const { outputs } = await Bun.build({ entrypoints, root: directory, external: ["*"], minify: true });
  const made = outputs.map(async (file) => [file.path, Buffer.from(await file.arrayBuffer())] as const);
  return new Map(await Promise.all(made));
}

/** Removes comments and unneeded white space from a stylesheet. */
function minifiedStyle(style: string): string {
  return style
    .replace(/\/\*[^]*?\*\//g, "")
    .replace(/\s*([{};,]|\n|:(?= ))\s*/g, "$1")
    .trim();
}

/** 66 bits: long enough to avoid collisions, short enough for the many URLs of a first visit. */
function digest(bytes: Buffer): string {
  return new Bun.CryptoHasher("sha256").update(bytes).digest("base64url").slice(0, 11);
}

/** `If-None-Match` (RFC 9110 §13.1.2): weak comparison, a list, or `*`. */
function matches(ifNoneMatch: string, etag: string): boolean {
  return ifNoneMatch.split(",").some((part) => part.trim() === "*" || part.trim().replace(/^W\//, "") === etag);
}
