/** The settings: one table of what the environment may say, and `loadConfig`, which reports every fault at once. */

import { readFileSync } from "node:fs";

import type { Level } from "./log.ts";
import { everyAddress, isNetwork } from "./util/address.ts";
import { ConnectionStringError, parseConnectionString, uriOf, withVariables } from "./util/connection_string.ts";
import { readSize } from "./util/size.ts";

export type Signup = "open" | "invite" | "closed";

/** So many at once, and so many a second in the long run. */
export interface Rate {
  readonly burst: number;
  readonly perSecond: number;
}

/** What is limited; who is counted is `limits.ts`'s part. */
export interface LimitSettings {
  readonly sends: Rate;
  /** Of text in a day. */
  readonly bytes: number;
  readonly typing: Rate;
  readonly watch: Rate;
  readonly frames: Rate;
  readonly sockets: number;
  readonly signUps: Rate;
  readonly logins: Rate;
  readonly loginsName: Rate;
  readonly loginsAddress: Rate;
  readonly signIns: Rate;
  readonly signInsAddress: Rate;
  readonly searches: Rate;
  readonly history: Rate;
  readonly drafts: Rate;
  readonly account: Rate;
}

export interface Config {
  readonly port: number;
  readonly host: string;
  /** Undefined: the embedded PostgreSQL. */
  readonly databaseUrl: string | undefined;
  readonly dataDir: string;
  /** The first signs, all verify. Undefined: one that chatify made and keeps. */
  readonly sessionSecrets: readonly string[] | undefined;
  /** `postgres`, or the address of a Valkey or Redis. */
  readonly bus: string;
  /** Who may make an account. */
  readonly signup: Signup;
  readonly rateLimit: boolean;
  readonly limits: LimitSettings;
  /** Whose `X-Forwarded-*` is believed: nobody's, whoever connects, or these addresses and networks. */
  readonly trustProxy: "off" | "on" | readonly string[];
  /** Undefined: only pages of the same host. */
  readonly allowedOrigins: readonly string[] | undefined;
  readonly drainSeconds: number;
  /** Undefined: by the memory there is. */
  readonly unsentMax: number | undefined;
  readonly logLevel: Level;
  readonly logFormat: "auto" | "text" | "json";
  readonly metricsToken: string | undefined;
  readonly unsafeDatabase: boolean;
}

