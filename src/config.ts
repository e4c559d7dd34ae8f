/**
 * The settings: one table, where a new setting is one row, and `loadConfig`, which reports all
 * faults at once.
 */

import { LIMIT_SETTINGS, type Setting } from "./limit_settings.ts";
import {
  busAddress,
  databaseUrl,
  duration,
  fileStore,
  oneOf,
  onOrOff,
  origins,
  proxies,
  readable,
  type Reader,
  sessionSecrets,
  size,
  sizeBetween,
  text,
  token,
  wholeNumber,
} from "./setting_readers.ts";
import { anyAddress } from "./util/address.ts";

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
  ...LIMIT_SETTINGS,
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
  FILES: {
    default: "postgres",
    about: "where the bytes of files are stored: the database, or an S3 bucket at `s3://bucket/prefix`",
    key: "fileStore",
    read: fileStore,
  },
  S3_ENDPOINT: {
    default: "Amazon S3",
    about: "the address of the S3 service for `FILES`, such as `https://s3.example.org`",
  },
  S3_REGION: { default: "us-east-1", about: "the region of the bucket" },
  S3_ACCESS_KEY_ID: { default: "no key", about: "the access key for `FILES`", secret: true },
  S3_SECRET_ACCESS_KEY: { default: "no key", about: "the secret of that key", secret: true },
  FILE_MAX: {
    default: "25MB",
    about: "the largest file (1kB–2GB)",
    key: "fileMax",
    read: sizeBetween(1_000, 2_000_000_000),
  },
  FILES_QUOTA: {
    default: "1GB",
    about: "space for all files of a user",
    key: "filesQuota",
    read: sizeBetween(1_000, Number.MAX_SAFE_INTEGER),
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
} as const satisfies Record<string, Setting>;

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
  for (const [name, row] of Object.entries<Setting>(SETTINGS)) {
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
  const { secret }: Setting = SETTINGS[name as SettingName];
  const file = secret ? env[`${name}_FILE`]?.trim() || undefined : undefined;
  if (file === undefined) return plain;
  if (plain !== undefined) fault(`${name} and ${name}_FILE are both set; keep one of them`);
  const content = readable(`${name}_FILE names "${file}"`, file, fault);
  if (content === "") fault(`${name}_FILE names "${file}", which is empty`);
  return content || undefined;
}
