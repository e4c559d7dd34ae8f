/** What the parts of the search share: their texts and style, and how a match is marked. Loaded on demand. */

import { importAgain } from "../util/dom.js";
import { extendTranslations } from "../util/translate.js";
import { ready as actionsReady } from "./action_parts.js";
import { loadStyle, make } from "./dialogs.js";

/** Resolves once texts and style are loaded; without them nothing here can be shown. */
export const ready = Promise.all([
  actionsReady,
  loadStyle("search.css"),
  extendTranslations({
    en: () => importAgain(() => import("../translations/search_en.js"), "translations/search_en.js"),
    el: () => importAgain(() => import("../translations/search_el.js"), "translations/search_el.js"),
  }),
]);

/**
 * An excerpt of a message with the match marked.
 * @param {{ before: string, match: string, after: string }} excerpt
 */
export function markedParts({ before, match, after }) {
  return match === "" ? [after] : [before, make("mark", match), after];
}
