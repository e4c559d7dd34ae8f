/**
 * Coordinates a user's tabs in one browser: which conversations are on screen, and which tab
 * notifies.
 */

/** @import { TabElection } from "./notification_policy.js" */

/**
 * Elects by Web Locks: when a tab closes or crashes, its locks pass to the next tab in the queue.
 * @implements {TabElection}
 */
export class LockTabElection {
  /** @type {Set<string>} */
  #roles = new Set();
  #locks;
  #prefix;
  #release = () => {};

  /**
   * @param {string} me
   * @param {Pick<LockManager, "request" | "query">} locks
   */
  constructor(me, locks) {
    this.#locks = locks;
    this.#prefix = `chatify.${me}/`; // no name has a slash
  }

  /** Queues for a role. @param {"notify" | "sound"} role */
  campaign(role) {
    if (this.#roles.has(`asked ${role}`)) return;
    this.#roles.add(`asked ${role}`);
    this.#requestLock(role, "exclusive", () => {
      this.#roles.add(role);
      return new Promise(() => {});
    });
  }

  /**
   * Announces what this tab shows: a name key, "" for none, undefined when the tab is hidden.
   * @param {string | undefined} key
   */
  show(key) {
    this.#release();
    if (key === undefined) return;
    const leaves = new Promise((resolve) => (this.#release = () => resolve(undefined)));
    this.#requestLock(`shows/${key}`, "shared", () => leaves);
  }

  async views() {
    const shows = `${this.#prefix}shows/`;
    const { held = [] } = await this.#locks.query();
    const shown = held.flatMap(({ name = "" }) => (name.startsWith(shows) ? [name.slice(shows.length)] : []));
    return { visible: shown.length > 0, shown: new Set(shown) };
  }

  /** @param {"notify" | "sound"} role */
  async isElected(role) {
    return this.#roles.has(role);
  }

  /**
   * @param {string} name
   * @param {LockMode} mode
   * @param {() => Promise<unknown>} held the lock is held until its promise settles
   */
  #requestLock(name, mode, held) {
    this.#locks.request(this.#prefix + name, { mode }, held).catch(() => {}); // the page is closing
  }
}

/** Older claims are forgotten. */
const CLAIMS_MAX = 100;
const CLAIM_WINDOW_MS = 200;

/**
 * Elects by broadcast where Web Locks are missing (plain http): after a random delay the first tab
 * claims a message, and the others stay silent.
 * @implements {TabElection}
 */
export class BroadcastTabElection {
  /** @type {Set<string>} */
  #claimed = new Set();
  /** @type {string | undefined} */
  #shown;
  #channel;
  #env;

  /**
   * @param {{ postMessage: (claim: string) => void, addEventListener: (type: "message", listener: (event: { data: string }) => void) => void }} channel
   * @param {{ random: () => number, setTimeout: (run: () => void, ms: number) => unknown }} [env]
   */
  constructor(channel, env) {
    this.#channel = channel;
    this.#env = env ?? { random: Math.random, setTimeout: (run, ms) => setTimeout(run, ms) };
    channel.addEventListener("message", ({ data }) => this.#addClaim(data));
  }

  campaign() {}

  /** @param {string | undefined} key */
  show(key) {
    this.#shown = key;
  }

  async views() {
    const shown = this.#shown;
    return { visible: shown !== undefined, shown: new Set(shown === undefined ? [] : [shown]) };
  }

  /**
   * @param {"notify" | "sound"} role
   * @param {string} messageId
   */
  async isElected(role, messageId) {
    const claim = `${role} ${messageId}`;
    await new Promise((resolve) =>
      this.#env.setTimeout(() => resolve(undefined), this.#env.random() * CLAIM_WINDOW_MS),
    );
    if (this.#claimed.has(claim)) return false;
    this.#addClaim(claim);
    this.#channel.postMessage(claim); // oxlint-disable-line unicorn/require-post-message-target-origin
    return true;
  }

  /** @param {string} claim */
  #addClaim(claim) {
    this.#claimed.add(claim);
    for (const oldest of this.#claimed) {
      if (this.#claimed.size <= CLAIMS_MAX) break;
      this.#claimed.delete(oldest);
    }
  }
}
