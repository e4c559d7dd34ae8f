/**
 * Decides whether a new message causes a notification, a sound or nothing, and in which tab. It
 * does not touch the DOM; `notifications.js` shows and plays.
 */

import { Emitter } from "../util/emitter.js";
import { nameKey } from "../util/names.js";

/** @import { Message } from "../store/conversation.js" */

/** @typedef {Pick<Message, "from" | "text" | "seq" | "file">} NewMessage */

/**
 * Knows what a user's tabs in one browser show, and elects the tab that notifies.
 * @typedef {object} TabElection
 * @property {() => Promise<{ visible: boolean, shown: Set<string> }>} views whether any tab is visible, and the name keys of the conversations on screen. Without Web Locks, only this tab's view is known
 * @property {(role: "notify" | "sound", messageId: string) => Promise<boolean>} isElected whether this tab notifies of this message
 */

/** A message read within this time, in any tab or on another device, causes no notification. */
const DELAY_MS = 300;
const SOUND_EVERY_MS = 2_000;

/**
 * - `notify`: a notification of this message is due
 * - `sound`: a sound is due
 * @extends {Emitter<{ notify: NewMessage, sound: void }>}
 */
export class NotificationPolicy extends Emitter {
  /**
   * @type {Map<string, NewMessage>} by name key, the newest pending message of each conversation
   */
  #waiting = new Map();
  #soundedAt = Number.NEGATIVE_INFINITY;
  #chat;
  #election;
  #preferences;
  #env;

  /**
   * @param {{ me: string, conversations: { getOrCreate: (peer: string) => { isMuted: boolean, myRead: number } } }} chat
   * @param {TabElection} election
   * @param {{ notifications: boolean, sound: boolean }} preferences read at the time of each message
   * @param {{ setTimeout: (run: () => void, ms: number) => unknown, now: () => number }} [env]
   */
  constructor(chat, election, preferences, env) {
    super();
    this.#chat = chat;
    this.#election = election;
    this.#preferences = preferences;
    this.#env = env ?? { setTimeout: (run, ms) => setTimeout(run, ms), now: () => performance.now() };
  }

  /**
   * A message arrived. Of several within the delay only the last causes a notification.
   * @param {NewMessage} message
   */
  messageArrived(message) {
    if (message.from === this.#chat.me) return;
    const key = nameKey(message.from);
    const waits = this.#waiting.has(key);
    this.#waiting.set(key, message);
    if (!waits) this.#env.setTimeout(() => void this.#decide(key), DELAY_MS);
  }

  /** @param {string} key */
  async #decide(key) {
    const message = this.#waiting.get(key);
    this.#waiting.delete(key);
    if (!message || !this.#isUnread(message)) return;
    const { visible, shown } = await this.#election.views();
    if (shown.has(key) || !this.#isUnread(message)) return;
    const messageId = `${key}/${message.seq}`;
    // A user looking at another conversation sees the list change, so the sound is enough.
    if (!visible && this.#preferences.notifications && (await this.#election.isElected("notify", messageId)))
      this.emit("notify", message);
    if (this.#isSoundDue() && (await this.#election.isElected("sound", messageId)) && this.#isSoundDue()) {
      this.#soundedAt = this.#env.now();
      this.emit("sound");
    }
  }

  /** Whether the message is unread and its conversation not muted. @param {NewMessage} message */
  #isUnread({ from, seq }) {
    const { isMuted, myRead } = this.#chat.conversations.getOrCreate(from);
    return !isMuted && myRead < seq;
  }

  #isSoundDue() {
    return this.#preferences.sound && this.#env.now() - this.#soundedAt >= SOUND_EVERY_MS;
  }
}
