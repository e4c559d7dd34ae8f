/** `localStorage`, where it is allowed; and on it, who was signed in here last: without a network nobody else can say. */

/** @typedef {Pick<Storage, "getItem" | "setItem" | "removeItem" | "key" | "length">} SafeStorage */

const KEPT_AS = "chatify.me";
const ENDED_AS = "chatify.ended";
/** "off" here: no key of one letter does anything, for those who speak to their computer. */
export const SINGLE_KEYS = "chatify.single_keys";

/** @returns {string | undefined} */
export function rememberedName() {
  return safeLocalStorage().getItem(KEPT_AS) ?? undefined;
}

/** @param {string} user */
export function rememberName(user) {
  try {
    safeLocalStorage().setItem(KEPT_AS, user);
  } catch {
    // Then the page asks the server each time.
  }
}

/** Somebody signs in or out: until the server has said who it is, the page shows nobody's. */
export function forgetName() {
  safeLocalStorage().removeItem(KEPT_AS);
}

/**
 * Whose session ended while the page was open, and what to return to: "#bob" or "/account".
 * @typedef {{ name: string, place: string }} Ended
 */

/** Remembers it in this tab until somebody signs in. @param {Ended} ended */
export function rememberEndedSession(ended) {
  try {
    sessionStorage.setItem(ENDED_AS, JSON.stringify(ended));
  } catch {
    // Then they type their name.
  }
}

/** @returns {Ended | undefined} */
export function endedSession() {
  try {
    return JSON.parse(sessionStorage.getItem(ENDED_AS) ?? "") ?? undefined;
  } catch {
    return undefined;
  }
}

export function forgetEndedSession() {
  try {
    sessionStorage.removeItem(ENDED_AS);
  } catch {
    // Forbidden: there is nothing.
  }
}

/** The names of all that stands there. @param {SafeStorage} storage */
export function keysOf(storage) {
  return Array.from({ length: storage.length }, (_, index) => storage.key(index) ?? "");
}

/** The browser's `localStorage`, or a storage that keeps nothing where it is forbidden. @returns {SafeStorage} */
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
