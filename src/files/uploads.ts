/**
 * Uploads: begun, received in chunks in any order on any pods, and completed once all have arrived.
 * An incomplete file cannot be read, and a complete one never changes.
 */

import type { Database } from "../db/database.ts";
import * as files from "../db/files.ts";
import type { Upload } from "../db/files.ts";
import type { Session } from "../db/sessions.ts";
import { ChatError } from "../errors.ts";
import type { Metrics } from "../metrics.ts";
import type { FairQueue } from "../util/fair_queue.ts";
import { cleanFileName } from "../util/file_name.ts";
import { isImage, isOpaqueImage, recognizeType, UNKNOWN_TYPE } from "../util/file_type.ts";
import { CHUNK_BYTES, newBlob, PREVIEW } from "./chunk_store.ts";
import { makePicture, type Picture, PICTURE_MAX_BYTES } from "./picture.ts";
import { chunkCount, type Stores } from "./stores.ts";

/** What a client announces. */
export interface Announcement {
  readonly name: string;
  readonly type: string;
  readonly size: number;
  /** Hex. */
  readonly sha256: string | null;
  /** Keep every byte, also metadata. */
  readonly isOriginal: boolean;
}

export interface UploadStatus {
  /** The chunks that have arrived. */
  readonly have: readonly number[];
  readonly size: number;
  readonly isComplete: boolean;
}

export class Uploads {
  readonly #db: Database;
  readonly #stores: Stores;
  readonly #decoders: FairQueue;
  readonly #metrics: Metrics;
  readonly #fileMax: number;
  readonly #quota: number;
  /** Completions under way on this pod, by id: two last chunks cause one. */
  readonly #completing = new Map<string, Promise<void>>();

  /** @param parts.decoders the queue of all image decoding in this pod */
  constructor(parts: {
    db: Database;
    stores: Stores;
    decoders: FairQueue;
    metrics: Metrics;
    fileMax: number;
    filesQuota: number;
  }) {
    this.#db = parts.db;
    this.#stores = parts.stores;
    this.#decoders = parts.decoders;
    this.#metrics = parts.metrics;
    this.#fileMax = parts.fileMax;
    this.#quota = parts.filesQuota;
  }

