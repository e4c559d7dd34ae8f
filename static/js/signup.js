/**
 * Submits the sign-up without leaving the page, so that a taken name does not clear the passwords.
 * Without scripts the browser submits the form.
 */

import { form, showFieldError, showFormError, username } from "./form.js";
import { forgetName } from "./store/browser_storage.js";
import { pageStarted } from "./util/dom.js";
import { isImpossibleName } from "./util/name_rules.js";

/**
 * The field of each error code; other errors belong to the whole form.
 * @type {Record<string, string>}
 */
const FIELDS = {
  bad_name: "username",
  name_taken: "username",
  name_similar: "username",
  name_reserved: "username",
  bad_password: "password",
};

let isSending = false;

form.addEventListener("submit", (event) => {
  if (event.defaultPrevented) return; // `form.js` found an error
  event.preventDefault();
  if (isImpossibleName(username.value)) {
    showFieldError(username, "bad_name");
    username.focus();
  } else if (!isSending) void send();
});

pageStarted();

async function send() {
  isSending = true;
  showFormError("");
  try {
    const response = await fetch("/signup", {
      method: "POST",
      headers: { accept: "application/json" },
      body: new URLSearchParams(/** @type {any} */ (new FormData(form))),
      redirect: "manual",
    });
    if (response.type === "opaqueredirect") {
      forgetName();
      location.assign(`/${location.hash}`);
      return;
    }
    const body = await response.json().catch(() => undefined);
    // Not the server's response: submit normally, so that a proxy can show its page.
    if (body?.error?.code) show(body.error, Number(response.headers.get("retry-after")));
    else form.submit();
  } catch {
    showFormError("no_connection");
  }
  isSending = false;
}

/**
 * @param {{ code: string, message?: string }} error
 * @param {number} wait in seconds
 */
function show({ code, message }, wait) {
  const id = FIELDS[code];
  if (id === undefined) {
    showFormError(code, { wait, message });
    return;
  }
  const input = /** @type {HTMLInputElement} */ (form.querySelector(`#${id}`));
  showFieldError(input, code);
  input.focus();
}
