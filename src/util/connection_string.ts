/**
 * Parses a PostgreSQL connection string as libpq does (manual §34.1). Unsupported options are rejected in one sentence that repeats no
 * secret: when a password contains a bare `@` or `/`, any part of the string may be a piece of it.
 */

import { existsSync, readFileSync } from "node:fs";
import { userInfo } from "node:os";

export const SSL_MODES = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] as const;
export type SslMode = (typeof SSL_MODES)[number];

/** A server to try. `name`: a host name, an IP address, a socket directory, or "" for libpq's default directories. */
export interface ServerAddress {
  readonly name: string;
  /** Connect to this address without resolving the name; the certificate is still checked against the name. */
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

/** An unusable connection string. The message continues a sentence that begins with the name of the setting. */
export class ConnectionStringError extends Error {
  override readonly name = "ConnectionStringError";
}

const DEFAULT_PORT = 5432;
/** Queries fail after 6 s (`db/client.ts`), so a slower connection would never be used. */
const CONNECT_TIMEOUT_SECONDS = 5;
const ENCODE = "cannot be read: encode # / ? @ in the password as %23 %2F %3F %40";
const FORM = "must look like postgres://user:password@host:5432/database";

/** One pair of libpq's other form, `host=db dbname=chat` (manual §34.1.1.1). */
const KEYWORD = /\s*(\w+)\s*=\s*(?:'((?:\\.|[^'\\])*)'|((?!')(?:\\.|[^\s\\])*))/sy;

/** Accepted without effect: chatify sets them itself, or has shorter deadlines of its own. */
const WITHOUT_EFFECT = new Set(
  `application_name fallback_application_name client_encoding timezone datestyle intervalstyle
   statement_timeout lock_timeout idle_session_timeout idle_in_transaction_session_timeout keepalives_interval keepalives_count
   tcp_user_timeout sslcompression krbsrvname gsslib gssdelegation max_protocol_version`.split(/\s+/),
);
/** Supported by libpq but not by the driver, each with an alternative. */
const UNSUPPORTED: Readonly<Record<string, string>> = {
  passfile: "put the password into it, or set DATABASE_PASSWORD",
  service: "write out the settings of the service",
  servicefile: "write out the settings of the service",
  require_auth: "remove it, and allow only scram-sha-256 in pg_hba.conf",
  requirepeer: "remove it",
  sslcrldir: "put the lists into one file and name it in sslcrl",
  sslkeylogfile: "remove it",
  replication: "remove it",
  scram_client_key: "use the password",
  scram_server_key: "use the password",
  oauth_issuer: "use a password",
  oauth_client_id: "use a password",
  oauth_client_secret: "use a password",
  oauth_scope: "use a password",
};
const SUPPORTED = [
  "host",
  "hostaddr",
  "port",
  "user",
  "password",
  "dbname",
  "sslmode",
  "sslnegotiation",
  "sslrootcert",
  "sslcrl",
  "sslcert",
  "sslkey",
  "sslpassword",
  "sslcertmode",
  "sslsni",
  "ssl_min_protocol_version",
  "ssl_max_protocol_version",
  "channel_binding",
  "gssencmode",
  "min_protocol_version",
  "connect_timeout",
  "keepalives",
  "keepalives_idle",
  "target_session_attrs",
  "load_balance_hosts",
  "options",
  "search_path", // not libpq's, but accepted by many drivers
] as const;
type Name = (typeof SUPPORTED)[number];
type Parameters = Partial<Record<Name, string>>;

/** libpq's environment variables for what a connection string omits. All other PG… variables are ignored. */
const VARIABLES: Readonly<Partial<Record<Name | "require_auth", string>>> = {
  host: "PGHOST",
  port: "PGPORT",
  user: "PGUSER",
  password: "PGPASSWORD",
  dbname: "PGDATABASE",
  sslmode: "PGSSLMODE",
  sslrootcert: "PGSSLROOTCERT",
  sslcrl: "PGSSLCRL",
  sslcert: "PGSSLCERT",
  sslkey: "PGSSLKEY",
  channel_binding: "PGCHANNELBINDING",
  require_auth: "PGREQUIREAUTH",
};

