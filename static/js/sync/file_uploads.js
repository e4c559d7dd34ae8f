/**
 * Uploads the files of pending messages: in chunks, at most three files at a time, again after lost
 * connections and reloads until the server has all bytes; then the outbox sends the message. The
 * bytes stay in this browser until the message is stored or discarded.
 */

import { newRef } from "../store/pending.js";
import { Emitter } from "../util/emitter.js";
import { Limited, Rejected, SignedOut } from "./api.js";
import * as fileRequests from "./file_requests.js";

/** @import { Database } from "../store/offline_store.js" */
/** @import { PendingFile, PendingMessage } from "../store/pending.js" */
/** @import { FileRequests } from "./file_requests.js" */

/** @typedef {PendingMessage & { file: PendingFile }} MessageWithFile */

/** The object stores of its database: the bytes, and the uploads as the server knows them, by key. */
export const UPLOAD_STORES = ["bytes", "uploads"];

/** @typedef {{ id: string, chunk_size: number, isComplete?: true }} Begun an upload that the server knows */

const AT_ONCE = 3;
/** The server accepts eight of a user. */
const CHUNKS_AT_ONCE = 2;
const RETRY_MS = 1_000;
const RETRY_MAX_MS = 30_000;
/** Another tab may have added the message, but not stored its bytes yet. */
const BYTES_WITHIN_MS = 60_000;
/** Bytes without a message are deleted after this time. */
const ABANDONED_MS = 7 * 24 * 3_600_000;
/** Error codes after which only the user can decide how to go on. */
const FINAL = new Set(["bad_image", "bad_request", "file_damaged", "file_missing", "file_too_large", "quota_exceeded"]);

/**
 * - `progress`: what `stateOf` returns for this message has changed
 * - `volatile`: the browser has no room for the bytes of this file; they are lost when the page closes
 * @extends {Emitter<{ progress: MessageWithFile, volatile: string }>}
 */
export class FileUploads extends Emitter {
  #outbox;
  #connection;
  #database;
  #requests;
  #locks;
  #now;
  /** @type {Map<string, Blob>} bytes that are not stored yet, by key */
  #bytes = new Map();
  /** @type {Set<string>} keys of bytes that are only in memory */
  #volatileKeys = new Set();
  /** @type {Map<string, AbortController>} the files of the outbox, by key; aborted once the message is no longer pending */
  #known = new Map();
  /** @type {Map<string, Promise<boolean>>} by key: resolves once no other tab uploads the file, or to false if it never will */
  #owned = new Map();
  /** @type {Map<string, Begun>} by key */
  #begun = new Map();
  /** @type {Set<string>} */
  #running = new Set();
  /** @type {Map<string, any>} timers until the next attempt, by key */
  #waiting = new Map();
  /** @type {Map<string, number>} failed attempts since the last chunk arrived, by key */
  #failures = new Map();
  /** @type {Map<string, number>} bytes that the server has, by key */
  #sent = new Map();
  #isEnded = false;

