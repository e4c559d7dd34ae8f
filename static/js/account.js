/** The account page: shows the user, starts its parts, and leaves when the session ends. */

import "./account/account_translations.js"; // before the language is loaded
import "./account/account_deletion.js";
import "./account/blocked_people.js";
import "./account/data_export.js";
import "./account/device_list.js";
import "./account/notification_choice.js";
import "./account/password_form.js";
import "./account/privacy_choice.js";
import "./account/profile_form.js";
import "./account/theme_choice.js";
import { announce } from "./account/announce.js";
import { explain, send } from "./account/requests.js";
import { find, pageStarted } from "./util/dom.js";
import { translated } from "./util/language.js";
import { t } from "./util/translate.js";

/** @import { Me } from "./account/requests.js" */

/** How often to check whether the session has ended elsewhere. */
const CHECK_MS = 10_000;
const RETRY_MS = 2_000;

/** @type {import("./account/privacy_choice.js").PrivacyChoice} */
const privacy = find(document, "privacy-choice");
/** @type {import("./account/profile_form.js").ProfileForm} */
const profile = find(document, "profile-form");
/** @type {import("./account/data_export.js").DataExport} */
const data = find(document, "data-export");
/** @type {import("./account/account_deletion.js").AccountDeletion} */
const deletion = find(document, "account-deletion");

/**
 * The signed-in user. Shows an error and retries until the server responds.
 * @returns {Promise<Me>}
 */
async function requestMe() {
  const trouble = find(document, ".trouble");
  for (;;) {
    try {
      const me = await send("/me");
      announce(trouble);
      return me;
    } catch (error) {
      announce(trouble, explain(error));
      pageStarted();
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
  }
}

/** Leaves the page when the session has ended or another user signed in. @param {string} name */
async function checkSession(name) {
  if (document.visibilityState === "hidden") return;
  const me = await send("/me").catch(() => undefined);
  if (me && me.username !== name) location.replace("/");
}

function renderTitle() {
  document.title = `${t("account")} · chatify`;
}

await translated;
renderTitle();
document.addEventListener("languagechange", renderTitle);
find(document, ".back").addEventListener("click", (/** @type {Event} */ event) => {
  // Go back in history if the user came from the chat, which restores the open conversation.
  if (document.referrer !== `${location.origin}/`) return;
  event.preventDefault();
  history.back();
});

const me = await requestMe();
profile.show(me);
for (const login of /** @type {NodeListOf<HTMLInputElement>} */ (document.querySelectorAll(".login"))) {
  login.value = me.username; // so that password managers know the account
}
data.name = me.username;
deletion.name = me.username;
privacy.show(me);
pageStarted();
setInterval(() => void checkSession(me.username), CHECK_MS);
document.addEventListener("visibilitychange", () => void checkSession(me.username));
