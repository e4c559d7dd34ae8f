/** The pages and their files: read once, kept in memory, compressed, with a strong ETag per encoding. */

import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { brotliCompress, constants, gzip, zstdCompress } from "node:zlib";

import { ChatError } from "../errors.ts";
import { addressOf, failure, HEADERS, type Request } from "./handler.ts";

const CSP = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self' data:",
  "connect-src 'self'",
  "manifest-src 'self'",
  "base-uri 'none'",
  "form-action 'self'",
  "frame-ancestors 'none'",
  "require-trusted-types-for 'script'",
  "trusted-types 'none'",
].join("; ");

const TYPES: Record<string, string> = {
  html: "text/html; charset=utf-8",
  css: "text/css; charset=utf-8",
  js: "text/javascript; charset=utf-8",
  svg: "image/svg+xml",
  png: "image/png",
  json: "application/json",
  webmanifest: "application/manifest+json",
};
/** Best first: what people download counts, they are made once. */
const ENCODINGS = ["br", "zstd", "gzip"] as const;
type Encoding = (typeof ENCODINGS)[number] | "identity";

interface File {
  readonly bytes: Buffer;
  readonly type: string;
  readonly etag: string;
  /** Filled in the background: the first second may be answered uncompressed. */
  readonly encoded: Map<Encoding, Buffer>;
}

export type PageName = "login" | "signup" | "chat";

/** What a form shows again after a refusal: an error belongs to a field, or to the form as a whole. */
export interface FormFault {
  readonly username: string;
  readonly field: "username" | "password" | "form";
  readonly error: ChatError;
}

export class Pages {
  readonly #files: Map<string, File>;
  /** Pages whose placeholders a refusal fills. */
  readonly #templates: Map<string, string>;
  readonly #hash: string;

  private constructor(files: Map<string, File>, templates: Map<string, string>, hash: string) {
    this.#files = files;
    this.#templates = templates;
    this.#hash = hash;
  }

  /** Reads `static/`. Links into `/static/` get the hash of everything in it, so that one change renames all. */
  static async load(directory: string): Promise<Pages> {
    const entries = await readdir(directory, { recursive: true, withFileTypes: true });
    const names = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
    const contents = await Promise.all(
      names.toSorted().map(async (name) => ({
        path: name.slice(directory.length + 1).replaceAll("\\", "/"),
        bytes: Buffer.from(await Bun.file(name).arrayBuffer()),
      })),
    );
    const hash = digest(Buffer.concat(contents.flatMap(({ path, bytes }) => [Buffer.from(path), bytes])));
    const templates = new Map<string, string>();
    const files = contents.map(({ path, bytes }): [string, File] => {
      const extension = path.slice(path.lastIndexOf(".") + 1);
      if (extension === "html") templates.set(path, bytes.toString().replaceAll('"/static/', `"/static/${hash}/`));
      const template = templates.get(path);
      const served = template === undefined ? bytes : Buffer.from(fill(template, {}));
      const type = TYPES[extension] ?? "application/octet-stream";
      return [path, { bytes: served, type, etag: digest(served), encoded: new Map() }];
    });
    const pages = new Pages(new Map(files), templates, hash);
    void pages.#compress();
    return pages;
  }

  /** A page as it stands, its form empty. */
  page(request: Request, name: PageName): Response {
    return this.#answer(request, this.#file(`${name}.html`), "no-cache");
  }

