/**
 * Parses a PostgreSQL connection string as libpq does (manual §34.1). Rejects unsupported options
 * in one sentence that repeats no secret: when a password contains a bare `@` or `/`, any part of
 * the string may belong to it.
 */

import { existsSync, readFileSync } from "node:fs";
import { userInfo } from "node:os";

import {
  ConnectionStringError,
  ENCODE,
  type Name,
  type Parameters,
  partsOf,
  readParameters,
} from "./connection_parameters.ts";

export const SSL_MODES = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] as const;
export type SslMode = (typeof SSL_MODES)[number];

/** A server to try. `name`: a host, an IP address, a socket directory, or "" for libpq's defaults. */
export interface ServerAddress {
  readonly name: string;
  /** Connect to this address instead of resolving the name; certificates still need the name. */
  readonly ip?: string;
  readonly port: number;
}

/** Holds file names, not contents: the next connection uses a renewed certificate. */
export interface TlsSettings {
  readonly mode: SslMode;
  /** TLS from the first byte (PostgreSQL 17). */
  readonly direct: boolean;
  /** A file, or `system` for the CAs the system trusts. */
  readonly rootCert?: string;
  readonly revoked?: string;
  readonly cert?: string;
  readonly key?: string;
  readonly keyPassword?: string;
  readonly sni: boolean;
  readonly minVersion?: TlsVersion;
  readonly maxVersion?: TlsVersion;
}
export type TlsVersion = "TLSv1" | "TLSv1.1" | "TLSv1.2" | "TLSv1.3";

export interface ConnectionSettings {
  /** Tried in this order. */
  readonly servers: readonly ServerAddress[];
  readonly shuffled: boolean;
  readonly user: string;
  readonly password: string;
  readonly database: string;
  readonly tls: TlsSettings;
  /** Per server address. */
  readonly connectTimeoutMs: number;
  /** 0 disables them. */
  readonly keepAliveSeconds: number;
  /** Startup parameters; chatify's own override them. */
  readonly session: Readonly<Record<string, string>>;
}

const DEFAULT_PORT = 5432;
/** Queries fail after 6 s (`db/client.ts`), so slower connections would never be used. */
const CONNECT_TIMEOUT_SECONDS = 5;
/**
 * Parses a connection string: a URI, or libpq's `name=value` pairs.
 *
 * `pg-connection-string` (2.14.1) supports only one host, keeps `%2F` in a database name, decodes
 * `+` to a space, ends the password at the last `@`, and has its own rules for certificates.
 *
 * @throws ConnectionStringError
 * @example parseConnectionString("postgres://ann:x@[::1]/my%20db").database // "my db"
 */
