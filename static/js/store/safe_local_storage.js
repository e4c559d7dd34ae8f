/** `localStorage` that tolerates being forbidden, and what the page remembers in it: the signed-in user and an ended session. */

/** @typedef {Pick<Storage, "getItem" | "setItem" | "removeItem" | "key" | "length">} SafeStorage */

const USER_KEY = "chatify.me";
const ENDED_KEY = "chatify.ended";
/** Set to "off", it disables single-key shortcuts, which speech input triggers by accident. */
export const SINGLE_KEYS = "chatify.single_keys";

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

/** Call when a user signs in or out: the page then asks the server who is signed in before it shows anything. */
export function forgetName() {
  safeLocalStorage().removeItem(USER_KEY);
}

/**
 * The user whose session ended while the page was open, and the place to return to: "#bob" or "/account".
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
