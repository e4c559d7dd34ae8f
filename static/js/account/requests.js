/**
 * Requests of the account page: an ended session leaves the page, other failures become messages.
 */

import { eraseOfflineCopies, rememberedName, rememberEndedSession } from "../store/browser_storage.js";
import { failureText, get, post, Rejected, SignedOut } from "../sync/api.js";

/**
 * @typedef {object} Me
 * @property {string} username
 * @property {boolean} hide_read
 * @property {boolean} hide_last_seen
 * @property {string | undefined} [display_name]
 * @property {string | undefined} [photo] its version
 */

/**
 * Sends a GET, or a POST when there is a body, and returns the JSON response.
 * @param {string} path
 * @param {object} [body]
 * @returns {Promise<any>}
 */
export function send(path, body) {
  return orLeave(body ? post(path, body) : get(path));
}

/**
 * @template T
 * @param {Promise<T>} response
 * @returns {Promise<T>}
 */
export function orLeave(response) {
  return response.catch((error) => {
    if (error instanceof SignedOut) return leave();
    throw error;
  });
}

/** @type {Promise<never> | undefined} */
let leaving;

/**
 * Redirects to the login after the session ended, once for any number of failed requests. The
 * promise never settles, because the page is about to be replaced.
 */
function leave() {
  const name = rememberedName();
  leaving ??= eraseOfflineCopies().then(() => {
    if (name !== undefined) rememberEndedSession({ name, place: "/account" });
    location.replace("/login");
    return new Promise(() => {});
  });
  return leaving;
}

/**
 * Whether the server rejected a request with this error code.
 * @param {unknown} error
 * @param {string} code
 */
export function isRejection(error, code) {
  return error instanceof Rejected && error.message === code;
}

/**
 * An error's message as a function, so that it follows later changes of language.
 * @param {unknown} error
 */
export function explain(error) {
  return () => failureText(error);
}
