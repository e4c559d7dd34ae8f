/**
 * Parses the values of settings. A reader returns a value, or reports in a sentence why the setting
 * is invalid.
 */

import { readFileSync } from "node:fs";

import { isNetwork } from "./util/address.ts";
import { ConnectionStringError, uriOf, withVariables } from "./util/connection_parameters.ts";
import { parseConnectionString } from "./util/connection_string.ts";
import type { Rate } from "./util/rate_limit.ts";
import { readSize } from "./util/size.ts";

/** The input of a reader. */
export interface Reading {
  readonly name: string;
  /** Undefined when the setting is absent. */
  readonly given: string | undefined;
  /** The default, as shown in the documentation. */
  readonly fallback: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** The value of another setting that this one needs. */
  readonly other: (name: string) => string | undefined;
  /** Reports in a sentence why a value is invalid. */
  readonly fault: (sentence: string) => void;
}

export type Reader<Value> = (reading: Reading) => Value;

const SECRET_MIN = 32;
/** A rotation needs two; each adds an HMAC to the check of a forged cookie. */
const SECRETS_MAX = 8;

/** Any text. @param absent returns the default */
export function text(absent: () => string): Reader<string> {
  return ({ given }) => given ?? absent();
}

/** One of the given words, ignoring case. */
export function oneOf<Word extends string>(...words: readonly [Word, Word, ...Word[]]): Reader<Word> {
  return ({ name, given, fallback, fault }) => {
    const word = words.find((word) => word === (given ?? fallback).toLowerCase());
    if (word === undefined) fault(`${name} must be ${listed(words)}, got "${given}"`);
    return word ?? words[0];
  };
}

function listed(words: readonly string[]): string {
  return words.join(", ").replace(/, ([^,]*)$/, " or $1");
}

const onOff = oneOf("on", "off");
export const onOrOff: Reader<boolean> = (reading) => onOff(reading) === "on";

export function wholeNumber(least: number, most: number): Reader<number> {
  return ({ name, given, fallback, fault }) => {
    const digits = given ?? fallback;
    const number = /^\d{1,9}$/.test(digits) ? Number(digits) : Number.NaN;
    if (number >= least && number <= most) return number;
    fault(`${name} must be a whole number from ${least} to ${most}, got "${digits}"`);
    return least;
  };
}

/** A size in bytes. @param least minimum in bytes */
export function size(least: number): Reader<number | undefined> {
  return ({ name, given, fault }) => {
    if (given === undefined) return undefined;
    const bytes = readSize(given) ?? 0;
    if (bytes >= least) return bytes;
    fault(`${name} must be a size of at least ${least} bytes, such as 128MB or 64MiB, got "${given}"`);
    return undefined;
  };
}

/** A size in bytes, within bounds that the documentation names. */
export function sizeBetween(least: number, most: number): Reader<number> {
  return ({ name, given, fallback, fault }) => {
    const bytes = readSize(given ?? fallback) ?? -1;
    if (bytes >= least && bytes <= most) return bytes;
    fault(`${name} must be a size from ${least} to ${most} bytes, such as 25MB or 1GiB, got "${given}"`);
    return least;
  };
}

/** Where files are stored in S3. */
export interface S3Settings {
  readonly bucket: string;
  /** Empty, or ends with a slash. */
  readonly prefix: string;
  readonly endpoint: string | undefined;
  readonly region: string | undefined;
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
}

/** Undefined: in PostgreSQL. */
export const fileStore: Reader<S3Settings | undefined> = ({ given, other, fault }) => {
  if (given === undefined || given.toLowerCase() === "postgres") return undefined;
  const [, bucket, path = ""] = /^s3:\/\/([a-z\d][a-z\d.-]{1,61}[a-z\d])(?:\/([\w./-]{0,200}))?$/.exec(given) ?? [];
  if (bucket === undefined) fault(`FILES must be postgres, or look like s3://bucket/prefix, got "${given}"`);
  const endpoint = other("S3_ENDPOINT");
  const url = URL.parse(endpoint ?? "https://s3.amazonaws.com");
  if (!url || !/^https?:$/.test(url.protocol) || url.username !== "")
    fault("S3_ENDPOINT must look like https://s3.example.org, without keys");
  const accessKeyId = other("S3_ACCESS_KEY_ID");
  const secretAccessKey = other("S3_SECRET_ACCESS_KEY");
  if (accessKeyId === undefined || secretAccessKey === undefined)
    fault("FILES names a bucket, but S3_ACCESS_KEY_ID or S3_SECRET_ACCESS_KEY is not set");
  const prefix = path.replace(/^\/+|\/+$/g, "");
  return {
    bucket: bucket ?? "",
    prefix: prefix === "" ? "" : `${prefix}/`,
    endpoint,
    region: other("S3_REGION"),
    accessKeyId: accessKeyId ?? "",
    secretAccessKey: secretAccessKey ?? "",
  };
};

