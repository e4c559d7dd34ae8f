/** Long answers, told page by page; and how much of the server a reader may hold who stops reading. */

import type { Message } from "../db/messages.ts";
import { ChatError } from "../errors.ts";
import type { Log } from "../log.ts";

/** Rows at a time: with 1,000 the server grew by 23–41 MiB, with 250 by 17–24. */
const ROWS_MAX = 250;
/** Before it is known how long the texts are. */
export const ROWS_FIRST = 25;
/** Fewer rows where texts are long: with 250 of 16 KB, each reader who stopped reading held 14 MiB. */
const PAGE_CHARACTERS = 128 * 1024;
/** Whoever takes nothing for so long is cut. Within Bun's 8–12 s a reader of 100 KB/s empties too little of the system's buffer to be noticed. */
const STALLED_SECONDS = 30;
/** Long answers that one person is told at one time. */
const STREAMS_MAX = 4;

/** Where the messages of a long answer come from. */
export interface Source {
  /** Of the request, for the log. */
  readonly id: string;
  /** Rows behind a number, in order. */
  after(seq: number, limit: number): Promise<Message[]>;
  /** Called before rows are told: the bracket must close over nothing that can still fail. */
  seen(rows: readonly Message[]): Promise<void>;
  show(row: Message): unknown;
}

/** Streams arrays of messages, and texts, a few at a time to each person. */
export class Streams {
  readonly #log: Log;
  readonly #open = new Map<string, number>();

  constructor(log: Log) {
    this.#log = log;
  }

  /**
   * The array, page by page: memory stays flat however long it is. A failure midway errors the stream, which cuts the connection;
   * the array is closed only when it is whole.
   *
   * @param keep is told for how many seconds the connection must survive a reader who takes nothing
   * @throws ChatError `rate_limited`, or what the first page fails with
   */
  async open(person: string, source: Source, keep: (seconds: number) => void): Promise<ReadableStream<Uint8Array>> {
    const end = this.#begin(person);
    try {
      const first = await source.after(0, ROWS_FIRST);
      keep(STALLED_SECONDS);
      const rest = parts(first, source);
      return this.#told({
        end,
        next: async () => (await rest.next()).value ?? undefined,
        failed: (error) => this.#log.error("messages cut off midway", error, { id: source.id }),
      });
    } catch (error) {
      end();
      throw error;
    }
  }

  /**
   * A text in parts, with the same promises; one of its kind to each person at one time.
   *
   * @throws ChatError `rate_limited`, or what the first part fails with
   */
  async text(
    kind: string,
    person: string,
    options: { parts: AsyncGenerator<string, void>; keep: (seconds: number) => void },
  ): Promise<ReadableStream<Uint8Array>> {
    const { parts, keep } = options;
    const end = this.#begin(`${kind}\n${person}`, 1);
    try {
      let part: IteratorResult<string, void> | undefined = await parts.next(); // what it fails with is told as a failure still
      keep(STALLED_SECONDS);
      return this.#told({
        end,
        async next() {
          const { value } = part ?? (await parts.next());
          part = undefined;
          return value ?? undefined;
        },
        failed: (error) => this.#log.error(`${kind} cut off midway`, error),
      });
    } catch (error) {
      end();
      throw error;
    }
  }

  /** @returns to be called when it is over, at least once @throws ChatError `rate_limited` */
  #begin(person: string, most = STREAMS_MAX): () => void {
    const open = this.#open.get(person) ?? 0;
    if (open >= most) throw new ChatError("rate_limited", { retryAfter: 5 });
    this.#open.set(person, open + 1);
    let ended = false;
    return () => {
      if (ended) return;
      ended = true;
      const left = (this.#open.get(person) ?? 0) - 1;
      if (left > 0) this.#open.set(person, left);
      else this.#open.delete(person);
    };
  }

  /** Bytes for as long as there are parts and a reader; a part is made when the one before it has left. */
  #told(told: {
    next: () => Promise<string | undefined>;
    end: () => void;
    failed: (error: unknown) => void;
  }): ReadableStream<Uint8Array> {
    const { next, end, failed } = told;
    const encoder = new TextEncoder();
    let left = false;
    return new ReadableStream({
      async pull(controller) {
        try {
          const part = await next();
          if (left) return;
          if (part !== undefined) return controller.enqueue(encoder.encode(part));
          end();
          controller.close();
        } catch (error) {
          end();
          failed(error);
          throw error;
        }
      },
      cancel() {
        left = true;
        end();
      },
    });
  }
}

/** The array of a source in parts, the first rows of which are there. */
async function* parts(first: Message[], source: Source): AsyncGenerator<string, void> {
  let limit = ROWS_FIRST;
  let rows = first;
  for (let start = "["; ; start = ",") {
    await source.seen(rows);
    const items = rows.map((row) => JSON.stringify(source.show(row))).join(",");
    const last = rows.at(-1);
    if (rows.length < limit || !last) return yield `${items === "" && start === "," ? "" : start}${items}]`;
    yield start + items;
    limit = rowsLike(rows.length, items.length);
    rows = await source.after(last.seq, limit);
  }
}

/** How many rows come next, after so many of so many characters together: fewer where texts are long. */
export function rowsLike(rows: number, characters: number): number {
  return Math.min(ROWS_MAX, Math.max(1, Math.floor((rows * PAGE_CHARACTERS) / characters)));
}