  /** Begins an upload. @returns its id @throws ChatError `file_too_large`, `quota_exceeded`, `rate_limited`, `no_session` */
  async begin(me: Session, { name, type, size, sha256, isOriginal }: Announcement): Promise<string> {
    if (size > this.#fileMax) {
      throw new ChatError("file_too_large", { message: `A file can have at most ${this.#fileMax / 1e6} MB` });
    }
    const id = newId();
    const file = {
      ownerId: me.userId,
      id,
      blob: newBlob(),
      store: this.#stores.current.kind,
      name: cleanFileName(name),
      type,
      sha256,
      isOriginal,
      size,
      chunkCount: chunkCount(size),
    };
    check(await files.create(this.#db, file, this.#quota));
    return id;
  }

  /** Copies a file that `me` may read. @returns the id of the copy @throws ChatError as `begin`, and `not_found` */
  async copy(me: Session, source: string): Promise<string> {
    const id = newId();
    check(await files.copy(this.#db, source, { ownerId: me.userId, id, quota: this.#quota }));
    return id;
  }

  async usage(me: Session): Promise<{ bytes: number; quota: number }> {
    return { bytes: await files.bytesOf(this.#db, me.username), quota: this.#quota };
  }

  /** @throws ChatError `not_found` */
  async status(me: Session, id: string): Promise<UploadStatus> {
    const upload = await this.#find(me, id);
    return { have: arrived(upload), size: upload.size, isComplete: upload.isComplete };
  }

  /** Whether the upload takes this chunk, before its bytes are read. @throws ChatError `not_found`, `bad_request` */
  async expect(me: Session, id: string, n: number): Promise<Upload> {
    const upload = await this.#find(me, id);
    if (!upload.isComplete && n >= chunkCount(upload.size)) {
      throw new ChatError("bad_request", { message: `The file has ${chunkCount(upload.size)} chunks, from 0` });
    }
    return upload;
  }

  /**
   * Stores a chunk. Of a file that is complete, or has the chunk, nothing changes. The last one
   * completes the file.
   *
   * @throws ChatError `bad_request`, `bad_image`, `file_damaged`, `not_found`
   */
  async put(me: Session, upload: Upload, n: number, bytes: Uint8Array): Promise<void> {
    if (upload.isComplete) return;
    const size = Math.min(CHUNK_BYTES, upload.size - n * CHUNK_BYTES);
    if (bytes.length !== size) {
      throw new ChatError("bad_request", { message: `Chunk ${n} must have ${size} bytes, got ${bytes.length}` });
    }
    const before = arrived(upload);
    let have = before.length;
    if (!before.includes(n)) {
      await this.#stores.of(upload).put(upload.blob, n, bytes);
      this.#metrics.fileBytes.add("received", bytes.length);
      const count = await files.addChunk(this.#db, upload.id, n);
      if (count === undefined) return void (await this.#find(me, upload.id)); // completed meanwhile, or deleted
      have = count;
    }
    if (have < chunkCount(upload.size)) return;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const running = this.#completing.get(upload.id);
    if (running) return running;
    this.#completing.set(upload.id, promise);
    promise.catch(() => {}); // awaited below
    try {
      await this.#complete(me, upload);
      resolve();
    } catch (error) {
      reject(error);
    } finally {
      this.#completing.delete(upload.id);
    }
    return promise;
  }

  /** Ends an upload, or a file that was not sent. */
  remove(me: Session, id: string): Promise<void> {
    return files.removeUnsent(this.#db, me.username, id);
  }

  async #find(me: Session, id: string): Promise<Upload> {
    const upload = await files.upload(this.#db, me.username, id);
    if (!upload) throw new ChatError("not_found");
    return upload;
  }

  async #complete(me: Session, upload: Upload): Promise<void> {
    try {
      const type = await this.#recognize(upload);
      if (!isImage(type)) return await this.#finish(upload, upload, { type });
      const queuedAt = performance.now();
      await this.#decoders.run([me.nameKey], async () => {
        const startedAt = performance.now();
        this.#metrics.pictureWaitSeconds.observe((startedAt - queuedAt) / 1_000);
        await this.#completeImage(upload, type);
        this.#metrics.pictureSeconds.observe((performance.now() - startedAt) / 1_000);
      });
    } catch (error) {
      const isRejected = error instanceof ChatError && (error.code === "bad_image" || error.code === "file_damaged");
      if (isRejected) await files.removeUnsent(this.#db, me.username, upload.id);
      throw error;
    }
  }

  /** The type of the bytes, which must have the announced digest. */
  async #recognize({ announcedType, isOriginal, ...upload }: Upload): Promise<string> {
    let type: string = UNKNOWN_TYPE;
    if (upload.sha256 === null) type = recognizeType(await this.#stores.chunk(upload, 0), announcedType);
    else {
      const hasher = new Bun.CryptoHasher("sha256");
      for (let n = 0; n < chunkCount(upload.size); n++) {
        const bytes = await this.#stores.chunk(upload, n);
        if (n === 0) type = recognizeType(bytes, announcedType);
        hasher.update(bytes);
      }
      if (hasher.digest("hex") !== upload.sha256) throw new ChatError("file_damaged");
    }
    if (isOriginal) return type;
    if (isOpaqueImage(type)) {
      throw new ChatError("bad_image", {
        message: "Metadata of this image format cannot be removed. Send it as a file",
      });
    }
    if (isImage(type) && upload.size > PICTURE_MAX_BYTES) {
      throw new ChatError("bad_image", { message: "The image is too large. Send it as a file" });
    }
    return type;
  }

  async #completeImage(upload: Upload, type: Parameters<typeof makePicture>[1]): Promise<void> {
    const { isOriginal } = upload;
    const image = upload.size > PICTURE_MAX_BYTES ? undefined : await this.#stores.whole(upload);
    let picture: Picture | undefined;
    try {
      picture = image && (await makePicture(image, type));
    } catch (error) {
      if (!isOriginal) throw error;
    }
    if (!picture) return this.#finish(upload, upload, { type: UNKNOWN_TYPE }); // kept, but not shown
    const { bytes, preview, width, height, placeholder } = picture;
    const isKept = isOriginal || Buffer.compare(bytes, image as Uint8Array) === 0;
    const blob = isKept ? upload.blob : newBlob();
    const store = this.#stores.of(upload);
    if (!isKept) {
      for (let n = 0; n < chunkCount(bytes.length); n++) {
        await store.put(blob, n, bytes.subarray(n * CHUNK_BYTES, (n + 1) * CHUNK_BYTES));
      }
    }
    await store.put(blob, PREVIEW, preview);
    await this.#finish(
      upload,
      { blob, size: isKept ? upload.size : bytes.length },
      {
        type,
        width,
        height,
        placeholder,
      },
    );
  }

  /** Makes the file visible, with all its bytes, and deletes those that are no longer needed. */
  async #finish(
    upload: Upload,
    { blob, size }: { blob: string; size: number },
    found: { type: string; width?: number; height?: number; placeholder?: string },
  ): Promise<void> {
    const kept = await files.complete(this.#db, upload.id, { ...found, size, blob });
    if (kept === undefined) throw new ChatError("not_found"); // deleted meanwhile
    // Another pod may have completed it with a blob of its own. What fails here, the sweep finds.
    const unused = [blob, upload.blob].filter((one) => one !== kept);
    for (const one of new Set(unused))
      await this.#stores
        .of(upload)
        .remove(one)
        .catch(() => {});
  }
}

function newId(): string {
  return Buffer.from(crypto.getRandomValues(new Uint8Array(16))).toString("base64url");
}

/** @throws ChatError unless a file was created */
function check(outcome: Awaited<ReturnType<typeof files.create>>): void {
  if (outcome === "created") return;
  if (outcome === "over_quota") throw new ChatError("quota_exceeded");
  if (outcome !== "too_many") throw new ChatError(outcome);
  throw new ChatError("rate_limited", { message: "Too many files that were not sent yet", retryAfter: 60 });
}

/** The numbers of the chunks that have arrived. */
function arrived({ chunks }: Upload): number[] {
  const bits = Buffer.from(chunks, "hex");
  const have: number[] = [];
  for (let n = 0; n < bits.length * 8; n++) if ((bits[n >> 3] as number) & (1 << (n & 7))) have.push(n);
  return have;
}
