/** The texts and style of message search. Loaded on demand. */

import { importAgain } from "../util/dom.js";
import { extendTranslations } from "../util/translate.js";
import { ready as actionsReady } from "./action_parts.js";
import { loadStyle } from "./dialogs.js";

/** Resolves once texts and style are loaded; without them nothing here can be shown. */
export const ready = Promise.all([
  actionsReady,
  loadStyle("search.css"),
  extendTranslations({
    en: () => importAgain(() => import("../translations/search_en.js"), "translations/search_en.js"),
    el: () => importAgain(() => import("../translations/search_el.js"), "translations/search_el.js"),
  }),
]);
