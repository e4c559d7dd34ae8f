/**
 * Searches the user's messages on the server while the user types, page by page. It does not touch
 * the DOM. Loaded on demand.
 */

import { Emitter } from "../util/emitter.js";
import { Limited, Rejected, request, toMessage } from "./api.js";

/** @import { Message } from "../store/conversation.js" */

/** @typedef {Message & { peer: string }} Hit a message that contains the search */
/** @typedef {{ hits: (Hit & { cursor: string })[], continueAt: string | undefined }} HitPage `continueAt`: the server stopped before it found enough; the cursor from which to go on */

const DEBOUNCE_MS = 250;
const PAGE = 20;
/** The server accepts searches of this many code points. */
const [TEXT_MIN, TEXT_MAX] = [2, 100];
/** After this many requests, a long search pauses until the user continues it. */
const CONTINUED_MAX = 5;
/** A search continues by itself until it has found this many. */
const ENOUGH = 5;
/** The wait while the server is busy with the user's earlier searches. */
const BUSY_S = 2;

/** `changed`: the hits or the state changed. @extends {Emitter<{ changed: void }>} */
export class MessageSearch extends Emitter {
  /** The text searched for; empty without a search. */
  query = "";
  /** Newest first. @type {Hit[]} */
  hits = [];
  /** `paused`: the search took too long; `more` continues it. @type {"" | "searching" | "paused" | "limited" | "failed"} */
  state = "";
  /** Whether all hits are found. */
  isComplete = false;
  /** Seconds until the server accepts searches again after a rate limit. */
  limitedFor = 0;
  /** Where the next page begins. @type {string | undefined} */
  #cursor;
  #fetchPage;
  /** @type {AbortController | undefined} of the running request */
  #running;
  /** @type {any} */
  #timer;

  /** @param {(page: { q: string, before: string | undefined, limit: number }, signal: AbortSignal) => Promise<HitPage>} fetchPage */
  constructor(fetchPage) {
    super();
    this.#fetchPage = fetchPage;
  }

  /** Whether the server accepts the search. */
  get isLongEnough() {
    return [...this.query].length >= TEXT_MIN;
  }

  /** Searches for a text once typing pauses, in place of an earlier one. @param {string} text */
  set(text) {
    const query = [...text.trim()].slice(0, TEXT_MAX).join("");
    if (query === this.query) return;
    this.stop();
    this.query = query;
    this.hits = [];
    this.isComplete = false;
    this.#cursor = undefined;
    this.state = this.isLongEnough ? "searching" : "";
    if (this.isLongEnough) this.#timer = setTimeout(() => void this.#search(), DEBOUNCE_MS);
    this.emit("changed");
  }

  /** Loads older hits, or retries after a failure. */
  more() {
    const isIdle = this.state === "" || this.state === "paused" || this.state === "failed";
    if (isIdle && !this.isComplete && this.isLongEnough) void this.#search();
  }

  /** Cancels the running search. */
  stop() {
    clearTimeout(this.#timer);
    this.#running?.abort();
    this.#running = undefined;
  }

  async #search() {
    clearTimeout(this.#timer);
    const running = (this.#running = new AbortController());
    this.#changeTo("searching");
    try {
      const isPaused = await this.#searchPages(running);
      if (this.#running === running) this.#changeTo(isPaused ? "paused" : "");
    } catch (error) {
      if (this.#running === running) this.#failed(error);
    }
  }

  /**
   * Searches until it has found something or has taken too long. Returns whether it took too long.
   * @param {AbortController} running
   */
  async #searchPages(running) {
    let found = 0;
    for (let round = 0; round < CONTINUED_MAX; round++) {
      const page = { q: this.query, before: this.#cursor, limit: PAGE };
      const { hits, continueAt } = await this.#fetchPage(page, running.signal);
      if (this.#running !== running) return false;
      this.hits = [...this.hits, ...hits];
      this.#cursor = continueAt ?? hits.at(-1)?.cursor;
      found += hits.length;
      this.isComplete = continueAt === undefined && hits.length < PAGE;
      if (continueAt === undefined || found >= ENOUGH) return false;
      this.emit("changed");
    }
    return true;
  }

  /** @param {unknown} error */
  #failed(error) {
    if (error instanceof Rejected && error.message === "bad_request") {
      this.isComplete = true; // nothing but invisible characters
      return this.#changeTo("");
    }
    const isBusy = error instanceof Rejected && error.message === "busy";
    if (!(error instanceof Limited || isBusy)) return this.#changeTo("failed");
    this.limitedFor = error instanceof Limited ? error.seconds : BUSY_S;
    this.#timer = setTimeout(() => void this.#search(), this.limitedFor * 1_000);
    this.#changeTo("limited");
  }

  /** @param {MessageSearch["state"]} state */
  #changeTo(state) {
    this.state = state;
    this.emit("changed");
  }
}

/**
 * Requests a page of hits from the server, newest first.
 * @param {string} me
 * @param {{ q: string, peer?: string, before: string | undefined, limit: number }} page peer: searches only the conversation with this user
 * @param {AbortSignal} signal
 * @returns {Promise<HitPage>}
 */
export async function fetchHits(me, { q, peer, before, limit }, signal) {
  const query = new URLSearchParams({ q, limit: String(limit), ...(peer && { peer }), ...(before && { before }) });
  const response = await request(`/search?${query}`, { signal });
  /** @type {any[]} */
  const rows = await response.json();
  return {
    hits: rows.map((row) => Object.assign(toMessage(row, me), { peer: row.peer, cursor: row.cursor })),
    continueAt: response.headers.get("chatify-continue") ?? undefined,
  };
}
