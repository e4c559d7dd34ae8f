/** What the outbox holds: messages and changes that the server has not answered. */

import { nameKey } from "../util/names.js";

/** @import { Message } from "./conversation.js" */

/**
 * @typedef {object} PendingMessage
 * @property {string} ref
 * @property {string} peer
 * @property {string} text
 * @property {number} at milliseconds since 1970, unique within an outbox so that messages sort
 * @property {"sending" | "uploading" | "failed"} state `uploading`: has a file; older versions of the page ignore unknown states
 * @property {string} [code] the error code of a failed message
 * @property {number} [replyTo] the seq of the message it answers
 * @property {PendingFile} [file]
 */

/** `id` is "" until it is uploaded. `key`: of its bytes in this browser. @typedef {import("./message_window.js").MessageFile & { key: string, isOriginal?: true }} PendingFile */

/**
 * @typedef {object} PendingChange
 * @property {string} ref
 * @property {string} peer
 * @property {"edit" | "delete" | "react"} type
 * @property {number} seq of the message; 0 until the ack of the `target`
 * @property {string} [target] the ref of a message that may be stored, but is not acknowledged
 * @property {string} text the new text or the emoji; "" deletes a message and removes a reaction
 * @property {number} at as in a pending message
 * @property {"changing" | "deferred"} state older versions of the page would send a change as a message, but ignore unknown states
 * @property {number} [sendAt] of a deferred deletion, which can be undone until then: milliseconds since 1970
 */

/** @typedef {PendingMessage | PendingChange} Pending */

/** An own or received message: its `seq`, or, while that is 0 or absent, the `ref` of a pending one. @typedef {{ seq?: number, ref?: string }} Target */

/** As changes name it. @typedef {{ seq: number, target: string }} Identified */

/** Persists them by ref. @typedef {import("./offline_store.js").RecordStore<Pending>} PendingStore */

/** @param {Pending} pending @returns {pending is PendingChange} */
export function isChange(pending) {
  return pending.state === "changing" || pending.state === "deferred";
}

/**
 * Whether a stored record is a pending message or change. Keys of user `ann.b` also start with the
 * prefix of `ann`; the rest of such a key is not a ref.
 * @param {string} key
 * @param {any} record
 * @returns {record is Pending}
 */
export function isPending(key, record) {
  return (
    record?.ref === key &&
    typeof record.peer === "string" &&
    typeof record.text === "string" &&
    typeof record.at === "number" &&
    (record.state === "sending" ||
      record.state === "failed" ||
      (record.state === "uploading" && typeof record.file?.key === "string") ||
      (record.state === "changing" && typeof record.type === "string" && typeof record.seq === "number") ||
      (record.state === "deferred" && record.type === "delete" && typeof record.sendAt === "number"))
  );
}

/** The file of a message, as in the server's rows. @param {PendingMessage} pending @returns {{ file?: import("./message_window.js").MessageFile }} */
export function fileOf({ file }) {
  if (!file) return {};
  const { key: _, isOriginal: __, ...rest } = file;
  return { file: rest };
}

/** Whether a message waits until its file is uploaded. @param {Pending} pending */
export function awaitsUpload(pending) {
  return pending.state === "uploading" && pending.file?.id === "";
}

/** Whether another page may have sent it. @param {Pending} pending */
export function mayBeStored(pending) {
  return pending.state !== "failed" && pending.state !== "deferred" && !awaitsUpload(pending);
}

/** The delivery state to show. @param {PendingMessage} pending @returns {"sending" | "failed"} */
export function pendingTick({ state }) {
  return state === "failed" ? state : "sending";
}

/** The frame that sends it. @param {Pending} pending @returns {import("../sync/connection.js").Frame} */
export function toFrame(pending) {
  const { ref, peer, text } = pending;
  if (!isChange(pending)) {
    const { replyTo, file } = pending;
    const rest = { ...(replyTo && { reply_to: replyTo }), ...(file && { file: file.id }) };
    return { type: "message", to: peer, message: text, ref, ...rest };
  }
  const { type, seq } = pending;
  return { type, peer, seq, ref, ...(type === "edit" && { message: text }), ...(type === "react" && { emoji: text }) };
}

/**
 * A message or preview as it will be once the server has made these changes, flagged as pending if
 * there are any.
 * @template {Pick<Message, "seq" | "text" | "deleted" | "editedAt" | "reactions" | "pending" | "file">} M
 * @param {M} message
 * @param {readonly PendingChange[]} changes in the order they were made
 * @param {string} me
 * @returns {M}
 */
export function withChanges(message, changes, me) {
  const own = changes.filter(({ seq }) => seq === message.seq);
  if (own.length === 0 || message.deleted) return message;
  const changed = { ...message, pending: /** @type {const} */ (true) };
  for (const { type, text, at } of own) {
    if (type === "edit") Object.assign(changed, { text, editedAt: at });
    else if (type === "delete") {
      Object.assign(changed, { text, deleted: true, reactions: {} });
      delete changed.file;
    } else {
      const { [me]: _, ...reactions } = changed.reactions ?? {};
      changed.reactions = text ? { ...reactions, [me]: text } : reactions;
    }
  }
  return changed;
}