  /** A form again, with what was wrong beside the field. */
  form(name: "login" | "signup", fault: FormFault): Response {
    const { username, field, error } = fault;
    const html = fill(this.#templates.get(`${name}.html`) ?? "", {
      username,
      [`${field}_error`]: error.message,
      [`${field}_code`]: error.code,
      [`${field}_invalid`]: "true",
    });
    const headers: Record<string, string> = {
      ...HEADERS,
      "Content-Type": TYPES["html"] ?? "",
      "Cache-Control": "no-store",
    };
    headers["Content-Security-Policy"] = CSP;
    if (error.retryAfter !== undefined) headers["Retry-After"] = String(error.retryAfter);
    return new Response(html, { status: error.status, headers });
  }

  /** A file below `/static/`. Under the current hash it never changes; under an old one it is the current file, not to be kept. */
  file(request: Request): Response {
    const path = addressOf(request).pathname.slice("/static/".length);
    const slash = path.indexOf("/");
    const hash = path.slice(0, slash);
    const file = this.#files.get(path.slice(slash + 1));
    if (!file || !/^[\w-]{16}$/.test(hash) || file.type.startsWith("text/html")) {
      return failure(new ChatError("not_found"));
    }
    return this.#answer(request, file, hash === this.#hash ? "public, max-age=31536000, immutable" : "no-store");
  }

  #answer(request: Request, file: File, cache: string): Response {
    const encoding = this.#choose(request.headers.get("accept-encoding") ?? "", file);
    const etag = encoding === "identity" ? `"${file.etag}"` : `"${file.etag}-${encoding}"`;
    const headers: Record<string, string> = {
      ...HEADERS,
      "Content-Type": file.type,
      "Cache-Control": cache,
      ETag: etag,
      Vary: "Accept-Encoding",
    };
    if (encoding !== "identity") headers["Content-Encoding"] = encoding;
    if (file.type.startsWith("text/html")) headers["Content-Security-Policy"] = CSP;
    const known = request.headers.get("if-none-match");
    if (known !== null && matches(known, etag)) {
      delete headers["Content-Encoding"];
      return new Response(null, { status: 304, headers });
    }
    return new Response((file.encoded.get(encoding) ?? file.bytes) as Uint8Array<ArrayBuffer>, { headers });
  }

  /** The best encoding that the client takes (RFC 9110 §12.5.3; a weight of 0 refuses) and that there is. */
  #choose(accept: string, file: File): Encoding {
    const taken = accept
      .toLowerCase()
      .split(",")
      .map((part) => part.trim().split(/\s*;\s*q=/));
    const takes = (name: string) => taken.some(([coding, weight]) => coding === name && Number(weight ?? 1) > 0);
    return ENCODINGS.find((encoding) => file.encoded.has(encoding) && takes(encoding)) ?? "identity";
  }

  #file(path: string): File {
    const file = this.#files.get(path);
    if (!file) throw new RangeError(`Cannot show page: static/${path} is missing`);
    return file;
  }

  async #compress(): Promise<void> {
    for (const file of this.#files.values()) {
      for (const [encoding, bytes] of await compress(file)) file.encoded.set(encoding, bytes);
    }
  }
}

/** What was compressed in this process, by digest: another app in it has the same files. */
const compressed = new Map<string, Promise<[Encoding, Buffer][]>>();

/** The encodings of a file that are smaller than it is; all files together about 0.4 s, done on Bun's own threads. */
function compress(file: File): Promise<[Encoding, Buffer][]> {
  let made = compressed.get(file.etag);
  if (!made) compressed.set(file.etag, (made = compressAnew(file)));
  return made;
}

async function compressAnew({ bytes, type }: File): Promise<[Encoding, Buffer][]> {
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

/** Puts values into the placeholders of a form, as text; fields without a fault are valid, what is not given is empty. */
function fill(template: string, values: Record<string, string>): string {
  const all: Record<string, string> = { username_invalid: "false", password_invalid: "false", ...values };
  return template.replace(/\{\{(\w+)\}\}/g, (_, key: string) => Bun.escapeHTML(all[key] ?? ""));
}

function digest(bytes: Buffer): string {
  return new Bun.CryptoHasher("sha256").update(bytes).digest("base64url").slice(0, 16);
}

/** RFC 9110 §13.1.2: weak comparison, a list, or any. */
function matches(ifNoneMatch: string, etag: string): boolean {
  return ifNoneMatch.split(",").some((part) => part.trim() === "*" || part.trim().replace(/^W\//, "") === etag);
}
