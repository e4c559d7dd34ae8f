/** The server's JSON routes as functions. */

import { errorText, t, waitText } from "../util/translate.js";

/** @import { Message } from "../store/conversation.js" */
/** @import { MessageFile } from "../store/message_window.js" */

/**
 * @typedef {object} Row a conversation in the user's list
 * @property {string} peer
 * @property {number} last_seq
 * @property {{ sender: string, content: string, timestamp: string, deleted?: boolean, file?: MessageFile } | null} last
 * @property {number} [revision] raised by one with every edit, deletion and reaction
 * @property {number} unread
 * @property {number} peer_read_seq
 * @property {number} peer_delivered_seq
 * @property {number} my_read_seq
 * @property {boolean} online
 * @property {string | null} last_seen
 * @property {string} [display_name] the peer's
 * @property {string} [photo] the version of the peer's photo
 * @property {boolean} [gone] the peer's account was deleted
 * @property {string} cursor
 * @property {boolean} [muted]
 * @property {string | null} [muted_until] when a timed mute ends
 * @property {string | null} [pinned_at]
 * @property {number | null} [archived_seq] archived while `last_seq` is this one
 * @property {number | null} [marked_unread_seq] marked as unread while `my_read_seq` is this one
 * @property {number} [settings_revision] raised by one with every change of these
 * @property {boolean} [blocked] the user has blocked the peer; the row is as of then
 */

/** @typedef {{ message: Message, read: boolean }} Stored a stored message and whether its recipient has read it */

/** The session is over; the user must sign in again. */
export class SignedOut extends Error {}

/**
 * Something between the page and the server responded, such as a captive portal. `message` has the
 * status and the URL.
 */
export class Intercepted extends Error {}

/** The server limits the rate. */
export class Limited extends Error {
  /**
   * @param {string} path
   * @param {number} seconds until requests are accepted again
   */
  constructor(path, seconds) {
    super(`Too many requests for ${path}`);
    this.seconds = seconds;
  }
}

/** The server rejected; `message` is its error code. */
export class Rejected extends Error {}

/**
 * The signed-in user, whether they are an admin, and who may sign up.
 * @returns {Promise<{ username: string, admin: boolean, signup?: "open" | "invite" | "closed" } & import("../store/profiles.js").ProfileFields>}
 */
export function fetchAccount() {
  return get("/me");
}

/**
 * Whether the server would accept another socket; pages cannot read the response to a refused
 * upgrade.
 * @returns {Promise<boolean>}
 */
export async function acceptsSockets() {
  const { accepts } = await get("/sockets");
  return accepts;
}

/** The signed-in user's name. @returns {Promise<string>} */
export async function fetchUsername() {
  const { username } = await fetchAccount();
  return username;
}

/**
 * Creates a link with which one user can sign up; admins only.
 * @returns {Promise<{ url: string, expires_at: string }>}
 */
export async function invite() {
  return (await request("/invites", { method: "POST" })).json();
}

/**
 * A page of conversations, newest first. `before`: the cursor of the last known row. `peer`: only
 * the conversation with them. `part`: only those with users whose name contains it. Conversations
 * with blocked users are as of the block.
 * @param {{ limit: number, before?: string | undefined, peer?: string, part?: string }} page
 * @returns {Promise<Row[]>}
 */
export function conversations(page) {
  return get(`/conversations?blocked=1&${query(page)}`);
}

/**
 * A page of the list: without the archived conversations, the pinned ones first; or the archived
 * ones, newest first.
 * @param {{ limit: number, before?: string | undefined, archived: 0 | 1 }} page
 * @returns {Promise<{ rows: Row[], archived: number }>} archived: the number of archived ones, with the first page of the others
 */
export async function list(page) {
  const response = await request(`/conversations?blocked=1&${query(page)}`);
  return { rows: await response.json(), archived: Number(response.headers.get("chatify-archived")) };
}

/**
 * Unread counts by peer, without muted and archived conversations.
 * @param {string} me
 * @returns {Promise<Record<string, number>>}
 */
export function unread(me) {
  return get(`/unread_counts/${encodeURIComponent(me)}?muted=0&archived=0`);
}

/**
 * A page of a conversation's messages, oldest first; with a blocked peer, those from before the
 * block. Does not mark them as read.
 * @param {string} me
 * @param {string} peer
 * @param {{ limit: number, before?: number, after?: number, at?: string, changed_after?: number }} page at: the first from an instant on; changed_after: those that changed after this revision, in the order of their revisions
 * @returns {Promise<Stored[]>}
 */
