/**
 * Enhances login and sign-up: early validation, password visibility, translated errors. Also
 * returns to an ended session, erases what a signed-out user left, and registers the service
 * worker.
 */

import {
  endedSession,
  eraseAfterSignOut,
  eraseOfflineCopies,
  forgetEndedSession,
  forgetName,
  rememberedName,
  rememberEndedSession,
} from "./store/browser_storage.js";
import { addPasswordToggle, find, pageStarted, setText } from "./util/dom.js";
import { translated } from "./util/language.js";
import { errorText, t, waitText } from "./util/translate.js";

const SIGNED_IN_MS = 1_000;
const SIGNED_OUT_SECONDS = 10;

/** @type {HTMLFormElement} */
export const form = find(document, "form");
/** @type {HTMLInputElement} */
export const username = find(form, "#username");
/** @type {HTMLInputElement} */
const password = find(form, "#password");
const confirm = /** @type {HTMLInputElement | null} */ (form.querySelector("#confirm"));

/** @param {HTMLInputElement} input */
function errorOf(input) {
  return /** @type {HTMLElement} */ (find(form, `#${input.id}_error`));
}

/**
 * Shows an error beside a field; "" removes it.
 * @param {HTMLInputElement} input
 * @param {string} code
 */
export function showFieldError(input, code) {
  const error = errorOf(input);
  error.dataset.error = code;
  setText(error, code ? errorText(code) : "");
  input.setAttribute("aria-invalid", String(code !== ""));
}

/**
 * The error code of a field that the page can detect without the server, or "".
 * @param {HTMLInputElement} input
 */
function clientError(input) {
  if (input === username) {
    const letters = [...username.value.trim()].length;
    if (letters === 0) return "name_missing";
    return confirm && (letters < 2 || letters > 50) ? "bad_name" : "";
  }
  if (input === confirm) return confirm.value.normalize() === password.value.normalize() ? "" : "confirm";
  if (!password.value) return "password_missing";
  const length = [...password.value.normalize()].length;
  return confirm && (length < 8 || length > 128) ? "bad_password" : "";
}

const inputs = [username, password, ...(confirm ? [confirm] : [])];

/** The session whose end led to this login, if any. */
const ended = findEndedSession();

form.noValidate = true; // the browser's messages use its own language and disappear too soon
form.addEventListener("submit", (event) => {
  for (const input of inputs) showFieldError(input, clientError(input));
  const wrong = inputs.find((input) => errorOf(input).dataset.error);
  if (!wrong) {
    forgetName();
    return;
  }
  event.preventDefault();
  wrong.focus();
});
for (const input of inputs) {
  // Editing removes an error; new errors appear on submit.
  input.addEventListener("input", () => showFieldError(input, ""));
}

form.action += location.hash;
if (ended) {
  if (!username.value) {
    username.value = ended.name;
    password.focus();
  }
  // Signing in again ends the previous session, whose page may get here before the new cookie is
  // set.
  setTimeout(() => void continueSession(ended), SIGNED_IN_MS);
  document.addEventListener(
    "visibilitychange",
    () => document.visibilityState === "visible" && void continueSession(ended),
  );
}

/**
 * The signed-in user, "" for none; undefined when the server does not respond.
 * @returns {Promise<string | undefined>}
 */
async function requestName() {
  try {
    const response = await fetch("/me", { headers: { accept: "application/json" }, redirect: "manual" });
    const body = await response.json(); // a captive portal's page is not JSON
    return response.ok ? body.username : response.status === 401 && body.error?.code ? "" : undefined;
  } catch {
    return undefined;
  }
}

/**
 * Opens the chat if the same user has signed in again in another tab.
 * @param {import("./store/browser_storage.js").EndedSession} ended
 */
async function continueSession(ended) {
  if ((await requestName()) !== ended.name) return;
  rememberEndedSession(ended); // the chat returns to the place
  location.replace("/");
}

/**
 * Shows an error of the whole form; "" removes it.
 * @param {string} code
 * @param {{ wait?: number, message?: string | undefined }} [details] wait: seconds until a retry can succeed; message: the server's
 */
export function showFormError(code, { wait = 0, message = "" } = {}) {
  const error = /** @type {HTMLElement} */ (find(form, ":scope > .error"));
  error.dataset.error = code;
  error.dataset.wait = String(wait);
  setText(error, message);
  error.dataset.message = message;
  renderTexts();
}

/**
 * The server reports that a session ended; its user was stored by this tab when it left the chat,
 * or by the browser.
 */
function findEndedSession() {
  const { ended } = /** @type {HTMLElement} */ (find(document, ".card")).dataset;
  if (ended === undefined) return undefined; // a sign-up
  const stored = endedSession();
  if (!ended) {
    forgetEndedSession(); // the user signed out, or in again
    if (stored) void continueSession(stored);
    return undefined;
  }
  const name = rememberedName();
  const note = stored ?? (name === undefined ? undefined : { name, place: location.hash });
  if (note) rememberEndedSession(note);
  return note;
}

/**
 * Renders texts that depend on the language. Server errors come as text and code; the codes are
 * translated.
 */
function renderTexts() {
  document.title = `${find(document, "h1").textContent} · chatify`;
  for (const error of /** @type {NodeListOf<HTMLElement>} */ (form.querySelectorAll("[data-error]"))) {
    const { error: code, wait } = error.dataset;
    const message = (error.dataset.message ??= error.textContent);
    if (code === "rate_limited") setText(error, t("too_many_tries", { wait: waitText(Number(wait)) }));
    else if (code === "no_connection") setText(error, t(code));
    else if (code) setText(error, errorText(code, message) + requestId(message));
  }
}

/**
 * The id under which the server logged an `internal` error, which its translation lacks.
 * @param {string} message the server's
 */
function requestId(message) {
  const [id] = /(?<=Request id: )\S+/.exec(message) ?? [];
  return id ? ` (${id})` : "";
}

// Nothing above waits for translations, so that early clicks work. If they fail to load, `start.js`
// reloads the page.
await translated;
addPasswordToggle(form);
renderTexts();
document.addEventListener("languagechange", renderTexts);
if (!confirm) pageStarted(); // on sign-up, `signup.js` reports it

if (location.hash === "#farewell") {
  // After deleting the account, show the farewell instead of the greeting.
  for (const sentence of document.querySelectorAll(".sentence")) sentence.toggleAttribute("hidden");
  history.replaceState(null, "", location.pathname);
}

/**
 * Whether the user has just signed out in this browser. The cookie lives on for some seconds, for
 * other tabs on their way to the login.
 */
function renewSignedOutCookie() {
  const isSet = document.cookie.includes("chatify_signed_out=1");
  if (isSet) document.cookie = `chatify_signed_out=1; Path=/; SameSite=Lax; Max-Age=${SIGNED_OUT_SECONDS}`;
  return isSet;
}

/**
 * Erases the offline cache of a user who is no longer signed in, and everything of one who signed
 * out.
 * @param {boolean} signedOut
 */
async function eraseLocalData(signedOut) {
  if ((await requestName()) !== "") return;
  await (signedOut ? eraseAfterSignOut() : eraseOfflineCopies());
}

const signedOut = renewSignedOutCookie();
if (signedOut || rememberedName() !== undefined) void eraseLocalData(signedOut);

// Registered before the chat opens, so that the service worker sees its document.
async function register() {
  const offline = await import("./sync/service_worker.js").catch(() => undefined);
  await offline?.register();
}

// Translations may have loaded after the `load` event.
if (document.readyState === "complete") void register();
else addEventListener("load", () => void register());
