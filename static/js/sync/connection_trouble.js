/** Finds out over HTTP why the page has no connection, because browsers hide why a WebSocket was refused. */

import { Emitter } from "../util/emitter.js";
import { Intercepted } from "./api.js";
import { TOO_MANY_SOCKETS } from "./backoff.js";

/** @import { Api } from "../store/messenger.js" */

/**
 * - `tabs`: the user has too many sockets open
 * - `socket`: HTTP reaches the server, WebSockets do not
 * - `intercepted`: a captive portal or a company's sign-in page answers instead of the server
 * @typedef {"tabs" | "socket" | "intercepted"} Trouble
 */

/** One refused socket may be a starting server; this many in a row while HTTP works are a blocked WebSocket. */
const BLOCKED_AFTER = 2;

/**
 * - `changed`: the trouble changed or ended
 * @extends {Emitter<{ changed: void }>}
 */
export class ConnectionTrouble extends Emitter {
  /** @type {Trouble | undefined} */
  #current;
  #refusals = 0;
  /** Counts `hello` frames, so that the result of an older check is ignored. */
  #greetings = 0;
  #api;

  /** @param {Pick<Api, "me" | "acceptsSockets">} api */
  constructor(api) {
    super();
    this.#api = api;
  }

  get now() {
    return this.#current;
  }

  /** The socket is open. */
  greeted() {
    this.#greetings++;
    this.#refusals = 0;
    this.#set(undefined);
  }

  /** The server answered a request. */
  answered() {
    if (this.#current === "intercepted") this.#set(undefined);
  }

  /** A request failed. @param {unknown} error */
  failed(error) {
    if (error instanceof Intercepted) this.#set("intercepted");
  }

  /**
   * A socket closed before `hello`. Resolves to the signed-in user's name if it was requested; rejects when the server did
   * not respond.
   * @param {number | undefined} code the close code; undefined after a timeout
   */
  async refused(code) {
    if (code === TOO_MANY_SOCKETS) {
      this.#set("tabs");
      return undefined;
    }
    const greetings = this.#greetings;
    this.#refusals += code === undefined ? BLOCKED_AFTER : 1;
    let trouble;
    try {
      const name = await this.#api.me();
      trouble =
        this.#refusals >= BLOCKED_AFTER && (await this.#areSocketsBlocked())
          ? /** @type {const} */ ("socket")
          : undefined;
      return name;
    } catch (error) {
      this.#refusals = 0;
      throw error;
    } finally {
      if (greetings === this.#greetings) this.#set(trouble);
    }
  }

  /** Whether the server would accept the socket that fails to connect. */
  async #areSocketsBlocked() {
    try {
      return (await this.#api.acceptsSockets?.()) ?? false;
    } catch {
      return false; // a server that is stopping, or an older version
    }
  }

  /** @param {Trouble | undefined} trouble */
  #set(trouble) {
    if (trouble === this.#current) return;
    this.#current = trouble;
    this.emit("changed");
  }
}
