/** Renders the parts of a message's text. */

import { cloneTemplate } from "../util/dom.js";

/** @import { Part, Text } from "../util/message_format.js" */

/**
 * The node that shows a part.
 * @param {Part} part
 * @returns {Node}
 */
export function partNode(part) {
  if (!("tag" in part)) return textNode(part);
  const element = document.createElement(part.tag);
  element.append(...part.children.map(partNode));
  if (part.tag === "blockquote" || part.tag === "ul" || part.tag === "ol") element.dir = "auto"; // the side of its marks
  if (part.value !== undefined) /** @type {HTMLLIElement} */ (element).value = part.value;
  if (part.language) element.dataset.language = part.language;
  if (part.tag !== "pre") return element;
  element.tabIndex = 0; // the keyboard scrolls it
  const block = document.createElement("div");
  block.className = "code-block";
  block.append(element);
  return block;
}

/** @param {Text} part */
function textNode(part) {
  if (part.code) {
    const code = document.createElement("code");
    code.textContent = part.text;
    return code;
  }
  return isSafeLink(part) ? link(part) : document.createTextNode(part.text);
}

/**
 * Whether a part is a link that is safe to follow. On this server, only links to the chat page are:
 * a link to /logout would sign the user out.
 * @param {Text} part
 */
function isSafeLink({ href }) {
  if (href === undefined) return false;
  const { origin, pathname } = new URL(href);
  return origin !== location.origin || pathname === "/";
}

/** @param {Text} part */
function link({ text, href = "" }) {
  const anchor = /** @type {HTMLAnchorElement} */ (cloneTemplate("link"));
  anchor.href = href;
  anchor.textContent = text;
  return anchor;
}
