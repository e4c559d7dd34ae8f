/** Helps with login and sign-up: words, showing the password, saying early what is missing. The server decides. */

import {
  endedSession,
  forgetEndedSession,
  forgetName,
  rememberedName,
  rememberEndedSession,
} from "./store/safe_local_storage.js";
import { find, pageStarted, setText } from "./util/dom.js";
import { addPasswordToggle } from "./util/password_toggle.js";
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
 * Shows an error beside a field; "" takes it away.
 * @param {HTMLInputElement} input
 * @param {string} code
 */
export function showFieldError(input, code) {
  const error = errorOf(input);
  error.dataset.error = code;
  setText(error, code ? errorText(code) : "");
  input.setAttribute("aria-invalid", String(code !== ""));
}

/** What can be known without the server to be wrong with a field, as an error code. @param {HTMLInputElement} input */
function fault(input) {
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

/** Whose session ended here, and where, when the login is shown for that. */
const ended = whoseSessionEnded();

form.noValidate = true; // the browser's bubbles speak another language and go away too soon
form.addEventListener("submit", (event) => {
  for (const input of inputs) showFieldError(input, fault(input));
  const wrong = inputs.find((input) => errorOf(input).dataset.error);
  if (!wrong) {
    forgetName();
    return;
  }
  event.preventDefault();
  wrong.focus();
});
for (const input of inputs) {
  // An error goes as soon as it is mended; a new one waits for the button.
  input.addEventListener("input", () => showFieldError(input, ""));
}

form.action += location.hash;
if (ended) {
  if (!username.value) {
    username.value = ended.name;
    password.focus();
  }
  // Signing in again ends the session before it, whose page may be here before the new cookie is.
  setTimeout(() => void goOn(ended), SIGNED_IN_MS);
  document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && void goOn(ended));
}

/** Who is signed in, "" when nobody is; undefined when the server itself does not say. @returns {Promise<string | undefined>} */
async function whoAmI() {
  try {
    const answer = await fetch("/me", { headers: { accept: "application/json" }, redirect: "manual" });
    const said = await answer.json(); // a portal's page is none
    return answer.ok ? said.username : answer.status === 401 && said.error ? "" : undefined;
  } catch {
    return undefined;
  }
}

/** Goes on when the same person has signed in again in another tab. @param {import("./store/safe_local_storage.js").EndedSession} ended */
async function goOn(ended) {
  if ((await whoAmI()) !== ended.name) return;
  rememberEndedSession(ended); // the chat leads back to the place
  location.replace("/");
}

/**
 * Shows an error of the form as a whole; "" takes it away.
 * @param {string} code
 * @param {number} [wait] in seconds
 */
export function showFormError(code, wait = 0) {
  const error = /** @type {HTMLElement} */ (find(form, ":scope > .error"));
  error.dataset.error = code;
  error.dataset.wait = String(wait);
  setText(error, "");
  sayAgain();
}

/** The server says that a session has ended; who it was, this tab noted when it left the chat, or the browser remembers. */
function whoseSessionEnded() {
  const { ended } = /** @type {HTMLElement} */ (find(document, ".card")).dataset;
  if (ended === undefined) return undefined; // a sign-up
  const noted = endedSession();
  if (!ended) {
    forgetEndedSession(); // they signed out, or in again
    if (noted) void goOn(noted);
    return undefined;
  }
  const name = rememberedName();
  const note = noted ?? (name === undefined ? undefined : { name, place: location.hash });
  if (note) rememberEndedSession(note);
  return note;
}

/** What the language decides here. The server's errors come as words and as codes; the codes are said anew. */
function sayAgain() {
  document.title = `${find(document, "h1").textContent} · chatify`;
  for (const error of /** @type {NodeListOf<HTMLElement>} */ (form.querySelectorAll("[data-error]"))) {
    const { error: code, wait } = error.dataset;
    if (code === "rate_limited") setText(error, t("too_many_tries", { wait: waitText(Number(wait)) }));
    else if (code === "no_connection") setText(error, t(code));
    else if (code) setText(error, errorText(code, error.textContent));
  }
}

// Up to here nothing waits for words: who is quick has pressed the button by now. Should they fail to load, so does the page (`start.js`).
await import("./util/language.js").catch(() => new Promise(() => {}));
addPasswordToggle(form);
sayAgain();
document.addEventListener("languagechange", sayAgain);
if (!confirm) pageStarted();

if (location.hash === "#farewell") {
  // Whoever has just deleted their account is not greeted as one who comes back.
  for (const sentence of document.querySelectorAll(".sentence")) sentence.toggleAttribute("hidden");
  history.replaceState(null, "", location.pathname);
}

/** Whether the server says that a person has just signed out here. For some seconds other tabs, on their way to the login, see it too. */
function isSignedOut() {
  const isSo = document.cookie.includes("chatify_signed_out=1");
  if (isSo) document.cookie = `chatify_signed_out=1; Path=/; SameSite=Lax; Max-Age=${SIGNED_OUT_SECONDS}`;
  return isSo;
}

/** Whoever was here and is signed in no more leaves nothing to be read, and who signed out nothing at all. @param {boolean} signedOut */
async function forgetWhoLeft(signedOut) {
  if ((await whoAmI()) !== "") return;
  const places = await import("./store/storage_keys.js").catch(() => undefined);
  await (signedOut ? places?.eraseAfterSignOut() : places?.eraseOfflineCopies());
}

const signedOut = isSignedOut();
if (signedOut || rememberedName() !== undefined) void forgetWhoLeft(signedOut);

// The chat that comes next can be kept for when there is no network.
async function register() {
  const offline = await import("./sync/service_worker.js").catch(() => undefined);
  await offline?.register();
}

// The words may have come after everything else.
if (document.readyState === "complete") void register();
else addEventListener("load", () => void register());
