/** The users this page knows: their names, presence and search, and whom the user mutes and blocks. */

import { Emitter } from "../util/emitter.js";
import { nameKey, searchKey } from "../util/names.js";
import { Presence } from "./presence.js";

const SEARCH_LIMIT = 20;

/**
 * - `signedUp`: a user with this name signed up
 * - `unblocked`: the user with this name is no longer blocked
 * @extends {Emitter<{ signedUp: string, unblocked: string }>}
 */
export class PeopleDirectory extends Emitter {
  /** Names as their owners spell them, from server responses. @type {Map<string, string>} by name key */
  #names = new Map();
  #me;
  #api;
  #conversations;

  /**
   * @param {string} me
   * @param {{
   *   api: import("../chat_model.js").Api,
   *   conversations: import("./conversation_store.js").ConversationStore,
   *   send: (frame: Record<string, unknown>) => boolean,
   * }} parts
   */
  constructor(me, { api, conversations, send }) {
    super();
    this.#me = me;
    this.#api = api;
    this.#conversations = conversations;
    this.presence = new Presence(me, send);
  }

  /**
   * A user's name as its owner spells it, without asking the server; undefined when unknown.
   * @param {string} name
   */
  knownName(name) {
    const key = nameKey(name);
    return key === nameKey(this.#me) ? this.#me : (this.#conversations.nameOf(name) ?? this.#names.get(key));
  }

  /**
   * The same, asking the server if necessary; undefined when no active user has this name.
   * @param {string} name
   */
  async find(name) {
    const known = this.knownName(name);
    if (known !== undefined) return known;
    const people = await this.#search(name).catch(() => undefined);
    if (people === undefined) return name; // no network
    // An exact match wins over one that ignores accents.
    return this.knownName(name) ?? people.find((person) => searchKey(person) === searchKey(name));
  }

  /**
   * Users whose name contains `part`. Also loads the user's conversations with them, wherever they are in the list.
   * @param {string} part
   */
  async search(part) {
    const isMore = part !== "" && !this.#conversations.isListComplete;
    const [people, rows] = await Promise.all([
      this.#search(part),
      isMore ? this.#api.conversations({ limit: SEARCH_LIMIT, part }) : [],
    ]);
    for (const row of rows) this.applyRow(row);
    return people;
  }

  /** Applies a row's presence, and the rest to the conversation. @param {import("../sync/api.js").Row} row */
  applyRow({ online, last_seen, ...row }) {
    this.presence.update({ [row.peer]: { online, last_seen } });
    return this.#conversations.applyRow(row);
  }

  /** A user signed up. @param {string} name */
  add(name) {
    this.#names.set(nameKey(name), name);
    this.emit("signedUp", name);
  }

  /** The server's database may have been rolled back. */
  forget() {
    this.#names.clear();
    this.presence.forget();
  }

  /**
   * Mutes or unmutes a conversation.
   * @param {string} peer
   * @param {boolean} muted
   */
  async mute(peer, muted) {
    const set = (/** @type {boolean} */ value) => {
      this.#conversations.with(peer).muted = value;
      this.#conversations.changed(peer);
    };
    set(muted);
    try {
      await this.#api.mute(peer, muted);
    } catch (error) {
      set(!muted);
      throw error;
    }
  }

  /**
   * Blocks a user, whose new messages and typing are hidden then, or unblocks them.
   * @param {string} peer
   * @param {boolean} blocked
   */
  async block(peer, blocked) {
    await this.#api.block(peer, blocked);
    this.#conversations.with(peer).blocked = blocked;
    this.#conversations.changed(peer);
    if (blocked) this.presence.stoppedTyping(peer);
    else this.emit("unblocked", peer);
  }

  /** @param {string} part */
  async #search(part) {
    const people = await this.#api.people(part);
    for (const person of people) this.#names.set(nameKey(person), person);
    return people;
  }
}
