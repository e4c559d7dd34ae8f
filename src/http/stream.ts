/** Long JSON answers, made piece by piece as their reader takes them; and how much of the server a reader who stops reading may hold. */

import type { Server } from "bun";

import type { SocketData } from "../chat/socket.ts";
import type { Pages } from "../db/pages.ts";
import type { UnsentBudget } from "../delivery/unsent_budget.ts";
import { ChatError } from "../errors.ts";
import type { Log } from "../log.ts";
import { JSON_HEADERS, type Request } from "./request.ts";

/** UTF-16 units of a piece, and one row more. */
const PIECE_LENGTH = 16 * 1024;
/** Up to this length an answer is sent whole: the system takes as much for any connection. */
const SHORT_LENGTH = 4 * 1024;
/** What a stalled answer holds: a piece, the page it was made of, and what the rest takes to be made. */
const HELD_BYTES = 256 * 1024;
/** What is held for each byte of the last piece. */
const HELD_FOR_BYTE = 2;
/** A client that takes nothing for so long is cut. Within Bun's 8–12 s a reader of 100 KB/s empties too little of the system's buffer to be noticed. */
const STALLED_SECONDS = 30;
/** Long answers of one user at one time. */
const STREAMS_MAX = 4;

/** A text in pieces: each is made when the one before it has left, and the last one is returned. */
export type Pieces = AsyncGenerator<string, string>;

/** The request that an answer belongs to. */
export interface Asked {
  /** What is asked for, for the log. */
  readonly kind: string;
  /** The id of the request, for the log. */
  readonly id?: string;
  readonly request: Request;
  readonly server: Server<SocketData>;
  /** Called when the answer is over, however it ends. */
  readonly end?: () => void;
  readonly headers?: Record<string, string>;
}

/** How rows are written, and what stands before, between and behind them. */
export interface Shape<Row> {
  readonly show: (row: Row) => string;
  readonly open?: string;
  readonly comma?: string;
  readonly close?: string;
}

/** Streams answers, and counts the long ones of each user. */
export class Streams {
  readonly #log: Log;
  readonly #unsent: UnsentBudget;
  readonly #open = new Map<string, number>();

  constructor({ log, unsent }: { log: Log; unsent: UnsentBudget }) {
    this.#log = log;
    this.#unsent = unsent;
  }

  /**
   * Counts a long answer.
   *
   * @param user who asks for it @param most so many at one time
   * @returns to be called when it is over, at least once
   * @throws ChatError `rate_limited`
   */
  begin(user: string, most = STREAMS_MAX): () => void {
    const open = this.#open.get(user) ?? 0;
    if (open >= most) throw new ChatError("rate_limited", { retryAfter: 5 });
    this.#open.set(user, open + 1);
    let ended = false;
    return () => {
      if (ended) return;
      ended = true;
      const left = (this.#open.get(user) ?? 0) - 1;
      if (left > 0) this.#open.set(user, left);
      else this.#open.delete(user);
    };
  }

  /**
   * Answers with a list.
   *
   * @param user whose long answers are counted: a list of more than one page is one. Undefined: it is not counted
   * @throws ChatError `rate_limited`, and what its first page fails with
   */
  async list<Row>(pages: Pages<Row>, shape: Shape<Row>, asked: Asked, user?: string): Promise<Response> {
    const first = await pages.next();
    const end = first.done || user === undefined ? undefined : this.begin(user);
    return this.text(inPieces(resumed(first, pages), shape), end ? { ...asked, end } : asked);
  }

  /** Answers with a text: whole when it is short, else streamed. @throws what its first piece fails with */
  async text(pieces: Pieces, asked: Asked): Promise<Response> {
    const { end = () => {}, headers } = asked;
    try {
      const first = await pieces.next();
      if (!first.done || first.value.length > SHORT_LENGTH) return this.stream(resumed(first, pieces), asked);
      end();
      return new Response(first.value, { headers: { ...JSON_HEADERS, ...headers } });
    } catch (error) {
      end();
      throw error;
    }
  }

  /** Streams a text, whatever its length. @throws ChatError that its first piece fails with; any other failure cuts the connection */
  async whole(pieces: Pieces, asked: Asked): Promise<Response> {
    const first = pieces.next();
    try {
      await first;
    } catch (error) {
      if (error instanceof ChatError) {
        asked.end?.();
        throw error;
      }
    }
    return this.stream(resumed(first, pieces), asked);
  }

  /** Streams a text, whatever its length. A failure midway cuts the connection, so that nothing cut off passes for whole. */
  stream(pieces: Pieces, asked: Asked): Response {
    const { kind, id, request, server, end = () => {}, headers } = asked;
    const [log, unsent] = [this.#log, this.#unsent];
    server.timeout(request, STALLED_SECONDS);
    // Of a direct stream's writes it is known whether the client has taken them, and it can be cut while one waits.
    const source: Bun.DirectUnderlyingSource = {
      type: "direct",
      async pull(controller) {
        const client = { disconnect: () => controller.close(new Error("cut")) };
        try {
          for (let isLast = false; !isLast;) {
            const { done, value } = await pieces.next();
            isLast = done === true;
            const written = value === "" ? undefined : controller.write(value);
            if (written === 0) return; // the client has gone
            if (!(written instanceof Promise)) continue;
            unsent.note(client, isLast ? Buffer.byteLength(value) * HELD_FOR_BYTE : HELD_BYTES);
            const taken = await written;
            unsent.note(client, 0);
            if (!taken) return; // it was cut
          }
          controller.close();
        } catch (error) {
          log.error(`${kind} cut off midway`, error, { id });
          throw error;
        } finally {
          end();
        }
      },
      cancel: end, // of a HEAD, or when the client has gone before
    };
    const body = new ReadableStream(source as unknown as UnderlyingSource); // the types of the DOM know none of the kind
    return new Response(body, { headers: { ...JSON_HEADERS, ...headers } });
  }
}

/** Pages or pieces whose first was taken already. */
async function* resumed<T>(
  first: IteratorResult<T, T> | Promise<IteratorResult<T, T>>,
  rest: AsyncGenerator<T, T>,
): AsyncGenerator<T, T> {
  const { done, value } = await first;
  if (done) return value;
  yield value;
  return yield* rest;
}

/** Rows that come in pages, as text: its end comes when no page is left that could fail. Empties the pages as it goes. */
export async function* inPieces<Row>(pages: Pages<Row>, shape: Shape<Row>): Pieces {
  const { show, open = "[", comma = ",", close = "]" } = shape;
  let piece = open;
  let before = "";
  for (let isLast = false; !isLast;) {
    const { done, value: rows } = await pages.next();
    isLast = done === true;
    rows.reverse();
    for (let row = rows.pop(); row !== undefined; row = rows.pop()) {
      piece += before + show(row);
      before = comma;
      if (piece.length < PIECE_LENGTH) continue;
      yield piece;
      piece = "";
    }
  }
  return piece + close;
}
