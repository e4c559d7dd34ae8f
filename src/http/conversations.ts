/** The JSON routes for a user's list of conversations and their unread counts. */

import type { Server } from "bun";

import type { SocketData } from "../chat/socket.ts";
import * as conversationList from "../db/conversation_list.ts";
import type { Conversation, ConversationQuery } from "../db/conversation_list.ts";
import { unreadCounts } from "../db/conversations.ts";
import type { Database } from "../db/database.ts";
import { findPeers, type Search } from "../db/name_search.ts";
import { firstTexts, pagesOf, withTexts } from "../db/paging.ts";
import { ChatError } from "../errors.ts";
import type { PresenceRegistry } from "../presence/registry.ts";
import { Batcher } from "../util/batcher.ts";
import { nameKey } from "../util/text.ts";
import { readCursor, writeCursor } from "./cursors.ts";
import { namePart, pathParameter, urlOf, wholeNumber } from "./parameters.ts";
import { profileJson } from "./profiles.ts";
import { json, type Request, requestId } from "./request.ts";
import type { Sessions } from "./sessions.ts";
import type { Streams } from "./stream.ts";
import type { Trust } from "./trust.ts";
import { findPeer, FOUND_MAX } from "./users.ts";

const PAGE_MAX = 200;
/**
 * Lists in one statement: a user with thousands of conversations delays the others in the batch by
 * some milliseconds.
 */
const LISTS_MAX = 16;

export class Conversations {
  readonly #sessions: Sessions;
  readonly #db: Database;
  readonly #registry: PresenceRegistry;
  readonly #streams: Streams;
  readonly #trust: Trust;
  /** Batched, because thousands of clients reconnect at once and each requests its list. */
  readonly #lists: Batcher<ConversationQuery, Conversation[]>;

  constructor(parts: { sessions: Sessions; db: Database; registry: PresenceRegistry; streams: Streams; trust: Trust }) {
    this.#sessions = parts.sessions;
    this.#db = parts.db;
    this.#registry = parts.registry;
    this.#streams = parts.streams;
    this.#trust = parts.trust;
    this.#lists = new Batcher((asked) => this.#db.run((sql) => conversationList.listConversations(sql, asked)), {
      max: LISTS_MAX,
    });
  }

  async list(request: Request, server: Server<SocketData>): Promise<Response> {
    const { searchParams } = urlOf(request);
    const me = await this.#sessions.require(request, searchParams.has("part") ? "searches" : "history");
    const { username, hidesRead, hidesLastSeen } = me;
    const part = namePart(searchParams, ["before", "peer"]);
    const limit = wholeNumber(searchParams, "limit", 1, PAGE_MAX) ?? 50;
    const cursor = readCursor(searchParams, 1);
    const before = cursor && { lastAt: cursor.at, conversationId: cursor.ids[0] as number };
    const includeBlocked = searchParams.get("blocked") === "1";
    const name = searchParams.get("peer");
    const peer = name === null ? undefined : (await findPeer(this.#db, me, name))?.username;
    if (name !== null && peer === undefined) return json([]);
    const rows =
      part === undefined
        ? await this.#lists.add({ me: username, limit, before, peer, includeBlocked })
        : await this.#search({ part, me: username, limit: Math.min(limit, FOUND_MAX), includeBlocked });
    const show = (row: Conversation & { readonly text: string }) => ({
      peer: row.peer,
      last_seq: row.lastSeq,
      revision: row.revision,
      last: {
        sender: row.sender,
        content: row.text,
        timestamp: row.timestamp,
        ...(row.isLastDeleted && { deleted: true }),
      },
      unread: row.unread,
      // mutual: a user who hides read marks sees none, except in notes to oneself
      peer_read_seq: row.peer !== username && (hidesRead || row.hidesRead) ? 0 : row.peerReadSeq,
      peer_delivered_seq: row.peerDeliveredSeq,
      my_read_seq: row.myReadSeq,
      muted: row.muted,
      gone: row.isDeleted,
      ...profileJson(row),
      online: !row.isDeleted && !row.isBlockedEitherWay && this.#registry.isOnline(nameKey(row.peer)),
      last_seen: hidesLastSeen || row.hidesLastSeen || row.isBlockedEitherWay ? null : row.lastSeenAt,
      cursor: writeCursor(row.lastAt, row.conversationId),
      // marks set after the block would reveal what the peer does
      ...(row.blocksPeer ? { blocked: true, unread: 0, peer_read_seq: 0, peer_delivered_seq: 0 } : {}),
    });
    const pages = withTexts(rows, (some) =>
      this.#db.run((sql) => conversationList.lastMessageTexts(sql, username, some)),
    );
    const shape = { show: (row: Parameters<typeof show>[0]) => JSON.stringify(show(row)) };
    const id = requestId(request, this.#trust);
    return this.#streams.list(pages, shape, { kind: "conversations", id, request, server }, me.nameKey);
  }

  async unreadCounts(request: Request, server: Server<SocketData>): Promise<Response> {
    const { username, nameKey: myKey } = await this.#sessions.require(request, "history");
    if (nameKey(pathParameter(request, "me")) !== myKey) throw new ChatError("not_yours");
    const muted = urlOf(request).searchParams.get("muted") !== "0";
    const pages = pagesOf<{ peer: string; unread: number }>((after, limit) =>
      this.#db.run((sql) => unreadCounts(sql, username, { muted, after: after?.peer ?? "", limit })),
    );
    const shape = {
      show: ({ peer, unread }: { peer: string; unread: number }) => `${JSON.stringify(peer)}:${unread}`,
      open: "{",
      close: "}",
    };
    const id = requestId(request, this.#trust);
    return this.#streams.list(pages, shape, { kind: "unread counts", id, request, server }, myKey);
  }

  /** The user's conversations with peers whose name contains `part`, newest first. */
  async #search(search: Search): Promise<Conversation[]> {
    const { me, includeBlocked } = search;
    const peers = search.part === "" ? [] : await findPeers(this.#db, search);
    const rows = peers.map((peer) =>
      this.#lists.add({ me, limit: 1, before: undefined, peer, ...(includeBlocked && { includeBlocked }) }),
    );
    return firstTexts((await Promise.all(rows)).flat());
  }
}