const UNIT_SECONDS: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3_600, d: 86_400 };

/** `5/s burst 20`: twenty at once, then five a second. Without `burst`, the whole count at once. */
export const rate: Reader<Rate> = ({ name, given, fallback, fault }) => {
  const written = given ?? fallback;
  const form = /^([1-9]\d{0,6}) ?\/ ?([1-9]\d{0,3})?([smh])(?: +burst +([1-9]\d{0,6}))?$/i;
  const [, count = "", units = "1", unit = "", burst = count] = form.exec(written) ?? [];
  if (count === "") fault(`${name} must look like 5/s, 30/h or 10/15m, or 5/s burst 20, got "${written}"`);
  const seconds = UNIT_SECONDS[unit.toLowerCase()] ?? 1;
  return { burst: Number(burst), perSecond: Number(count) / (Number(units) * seconds) };
};

/** `30m`, `24h` or `7d` in seconds; `0` is 0, `unlimited` infinity. */
export const duration: Reader<number> = ({ name, given, fallback, fault }) => {
  const written = (given ?? fallback).toLowerCase();
  if (written === "unlimited") return Number.POSITIVE_INFINITY;
  if (written === "0") return 0;
  const [, count = "", unit = ""] = /^([1-9]\d{0,4}) ?([smhd])$/.exec(written) ?? [];
  if (count === "") fault(`${name} must look like 30m, 24h or 7d, or be 0 or unlimited, got "${written}"`);
  return Number(count) * (UNIT_SECONDS[unit] ?? 1);
};

/** `50MB/d`; the `/d` is optional. */
export const bytesPerDay: Reader<number> = ({ name, given, fallback, fault }) => {
  const written = given ?? fallback;
  const bytes = readSize(written.replace(/ ?\/ ?d$/i, "")) ?? 0;
  if (bytes === 0) fault(`${name} must look like 50MB/d, 500kB/d or 2GiB/d, got "${written}"`);
  return bytes;
};

/** A bearer token. @param least minimum number of characters */
export function token(least: number): Reader<string | undefined> {
  return ({ name, given, fault }) => {
    if (given !== undefined && given.length < least) {
      fault(
        `${name} must have at least ${least} characters, got ${given.length}; openssl rand -hex 32 generates a good one`,
      );
    }
    return given;
  };
}

/** Faults never quote the value, which may contain a password. */
export const databaseUrl: Reader<string | undefined> = ({ given, env, other, fault }) => {
  const password = other("DATABASE_PASSWORD");
  if (given === undefined) return undefined;
  const variables = password === undefined ? env : { ...env, PGPASSWORD: password };
  // WHATWG URL parsers, which other tools use, reject a user without a host:
  // postgres://me@/chat?host=/run/postgresql
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
      if (file !== undefined && file !== "system") readable(`DATABASE_URL names "${file}" in ${name}`, file, fault);
    }
  } catch (error) {
    if (!(error instanceof ConnectionStringError)) throw error;
    fault(`DATABASE_URL ${error.message}`);
  }
  return text;
};