export function parseConnectionString(text: string): ConnectionSettings {
  try {
    return settingsOf(readParameters(text));
  } catch (error) {
    const parts = partsOf(text);
    if (!(error instanceof ConnectionStringError) || !parts) throw error;
    // In u:12?34@db/chat, for example, the invalid parameter 34@db/chat may be part of the
    // password.
    if (parts.after.includes("@")) throw new ConnectionStringError(ENCODE);
    // From `DATABASE_URL=postgres://u:12#34@db/chat` in .env, Bun reads only `postgres://u:12`.
    if (/^[^@[]+:[^@]+$/.test(parts.before) && parts.after === "")
      throw new ConnectionStringError(`${error.message}. In .env a # ends the value: write it as %23`);
    throw error;
  }
}

function settingsOf(parameters: Parameters): ConnectionSettings {
  const { user = systemUser(), dbname } = parameters;
  if (dbname === undefined) {
    throw new ConnectionStringError(
      "names no database: add one at the end, as in postgres://user:password@host:5432/chatify",
    );
  }
  if (user === undefined) {
    throw new ConnectionStringError(
      "names no user, and the user of this process has no name either: write postgres://user@…",
    );
  }
  oneOf(
    parameters,
    "channel_binding",
    ["disable", "prefer"],
    "remove it, and verify the server with sslmode=verify-full",
  );
  oneOf(parameters, "gssencmode", ["disable", "prefer"], "use TLS");
  oneOf(parameters, "min_protocol_version", ["3.0"], "remove it");
  oneOf(parameters, "target_session_attrs", ["any", "read-write", "primary"], "chatify needs the primary");
  const keepAlive = wholeNumber(parameters, "keepalives_idle") ?? 60;
  return {
    servers: serversOf(parameters),
    shuffled: oneOf(parameters, "load_balance_hosts", ["disable", "random"]) === "random",
    user,
    password: parameters.password ?? "",
    database: dbname,
    tls: tlsOf(parameters),
    connectTimeoutMs:
      Math.min(wholeNumber(parameters, "connect_timeout") || CONNECT_TIMEOUT_SECONDS, CONNECT_TIMEOUT_SECONDS) * 1_000,
    keepAliveSeconds: parameters.keepalives === "0" ? 0 : keepAlive,
    session: {
      ...(parameters.options === undefined ? {} : { options: parameters.options }),
      ...(parameters.search_path === undefined ? {} : { search_path: parameters.search_path }),
    },
  };
}

/**
 * The default user, as in libpq: the system's name for the user of this process. Bun's `userInfo`
 * reads only `$USER`, which containers and services do not set.
 */
export function systemUser(): string | undefined {
  const { uid, username } = userInfo();
  const accounts = existsSync("/etc/passwd") ? readFileSync("/etc/passwd", "utf8").split("\n") : [];
  const account = accounts.map((line) => line.split(":")).find(([, , id]) => id === String(uid));
  return account?.[0] ?? (username === "unknown" ? undefined : username);
}

/** Describes the servers, without credentials. */
export function describeServers({ servers }: ConnectionSettings): string {
  return servers
    .map(({ name, port }) => {
      if (name === "") return "on this machine";
      if (name.startsWith("/")) return `in ${name}`;
      return `at ${name.includes(":") ? `[${name}]` : name}:${port}`;
    })
    .join(", ");
}

function serversOf({ host, hostaddr, port }: Parameters): ServerAddress[] {
  const names = host?.split(",") ?? [];
  const ips = hostaddr?.split(",") ?? [];
  const count = Math.max(names.length, ips.length, 1);
  if (names.length > 0 && ips.length > 0 && names.length !== ips.length) {
    throw new ConnectionStringError(
      `lists ${names.length} values in host and ${ips.length} in hostaddr: list the same number in both`,
    );
  }
  const ports = port?.split(",") ?? [""];
  if (ports.length !== 1 && ports.length !== count) {
    throw new ConnectionStringError(
      `lists ${ports.length} ports for ${count} hosts: give one for all, or one for each`,
    );
  }
  return Array.from({ length: count }, (_, i) => {
    const given = (ports.length === 1 ? ports[0] : ports[i]) || String(DEFAULT_PORT);
    const number = /^\d{1,5}$/.test(given) ? Number(given) : 0;
    if (number < 1 || number > 65_535)
      throw new ConnectionStringError("has a port that is not a number from 1 to 65535");
    const [name = "", ip] = [names[i] || ips[i], ips[i]];
    if (name.startsWith("@"))
      throw new ConnectionStringError(
        "uses an abstract socket, which chatify does not support: name a socket directory or a host",
      );
    return { name, port: number, ...(ip ? { ip } : {}) };
  });
}

function tlsOf(parameters: Parameters): TlsSettings {
  const { sslrootcert, sslcrl, sslcert, sslkey, sslpassword } = parameters;
  const mode = oneOf(parameters, "sslmode", SSL_MODES) ?? (sslrootcert === "system" ? "verify-full" : "prefer");
  if (sslrootcert === "system" && mode !== "verify-full") {
    throw new ConnectionStringError("sets sslrootcert=system, which requires sslmode=verify-full");
  }
  if (mode === "verify-ca" && !sslrootcert) {
    throw new ConnectionStringError(
      "sets sslmode=verify-ca, which requires sslrootcert, the certificate file of the CA; sslmode=verify-full can use the CAs the system trusts",
    );
  }
  const direct = oneOf(parameters, "sslnegotiation", ["postgres", "direct"]) === "direct";
  if (direct && !["require", "verify-ca", "verify-full"].includes(mode)) {
    throw new ConnectionStringError("sets sslnegotiation=direct, which requires sslmode=require or stricter");
  }
  if (!sslcert !== !sslkey) throw new ConnectionStringError("must set both sslcert and sslkey, or neither");
  const sendsCertificate = oneOf(parameters, "sslcertmode", ["disable", "allow"], "remove it") !== "disable";
  const versions = ["TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"] as const;
  const minVersion = oneOf(parameters, "ssl_min_protocol_version", versions);
  const maxVersion = oneOf(parameters, "ssl_max_protocol_version", versions);
  return {
    mode,
    direct,
    sni: parameters.sslsni !== "0",
    ...(sslrootcert ? { rootCert: sslrootcert } : {}),
    ...(sslcrl ? { revoked: sslcrl } : {}),
    ...(sslcert && sslkey && sendsCertificate ? { cert: sslcert, key: sslkey } : {}),
    ...(sslpassword ? { keyPassword: sslpassword } : {}),
    ...(minVersion ? { minVersion } : {}),
    ...(maxVersion ? { maxVersion } : {}),
  };
}

/**
 * The value of a parameter, which must be one of `choices` when set.
 *
 * @param instead the alternative to other values that libpq supports
 */
function oneOf<T extends string>(
  parameters: Parameters,
  name: Name,
  choices: readonly T[],
  instead?: string,
): T | undefined {
  const given = parameters[name];
  if (!given) return undefined;
  const choice = choices.find((choice) => choice === given);
  if (choice !== undefined) return choice;
  const shown = /^[\w.-]{1,40}$/.test(given) ? `${name}=${given}` : name;
  throw new ConnectionStringError(
    instead === undefined
      ? `sets ${shown}: it must be ${choices.join(", ").replace(/, ([^,]*)$/, " or $1")}`
      : `sets ${shown}, which chatify does not support: ${instead}`,
  );
}

function wholeNumber(parameters: Parameters, name: Name): number | undefined {
  const given = parameters[name]?.trim();
  if (!given) return undefined;
  if (!/^-?\d{1,9}$/.test(given)) throw new ConnectionStringError(`has a ${name} that is not a whole number`);
  return Math.max(0, Number(given));
}
