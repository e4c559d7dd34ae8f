/** The JSON routes of a signed-in person: people, conversations, messages. */

import type { Server } from "bun";

import { INVITE, inviteLink } from "../accounts/invitation.ts";
import type { SignupPolicy } from "../accounts/signup_policy.ts";
import type { Chat } from "../chat/chat.ts";
import type { Relationships } from "../chat/relationships.ts";
import type { SocketData } from "../chat/socket.ts";
import type { Database } from "../db/client.ts";
import * as messages from "../db/messages.ts";
import type { Conversation, ConversationsAsked, Message, Page, Window } from "../db/messages.ts";
import { firstTexts, NAMES_MAX, type Pages, pagesOf, ROWS_MAX, withTexts } from "../db/pages.ts";
import { findNames, findPeers, type Search } from "../db/people.ts";
import type { Session } from "../db/sessions.ts";
import * as users from "../db/users.ts";
import { ChatError } from "../errors.ts";
import type { PresenceRegistry } from "../presence/registry.ts";
import { Batcher } from "../util/batcher.ts";
import { checkName, keyOfReference, nameKey, searchKey } from "../util/text.ts";
import type { Auth } from "./login.ts";
import { addressOf, idOf, isForeign, json, originOf, type Request, type Trust, wholeNumber } from "./request.ts";
import { type Asked, inPieces, type Streams } from "./stream.ts";

const PAGE_MAX = 200;
/** Found by a part of a name. */
const FOUND_MAX = 20;
/** Lists of conversations in one statement: whoever has thousands makes the others of it wait for some milliseconds. */
const LISTS_MAX = 16;
const MARK_PATIENCE_MS = 10_000;

export class Api {
  readonly #auth: Auth;
  readonly #chat: Chat;
  readonly #choices: Relationships;
  readonly #db: Database;
  readonly #door: SignupPolicy;
  readonly #trust: Trust;
  readonly #roster: PresenceRegistry;
  /** Thousands come back at once, and each asks for its list: a statement for many of them. */
  readonly #lists: Batcher<ConversationsAsked, Conversation[]>;
  readonly #streams: Streams;

  constructor(parts: {
    auth: Auth;
    chat: Chat;
    choices: Relationships;
    db: Database;
    door: SignupPolicy;
    roster: PresenceRegistry;
    streams: Streams;
    trust: Trust;
  }) {
    this.#auth = parts.auth;
    this.#chat = parts.chat;
    this.#choices = parts.choices;
    this.#db = parts.db;
    this.#door = parts.door;
    this.#trust = parts.trust;
    this.#roster = parts.roster;
    this.#streams = parts.streams;
    this.#lists = new Batcher((asked) => this.#db.run((sql) => messages.conversations(sql, asked)), { max: LISTS_MAX });
  }

