/**
 * The JSON route that searches a user's messages. Searches take turns by the statement, so that a
 * quick one does not wait for a long one.
 */

import type { Server } from "bun";

import { messageRow } from "../chat/message_row.ts";
import type { SocketData } from "../chat/socket.ts";
import type { Database } from "../db/database.ts";
import {
  type Found,
  type FoundMessage,
  foundMessages,
  type MessageQuery,
  type Position,
  type Queries,
  searchMessages,
} from "../db/message_search.ts";
import { ChatError } from "../errors.ts";
import { FairQueue } from "../util/fair_queue.ts";
import { searchPattern } from "../util/search_pattern.ts";
import { readCursor, writeCursor } from "./cursors.ts";
import { urlOf, wholeNumber } from "./parameters.ts";
import { type Request, requestId } from "./request.ts";
import type { Sessions } from "./sessions.ts";
import type { Streams } from "./stream.ts";
import type { Trust } from "./trust.ts";
import { findPeer } from "./users.ts";

const HITS_MAX = 50;
/** Code points of a search. */
const [TEXT_MIN, TEXT_MAX] = [2, 100];
/**
 * One core of PostgreSQL: on two, a search at a time takes a third of the sends that the machine can
 * store, and two at a time take two thirds (`bun run bench --only search`).
 */
const STATEMENTS = { concurrency: 1, waiting: 16, client: { keys: 1, waiting: 1 } };
/** A page that searches while its user types cancels each search, but its last step still runs. */
const SEARCHES_OF_USER = { concurrency: 1, waiting: 4, client: { keys: 1, waiting: 4 } };

export class Search {
  readonly #sessions: Sessions;
  readonly #db: Database;
  readonly #streams: Streams;
  readonly #trust: Trust;
  readonly #statements = new FairQueue(STATEMENTS);
  /** Of users who are searching. */
  readonly #users = new Map<string, { readonly queue: FairQueue; searches: number }>();

  constructor(parts: { sessions: Sessions; db: Database; streams: Streams; trust: Trust }) {
    this.#sessions = parts.sessions;
    this.#db = parts.db;
    this.#streams = parts.streams;
    this.#trust = parts.trust;
  }

  /** The user's messages that contain a text, newest first. Marks nothing. */
  async list(request: Request, server: Server<SocketData>): Promise<Response> {
    const me = await this.#sessions.require(request, "messageSearches");
    const { searchParams } = urlOf(request);
    const pattern = readPattern(searchParams.get("q") ?? "");
    const limit = wholeNumber(searchParams, "limit", 1, HITS_MAX) ?? 20;
    const before = readPosition(searchParams);
    const name = searchParams.get("peer");
    const peer = name === null ? undefined : await findPeer(this.#db, me, name);
    if (name !== null && peer === undefined) throw new ChatError("no_such_user");

    const query: MessageQuery = { me: me.username, peer: peer?.username, pattern, before, limit };
    const db: Queries = { run: (query) => this.#statements.run([me.nameKey], () => this.#db.run(query)) };
    const { hits, next } = await this.#inTurn(me.nameKey, () =>
      searchMessages(db, query, () => request.signal.aborted),
    );
    const show = (row: FoundMessage) => ({
      ...messageRow(row, me.username, { hidesRead: row.peerHidesRead || me.hidesRead }),
      peer: row.peer,
      cursor: writePosition(row),
    });
    const id = requestId(request, this.#trust);
    const headers = next ? { "Chatify-Continue": writePosition(next) } : {};
    return this.#streams.list(
      foundMessages(this.#db, query, hits),
      { show: (row) => JSON.stringify(show(row)) },
      { kind: "search", id, request, server, headers },
      me.nameKey,
    );
  }

  /** One search of a user at a time. @throws ChatError `busy` */
  async #inTurn(user: string, search: () => Promise<Found>): Promise<Found> {
    const mine = this.#users.getOrInsertComputed(user, () => ({ queue: new FairQueue(SEARCHES_OF_USER), searches: 0 }));
    mine.searches++;
    try {
      return await mine.queue.run([user], search);
    } finally {
      if (--mine.searches === 0) this.#users.delete(user);
    }
  }
}

/** @throws ChatError `bad_request` */
function readPattern(text: string): string {
  const { length } = [...text];
  if (length < TEXT_MIN || length > TEXT_MAX || /\p{Cc}/u.test(text) || !text.isWellFormed()) {
    throw new ChatError("bad_request", {
      message: `q must have ${TEXT_MIN} to ${TEXT_MAX} characters, and no control characters`,
    });
  }
  const pattern = searchPattern(text);
  if (pattern === undefined) throw new ChatError("bad_request", { message: "q must have a visible character" });
  return pattern;
}

function writePosition({ timestamp, conversationId, seq }: Position): string {
  return writeCursor(timestamp, conversationId, seq);
}

function readPosition(query: URLSearchParams): Position | undefined {
  const cursor = readCursor(query, 2);
  if (cursor === undefined) return undefined;
  const [conversationId, seq] = cursor.ids as [number, number];
  return { timestamp: cursor.at, conversationId, seq };
}
