/**
 * Copies of what the server has, so that the page can be read before it answers and without a network: the last conversations,
 * and of each the last messages. Written in batches when the page has nothing else to do; what it holds is never more than a
 * beginning, which the server corrects.
 */

import { nameKey } from "../util/names.js";

/** @import { Row, Stored } from "../sync/api.js" */
/** @import { Conversation, Message } from "./conversation.js" */
/** @import { Database, Change } from "./local_database.js" */

/** @typedef {Omit<Row, "online" | "last_seen">} KeptRow without what is true only for a moment */

/**
 * @typedef {object} Kept a row as it lies in the store
 * @property {string} epoch of the server's data it is a copy of
 * @property {KeptRow} row
 * @property {number} read how far I have read, told to the server or not
 * @property {{ first: number, last: number } | undefined} held the messages that lie beside it
 */

/** @typedef {{ epoch: string, messages: Message[], complete: boolean }} Page messages without a hole; complete: none before */

/**
 * @typedef {object} Source what it copies from
 * @property {() => Conversation[]} newest those with something in them, newest first
 * @property {(peer: string, limit: number) => Promise<Stored[]>} fetch the newest messages of one that is not on screen
 */

export const STORES = ["about", "rows", "messages"];

const CONVERSATIONS = 30;
const MESSAGES = 200;
/** A batch gathers for so long. */
const GATHER_MS = 1_000;
/** Whoever has just come does not ask for what nobody looks at yet. */
const CATCH_UP_MS = 3_000;

export class OfflineCache {
  #database;
  #idle;
  /** @type {Source | undefined} */
  #source;
  /** @type {string | undefined} of what is kept */
  #epoch;
  /** Whether the server has said that this is its epoch: before, nothing is written. */
  #sure = false;
  /** @type {Map<string, { first: number, last: number } | undefined>} what lies in the store, by key */
  #kept = new Map();
  /** @type {Set<Conversation>} */
  #changed = new Set();
  /** @type {any} */
  #timer;
  /** @type {any} */
  #catchUpTimer;
  #catchingUp = false;
  #over = false;

  /**
   * @param {Database} database
   * @param {(run: () => void) => void} [idle] runs something when there is time
   */
  constructor(database, idle = whenIdle) {
    this.#database = database;
    this.#idle = idle;
  }

  /** @param {Source} source */
  start(source) {
    this.#source = source;
  }

