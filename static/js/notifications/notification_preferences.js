/** The user's notification and sound settings in this browser. */

/** @import { SafeStorage } from "../store/browser_storage.js" */

const KEY = "chatify.attention";

export class NotificationPreferences {
  #storage;
  #permission;
  /**
   * @type {{ notifications?: boolean, sound?: boolean }} kept in memory where storage is forbidden
   */
  #current = {};

  /**
   * @param {Pick<SafeStorage, "getItem" | "setItem">} storage
   * @param {() => NotificationPermission | undefined} permission the browser's permission; undefined where notifications are not supported
   */
  constructor(storage, permission) {
    this.#storage = storage;
    this.#permission = permission;
  }

  /** Whether notifications are wanted and allowed. */
  get notifications() {
    return this.#permission() === "granted" && this.#read().notifications === true;
  }

  /** Whether sound is on, which is the default. */
  get sound() {
    return this.#read().sound ?? true;
  }

  /**
   * Whether to ask about notifications: the browser may allow them and the user has not decided.
   */
  get isUndecided() {
    const permission = this.#permission();
    return permission !== undefined && permission !== "denied" && this.#read().notifications === undefined;
  }

  /** @param {{ notifications?: boolean, sound?: boolean }} preferences */
  set(preferences) {
    this.#current = { ...this.#read(), ...preferences };
    try {
      this.#storage.setItem(KEY, JSON.stringify(this.#current));
    } catch {
      // Full or forbidden.
    }
  }

  /** @returns {{ notifications?: boolean, sound?: boolean }} */
  #read() {
    try {
      return { ...this.#current, ...JSON.parse(this.#storage.getItem(KEY) ?? "{}") };
    } catch {
      return this.#current;
    }
  }
}
