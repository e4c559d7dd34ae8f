/**
 * The settings: one table, where a new setting is one row, and `loadConfig`, which reports all
 * faults at once.
 */

import {
  busAddress,
  bytesPerDay,
  databaseUrl,
  duration,
  oneOf,
  onOrOff,
  origins,
  proxies,
  rate,
  readable,
  type Reader,
  sessionSecrets,
  size,
  text,
  token,
  wholeNumber,
} from "./setting_readers.ts";
import { anyAddress } from "./util/address.ts";

interface Row {
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

export const SETTINGS = {
  PORT: {
    default: "8000",
    about: "the port to listen on; `0` picks a free one",
    key: "port",
    read: wholeNumber(0, 65_535),
  },
  HOST: {
    default: "0.0.0.0",
    about:
      "the address to listen on: `127.0.0.1` for this machine only, `::` for IPv6 too (the default on hosts without IPv4)",
    key: "host",
    read: text(anyAddress),
  },
  DATABASE_URL: {
    default: "embedded PostgreSQL",
    about: "`postgres://user:password@host:5432/database`, PostgreSQL 15 or newer",
    secret: true,
    key: "databaseUrl",
    read: databaseUrl,
  },
  DATABASE_PASSWORD: {
    default: "no password",
    about: "the password for `DATABASE_URL`, if the URL has none",
    secret: true,
  },
  DATA_DIR: {
    default: "./data",
    about: "the directory of the embedded PostgreSQL",
    key: "dataDir",
    read: text(() => "./data"),
  },
  SESSION_SECRET: {
    default: "generated at the first start and kept",
    about:
      "signs session cookies, at least 32 characters; in a list (commas or lines) the first signs and all are accepted",
    secret: true,
    key: "sessionSecrets",
    read: sessionSecrets,
  },
  BUS: {
    default: "postgres",
    about:
      "what carries events between pods: the database, or a Valkey or Redis at `valkey://host:6379` (`redis://`; with TLS `valkeys://`, `rediss://`)",
    secret: true,
    key: "bus",
    read: busAddress,
  },
  BUS_PASSWORD: { default: "no password", about: "the password for `BUS`, if the URL has none", secret: true },
  SIGNUP: {
    default: "open",
    about: "the sign-up policy: `open`, `invite` (invitation only) or `closed`",
    key: "signup",
    read: oneOf("open", "invite", "closed"),
  },
  RATE_LIMIT: {
    default: "on",
    about: "`off` disables all `LIMIT_*` settings; for benchmarks only",
    key: "rateLimit",
    read: onOrOff,
  },
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
  TRUST_PROXY: {
    default: "off",
    about:
      "whose `X-Forwarded-For`, `-Proto` and `-Host` are trusted: `on` for the single proxy in front, or the addresses and networks of your proxies, such as `10.42.0.0/16, fd00:42::/32`",
    key: "trustProxy",
    read: proxies,
  },
  ALLOWED_ORIGINS: {
    default: "same host",
    about: "further origins whose pages may use this server, separated by commas: `https://chat.example.org`",
    key: "allowedOrigins",
    read: origins,
  },
  DRAIN_SECONDS: {
    default: "0",
    about: "seconds to keep serving after SIGTERM, until load balancers notice (0–20)",
    key: "drainSeconds",
    read: wholeNumber(0, 20),
  },
  EDIT_WINDOW: {
    default: "24h",
    about: "how long messages can be edited: `30m`, `24h`, `7d`, `unlimited`, or `0` for never",
    key: "editWindow",
    read: duration,
  },
  DELETE_WINDOW: {
    default: "unlimited",
    about: "how long messages can be deleted for both users, as `EDIT_WINDOW`",
    key: "deleteWindow",
    read: duration,
  },
  UNSENT_MAX: {
    default: "a quarter of the memory limit, at most 128MiB",
    about: "memory for data that clients have not read yet; beyond it the longest-stalled client is disconnected",
    key: "unsentMax",
    read: size(1_000_000),
  },
  LOG_LEVEL: {
    default: "info",
    about: "`debug`, `info`, `warn` or `error`",
    key: "logLevel",
    read: oneOf("debug", "info", "warn", "error"),
  },
  LOG_FORMAT: {
    default: "auto",
    about: "`text`, `json`, or `auto`: text on a terminal, otherwise JSON",
    key: "logFormat",
    read: oneOf("auto", "text", "json"),
  },
  METRICS_TOKEN: {
    default: "`/metrics` answers this machine only",
    about: "the bearer token that `/metrics` requires",
    secret: true,
    key: "metricsToken",
    read: token(16),
  },
  UNSAFE_DATABASE: {
    default: "off",
    about: "`on` accepts a PostgreSQL that reports `fsync`, `full_page_writes` or `synchronous_commit` off",
    key: "unsafeDatabase",
    read: onOrOff,
  },
} as const satisfies Record<string, Row>;

export type SettingName = keyof typeof SETTINGS;
type Rows = (typeof SETTINGS)[SettingName];
type ValueOf<One> = One extends { read: Reader<infer Value> } ? Value : never;

/** The value of each limit. */
export type LimitSettings = {
  readonly [One in Rows as One extends { limit: infer Name extends string } ? Name : never]: ValueOf<One>;
};

/** The actions that are rate limited for each user. */
export type LimitedAction = Extract<Rows, { isPerUser: true }>["limit"];

export type Config = {
  readonly [One in Rows as One extends { key: infer Key extends string } ? Key : never]: ValueOf<One>;
} & { readonly limits: LimitSettings };

export type Signup = Config["signup"];

export const LIMITED_ACTIONS: readonly LimitedAction[] = Object.values<Rows>(SETTINGS).flatMap((row) =>
  "isPerUser" in row ? [row.limit] : [],
);

/** Invalid settings; `faults` has a sentence for each. */
export class ConfigError extends Error {
  readonly faults: readonly string[];

  constructor(faults: readonly string[]) {
    super(faults.join("\n"));
    this.name = "ConfigError";
    this.faults = faults;
  }
}

/**
 * Reads the settings. Empty values count as absent.
 *
 * @throws ConfigError with all faults
 * @example loadConfig({ PORT: "9000" }).port // 9000
 */
export function loadConfig(env: Readonly<Record<string, string | undefined>>): Config {
  const faults: string[] = [];
  const fault = (sentence: string) => void faults.push(sentence);
  const other = (name: string) => valueOf(name, env, fault);
  const config: Record<string, unknown> = {};
  const limits: Record<string, unknown> = {};
  for (const [name, row] of Object.entries<Row>(SETTINGS)) {
    if (!row.read) continue;
    const value = row.read({ name, given: valueOf(name, env, fault), fallback: row.default, env, other, fault });
    if (row.limit === undefined) config[row.key as string] = value;
    else limits[row.limit] = value;
  }
  if (faults.length > 0) throw new ConfigError(faults);
  return Object.freeze({ ...config, limits }) as Config;
}

function valueOf(
  name: string,
  env: Readonly<Record<string, string | undefined>>,
  fault: (sentence: string) => void,
): string | undefined {
  const plain = env[name]?.trim() || undefined;
  const { secret }: Row = SETTINGS[name as SettingName];
  const file = secret ? env[`${name}_FILE`]?.trim() || undefined : undefined;
  if (file === undefined) return plain;
  if (plain !== undefined) fault(`${name} and ${name}_FILE are both set; keep one of them`);
  const content = readable(`${name}_FILE names "${file}"`, file, fault);
  if (content === "") fault(`${name}_FILE names "${file}", which is empty`);
  return content || undefined;
}
