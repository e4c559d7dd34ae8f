/**
 * The names under which this browser stores each user's data, and their erasure. Unsent texts and the offline cache are separate
 * databases, because unsent texts need durable writes and the cache does not. Browsers already hold these names: do not change them.
 */

import { forgetName, keysOf, safeLocalStorage } from "./safe_local_storage.js";

const OUTBOX = "chatify.draft.";
const DRAFTS = "chatify.unfinished.";
const OFFLINE_STORE = "chatify.texts.";
const OFFLINE_CACHE = "chatify.reading.";
/** Broadcast channel of all tabs: they share one session, and after `Clear-Site-Data` its user is unknown. */
const SIGN_OUT = "chatify.sign_out";
/** Prefix of the service worker's caches; the page's version follows. */
const SERVICE_WORKER_CACHE = "chatify-";
/** A database blocked by another tab must not delay signing out. */
const TIMEOUT_MS = 2_000;

/** @param {string} user */
export const outboxPrefix = (user) => `${OUTBOX}${user}.`;
/** A name has no slash, but it may have a dot. @param {string} user */
export const draftsPrefix = (user) => `${DRAFTS}${user}/`;
/** Name of the database with pending messages and drafts. @param {string} user */
export const offlineStoreName = (user) => OFFLINE_STORE + user;
/** Name of the database with the offline cache. @param {string} user */
export const offlineCacheName = (user) => OFFLINE_CACHE + user;

/**
 * Erases the data of all users except one; without one, erases everything including the page stored for offline use.
 * @param {string} [user]
 */
export async function eraseAllExcept(user) {
  const storage = safeLocalStorage();
  for (const name of keysOf(storage)) if (isUserData(name) && !belongsTo(name, user)) storage.removeItem(name);
  await eraseDatabases((name) => isUserData(name) && !belongsTo(name, user));
  if (user === undefined) await erasePage();
}

/** Erases everything after a sign-out, including what other tabs wrote since. */
export async function eraseAfterSignOut() {
  broadcastSignOut();
  await eraseAllExcept(undefined);
}

/** Makes other tabs stop storing; otherwise they would recreate what is being erased. */
export function broadcastSignOut() {
  // oxlint-disable-next-line unicorn/require-post-message-target-origin
  new BroadcastChannel(SIGN_OUT).postMessage(true);
}

/** Calls `run` when the user signs out in any tab. @param {() => void} run */
export function onSignOut(run) {
  new BroadcastChannel(SIGN_OUT).addEventListener("message", run);
}

/**
 * Erases the offline cache and the stored page after a session ended without a sign-out. Unsent texts stay until their user signs
 * in again; if another user signs in, they are erased.
 */
export async function eraseOfflineCopies() {
  await eraseDatabases((name) => name.startsWith(OFFLINE_CACHE));
  await erasePage();
}

/** @param {(name: string) => boolean} picks */
async function eraseDatabases(picks) {
  await withTimeout((await databases()).filter(picks).map(deleteDatabase));
}

async function erasePage() {
  forgetName();
  await withTimeout((await pageCaches()).map((name) => caches.delete(name)));
}

/** @param {Promise<unknown>[]} all */
async function withTimeout(all) {
  await Promise.race([Promise.all(all), new Promise((resolve) => setTimeout(resolve, TIMEOUT_MS))]);
}

/** @param {string} name */
function isUserData(name) {
  return [OUTBOX, DRAFTS, OFFLINE_STORE, OFFLINE_CACHE].some((prefix) => name.startsWith(prefix));
}

/**
 * @param {string} name
 * @param {string | undefined} user
 */
function belongsTo(name, user) {
  if (user === undefined) return false;
  const outbox = outboxPrefix(user);
  return (
    name === offlineStoreName(user) ||
    name === offlineCacheName(user) ||
    name.startsWith(draftsPrefix(user)) ||
    (name.startsWith(outbox) && !name.slice(outbox.length).includes("."))
  );
}

async function databases() {
  try {
    return (await indexedDB.databases()).map(({ name }) => name ?? "");
  } catch {
    return []; // missing or forbidden
  }
}

async function pageCaches() {
  try {
    return (await caches.keys()).filter((name) => name.startsWith(SERVICE_WORKER_CACHE));
  } catch {
    return []; // plain http
  }
}

/** @param {string} name @returns {Promise<void>} */
function deleteDatabase(name) {
  return new Promise((resolve) => {
    const request = indexedDB.deleteDatabase(name);
    for (const event of ["success", "error"]) request.addEventListener(event, () => resolve());
  });
}
