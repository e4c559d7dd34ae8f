/** The texts around the list's entries: section labels, and the note without results. */

import { find, setText } from "../util/dom.js";
import { t, waitText } from "../util/translate.js";

/**
 * Labels the conversations and the people of a search, and the people suggested to a new user.
 * @param {HTMLElement} list
 * @param {{ query: string, entries: readonly unknown[], found: readonly unknown[] }} results
 */
export function showLabels(list, { query, entries, found }) {
  find(list, ".of-conversations").hidden = query === "" || entries.length === 0;
  const people = find(list, ".of-people");
  people.hidden = found.length === 0;
  setText(people, t(query === "" ? "list_empty_people" : "search_people"));
}

/**
 * Explains why there is no result.
 * @param {HTMLElement} note
 * @param {import("../store/people_search.js").PeopleSearch} search
 * @param {boolean} isEmpty
 */
export function showNote(note, { state, query, limitedFor }, isEmpty) {
  const texts = {
    searching: "",
    failed: navigator.onLine ? t("search_failed") : t("search_offline"),
    limited: t("search_limited", { wait: waitText(limitedFor) }),
    "": t("search_no_results", { query }),
  };
  const text = isEmpty && query !== "" ? texts[state] : "";
  note.hidden = text === "";
  setText(note, text);
}