export async function messages(me, peer, page) {
  /** @type {any[]} */
  const rows = await get(
    `/messages/${encodeURIComponent(me)}/${encodeURIComponent(peer)}?peek=1&blocked=1&${query(page)}`,
  );
  // The server marks a deleted message as read, although its recipient may not have read it.
  return rows.map((row) => ({ read: row.read && !row.deleted, message: toMessage(row, me) }));
}

/**
 * A message as `/messages` and `changed` frames contain it.
 * @param {any} row
 * @param {string} me
 * @returns {Message}
 */
export function toMessage(row, me) {
  return {
    seq: row.seq,
    id: row.id,
    from: row.sender,
    to: row.receiver,
    text: row.content,
    at: Date.parse(row.timestamp),
    ...(row.ref && row.sender === me && { ref: row.ref }),
    ...(row.reply_to && { replyTo: row.reply_to }),
    ...(row.edited_at && { editedAt: Date.parse(row.edited_at) }),
    ...(row.deleted && { deleted: true }),
    ...(row.file && { file: row.file }),
    ...(row.reactions && { reactions: row.reactions }),
    ...(row.revision && { revision: row.revision }),
  };
}

/**
 * Other users whose name or display name contains `part`, ignoring case and accents; for "", the
 * first of all users.
 * @param {string} part
 * @returns {Promise<({ username: string } & import("../store/profiles.js").ProfileFields)[]>}
 */
export function people(part, limit = 20) {
  return get(`/get_users?${query({ ...(part ? { part } : { q: "" }), limit, profiles: 1 })}`);
}

/** The names of blocked users. @returns {Promise<string[]>} */
export function blocks() {
  return get("/blocks");
}

/**
 * The user's drafts on all devices, and the server's time.
 * @returns {Promise<{ drafts: { peer: string, text: string, at: string }[], now: number }>}
 */
export async function drafts() {
  const response = await request("/drafts");
  return { drafts: await response.json(), now: Date.parse(response.headers.get("date") ?? "") || Date.now() };
}

/**
 * Changes how the user has arranged the conversation with a user.
 * @param {string} name
 * @param {import("../store/membership.js").Arrangement} changes
 * @returns {Promise<import("../store/membership.js").Row>}
 */
export function arrange(name, changes) {
  return post("/conversations", { name, ...changes });
}

/**
 * Blocks or unblocks a user.
 * @param {string} name
 * @param {boolean} blocked
 */
export function block(name, blocked) {
  return post("/blocks", { name, blocked });
}

/**
 * @param {string} path
 * @returns {Promise<any>}
 */
export async function get(path) {
  return (await request(path)).json();
}

/**
 * @param {string} path
 * @param {object} body
 * @returns {Promise<any>}
 */
export async function post(path, body) {
  const headers = { "content-type": "application/json" };
  return (await request(path, { method: "POST", headers, body: JSON.stringify(body) })).json();
}

/**
 * A successful response; throws on any other.
 * @param {string} path
 * @param {RequestInit} [options]
 */
export async function request(path, options) {
  const headers = { accept: "application/json", ...options?.headers };
  // Following a redirect to another host would fail like a network error.
  const response = await (takeEarly(path) ?? fetch(path, { ...options, headers, redirect: "manual" }));
  const { status, url } = response;
  const isJson = response.headers.get("content-type")?.startsWith("application/json") === true;
  if (response.ok && (isJson || status === 204)) return response;
  if (status === 429) throw new Limited(path, Number(response.headers.get("retry-after")) || 1);
  // The server's JSON routes never redirect, and their errors have a code. A reverse proxy may
  // report an unreachable server or too many requests in its own format.
  const code = isJson ? (await response.json().catch(() => undefined))?.error?.code : undefined;
  if (!code && status < 500) throw new Intercepted(`${status} ${url}`);
  if (status === 401) throw new SignedOut(path);
  throw new Rejected(code ?? "unknown");
}

/**
 * The response that `start.js` has requested early, once.
 * @param {string} path
 * @returns {Promise<Response> | undefined}
 */
function takeEarly(path) {
  const early = /** @type {{ earlyResponses?: Map<string, Promise<Response>> }} */ (globalThis).earlyResponses;
  const response = early?.get(path);
  early?.delete(path);
  return response;
}

/** The text for the error of a request. @param {unknown} error */
export function failureText(error) {
  if (error instanceof Limited) return t("too_many_tries", { wait: waitText(error.seconds) });
  if (error instanceof Rejected) return errorText(error.message);
  return t(error instanceof Intercepted ? "trouble_intercepted" : "no_connection");
}

/** @param {Record<string, string | number | undefined>} values */
function query(values) {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(values)) if (value !== undefined) search.set(name, String(value));
  return search;
}
