/**
 * The life of the WebSocket: connect, greet, notice when the other end is gone, come back. Frames go in and out as
 * objects; what they mean is for others.
 */

import { Backoff, BREAKING_LIMITS, SESSION_ENDED } from "./backoff.js";

/**
 * - `connecting`: on its way, or waiting for the next try
 * - `open`: the server has greeted
 * - `ended`: the session is over and this connection will not come back
 * @typedef {"connecting" | "open" | "ended"} State
 */

/** @typedef {{ type: string } & Record<string, any>} Frame as they come: fields are checked where they are used */

/**
 * @typedef {object} Surroundings
 * @property {typeof WebSocket} WebSocket
 * @property {(run: () => void, ms: number) => any} setTimeout
 * @property {(id: any) => void} clearTimeout
 * @property {() => number} random
 */

/** Of a socket; one that closes takes frames and says on the console that it lost them. */
const OPEN = 1;
const QUIET_MS = 25_000;
const ANSWER_MS = 10_000;
/** After the device came back from sleep or lost its network, a dead socket is to be found out sooner. */
const PROBE_MS = 3_000;
/** No greeting for so long is no connection. */
const GREETING_MS = 15_000;
/** A connection that held for so long starts the back-off anew. */
const HELD_MS = 5_000;

export class Connection {
  /** @type {State} */
  #state = "connecting";
  /** @type {WebSocket | undefined} */
  #socket;
  /** @type {any} the next try, the next ping, or the answer to it: one of them is always awaited */
  #timer;
  #openedAt = 0;
  /** Whether it was sent away for too much: then nothing cuts the wait short. */
  #sentAway = false;
  #greeted = false;
  #url;
  #around;
  #backoff;

  /** @type {(frame: Frame) => void} */
  onframe = () => {};
  /** @type {(state: State) => void} */
  onstate = () => {};
  /**
   * The socket closed before the server's greeting: perhaps the session is over, which a refused upgrade cannot tell. `code` is undefined
   * when nothing happened until it was given up.
   * @type {(code: number | undefined) => void}
   */
  onrefused = () => {};

  /**
   * @param {string} url
   * @param {Partial<Surroundings>} [around] the browser's, or a test's
   */
  constructor(url, around = {}) {
    this.#url = url;
    this.#around = {
      WebSocket: around.WebSocket ?? globalThis.WebSocket,
      setTimeout: around.setTimeout ?? globalThis.setTimeout.bind(globalThis),
      clearTimeout: around.clearTimeout ?? globalThis.clearTimeout.bind(globalThis),
    };
    this.#backoff = new Backoff(around.random);
  }

  get state() {
    return this.#state;
  }

  /** Connects now, without waiting for the next try. Nothing happens when connected or ended. */
  connect() {
    if (this.#socket || this.#state === "ended") return;
    this.#greeted = false;
    this.#sentAway = false;
    let socket;
    try {
      socket = new this.#around.WebSocket(this.#url);
    } catch {
      this.onrefused(undefined); // a policy that a proxy has added, perhaps
      this.#comeBack(undefined);
      return;
    }
    this.#socket = socket;
    this.#after(GREETING_MS, () => this.#lose(undefined));
    socket.addEventListener("message", (event) => this.#hear(socket, event));
    socket.addEventListener("close", (event) => {
      if (socket === this.#socket) this.#lose(event.code);
    });
  }

  /**
   * Sends a frame; false when there is nobody to take it.
   * @param {Frame | Record<string, unknown>} frame
   */
  send(frame) {
    if (this.#state !== "open" || !this.#socket || this.#socket.readyState > OPEN) return false;
    this.#socket.send(JSON.stringify(frame));
    return true;
  }

  /** Something happened that sockets do not survive (sleep, another network): connects, or asks whether anybody is there. */
  probe() {
    if (this.#socket) this.#ask(PROBE_MS);
    else if (!this.#sentAway) this.connect();
  }

  /** Ends for good. */
  end() {
    if (this.#state === "ended") return;
    this.#around.clearTimeout(this.#timer);
    const socket = this.#socket;
    this.#socket = undefined;
    socket?.close();
    this.#become("ended");
  }

  /**
   * @param {WebSocket} socket
   * @param {MessageEvent} event
   */
  #hear(socket, event) {
    if (socket !== this.#socket) return;
    const frame = parse(event.data);
    if (frame?.type === "hello") {
      this.#greeted = true;
      this.#openedAt = Date.now();
      this.#become("open");
    }
    if (this.#greeted) this.#after(QUIET_MS, () => this.#ask(ANSWER_MS));
    if (frame && frame.type !== "pong") this.onframe(frame);
  }

  /** @param {number} withinMs */
  #ask(withinMs) {
    if (!this.send({ type: "ping" })) return; // not greeted yet: that has a deadline of its own
    this.#after(withinMs, () => this.#lose(undefined));
  }

  /**
   * The socket is gone, or as good as gone: a dead one would take minutes to say so.
   * @param {number | undefined} code
   */
  #lose(code) {
    const socket = this.#socket;
    this.#socket = undefined;
    socket?.close();
    if (this.#greeted && Date.now() - this.#openedAt >= HELD_MS) this.#backoff.reset();
    if (!this.#greeted) this.onrefused(code);
    if (this.#state !== "ended") this.#comeBack(code);
  }

  /** @param {number | undefined} code */
  #comeBack(code) {
    const wait = this.#backoff.next(code);
    if (wait === undefined || code === SESSION_ENDED) {
      this.#around.clearTimeout(this.#timer);
      this.#become("ended");
      return;
    }
    this.#sentAway = code === BREAKING_LIMITS;
    this.#become("connecting");
    this.#after(wait, () => this.connect());
  }

  /**
   * @param {number} ms
   * @param {() => void} run
   */
  #after(ms, run) {
    this.#around.clearTimeout(this.#timer);
    this.#timer = this.#around.setTimeout(run, ms);
  }

  /** @param {State} state */
  #become(state) {
    if (state === this.#state) return;
    this.#state = state;
    this.onstate(state);
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
