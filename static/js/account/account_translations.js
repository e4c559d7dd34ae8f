/** Registers the account page's texts, before a language is loaded. */

import { addTranslations } from "../util/translate.js";

addTranslations({
  en: () => import("../translations/account_en.js"),
  el: () => import("../translations/account_el.js"),
});
