/**
 * Gets the attention of a person who looks elsewhere: the badge of the app, a sound, a notification; asks whether they want it,
 * and lets them change that in the menu. Loaded when there is need of it; `attention.js` decides.
 */

import { safeLocalStorage } from "../store/safe_local_storage.js";
import { find, isPageActive, isTouch, onPageActivityChange, setText } from "../util/dom.js";
import { nameKey } from "../util/names.js";
import { t } from "../util/translate.js";
import { NotificationPolicy } from "./notification_policy.js";
import { NotificationPreferences } from "./notification_preferences.js";
import { SoftSound } from "./soft_sound.js";
import { SystemNotifications } from "./system_notifications.js";
import { BroadcastTabElection, LockTabElection } from "./tab_election.js";

/** @import { Messenger } from "../store/messenger.js" */

/** @param {Messenger} messenger */
export function startNotifications(messenger) {
  const { me } = messenger;
  const preferences = new NotificationPreferences(safeLocalStorage(), () => globalThis.Notification?.permission);
  const tabs = navigator.locks
    ? new LockTabElection(me, navigator.locks)
    : new BroadcastTabElection(new BroadcastChannel(`chatify.attention.${me}`));
  const attention = new NotificationPolicy(messenger, tabs, preferences);
  const notices = new SystemNotifications(me);
  const sound = new SoftSound();
  attention.onnotify = (news) => void notices.show(news);
  attention.onsound = () => void sound.play();
  notices.onchosen = (peer) => {
    location.hash = `#${encodeURIComponent(peer)}`;
  };

  followView(messenger, tabs);
  tabs.campaign("notify");
  unlockSound(sound, () => tabs.campaign("sound"));
  followUnread(messenger, notices);
  const switches = startSwitches(preferences, notices);
  const ask = startQuestion(preferences, notices, switches);

  return {
    /** @param {import("./notification_policy.js").News} news */
    hear: async (news) => {
      if (!(await messenger.muted(news.from))) attention.messageArrived(news);
    },
    /** The person has sent something. */
    sent: () => ask(),
    /** Nobody is signed in any more. */
    end: () => {
      clearBadge();
      return notices.close(() => true);
    },
  };
}

/**
 * @param {Messenger} messenger
 * @param {LockTabElection | BroadcastTabElection} tabs
 */
function followView(messenger, tabs) {
  /** @type {string | undefined | null} null: nothing was said yet */
  let shown = null;
  const show = () => {
    const key = isPageActive() ? nameKey(messenger.open ?? "") : undefined;
    if (key !== shown) tabs.show((shown = key));
  };
  messenger.addEventListener("shown", show);
  onPageActivityChange(show);
  show();
}

/**
 * @param {SoftSound} sound
 * @param {() => void} unlocked
 */
function unlockSound(sound, unlocked) {
  const touches = ["pointerup", "keydown"];
  const touched = async () => {
    if (!(await sound.unlock())) return;
    for (const type of touches) removeEventListener(type, touched);
    unlocked();
  };
  for (const type of touches) addEventListener(type, touched);
  if (navigator.userActivation?.hasBeenActive) void touched();
}

/**
 * @param {Messenger} messenger
 * @param {SystemNotifications} notices
 */
function followUnread(messenger, notices) {
  let before = Number.POSITIVE_INFINITY; // what was read while no page was here has its notices taken away
  const follow = () => {
    const { unread } = messenger;
    if (!messenger.listLoaded || unread === before) return;
    if (unread < before) void notices.close((peer) => messenger.conversation(peer).unread === 0);
    before = unread;
    if (unread > 0) navigator.setAppBadge?.(unread).catch(() => {});
    else clearBadge();
  };
  messenger.addEventListener("people", follow);
  follow();
}

function clearBadge() {
  navigator.clearAppBadge?.().catch(() => {});
}

/**
 * The switches in the menu. Returns what shows them as they are.
 * @param {NotificationPreferences} preferences
 * @param {SystemNotifications} notices
 */
function startSwitches(preferences, notices) {
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
    const allowed = !wanted || (await notices.requestPermission());
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
 * Returns what asks, if that has sense.
 * @param {NotificationPreferences} preferences
 * @param {SystemNotifications} notices
 * @param {() => void} answered
 */
function startQuestion(preferences, notices, answered) {
  const line = find(document, ".ask-notifications");
  /** @param {boolean} wanted */
  const answer = async (wanted) => {
    line.hidden = true;
    if (!isTouch()) find(document, "message-composer").focusText();
    const allowed = wanted && (await notices.requestPermission());
    preferences.set({ notifications: allowed });
    answered();
  };
  find(line, ".yes").addEventListener("click", () => void answer(true));
  find(line, ".no").addEventListener("click", () => void answer(false));
  addEventListener("storage", () => {
    if (!preferences.isUndecided) line.hidden = true;
  });
  return () => {
    line.hidden = !preferences.isUndecided;
  };
}