/** Every setting: its default as a person reads it, what it means, and whether `NAME_FILE` may name a file that holds it. */
export const SETTINGS = {
  PORT: { default: "8000", about: "the port chatify answers on (0: any free one)" },
  HOST: {
    default: "0.0.0.0",
    about: "the address it listens at; `127.0.0.1` for this machine only, `::` for IPv6 too, the default without IPv4",
  },
  DATABASE_URL: {
    default: "embedded PostgreSQL",
    about: "`postgres://user:password@host:5432/database`, PostgreSQL 15 or newer",
    secret: true,
  },
  DATABASE_PASSWORD: {
    default: "no password",
    about: "the password for `DATABASE_URL` when that has none",
    secret: true,
  },
  DATA_DIR: { default: "./data", about: "where the embedded PostgreSQL keeps everything" },
  SESSION_SECRET: {
    default: "made at the first start and kept",
    about: "signs the session cookies, 32 characters or more; a list (commas or lines): the first signs, all are taken",
    secret: true,
  },
  BUS: {
    default: "postgres",
    about:
      "what carries events between pods: the database, or `valkey://host:6379` (`redis://`; TLS: `valkeys://`, `rediss://`)",
    secret: true,
  },
  BUS_PASSWORD: { default: "no password", about: "the password for `BUS` when that has none", secret: true },
  SIGNUP: {
    default: "open",
    about: "who may make an account: anybody (`open`), who has a link (`invite`), nobody (`closed`)",
  },
  RATE_LIMIT: { default: "on", about: "`off` for benchmarks only: none of the limits below holds" },
  LIMIT_SENDS: { default: "5/s burst 20", about: "messages a person may send" },
  LIMIT_BYTES: { default: "50MB/d", about: "text a person may send in a day (UTC)" },
  LIMIT_TYPING: { default: "2/s burst 10", about: "how often a person's typing is told, to all peers together" },
  LIMIT_WATCH: { default: "1/s burst 20", about: "lists of people to watch, for each person" },
  LIMIT_FRAMES: { default: "50/s burst 200", about: "frames of any kind, for each socket" },
  LIMIT_SOCKETS: { default: "10", about: "sockets (tabs, devices) a person may have open (1–1000)" },
  LIMIT_SIGNUPS: { default: "30/h", about: "sign-ups from one address" },
  LIMIT_LOGINS: { default: "10/15m", about: "failed logins with one name from one address" },
  LIMIT_LOGINS_NAME: { default: "50/15m", about: "failed logins with one name" },
  LIMIT_LOGINS_ADDRESS: {
    default: "100/15m",
    about: "failed logins from one address, and sign-ups with a name that is taken",
  },
  LIMIT_SIGNINS: { default: "100/15m", about: "successful logins to one account" },
  LIMIT_SIGNINS_ADDRESS: { default: "500/15m", about: "successful logins from one address" },
  LIMIT_SEARCHES: { default: "5/s burst 30", about: "searches for people, for each person" },
  LIMIT_HISTORY: { default: "20/s burst 200", about: "requests for messages and conversations, for each person" },
  LIMIT_DRAFTS: { default: "5/s burst 30", about: "drafts a person may have kept" },
  LIMIT_ACCOUNT: {
    default: "1/s burst 30",
    about: "changes of settings, blocks, mutes and sessions, and exports, for each person",
  },
  TRUST_PROXY: {
    default: "off",
    about:
      "who is believed about `X-Forwarded-For`, `-Proto` and `-Host`: `on` is the one proxy in front, else addresses and networks of proxies, as in `10.42.0.0/16, fd00:42::/32`",
  },
  ALLOWED_ORIGINS: {
    default: "same host",
    about: "further pages that may use it: `https://chat.example.org`, separated by commas",
  },
  DRAIN_SECONDS: {
    default: "0",
    about: "how long to go on serving after SIGTERM, for a load balancer to notice (0–20)",
  },
  UNSENT_MAX: {
    default: "a quarter of the memory limit, at most 128MB",
    about: "data held for clients that do not read it, all together; beyond it the client stalled longest is cut",
  },
  LOG_LEVEL: { default: "info", about: "`debug`, `info`, `warn` or `error`" },
  LOG_FORMAT: { default: "auto", about: "`text`, `json`, or `auto`: text on a terminal, JSON otherwise" },
  METRICS_TOKEN: {
    default: "`/metrics` answers this machine only",
    about: "the bearer token that `/metrics` asks for",
    secret: true,
  },
  UNSAFE_DATABASE: {
    default: "off",
    about: "`on` to serve from a PostgreSQL that reports `fsync`, `full_page_writes` or `synchronous_commit` off",
  },
} as const satisfies Record<string, { default: string; about: string; secret?: true }>;

const SECRET_MIN = 32;
/** A rotation needs two; each costs forged cookies another HMAC. */
const SECRETS_MAX = 8;

export type SettingName = keyof typeof SETTINGS;

/** Settings that cannot be used. `faults` has a sentence for each. */
export class ConfigError extends Error {
  readonly faults: readonly string[];

  constructor(faults: readonly string[]) {
    super(faults.join("\n"));
    this.name = "ConfigError";
    this.faults = faults;
  }
}

/**
 * Reads the settings.
 *
 * @param env the environment; an empty value counts as absent
 * @throws ConfigError with every fault found
 * @example loadConfig({ PORT: "9000" }).port // 9000
 */
