/** Welcomes a user who is alone here; an admin can invite someone. Loaded on demand. */

import { find } from "../util/dom.js";
import { translateWithin } from "../util/language.js";
import "./invite_link.js";

/**
 * Fills the place for users who are alone, once.
 * @param {HTMLElement} place
 */
export function welcome(place) {
  if (place.childElementCount > 0) return;
  place.append(translated("h2", "first_title"), translated("p", "first_about"));
  const invite = find(document, "#menu invite-link").cloneNode(true);
  const ask = find(invite, ".ask");
  ask.className = "primary ask";
  ask.replaceChildren();
  ask.dataset.t = "invite_copy";
  place.append(invite);
  translateWithin(place);
}

/**
 * @param {string} tag
 * @param {import("../util/translate.js").TranslationKey} key
 */
function translated(tag, key) {
  const element = document.createElement(tag);
  element.dataset.t = key;
  return element;
}
