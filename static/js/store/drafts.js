/**
 * Drafts, one per conversation, merged from this page, other tabs and other devices. The newest
 * wins, except over text being typed here at the moment.
 */

import { Emitter } from "../util/emitter.js";
import { nameKey } from "../util/names.js";

/**
 * @typedef {object} Draft a stored record; browsers already hold these field names
 * @property {string} peer
 * @property {string} text "" once sent or deleted
 * @property {number} at time of the last change, milliseconds since 1970
 * @property {boolean} [known] whether the server has exactly this text
 * @property {string} [had] the last version the server is known to have stored
 * @property {string} [merged] the part at its beginning that came from another device
 */

/** Persists drafts by name key. @typedef {Omit<import("./offline_store.js").RecordStore<Draft>, "wipe">} DraftStore */

/** Older drafts are deleted. */
const LIMIT = 100;
/** Typing is saved after this pause. */
const SAVE_AFTER_MS = 250;
/**
 * The user counts as typing this long after a keystroke; after that, a newer draft from elsewhere
 * may replace the text.
 */
const TYPING_MS = 3_000;
/**
 * Versions remembered per draft: the server may echo an older version of another tab after that tab
 * sent a newer one.
 */
const MAX_VERSIONS = 20;

/**
 * - `changed`: the draft to this peer changed elsewhere
 * - `written`: the user changed this draft and paused
 * @extends {Emitter<{ changed: string, written: Draft }>}
 */
export class Drafts extends Emitter {
  /** @type {Map<string, Draft>} by name key, last changed last */
  #texts = new Map();
  /** @type {Map<string, string[]>} by name key, earlier texts */
  #versions = new Map();
  /** @type {Set<string>} changed here and not saved yet */
  #unsaved = new Set();
  /** @type {any} */
  #timer;
  /** The conversation in which the user typed last, and when. */
  #lastTyped = { key: "", at: 0 };
  #store;
  #now;

  /**
   * @param {DraftStore} [store]
   * @param {() => number} [now]
   */
  constructor(store = { load: async () => [], put: () => {}, remove: () => {} }, now = Date.now) {
    super();
    this.#store = store;
    this.#now = now;
  }

  /** Loads the drafts that an earlier page saved. */
  async load() {
    const stored = await this.#store.load();
    for (const draft of stored.toSorted((a, b) => a.at - b.at)) this.#merge(draft);
  }

  /** The text of the draft to `peer`, or "". @param {string} peer */
  of(peer) {
    return this.get(peer)?.text ?? "";
  }

  /** @param {string} peer */
  get(peer) {
    return this.#texts.get(nameKey(peer));
  }

  /** All drafts, last changed last. */
  all() {
    return [...this.#texts.values()];
  }

  /**
   * The user changed a draft.
   * @param {string} peer
   * @param {string} text
   */
  write(peer, text) {
    const key = nameKey(peer);
    const before = this.#texts.get(key);
    if (text === (before?.text ?? "")) return;
    this.#lastTyped = { key, at: text === "" ? 0 : this.#now() }; // sent, so no longer being typed
    this.#setAndSave({ ...origin(before), peer, text, at: Math.max(this.#now(), (before?.at ?? 0) + 1) });
  }

  /**
   * Replaces a draft, here and on other tabs and devices.
   * @param {Draft} draft
   */
  replace(draft) {
    const { peer, text } = draft;
    const changes = this.of(peer) !== text;
    this.#setAndSave(draft);
    if (changes) this.emit("changed", peer);
  }

  /**
   * Records the version of a draft that the server has stored.
   * @param {string} peer
   * @param {string} had
   */
  noteStored(peer, had) {
    const key = nameKey(peer);
    const mine = this.#texts.get(key);
    if (!mine || mine.had === had) return;
    mine.had = had;
    this.#store.put(key, mine);
  }

  /** Whether the user is typing in this draft now. @param {string} peer */
  isBeingTyped(peer) {
    return this.#lastTyped.key === nameKey(peer) && this.#now() - this.#lastTyped.at < TYPING_MS;
  }

  /** Whether the draft had this text before. @param {string} peer @param {string} text */
  hadText(peer, text) {
    return text !== "" && this.#versions.get(nameKey(peer))?.includes(text) === true;
  }

  /**
   * Merges a draft from another tab or device. Returns whether it replaced the one here.
   * @param {Draft} draft
   */
  mergeAndSave(draft) {
    if (!this.#merge(draft)) return false;
    this.#store.put(nameKey(draft.peer), draft);
    return true;
  }

  /** Saves unsaved drafts now, because the page may be about to close. */
  flush() {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    for (const key of this.#unsaved) {
      const draft = this.#texts.get(key);
      if (!draft) continue;
      this.#store.put(key, draft);
      this.emit("written", draft);
    }
    this.#unsaved.clear();
  }

  /** Deletes all drafts of this page. */
  wipe() {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#texts.clear();
    this.#versions.clear();
    this.#unsaved.clear();
  }

  /** @param {Draft} draft */
  #merge(draft) {
    const key = nameKey(draft.peer);
    const mine = this.#texts.get(key);
    if (mine && mine.at >= draft.at) return false;
    // Nothing is lost if the field here is empty or the other text only adds to it.
    if (mine?.text && this.isBeingTyped(mine.peer) && !draft.text.startsWith(mine.text)) {
      // The user is typing here, so this version is newer whatever the clocks say.
      this.#setAndSave({ ...origin(mine), peer: mine.peer, text: mine.text, at: draft.at + 1 });
      return false;
    }
    this.#set(draft);
    if ((mine?.text ?? "") !== draft.text) this.emit("changed", draft.peer);
    return true;
  }

  /** @param {Draft} draft */
  #setAndSave(draft) {
    this.#set(draft);
    this.#unsaved.add(nameKey(draft.peer));
    this.#timer ??= setTimeout(() => this.flush(), SAVE_AFTER_MS);
  }

  /** @param {Draft} draft */
  #set(draft) {
    const key = nameKey(draft.peer);
    const before = this.#texts.get(key)?.text;
    if (before) this.#versions.set(key, [...(this.#versions.get(key) ?? []), before].slice(-MAX_VERSIONS));
    this.#texts.delete(key);
    this.#texts.set(key, draft);
    for (const oldest of this.#texts.keys()) {
      if (this.#texts.size <= LIMIT) break;
      this.#texts.delete(oldest);
      this.#versions.delete(oldest);
      this.#store.remove(oldest);
    }
  }
}

/** The sync state that a changed draft inherits. @param {Draft | undefined} before */
function origin(before) {
  const { had, merged } = before ?? {};
  return { ...(had !== undefined && { had }), ...(merged !== undefined && { merged }) };
}

/**
 * Whether a stored record is a draft.
 * @param {string} key
 * @param {any} record
 * @returns {record is Draft}
 */
export function isDraft(key, record) {
  return (
    typeof record?.peer === "string" &&
    nameKey(record.peer) === key &&
    typeof record.text === "string" &&
    typeof record.at === "number"
  );
}
