/**
 * Keeps a WebSocket connected: detects dead sockets by pings and reconnects with backoff. Callers
 * send and receive frames as objects and interpret them.
 */

import { Emitter } from "../util/emitter.js";

/**
 * - `connecting`: connecting, or waiting for the next attempt
 * - `open`: the server has sent `hello`
 * - `ended`: the session is over; the connection stays closed
 * @typedef {"connecting" | "open" | "ended"} State
 */

/** @typedef {{ type: string } & Record<string, any>} Frame not validated: fields are checked where they are used */

/**
 * @typedef {object} Environment
 * @property {typeof WebSocket} WebSocket
 * @property {(run: () => void, ms: number) => any} setTimeout
 * @property {(id: any) => void} clearTimeout
 * @property {() => number} random
 */

/** The server's close codes that change the delay. */
const SESSION_ENDED = 4401;
const BREAKING_LIMITS = 1008;
export const TOO_MANY_SOCKETS = 4429;
/** IANA WebSocket close code registry. */
const RESTARTING = 1012;
const OVERLOADED = 1013;

const BASE_MS = 500;
const CAP_MS = 30_000;
const RESTART_MS = 5_000;
/** A user who closes another tab expects this one to connect soon. */
const TOO_MANY_SOCKETS_MS = 3_000;

/** `WebSocket.OPEN`. A closing socket accepts frames, drops them and logs to the console. */
const OPEN = 1;
const PING_AFTER_MS = 25_000;
const PONG_TIMEOUT_MS = 10_000;
/** After sleep or a network change a dead socket must be detected sooner. */
const PROBE_TIMEOUT_MS = 3_000;
const HELLO_TIMEOUT_MS = 15_000;
/** A connection that lasted this long resets the backoff. */
const STABLE_MS = 5_000;

/**
 * - `frame`: the server sent a frame
 * - `state`: the state changed
 * - `refused`: the socket closed before `hello`, with this code, or undefined after a timeout. The session may be over:
 *   browsers hide the status of a refused upgrade.
 * @extends {Emitter<{ frame: Frame, state: State, refused: number | undefined }>}
 */
export class Connection extends Emitter {
  /** @type {State} */
  #state = "connecting";
  /** @type {WebSocket | undefined} */
  #socket;
  /** @type {any} the one running timer: next attempt, next ping, or its timeout */
  #timer;
  #openedAt = 0;
  /**
   * Whether the server closed the socket for exceeding limits; `probe` does not shorten the wait
   * then.
   */
  #isPenalized = false;
  #hasHello = false;
  #url;
  #env;
  #backoff;