  /** What is kept of the list, newest first, and of which epoch of the server's data. */
  async load() {
    const [epoch, rows] = await Promise.all([this.#database.get("about", "epoch"), this.#database.entries("rows")]);
    if (!this.#sure && typeof epoch === "string") this.#epoch = epoch;
    /** @type {Kept[]} */
    const kept = [];
    for (const [key, record] of rows) {
      const good = record?.epoch === this.#epoch; // else of older data, perhaps by a tab that has not heard of it yet
      if (!this.#kept.has(key)) this.#kept.set(key, good ? record.held : undefined);
      if (good) kept.push(record);
    }
    return { epoch: this.#epoch, kept: kept.toSorted((a, b) => time(b) - time(a)) };
  }

  /**
   * The last messages of a conversation; undefined when none are kept.
   * @param {string} peer
   * @returns {Promise<Page | undefined>}
   */
  async messages(peer) {
    const key = nameKey(peer);
    if (!this.#kept.get(key)) return undefined;
    const page = await this.#database.get("messages", key);
    return this.#kept.get(key) && page?.epoch === this.#epoch ? page : undefined;
  }

  /**
   * The server has said which its data are. Others than those kept here: what is kept is worth nothing.
   * @param {string} epoch
   */
  greeted(epoch) {
    if (this.#epoch === epoch && this.#sure) return;
    if (this.#epoch !== undefined && this.#epoch !== epoch) this.forget();
    this.#epoch = epoch;
    this.#sure = true;
    void this.#database.write([{ store: "about", key: "epoch", value: epoch }]);
    this.#later();
  }

  /**
   * What is kept has turned out to be of another epoch, too.
   * @param {string} epoch
   */
  async adopt(epoch) {
    const before = this.#epoch;
    if (before === undefined || before === epoch) return this.greeted(epoch);
    const records = await Promise.all([this.#database.entries("rows"), this.#database.entries("messages")]);
    if (this.#epoch !== before || this.#over) return;
    this.#epoch = epoch;
    /** @type {Change[]} */
    const changes = [{ store: "about", key: "epoch", value: epoch }];
    for (const [index, store] of ["rows", "messages"].entries()) {
      for (const [key, value] of records[index] ?? []) {
        if (value?.epoch === before && this.#kept.has(key)) changes.push({ store, key, value: { ...value, epoch } });
      }
    }
    this.#sure = true;
    void this.#database.write(changes);
    this.#later();
  }

  /**
   * Something in a conversation is new.
   * @param {Conversation} conversation
   */
  changed(conversation) {
    this.#changed.add(conversation);
    this.#later();
  }

  /** A conversation is not there any more. @param {string} peer */
  drop(peer) {
    const key = nameKey(peer);
    this.#kept.delete(key);
    for (const conversation of this.#changed)
      if (nameKey(conversation.peer) === key) this.#changed.delete(conversation);
    void this.#database.write([
      { store: "rows", key },
      { store: "messages", key },
    ]);
  }

  /** Forgets all of it. */
  forget() {
    const keys = [...this.#kept.keys()];
    this.#kept.clear();
    this.#changed.clear();
    if (keys.length === 0) return;
    void this.#database.write(
      keys.flatMap((key) => [
        { store: "rows", key },
        { store: "messages", key },
      ]),
    );
  }

  /** Keeps nothing from now on. */
  end() {
    this.#over = true;
    this.#kept.clear();
    clearTimeout(this.#timer);
    clearTimeout(this.#catchUpTimer);
  }

  #later() {
    if (!this.#sure || this.#over) return;
    this.#timer ??= setTimeout(() => this.#idle(() => void this.flush()), GATHER_MS);
  }

  /** Writes what has changed, and removes what is not among the newest any more. */
  async flush() {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (!this.#sure || this.#over || !this.#source) return;
    const newest = this.#source.newest().slice(0, CONVERSATIONS);
    const keys = new Set(newest.map(({ peer }) => nameKey(peer)));
    /** @type {Change[]} */
    const changes = [];
    for (const conversation of newest) {
      if (!this.#changed.has(conversation) && this.#kept.has(nameKey(conversation.peer))) continue;
      changes.push(...this.#records(conversation));
    }
    this.#changed.clear();
    for (const key of this.#kept.keys()) {
      if (keys.has(key)) continue;
      this.#kept.delete(key);
      changes.push({ store: "rows", key }, { store: "messages", key });
    }
    if (changes.length > 0) await this.#database.write(changes);
    this.#catchUpTimer ??= setTimeout(
      () => {
        this.#catchUpTimer = undefined;
        this.#idle(() => void this.#catchUp());
      },
      CATCH_UP_MS * (1 + Math.random()),
    );
  }

  /**
   * The records of a conversation; the messages only where the store has others.
   * @param {Conversation} conversation
   * @returns {Change[]}
   */
  #records(conversation) {
    const key = nameKey(conversation.peer);
    /** @type {Change[]} */
    const changes = [];
    const before = this.#kept.get(key);
    if (conversation.loaded) {
      const { messages, complete } = conversation.tail(MESSAGES);
      const [first, last] = [messages[0]?.seq ?? 0, messages.at(-1)?.seq ?? 0];
      if (first !== before?.first || last !== before.last) {
        changes.push(this.#page(key, messages, complete));
      }
    }
    return [...changes, this.#row(key, conversation)];
  }

  /**
   * @param {string} key
   * @param {Message[]} messages
   * @param {boolean} complete
   */
  #page(key, messages, complete) {
    this.#kept.set(key, { first: messages[0]?.seq ?? 0, last: messages.at(-1)?.seq ?? 0 });
    return { store: "messages", key, value: { epoch: this.#epoch, messages, complete } };
  }

  /**
   * @param {string} key
   * @param {Conversation} conversation
   */
  #row(key, conversation) {
    const held = this.#kept.get(key);
    this.#kept.set(key, held);
    return {
      store: "rows",
      key,
      value: { epoch: this.#epoch, row: conversation.row, read: conversation.myRead, held },
    };
  }

  /** Fetches what conversations have that nobody has opened here, one after the other: they can be read offline too. */
  async #catchUp() {
    if (this.#catchingUp) return;
    this.#catchingUp = true;
    try {
      for (const conversation of this.#source?.newest().slice(0, CONVERSATIONS) ?? []) {
        const { peer, loaded, lastSeq } = conversation;
        const missing = lastSeq - (this.#kept.get(nameKey(peer))?.last ?? 0);
        if (!loaded && missing > 0 && !this.#over) await this.#catchUpWith(conversation, Math.min(missing, MESSAGES));
      }
    } catch {
      // No network, or the session is over: the next change tries again.
    } finally {
      this.#catchingUp = false;
    }
  }

  /**
   * @param {Conversation} conversation
   * @param {number} limit
   */
  async #catchUpWith(conversation, limit) {
    const key = nameKey(conversation.peer);
    const epoch = this.#epoch;
    const before = await this.messages(conversation.peer);
    const stored = (await this.#source?.fetch(conversation.peer, limit)) ?? [];
    const fetched = stored.map(({ message }) => message);
    const first = fetched[0];
    if (!first || conversation.loaded || this.#over || epoch !== this.#epoch) return;
    const continues = before?.messages.at(-1)?.seq === first.seq - 1;
    const all = continues ? [...before.messages, ...fetched] : fetched;
    const messages = all.slice(-MESSAGES);
    const complete = messages[0]?.seq === 1;
    await this.#database.write([this.#page(key, messages, complete), this.#row(key, conversation)]);
  }
}

/** @param {Kept} kept */
function time({ row }) {
  return row.last ? Date.parse(row.last.timestamp) : 0;
}

/** @param {() => void} run */
function whenIdle(run) {
  if (typeof requestIdleCallback === "function") requestIdleCallback(run, { timeout: 5_000 });
  else setTimeout(run, 0); // Safari
}
