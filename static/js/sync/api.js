/** The server's JSON routes, as functions. Nothing else fetches. */

/** @import { Message } from "../store/conversation.js" */

/**
 * @typedef {object} Row one of my conversations, as the list shows it
 * @property {string} peer
 * @property {number} last_seq
 * @property {{ sender: string, content: string, timestamp: string } | null} last
 * @property {number} unread
 * @property {number} peer_read_seq
 * @property {number} peer_delivered_seq
 * @property {number} my_read_seq
 * @property {boolean} online
 * @property {string | null} last_seen
 * @property {boolean} [gone] the peer's account is no more
 * @property {string} cursor
 * @property {boolean} [muted]
 * @property {boolean} [blocked] I have blocked the peer: the row is as it was then
 */

/** @typedef {{ message: Message, read: boolean }} Stored a message and whether its receiver has read it */

/** The session is over: only signing in again helps. */
export class SignedOut extends Error {}

/** Something between this page and the server answered: a company's sign-in, a hotel's portal. `message`: the status and the address. */
export class Intercepted extends Error {}

/** Asked too often. */
export class Limited extends Error {
  /**
   * @param {string} path
   * @param {number} seconds until it is answered again
   */
  constructor(path, seconds) {
    super(`Asked too often for ${path}`);
    this.seconds = seconds;
  }
}

/** The server will not; `message` is its error code. */
export class Refused extends Error {}

/** Who is signed in, and whether they run this chat. @returns {Promise<{ username: string, admin?: true }>} */
export function account() {
  return get("/me");
}

/** Whether the server would accept a further socket; a page cannot read the answer to an upgrade. @returns {Promise<boolean>} */
export async function acceptsSockets() {
  const { accepts } = await get("/sockets");
  return accepts;
}

/** Who is signed in. @returns {Promise<string>} */
export async function me() {
  const { username } = await account();
  return username;
}

/**
 * A link with which one more person can sign up; only whoever runs this chat gets one.
 * @returns {Promise<{ url: string, expires_at: string }>}
 */
export async function invite() {
  const answer = await fetch("/invites", {
    method: "POST",
    headers: { accept: "application/json" },
    redirect: "manual",
  });
  checkSource(answer);
  const said = await answer.json();
  if (!answer.ok) throw new Refused(said.error.code);
  return said;
}

/**
 * A page of conversations, newest first; `before` is the cursor of the last one known. Of `peer`: only the one with them. With a `part`: only those with
 * people whose names contain it. Those with people whom I have blocked are as they were then.
 * @param {{ limit: number, before?: string | undefined, peer?: string, part?: string }} page
 * @returns {Promise<Row[]>}
 */
export function conversations(page) {
  return get(`/conversations?blocked=1&${query(page)}`);
}

/**
 * How many unread messages wait from whom, without those I want to hear nothing of.
 * @param {string} me
 * @returns {Promise<Record<string, number>>}
 */
export function unread(me) {
  return get(`/unread_counts/${encodeURIComponent(me)}?muted=0`);
}

/**
 * A page of messages between me and a peer, oldest first; of a peer whom I have blocked, those from before. It marks nothing as read: only seeing does.
 * @param {string} me
 * @param {string} peer
 * @param {{ limit: number, before?: number, after?: number }} page
 * @returns {Promise<Stored[]>}
 */
export async function messages(me, peer, page) {
  /** @type {any[]} */
  const rows = await get(
    `/messages/${encodeURIComponent(me)}/${encodeURIComponent(peer)}?peek=1&blocked=1&${query(page)}`,
  );
  return rows.map((row) => ({
    read: row.read,
    message: {
      seq: row.seq,
      id: row.id,
      from: row.sender,
      to: row.receiver,
      text: row.content,
      at: Date.parse(row.timestamp),
      ...(row.ref ? { ref: row.ref } : {}),
    },
  }));
}

/**
 * People whose name contains this, without regard to case or accents; me not among them. Of "": the first of all.
 * @param {string} part
 * @returns {Promise<string[]>}
 */
export function people(part, limit = 20) {
  return get(`/get_users?${query(part ? { part, limit } : { q: "", limit })}`);
}

/** Those whom I have blocked. @returns {Promise<string[]>} */
export function blocks() {
  return get("/blocks");
}

/**
 * What I have begun to write, on any device, and the time of the server's clock.
 * @returns {Promise<{ drafts: { peer: string, text: string, at: string }[], now: number }>}
 */
export async function drafts() {
  const answer = await ask("/drafts");
  return { drafts: await answer.json(), now: Date.parse(answer.headers.get("date") ?? "") || Date.now() };
}

/**
 * Whether messages of a person may make themselves heard.
 * @param {string} name
 * @param {boolean} muted
 */
export function mute(name, muted) {
  return post("/mutes", { name, muted });
}

/**
 * Whether anything comes from a person.
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
async function get(path) {
  return (await ask(path)).json();
}

/**
 * @param {string} path
 * @param {Record<string, unknown>} body
 */
async function post(path, body) {
  await ask(path, { method: "POST", body: JSON.stringify(body) });
}

/**
 * Throws when an answer is not the server's own: its JSON routes never redirect, and say in JSON what they refuse.
 * @param {Response} answer
 */
export function checkSource(answer) {
  const { status, url, headers } = answer;
  if (headers.get("content-type")?.startsWith("application/json")) return;
  // The proxy in front may report an unreachable server or too many requests in words of its own.
  if (status === 429 || status >= 500) return;
  throw new Intercepted(`${status} ${url}`);
}

/**
 * @param {string} path
 * @param {RequestInit} [options]
 */
async function ask(path, options) {
  const type = options && { "content-type": "application/json" };
  const headers = { accept: "application/json", ...type };
  // A redirect that is followed to another host fails as a network does.
  const answer = await fetch(path, { ...options, headers, redirect: "manual" });
  checkSource(answer);
  if (answer.status === 401) throw new SignedOut(path);
  if (answer.status === 429) throw new Limited(path, Number(answer.headers.get("retry-after")) || 1);
  if (!answer.ok) throw new Error(`Could not get ${path}: ${answer.status}`);
  return answer;
}

/** @param {Record<string, string | number | undefined>} values */
function query(values) {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(values)) if (value !== undefined) search.set(name, String(value));
  return search;
}