  /**
   * @param {string} url
   * @param {Partial<Environment>} [env] replaced in tests
   */
  constructor(url, env = {}) {
    super();
    this.#url = url;
    this.#env = {
      WebSocket: env.WebSocket ?? globalThis.WebSocket,
      setTimeout: env.setTimeout ?? globalThis.setTimeout.bind(globalThis),
      clearTimeout: env.clearTimeout ?? globalThis.clearTimeout.bind(globalThis),
    };
    this.#backoff = new Backoff(env.random);
  }

  get state() {
    return this.#state;
  }

  /**
   * Connects now instead of at the next attempt. Does nothing when connecting, connected or ended.
   */
  connect() {
    if (this.#socket || this.#state === "ended") return;
    this.#hasHello = false;
    this.#isPenalized = false;
    let socket;
    try {
      socket = new this.#env.WebSocket(this.#url);
    } catch {
      this.emit("refused", undefined); // for example a content policy added by a proxy
      this.#reconnect(undefined);
      return;
    }
    this.#socket = socket;
    this.#after(HELLO_TIMEOUT_MS, () => this.#closed(undefined));
    socket.addEventListener("message", (event) => this.#receive(socket, event));
    socket.addEventListener("close", (event) => {
      if (socket === this.#socket) this.#closed(event.code);
    });
  }

  /**
   * Sends a frame. Returns false when not connected.
   * @param {Frame | Record<string, unknown>} frame
   */
  send(frame) {
    if (this.#state !== "open" || !this.#socket || this.#socket.readyState > OPEN) return false;
    this.#socket.send(JSON.stringify(frame));
    return true;
  }

  /**
   * Call after events that break sockets, such as sleep or a network change: pings the server, or
   * connects.
   */
  probe() {
    if (this.#socket) this.#ping(PROBE_TIMEOUT_MS);
    else if (!this.#isPenalized) this.connect();
  }

  /** Closes the connection permanently. */
  end() {
    if (this.#state === "ended") return;
    this.#env.clearTimeout(this.#timer);
    const socket = this.#socket;
    this.#socket = undefined;
    socket?.close();
    this.#setState("ended");
  }

  /**
   * @param {WebSocket} socket
   * @param {MessageEvent} event
   */
  #receive(socket, event) {
    if (socket !== this.#socket) return;
    const frame = parse(event.data);
    if (frame?.type === "hello") {
      this.#hasHello = true;
      this.#openedAt = Date.now();
      this.#setState("open");
    }
    if (this.#hasHello) this.#after(PING_AFTER_MS, () => this.#ping(PONG_TIMEOUT_MS));
    if (frame && frame.type !== "pong") this.emit("frame", frame);
  }

  /** @param {number} withinMs */
  #ping(withinMs) {
    if (!this.send({ type: "ping" })) return; // before `hello`, whose own timeout runs
    this.#after(withinMs, () => this.#closed(undefined));
  }

  /**
   * Handles a closed or unresponsive socket; the browser may take minutes to report a dead one.
   * @param {number | undefined} code
   */
  #closed(code) {
    const socket = this.#socket;
    this.#socket = undefined;
    socket?.close();
    if (this.#hasHello && Date.now() - this.#openedAt >= STABLE_MS) this.#backoff.reset();
    if (!this.#hasHello) this.emit("refused", code);
    if (this.#state !== "ended") this.#reconnect(code);
  }

  /** @param {number | undefined} code */
  #reconnect(code) {
    const wait = this.#backoff.next(code);
    if (wait === undefined) {
      this.#env.clearTimeout(this.#timer);
      this.#setState("ended");
      return;
    }
    this.#isPenalized = code === BREAKING_LIMITS;
    this.#setState("connecting");
    this.#after(wait, () => this.connect());
  }

  /**
   * @param {number} ms
   * @param {() => void} run
   */
  #after(ms, run) {
    this.#env.clearTimeout(this.#timer);
    this.#timer = this.#env.setTimeout(run, ms);
  }

  /** @param {State} state */
  #setState(state) {
    if (state === this.#state) return;
    this.#state = state;
    this.emit("state", state);
  }
}

/**
 * Reconnect delays, jittered so that clients of a restarted server do not all reconnect at once.
 */
export class Backoff {
  #failures = 0;
  #random;

  /** @param {() => number} [random] from 0 up to 1 */
  constructor(random = Math.random) {
    this.#random = random;
  }

  /**
   * Milliseconds until the next attempt after a socket closed with `code`; undefined when the
   * client must not reconnect.
   * @param {number} [code]
   */
  next(code) {
    if (code === SESSION_ENDED) return undefined;
    if (code === TOO_MANY_SOCKETS) return TOO_MANY_SOCKETS_MS * (1 + this.#random());
    if (code === RESTARTING && this.#failures === 0) {
      this.#failures = 1;
      return this.#random() * RESTART_MS;
    }
    const ceiling = Math.min(CAP_MS, BASE_MS * 2 ** this.#failures);
    this.#failures++;
    // A client that exceeded a limit, or met an overloaded server, waits at least half the cap.
    if (code === BREAKING_LIMITS || code === OVERLOADED) return CAP_MS / 2 + this.#random() * (CAP_MS / 2);
    return this.#random() * ceiling;
  }

  /** Call once a connection has proved stable. */
  reset() {
    this.#failures = 0;
  }
}

/**
 * @param {unknown} data
 * @returns {Frame | undefined}
 */
function parse(data) {
  if (typeof data !== "string") return undefined;
  try {
    const frame = JSON.parse(data);
    return typeof frame?.type === "string" ? frame : undefined;
  } catch {
    return undefined;
  }
}
