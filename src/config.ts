/** The settings: one table, where a new setting is one row, and `loadConfig`, which reports all faults at once. */

import {
  busAddress,
  bytesPerDay,
  databaseUrl,
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
  /** Limits an action of each user; the name is an argument of `Limits.spend`. */
  readonly isPerUser?: true;
  readonly read?: Reader<unknown>;
}

export const SETTINGS = {
  PORT: {
    default: "8000",
    about: "the port chatify answers on (0: any free one)",
    key: "port",
    read: wholeNumber(0, 65_535),
  },
  HOST: {
    default: "0.0.0.0",
    about: "the address to listen on; `127.0.0.1` for this machine only, `::` for IPv6 too, the default without IPv4",
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
    about: "the password for `DATABASE_URL` when that has none",
    secret: true,
  },
  DATA_DIR: {
    default: "./data",
    about: "where the embedded PostgreSQL keeps everything",
    key: "dataDir",
    read: text(() => "./data"),
  },
  SESSION_SECRET: {
    default: "generated at the first start and kept",
    about:
      "signs the session cookies, 32 characters or more; a list (commas or lines): the first signs, all are accepted",
    secret: true,
    key: "sessionSecrets",
    read: sessionSecrets,
  },
  BUS: {
    default: "postgres",
    about:
      "what carries events between pods: the database, or `valkey://host:6379` (`redis://`; TLS: `valkeys://`, `rediss://`)",
    secret: true,
    key: "bus",
    read: busAddress,
  },
  BUS_PASSWORD: { default: "no password", about: "the password for `BUS` when that has none", secret: true },
  SIGNUP: {
    default: "open",
    about: "who may sign up: anyone (`open`), anyone with an invitation link (`invite`), no one (`closed`)",
    key: "signup",
    read: oneOf("open", "invite", "closed"),
  },
  RATE_LIMIT: {
    default: "on",
    about: "`off` disables all limits below; for benchmarks only",
    key: "rateLimit",
    read: onOrOff,
  },
  LIMIT_SENDS: {
    default: "5/s burst 20",
    about: "messages a person may send",
    limit: "sends",
    read: rate,
    isPerUser: true,
  },
  LIMIT_BYTES: { default: "50MB/d", about: "text a person may send in a day (UTC)", limit: "bytes", read: bytesPerDay },
  LIMIT_TYPING: {
    default: "2/s burst 10",
    about: "typing notifications a person may send, to all peers together",
    limit: "typing",
    read: rate,
    isPerUser: true,
  },
  LIMIT_WATCH: {
    default: "1/s burst 20",
    about: "lists of people to watch, for each person",
    limit: "watch",
    read: rate,
    isPerUser: true,
  },
  LIMIT_FRAMES: {
    default: "50/s burst 200",
    about: "frames of any kind, for each socket",
    limit: "frames",
    read: rate,
  },
  LIMIT_SOCKETS: {
    default: "10",
    about: "sockets (tabs, devices) a person may have open (1–1000)",
    limit: "sockets",
    read: wholeNumber(1, 1_000),
  },
  LIMIT_SIGNUPS: { default: "30/h", about: "sign-ups from one address", limit: "signUps", read: rate },
  LIMIT_LOGINS: {
    default: "10/15m",
    about: "failed logins with one name from one address",
    limit: "logins",
    read: rate,
  },
  LIMIT_LOGINS_NAME: { default: "50/15m", about: "failed logins with one name", limit: "loginsName", read: rate },
  LIMIT_LOGINS_ADDRESS: {
    default: "100/15m",
    about: "failed logins from one address, and sign-ups with a name that is taken",
    limit: "loginsAddress",
    read: rate,
  },
  LIMIT_SIGNINS: { default: "100/15m", about: "successful logins to one account", limit: "signIns", read: rate },
  LIMIT_SIGNINS_ADDRESS: {
    default: "500/15m",
    about: "successful logins from one address",
    limit: "signInsAddress",
    read: rate,
  },
  LIMIT_SEARCHES: {
    default: "5/s burst 30",
    about: "searches for people, for each person",
    limit: "searches",
    read: rate,
    isPerUser: true,
  },
  LIMIT_HISTORY: {
    default: "20/s burst 200",
    about: "requests for messages and conversations, for each person",
    limit: "history",
    read: rate,
    isPerUser: true,
  },
  LIMIT_DRAFTS: {
    default: "5/s burst 30",
    about: "drafts a person may save",
    limit: "drafts",
    read: rate,
    isPerUser: true,
  },
  LIMIT_ACCOUNT: {
    default: "1/s burst 30",
    about: "changes of settings, blocks, mutes and sessions, and exports, for each person",
    limit: "account",
    read: rate,
    isPerUser: true,
  },
  TRUST_PROXY: {
    default: "off",
    about:
      "whose `X-Forwarded-For`, `-Proto` and `-Host` to trust: `on` for the one proxy in front, else the addresses and networks of proxies, as in `10.42.0.0/16, fd00:42::/32`",
    key: "trustProxy",
    read: proxies,
  },
  ALLOWED_ORIGINS: {
    default: "same host",
    about: "additional origins whose pages may use this server: `https://chat.example.org`, separated by commas",
    key: "allowedOrigins",
    read: origins,
  },
  DRAIN_SECONDS: {
    default: "0",
    about: "how long to go on serving after SIGTERM, for a load balancer to notice (0–20)",
    key: "drainSeconds",
    read: wholeNumber(0, 20),
  },
  UNSENT_MAX: {
    default: "a quarter of the memory limit, at most 128MB",
    about: "data held for all clients that do not read it; beyond it the client stalled longest is disconnected",
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
    about: "`text`, `json`, or `auto`: text on a terminal, JSON otherwise",
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
    about: "`on` to serve from a PostgreSQL that reports `fsync`, `full_page_writes` or `synchronous_commit` off",
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
