/** Registers the account page's texts, before a language is loaded. */

import { addTranslations } from "../util/translate.js";

addTranslations({ en: () => import("../words/account_en.js"), el: () => import("../words/account_el.js") });