/** As for `databaseUrl`, faults never quote the value. */
export const busAddress: Reader<string> = ({ given, other, fault }) => {
  if (given === undefined || given.toLowerCase() === "postgres") return "postgres";
  const url = URL.parse(given);
  if (/^\w+:\/\/[^@/?#]*[/?#].*@/s.test(given)) {
    fault("BUS is not a valid URL: encode # / ? in the password as %23 %2F %3F");
  } else if (!url || !/^(redis|valkey)s?:$/.test(url.protocol) || url.hostname === "") {
    fault("BUS must be postgres, or look like valkey://user:password@host:6379 (valkeys:// with TLS)");
  } else if (!/^\/?\d*$/.test(url.pathname)) {
    fault("BUS may end with a database number and nothing else, as in valkey://host:6379/0");
  } else if (/%(?![\da-f]{2})/i.test(given)) {
    fault("BUS contains an unencoded %: write it as %25");
  }
  return withPassword(given, other("BUS_PASSWORD"));
};

/** Adds the password to an address that has none. */
function withPassword<T extends string | undefined>(address: T, password: string | undefined): T | string {
  const url = address === undefined || password === undefined ? null : URL.parse(address);
  if (!url?.host || url.password !== "") return address;
  url.password = encodeURIComponent(password as string);
  return url.href;
}

/** The first secret signs, all verify. Undefined: the secret that chatify generates and stores. */
export const sessionSecrets: Reader<readonly string[] | undefined> = ({ given, env, fault }) => {
  const isProduction = env["NODE_ENV"] === "production";
  if (given === undefined) return undefined;
  const secrets = secretsOf(given);
  for (const [i, one] of secrets.entries()) {
    const which = secrets.length === 1 ? "SESSION_SECRET" : `SESSION_SECRET (${i + 1} of ${secrets.length})`;
    if (one.length < SECRET_MIN) {
      fault(
        `${which} must have at least ${SECRET_MIN} characters, got ${one.length}; commas and spaces separate secrets; ` +
          "openssl rand -hex 32 generates a good one",
      );
    } else if (isProduction && isGuessable(one)) {
      fault(
        `${which} looks like a placeholder: anyone who guesses it can sign in as any user; ` +
          "openssl rand -hex 32 generates a good one, or leave it unset and chatify generates and keeps one",
      );
    }
  }
  if (secrets.length === 0) fault("SESSION_SECRET contains only separators");
  if (secrets.length > SECRETS_MAX) {
    fault(`SESSION_SECRET must list at most ${SECRETS_MAX} secrets, got ${secrets.length}`);
  }
  return secrets;
};

/** Splits a list at commas, spaces and newlines. */
export function secretsOf(list: string): string[] {
  return list.split(/[\s,]+/).filter(Boolean);
}

/** Placeholders that examples and templates use for secrets. */
const PLACEHOLDERS =
  /change.?(me|it|this)|place.?holder|example|default|replace|insert|secret|password|your[-_.]|x{6}|0123456789|9876543210|abcdefgh|qwerty/i;

/**
 * Whether a secret is easy to guess: a placeholder, adjacent keys, a repeated pattern, few distinct
 * characters. Of random secrets with 32 hexadecimal digits, one in 27 million has fewer than eight
 * distinct ones.
 */
export function isGuessable(secret: string): boolean {
  if (PLACEHOLDERS.test(secret) || new Set(secret).size < 8) return true;
  for (let period = 1; period <= secret.length / 2; period++) {
    if (secret.slice(period) === secret.slice(0, -period)) return true;
  }
  return false;
}

/**
 * Whose `X-Forwarded-*` headers are trusted: no client's, every client's, or those of the listed
 * addresses and networks.
 */
export const proxies: Reader<"off" | "on" | readonly string[]> = ({ given, fault }) => {
  const word = given?.toLowerCase() ?? "off";
  if (word === "on" || word === "off") return word;
  const parts = word.split(",").map((part) => part.trim());
  for (const part of parts.filter((part) => !isNetwork(part))) {
    fault(
      `TRUST_PROXY must be on, off, or a list of the proxies' addresses and networks such as 10.0.0.0/8, got "${part}"`,
    );
  }
  return parts;
};

/** Undefined: only the own origin. */
export const origins: Reader<readonly string[] | undefined> = ({ given, fault }) => {
  if (given === undefined) return undefined;
  return given.split(",").map((part) => {
    const origin = part.trim().replace(/\/$/, "");
    const url = URL.parse(origin);
    if (!url || !/^https?:$/.test(url.protocol) || url.origin !== origin.toLowerCase()) {
      const shown = part.trim().replace(/\/\/[^/]*@/, "//…@"); // it may contain a password
      fault(`ALLOWED_ORIGINS must list addresses such as https://chat.example.org, got "${shown}"`);
    }
    return origin.toLowerCase();
  });
};

/** The trimmed text of a file; undefined after reporting a fault if it cannot be read. */
export function readable(what: string, file: string, fault: (sentence: string) => void): string | undefined {
  try {
    return readFileSync(file, "utf8").trim();
  } catch (error) {
    fault(`${what}, which cannot be read: ${error instanceof Error ? error.message : error}`);
    return undefined;
  }
}
