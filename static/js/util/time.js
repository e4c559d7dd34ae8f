/** Formats instants in the user's language. Tests pass their own `now`. */

import { language, locale, t } from "./translate.js";

const MINUTE_MS = 60_000;
/** How often the time zone and day are checked. */
const CHECK_MS = 1_000;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;

/** The time of day as the locale writes it: `"09:05"` in Britain, `"9:05 AM"` in America. @param {number} at */
export function clock(at) {
  // CLDR gives Greek a 12-hour clock, but Greeks use 24 hours.
  return format({ timeStyle: "short", ...(language() === "el" && { hourCycle: "h23" }) }, at);
}

/** Full date and time, for tooltips. @param {number} at */
export function fullTime(at) {
  return format({ dateStyle: "full", timeStyle: "medium" }, at);
}

/** Date and time, for quotes: `"18 Mar 2026, 14:05"`. @param {number} at */
export function dateTime(at) {
  return format({ dateStyle: "medium", timeStyle: "short", ...(language() === "el" && { hourCycle: "h23" }) }, at);
}

/**
 * A day: "Today", "Yesterday", a weekday or a date.
 * @param {number} at
 */
export function dayText(at, now = Date.now()) {
  const days = daysAgo(at, now);
  if (days === 0) return t("today");
  if (days === 1) return t("yesterday");
  if (days > 1 && days < 7) return capital(format({ weekday: "long" }, at));
  return format({ weekday: "long", day: "numeric", month: "long", ...yearUnlessThis(at, now) }, at);
}

/**
 * A short time for list rows: a time today, a weekday this week, otherwise a date.
 * @param {number} at
 */
export function shortTime(at, now = Date.now()) {
  const days = daysAgo(at, now);
  if (days <= 0) return clock(at);
  if (days === 1) return t("yesterday");
  if (days < 7) return format({ weekday: "short" }, at);
  return format({ day: "numeric", month: "short", ...yearUnlessThis(at, now) }, at);
}

/**
 * When a user was last online: "last seen 5 minutes ago".
 * @param {number} at
 */
export function lastSeen(at, now = Date.now()) {
  const minutes = Math.floor((now - at) / MINUTE_MS);
  if (minutes < 1) return t("last_seen_now");
  if (minutes < 60) return t("last_seen_minutes", { count: minutes });
  const days = daysAgo(at, now);
  if (days === 0) return t("last_seen_today", { time: clock(at) });
  if (days === 1) return t("last_seen_yesterday", { time: clock(at) });
  return t("last_seen_on", { date: format({ day: "numeric", month: "long", ...yearUnlessThis(at, now) }, at) });
}

/**
 * How long ago an instant was, or its date: "3 hours ago", "yesterday", "3 November".
 * @param {number} at
 */
export function ago(at, now = Date.now()) {
  const days = daysAgo(at, now);
  const formatter = new Intl.RelativeTimeFormat(locale(), { numeric: "auto" });
  if (days < 1) return formatter.format(-Math.max(1, Math.floor((now - at) / HOUR_MS)), "hour");
  if (days < 7) return formatter.format(-days, "day");
  return format({ day: "numeric", month: "long", ...yearUnlessThis(at, now) }, at);
}

/**
 * The local day of an instant: `"2026-11-22"`.
 * @param {number} at
 */
export function dayKey(at) {
  const date = new Date(at);
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
}

/** @type {Map<string, Intl.DateTimeFormat>} */
const formats = new Map(); // constructing a formatter costs far more than using it

/** Everything besides the instant that formatting depends on. */
function formatBasis() {
  const { timeZone } = new Intl.DateTimeFormat().resolvedOptions();
  return `${timeZone} ${new Date().getTimezoneOffset()} ${locale()} ${dayKey(Date.now())}`;
}

let before = formatBasis();
let revision = 0;
/** @type {Set<() => void>} */
const listeners = new Set();

/** A number that rises whenever the same instant is formatted differently: part of render keys. */
export function timeRevision() {
  return revision;
}

/**
 * Calls `listener` whenever instants are formatted differently: the time zone, the region or the
 * day changed. Polls, because formatters keep their zone and no event announces a new one.
 * @param {() => void} listener
 */
export function onTimeFormatChange(listener) {
  if (listeners.size === 0) {
    setInterval(check, CHECK_MS);
    document.addEventListener("visibilitychange", check); // timers of hidden pages are throttled
  }
  listeners.add(listener);
}

function check() {
  const now = formatBasis();
  if (now === before) return;
  before = now;
  revision++;
  formats.clear();
  for (const listener of listeners) listener();
}

/**
 * @param {Intl.DateTimeFormatOptions} options
 * @param {number} at
 */
function format(options, at) {
  const key = locale() + JSON.stringify(options);
  let formatter = formats.get(key);
  if (!formatter) formats.set(key, (formatter = new Intl.DateTimeFormat(locale(), options)));
  return formatter.format(at);
}

/**
 * Calendar days between two instants, unaffected by daylight saving time.
 * @param {number} at
 * @param {number} now
 */
function daysAgo(at, now) {
  return Math.round((Date.parse(dayKey(now)) - Date.parse(dayKey(at))) / DAY_MS);
}

/**
 * @param {number} at
 * @param {number} now
 * @returns {Intl.DateTimeFormatOptions}
 */
function yearUnlessThis(at, now) {
  return new Date(at).getFullYear() === new Date(now).getFullYear() ? {} : { year: "numeric" };
}

/** @param {string} text */
function capital(text) {
  return text.charAt(0).toLocaleUpperCase(locale()) + text.slice(1);
}

/** @param {number} number */
function two(number) {
  return String(number).padStart(2, "0");
}
