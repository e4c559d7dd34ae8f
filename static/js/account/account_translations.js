/** The words that only the account page says, beside those of every page. It runs before any are loaded. */

import { addTranslations } from "../util/translate.js";

addTranslations({ en: () => import("../words/account_en.js"), el: () => import("../words/account_el.js") });
