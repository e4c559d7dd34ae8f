/** Drafts in `localStorage`: one entry a draft, so that two tabs never overwrite each other. */

/** @import { Draft, DraftStore } from "./outbox.js" */

/** @implements {DraftStore} */
export class LocalStore {
  #storage;
  #prefix;

  /**
   * @param {Pick<Storage, "getItem" | "setItem" | "removeItem" | "key" | "length">} storage
   * @param {string} user whose drafts; another person at this browser never sees them
   */
  constructor(storage, user) {
    this.#storage = storage;
    this.#prefix = `chatify.draft.${user}.`;
  }

  load() {
    /** @type {Draft[]} */
    const drafts = [];
    for (const key of this.#keys()) {
      try {
        const draft = JSON.parse(this.#storage.getItem(key) ?? "");
        if (isDraft(draft)) drafts.push(draft);
      } catch {
        this.#storage.removeItem(key); // written by something else, or cut short
      }
    }
    return drafts;
  }

  /** @param {Draft} draft */
  put(draft) {
    try {
      this.#storage.setItem(this.#prefix + draft.ref, JSON.stringify(draft));
    } catch {
      // Full or forbidden: the draft lives as long as the page.
    }
  }

  /** @param {string} ref */
  remove(ref) {
    this.#storage.removeItem(this.#prefix + ref);
  }

  wipe() {
    for (const key of this.#keys()) this.#storage.removeItem(key);
  }

  /**
   * The ref a storage key of this person is about; undefined for any other key.
   * @param {string | null} key
   */
  refOf(key) {
    return key?.startsWith(this.#prefix) ? key.slice(this.#prefix.length) : undefined;
  }

  #keys() {
    const keys = Array.from({ length: this.#storage.length }, (_, index) => this.#storage.key(index));
    return keys.filter((key) => key !== null).filter((key) => key.startsWith(this.#prefix));
  }
}

/** @param {any} draft @returns {draft is Draft} */
function isDraft(draft) {
  return (
    typeof draft?.ref === "string" &&
    typeof draft.peer === "string" &&
    typeof draft.text === "string" &&
    typeof draft.at === "number" &&
    (draft.state === "sending" || draft.state === "failed")
  );
}