/**
 * Parses a connection string: a URI, or libpq's `name=value` pairs.
 *
 * `pg-connection-string` (2.14.1) was not an option: it supports one host, keeps `%2F` in a database name, decodes `+` to a space, ends the
 * password at the last `@`, and has its own rules for certificates.
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
    // As in u:12?34@db/chat, where 34@db/chat is not a parameter: the invalid part may be a piece of the password.
    if (parts.after.includes("@")) throw new ConnectionStringError(ENCODE);
    // As in u:12, which is what Bun reads of DATABASE_URL=postgres://u:12#34@db/chat in .env.
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
      "names no user, and neither has this process's user a name: write postgres://user@…",
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

/** Adds to the string what it omits and libpq's environment variables set. */
export function withVariables(text: string, env: Record<string, string | undefined>): string {
  let named: ReadonlySet<string>;
  try {
    named = new Set(Object.keys(readParameters(text)));
  } catch {
    return text; // parsing it reports the fault
  }
  const added = Object.entries(VARIABLES).flatMap(([name, variable]) => {
    const value = env[variable];
    return value && !named.has(name) ? [`${name}=${encodeURIComponent(value)}`] : [];
  });
  return added.length === 0 ? text : `${text}${text.includes("?") ? "&" : "?"}${added.join("&")}`;
}

/**
 * The default user, as in libpq: the operating system's name for this process's user. Bun's `userInfo` only knows `$USER`, which containers and
 * services do not set.
 */
export function systemUser(): string | undefined {
  const { uid, username } = userInfo();
  const accounts = existsSync("/etc/passwd") ? readFileSync("/etc/passwd", "utf8").split("\n") : [];
  const account = accounts.map((line) => line.split(":")).find(([, , id]) => id === String(uid));
  return account?.[0] ?? (username === "unknown" ? undefined : username);
}

/** The servers in words, without credentials. */
export function describeServers({ servers }: ConnectionSettings): string {
  return servers
    .map(({ name, port }) => {
      if (name === "") return "on this machine";
      if (name.startsWith("/")) return `in ${name}`;
      return `at ${name.includes(":") ? `[${name}]` : name}:${port}`;
    })
    .join(", ");
}

/**
 * A string of `name=value` pairs as a URI: `postgres:///?host=db&dbname=chat`. Any other text is returned unchanged.
 *
 * @returns undefined when the text begins with a pair and something else follows
 */
export function uriOf(text: string): string | undefined {
  if (!/^\s*\w+\s*=/.test(text)) return text;
  const pairs: string[] = [];
  let at = 0;
  while (/\S/.test(text.slice(at))) {
    KEYWORD.lastIndex = at;
    const found = KEYWORD.exec(text);
    if (!found) return undefined;
    const [, name, quoted, bare = ""] = found;
    pairs.push(`${name}=${encodeURIComponent((quoted ?? bare).replace(/\\(.)/gs, "$1"))}`);
    at = KEYWORD.lastIndex;
  }
  return `postgres:///?${pairs.join("&")}`;
}

