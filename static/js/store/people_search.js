/**
 * Finds users by name while it is typed, and suggests some to a user without conversations. It does
 * not touch the DOM.
 */

import { Limited } from "../sync/api.js";
import { Emitter } from "../util/emitter.js";
import { searchKey } from "../util/names.js";

const DEBOUNCE_MS = 120; // of typing in the search
/** Failed suggestions are retried; nothing else would request them again. */
const RETRY_MS = 2_000;

/**
 * - `changed`: the results or the state changed
 * - `finished`: a search is over
 * @extends {Emitter<{ changed: void, finished: void }>}
 */
export class PeopleSearch extends Emitter {
  /** What the user searches for; "" shows suggestions. */
  query = "";
  /** The users found or suggested. @type {string[]} */
  found = [];
  /** @type {"" | "searching" | "limited" | "failed"} */
  state = "";
  /** Seconds until the server accepts searches again after a rate limit. */
  limitedFor = 0;
  /** Whether there are no users to suggest. */
  isAlone = false;
  #isSuggesting = false;
  /** Counts searches: results of earlier ones are ignored. */
  #searches = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  #people;

  /** @param {import("./people_directory.js").PeopleDirectory} people */
  constructor(people) {
    super();
    this.#people = people;
    people.on("signedUp", (name) => this.#signedUp(name));
  }

  /** @param {string} text as typed */
  set(text) {
    this.query = text.trim();
    this.#searches++;
    clearTimeout(this.#timer);
    this.found = [];
    this.isAlone = this.#isSuggesting = false;
    this.state = this.query ? "searching" : "";
    if (this.query) this.#timer = setTimeout(() => void this.#find(), DEBOUNCE_MS);
    this.emit("changed");
  }

  /** Finds suggestions. Returns false when it already did. */
  suggest() {
    if (this.#isSuggesting) return false;
    this.#isSuggesting = true;
    void this.#find();
    return true;
  }

  /** Finds suggestions again, because sign-ups may have been missed. */
  refresh() {
    if (!this.#isSuggesting) return;
    this.#isSuggesting = false;
    this.emit("changed");
  }

  async #find() {
    const { query } = this;
    const search = ++this.#searches;
    /** @type {unknown} */
    const answer = await this.#people.search(query).catch((error) => error);
    if (search !== this.#searches) return;
    const isFound = Array.isArray(answer);
    this.found = isFound ? answer : [];
    this.isAlone = isFound && query === "" && answer.length === 0;
    this.state = isFound ? "" : answer instanceof Limited ? "limited" : "failed";
    if (answer instanceof Limited) this.limitedFor = answer.seconds;
    const retryAfterMs = answer instanceof Limited ? answer.seconds * 1_000 : query === "" ? RETRY_MS : undefined;
    if (!isFound && retryAfterMs !== undefined) this.#timer = setTimeout(() => void this.#find(), retryAfterMs);
    this.emit("changed");
    this.emit("finished");
  }

  /** @param {string} name */
  #signedUp(name) {
    const query = searchKey(this.query);
    const isWanted = query ? searchKey(name).includes(query) : this.#isSuggesting;
    if (!isWanted || this.found.includes(name)) return;
    this.found = [...this.found, name];
    this.isAlone = false;
    if (!query) this.found.sort((a, b) => (searchKey(a) < searchKey(b) ? -1 : 1));
    this.emit("changed");
  }
}
