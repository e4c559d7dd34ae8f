/** The tabs of a person in one browser: what they show, and which one of them speaks for all. */

/** @import { TabElection } from "./notification_policy.js" */

/**
 * By Web Locks: a tab that is closed or crashes loses its locks, and the next one in the row speaks.
 * @implements {TabElection}
 */
export class LockTabElection {
  /** @type {Set<string>} */
  #roles = new Set();
  #locks;
  #prefix;
  #letGo = () => {};

  /**
   * @param {string} me
   * @param {Pick<LockManager, "request" | "query">} locks
   */
  constructor(me, locks) {
    this.#locks = locks;
    this.#prefix = `chatify.${me}/`; // no name has a slash
  }

  /** Gets into the row for a role. @param {"notify" | "sound"} role */
  campaign(role) {
    if (this.#roles.has(`asked ${role}`)) return;
    this.#roles.add(`asked ${role}`);
    this.#hold(role, "exclusive", () => {
      this.#roles.add(role);
      return new Promise(() => {});
    });
  }

  /** What this tab shows: a name key, "" for none; undefined: it is not seen. @param {string | undefined} key */
  show(key) {
    this.#letGo();
    if (key === undefined) return;
    const leaves = new Promise((resolve) => (this.#letGo = () => resolve(undefined)));
    this.#hold(`shows/${key}`, "shared", () => leaves);
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
   * @param {() => Promise<unknown>} held for as long as its answer takes
   */
  #hold(name, mode, held) {
    this.#locks.request(this.#prefix + name, { mode }, held).catch(() => {}); // the page is going
  }
}

/** What was told of, and will not be again. */
const TOLD_MAX = 100;
const PATIENCE_MS = 200;

/**
 * Over plain http, where there are no locks: whoever is first says so, the others hear it and stay silent.
 * @implements {TabElection}
 */
export class BroadcastTabElection {
  /** @type {Set<string>} */
  #told = new Set();
  /** @type {string | undefined} */
  #shown;
  #channel;
  #around;

  /**
   * @param {{ postMessage: (what: string) => void, addEventListener: (type: "message", heard: (event: { data: string }) => void) => void }} channel
   * @param {{ random: () => number, setTimeout: (run: () => void, ms: number) => unknown }} [around]
   */
  constructor(channel, around) {
    this.#channel = channel;
    this.#around = around ?? { random: Math.random, setTimeout: (run, ms) => setTimeout(run, ms) };
    channel.addEventListener("message", ({ data }) => this.#hear(data));
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
   * @param {string} what
   */
  async isElected(role, what) {
    const told = `${role} ${what}`;
    await new Promise((resolve) =>
      this.#around.setTimeout(() => resolve(undefined), this.#around.random() * PATIENCE_MS),
    );
    if (this.#told.has(told)) return false;
    this.#hear(told);
    this.#channel.postMessage(told); // oxlint-disable-line unicorn/require-post-message-target-origin
    return true;
  }

  /** @param {string} told */
  #hear(told) {
    this.#told.add(told);
    for (const oldest of this.#told) {
      if (this.#told.size <= TOLD_MAX) break;
      this.#told.delete(oldest);
    }
  }
}
