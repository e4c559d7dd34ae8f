/** Explains startup failures: PostgreSQL's message, its meaning, a remedy. Repeats no secret. */

import { ChatError } from "../errors.ts";
import { describeServers } from "../util/connection_string.ts";
import { settingsOf, type Target } from "./client.ts";
import { codeOf, isFatal } from "./failures.ts";
import { ConnectionError } from "./tls.ts";

/** An unusable database. The message says why and what to do. */
export class DatabaseError extends Error {
  constructor(message: string, cause?: unknown) {
    super(message, { cause });
    this.name = "DatabaseError";
  }
}

/**
 * Meaning and remedy by SQLSTATE class (manual, appendix A), for codes without their own sentence.
 */
const CLASSES: Readonly<Record<string, string>> = {
  "08": "The server does not speak PostgreSQL's protocol as expected: DATABASE_URL must point to PostgreSQL itself, not to a pooler or another proxy",
  "0A": "The server lacks a feature chatify needs: use PostgreSQL 15 or newer, not a pooler or a compatible product",
  "0P": "A role does not exist: check the user in DATABASE_URL and its settings (\\drds in psql)",
  "22": "A setting has an invalid value: check options in DATABASE_URL and the settings of the role and the database (\\drds in psql)",
  "23": "Rows violate a constraint: fix them, remove columns and constraints that are not chatify's, or restore a backup into a new database",
  "25": "The session cannot write: check options in DATABASE_URL and the settings of the role and the database (\\drds in psql)",
  "26": "A pooler shares sessions between clients: DATABASE_URL must point to PostgreSQL itself",
  "28": "The server rejects this user: check user and password in DATABASE_URL, and pg_hba.conf",
  "3D": "The database is not available: check DATABASE_URL, and that the database exists",
  "3F": "The search_path contains no schema that exists and that this user may use: create it, grant usage on it, or change search_path in DATABASE_URL, of the role or of the database",
  "40": "Conflict with another session: start chatify again",
  "42": "The database is not set up as chatify expects: check options in DATABASE_URL and the settings of the role and the database (\\drds in psql), or give chatify its own database",
  "53": "The server ran out of a resource: free some, or raise the limit",
  "54": "A limit of this server was exceeded: use an unmodified PostgreSQL",
  "55": "The database cannot do this right now: wait for the other operation to finish, then start chatify again",
  "57": "The operation was canceled or timed out: start chatify again, and check PostgreSQL's log if it happens again",
  "58": "The server has a system error: check PostgreSQL's log",
  F0: "The server's configuration is broken: check PostgreSQL's log",
  P0: "A trigger or function that is not part of chatify raised this: remove it, or give chatify its own database",
};
const OTHER_CLASSES = "Check PostgreSQL's log";

/**
 * Sentences for TLS errors, by Node.js's codes. `where`: the server, `own`: the error's message.
 */
const TLS_ERRORS: readonly [RegExp, (where: string, own: string) => string][] = [
  [
    /_ALERT_.*(CA|CERT)/, // an alert is the server's verdict
    (where, own) =>
      `The server ${where} rejected the client certificate (${own}): set sslcert in DATABASE_URL to a valid certificate issued by a CA in its ssl_ca_file`,
  ],
  [
    /_(PROTOCOL_VERSION|UNSUPPORTED_PROTOCOL)$/,
    (where, own) =>
      `The server ${where} and chatify have no TLS version in common (${own}): check ssl_min_protocol_version and ssl_max_protocol_version, on the server and in DATABASE_URL`,
  ],
  [
    /^(CERT_HAS_EXPIRED|CERT_NOT_YET_VALID|CRL_HAS_EXPIRED)$/,
    (where, own) =>
      `The certificate of the server ${where} is not valid now (${own}): renew it, and check this machine's clock`,
  ],
  [
    /^CERT_REVOKED$/,
    (where, own) => `The certificate of the server ${where} was revoked (${own}): install a new one on the server`,
  ],
  [
    /^(ERR_TLS_CERT_ALTNAME_INVALID|HOSTNAME_MISMATCH|IP_ADDRESS_MISMATCH)$/,
    (where, own) =>
      `The certificate of the server ${where} is for another name (${own}): use that name in DATABASE_URL, or verify only the issuer with sslmode=verify-ca`,
  ],
  [
    /CERT|ISSUER|SIGNATURE|CRL/,
    (where, own) =>
      `The certificate of the server ${where} is not trusted (${own}): set sslrootcert in DATABASE_URL to the certificate file of the CA that issued it`,
  ],
];

/**
 * Turns a startup failure into a `DatabaseError` of one sentence. Errors that are not the
 * database's are returned unchanged.
 *
 * @param error the failure, or a `ChatError` caused by it
 */
export function explain(error: unknown, target: Target): unknown {
  const failure = error instanceof ChatError && error.cause !== undefined ? error.cause : error;
  // System error codes also occur with files.
  if (/^E[A-Z]/.test(codeOf(failure)) && !(failure instanceof ConnectionError)) return error;
  const sentence = ofCode(failure, target) ?? ofConnection(failure, target) ?? ofSqlstate(failure, target);
  return sentence === undefined ? error : new DatabaseError(sentence, failure);
}

/** @param what the conflict, in PostgreSQL's words */
export function foreignTables(what: string): string {
  return (
    `This database has tables that are not chatify's (${what}), and nothing was changed. ` +
    "Give chatify its own database: create database chatify encoding 'UTF8' template template0"
  );
}

