/**
 * Finds out over HTTP why the page has no connection, because browsers hide why a WebSocket was
 * refused. Ends the connection when the session is over.
 */

import { Emitter } from "../util/emitter.js";
import { Intercepted, SignedOut } from "./api.js";
import { TOO_MANY_SOCKETS } from "./connection.js";

/**
 * - `tabs`: the user has too many sockets open
 * - `socket`: HTTP reaches the server, WebSockets do not
 * - `intercepted`: a captive portal or a company's sign-in page answers instead of the server
 * @typedef {"tabs" | "socket" | "intercepted"} Trouble
 */

/**
 * One refused socket may be a starting server; this many in a row while HTTP works are a blocked
 * WebSocket.
 */
const BLOCKED_AFTER = 2;

/**
 * - `changed`: the trouble changed or ended
 * - `blocked`: another socket was refused while HTTP works
 * @extends {Emitter<{ changed: void, blocked: void }>}
 */
export class ConnectionTrouble extends Emitter {
  /** @type {Trouble | undefined} */
  #current;
  #refusals = 0;
  /** Counts `hello` frames, so that the result of an older check is ignored. */
  #hellos = 0;
  #me;
  #api;
  #connection;

  /**
   * @param {string} me
   * @param {{
   *   api: Pick<import("../chat_model.js").Api, "fetchUsername" | "acceptsSockets">,
   *   connection: import("./connection.js").Connection,
   * }} parts
   */
  constructor(me, { api, connection }) {
    super();
    this.#me = me;
    this.#api = api;
    this.#connection = connection;
    connection.on("state", (state) => state === "open" && this.#connected());
    connection.on("refused", (code) => void this.#refused(code));
  }

  get current() {
    return this.#current;
  }

  /** The server answered a request. */
  answered() {
    if (this.#current === "intercepted") this.#set(undefined);
  }

  /** A request failed. @param {unknown} error */
  failed(error) {
    if (error instanceof SignedOut) this.#connection.end();
    else if (error instanceof Intercepted) this.#set("intercepted");
  }

  /**
   * Ends the connection if the session has ended or another user has signed in. Rejects when the
   * server does not respond.
   */
  async checkIdentity() {
    if ((await this.#api.fetchUsername()) !== this.#me) this.#connection.end();
  }

  #connected() {
    this.#hellos++;
    this.#refusals = 0;
    this.#set(undefined);
  }

  /**
   * A socket closed before `hello`.
   * @param {number | undefined} code the close code; undefined after a timeout
   */
  async #refused(code) {
    if (code === TOO_MANY_SOCKETS) return this.#set("tabs");
    const hellos = this.#hellos;
    this.#refusals += code === undefined ? BLOCKED_AFTER : 1;
    /** @type {Trouble | undefined} */
    let trouble;
    try {
      await this.checkIdentity();
      if (this.#refusals >= BLOCKED_AFTER && (await this.#areSocketsBlocked())) trouble = "socket";
    } catch (error) {
      this.#refusals = 0;
      if (error instanceof Intercepted) trouble = "intercepted";
      else this.failed(error);
    }
    if (hellos !== this.#hellos) return;
    this.#set(trouble);
    if (trouble === "socket") this.emit("blocked");
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
