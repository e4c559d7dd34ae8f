/**
 * Where this browser keeps what, person by person, and how it forgets them. What was written and not sent lies apart from the
 * copies for reading: those are many and may wait.
 */

import { forgetName, keysOf, safeLocalStorage } from "./safe_local_storage.js";

const OUTBOX = "chatify.draft.";
const UNFINISHED = "chatify.unfinished.";
const TEXTS = "chatify.texts.";
const READING = "chatify.reading.";
/** A channel of all tabs: they share one session, and after `Clear-Site-Data` nothing says whose it was. */
const SIGN_OUT = "chatify.sign_out";
/** The service worker's, each followed by the version of the page in it. */
const CACHE = "chatify-";
/** A database that another tab holds on to must not hold up who wants to leave. */
const PATIENCE_MS = 2_000;

/** @param {string} user */
export const outboxPrefix = (user) => `${OUTBOX}${user}.`;
/** A name has no slash, but it may have a dot. @param {string} user */
export const draftsPrefix = (user) => `${UNFINISHED}${user}/`;
/** The name of the database with what was written. @param {string} user */
export const offlineStoreName = (user) => TEXTS + user;
/** The name of the database with what can be read. @param {string} user */
export const offlineCacheName = (user) => READING + user;

/**
 * Erases everything of everybody but one; of everybody when nobody stays, and the page itself that opens offline.
 * @param {string} [user]
 */
export async function eraseAllExcept(user) {
  const storage = safeLocalStorage();
  for (const name of keysOf(storage)) if (isKept(name) && !isOf(name, user)) storage.removeItem(name);
  await eraseAll((name) => isKept(name) && !isOf(name, user));
  if (user === undefined) await forgetPage();
}

/** A person signed out of this browser: erases everything, also what other tabs have written since. */
export async function eraseAfterSignOut() {
  broadcastSignOut();
  await eraseAllExcept(undefined);
}

/** Has the other tabs keep nothing from now on, or they would write again what is being erased. */
export function broadcastSignOut() {
  // oxlint-disable-next-line unicorn/require-post-message-target-origin
  new BroadcastChannel(SIGN_OUT).postMessage(true);
}

/** Calls back when a person signs out of this browser, in whichever tab. @param {() => void} run */
export function onSignOut(run) {
  new BroadcastChannel(SIGN_OUT).addEventListener("message", run);
}

/**
 * Erases what can be read, and the page that opens offline: the session ended, and not because the person left. What they wrote and did not send waits for
 * them to sign in again; somebody else who does erases it.
 */
export async function eraseOfflineCopies() {
  await eraseAll((name) => name.startsWith(READING));
  await forgetPage();
}

/** @param {(name: string) => boolean} picks */
async function eraseAll(picks) {
  await patiently((await databases()).filter(picks).map(erase));
}

async function forgetPage() {
  forgetName();
  await patiently((await cached()).map((name) => caches.delete(name)));
}

/** @param {Promise<unknown>[]} all */
async function patiently(all) {
  await Promise.race([Promise.all(all), new Promise((resolve) => setTimeout(resolve, PATIENCE_MS))]);
}

/** @param {string} name */
function isKept(name) {
  return [OUTBOX, UNFINISHED, TEXTS, READING].some((prefix) => name.startsWith(prefix));
}

/**
 * @param {string} name
 * @param {string | undefined} user
 */
function isOf(name, user) {
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
    return []; // none, or forbidden
  }
}

async function cached() {
  try {
    return (await caches.keys()).filter((name) => name.startsWith(CACHE));
  } catch {
    return []; // plain http
  }
}

/** @param {string} name @returns {Promise<void>} */
function erase(name) {
  return new Promise((resolve) => {
    const request = indexedDB.deleteDatabase(name);
    for (const event of ["success", "error"]) request.addEventListener(event, () => resolve());
  });
}