/** `before`: credentials and hosts; `after`: from the first `/`, `?` or `#` on. */
function partsOf(text: string): { before: string; after: string } | undefined {
  const found = /^postgres(?:ql)?:\/\/([^/?#]*)(.*)$/is.exec(text);
  return found ? { before: found[1] ?? "", after: found[2] ?? "" } : undefined;
}

/** All parts under libpq's names; query parameters override the parts before the `?`. */
function readParameters(text: string): Parameters {
  const parts = partsOf(uriOf(text) ?? "");
  if (!parts) throw new ConnectionStringError(unlike(text));
  const { before, after } = parts;
  const [path = "", ...query] = after.split("?");
  if (before.split("@").length > 2 || after.startsWith("#") || path.includes("@"))
    throw new ConnectionStringError(ENCODE);
  if (/\s/.test(before + after))
    throw new ConnectionStringError("contains white space: write a space as %20, or remove it");
  if (/%(?![\da-f]{2})/i.test(before + after)) throw new ConnectionStringError("holds a bare %: write it as %25");
  if (/%00/.test(before + after)) throw new ConnectionStringError("contains %00, which PostgreSQL does not accept");
  const at = before.indexOf("@");
  const [, user = "", password = ""] = /^([^:]*):?(.*)$/s.exec(before.slice(0, Math.max(at, 0))) as RegExpExecArray;
  const given = {
    user: decoded(user),
    password: decoded(password),
    ...hostsAndPorts(before.slice(at + 1)),
    dbname: decoded(path.slice(1)),
  };
  const all = Object.entries({ ...given, ...readQuery(query.join("?")) });
  return Object.fromEntries(all.filter(([, value]) => value !== "")) as Parameters; // libpq, too, takes an empty value for none
}

/** What is wrong with a text that is no connection string. Repeats its scheme at most. */
function unlike(text: string): string {
  if (/^["'`\u2018-\u201f]/.test(text)) return "begins with a quotation mark: remove the quotation marks around it";
  const [scheme] = /^(?:jdbc:)?[a-z][a-z\d+.-]{0,30}:\/\//i.exec(text) ?? [];
  return scheme === undefined ? FORM : `begins with ${scheme}, but ${FORM}`;
}

/** `[::1]:5433,db` as libpq's comma-separated lists. */
function hostsAndPorts(text: string): { host: string; port: string } {
  const parts = text.split(",").map((part) => {
    const found = /^(?:\[([^\]]+)\]|([^:[\]]*))(?::(\d*))?$/.exec(part);
    if (!found) {
      throw new ConnectionStringError(`has an invalid host or port: it ${FORM}, with an IPv6 address in [ ]`);
    }
    return { host: decoded(found[1] ?? found[2] ?? ""), port: found[3] ?? "" };
  });
  return { host: listOf(parts.map(({ host }) => host)), port: listOf(parts.map(({ port }) => port)) };
}

function listOf(values: readonly string[]): string {
  return values.every((value) => value === "") ? "" : values.join(",");
}

function readQuery(query: string): Parameters {
  const parameters: Parameters = {};
  for (const part of query === "" ? [] : query.replace(/&$/, "").split("&")) {
    const equals = part.indexOf("=");
    const [name, value] = [decoded(part.slice(0, Math.max(equals, 0))), decoded(part.slice(equals + 1))];
    if (equals < 1) throw new ConnectionStringError("has a parameter without a value: write name=value");
    if (name === "ssl" && value === "true")
      parameters.sslmode ??= "require"; // JDBC's spelling, which libpq accepts
    else if (isSupported(name)) {
      parameters[name] = value;
    } else if (Object.hasOwn(UNSUPPORTED, name)) {
      throw new ConnectionStringError(`sets ${name}, which chatify does not support: ${UNSUPPORTED[name]}`);
    } else if (!WITHOUT_EFFECT.has(name.toLowerCase())) {
      const shown = /^[\w.]{1,40}$/.test(name) ? ` "${name}"` : "";
      throw new ConnectionStringError(
        `has an unknown parameter${shown}; pass server settings as options=-c%20name%3Dvalue`,
      );
    }
  }
  return parameters;
}

function isSupported(name: string): name is Name {
  return (SUPPORTED as readonly string[]).includes(name);
}

/** Decodes percent-encoding only; libpq does not read `+` as a space. */
function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw new ConnectionStringError("contains percent-encoded bytes that are not UTF-8");
  }
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
  const sends = oneOf(parameters, "sslcertmode", ["disable", "allow"], "remove it") !== "disable";
  const versions = ["TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"] as const;
  const minVersion = oneOf(parameters, "ssl_min_protocol_version", versions);
  const maxVersion = oneOf(parameters, "ssl_max_protocol_version", versions);
  return {
    mode,
    direct,
    sni: parameters.sslsni !== "0",
    ...(sslrootcert ? { rootCert: sslrootcert } : {}),
    ...(sslcrl ? { revoked: sslcrl } : {}),
    ...(sslcert && sslkey && sends ? { cert: sslcert, key: sslkey } : {}),
    ...(sslpassword ? { keyPassword: sslpassword } : {}),
    ...(minVersion ? { minVersion } : {}),
    ...(maxVersion ? { maxVersion } : {}),
  };
}

/** The value of a parameter that must be one of `choices` when set. @param instead the alternative to other values, which libpq supports */
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
