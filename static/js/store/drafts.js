/**
 * Texts not finished yet, one a conversation, from wherever they were written last: this page, another tab, another device.
 * The newest wins, but never over what is being typed here at this moment.
 */

import { nameKey } from "../util/names.js";

/**
 * @typedef {object} Draft
 * @property {string} peer
 * @property {string} text "" once it is sent or taken away
 * @property {number} at when it was changed, milliseconds since 1970
 * @property {boolean} [known] the server has this very text
 * @property {string} [had] the last version that the server is known to have had
 * @property {string} [merged] the part at its beginning that comes from another device
 */

/**
 * Where they outlive the page.
 * @typedef {object} DraftStore
 * @property {() => Promise<Draft[]>} load
 * @property {(key: string, draft: Draft) => void} put
 * @property {(key: string) => void} remove
 */

/** The newest so many are kept. */
const LIMIT = 100;
/** Between a letter and its safe place. */
const PAUSE_MS = 250;
/** A pause between two words; after a longer one, another device may have the word. */
const TYPING_MS = 3_000;
/** Versions remembered of a text: another tab's come back from the server after newer ones came from the tab itself. */
const VERSIONS = 20;

export class Drafts {
  /** @type {Map<string, Draft>} by name key, the last changed last */
  #texts = new Map();
  /** @type {Map<string, string[]>} by name key, what the texts were before */
  #versions = new Map();
  /** @type {Set<string>} changed here and not yet kept */
  #unkept = new Set();
  /** @type {any} */
  #timer;
  /** Where something was typed here last, and when. */
  #typed = { key: "", at: 0 };
  #store;
  #now;

  /** A text changed elsewhere and should be shown. @type {(peer: string) => void} */
  onchanged = () => {};
  /** A text was changed here: tell the other tabs and devices. Comes after pauses, not for every letter. @type {(draft: Draft) => void} */
  onwritten = () => {};

  /**
   * @param {DraftStore} [store]
   * @param {() => number} [now]
   */
  constructor(store = { load: async () => [], put: () => {}, remove: () => {} }, now = Date.now) {
    this.#store = store;
    this.#now = now;
  }

  /** Takes up what an earlier page left. */
  async load() {
    const kept = await this.#store.load();
    for (const draft of kept.toSorted((a, b) => a.at - b.at)) this.#take(draft);
  }

  /** The draft text to a person. @param {string} peer */
  of(peer) {
    return this.get(peer)?.text ?? "";
  }

  /** @param {string} peer */
  get(peer) {
    return this.#texts.get(nameKey(peer));
  }

  /** All of them, the last changed last. */
  all() {
    return [...this.#texts.values()];
  }

  /**
   * The person changed a text.
   * @param {string} peer
   * @param {string} text
   */
  write(peer, text) {
    const key = nameKey(peer);
    const before = this.#texts.get(key);
    if (text === (before?.text ?? "")) return;
    this.#typed = { key, at: text === "" ? 0 : this.#now() }; // what was sent is not being typed any more
    this.#change({ ...origin(before), peer, text, at: Math.max(this.#now(), (before?.at ?? 0) + 1) });
  }

  /**
   * Puts a text in the place of the one here, and sends it to the other tabs and devices.
   * @param {Draft} draft
   */
  replace(draft) {
    const { peer, text } = draft;
    const changes = this.of(peer) !== text;
    this.#change(draft);
    if (changes) this.onchanged(peer);
  }

  /**
   * Notes which version of a text the server is known to have had.
   * @param {string} peer
   * @param {string} had
   */
  note(peer, had) {
    const key = nameKey(peer);
    const mine = this.#texts.get(key);
    if (!mine || mine.had === had) return;
    mine.had = had;
    this.#store.put(key, mine);
  }

  /** Whether a text is being typed here at this moment. @param {string} peer */
  isTyped(peer) {
    return this.#typed.key === nameKey(peer) && this.#now() - this.#typed.at < TYPING_MS;
  }

  /** Whether a text was here before the present one. @param {string} peer @param {string} text */
  wasHere(peer, text) {
    return text !== "" && this.#versions.get(nameKey(peer))?.includes(text) === true;
  }

  /**
   * Takes a text that was changed in another tab or on another device. Returns whether it counts.
   * @param {Draft} draft
   */
  take(draft) {
    if (!this.#take(draft)) return false;
    this.#store.put(nameKey(draft.peer), draft);
    return true;
  }

  /** Puts what was typed last into its safe place: the page may be about to go. */
  flush() {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    for (const key of this.#unkept) {
      const draft = this.#texts.get(key);
      if (!draft) continue;
      this.#store.put(key, draft);
      this.onwritten(draft);
    }
    this.#unkept.clear();
  }

  /** Forgets all of them, here. */
  wipe() {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#texts.clear();
    this.#versions.clear();
    this.#unkept.clear();
  }

  /** @param {Draft} draft */
  #take(draft) {
    const key = nameKey(draft.peer);
    const mine = this.#texts.get(key);
    if (mine && mine.at >= draft.at) return false;
    // An empty field has nothing to lose, and what was begun elsewhere has. Nor is anything lost when text was added.
    if (mine?.text && this.isTyped(mine.peer) && !draft.text.startsWith(mine.text)) {
      this.#change({ ...origin(mine), peer: mine.peer, text: mine.text, at: draft.at + 1 }); // typing goes on here, so this is the newer one, whatever the clocks say
      return false;
    }
    this.#set(draft);
    if ((mine?.text ?? "") !== draft.text) this.onchanged(draft.peer);
    return true;
  }

  /** @param {Draft} draft */
  #change(draft) {
    this.#set(draft);
    this.#unkept.add(nameKey(draft.peer));
    this.#timer ??= setTimeout(() => this.flush(), PAUSE_MS);
  }

  /** @param {Draft} draft */
  #set(draft) {
    const key = nameKey(draft.peer);
    const before = this.#texts.get(key)?.text;
    if (before) this.#versions.set(key, [...(this.#versions.get(key) ?? []), before].slice(-VERSIONS));
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

/** What a text that is changed here keeps of the one before. @param {Draft | undefined} before */
function origin(before) {
  const { had, merged } = before ?? {};
  return { ...(had !== undefined && { had }), ...(merged !== undefined && { merged }) };
}

/**
 * @param {string} key
 * @param {any} draft
 */
export function isDraft(key, draft) {
  return (
    typeof draft?.peer === "string" &&
    nameKey(draft.peer) === key &&
    typeof draft.text === "string" &&
    typeof draft.at === "number"
  );
}
