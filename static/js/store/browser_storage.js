/**
 * What this browser stores: `localStorage` that tolerates being forbidden, the signed-in user, an
 * ended session, the names under which each user's data is stored, and their erasure. Unsent texts
 * and the offline cache are separate databases, because unsent texts need durable writes and the
 * cache does not. Browsers already hold these names: do not change them.
 */

/** @typedef {Pick<Storage, "getItem" | "setItem" | "removeItem" | "key" | "length">} SafeStorage */

const USER_KEY = "chatify.me";
/** What the page shows of the user before the server responds. */
const PROFILE_KEY = "chatify.profile";
const ENDED_KEY = "chatify.ended";
/** Set to "off", it disables single-key shortcuts, which speech input triggers by accident. */
export const SINGLE_KEYS = "chatify.single_keys";
/** Pending messages were called drafts when browsers first stored them. */
const OUTBOX = "chatify.draft.";
/** `chatify.draft.` was in use already. */
const DRAFTS = "chatify.unfinished.";
const EMOJI = "chatify.emoji.";
const OFFLINE_STORE = "chatify.texts.";
const OFFLINE_CACHE = "chatify.reading.";
const UPLOADS = "chatify.uploads.";
/**
 * Broadcast channel of all tabs: they share one session, and after `Clear-Site-Data` its user is
 * unknown.
 */
const SIGN_OUT = "chatify.sign_out";
/** Prefix of the service worker's caches; the page's version follows. */
const SERVICE_WORKER_CACHE = "chatify-";
/** A database blocked by another tab must not delay signing out. */
const TIMEOUT_MS = 2_000;

/** @returns {string | undefined} */
export function rememberedName() {
  return safeLocalStorage().getItem(USER_KEY) ?? undefined;
}

/** @param {string} user */
export function rememberName(user) {
  try {
    safeLocalStorage().setItem(USER_KEY, user);
  } catch {
    // The page asks the server on each visit instead.
  }
}

/**
 * Call when a user signs in or out: the page then asks the server who is signed in before it shows
 * anything.
 */
export function forgetName() {
  for (const key of [USER_KEY, PROFILE_KEY]) safeLocalStorage().removeItem(key);
}

/** @param {import("./profiles.js").ProfileFields} profile of the user */
export function rememberProfile(profile) {
  if (rememberedName() === undefined) return;
  try {
    safeLocalStorage().setItem(PROFILE_KEY, JSON.stringify(profile));
  } catch {
    // The page shows it once it is connected.
  }
}

/** @returns {import("./profiles.js").ProfileFields} */
export function rememberedProfile() {
  try {
    return JSON.parse(safeLocalStorage().getItem(PROFILE_KEY) ?? "{}");
  } catch {
    return {};
  }
}

/**
 * The user whose session ended while the page was open, and the place to return to: "#bob" or
 * "/account".
 * @typedef {{ name: string, place: string }} EndedSession
 */

/** Remembers an ended session in this tab until a user signs in. @param {EndedSession} ended */
export function rememberEndedSession(ended) {
  try {
    sessionStorage.setItem(ENDED_KEY, JSON.stringify(ended));
  } catch {
    // The user types their name instead.
  }
}

/** @returns {EndedSession | undefined} */
export function endedSession() {
  try {
    return JSON.parse(sessionStorage.getItem(ENDED_KEY) ?? "") ?? undefined;
  } catch {
    return undefined;
  }
}

export function forgetEndedSession() {
  try {
    sessionStorage.removeItem(ENDED_KEY);
  } catch {
    // Forbidden, so nothing is stored.
  }
}

/** All keys in a storage. @param {SafeStorage} storage */
export function keysOf(storage) {
  return Array.from({ length: storage.length }, (_, index) => storage.key(index) ?? "");
}

/**
 * The browser's `localStorage`; where it is forbidden, a storage that is empty and rejects writes.
 * @returns {SafeStorage}
 */
export function safeLocalStorage() {
  try {
    return localStorage;
  } catch {
    return {
      length: 0,
      key: () => null,
      getItem: () => null,
      setItem: () => {
        throw new DOMException("forbidden", "SecurityError");
      },
      removeItem: () => {},
    };
  }
}

/** @param {string} user */
export const outboxPrefix = (user) => `${OUTBOX}${user}.`;
/** A name has no slash, but it may have a dot. @param {string} user */
export const draftsPrefix = (user) => `${DRAFTS}${user}/`;
/** Key of the emoji that a user prefers. @param {string} user */
export const emojiKey = (user) => EMOJI + user;
/** Name of the database with pending messages and drafts. @param {string} user */
export const offlineStoreName = (user) => OFFLINE_STORE + user;
/** Name of the database with the offline cache. @param {string} user */
export const offlineCacheName = (user) => OFFLINE_CACHE + user;
/** Name of the database with the bytes of pending messages' files. @param {string} user */
export const uploadsName = (user) => UPLOADS + user;

/**
 * Erases the data of all users except one; without one, erases everything including the page stored
 * for offline use.
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
 * Erases the offline cache and the stored page after a session ended without a sign-out. Unsent
 * texts stay until their user signs in again; if another user signs in, they are erased.
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
  return [OUTBOX, DRAFTS, EMOJI, OFFLINE_STORE, OFFLINE_CACHE, UPLOADS].some((prefix) => name.startsWith(prefix));
}

/**
 * @param {string} name
 * @param {string | undefined} user
 */
function belongsTo(name, user) {
  if (user === undefined) return false;
  const outbox = outboxPrefix(user);
  return (
    name === emojiKey(user) ||
    name === offlineStoreName(user) ||
    name === offlineCacheName(user) ||
    name === uploadsName(user) ||
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
