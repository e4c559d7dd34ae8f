/**
 * Gets the attention of a person who looks elsewhere: the badge of the app, a sound, a notification; asks whether they want it,
 * and lets them change that in the menu. Loaded when there is need of it; `attention.js` decides.
 */

import { browserShelf } from "../store/shelf.js";
import { find, isAttended, isTouch, setText, whenAttendanceChanges } from "../util/dom.js";
import { nameKey } from "../util/names.js";
import { word } from "../util/words.js";
import { Attention } from "./attention.js";
import { Notices } from "./notices.js";
import { SoftSound } from "./soft_sound.js";
import { LockedTabs, LooseTabs } from "./tabs.js";
import { Wishes } from "./wishes.js";

/** @import { Messenger } from "../store/messenger.js" */

/** @param {Messenger} messenger */
export function attend(messenger) {
  const { me } = messenger;
  const wishes = new Wishes(browserShelf(), () => globalThis.Notification?.permission);
  const tabs = navigator.locks
    ? new LockedTabs(me, navigator.locks)
    : new LooseTabs(new BroadcastChannel(`chatify.attention.${me}`));
  const attention = new Attention(messenger, tabs, wishes);
  const notices = new Notices(me);
  const sound = new SoftSound();
  attention.onnotify = (news) => void notices.show(news);
  attention.onsound = () => void sound.play();
  notices.onchosen = (peer) => {
    location.hash = `#${encodeURIComponent(peer)}`;
  };

  followView(messenger, tabs);
  tabs.stand("notify");
  unlockSound(sound, () => tabs.stand("sound"));
  followUnread(messenger, notices);
  const switches = startSwitches(wishes, notices);
  const ask = startQuestion(wishes, notices, switches);

  return {
    /** @param {import("./attention.js").News} news */
    hear: async (news) => {
      if (!(await messenger.muted(news.from))) attention.hear(news);
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
 * @param {LockedTabs | LooseTabs} tabs
 */
function followView(messenger, tabs) {
  /** @type {string | undefined | null} null: nothing was said yet */
  let shown = null;
  const show = () => {
    const key = isAttended() ? nameKey(messenger.open ?? "") : undefined;
    if (key !== shown) tabs.show((shown = key));
  };
  messenger.addEventListener("shown", show);
  whenAttendanceChanges(show);
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
 * @param {Notices} notices
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
 * @param {Wishes} wishes
 * @param {Notices} notices
 */
function startSwitches(wishes, notices) {
  const group = find(document, "#menu .attention");
  const [notifications, sound, forbidden] = [".notifications", ".sound", ".forbidden"].map((name) => find(group, name));
  const show = () => {
    notifications.setAttribute("aria-checked", String(wishes.notifications));
    sound.setAttribute("aria-checked", String(wishes.sound));
    if (wishes.notifications) setText(forbidden, "");
  };
  notifications.hidden = !("Notification" in globalThis);
  sound.addEventListener("click", () => {
    wishes.say({ sound: !wishes.sound });
    show();
  });
  notifications.addEventListener("click", async () => {
    const wanted = !wishes.notifications;
    const allowed = !wanted || (await notices.askLeave());
    if (allowed) wishes.say({ notifications: wanted });
    setText(forbidden, allowed ? "" : word("notifications_forbidden"));
    show();
  });
  addEventListener("storage", show); // changed in another tab
  notifications.disabled = sound.disabled = false;
  show();
  return show;
}

/**
 * Returns what asks, if that has sense.
 * @param {Wishes} wishes
 * @param {Notices} notices
 * @param {() => void} answered
 */
function startQuestion(wishes, notices, answered) {
  const line = find(document, ".ask-attention");
  /** @param {boolean} wanted */
  const answer = async (wanted) => {
    line.hidden = true;
    if (!isTouch()) find(document, "message-composer").focusText();
    const allowed = wanted && (await notices.askLeave());
    wishes.say({ notifications: allowed });
    answered();
  };
  find(line, ".yes").addEventListener("click", () => void answer(true));
  find(line, ".no").addEventListener("click", () => void answer(false));
  addEventListener("storage", () => {
    if (!wishes.unanswered) line.hidden = true;
  });
  return () => {
    line.hidden = !wishes.unanswered;
  };
}
