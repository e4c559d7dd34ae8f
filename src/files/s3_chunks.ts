/** Chunks in an S3 bucket: each is an object, `{prefix}{blob}/{n}`. */

import { S3Client } from "bun";

import { ChatError } from "../errors.ts";
import { errorText, type Log } from "../log.ts";
import type { S3Settings } from "../setting_readers.ts";
import { FairQueue } from "../util/fair_queue.ts";
import { withTimeout } from "../util/timeout.ts";
import type { ChunkStore } from "./chunk_store.ts";

/** As for PostgreSQL, but a request waits for the network most of the time. */
const REQUESTS = { concurrency: 16, waiting: 10_000, client: { keys: 1, waiting: 10_000 } };
const TIMEOUT_MS = 10_000;
const TRIES = 3;
const FIRST_DELAY_MS = 100;
/** Objects per list, the most that S3 returns. */
const LIST_MAX = 1_000;

export class S3Chunks implements ChunkStore {
  readonly kind = "s3";
  readonly #client: S3Client;
  readonly #prefix: string;
  readonly #log: Log;
  readonly #timeoutMs: number;
  readonly #requests = new FairQueue(REQUESTS);

  /** @param options.timeoutMs of each try of a request */
  constructor({ prefix, ...settings }: S3Settings, options: { log: Log; timeoutMs?: number }) {
    const { endpoint, region, ...rest } = settings;
    this.#client = new S3Client({ ...rest, ...(endpoint && { endpoint }), ...(region && { region }), retry: 0 });
    this.#prefix = prefix;
    this.#log = options.log;
    this.#timeoutMs = options.timeoutMs ?? TIMEOUT_MS;
  }

  async put(blob: string, n: number, bytes: Uint8Array): Promise<void> {
    await this.#run(blob, "write", () => this.#client.write(this.#key(blob, n), bytes));
  }

  get(blob: string, n: number): Promise<Uint8Array | undefined> {
    return this.#run(blob, "read", () => this.#client.file(this.#key(blob, n)).bytes().catch(absent));
  }

  async sizes(blob: string): Promise<ReadonlyMap<number, number>> {
    const sizes = new Map<number, number>();
    const prefix = `${this.#prefix}${blob}/`;
    for (let startAfter: string | undefined; ;) {
      const after = startAfter === undefined ? {} : { startAfter };
      const page = await this.#run(blob, "list", () => this.#client.list({ prefix, maxKeys: LIST_MAX, ...after }));
      for (const { key, size } of page.contents ?? []) sizes.set(Number(key.slice(prefix.length)), size ?? 0);
      startAfter = page.contents?.at(-1)?.key;
      if (!page.isTruncated || startAfter === undefined) return sizes;
    }
  }

  async remove(blob: string): Promise<void> {
    for (const n of (await this.sizes(blob)).keys()) {
      await this.#run(blob, "delete", () => this.#client.delete(this.#key(blob, n)).catch(absent));
    }
  }

  async blobs(after: string, limit: number): Promise<string[]> {
    const request = {
      prefix: this.#prefix,
      delimiter: "/",
      maxKeys: Math.min(limit, LIST_MAX),
      ...(after && { startAfter: `${this.#prefix}${after}/~` }), // after all numbers
    };
    const page = await this.#run(after, "list", () => this.#client.list(request));
    return (page.commonPrefixes ?? []).map(({ prefix }) => prefix.slice(this.#prefix.length, -1));
  }

  #key(blob: string, n: number): string {
    return `${this.#prefix}${blob}/${n}`;
  }

  /** Tries a request a few times. @throws ChatError `not_ready` */
  #run<T>(blob: string, action: string, request: () => Promise<T>): Promise<T> {
    return this.#requests.run([blob], async () => {
      for (let tries = 1; ; tries++) {
        try {
          return await withTimeout(request(), this.#timeoutMs, () => new Error(`no answer in ${this.#timeoutMs} ms`));
        } catch (error) {
          if (tries === TRIES) {
            this.#log.warn("S3 failed", { action, code: codeOf(error), error: errorText(error) });
            throw new ChatError("not_ready", { retryAfter: 2, cause: error });
          }
          await Bun.sleep(FIRST_DELAY_MS * 2 ** tries * (0.5 + Math.random() / 2));
        }
      }
    });
  }
}

function absent(error: unknown): undefined {
  if (codeOf(error) !== "NoSuchKey") throw error;
}

function codeOf(error: unknown): string {
  return error instanceof Error && "code" in error ? String(error.code) : "";
}
