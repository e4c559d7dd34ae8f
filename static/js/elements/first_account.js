/** Welcomes a user who is alone here, and offers a link for inviting someone. Loaded on demand. */

import { find } from "../util/dom.js";
import { t } from "../util/translate.js";
import "./invite_link.js";

/** @import { TranslationKey } from "../util/translate.js" */

/**
 * Fills the place for users who are alone, once.
 * @param {HTMLElement} place
 */
export function welcome(place) {
  if (place.childElementCount > 0) return;
  const invite = find(document, "#menu invite-link").cloneNode(true);
  const ask = find(invite, ".ask");
  ask.classList.replace("row", "primary");
  translate(ask, "invite_copy");
  place.append(
    translate(document.createElement("h2"), "first_title"),
    translate(document.createElement("p"), "first_about"),
    invite,
  );
}

/**
 * Shows a text and marks the element, so that a change of language translates it again.
 * @param {HTMLElement} element
 * @param {TranslationKey} key
 */
function translate(element, key) {
  element.dataset.t = key;
  element.textContent = t(key);
  return element;
}