  /**
   * @param {object} parts
   * @param {import("./outbox.js").Outbox} parts.outbox
   * @param {Pick<import("./connection.js").Connection, "on" | "state">} parts.connection
   * @param {Database} parts.database with `UPLOAD_STORES`
   * @param {FileRequests} [parts.requests]
   * @param {LockManager | undefined} [parts.locks] absent on plain http; two tabs may then upload the same file
   * @param {() => number} [parts.now]
   */
  constructor({ outbox, connection, database, requests = fileRequests, locks = navigator.locks, now = Date.now }) {
    super();
    this.#outbox = outbox;
    this.#connection = connection;
    this.#database = database;
    this.#requests = requests;
    this.#locks = locks;
    this.#now = now;
    outbox.on("changed", () => this.#update());
    outbox.on("removed", () => queueMicrotask(() => this.#update())); // an edit adds it again under another ref
    connection.on("state", (state) => {
      if (state === "open") this.#retryNow();
      for (const message of outbox.files.all()) this.emit("progress", message);
    });
    this.#update();
    void this.#deleteAbandoned();
  }

  /** Whether files are lost when the page closes. */
  get isVolatile() {
    return this.#volatileKeys.size > 0;
  }

  /**
   * Keeps the bytes of a message that is about to be added to the outbox. Returns their key.
   * @param {Blob} bytes
   */
  keep(bytes) {
    const key = newRef();
    this.#bytes.set(key, bytes);
    void this.#store(key, bytes);
    return key;
  }

  /**
   * How much of a file the server has, from 0 to 1, and whether the upload waits for the network.
   * @param {PendingFile} file
   */
  stateOf({ key, size, id }) {
    const part = id === "" ? (this.#sent.get(key) ?? 0) / size : 1;
    return { part, isPaused: id === "" && (this.#connection.state !== "open" || this.#waiting.has(key)) };
  }

  /** The bytes, if they are in this browser. @param {string} key @returns {Promise<Blob | undefined>} */
  async bytes(key) {
    return this.#bytes.get(key) ?? (await this.#database.get("bytes", key))?.bytes;
  }

  /** Stops uploading: the user signed out. */
  end() {
    this.#isEnded = true;
    for (const stopping of this.#known.values()) stopping.abort();
    for (const timer of this.#waiting.values()) clearTimeout(timer);
    this.#bytes.clear();
    this.#volatileKeys.clear();
  }

  /**
   * @param {string} key
   * @param {Blob} bytes
   */
  async #store(key, bytes) {
    const isStored = await this.#database.write([{ store: "bytes", key, value: { bytes, at: this.#now() } }]);
    if (this.#known.get(key)?.signal.aborted) return this.#delete(key); // discarded meanwhile
    if (isStored) this.#bytes.delete(key); // the stored copy stays the same if the user changes the file
    if (isStored || this.#isEnded) return;
    this.#volatileKeys.add(key);
    this.emit("volatile", key);
  }

  /** Follows the outbox: forgets the files of messages no longer pending, and uploads the others. */
  #update() {
    if (this.#isEnded) return;
    const messages = this.#outbox.files.all();
    const keys = new Set(messages.map(({ file }) => file.key));
    for (const [key, stopping] of this.#known) if (!keys.has(key) && !stopping.signal.aborted) this.#forget(key);
    for (const { file, state, code } of messages) {
      if (!this.#known.has(file.key)) this.#known.set(file.key, new AbortController());
      if (code === "no_such_file" && file.id !== "") void this.#beginAgain(file.key);
      else if (state === "uploading" && file.id === "") void this.#upload(file.key);
      if (state === "failed" && file.id === "") this.#sent.delete(file.key);
    }
  }

  /** @param {string} key */
  async #upload(key) {
    const signal = this.#known.get(key)?.signal;
    if (!signal || !(await this.#own(key, signal))) return;
    const message = this.#outbox.files.find(key);
    const isDue = message?.state === "uploading" && message.file.id === "" && this.#connection.state === "open";
    if (!isDue || this.#running.has(key) || this.#waiting.has(key) || this.#running.size >= AT_ONCE) return;
    this.#running.add(key);
    try {
      const id = await this.#send(message, signal);
      this.#failures.delete(key);
      this.#sent.delete(key);
      this.#outbox.files.setId(key, id);
    } catch (error) {
      if (!signal.aborted) await this.#failed(key, error);
    }
    this.#running.delete(key);
    this.#changed(key);
    this.#update();
  }

  /**
   * Waits until no other tab uploads the file. Returns false if its message is no longer pending.
   * @param {string} key
   * @param {AbortSignal} signal
   * @returns {Promise<boolean>}
   */
  #own(key, signal) {
    const locks = this.#locks;
    const earlier = this.#owned.get(key);
    if (earlier || !locks) return earlier ?? Promise.resolve(true);
    /** @type {Promise<boolean>} */
    const owned = new Promise((resolve) => {
      const hold = () =>
        new Promise((release) => {
          resolve(true);
          signal.addEventListener("abort", release);
        });
      locks.request(`chatify.upload.${key}`, { signal }, hold).catch(() => resolve(!signal.aborted));
    });
    this.#owned.set(key, owned);
    return owned;
  }

  /**
   * Uploads what the server does not have of a file. Returns its id.
   * @param {MessageWithFile} message
   * @param {AbortSignal} signal
   * @returns {Promise<string>}
   */
  async #send({ at, file }, signal) {
    const { key, name, type, size, isOriginal = false } = file;
    const begun = await this.#begunUpload(key);
    if (begun?.isComplete) return begun.id;
    const bytes = await this.bytes(key);
    if (!bytes) throw this.#now() - at > BYTES_WITHIN_MS ? new Rejected("file_missing") : new Error("No bytes yet");
    const status = begun && (await this.#requests.status(begun.id));
    const { id, chunk_size: chunkSize } =
      begun ?? (await this.#requests.begin({ name, type, size, original: isOriginal }));
    if (!begun) await this.#remember(key, { id, chunk_size: chunkSize });
    const missing = missingChunks(size, chunkSize, status?.have ?? []);
    const lengthOf = (/** @type {number} */ n) => Math.min(chunkSize, size - n * chunkSize);
    let sent = size - missing.reduce((sum, n) => sum + lengthOf(n), 0);
    const sendChunks = async () => {
      for (let n = missing.shift(); n !== undefined; n = missing.shift()) {
        signal.throwIfAborted();
        const chunk = bytes.slice(n * chunkSize, n * chunkSize + lengthOf(n));
        await this.#requests.put(id, n, chunk, signal);
        this.#failures.delete(key);
        this.#sent.set(key, (sent += lengthOf(n)));
        this.#changed(key);
      }
    };
    this.#sent.set(key, sent);
    this.#changed(key);
    if (!status?.complete) {
      await Promise.all(Array.from({ length: CHUNKS_AT_ONCE }, sendChunks)).catch((error) => {
        missing.length = 0; // ends the other
        throw error;
      });
    }
    await this.#remember(key, { id, chunk_size: chunkSize, isComplete: true });
    return id;
  }

  /** @param {string} key @returns {Promise<Begun | undefined>} */
  async #begunUpload(key) {
    return this.#begun.get(key) ?? this.#database.get("uploads", key);
  }

  /**
   * @param {string} key
   * @param {Begun} upload
   */
  async #remember(key, upload) {
    this.#begun.set(key, upload);
    await this.#database.write([{ store: "uploads", key, value: upload }]);
  }

  /**
   * @param {string} key
   * @param {unknown} error
   */
  async #failed(key, error) {
    if (error instanceof SignedOut) return; // the connection ends, too
    if (error instanceof Rejected && (error.message === "not_found" || FINAL.has(error.message))) {
      await this.#beginAgain(key); // the server has ended the upload
    }
    const message = this.#outbox.files.find(key);
    if (message && error instanceof Rejected && FINAL.has(error.message)) {
      this.#outbox.reject(message.ref, error.message);
      return;
    }
    const failures = (this.#failures.get(key) ?? 0) + 1;
    this.#failures.set(key, failures);
    const ms =
      error instanceof Limited ? error.seconds * 1_000 : Math.min(RETRY_MS * 2 ** (failures - 1), RETRY_MAX_MS);
    const retry = () => {
      this.#waiting.delete(key);
      this.#update();
    };
    this.#waiting.set(key, setTimeout(retry, ms));
  }

  #retryNow() {
    for (const timer of this.#waiting.values()) clearTimeout(timer);
    this.#waiting.clear();
    this.#failures.clear();
    this.#update();
  }

  /** The next attempt uploads the whole file. @param {string} key */
  async #beginAgain(key) {
    this.#outbox.files.setId(key, "");
    this.#sent.delete(key);
    this.#begun.delete(key);
    await this.#database.write([{ store: "uploads", key }]);
  }

  /** The message is stored or discarded. @param {string} key */
  #forget(key) {
    const isUnsent = this.#running.has(key) || this.#waiting.has(key) || (this.#sent.get(key) ?? 0) > 0;
    this.#known.get(key)?.abort();
    clearTimeout(this.#waiting.get(key));
    for (const map of [this.#waiting, this.#failures, this.#sent, this.#bytes, this.#owned]) map.delete(key);
    this.#volatileKeys.delete(key);
    void this.#delete(key, isUnsent);
  }

  /**
   * @param {string} key
   * @param {boolean} [isUnsent] whether the server should delete the file, if no message has it
   */
  async #delete(key, isUnsent = false) {
    const upload = isUnsent ? await this.#begunUpload(key) : undefined;
    this.#begun.delete(key);
    await this.#database.write(UPLOAD_STORES.map((store) => ({ store, key })));
    if (upload) await this.#requests.remove(upload.id).catch(() => {}); // otherwise it expires
  }

  async #deleteAbandoned() {
    for (const [key, { at }] of await this.#database.entries("bytes"))
      if (this.#now() - at > ABANDONED_MS && !this.#outbox.files.find(key)) void this.#delete(key);
  }

  /** @param {string} key */
  #changed(key) {
    const message = this.#outbox.files.find(key);
    if (message) this.emit("progress", message);
  }
}

/**
 * @param {number} size
 * @param {number} chunkSize
 * @param {readonly number[]} have
 */
function missingChunks(size, chunkSize, have) {
  const had = new Set(have);
  return Array.from({ length: Math.ceil(size / chunkSize) }, (_, n) => n).filter((n) => !had.has(n));
}
