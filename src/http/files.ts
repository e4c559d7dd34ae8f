/** The routes for files: upload in chunks, and download with ranges. */

import type { Server } from "bun";

import type { SocketData } from "../chat/socket.ts";
import type { Database } from "../db/database.ts";
import { readableFiles, type ReadRequest, type StoredFile } from "../db/files.ts";
import type { Session } from "../db/sessions.ts";
import { ChatError } from "../errors.ts";
import { CHUNK_BYTES } from "../files/chunk_store.ts";
import type { PreviewCache } from "../files/preview_cache.ts";
import type { Stores } from "../files/stores.ts";
import type { Uploads } from "../files/uploads.ts";
import type { Metrics } from "../metrics.ts";
import { Batcher } from "../util/batcher.ts";
import { contentDisposition } from "../util/file_name.ts";
import { isInline, UNKNOWN_TYPE } from "../util/file_type.ts";
import { pathParameter } from "./parameters.ts";
import { errorResponse, HEADERS, json, readBytes, readJson, type Request, requestId } from "./request.ts";
import type { Sessions } from "./sessions.ts";
import { IMMUTABLE, matches } from "./static_file.ts";
import type { Streams } from "./stream.ts";
import { isSecureContext, type Trust } from "./trust.ts";

/** Chunks in memory at a time, of a user and of this pod: 64 MiB. */
const PUTS_MAX = { user: 8, pod: 256 };
/** How long what was found about an upload is relied on. */
const FRESH_MS = 500;
/** Files looked up per statement. */
const READS_MAX = 100;
/** Long downloads of a user at a time. */
const DOWNLOADS_MAX = 16;
/** Shorter responses are sent whole, with their length. */
const WHOLE_MAX = 64 * 1024;

const ID = /^[\w-]{22}$/;

/** A file is opened by browsers as a document without scripts, and never inside a page. */
const BYTES_HEADERS = {
  ...HEADERS,
  "Content-Security-Policy": "sandbox; default-src 'none'; frame-ancestors 'none'",
} as const;

export class Files {
  readonly #sessions: Sessions;
  readonly #stores: Stores;
  readonly #previews: PreviewCache;
  readonly #readableFiles: Batcher<ReadRequest, StoredFile | undefined>;
  readonly #uploads: Uploads;
  readonly #streams: Streams;
  readonly #trust: Trust;
  readonly #metrics: Metrics;
  /** Chunks being received, by name key. */
  readonly #puts = new Map<string, number>();
  #putCount = 0;

  constructor(parts: {
    sessions: Sessions;
    db: Database;
    stores: Stores;
    previews: PreviewCache;
    uploads: Uploads;
    streams: Streams;
    trust: Trust;
    metrics: Metrics;
  }) {
    this.#sessions = parts.sessions;
    const { db } = parts;
    this.#readableFiles = new Batcher((requests) => db.run((sql) => readableFiles(sql, requests)), { max: READS_MAX });
    this.#stores = parts.stores;
    this.#previews = parts.previews;
    this.#uploads = parts.uploads;
    this.#streams = parts.streams;
    this.#trust = parts.trust;
    this.#metrics = parts.metrics;
  }

