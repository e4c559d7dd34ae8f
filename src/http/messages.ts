/**
 * The JSON route for the messages of one conversation, which also marks them delivered and read.
 */

import type { Server } from "bun";

import { messageRow } from "../chat/message_row.ts";
import type { Receipts } from "../chat/receipts.ts";
import type { SocketData } from "../chat/socket.ts";
import { lastSeqBefore, type Message, type MessagePage, messagePage, type PageRequest } from "../db/conversations.ts";
import type { Database } from "../db/database.ts";
import { type RowPages, ROWS_MAX } from "../db/paging.ts";
import type { Session } from "../db/sessions.ts";
import { ChatError } from "../errors.ts";
import { checkName, keyOfReference } from "../util/text.ts";
import { withTimeout } from "../util/timeout.ts";
import { instant, pathParameter, urlOf, wholeNumber } from "./parameters.ts";
import { json, type Request, requestId } from "./request.ts";
import type { Sessions } from "./sessions.ts";
import { type StreamRequest, type Streams, toPieces } from "./stream.ts";
import { isForeign, type Trust } from "./trust.ts";
import { findPeer } from "./users.ts";

const PAGE_MAX = 200;
/**
 * Marks are retried for as long as PostgreSQL is unreachable; a request waits only as long as for a
 * query.
 */
const MARK_TIMEOUT_MS = 10_000;

export class Messages {
  readonly #sessions: Sessions;
  readonly #receipts: Receipts;
  readonly #db: Database;
  readonly #streams: Streams;
  readonly #trust: Trust;

  constructor(parts: { sessions: Sessions; receipts: Receipts; db: Database; streams: Streams; trust: Trust }) {
    this.#sessions = parts.sessions;
    this.#receipts = parts.receipts;
    this.#db = parts.db;
    this.#streams = parts.streams;
    this.#trust = parts.trust;
  }

