/** Unsent texts of one person at this browser, and the word to their other tabs when one is settled. */

import { OfflineStore } from "./offline_store.js";
import { outboxPrefix } from "./storage_keys.js";

/** @import { Database } from "./local_database.js" */
/** @import { PendingMessage, PendingMessageStore } from "../sync/outbox.js" */
/** @import { SafeStorage } from "./safe_local_storage.js" */

/** @implements {PendingMessageStore} */
export class OutboxStore {
  /** @type {OfflineStore<PendingMessage>} */
  #records;
  #told = false;

  /** A text left this tab's store: sent, or thrown away. @type {(ref: string) => void} */
  onremoved = () => {};

  /**
   * @param {{ storage: SafeStorage, database: Database }} places
   * @param {string} user whose texts; another person at this browser never sees them
   */
  constructor(places, user) {
    this.#records = new OfflineStore(places, "outbox", outboxPrefix(user), isPendingMessage);
  }

  /** Whether an unsent text will be gone with the page. */
  get isVolatile() {
    return this.#records.isVolatile;
  }

  load() {
    return this.#records.load();
  }

  /** @param {PendingMessage} pending */
  put(pending) {
    this.#records.put(pending.ref, pending);
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
 * @param {any} pending
 */
function isPendingMessage(key, pending) {
  return (
    pending?.ref === key &&
    typeof pending.peer === "string" &&
    typeof pending.text === "string" &&
    typeof pending.at === "number" &&
    (pending.state === "sending" || pending.state === "failed")
  );
}