/**
 * A unique id: the time, then 80 random bits. The time comes first because the database indexes
 * refs by sender: random refs would touch a different index page per message. `crypto.randomUUID`
 * is missing on plain http, where chatify must work too.
 */
export function newRef() {
  const random = Array.from(crypto.getRandomValues(new Uint8Array(10)), (byte) => byte.toString(16).padStart(2, "0"));
  return Date.now().toString(16).padStart(12, "0") + random.join("");
}

/** A message may be changed by its ref while so many later ones are acknowledged. */
const ACKNOWLEDGED_MAX = 200;

/** The pending messages and changes in the order of writing, persisted. */
export class PendingRecords {
  /** @type {Map<string, Pending>} by ref */
  #records = new Map();
  #store;
  /** The number of running loads. */
  #loads = 0;
  #lastAt = 0;
  /** @type {Map<string, number>} the seqs of the messages acknowledged last, by ref */
  #acknowledged = new Map();

  /** @param {PendingStore} store */
  constructor(store) {
    this.#store = store;
  }

  /** Loads what earlier pages or other tabs stored. Resolves to the records that are new here. */
  async load() {
    this.#loads++;
    const stored = await this.#store.load();
    this.#loads--;
    const loaded = stored.filter(({ ref }) => !this.#records.has(ref));
    for (const pending of loaded) this.#records.set(pending.ref, pending);
    this.sort();
    this.#lastAt = Math.max(this.#lastAt, this.all().at(-1)?.at ?? 0);
    return loaded;
  }

  /**
   * Reads a record again, which another tab may have changed. Returns it, or undefined when it is no
   * longer stored.
   * @param {string} ref
   */
  async reload(ref) {
    const stored = (await this.#store.load()).find((each) => each.ref === ref);
    if (stored && this.#records.has(ref)) this.#records.set(ref, stored);
    else this.#records.delete(ref);
    return stored;
  }

  get size() {
    return this.#records.size;
  }

  get isVolatile() {
    return this.#store.isVolatile === true;
  }

  /** A time later than that of all records. */
  nextAt() {
    return (this.#lastAt = Math.max(Date.now(), this.#lastAt + 1));
  }

  /**
   * The server has stored a message with this number.
   * @param {string} ref
   * @param {number} seq
   */
  acknowledge(ref, seq) {
    this.#acknowledged.set(ref, seq);
    const oldest = [...this.#acknowledged.keys()].at(-1 - ACKNOWLEDGED_MAX);
    if (oldest !== undefined) this.#acknowledged.delete(oldest);
  }

  /** @param {Target} message that may have been acknowledged since the caller read it @returns {Identified} */
  identify({ seq, ref: target = "" }) {
    return { seq: seq || this.#acknowledged.get(target) || 0, target };
  }

  /**
   * @param {PendingChange["type"]} type
   * @param {string} peer
   * @param {Identified} message
   * @param {string} text
   * @returns {PendingChange}
   */
  makeChange(type, peer, { seq, target }, text) {
    const of = seq > 0 ? { seq } : { seq, target };
    return { ref: newRef(), peer, type, ...of, text, at: this.nextAt(), state: "changing" };
  }

  /** @param {string} ref */
  get(ref) {
    return this.#records.get(ref);
  }

  all() {
    return [...this.#records.values()];
  }

  /**
   * The messages, with the text that changes waiting for their seq will give them.
   * @param {string} [peer] in any spelling; all by default
   */
  messages(peer) {
    const key = peer && nameKey(peer);
    const changes = this.changes(({ target }) => target !== undefined);
    /** @type {PendingMessage[]} */
    const messages = [];
    for (const pending of this.#records.values()) {
      if (isChange(pending) || (key && nameKey(pending.peer) !== key)) continue;
      const change = changes.findLast(({ target }) => target === pending.ref);
      if (change?.type !== "delete") messages.push(change ? { ...pending, text: change.text } : pending);
    }
    return messages;
  }

  /** @param {(change: PendingChange) => boolean} isWanted */
  changes(isWanted) {
    return this.all()
      .filter((pending) => isChange(pending))
      .filter(isWanted);
  }

  /**
   * The changes of one message.
   * @param {string} peer
   * @param {Identified} message its `seq`, or, while that is 0, its ref
   */
  changesOf(peer, message) {
    const key = nameKey(peer);
    return this.changes(({ seq, target, peer: name }) =>
      message.seq > 0 ? seq === message.seq && nameKey(name) === key : target === message.target,
    );
  }

  /** @param {Pending} pending */
  save(pending) {
    this.#records.set(pending.ref, pending);
    this.#store.put(pending.ref, pending);
  }

  /** Restores the order after a record was saved that is not the newest. */
  sort() {
    this.#records = new Map([...this.#records].toSorted(([, a], [, b]) => a.at - b.at));
  }

  /** Removes a record and returns it, if there is one. @param {string} ref */
  remove(ref) {
    const pending = this.#records.get(ref);
    // A running load may have read it before another tab removed it.
    if (pending || this.#loads > 0) this.#store.remove(ref);
    this.#records.delete(ref);
    return pending;
  }

  /** Deletes everything, here and in the store. */
  wipe() {
    this.#records.clear();
    this.#store.wipe();
  }
}