export function loadConfig(env: Record<string, string | undefined>): Config {
  const faults: string[] = [];
  const read = (name: SettingName) => value(name, env, faults);
  const oneOf = <T extends string>(name: SettingName, choices: readonly T[], fallback: T): T => {
    const given = read(name);
    if (given === undefined) return fallback;
    const choice = choices.find((choice) => choice === given.toLowerCase());
    if (choice === undefined)
      faults.push(`${name} must be ${choices.join(" or ")}${"secret" in SETTINGS[name] ? "" : `, got "${given}"`}`);
    return choice ?? fallback;
  };
  const whole = (name: SettingName, least: number, most: number): number => {
    const given = read(name) ?? SETTINGS[name].default;
    const number = /^\d{1,9}$/.test(given) ? Number(given) : Number.NaN;
    if (number >= least && number <= most) return number;
    faults.push(`${name} must be a whole number from ${least} to ${most}, got "${given}"`);
    return least;
  };

  const size = (name: SettingName, least: number): number | undefined => {
    const given = read(name);
    if (given === undefined) return undefined;
    const bytes = readSize(given) ?? 0;
    if (bytes >= least) return bytes;
    faults.push(`${name} must be a size of at least ${least} bytes, such as 128MB or 64MiB, got "${given}"`);
    return undefined;
  };

  const limit = (name: SettingName): Rate => rate(name, read(name) ?? SETTINGS[name].default, faults);

  const config: Config = Object.freeze({
    port: whole("PORT", 0, 65_535),
    host: read("HOST") ?? everyAddress(),
    databaseUrl: databaseUrl(read("DATABASE_URL"), { password: read("DATABASE_PASSWORD"), env, faults }),
    dataDir: read("DATA_DIR") ?? SETTINGS.DATA_DIR.default,
    sessionSecrets: sessionSecrets(read("SESSION_SECRET"), env["NODE_ENV"] === "production", faults),
    bus: withPassword(busAddress(read("BUS"), faults), read("BUS_PASSWORD")),
    signup: oneOf("SIGNUP", ["open", "invite", "closed"], "open"),
    rateLimit: oneOf("RATE_LIMIT", ["on", "off"], "on") === "on",
    limits: {
      sends: limit("LIMIT_SENDS"),
      bytes: bytesADay("LIMIT_BYTES", read("LIMIT_BYTES") ?? SETTINGS.LIMIT_BYTES.default, faults),
      typing: limit("LIMIT_TYPING"),
      watch: limit("LIMIT_WATCH"),
      frames: limit("LIMIT_FRAMES"),
      sockets: whole("LIMIT_SOCKETS", 1, 1_000),
      signUps: limit("LIMIT_SIGNUPS"),
      logins: limit("LIMIT_LOGINS"),
      loginsName: limit("LIMIT_LOGINS_NAME"),
      loginsAddress: limit("LIMIT_LOGINS_ADDRESS"),
      signIns: limit("LIMIT_SIGNINS"),
      signInsAddress: limit("LIMIT_SIGNINS_ADDRESS"),
      searches: limit("LIMIT_SEARCHES"),
      history: limit("LIMIT_HISTORY"),
      drafts: limit("LIMIT_DRAFTS"),
      account: limit("LIMIT_ACCOUNT"),
    },
    trustProxy: proxies(read("TRUST_PROXY"), faults),
    allowedOrigins: origins(read("ALLOWED_ORIGINS"), faults),
    drainSeconds: whole("DRAIN_SECONDS", 0, 20),
    unsentMax: size("UNSENT_MAX", 1_000_000),
    logLevel: oneOf("LOG_LEVEL", ["debug", "info", "warn", "error"], "info"),
    logFormat: oneOf("LOG_FORMAT", ["auto", "text", "json"], "auto"),
    metricsToken: secret("METRICS_TOKEN", read("METRICS_TOKEN"), 16, faults),
    unsafeDatabase: oneOf("UNSAFE_DATABASE", ["on", "off"], "off") === "on",
  });
  if (faults.length > 0) throw new ConfigError(faults);
  return config;
}