  async begin(request: Request): Promise<Response> {
    const me = await this.#sessions.require(request, "files");
    const { name, type = "", size, sha256 = null, original = false } = await readJson(request);
    if (typeof name !== "string" || name.length > 1_000)
      throw badRequest("name must be a string of at most 1,000 characters");
    if (typeof type !== "string" || type.length > 200)
      throw badRequest("type must be a string of at most 200 characters");
    if (!Number.isSafeInteger(size) || (size as number) < 1)
      throw badRequest("size must be a whole number of at least 1");
    if (sha256 !== null && (typeof sha256 !== "string" || !/^[0-9a-f]{64}$/.test(sha256)))
      throw badRequest("sha256 must be 64 hexadecimal digits in lower case");
    if (typeof original !== "boolean") throw badRequest("original must be true or false");
    const announced = {
      name,
      type: type.toWellFormed().replaceAll("\0", ""),
      size: size as number,
      sha256,
      isOriginal: original,
    };
    return json({ id: await this.#uploads.begin(me, announced), chunk_size: CHUNK_BYTES }, { status: 201 });
  }

  async put(request: Request): Promise<Response> {
    const me = await this.#sessions.require(request, "fileRequests");
    const n = pathParameter(request, "n");
    if (!/^\d{1,6}$/.test(n)) throw new ChatError("not_found");
    const release = this.#beginPut(me);
    try {
      const find = () => this.#uploads.expect(me, idOf(request), Number(n));
      const found = await find(); // before the body is read
      const foundAt = performance.now();
      const bytes = await readBytes(request, CHUNK_BYTES);
      // Meanwhile the file may have been completed with other bytes.
      const upload = performance.now() - foundAt > FRESH_MS ? await find() : found;
      await this.#uploads.put(me, upload, Number(n), bytes);
      return new Response(null, { status: 204, headers: { ...HEADERS, "Cache-Control": "no-store" } });
    } finally {
      release();
    }
  }

  async status(request: Request): Promise<Response> {
    const me = await this.#sessions.require(request, "fileRequests");
    const { have, size, isComplete } = await this.#uploads.status(me, idOf(request));
    return json({ have, size, chunk_size: CHUNK_BYTES, complete: isComplete });
  }

  /** Copies a file that the user may read, so that it can be sent again. */
  async copy(request: Request): Promise<Response> {
    const me = await this.#sessions.require(request, "files");
    const id = idOf(request);
    if (!(await this.#readableFiles.add({ me: me.username, id }))) throw new ChatError("not_found");
    return json({ id: await this.#uploads.copy(me, id) }, { status: 201 });
  }

  /** How much of their quota the user has used. */
  async usage(request: Request): Promise<Response> {
    const me = await this.#sessions.require(request, "fileRequests");
    return json(await this.#uploads.usage(me));
  }

  /** Ends an upload or a file that was not sent. */
  async remove(request: Request): Promise<Response> {
    const me = await this.#sessions.require(request, "fileRequests");
    await this.#uploads.remove(me, idOf(request));
    return json({});
  }

  async get(request: Request, server: Server<SocketData>): Promise<Response> {
    const [me, id, file] = await this.#readable(request);
    // mutation: inline only what is recognized
    const isShown = isInline(file.type);
    const etag = `"${id}"`;
    const headers = {
      ...this.#headers(request),
      "Content-Type": isShown ? file.type : UNKNOWN_TYPE,
      "Content-Disposition": contentDisposition(isShown ? "inline" : "attachment", file.name),
      "Accept-Ranges": "bytes",
      ETag: etag,
    };
    const known = request.headers.get("if-none-match");
    if (known !== null && matches(known, etag)) return new Response(null, { status: 304, headers });
    const range = rangeOf(request, etag, file.size);
    if (range === "unsatisfiable") {
      return errorResponse(new ChatError("bad_range"), { "Content-Range": `bytes */${file.size}` });
    }
    const { start, end } = range ?? { start: 0, end: file.size };
    const status = range ? 206 : 200;
    const all = { ...headers, ...(range && { "Content-Range": `bytes ${start}-${end - 1}/${file.size}` }) };
    if (request.method === "HEAD") {
      return new Response(null, { status, headers: { ...all, "Content-Length": String(end - start) } });
    }
    const pieces = this.#counted(this.#stores.bytes(file, start, end));
    if (end - start <= WHOLE_MAX) {
      const parts = await Array.fromAsync(pieces);
      return new Response(Buffer.concat(parts), { status, headers: all });
    }
    const done = this.#streams.begin(`files ${me.nameKey}`, DOWNLOADS_MAX);
    const asked = {
      kind: "file",
      id: requestId(request, this.#trust),
      request,
      server,
      end: done,
      status,
      headers: all,
    };
    return this.#streams.bytes(pieces, asked);
  }

  async preview(request: Request, server: Server<SocketData>): Promise<Response> {
    const [me, id, file] = await this.#readable(request);
    if (!file.hasPreview) throw new ChatError("not_found");
    const etag = `"${id}-preview"`;
    const headers = {
      ...this.#headers(request),
      "Content-Type": "image/webp",
      "Content-Disposition": "inline",
      ETag: etag,
    };
    const known = request.headers.get("if-none-match");
    if (known !== null && matches(known, etag)) return new Response(null, { status: 304, headers });
    const bytes = await this.#previews.get(file);
    if (bytes.length <= WHOLE_MAX || request.method === "HEAD")
      return new Response(bytes as Uint8Array<ArrayBuffer>, { headers });
    const done = this.#streams.begin(`previews ${me.nameKey}`, 2 * DOWNLOADS_MAX);
    const asked = { kind: "preview", id: requestId(request, this.#trust), request, server, end: done, headers };
    return this.#streams.bytes(one(bytes), asked);
  }

  async *#counted(pieces: AsyncGenerator<Uint8Array>): AsyncGenerator<Uint8Array> {
    for await (const piece of pieces) {
      this.#metrics.fileBytes.add("sent", piece.length);
      yield piece;
    }
  }

  /** Files are not cached over plain http, where sign-out could not remove them from the browser. */
  #headers(request: Request): Record<string, string> {
    const cache = isSecureContext(request, this.#trust) ? `private, ${IMMUTABLE}` : "no-store";
    return { ...BYTES_HEADERS, "Cache-Control": cache };
  }

  /** @throws ChatError `not_found`, also for files that the user may not read */
  async #readable(request: Request): Promise<[Session, string, StoredFile]> {
    // mutation: files need a session
    const me = await this.#sessions.require(request, "fileRequests");
    const id = idOf(request);
    const file = await this.#readableFiles.add({ me: me.username, id });
    if (!file) throw new ChatError("not_found");
    return [me, id, file];
  }

  /** @returns a function to call when the chunk is stored @throws ChatError `busy` */
  #beginPut({ nameKey }: Session): () => void {
    const mine = this.#puts.get(nameKey) ?? 0;
    if (mine >= PUTS_MAX.user || this.#putCount >= PUTS_MAX.pod) throw new ChatError("busy", { retryAfter: 2 });
    this.#puts.set(nameKey, mine + 1);
    this.#putCount++;
    return () => {
      this.#putCount--;
      const left = (this.#puts.get(nameKey) ?? 0) - 1;
      if (left > 0) this.#puts.set(nameKey, left);
      else this.#puts.delete(nameKey);
    };
  }
}

function badRequest(message: string): ChatError {
  return new ChatError("bad_request", { message });
}

/** @throws ChatError `not_found` */
function idOf(request: Request): string {
  const id = pathParameter(request, "id");
  if (!ID.test(id)) throw new ChatError("not_found");
  return id;
}

async function* one(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}

/**
 * The single range that is asked for (RFC 9110 §14): undefined to send all, which is allowed for
 * several ranges and for units and forms that are unknown.
 */
function rangeOf(
  request: Request,
  etag: string,
  size: number,
): { start: number; end: number } | "unsatisfiable" | undefined {
  const condition = request.headers.get("if-range");
  if (condition !== null && condition !== etag) return undefined;
  const [, from = "", to = ""] = /^bytes=(\d{0,15})-(\d{0,15})$/.exec(request.headers.get("range")?.trim() ?? "") ?? [];
  if (from === "" && to === "") return undefined;
  if (from === "") return Number(to) === 0 ? "unsatisfiable" : { start: Math.max(0, size - Number(to)), end: size };
  const start = Number(from);
  if (to !== "" && Number(to) < start) return undefined; // not a valid range
  if (start >= size) return "unsatisfiable";
  return { start, end: to === "" ? size : Math.min(size, Number(to) + 1) };
}
