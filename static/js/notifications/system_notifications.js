/** Notifications, one a conversation: a later one takes the place of the one before, and all go that were read elsewhere. */

import { nameKey } from "../util/names.js";
import { language } from "../util/translate.js";

const TEXT_MAX = 200;

export class SystemNotifications {
  /** @type {Map<string, Notification>} those of a page without a service worker */
  #own = new Map();
  #tag;

  /** Called when the person chose one. @type {(peer: string) => void} */
  onchosen = () => {};

  /** @param {string} me */
  constructor(me) {
    this.#tag = `chatify.${me}/`;
  }

  /** Asks for the browser's leave; only a touch may do so. Whether it was given. */
  async requestPermission() {
    return (await Notification.requestPermission()) === "granted";
  }

  /** @param {{ from: string, text: string }} news */
  async show({ from, text }) {
    const tag = this.#tag + nameKey(from);
    const options = {
      tag,
      body: text.slice(0, TEXT_MAX).toWellFormed(),
      icon: new URL("../../icons/192.png", import.meta.url).pathname,
      lang: language(),
      data: { peer: from },
      silent: true, // the sound is the page's own, where it is wanted
    };
    const registration = await registered();
    try {
      if (registration) await registration.showNotification(from, options);
      else this.#showOwn(from, tag, options);
    } catch {
      // Not on this device, or not any more.
    }
  }

  /** Takes away those of conversations in which nothing is unread. @param {(peer: string) => boolean} isRead */
  async close(isRead) {
    const registration = await registered();
    const shown = [...((await registration?.getNotifications()) ?? []), ...this.#own.values()];
    for (const notice of shown) {
      if (notice.tag.startsWith(this.#tag) && isRead(notice.data?.peer ?? "")) notice.close();
    }
  }

  /**
   * @param {string} from
   * @param {string} tag
   * @param {NotificationOptions} options
   */
  #showOwn(from, tag, options) {
    const notice = new Notification(from, options);
    this.#own.set(tag, notice);
    notice.addEventListener("close", () => {
      if (this.#own.get(tag) === notice) this.#own.delete(tag);
    });
    notice.addEventListener("click", () => {
      notice.close();
      window.focus();
      this.onchosen(from);
    });
  }
}

async function registered() {
  return navigator.serviceWorker?.getRegistration("/").catch(() => undefined);
}
