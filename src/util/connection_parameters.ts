/** Reads the parameters of a PostgreSQL connection string: a URI, or libpq's `name=value` pairs. */

/** An unusable connection string. The message continues a sentence that begins with the setting. */
export class ConnectionStringError extends Error {
  override readonly name = "ConnectionStringError";
}

export const ENCODE = "cannot be read: encode # / ? @ in the password as %23 %2F %3F %40";
const FORM = "must look like postgres://user:password@host:5432/database";

/** One pair of libpq's other form, `host=db dbname=chat` (manual §34.1.1.1). */
const KEYWORD = /\s*(\w+)\s*=\s*(?:'((?:\\.|[^'\\])*)'|((?!')(?:\\.|[^\s\\])*))/sy;

/** Accepted without effect: chatify sets them itself, or has shorter timeouts. */
const WITHOUT_EFFECT = new Set(
  `application_name fallback_application_name client_encoding timezone datestyle intervalstyle
   statement_timeout lock_timeout idle_session_timeout idle_in_transaction_session_timeout keepalives_interval keepalives_count
   tcp_user_timeout sslcompression krbsrvname gsslib gssdelegation max_protocol_version`.split(/\s+/),
);
/** Supported by libpq but not by the driver, with an alternative. */
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
export type Name = (typeof SUPPORTED)[number];
/** Under libpq's names. */
export type Parameters = Partial<Record<Name, string>>;

/** libpq's environment variables for omitted parameters. All other PG… variables are ignored. */
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

/** Adds the parameters that the string omits and libpq's environment variables set. */
export function withVariables(text: string, env: Record<string, string | undefined>): string {
  let named: ReadonlySet<string>;
  try {
    named = new Set(Object.keys(readParameters(text)));
  } catch {
    return text; // parsing reports the error
  }
  const added = Object.entries(VARIABLES).flatMap(([name, variable]) => {
    const value = env[variable];
    return value && !named.has(name) ? [`${name}=${encodeURIComponent(value)}`] : [];
  });
  return added.length === 0 ? text : `${text}${text.includes("?") ? "&" : "?"}${added.join("&")}`;
}

/**
 * Converts `name=value` pairs to a URI such as `postgres:///?host=db&dbname=chat`; returns any
 * other text unchanged.
 *
 * @returns undefined when something else follows the first pairs
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
export function partsOf(text: string): { before: string; after: string } | undefined {
  const found = /^postgres(?:ql)?:\/\/([^/?#]*)(.*)$/is.exec(text);
  return found ? { before: found[1] ?? "", after: found[2] ?? "" } : undefined;
}

/** All parts under libpq's names; query parameters override the parts before the `?`. */
export function readParameters(text: string): Parameters {
  const parts = partsOf(uriOf(text) ?? "");
  if (!parts) throw new ConnectionStringError(describeUnreadable(text));
  const { before, after } = parts;
  const [path = "", ...query] = after.split("?");
  if (before.split("@").length > 2 || after.startsWith("#") || path.includes("@"))
    throw new ConnectionStringError(ENCODE);
  if (/\s/.test(before + after))
    throw new ConnectionStringError("contains white space: write a space as %20, or remove it");
  if (/%(?![\da-f]{2})/i.test(before + after)) throw new ConnectionStringError("contains a bare %: write it as %25");
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
  return Object.fromEntries(all.filter(([, value]) => value !== "")) as Parameters; // as libpq, treats empty values as absent
}

/** Why a text is not a connection string. Repeats at most its scheme. */
function describeUnreadable(text: string): string {
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