  /** A link for somebody to sign up by, made by whoever runs the chat. */
  async invite(request: Request): Promise<Response> {
    const { userId } = await this.#auth.who(request, "account");
    if (!(await users.isAdmin(this.#db, userId))) throw new ChatError("not_admin");
    if (this.#door.signup === "closed") throw new ChatError("signup_closed");
    const { searchParams } = addressOf(request);
    const days = wholeNumber(searchParams, "days", 1, INVITE.daysMax) ?? INVITE.days;
    const uses = wholeNumber(searchParams, "uses", 1, INVITE.usesMax) ?? INVITE.uses;
    const { token, expiresAt } = await this.#door.invite({ days, uses, by: userId });
    return json({ url: inviteLink(originOf(request, this.#trust), token), expires_at: expiresAt.toISOString(), uses });
  }

  async online(request: Request, server: Server<SocketData>): Promise<Response> {
    const { username } = await this.#auth.who(request, "searches");
    const names = this.#roster.onlinePages(NAMES_MAX, { without: await this.#choices.blockedEitherWay(username) });
    return this.#streams.list(names, { show: JSON.stringify }, this.#asked("online", request, server));
  }

  async users(request: Request, server: Server<SocketData>): Promise<Response> {
    const { username: except } = await this.#auth.who(request, "searches");
    const { searchParams } = addressOf(request);
    const part = readPart(searchParams, ["q"]);
    if (part !== undefined) {
      const limit = wholeNumber(searchParams, "limit", 1, FOUND_MAX) ?? FOUND_MAX;
      return json(part === "" ? [] : await findNames(this.#db, { part, me: except, limit }));
    }
    const q = searchParams.get("q") ?? "";
    const most = wholeNumber(searchParams, "limit", 1, NAMES_MAX);
    if (q !== "" && keyOfReference(q) === undefined) return json([]);
    const limit = most ?? Number.POSITIVE_INFINITY;
    const names = users.names(this.#db, { prefix: searchKey(q), except, limit });
    return this.#streams.list(names, { show: (some) => some }, this.#asked("people", request, server));
  }

  async unreadCounts(request: Request, server: Server<SocketData>): Promise<Response> {
    const { username, nameKey: myKey } = await this.#auth.who(request, "history");
    if (nameKey(parameter(request, "me")) !== myKey) throw new ChatError("not_yours");
    const muted = addressOf(request).searchParams.get("muted") !== "0";
    const pages = pagesOf<{ peer: string; unread: number }>((after, limit) =>
      this.#db.run((sql) => messages.unreadCounts(sql, username, { muted, after: after?.peer ?? "", limit })),
    );
    const shape = {
      show: ({ peer, unread }: { peer: string; unread: number }) => `${JSON.stringify(peer)}:${unread}`,
      open: "{",
      close: "}",
    };
    return this.#streams.list(pages, shape, this.#asked("unread counts", request, server), myKey);
  }

  async conversations(request: Request, server: Server<SocketData>): Promise<Response> {
    const { searchParams } = addressOf(request);
    const me = await this.#auth.who(request, searchParams.has("part") ? "searches" : "history");
    const { username, hidesRead, hidesLastSeen } = me;
    const part = readPart(searchParams, ["before", "peer"]);
    const limit = wholeNumber(searchParams, "limit", 1, PAGE_MAX) ?? 50;
    const cursor = searchParams.get("before");
    const before = cursor === null ? undefined : readCursor(cursor);
    const frozen = searchParams.get("blocked") === "1";
    const name = searchParams.get("peer");
    const peer = name === null ? undefined : (await this.#peer(me, name))?.username;
    if (name !== null && peer === undefined) return json([]);
    const rows =
      part === undefined
        ? await this.#lists.add({ me: username, limit, before, peer, frozen })
        : await this.#conversationsWith({ part, me: username, limit: Math.min(limit, FOUND_MAX), frozen });
    const show = (row: Conversation & { readonly text: string }) => ({
      peer: row.peer,
      last_seq: row.lastSeq,
      last: { sender: row.sender, content: row.text, timestamp: row.timestamp },
      unread: row.unread,
      // mutual: who hides it does not see it; notes to oneself are nobody else's
      peer_read_seq: row.peer !== username && (hidesRead || row.hidesRead) ? 0 : row.peerReadSeq,
      peer_delivered_seq: row.peerDeliveredSeq,
      my_read_seq: row.myReadSeq,
      muted: row.muted,
      gone: row.gone,
      online: !row.gone && !row.blocked && this.#roster.isOnline(nameKey(row.peer)),
      last_seen: hidesLastSeen || row.hidesLastSeen || row.blocked ? null : row.lastSeenAt,
      cursor: writeCursor(row),
      // marks from after the block would tell what the other does
      ...(row.blocks ? { blocked: true, unread: 0, peer_read_seq: 0, peer_delivered_seq: 0 } : {}),
    });
    const pages = withTexts(rows, (some) => this.#db.run((sql) => messages.lastTexts(sql, some)));
    const shape = { show: (row: Parameters<typeof show>[0]) => JSON.stringify(show(row)) };
    return this.#streams.list(pages, shape, this.#asked("conversations", request, server), me.nameKey);
  }

  /** Those of a user's conversations whose peer's name holds `part`, the newest first. */
  async #conversationsWith(search: Search): Promise<Conversation[]> {
    const { me, frozen } = search;
    const peers = search.part === "" ? [] : await findPeers(this.#db, search);
    const rows = peers.map((peer) =>
      this.#lists.add({ me, limit: 1, before: undefined, peer, ...(frozen && { frozen }) }),
    );
    return firstTexts((await Promise.all(rows)).flat());
  }

  /** The messages of two people, of whom the signed-in one is one. Marks theirs read, unless only peeked at. */
  async messages(request: Request, server: Server<SocketData>): Promise<Response> {
    const foreign = isForeign(request, this.#trust); // its page cannot read the answer: nothing is seen
    const me = await this.#auth.who(request, "history");
    const names = [parameter(request, "a"), parameter(request, "b")] as const;
    const keys = names.map(keyOfReference);
    // mutation: own conversations only
    if (!keys.includes(me.nameKey)) {
      for (const name of names) checkReference(name);
      throw new ChatError("not_yours");
    }
    const named = keys[0] === me.nameKey ? names[1] : names[0];
    const peer = await this.#peer(me, named);
    if (peer === undefined) checkReference(named);
    const { searchParams } = addressOf(request);
    const window = readWindow(searchParams);
    if (peer === undefined) return json([]);

    const frozen = searchParams.get("blocked") === "1"; // of a blocked peer nothing is marked
    const peeks = foreign || frozen || searchParams.get("peek") === "1";
    const read = (window: Window) =>
      this.#db.run((sql) => messages.page(sql, me.username, peer.username, { ...window, frozen }));
    const show = (row: Message) => shown(row, me.username, { peeked: peeks, hidden: peer.hidesRead || me.hidesRead });
    const seen = async (rows: readonly Message[]) => {
      if (request.method !== "HEAD" && !foreign) await this.#seen(me, peer.username, rows, peeks); // which gets no rows
    };
    const asked = this.#asked("messages", request, server);
    const pieces = (first: Page) =>
      inPieces(windowPages(first, { isWhole: !window, read, seen }), { show: (row) => JSON.stringify(show(row)) });
    if (!window) {
      const end = this.#streams.begin(me.nameKey);
      const first = await read({ limit: ROWS_MAX, after: 0 }).catch((error: unknown) => {
        end();
        throw error;
      });
      return this.#streams.whole(pieces(first), { ...asked, end });
    }
    const first = await read(window);
    if (first.left === 0) return this.#streams.text(pieces(first), asked);
    const end = this.#streams.begin(me.nameKey); // before anything is marked: a client that is refused has read nothing
    return this.#streams.text(pieces(first), { ...asked, end });
  }

  #asked(kind: string, request: Request, server: Server<SocketData>): Asked {
    return { kind, id: idOf(request, this.#trust), request, server };
  }

  /** A device of mine has these: they are delivered, and read unless it only peeked. */
  async #seen(me: Session, peer: string, rows: readonly Message[], peeks: boolean): Promise<void> {
    const theirs = rows.filter((row) => row.sender === peer);
    const last = peeks ? theirs.at(-1) : rows.at(-1);
    if (!last) return;
    if (peeks) return this.#chat.noteDelivered(me.username, peer, last.seq);
    // A page of mine alone says nothing of what lies below it.
    const mayBeUnread = theirs.length === 0 || theirs.some((row) => !row.read);
    if (mayBeUnread) await inTime(this.#chat.read(me.username, peer, last.seq));
  }

  /** The other, undefined when nobody has the name; notes to oneself hide nothing. */
  async #peer(me: Session, name: string): Promise<Pick<users.User, "username" | "hidesRead"> | undefined> {
    const key = keyOfReference(name);
    if (key === me.nameKey) return { username: me.username, hidesRead: false };
    return key === undefined ? undefined : users.find(this.#db, key);
  }
}

/** The pages of a window of messages, marked before they are given out: what follows them can still fail, they cannot. */
async function* windowPages(
  first: Page,
  parts: {
    isWhole: boolean;
    read: (window: Window) => Promise<Page>;
    seen: (rows: readonly Message[]) => Promise<void>;
  },
): Pages<Message> {
  const { isWhole, read, seen } = parts;
  for (let page = first; ;) {
    const { rows, left } = page;
    await seen(rows);
    const last = rows.at(-1);
    const limit = isWhole && rows.length + left === ROWS_MAX ? ROWS_MAX : left;
    if (!last || limit === 0) return rows;
    yield rows;
    page = await read({ after: last.seq, limit });
  }
}

/** A mark is tried for as long as PostgreSQL is out of reach, a request waits as long as for a query. @throws ChatError `not_ready` */
async function inTime(marking: Promise<void>): Promise<void> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new ChatError("not_ready")), MARK_PATIENCE_MS);
  try {
    await Promise.race([marking, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}

/** A path's parameter; Bun hands over what it could not decode as it came. */
function parameter(request: Request, name: string): string {
  return (request.params as Record<string, string>)[name] ?? "";
}

function checkReference(name: string): void {
  try {
    checkName(name);
  } catch (error) {
    throw new ChatError("bad_request", { words: "That is no name", cause: error });
  }
}

/**
 * The search key of the part of a name that is asked for; "" when no name can hold it, undefined when none is asked for.
 *
 * @param excluded parameters that mean another search @throws ChatError `bad_request`
 */
function readPart(query: URLSearchParams, excluded: readonly string[]): string | undefined {
  const part = query.get("part")?.trim();
  if (part === undefined) return undefined;
  const other = excluded.find((name) => query.has(name));
  if (other) throw new ChatError("bad_request", { words: `part and ${other} exclude each other` });
  return keyOfReference(part) === undefined ? "" : searchKey(part);
}

/** Undefined: everything. @throws ChatError `bad_request` */
function readWindow(query: URLSearchParams): Window | undefined {
  const limit = wholeNumber(query, "limit", 1, PAGE_MAX);
  const before = wholeNumber(query, "before", 1, Number.MAX_SAFE_INTEGER);
  const after = wholeNumber(query, "after", 0, Number.MAX_SAFE_INTEGER);
  if (before !== undefined && after !== undefined) {
    throw new ChatError("bad_request", { words: "before and after exclude each other" });
  }
  if (before !== undefined) return { limit: limit ?? PAGE_MAX, before };
  if (after !== undefined) return { limit: limit ?? PAGE_MAX, after };
  return limit === undefined ? undefined : { limit };
}

/** What the reader marked by this very request is shown as read; what others read of mine, unless it is hidden. Refs are shown to whoever made them. */
function shown(row: Message, me: string, { peeked, hidden }: { peeked: boolean; hidden: boolean }) {
  const { sender, receiver, content, timestamp, id, seq, ref } = row;
  const read = receiver === me ? row.read || !peeked : row.read && !hidden;
  const own = sender === me && ref !== null && !ref.startsWith("~");
  return { sender, receiver, content, timestamp, read, id, seq, ...(own ? { ref } : {}) };
}

/** A conversation's place in the list, opaque to clients. */
function writeCursor(row: { lastAt: string; conversationId: number }): string {
  return Buffer.from(`${row.lastAt}|${row.conversationId}`).toString("base64url");
}

function readCursor(cursor: string): { lastAt: string; conversationId: number } {
  const text = Buffer.from(cursor, "base64url").toString();
  const [, lastAt = "", id] = /^([^|]*)\|(\d{1,15})$/.exec(text) ?? [];
  if (!isInstant(lastAt)) throw new ChatError("bad_request", { words: "before is no cursor" });
  return { lastAt, conversationId: Number(id) };
}

/** Whether PostgreSQL takes it for an instant: `Date` alone would read 30 February as 2 March, and PostgreSQL knows no year 0. */
function isInstant(text: string): boolean {
  if (!/^(?!0000)\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z$/.test(text)) return false;
  const date = new Date(text);
  return !Number.isNaN(date.getTime()) && date.toISOString().startsWith(text.slice(0, 19));
}
