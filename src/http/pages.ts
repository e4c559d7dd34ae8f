/** The pages and their files: read once, kept in memory, compressed, with a strong ETag per encoding. */

import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { brotliCompress, constants, gzip, zstdCompress } from "node:zlib";

import type { Signup } from "../config.ts";
import { ChatError } from "../errors.ts";
import type { OtherVersions, VersionFiles } from "./other_versions.ts";
import { DATA_HEADERS, failure, FILE_HEADERS, HEADERS, type Request } from "./request.ts";

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
  "trusted-types service-worker", // makes one script address, its own
].join("; ");

/** What pages carry beside the others. A link in a message must not make a browser ask for its host before anybody follows it. */
const PAGE_HEADERS = { ...HEADERS, "Content-Security-Policy": CSP, "X-DNS-Prefetch-Control": "off" } as const;

/** In the address of a file: ours, or that of a page which an older chatify gave out; those had 16 characters. */
const HASH = /^[\w-]{11,16}$/;

const TYPES: Record<string, string> = {
  html: "text/html; charset=utf-8",
  css: "text/css; charset=utf-8",
  js: "text/javascript", // modules and workers are UTF-8 whatever is said here (RFC 9239 §4), and 15 bytes are said forty times
  svg: "image/svg+xml",
  png: "image/png",
  json: "application/json",
  webmanifest: "application/manifest+json",
};
/** What a browser may show by itself carries more. A picture, too, is a document then, and could run script. */
const OF_TYPE: Record<string, Record<string, string>> = {
  [TYPES["html"] as string]: PAGE_HEADERS,
  [TYPES["svg"] as string]: DATA_HEADERS,
};
/** Best first: what people download counts, they are made once. */
const ENCODINGS = ["br", "zstd", "gzip"] as const;
type Encoding = (typeof ENCODINGS)[number] | "identity";
/** Different `Accept-Encoding` remembered; whoever makes up more is read anew each time. */
const ACCEPTED_MAX = 50;

interface File {
  readonly bytes: Buffer;
  readonly type: string;
  readonly digest: string;
  /** As it is, and encoded: filled in the background, so the first second may be answered uncompressed. */
  readonly variants: Map<Encoding, Variant>;
}

/** One encoding of a file. Its headers are built once for each way to cache it: building them took longer than answering. */
interface Variant {
  readonly bytes: Buffer;
  readonly etag: string;
  readonly headers: Map<Cache, Headers>;
}

const IMMUTABLE = "max-age=31536000, immutable";
type Cache = "no-cache" | "no-store" | typeof IMMUTABLE;

export type PageName = "login" | "signup" | "chat" | "account";
const PERSONAL = new Set<PageName>(["chat", "account"]);
/** `no_signup` stands where the sign-up would be, for those who may not. */
type FormName = "login" | "signup" | "no_signup";

/** What a form shows again after a refusal: an error belongs to a field, or to the form as a whole. */
export interface FormFault {
  readonly field: "username" | "password" | "form" | "why";
  readonly error: ChatError;
}

/** An attribute, not the value of one: nothing that a client sends may stand there. */
const FOCUS = "autofocus";

/** Why the sign-up page has no form for those who bring nothing. */
const WHY_NOT = { invite: "invite_needed", closed: "signup_closed" } as const;

export class Pages {
  readonly #files: Map<string, File>;
  /** Pages whose placeholders a refusal fills. */
  readonly #templates: Map<string, string>;
  readonly #signup: Signup;
  readonly #hash: string;
  /** Browsers say the same few things. */
  readonly #accepted = new Map<string, readonly Encoding[]>();

  private constructor(files: Map<string, File>, templates: Map<string, string>, signup: Signup, hash: string) {
    this.#files = files;
    this.#templates = templates;
    this.#signup = signup;
    this.#hash = hash;
  }

