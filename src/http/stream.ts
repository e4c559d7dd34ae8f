/**
 * Streams long JSON responses as fast as the client reads them, and bounds the memory that a
 * stalled client can pin.
 */

import type { Server } from "bun";

import type { SocketData } from "../chat/socket.ts";
import type { RowPages } from "../db/paging.ts";
import type { UnsentBudget } from "../delivery/unsent_budget.ts";
import { ChatError } from "../errors.ts";
import type { Log } from "../log.ts";
import { JSON_HEADERS, type Request } from "./request.ts";

/** A piece ends with the row that reaches this many UTF-16 units. */
const PIECE_LENGTH = 16 * 1024;
/** Shorter responses are sent whole: they fit the send buffer of any connection. */
const SHORT_LENGTH = 4 * 1024;
/**
 * Memory of a stalled response: a piece, the page it was made from, and the generators of the rest.
 */
const HELD_BYTES = 256 * 1024;
/** Memory per byte of the last piece. */
const HELD_FOR_BYTE = 2;
/**
 * A client that reads nothing for this long is disconnected. Bun's 8–12 s would be too short: in
 * that time a client reading 100 KB/s drains too little of the send buffer to be noticed.
 */
const STALLED_SECONDS = 30;
/** Concurrent long responses of one user. */
const STREAMS_MAX = 4;

/**
 * A response body in pieces, each made once the previous one is sent; the last one is the return
 * value.
 */
export type Pieces = AsyncGenerator<string, string>;

/** The request to respond to. */
export interface StreamRequest {
  /** What was requested, for the log. */
  readonly kind: string;
  /** The id of the request, for the log. */
  readonly id?: string;
  readonly request: Request;
  readonly server: Server<SocketData>;
  /** Called once the response ends, however it ends. */
  readonly end?: () => void;
  readonly headers?: Record<string, string>;
  readonly status?: number;
}

/** How rows are written, and the text before and after them. */
export interface Shape<Row> {
  readonly show: (row: Row) => string;
  readonly open?: string;
  readonly close?: string;
}

/** Streams responses and limits the long ones of each user. */
export class Streams {
  readonly #log: Log;
  readonly #unsent: UnsentBudget;
  readonly #open = new Map<string, number>();

  constructor({ log, unsent }: { log: Log; unsent: UnsentBudget }) {
    this.#log = log;
    this.#unsent = unsent;
  }

  /**
   * Counts a long response of a user.
   *
   * @param most the user's limit of concurrent ones
   * @returns a function to call at least once when the response ends
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
   * Responds with a list.
   *
   * @param user charged with a long response if the list has more than one page; undefined for no
   * limit
   * @throws ChatError `rate_limited`, and errors of the first page
   */
  async list<Row>(pages: RowPages<Row>, shape: Shape<Row>, asked: StreamRequest, user?: string): Promise<Response> {
    const first = await pages.next();
    const end = first.done || user === undefined ? undefined : this.begin(user);
    return this.text(toPieces(resumed(first, pages), shape), end ? { ...asked, end } : asked);
  }

  /**
   * Responds with a text: whole if it is short, else streamed.
   *
   * @throws errors of the first piece
   */
  async text(pieces: Pieces, asked: StreamRequest): Promise<Response> {
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

  /**
   * Streams even a short text, once its first piece is ready, so that a failure until then still gets
   * an error response.
   *
   * @throws errors of the first piece
   */
  async streamAfterFirstPiece(pieces: Pieces, asked: StreamRequest): Promise<Response> {
    try {
      return this.stream(resumed(await pieces.next(), pieces), asked);
    } catch (error) {
      asked.end?.();
      throw error;
    }
  }

  /**
   * Streams bytes, once their first piece is ready. `headers` name their type.
   *
   * @param pieces of at most 256 KiB
   * @throws errors of the first piece
   */
  async bytes(pieces: AsyncGenerator<Uint8Array>, asked: StreamRequest): Promise<Response> {
    try {
      const first = await pieces.next();
      const rest = async function* (): AsyncGenerator<Uint8Array, Uint8Array> {
        if (!first.done) yield first.value;
        yield* pieces;
        return new Uint8Array();
      };
      return this.stream(rest(), asked);
    } catch (error) {
      asked.end?.();
      throw error;
    }
  }

  /**
   * Streams a text, or bytes, of any length. An error midway closes the connection, so that a truncated
   * response is not taken for a complete one.
   */
  stream<Piece extends string | Uint8Array>(pieces: AsyncGenerator<Piece, Piece>, asked: StreamRequest): Response {
    const { kind, id, request, server, end = () => {}, headers, status = 200 } = asked;
    const [log, unsent] = [this.#log, this.#unsent];
    server.timeout(request, STALLED_SECONDS);
    // A direct stream reports whether the client has read a write, and can be closed while a write
    // waits.
    const source: Bun.DirectUnderlyingSource = {
      type: "direct",
      async pull(controller) {
        const client = { disconnect: () => controller.close(new Error("cut")) };
        try {
          for (let isLast = false; !isLast;) {
            const { done, value } = await pieces.next();
            isLast = done === true;
            const written = value.length === 0 ? undefined : controller.write(value);
            if (written === 0) return; // the client has disconnected
            if (!(written instanceof Promise)) continue;
            unsent.note(client, isLast ? Buffer.byteLength(value) * HELD_FOR_BYTE : HELD_BYTES);
            const isRead = await written;
            unsent.note(client, 0);
            if (!isRead) return; // cut by the unsent budget
          }
          controller.close();
        } catch (error) {
          log.error(`${kind} response failed midway`, error, { id });
          throw error;
        } finally {
          end();
        }
      },
      cancel: end, // for HEAD, or if the client has disconnected already
    };
    // The DOM types lack direct streams.
    const body = new ReadableStream(source as unknown as UnderlyingSource);
    return new Response(body, { status, headers: { ...JSON_HEADERS, ...headers } });
  }
}

/** Continues a generator whose first item has been taken. */
async function* resumed<T>(first: IteratorResult<T, T>, rest: AsyncGenerator<T, T>): AsyncGenerator<T, T> {
  const { done, value } = first;
  if (done) return value;
  yield value;
  return yield* rest;
}

/**
 * Writes pages of rows as text; the closing bracket follows the last page. Empties the pages as it
 * proceeds.
 */
export async function* toPieces<Row>(pages: RowPages<Row>, shape: Shape<Row>): Pieces {
  const { show, open = "[", close = "]" } = shape;
  let piece = open;
  let before = "";
  for (let isLast = false; !isLast;) {
    const { done, value: rows } = await pages.next();
    isLast = done === true;
    rows.reverse();
    for (let row = rows.pop(); row !== undefined; row = rows.pop()) {
      piece += before + show(row);
      before = ",";
      if (piece.length < PIECE_LENGTH) continue;
      yield piece;
      piece = "";
    }
  }
  return piece + close;
}