  /**
   * The messages between the user and a peer. Marks the peer's messages read, or only delivered
   * with `peek=1`.
   */
  async list(request: Request, server: Server<SocketData>): Promise<Response> {
    // Another site's page cannot read the response: mark nothing.
    const foreign = isForeign(request, this.#trust);
    const me = await this.#sessions.require(request, "history");
    const names = [pathParameter(request, "a"), pathParameter(request, "b")] as const;
    const keys = names.map(keyOfReference);
    // mutation: own conversations only
    if (!keys.includes(me.nameKey)) {
      for (const name of names) checkReference(name);
      throw new ChatError("not_yours");
    }
    const peerName = keys[0] === me.nameKey ? names[1] : names[0];
    const peer = await findPeer(this.#db, me, peerName);
    if (peer === undefined) checkReference(peerName);
    const { searchParams } = urlOf(request);
    const at = instant(searchParams, "at");
    const bounds = readPageRequest(searchParams, at !== undefined);
    if (peer === undefined) return json([]);
    const pageRequest =
      at === undefined
        ? bounds
        : {
            limit: bounds?.limit ?? PAGE_MAX,
            after: await this.#db.run((sql) => lastSeqBefore(sql, me.username, peer.username, at)),
          };

    // A blocked peer's messages are never marked.
    const includeBlocked = searchParams.get("blocked") === "1";
    const marksNothing = pageRequest?.changedAfter !== undefined;
    const peeks = foreign || includeBlocked || searchParams.get("peek") === "1";
    const read = (pageRequest: PageRequest) =>
      this.#db.run((sql) => messagePage(sql, me.username, peer.username, { ...pageRequest, includeBlocked }));
    const show = (row: Message) =>
      messageRow(row, me.username, { marksRead: !peeks && !marksNothing, hidesRead: peer.hidesRead || me.hidesRead });
    const mark = async (rows: readonly Message[]) => {
      // HEAD returns no rows.
      if (request.method !== "HEAD" && !foreign && !marksNothing) await this.#mark(me, peer.username, rows, peeks);
    };
    const asked: StreamRequest = { kind: "messages", id: requestId(request, this.#trust), request, server };
    const pieces = (first: MessagePage) =>
      toPieces(markedPages(first, { isWhole: !pageRequest, changedAfter: pageRequest?.changedAfter, read, mark }), {
        show: (row) => JSON.stringify(show(row)),
      });
    if (!pageRequest) {
      const end = this.#streams.begin(me.nameKey);
      const first = await read({ limit: ROWS_MAX, after: 0 }).catch((error: unknown) => {
        end();
        throw error;
      });
      return this.#streams.streamAfterFirstPiece(pieces(first), { ...asked, end });
    }
    const first = await read(pageRequest);
    if (first.remaining === 0) return this.#streams.text(pieces(first), asked);
    // Before marking: a rejected request must mark nothing.
    const end = this.#streams.begin(me.nameKey);
    return this.#streams.text(pieces(first), { ...asked, end });
  }

  /** Marks the peer's rows delivered, and read unless the client only peeks. */
  async #mark(me: Session, peer: string, rows: readonly Message[], peeks: boolean): Promise<void> {
    const received = rows.filter((row) => row.sender === peer);
    const last = peeks ? received.at(-1) : rows.at(-1);
    if (!last) return;
    if (peeks) return this.#receipts.noteDelivered(me.username, peer, last.seq);
    // A page of sent messages only may have unread ones below it.
    const mayBeUnread = received.length === 0 || received.some((row) => !row.read);
    if (mayBeUnread) {
      const marking = this.#receipts.markRead(me.username, peer, last.seq);
      await withTimeout(marking, MARK_TIMEOUT_MS, () => new ChatError("not_ready"));
    }
  }
}

/**
 * Pages of messages, each marked before it is sent: a failure later in the stream then leaves
 * no sent page unmarked.
 */
async function* markedPages(
  first: MessagePage,
  options: {
    isWhole: boolean;
    changedAfter: number | undefined;
    read: (pageRequest: PageRequest) => Promise<MessagePage>;
    mark: (rows: readonly Message[]) => Promise<void>;
  },
): RowPages<Message> {
  const { isWhole, changedAfter, read, mark } = options;
  for (let page = first; ;) {
    const { rows, remaining } = page;
    await mark(rows);
    const last = rows.at(-1);
    const limit = isWhole && rows.length + remaining === ROWS_MAX ? ROWS_MAX : remaining;
    if (!last || limit === 0) return rows;
    yield rows;
    page = await read(
      changedAfter === undefined ? { after: last.seq, limit } : { changedAfter: last.revision ?? 0, limit },
    );
  }
}

function checkReference(name: string): void {
  try {
    checkName(name);
  } catch (error) {
    throw new ChatError("bad_request", { message: "The path contains an invalid name", cause: error });
  }
}

/**
 * Undefined for the whole conversation.
 *
 * @param hasInstant the query also has a valid `at` @throws ChatError `bad_request`
 */
function readPageRequest(query: URLSearchParams, hasInstant: boolean): PageRequest | undefined {
  const limit = wholeNumber(query, "limit", 1, PAGE_MAX);
  const before = wholeNumber(query, "before", 1, Number.MAX_SAFE_INTEGER);
  const after = wholeNumber(query, "after", 0, Number.MAX_SAFE_INTEGER);
  const changedAfter = wholeNumber(query, "changed_after", 0, Number.MAX_SAFE_INTEGER);
  if ([before, after, changedAfter].filter((bound) => bound !== undefined).length + Number(hasInstant) > 1) {
    throw new ChatError("bad_request", {
      message: "`before`, `after`, `changed_after` and `at` are mutually exclusive",
    });
  }
  if (changedAfter !== undefined) return { limit: limit ?? PAGE_MAX, changedAfter };
  if (before !== undefined) return { limit: limit ?? PAGE_MAX, before };
  if (after !== undefined) return { limit: limit ?? PAGE_MAX, after };
  return limit === undefined ? undefined : { limit };
}