  /** Reads `static/`. Links into `/static/` get the hash of everything in it, so that one change renames all. */
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
    const why = signup === "open" ? undefined : new ChatError(WHY_NOT[signup]);
    const constants = { signup, username_focus: FOCUS, ...(why && { why_error: why.message, why_code: why.code }) };
    const files = contents.map(({ path, bytes }): [string, File] => {
      const extension = extensionOf(path);
      if (extension === "html") {
        const html = bytes.toString().replace(/\n\s+/g, "\n");
        templates.set(path, html.replaceAll('"/static/', `"/static/${hash}/`));
      }
      const template = templates.get(path);
      const style = extension === "css" ? Buffer.from(withoutSpace(bytes.toString())) : undefined;
      const served =
        template === undefined ? (scripts.get(path) ?? style ?? bytes) : Buffer.from(fill(template, constants));
      return [path, fileOf(path, served)];
    });
    const pages = new Pages(new Map(files), templates, signup, hash);
    void pages.#compress();
    return pages;
  }

  /** Changes when a file of `static/` does. It is the directory in `/static/{version}/…`, so a page knows its own. */
  get version(): string {
    return this.#hash;
  }

  /**
   * A page as it stands, its form empty. Some fill with what is personal, so browsers are to keep nothing of them: kept with
   * their words in the memory for going back, they would show them after signing out.
   */
  page(request: Request, name: PageName): Response {
    const file = name === "signup" && this.#signup !== "open" ? "no_signup" : name;
    return this.#answer(request, this.#file(`${file}.html`), PERSONAL.has(name) ? "no-store" : "no-cache");
  }

  /** The service worker. It stands at the root, since it serves the root; browsers ask for it again at every visit. */
  worker(request: Request): Response {
    return this.#answer(request, this.#file("js/sw.js"), "no-cache");
  }

  /** A form with values in it: those of a link, of a session that ended, or those that were refused, with what was wrong beside the field. */
  form(
    name: FormName,
    values: Record<string, string>,
    fault?: FormFault,
    status = fault?.error.status ?? 200,
  ): Response {
    const { field, error } = fault ?? {};
    const passwordIsNext = field === "password" || field === "form"; // the name is there, and the password never sent back
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

  /** What `file` serves under the current hash, for pods of other versions. */
  get files(): VersionFiles {
    const files = [...this.#files].filter(([, { type }]) => !isPage(type));
    return new Map(files.map(([path, { bytes }]) => [path, bytes]));
  }

  /**
   * A file below `/static/`. Under the hash of a version it is that version's and never changes; under one that is not kept it is the
   * current file, not to be kept by browsers.
   */
  file(request: Request, others: OtherVersions): Response | Promise<Response> {
    const path = below("/static/", request.url);
    const slash = path.indexOf("/");
    const hash = path.slice(0, slash);
    const name = path.slice(slash + 1);
    if (hash === this.#hash) return this.#fileNamed(request, name, IMMUTABLE);
    if (!HASH.test(hash)) return failure(new ChatError("not_found"));
    return this.#fileOfOther(request, name, others.filesOf(hash));
  }

  async #fileOfOther(request: Request, name: string, kept: Promise<VersionFiles | undefined>): Promise<Response> {
    const bytes = (await kept)?.get(name);
    if (!bytes) return this.#fileNamed(request, name, "no-store");
    const file = fileOf(name, bytes);
    for (const [encoding, smaller] of await compress(file)) addVariant(file, encoding, smaller);
    return this.#answer(request, file, IMMUTABLE);
  }

  #fileNamed(request: Request, name: string, cache: Cache): Response {
    const file = this.#files.get(name);
    return !file || isPage(file.type) ? failure(new ChatError("not_found")) : this.#answer(request, file, cache);
  }

  #answer(request: Request, file: File, cache: Cache): Response {
    const encoding = this.#choose(request.headers.get("accept-encoding") ?? "", file);
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

  /** The best encoding that the client takes and that there is. */
  #choose(accept: string, file: File): Encoding {
    let taken = this.#accepted.get(accept);
    if (!taken) {
      taken = accepted(accept);
      if (this.#accepted.size < ACCEPTED_MAX) this.#accepted.set(accept, taken);
    }
    for (const encoding of taken) if (file.variants.has(encoding)) return encoding;
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

/** Whether a file is a page: those are served at addresses of their own. */
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

function headersOf(file: File, encoding: Encoding, etag: string, cache: Cache): Headers {
  const headers = new Headers(OF_TYPE[file.type] ?? FILE_HEADERS);
  headers.set("Content-Type", file.type);
  headers.set("Cache-Control", cache);
  headers.set("ETag", etag);
  headers.set("Vary", "Accept-Encoding");
  if (encoding !== "identity") headers.set("Content-Encoding", encoding);
  return headers;
}

/** What `Accept-Encoding` takes, best first (RFC 9110 §12.5.3; a weight of 0 refuses). */
function accepted(header: string): readonly Encoding[] {
  const parts = header
    .toLowerCase()
    .split(",")
    .map((part) => part.trim().split(/\s*;\s*q=/));
  return ENCODINGS.filter((name) => parts.some(([coding, weight]) => coding === name && Number(weight ?? 1) > 0));
}

/** The part of an address's path below `start`; cut out, since `URL.parse` takes longer than the rest of the answer. */
function below(start: string, url: string): string {
  const from = url.indexOf(start, url.startsWith("/") ? 0 : "https://".length) + start.length;
  const query = url.indexOf("?", from);
  return query < 0 ? url.slice(from) : url.slice(from, query);
}

/** What was compressed in this process, by digest: another app in it has the same files, and so have most other versions. */
const compressed = new Map<string, Promise<[Encoding, Buffer][]>>();

/** The encodings of a file that are smaller than it is; all files together about 0.4 s, done on Bun's own threads. */
function compress(file: File): Promise<[Encoding, Buffer][]> {
  let made = compressed.get(file.digest);
  if (!made) compressed.set(file.digest, (made = compressAnew(file)));
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

/**
 * The scripts below a directory with short names inside, without comments and space, which is half of what they weigh compressed.
 * Each file stays a file, whose imports and exports are those that were written.
 */
async function minified(directory: string, paths: readonly string[]): Promise<Map<string, Buffer>> {
  const entrypoints = paths.filter((path) => path.endsWith(".js")).map((path) => join(directory, path));
  const { outputs } = await Bun.build({ entrypoints, root: directory, external: ["*"], minify: true });
  const made = outputs.map(async (file) => [file.path, Buffer.from(await file.arrayBuffer())] as const);
  return new Map(await Promise.all(made));
}

/** A style as written, but for its comments and the space around what needs none. */
function withoutSpace(style: string): string {
  return style
    .replace(/\/\*[^]*?\*\//g, "")
    .replace(/\s*([{};,]|\n|:(?= ))\s*/g, "$1")
    .trim();
}

/** 66 bits: no two contents share one by chance, and no answer of a first visit is longer than it must. */
function digest(bytes: Buffer): string {
  return new Bun.CryptoHasher("sha256").update(bytes).digest("base64url").slice(0, 11);
}

/** RFC 9110 §13.1.2: weak comparison, a list, or any. */
function matches(ifNoneMatch: string, etag: string): boolean {
  return ifNoneMatch.split(",").some((part) => part.trim() === "*" || part.trim().replace(/^W\//, "") === etag);
}
