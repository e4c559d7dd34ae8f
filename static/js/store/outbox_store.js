/** Unsent texts of one person at this browser, and the word to their other tabs when one is settled. */

import { KeptRecords } from "./kept_records.js";
import { outboxPrefix } from "./places.js";

/** @import { Database } from "./local_database.js" */
/** @import { Draft, DraftStore } from "../sync/outbox.js" */
/** @import { Shelf } from "./shelf.js" */

/** @implements {DraftStore} */
export class OutboxStore {
  /** @type {KeptRecords<Draft>} */
  #records;
  #told = false;

  /** A text left this tab's store: sent, or thrown away. @type {(ref: string) => void} */
  onremoved = () => {};

  /**
   * @param {{ shelf: Shelf, database: Database }} places
   * @param {string} user whose texts; another person at this browser never sees them
   */
  constructor(places, user) {
    this.#records = new KeptRecords(places, "outbox", outboxPrefix(user), isDraft);
  }

  /** Whether an unsent text will be gone with the page. */
  get forgetful() {
    return this.#records.forgetful;
  }

  load() {
    return this.#records.load();
  }

  /** @param {Draft} draft */
  put(draft) {
    this.#records.put(draft.ref, draft);
  }

  /** @param {string} ref */
  remove(ref) {
    this.#records.remove(ref);
    if (!this.#told) this.onremoved(ref);
  }

  /**
   * Runs what another tab caused, without telling the tabs again.
   * @param {() => void} run
   */
  quietly(run) {
    this.#told = true;
    run();
    this.#told = false;
  }

  wipe() {
    this.#records.wipe();
  }
}

/**
 * The texts of "ann.b" stand under names that begin like those of "ann"; what follows is then no ref.
 * @param {string} key
 * @param {any} draft
 */
function isDraft(key, draft) {
  return (
    draft?.ref === key &&
    typeof draft.peer === "string" &&
    typeof draft.text === "string" &&
    typeof draft.at === "number" &&
    (draft.state === "sending" || draft.state === "failed")
  );
}
