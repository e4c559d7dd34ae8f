/** The settings: one table of what the environment may say, and `loadConfig`, which reports every fault at once. */

import { readFileSync } from "node:fs";

import type { Level } from "./log.ts";

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
  readonly rateLimit: boolean;
  readonly trustProxy: boolean;
  /** Undefined: only pages of the same host. */
  readonly allowedOrigins: readonly string[] | undefined;
  readonly drainSeconds: number;
  readonly logLevel: Level;
  readonly logFormat: "auto" | "text" | "json";
  readonly metricsToken: string | undefined;
  readonly unsafeDatabase: boolean;
}

/** Every setting: its default as a person reads it, what it means, and whether `NAME_FILE` may name a file that holds it. */
export const SETTINGS = {
  PORT: { default: "8000", about: "the port chatify answers on (0: any free one)" },
  HOST: { default: "0.0.0.0", about: "the address it listens at; `127.0.0.1` for this machine only" },
  DATABASE_URL: {
    default: "embedded PostgreSQL",
    about: "`postgres://user:password@host:5432/database`, PostgreSQL 15 or newer",
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
  RATE_LIMIT: { default: "on", about: "`off` for benchmarks only" },
  TRUST_PROXY: {
    default: "off",
    about: "`on` when a proxy you run sets `X-Forwarded-Proto`, `-Host` and `-For`",
  },
  ALLOWED_ORIGINS: {
    default: "same host",
    about: "further pages that may use it: `https://chat.example.org`, separated by commas",
  },
  DRAIN_SECONDS: {
    default: "0",
    about: "how long to go on serving after SIGTERM, for a load balancer to notice (0–20)",
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

  const config: Config = Object.freeze({
    port: whole("PORT", 0, 65_535),
    host: read("HOST") ?? SETTINGS.HOST.default,
    databaseUrl: databaseUrl(read("DATABASE_URL"), faults),
    dataDir: read("DATA_DIR") ?? SETTINGS.DATA_DIR.default,
    sessionSecrets: sessionSecrets(read("SESSION_SECRET"), env["NODE_ENV"] === "production", faults),
    bus: busAddress(read("BUS"), faults),
    rateLimit: oneOf("RATE_LIMIT", ["on", "off"], "on") === "on",
    trustProxy: oneOf("TRUST_PROXY", ["on", "off"], "off") === "on",
    allowedOrigins: origins(read("ALLOWED_ORIGINS"), faults),
    drainSeconds: whole("DRAIN_SECONDS", 0, 20),
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
  try {
    const content = readFileSync(file, "utf8").trim();
    if (content === "") faults.push(`${name}_FILE names "${file}", which is empty`);
    return content || undefined;
  } catch (error) {
    faults.push(
      `${name}_FILE names "${file}", which cannot be read: ${error instanceof Error ? error.message : error}`,
    );
    return undefined;
  }
}

/** The value itself is never repeated: it holds a password. */
function databaseUrl(given: string | undefined, faults: string[]): string | undefined {
  if (given === undefined) return undefined;
  const withHost = given.replace(/^(\w+:\/\/[^/@]*@)\//, "$1localhost/"); // postgres://me@/chatify?host=/run/postgresql is libpq's
  const url = URL.parse(withHost);
  if (!url || !["postgres:", "postgresql:"].includes(url.protocol)) {
    faults.push("DATABASE_URL must look like postgres://user:password@host:5432/database");
  } else if (url.pathname.length < 2) {
    faults.push("DATABASE_URL names no database: add one at the end, as in postgres://user:password@host:5432/chatify");
  } else if (/%(?![\da-f]{2})/i.test(withHost)) {
    faults.push("DATABASE_URL holds a bare %: write it as %25");
  }
  return withHost;
}

/** As `databaseUrl`, never repeated. */
function busAddress(given: string | undefined, faults: string[]): string {
  if (given === undefined || given.toLowerCase() === "postgres") return "postgres";
  const url = URL.parse(given);
  if (!url || !/^(redis|valkey)s?:$/.test(url.protocol) || url.hostname === "") {
    faults.push("BUS must be postgres, or look like valkey://user:password@host:6379 (valkeys:// with TLS)");
  } else if (!/^\/?\d*$/.test(url.pathname)) {
    faults.push("BUS must end with a database number or none, as in valkey://host:6379/0");
  } else if (/%(?![\da-f]{2})/i.test(given)) {
    faults.push("BUS holds a bare %: write it as %25");
  }
  return given;
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

function origins(given: string | undefined, faults: string[]): readonly string[] | undefined {
  if (given === undefined) return undefined;
  return given.split(",").map((part) => {
    const origin = part.trim().replace(/\/$/, "");
    const url = URL.parse(origin);
    if (!url || !/^https?:$/.test(url.protocol) || url.origin !== origin.toLowerCase()) {
      faults.push(`ALLOWED_ORIGINS must list addresses such as https://chat.example.org, got "${part.trim()}"`);
    }
    return origin.toLowerCase();
  });
}
