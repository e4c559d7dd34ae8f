/** How a person wants to be told of new messages in this browser: asked once, kept, and changed in the menu. */

/** @import { SafeStorage } from "../store/safe_local_storage.js" */

const KEPT_AS = "chatify.attention";

export class NotificationPreferences {
  #storage;
  #permission;
  /** @type {{ notifications?: boolean, sound?: boolean }} where nothing can be kept, for as long as the page lives */
  #said = {};

  /**
   * @param {Pick<SafeStorage, "getItem" | "setItem">} storage
   * @param {() => NotificationPermission | undefined} permission what the browser allows; undefined: it cannot notify
   */
  constructor(storage, permission) {
    this.#storage = storage;
    this.#permission = permission;
  }

  /** Whether notifications are wanted and allowed. */
  get notifications() {
    return this.#permission() === "granted" && this.#kept().notifications === true;
  }

  /** Whether a sound is wanted; who has not said so hears it. */
  get sound() {
    return this.#kept().sound ?? true;
  }

  /** Whether the question of notifications has sense and no answer yet. */
  get isUndecided() {
    const permission = this.#permission();
    return permission !== undefined && permission !== "denied" && this.#kept().notifications === undefined;
  }

  /** @param {{ notifications?: boolean, sound?: boolean }} preferences */
  set(preferences) {
    this.#said = { ...this.#kept(), ...preferences };
    try {
      this.#storage.setItem(KEPT_AS, JSON.stringify(this.#said));
    } catch {
      // Full or forbidden.
    }
  }

  /** @returns {{ notifications?: boolean, sound?: boolean }} */
  #kept() {
    try {
      return { ...this.#said, ...JSON.parse(this.#storage.getItem(KEPT_AS) ?? "{}") };
    } catch {
      return this.#said;
    }
  }
}