function value(name: SettingName, env: Record<string, string | undefined>, faults: string[]): string | undefined {
  const plain = env[name]?.trim() || undefined;
  const file = "secret" in SETTINGS[name] ? env[`${name}_FILE`]?.trim() || undefined : undefined;
  if (file === undefined) return plain;
  if (plain !== undefined) faults.push(`${name} and ${name}_FILE are both set; keep one of them`);
  const content = readable(`${name}_FILE names "${file}"`, file, faults);
  if (content === "") faults.push(`${name}_FILE names "${file}", which is empty`);
  return content || undefined;
}

/** A file's trimmed text; undefined and a fault when it cannot be read. */
function readable(what: string, file: string, faults: string[]): string | undefined {
  try {
    return readFileSync(file, "utf8").trim();
  } catch (error) {
    faults.push(`${what}, which cannot be read: ${error instanceof Error ? error.message : error}`);
    return undefined;
  }
}

/** The value itself is never repeated: it holds a password. */
function databaseUrl(
  given: string | undefined,
  {
    password,
    env,
    faults,
  }: { password: string | undefined; env: Record<string, string | undefined>; faults: string[] },
): string | undefined {
  if (given === undefined) return undefined;
  const variables = password === undefined ? env : { ...env, PGPASSWORD: password };
  // WHATWG URL parsers, which other tools use, reject a user without a host: postgres://me@/chat?host=/run/postgresql
  const text = withVariables(withPassword(uriOf(given) ?? given, password), variables).replace(
    /^(\w+:\/\/[^/@]*@)(\/[^?]*\?.*\bhost=)/,
    "$1localhost$2",
  );
  try {
    const { tls } = parseConnectionString(text);
    for (const [name, file] of Object.entries({
      sslrootcert: tls.rootCert,
      sslcrl: tls.revoked,
      sslcert: tls.cert,
      sslkey: tls.key,
    })) {
      if (file !== undefined && file !== "system") readable(`DATABASE_URL names "${file}" in ${name}`, file, faults);
    }
  } catch (error) {
    if (!(error instanceof ConnectionStringError)) throw error;
    faults.push(`DATABASE_URL ${error.message}`);
  }
  return text;
}

