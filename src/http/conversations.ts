/** The JSON routes for a user's list of conversations, how it is arranged, and unread counts. */

import type { Server } from "bun";

import { membershipRow, type Memberships } from "../chat/memberships.ts";
import type { SocketData } from "../chat/socket.ts";
import * as conversationList from "../db/conversation_list.ts";
import type { Conversation, ConversationQuery, ListPosition } from "../db/conversation_list.ts";
import { unreadCounts } from "../db/conversations.ts";
import type { Database } from "../db/database.ts";
import { archivedCounts, type MembershipChanges } from "../db/memberships.ts";
import { findPeers, type Search } from "../db/name_search.ts";
import { firstTexts, pagesOf, withTexts } from "../db/paging.ts";
import { ChatError } from "../errors.ts";
import type { PresenceRegistry } from "../presence/registry.ts";
import { Batcher } from "../util/batcher.ts";
import { nameKey } from "../util/text.ts";
import { readCursor, writeCursor } from "./cursors.ts";
import { namePart, pathParameter, urlOf, wholeNumber } from "./parameters.ts";
import { profileJson } from "./profiles.ts";
import { json, readJson, type Request, requestId } from "./request.ts";
import type { Sessions } from "./sessions.ts";
import type { Streams } from "./stream.ts";
import type { Trust } from "./trust.ts";
import { findPeer, FOUND_MAX } from "./users.ts";

