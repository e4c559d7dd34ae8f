/**
 * Whether a new message is worth a notification, a sound or nothing, and which of a person's tabs gives it. It has no document;
 * showing and sounding are left to `attention_page.js`.
 */

import { nameKey } from "../util/names.js";

/** @import { Message } from "../store/conversation.js" */

/** What counts of a message that came. @typedef {Pick<Message, "from" | "text" | "seq">} News */

/**
 * What the tabs of a person in one browser show, and which of them speaks.
 * @typedef {object} TabElection
 * @property {() => Promise<{ visible: boolean, shown: Set<string> }>} views whether any is visible, and the name keys of what they show
 * @property {(role: "notify" | "sound", what: string) => Promise<boolean>} isElected whether it is for this tab to tell of `what`
 */

/** Who reads a message as it comes, here, in another tab or on the phone beside it, needs nothing more. */
const PAUSE_MS = 300;
const SOUND_EVERY_MS = 2_000;

export class NotificationPolicy {
  /** @type {Map<string, News>} by name key, the newest of each conversation, not told of yet */
  #waiting = new Map();
  #soundedAt = Number.NEGATIVE_INFINITY;
  #messenger;
  #tabs;
  #preferences;
  #around;

  /** Called when a notification is due. @type {(news: News) => void} */
  onnotify = () => {};
  /** Called when a sound is due. */
  onsound = () => {};

  /**
   * @param {{ me: string, conversation: (peer: string) => { muted: boolean, myRead: number } }} messenger
   * @param {TabElection} tabs
   * @param {{ notifications: boolean, sound: boolean }} preferences as they are at the moment they are asked for
   * @param {{ setTimeout: (run: () => void, ms: number) => unknown, now: () => number }} [around]
   */
  constructor(messenger, tabs, preferences, around) {
    this.#messenger = messenger;
    this.#tabs = tabs;
    this.#preferences = preferences;
    this.#around = around ?? { setTimeout: (run, ms) => setTimeout(run, ms), now: () => performance.now() };
  }

  /** A message came. Of many in one moment the last is told of. @param {News} news */
  messageArrived(news) {
    if (news.from === this.#messenger.me) return;
    const key = nameKey(news.from);
    const waits = this.#waiting.has(key);
    this.#waiting.set(key, news);
    if (!waits) this.#around.setTimeout(() => void this.#tell(key), PAUSE_MS);
  }

  /** @param {string} key */
  async #tell(key) {
    const news = this.#waiting.get(key);
    this.#waiting.delete(key);
    if (!news || !this.#isNews(news)) return;
    const { visible, shown } = await this.#tabs.views();
    if (shown.has(key) || !this.#isNews(news)) return;
    const what = `${key}/${news.seq}`;
    // Who looks at another conversation sees the list change: the sound is enough.
    if (!visible && this.#preferences.notifications && (await this.#tabs.isElected("notify", what)))
      this.onnotify(news);
    if (this.#soundIsDue() && (await this.#tabs.isElected("sound", what)) && this.#soundIsDue()) {
      this.#soundedAt = this.#around.now();
      this.onsound();
    }
  }

  /** Whether it is still unread, and not of somebody this person wants to hear nothing of. @param {News} news */
  #isNews({ from, seq }) {
    const { muted, myRead } = this.#messenger.conversation(from);
    return !muted && myRead < seq;
  }

  #soundIsDue() {
    return this.#preferences.sound && this.#around.now() - this.#soundedAt >= SOUND_EVERY_MS;
  }
}