/** As `databaseUrl`, never repeated. */
function busAddress(given: string | undefined, faults: string[]): string {
  if (given === undefined || given.toLowerCase() === "postgres") return "postgres";
  const url = URL.parse(given);
  if (/^\w+:\/\/[^@/?#]*[/?#].*@/s.test(given)) {
    faults.push("BUS cannot be read: encode # / ? in the password as %23 %2F %3F");
  } else if (!url || !/^(redis|valkey)s?:$/.test(url.protocol) || url.hostname === "") {
    faults.push("BUS must be postgres, or look like valkey://user:password@host:6379 (valkeys:// with TLS)");
  } else if (!/^\/?\d*$/.test(url.pathname)) {
    faults.push("BUS must end with a database number or none, as in valkey://host:6379/0");
  } else if (/%(?![\da-f]{2})/i.test(given)) {
    faults.push("BUS holds a bare %: write it as %25");
  }
  return given;
}

/** An address with a password of its own keeps it. */
function withPassword<T extends string | undefined>(address: T, password: string | undefined): T | string {
  const url = address === undefined || password === undefined ? null : URL.parse(address);
  if (!url?.host || url.password !== "") return address;
  url.password = encodeURIComponent(password as string);
  return url.href;
}

function secret(name: SettingName, given: string | undefined, least: number, faults: string[]): string | undefined {
  if (given !== undefined && given.length < least) {
    faults.push(
      `${name} must have at least ${least} characters, got ${given.length}; openssl rand -hex 32 makes a good one`,
    );
  }
  return given;
}

function sessionSecrets(
  given: string | undefined,
  production: boolean,
  faults: string[],
): readonly string[] | undefined {
  if (given === undefined) return undefined;
  const secrets = secretsOf(given);
  for (const [i, one] of secrets.entries()) {
    const which = secrets.length === 1 ? "SESSION_SECRET" : `SESSION_SECRET (${i + 1} of ${secrets.length})`;
    if (one.length < SECRET_MIN) {
      faults.push(
        `${which} must have at least ${SECRET_MIN} characters, got ${one.length}; commas and spaces separate secrets; ` +
          "openssl rand -hex 32 makes a good one",
      );
    } else if (production && isGuessable(one)) {
      faults.push(
        `${which} looks like a placeholder: whoever guesses it can sign in as anybody; ` +
          "openssl rand -hex 32 makes a good one, and without the setting chatify makes one and keeps it",
      );
    }
  }
  if (secrets.length === 0) faults.push("SESSION_SECRET holds no secret, only separators");
  if (secrets.length > SECRETS_MAX) {
    faults.push(`SESSION_SECRET must list at most ${SECRETS_MAX} secrets, got ${secrets.length}`);
  }
  return secrets;
}

/** The secrets of a list: commas, spaces and newlines separate them. */
export function secretsOf(list: string): string[] {
  return list.split(/[\s,]+/).filter(Boolean);
}

/** What examples and templates put where a secret belongs. */
const PLACEHOLDERS =
  /change.?(me|it|this)|place.?holder|example|default|replace|insert|secret|password|your[-_.]|x{6}|0123456789|9876543210|abcdefgh|qwerty/i;

/**
 * Whether a secret looks like one that somebody else knows: words of an example, a row of keys, a short pattern again and again, hardly any different
 * characters. A random one of 32 hexadecimal digits has fewer than eight different ones once in 27 million.
 */
export function isGuessable(secret: string): boolean {
  if (PLACEHOLDERS.test(secret) || new Set(secret).size < 8) return true;
  for (let period = 1; period <= secret.length / 2; period++) {
    if (secret.slice(period) === secret.slice(0, -period)) return true;
  }
  return false;
}

/** `5/s burst 20`: twenty at once and five a second from then on; without `burst`, as many at once as in the time. */
function rate(name: SettingName, given: string, faults: string[]): Rate {
  const form = /^([1-9]\d{0,6}) ?\/ ?([1-9]\d{0,3})?([smh])(?: +burst +([1-9]\d{0,6}))?$/i;
  const [, count = "", units = "1", unit = "", burst = count] = form.exec(given) ?? [];
  if (count === "") faults.push(`${name} must look like 5/s, 30/h or 10/15m, or 5/s burst 20, got "${given}"`);
  const seconds = { s: 1, m: 60, h: 3_600 }[unit.toLowerCase()] ?? 1;
  return { burst: Number(burst), perSecond: Number(count) / (Number(units) * seconds) };
}

/** `50MB/d`; the `/d` may be left out. */
function bytesADay(name: SettingName, given: string, faults: string[]): number {
  const bytes = readSize(given.replace(/ ?\/ ?d$/i, "")) ?? 0;
  if (bytes === 0) faults.push(`${name} must look like 50MB/d, 500kB/d or 2GiB/d, got "${given}"`);
  return bytes;
}

function proxies(given: string | undefined, faults: string[]): Config["trustProxy"] {
  const word = given?.toLowerCase() ?? "off";
  if (word === "on" || word === "off") return word;
  const parts = word.split(",").map((part) => part.trim());
  for (const part of parts.filter((part) => !isNetwork(part))) {
    faults.push(
      `TRUST_PROXY must be on, off, or a list of the proxies' addresses and networks such as 10.0.0.0/8, got "${part}"`,
    );
  }
  return parts;
}

function origins(given: string | undefined, faults: string[]): readonly string[] | undefined {
  if (given === undefined) return undefined;
  return given.split(",").map((part) => {
    const origin = part.trim().replace(/\/$/, "");
    const url = URL.parse(origin);
    if (!url || !/^https?:$/.test(url.protocol) || url.origin !== origin.toLowerCase()) {
      const shown = part.trim().replace(/\/\/[^/]*@/, "//…@"); // a password would be a secret
      faults.push(`ALLOWED_ORIGINS must list addresses such as https://chat.example.org, got "${shown}"`);
    }
    return origin.toLowerCase();
  });
}
