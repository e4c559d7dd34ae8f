/** The notification settings of this browser; the chat's menu (`notifications.js`) has them too. */

import { NotificationPreferences } from "../notifications/notification_preferences.js";
import { safeLocalStorage } from "../store/browser_storage.js";
import { find } from "../util/dom.js";
import { t } from "../util/translate.js";
import { announce } from "./announce.js";

class NotificationChoice extends HTMLElement {
  #preferences = new NotificationPreferences(safeLocalStorage(), () => globalThis.Notification?.permission);
  /** @type {HTMLInputElement} */
  #notifications = find(this, "[name=notifications]");
  /** @type {HTMLInputElement} */
  #sound = find(this, "[name=sound]");

  connectedCallback() {
    this.#notifications.disabled = !("Notification" in globalThis);
    this.#sound.disabled = false;
    this.#notifications.addEventListener("change", () => void this.#changeNotifications(this.#notifications.checked));
    this.#sound.addEventListener("change", () => this.#preferences.set({ sound: this.#sound.checked }));
    addEventListener("storage", () => this.#show()); // changed in another tab
    this.#show();
  }

  /** @param {boolean} wanted */
  async #changeNotifications(wanted) {
    const isAllowed = !wanted || (await Notification.requestPermission()) === "granted";
    if (isAllowed) this.#preferences.set({ notifications: wanted });
    announce(find(this, ".error"), isAllowed ? undefined : () => t("notifications_forbidden"));
    this.#show();
  }

  #show() {
    this.#notifications.checked = this.#preferences.notifications;
    this.#sound.checked = this.#preferences.sound;
  }
}

customElements.define("notification-choice", NotificationChoice);
