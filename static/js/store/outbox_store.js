/** Persists one user's unsent messages in this browser and notifies the user's other tabs when one is settled. */

import { OfflineStore } from "./offline_store.js";
import { outboxPrefix } from "./storage_keys.js";

/** @import { Database } from "./local_database.js" */
/** @import { PendingMessage, PendingMessageStore } from "../sync/outbox.js" */
/** @import { SafeStorage } from "./safe_local_storage.js" */

/** @implements {PendingMessageStore} */
export class OutboxStore {
  /** @type {OfflineStore<PendingMessage>} */
  #records;
  #isQuiet = false;

  /**
   * Called when a message left this tab's store because it was sent or discarded.
   * @type {(ref: string) => void}
   */
  onremoved = () => {};

  /**
   * @param {{ storage: SafeStorage, database: Database }} stores
   * @param {string} user owner of the messages; other users of this browser never see them
   */
  constructor(stores, user) {
    this.#records = new OfflineStore(stores, "outbox", outboxPrefix(user), isPendingMessage);
  }

  /** Whether unsent messages are lost when the page closes. */
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
    if (!this.#isQuiet) this.onremoved(ref);
  }

  /**
   * Runs an action that another tab caused, without notifying the tabs again.
   * @param {() => void} run
   */
  quietly(run) {
    this.#isQuiet = true;
    run();
    this.#isQuiet = false;
  }

  wipe() {
    this.#records.wipe();
  }
}

/**
 * Keys of "ann.b" begin like those of "ann"; what follows is then no ref.
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
