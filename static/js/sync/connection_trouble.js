/** Why this page has no connection, found out over HTTP: a page learns nothing of why its WebSocket was refused. */

import { Intercepted } from "./api.js";
import { TOO_MANY_SOCKETS } from "./backoff.js";

/** @import { Api } from "../store/messenger.js" */

/**
 * - `tabs`: the server accepts no further socket of this person until another one closes
 * - `socket`: HTTP reaches the server and WebSockets do not
 * - `intercepted`: something in between answers in the server's place: a company's sign-in, a hotel's portal
 * @typedef {"tabs" | "socket" | "intercepted"} Trouble
 */

/** So many refusals in a row while HTTP works are no server that is just starting. */
const REFUSALS = 2;

export class ConnectionTrouble {
  /** @type {Trouble | undefined} */
  #now;
  #refusals = 0;
  /** Rises with every greeting: an answer to an older question does not count. */
  #greetings = 0;
  #api;
  #changed;

  /**
   * @param {Pick<Api, "me" | "acceptsSockets">} api
   * @param {() => void} changed called when the trouble is another one, or over
   */
  constructor(api, changed) {
    this.#api = api;
    this.#changed = changed;
  }

  get now() {
    return this.#now;
  }

  /** The socket is open. */
  greeted() {
    this.#greetings++;
    this.#refusals = 0;
    this.#become(undefined);
  }

  /** The server answered a request. */
  answered() {
    if (this.#now === "intercepted") this.#become(undefined);
  }

  /** A request failed. @param {unknown} error */
  failed(error) {
    if (error instanceof Intercepted) this.#become("intercepted");
  }

  /**
   * A socket closed before its greeting. Resolves to who is signed in, as far as that was asked; rejects when the server did not answer.
   * @param {number | undefined} code of the close; undefined: nothing happened until it was given up
   */
  async refused(code) {
    if (code === TOO_MANY_SOCKETS) {
      this.#become("tabs");
      return undefined;
    }
    const greetings = this.#greetings;
    this.#refusals += code === undefined ? REFUSALS : 1;
    let trouble;
    try {
      const name = await this.#api.me();
      trouble = this.#refusals >= REFUSALS && (await this.#isBlocked()) ? /** @type {const} */ ("socket") : undefined;
      return name;
    } catch (error) {
      this.#refusals = 0;
      throw error;
    } finally {
      if (greetings === this.#greetings) this.#become(trouble);
    }
  }

  /** Whether the server would take the socket that does not get through. */
  async #isBlocked() {
    try {
      return (await this.#api.acceptsSockets?.()) ?? false;
    } catch {
      return false; // one that leaves, or is of an older version
    }
  }

  /** @param {Trouble | undefined} trouble */
  #become(trouble) {
    if (trouble === this.#now) return;
    this.#now = trouble;
    this.#changed();
  }
}