const PAGE_MAX = 200;
/** Header with the number of archived conversations. */
const ARCHIVED_HEADER = "Chatify-Archived";
const MUTE_MAX_SECONDS = 366 * 86_400;
/** What `POST /conversations` can change: the field of the body, and that of `MembershipChanges`. */
const FLAGS = { muted: "muted", pinned: "pinned", archived: "archived", marked_unread: "markedUnread" } as const;
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
  readonly #memberships: Memberships;
  /** Batched, because thousands of clients reconnect at once and each requests its list. */
  readonly #lists: Batcher<ConversationQuery, Conversation[]>;
  readonly #archivedCounts: Batcher<{ me: string; includeBlocked: boolean }, number>;

  constructor(parts: {
    sessions: Sessions;
    db: Database;
    registry: PresenceRegistry;
    streams: Streams;
    trust: Trust;
    memberships: Memberships;
  }) {
    this.#sessions = parts.sessions;
    this.#db = parts.db;
    this.#registry = parts.registry;
    this.#streams = parts.streams;
    this.#trust = parts.trust;
    this.#memberships = parts.memberships;
    this.#lists = new Batcher((asked) => this.#db.run((sql) => conversationList.listConversations(sql, asked)), {
      max: LISTS_MAX,
    });
    this.#archivedCounts = new Batcher((asked) => this.#db.run((sql) => archivedCounts(sql, asked)), {
      max: LISTS_MAX,
    });
  }

  async list(request: Request, server: Server<SocketData>): Promise<Response> {
    const { searchParams } = urlOf(request);
    const me = await this.#sessions.require(request, searchParams.has("part") ? "searches" : "history");
    const { username, hidesRead, hidesLastSeen } = me;
    const part = namePart(searchParams, ["before", "peer", "archived"]);
    const limit = wholeNumber(searchParams, "limit", 1, PAGE_MAX) ?? 50;
    const archived = readArchived(searchParams);
    const before = readPosition(searchParams, archived);
    const includeBlocked = searchParams.get("blocked") === "1";
    const name = searchParams.get("peer");
    const peer = name === null ? undefined : (await findPeer(this.#db, me, name))?.username;
    if (name !== null && peer === undefined) return json([]);
    const isStart = archived === false && before === undefined;
    const [rows, count] = await Promise.all([
      part === undefined
        ? this.#lists.add({ me: username, limit, before, peer, includeBlocked, archived })
        : this.#search({ part, me: username, limit: Math.min(limit, FOUND_MAX), includeBlocked }),
      isStart ? this.#archivedCounts.add({ me: username, includeBlocked }) : undefined,
    ]);
    const show = (row: Conversation & { readonly text: string }) => ({
      peer: row.peer,
      last_seq: row.lastSeq,
      revision: row.revision,
      last: {
        sender: row.sender,
        content: row.text,
        timestamp: row.timestamp,
        ...(row.isLastDeleted && { deleted: true }),
        ...(row.file && { file: row.file }),
      },
      unread: row.unread,
      // mutual: a user who hides read marks sees none, except in notes to oneself
      peer_read_seq: row.peer !== username && (hidesRead || row.hidesRead) ? 0 : row.peerReadSeq,
      peer_delivered_seq: row.peerDeliveredSeq,
      my_read_seq: row.myReadSeq,
      ...present(membershipRow(row)),
      gone: row.isDeleted,
      ...profileJson(row),
      online: !row.isDeleted && !row.isBlockedEitherWay && this.#registry.isOnline(nameKey(row.peer)),
      last_seen: hidesLastSeen || row.hidesLastSeen || row.isBlockedEitherWay ? null : row.lastSeenAt,
      cursor:
        row.isListedAsPinned && row.pinnedAt !== null
          ? writeCursor(row.pinnedAt, row.conversationId, PINNED)
          : writeCursor(row.lastAt, row.conversationId),
      // marks set after the block would reveal what the peer does
      ...(row.blocksPeer ? { blocked: true, unread: 0, peer_read_seq: 0, peer_delivered_seq: 0 } : {}),
    });
    const pages = withTexts(rows, (some) =>
      this.#db.run((sql) => conversationList.lastMessageTexts(sql, username, some)),
    );
    const shape = { show: (row: Parameters<typeof show>[0]) => JSON.stringify(show(row)) };
    const id = requestId(request, this.#trust);
    const response = await this.#streams.list(pages, shape, { kind: "conversations", id, request, server }, me.nameKey);
    if (count !== undefined) response.headers.set(ARCHIVED_HEADER, String(count));
    return response;
  }

  /** Changes how the user has arranged one conversation. */
  async change(request: Request): Promise<Response> {
    const me = await this.#sessions.require(request, "account");
    const body = await readJson(request);
    const { name } = body;
    const changes = readChanges(body);
    if (typeof name !== "string") throw new ChatError("bad_request", { message: "name must be a string" });
    const peer = await findPeer(this.#db, me, name);
    if (!peer) throw new ChatError("no_such_user");
    const settings = await this.#memberships.change(me, peer.username, changes);
    return json({ peer: peer.username, ...membershipRow(settings) });
  }

  async unreadCounts(request: Request, server: Server<SocketData>): Promise<Response> {
    const { username, nameKey: myKey } = await this.#sessions.require(request, "history");
    if (nameKey(pathParameter(request, "me")) !== myKey) throw new ChatError("not_yours");
    const { searchParams } = urlOf(request);
    const [muted, archived] = [searchParams.get("muted") !== "0", searchParams.get("archived") !== "0"];
    const pages = pagesOf<{ peer: string; unread: number }>((after, limit) =>
      this.#db.run((sql) => unreadCounts(sql, username, { muted, archived, after: after?.peer ?? "", limit })),
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

/** The last id of cursors in the pinned part of a list. */
const PINNED = 1;

/**
 * Whether to list only the archived conversations or all others; undefined lists all.
 *
 * @throws ChatError `bad_request`
 */
function readArchived(query: URLSearchParams): boolean | undefined {
  const given = wholeNumber(query, "archived", 0, 1);
  if (given === undefined) return undefined;
  if (query.has("peer")) {
    throw new ChatError("bad_request", { message: "`peer` and `archived` are mutually exclusive" });
  }
  return given === 1;
}

/** @throws ChatError `bad_request` */
function readPosition(query: URLSearchParams, archived: boolean | undefined): ListPosition | undefined {
  const cursor = archived === false ? readCursor(query, 1, 2) : readCursor(query, 1);
  if (!cursor) return undefined;
  const { at, ids } = cursor;
  const [conversationId = 0, kind] = ids;
  if (kind !== undefined && kind !== PINNED)
    throw new ChatError("bad_request", { message: "before is not a valid cursor" });
  return { at, conversationId, isListedAsPinned: kind === PINNED };
}

/** @throws ChatError `bad_request` */
function readChanges(body: Record<string, unknown>): MembershipChanges {
  const changes: Record<string, boolean | number> = {};
  for (const [field, change] of Object.entries(FLAGS)) {
    const value = body[field];
    if (value === undefined) continue;
    if (typeof value !== "boolean") throw new ChatError("bad_request", { message: `${field} must be true or false` });
    changes[change] = value;
  }
  if (Object.keys(changes).length === 0) {
    throw new ChatError("bad_request", { message: `One of ${Object.keys(FLAGS).join(", ")} is needed` });
  }
  const { mute_seconds: seconds } = body;
  if (seconds === undefined) return changes;
  const isValid = Number.isInteger(seconds) && (seconds as number) >= 1 && (seconds as number) <= MUTE_MAX_SECONDS;
  if (!isValid || changes["muted"] !== true) {
    const message = `mute_seconds must be a whole number from 1 to ${MUTE_MAX_SECONDS}, with muted true`;
    throw new ChatError("bad_request", { message });
  }
  return { ...changes, muteSeconds: seconds as number };
}

/** The fields that are not null. */
function present(row: object): object {
  return Object.fromEntries(Object.entries(row).filter(([, value]) => value !== null));
}
