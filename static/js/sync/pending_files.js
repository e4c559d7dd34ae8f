/** The files of pending messages, which `file_uploads.js` uploads. */

import { isChange } from "../store/pending.js";
import { Emitter } from "../util/emitter.js";

/** @import { PendingFile, PendingMessage, PendingRecords } from "../store/pending.js" */

/**
 * - `ready`: the file of a message is uploaded
 * @extends {Emitter<{ ready: void }>}
 */
export class PendingFiles extends Emitter {
  #pending;

  /** @param {PendingRecords} pending */
  constructor(pending) {
    super();
    this.#pending = pending;
  }

  /** The messages with files, in order. @returns {(PendingMessage & { file: PendingFile })[]} */
  all() {
    return this.#pending.all().flatMap((each) => (!isChange(each) && each.file ? [{ ...each, file: each.file }] : []));
  }

  /** The message whose file has this key. @param {string} key */
  find(key) {
    return this.all().find(({ file }) => file.key === key);
  }

  /**
   * A file is uploaded.
   * @param {string} key
   * @param {string} id "" if it has to be uploaded again
   */
  setId(key, id) {
    const message = this.find(key);
    if (!message) return;
    this.#pending.save({ ...message, file: { ...message.file, id } });
    if (id !== "") this.emit("ready");
  }
}
