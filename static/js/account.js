/** The account page: whose it is, its parts, and the way out when the session ends meanwhile. */

import "./account/account_deletion.js";
import "./account/blocked_people.js";
import "./account/data_export.js";
import "./account/device_list.js";
import "./account/password_form.js";
import "./account/privacy_choice.js";
import { announce } from "./account/announce.js";
import { ask, explain } from "./account/requests.js";
import { find, pageStarted, setAvatar, setText } from "./util/dom.js";
import "./util/language.js";
import { t } from "./util/translate.js";

/** @import { Me } from "./account/requests.js" */

/** How soon a session that ended elsewhere leaves the page. */
const LOOK_MS = 10_000;
const TRY_MS = 2_000;

/** @type {import("./account/privacy_choice.js").PrivacyChoice} */
const privacy = find(document, "privacy-choice");
/** @type {import("./account/data_export.js").DataExport} */
const data = find(document, "data-export");
/** @type {import("./account/account_deletion.js").AccountDeletion} */
const deletion = find(document, "account-deletion");

/** Who is signed in; without an answer it says so and asks again. @returns {Promise<Me>} */
async function whoAmI() {
  const trouble = find(document, ".trouble");
  for (;;) {
    try {
      const me = await ask("/me");
      announce(trouble);
      return me;
    } catch (error) {
      announce(trouble, explain(error));
      pageStarted();
      await new Promise((resolve) => setTimeout(resolve, TRY_MS));
    }
  }
}

/** Sees whether the session has ended, which leaves the page, or is somebody else's by now. @param {string} name */
async function look(name) {
  if (document.visibilityState === "hidden") return;
  const me = await ask("/me").catch(() => undefined);
  if (me && me.username !== name) location.replace("/");
}

function sayTitle() {
  document.title = `${t("account")} · chatify`;
}

sayTitle();
document.addEventListener("languagechange", sayTitle);
find(document, ".back").addEventListener("click", (/** @type {Event} */ event) => {
  // Back to the conversation that was open, where it was come from.
  if (document.referrer !== `${location.origin}/`) return;
  event.preventDefault();
  history.back();
});

const me = await whoAmI();
setText(find(document, ".whose .name"), me.username);
setAvatar(find(document, ".whose .avatar"), me.username);
for (const login of /** @type {NodeListOf<HTMLInputElement>} */ (document.querySelectorAll(".login"))) {
  login.value = me.username; // so that a password manager knows whose password it keeps
}
data.name = me.username;
deletion.name = me.username;
privacy.show(me);
pageStarted();
setInterval(() => void look(me.username), LOOK_MS);
document.addEventListener("visibilitychange", () => void look(me.username));
