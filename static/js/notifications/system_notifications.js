/**
 * Shows notifications, one per conversation: a newer one replaces the previous one, and reading
 * elsewhere closes it.
 */

import { fileUrl } from "../util/dom.js";
import { Emitter } from "../util/emitter.js";
import { previewText } from "../util/file_text.js";
import { plainText } from "../util/message_format.js";
import { nameKey } from "../util/names.js";
import { language } from "../util/translate.js";

const TEXT_MAX = 200;

/**
 * - `chosen`: the user clicked a notification of messages from this user
 * @extends {Emitter<{ chosen: string }>}
 */
export class SystemNotifications extends Emitter {
  /** @type {Map<string, Notification>} those of pages without a service worker */
  #pageNotifications = new Map();
  #tag;

  /** @param {string} me */
  constructor(me) {
    super();
    this.#tag = `chatify.${me}/`;
  }

  /**
   * Requests permission, which browsers allow only on a user gesture. Returns whether it was
   * granted.
   */
  async requestPermission() {
    return (await Notification.requestPermission()) === "granted";
  }

  /** @param {{ from: string, text: string, file?: import("../store/message_window.js").MessageFile, title?: string }} message title: what its author is called */
  async show({ title, ...message }) {
    const { from } = message;
    const tag = this.#tag + nameKey(from);
    const options = {
      tag,
      body: plainText(previewText(message)).slice(0, TEXT_MAX).toWellFormed(),
      icon: fileUrl("icons/192.png"),
      lang: language(),
      data: { peer: from },
      silent: true, // the page plays its own sound
    };
    const registration = await serviceWorkerRegistration();
    try {
      if (registration) await registration.showNotification(title ?? from, options);
      else this.#showFromPage(title ?? from, tag, options);
    } catch {
      // Not supported on this device, or permission was revoked.
    }
  }

  /**
   * Closes the notifications of conversations without unread messages.
   * @param {(peer: string) => boolean} isRead
   */
  async close(isRead) {
    const registration = await serviceWorkerRegistration();
    const shown = [...((await registration?.getNotifications()) ?? []), ...this.#pageNotifications.values()];
    for (const notification of shown) {
      if (notification.tag.startsWith(this.#tag) && isRead(notification.data?.peer ?? "")) notification.close();
    }
  }

  /**
   * @param {string} title
   * @param {string} tag
   * @param {NotificationOptions} options
   */
  #showFromPage(title, tag, options) {
    const notification = new Notification(title, options);
    this.#pageNotifications.set(tag, notification);
    notification.addEventListener("close", () => {
      if (this.#pageNotifications.get(tag) === notification) this.#pageNotifications.delete(tag);
    });
    notification.addEventListener("click", () => {
      notification.close();
      window.focus();
      this.emit("chosen", options.data.peer);
    });
  }
}

async function serviceWorkerRegistration() {
  return navigator.serviceWorker?.getRegistration("/").catch(() => undefined);
}