function ofCode(error: unknown, target: Target): string | undefined {
  const settings = settingsOf(target);
  const where = describeServers(settings);
  const { user, database } = settings;
  const own = messageOf(error);
  const check = "Check DATABASE_URL";
  const timedOut = `The server ${where} did not respond in time. ${check}, and whether a firewall blocks the connection`;
  const pooler = "Poolers such as PgBouncer are not supported: DATABASE_URL must point to PostgreSQL itself";
  const foreign = foreignTables(own);
  const missing = `The database "${database}" lacks objects that chatify created (${own}): restore a backup, or check search_path in DATABASE_URL, of the role and of the database`;
  const sentences: Record<string, string> = {
    ECONNREFUSED: `Nothing is listening ${where}. Is PostgreSQL running there? ${check}`,
    ENOENT: `There is no PostgreSQL socket ${where}. Is the server running? ${check}`,
    ENOTFOUND: `The host name does not exist (${where}). ${check}`,
    EAI_AGAIN: `The host name could not be resolved (${where}): no name server responded. ${check}, and the network`,
    EHOSTUNREACH: `No route to the server ${where}. ${check}, and the network`,
    ENETUNREACH: `No route to the server ${where}. ${check}, and the network`,
    ETIMEDOUT: timedOut,
    CONNECT_TIMEOUT: timedOut,
    DEADLINE: timedOut,
    CONNECTION_CLOSED: `The server ${where} closed the connection. Is it PostgreSQL, and does it accept connections from this host?`,
    ECONNRESET: `The server ${where} closed the connection. Is it PostgreSQL, and does it support TLS if DATABASE_URL requires it?`,
    NO_PRIMARY: `None of the servers ${where} accepts writes: DATABASE_URL must name the primary`,
    AUTHENTICATION: `The server ${where} requires an authentication method that chatify does not support (${own}): allow scram-sha-256 in pg_hba.conf`,
    SASL_SIGNATURE_MISMATCH: `The server ${where} could not prove that it knows the password and may be an impostor. ${check}`,
    TLS_NOT_OFFERED: `The server ${where} does not support TLS, which sslmode=${settings.tls.mode} requires: set ssl = on there, or change sslmode in DATABASE_URL`,
    TLS_FILE: `${own}. ${check}`,
    TLS_FILES: `The certificate and key files in DATABASE_URL cannot be used: ${own}. Do sslcert, sslkey and sslpassword belong together?`,
    "08P01": `The server ${where} reports a protocol violation (${own}). ${pooler}`,
    "25006": `PostgreSQL ${where} is read-only: DATABASE_URL must name the primary and a writable database`,
    "26000": `The server ${where} lost a prepared statement (${own}). ${pooler}`,
    "2BP01": `Other objects depend on the original demo's tables (${detailOf(error)}): drop them, start chatify, then create them again. Nothing was changed`,
    "28P01": `PostgreSQL ${where} rejected the password of "${user}". ${check}`,
    "28000": `PostgreSQL ${where} does not accept connections of "${user}" from this host (${own}). ${check}, and pg_hba.conf`,
    "3D000": `PostgreSQL ${where} has no database "${database}": create it (createdb ${database}), or change DATABASE_URL`,
    "42501": `"${user}" lacks a privilege in the database "${database}" (${own}): make it the owner of the database and of its tables`,
    "42701": foreign,
    "42710": foreign,
    "42703": missing,
    "42723": foreign,
    "42883": missing,
    "42P01": missing,
    "42P05": `The server ${where} shares sessions between clients (${own}). ${pooler}`,
    "42P06": foreign,
    "42P07": foreign,
    "53100": `The disk of PostgreSQL ${where} is full: free some space`,
    "53300": `PostgreSQL ${where} has no free connections (${own}). Raise max_connections or the connection limit of "${user}", or close some`,
    "55P03": "Another session holds a lock that chatify needs: end it, then try again",
    "57P03": `PostgreSQL ${where} is starting or stopping. Try again in a moment`,
  };
  return sentences[codeOf(error)];
}

function ofConnection(error: unknown, target: Target): string | undefined {
  if (!(error instanceof ConnectionError)) return undefined;
  const where = describeServers(settingsOf(target));
  for (const [codes, sentence] of TLS_ERRORS) if (codes.test(error.code)) return sentence(where, messageOf(error));
  return `The connection to the server ${where} failed: ${messageOf(error)} (${error.code}). Check DATABASE_URL, the network and PostgreSQL's log`;
}

function ofSqlstate(error: unknown, target: Target): string | undefined {
  const code = codeOf(error);
  if (!/^[\dA-Z]{5}$/.test(code) || !(error instanceof Error) || !("severity" in error)) return undefined;
  // Data exceptions quote the value, which may be a message once a session has started.
  const own = code.startsWith("22") && !isFatal(error) ? "invalid value" : messageOf(error);
  return `PostgreSQL ${describeServers(settingsOf(target))} reported: ${own} (SQLSTATE ${code}). ${CLASSES[code.slice(0, 2)] ?? OTHER_CLASSES}`;
}

function messageOf(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  return opensslReason(message).replaceAll(/\s*\n\s*/g, ", ");
}

/** Reduces OpenSSL's `error:0b000074:X.509 … routines:OPENSSL_internal:REASON` to `REASON`. */
function opensslReason(message: string): string {
  return message.replace(/^error:[\da-f]+:.*:(\w+)$/is, "$1");
}

/** The objects concerned, which PostgreSQL lists one per line. */
function detailOf(error: unknown): string {
  const detail = error instanceof Error && "detail" in error ? String(error.detail) : messageOf(error);
  return detail.replaceAll("\n", ", ");
}
