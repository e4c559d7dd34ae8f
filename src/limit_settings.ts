/** The settings that limit how often something may be done; part of `SETTINGS`. */

import { bytesPerDay, rate, type Reader, wholeNumber } from "./setting_readers.ts";

/** A setting. */
export interface Setting {
  /** As shown in the documentation. */
  readonly default: string;
  /** Description, in Markdown. */
  readonly about: string;
  /** May be read from the file named in `NAME_FILE`, and is never printed. */
  readonly secret?: true;
  /** Its property of `Config`. A row without one is read by the setting it belongs to. */
  readonly key?: string;
  /** Its property of `Config.limits`. */
  readonly limit?: string;
  /** Limits an action of each user; the name is an argument of `Limits.charge`. */
  readonly isPerUser?: true;
  readonly read?: Reader<unknown>;
}

export const LIMIT_SETTINGS = {
  LIMIT_SENDS: {
    default: "5/s burst 20",
    about: "messages a user sends",
    limit: "sends",
    read: rate,
    isPerUser: true,
  },
  LIMIT_CHANGES: {
    default: "5/s burst 40",
    about: "edits, deletions and reactions of a user",
    limit: "changes",
    read: rate,
    isPerUser: true,
  },
  LIMIT_BYTES: { default: "50MB/d", about: "text a user sends in a day (UTC)", limit: "bytes", read: bytesPerDay },
  LIMIT_TYPING: {
    default: "2/s burst 10",
    about: "typing notifications a user sends, to all peers together",
    limit: "typing",
    read: rate,
    isPerUser: true,
  },
  LIMIT_WATCH: {
    default: "1/s burst 20",
    about: "presence lists a user subscribes to (`watch`)",
    limit: "watch",
    read: rate,
    isPerUser: true,
  },
  LIMIT_FRAMES: {
    default: "50/s burst 200",
    about: "frames of any kind on one socket",
    limit: "frames",
    read: rate,
  },
  LIMIT_SOCKETS: {
    default: "10",
    about: "sockets (tabs, devices) a user has open (1–1000)",
    limit: "sockets",
    read: wholeNumber(1, 1_000),
  },
  LIMIT_SIGNUPS: { default: "30/h", about: "sign-ups from one address", limit: "signUps", read: rate },
  LIMIT_LOGINS: {
    default: "10/15m",
    about: "failed logins to one name from one address",
    limit: "failedLogins",
    read: rate,
  },
  LIMIT_LOGINS_NAME: { default: "50/15m", about: "failed logins to one name", limit: "failedLoginsName", read: rate },
  LIMIT_LOGINS_ADDRESS: {
    default: "100/15m",
    about: "failed logins from one address, and sign-ups with a name that is taken",
    limit: "failedLoginsAddress",
    read: rate,
  },
  LIMIT_SIGNINS: {
    default: "100/15m",
    about: "successful logins to one account",
    limit: "successfulLogins",
    read: rate,
  },
  LIMIT_SIGNINS_ADDRESS: {
    default: "500/15m",
    about: "successful logins from one address",
    limit: "successfulLoginsAddress",
    read: rate,
  },
  LIMIT_SEARCHES: {
    default: "5/s burst 30",
    about: "a user's searches for other users",
    limit: "searches",
    read: rate,
    isPerUser: true,
  },
  LIMIT_HISTORY: {
    default: "20/s burst 200",
    about: "a user's requests for messages and conversations",
    limit: "history",
    read: rate,
    isPerUser: true,
  },
  LIMIT_MESSAGE_SEARCHES: {
    default: "1/s burst 30",
    about: "a user's searches for messages",
    limit: "messageSearches",
    read: rate,
    isPerUser: true,
  },
  LIMIT_DRAFTS: { default: "5/s burst 30", about: "drafts a user saves", limit: "drafts", read: rate, isPerUser: true },
  LIMIT_PROFILE: {
    default: "30/h burst 10",
    about: "a user's changes of display name and photo",
    limit: "profile",
    read: rate,
    isPerUser: true,
  },
  LIMIT_PHOTOS: {
    default: "50/s burst 500",
    about: "photos a user loads",
    limit: "photos",
    read: rate,
    isPerUser: true,
  },
  LIMIT_ACCOUNT: {
    default: "1/s burst 30",
    about: "a user's exports, and changes to privacy settings, blocks, sessions and the arrangement of the list",
    limit: "account",
    read: rate,
    isPerUser: true,
  },
  LIMIT_FILES: {
    default: "1/s burst 60",
    about: "files a user uploads",
    limit: "files",
    read: rate,
    isPerUser: true,
  },
  LIMIT_FILE_REQUESTS: {
    default: "100/s burst 1000",
    about: "chunks of files a user uploads, and files and previews a user loads",
    limit: "fileRequests",
    read: rate,
    isPerUser: true,
  },
} as const satisfies Record<string, Setting>;
