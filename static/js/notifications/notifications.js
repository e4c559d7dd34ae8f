/**
 * Notifies the user of new messages: app badge, sound and system notifications; asks for permission
 * once and offers the settings in the menu. Loaded on demand; `notification_policy.js` decides.
 */

import { safeLocalStorage } from "../store/browser_storage.js";
import { find, isPageActive, isTouch, onPageActivityChange, setText } from "../util/dom.js";
import { nameKey } from "../util/names.js";
import { t } from "../util/translate.js";
import { NotificationPolicy } from "./notification_policy.js";
import { NotificationPreferences } from "./notification_preferences.js";
import { SoftSound } from "./soft_sound.js";
import { SystemNotifications } from "./system_notifications.js";
import { BroadcastTabElection, LockTabElection } from "./tab_election.js";

/** @import { Chat } from "../chat_model.js" */

/** @param {Chat} chat */
export function startNotifications(chat) {
  const { me } = chat;
  const preferences = new NotificationPreferences(safeLocalStorage(), () => globalThis.Notification?.permission);
  const election = navigator.locks
    ? new LockTabElection(me, navigator.locks)
    : new BroadcastTabElection(new BroadcastChannel(`chatify.attention.${me}`));
  const policy = new NotificationPolicy(chat, election, preferences);
  const systemNotifications = new SystemNotifications(me);
  const sound = new SoftSound();
  policy.on(
    "notify",
    (message) => void systemNotifications.show({ ...message, title: chat.profiles.full(message.from) }),
  );
  policy.on("sound", () => void sound.play());
  systemNotifications.on("chosen", (peer) => {
    location.hash = `#${encodeURIComponent(peer)}`;
  });

  followView(chat, election);
  election.campaign("notify");
  void unlockSound(sound).then(() => election.campaign("sound"));
  followUnread(chat, systemNotifications);
  const renderSettings = startSettings(preferences, systemNotifications);
  const showPrompt = startPrompt(preferences, systemNotifications, { onAnswer: renderSettings });

  return {
    /** @param {import("./notification_policy.js").NewMessage} message */
    messageArrived: async (message) => {
      if (!(await chat.loader.isMuted(message.from))) policy.messageArrived(message);
    },
    /** The user has sent a message. */
    sent: () => showPrompt(),
    /** The session is over. */
    end: () => {
      clearBadge();
      return systemNotifications.close(() => true);
    },
  };
}

/**
 * @param {Chat} chat
 * @param {LockTabElection | BroadcastTabElection} election
 */
function followView(chat, election) {
  /** @type {string | undefined | null} null: not announced yet */
  let shown = null;
  const show = () => {
    const key = isPageActive() ? nameKey(chat.conversations.open ?? "") : undefined;
    if (key !== shown) election.show((shown = key));
  };
  chat.conversations.on("opened", show);
  onPageActivityChange(show);
  show();
}

/**
 * Resolves once a gesture has unlocked sound.
 * @param {SoftSound} sound
 * @returns {Promise<void>}
 */
function unlockSound(sound) {
  return new Promise((resolve) => {
    const gestures = ["pointerup", "keydown"];
    const unlock = async () => {
      if (!(await sound.unlock())) return;
      for (const type of gestures) removeEventListener(type, unlock);
      resolve();
    };
    for (const type of gestures) addEventListener(type, unlock);
    if (navigator.userActivation?.hasBeenActive) void unlock();
  });
}

/**
 * @param {Chat} chat
 * @param {SystemNotifications} systemNotifications
 */
function followUnread(chat, systemNotifications) {
  // The first run closes notifications of messages read while no page was open.
  let before = Number.POSITIVE_INFINITY;
  const follow = () => {
    const { unread } = chat.conversations;
    if (!chat.conversations.isListLoaded || unread === before) return;
    if (unread < before) void systemNotifications.close((peer) => chat.conversations.getOrCreate(peer).unread === 0);
    before = unread;
    if (unread > 0) navigator.setAppBadge?.(unread).catch(() => {});
    else clearBadge();
  };
  chat.conversations.on("list", follow);
  follow();
}

function clearBadge() {
  navigator.clearAppBadge?.().catch(() => {});
}

/**
 * Sets up the settings in the menu. Returns a function that renders them.
 * @param {NotificationPreferences} preferences
 * @param {SystemNotifications} systemNotifications
 */
function startSettings(preferences, systemNotifications) {
  const group = find(document, "#menu .notification-settings");
  const [notifications, sound, forbidden] = [".notifications", ".sound", ".forbidden"].map((name) => find(group, name));
  const show = () => {
    notifications.setAttribute("aria-checked", String(preferences.notifications));
    sound.setAttribute("aria-checked", String(preferences.sound));
    if (preferences.notifications) setText(forbidden, "");
  };
  notifications.hidden = !("Notification" in globalThis);
  sound.addEventListener("click", () => {
    preferences.set({ sound: !preferences.sound });
    show();
  });
  notifications.addEventListener("click", async () => {
    const wanted = !preferences.notifications;
    const allowed = !wanted || (await systemNotifications.requestPermission());
    if (allowed) preferences.set({ notifications: wanted });
    setText(forbidden, allowed ? "" : t("notifications_forbidden"));
    show();
  });
  addEventListener("storage", show); // changed in another tab
  notifications.disabled = sound.disabled = false;
  show();
  return show;
}

/**
 * Sets up the notification prompt. Returns a function that shows it if the user has not decided.
 * @param {NotificationPreferences} preferences
 * @param {SystemNotifications} systemNotifications
 * @param {{ onAnswer: () => void }} options
 */
function startPrompt(preferences, systemNotifications, { onAnswer }) {
  const prompt = find(document, ".ask-notifications");
  /** @param {boolean} wanted */
  const answer = async (wanted) => {
    prompt.hidden = true;
    if (!isTouch()) find(document, "message-composer").focusText();
    const allowed = wanted && (await systemNotifications.requestPermission());
    preferences.set({ notifications: allowed });
    onAnswer();
  };
  find(prompt, ".yes").addEventListener("click", () => void answer(true));
  find(prompt, ".no").addEventListener("click", () => void answer(false));
  addEventListener("storage", () => {
    if (!preferences.isUndecided) prompt.hidden = true;
  });
  return () => {
    prompt.hidden = !preferences.isUndecided;
  };
}
