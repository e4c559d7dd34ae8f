/**
 * Connects to PostgreSQL. The only file that imports the driver: configures it, converts types,
 * adds deadlines. Serving code uses `Database`, which adds retries.
 */

import { Socket } from "node:net";

import postgres from "postgres";

import { type ConnectionSettings, parseConnectionString } from "../util/connection_string.ts";
import { withTimeout } from "../util/timeout.ts";
import { codeOf, isFatal } from "./failures.ts";
import { Sockets } from "./server_socket.ts";

/*
 * Once in some thousand closed connections, the driver removes its listeners from a socket before
 * the last error (`write after end`), and an unhandled error event ends the process.
 */
const emit = Reflect.get(Socket.prototype, "emit") as (...event: unknown[]) => boolean;
Object.assign(Socket.prototype, {
  emit(this: Socket, ...event: unknown[]): boolean {
    return event[0] === "error" && this.listenerCount("error") === 0 ? false : emit.apply(this, event);
  },
});

/** How to reach PostgreSQL: a `postgres://` URL, or a socket directory (`host`) and credentials. */
export type Target = string | { host: string; port: number; username: string; password: string; database: string };
/** Runs queries: a pool, or a transaction of a migration. */
export type Sql = postgres.ISql<{ bigint: number; instant: string }>;
/** A fragment of a query. */
export type Fragment = postgres.PendingQuery<postgres.Row[]>;
/** A pool, to be ended by its creator. */
export type Client = postgres.Sql<{ bigint: number; instant: string }>;

/**
 * PostgreSQL cancels a statement after 5 s (`statement_timeout`), so no reply arrives after 6 s.
 */
const DEADLINE_MS = 6_000;

interface ConnectOptions {
  readonly name: string;
  readonly max?: number;
  readonly parameters?: Record<string, string | number>;
  readonly onnotice?: () => void;
  readonly onclose?: () => void;
  readonly onnotify?: (channel: string, payload: string) => void;
}

/**
 * Opens a pool without retries. Ids and counts arrive as numbers (exact up to 2^53), instants as
 * ISO 8601 text in UTC with microseconds. No JIT: PostgreSQL 15 took seconds to compile
 * `mark_read`.
 *
 * @param options.name `application_name`, by which pods recognize each other's sessions
 * @param options.max connections at most
 * @param options.parameters further session parameters, such as `statement_timeout` in ms
 * @param options.onclose called when a connection closes
 * @param options.onnotify called with each notification on channels that a connection listens to
 */
export function connect(target: Target, options: ConnectOptions): Client {
  return connectTo(settingsOf(target), options);
}

function connectTo(settings: ConnectionSettings, options: ConnectOptions): Client {
  const sockets = new Sockets({ settings, isPrimary: (server) => isPrimary({ ...settings, servers: [server] }) });
  const given: object = {
    host: settings.servers.map(({ name }) => name || "localhost").slice(0, 1), // only shown in its errors
    port: settings.servers.map(({ port }) => port).slice(0, 1),
    user: settings.user,
    pass: () => settings.password, // a function, since the driver replaces an empty string with PGPASSWORD
    database: settings.database,
    socket: sockets.open,
    max: options.max ?? 1,
    onnotice: options.onnotice ?? (() => {}),
    ...(options.onclose && { onclose: options.onclose }),
    ...(options.onnotify && { onnotify: options.onnotify }), // read by the driver's 3.4.9, missing in its types
    connection: { ...settings.session, application_name: options.name, ...SESSION, ...asStrings(options.parameters) },
    types: {
      bigint: { to: 20, from: [20], serialize: String, parse: Number },
      instant: { to: 1184, from: [1184], serialize: String, parse: isoInstant },
      texts: { to: 1009, from: [1009], serialize: textArray, parse: String },
      bigints: { to: 1016, from: [1016], serialize: (numbers: number[]) => `{${numbers.join(",")}}`, parse: String },
    },
    ...DRIVER,
    keep_alive: settings.keepAliveSeconds,
  };
  // Otherwise the driver reads PGTARGETSESSIONATTRS and throws on some of libpq's values. It
  // accepts its own parsed options unchanged.
  const parsed: object = postgres({ ...given, target_session_attrs: "primary" }).options;
  const client = postgres({ ...parsed, target_session_attrs: undefined }) as unknown as Client;
  const end = client.end.bind(client);
  return Object.assign(client, { end: (how?: { timeout?: number }) => end(how).finally(() => sockets.close()) });
}

/** All options that the driver would otherwise read from the environment. */
const DRIVER = {
  ssl: false, // done by `ServerSocket`
  sslnegotiation: null,
  connect_timeout: 0, // done by `ServerSocket`
  idle_timeout: null,
  max_lifetime: null, // connections are replaced only when they break
  max_pipeline: 100,
  backoff: (retries: number) => (0.5 + Math.random() / 2) * Math.min(3 ** retries / 100, 20), // the driver's default
  prepare: true,
  debug: false,
  publications: "alltables",
  // Otherwise the driver queries array types on each new connection, and if that connection breaks,
  // the unhandled rejection ends the process. The two array types we send are defined above.
  fetch_types: false,
} as const;

/**
 * Settings that every session relies on; they override those of the server, database, role and
 * connection string. Strings, since the driver omits a 0.
 */
const SESSION = {
  TimeZone: "UTC",
  DateStyle: "ISO",
  standard_conforming_strings: "on",
  default_transaction_isolation: "read committed",
  jit: "off",
  statement_timeout: "0",
  lock_timeout: "0",
  idle_in_transaction_session_timeout: "0",
  idle_session_timeout: "0", // the listening session is idle while the chat is quiet
} as const;

function asStrings(parameters: Record<string, string | number> = {}): Record<string, string> {
  return Object.fromEntries(Object.entries(parameters).map(([name, value]) => [name, String(value)]));
}

/** Connection settings of a target. @throws ConnectionStringError */
export function settingsOf(target: Target): ConnectionSettings {
  if (typeof target === "string") return parseConnectionString(target);
  const { host, port, username, password, database } = target;
  return { ...EMBEDDED, servers: [{ name: host, port }], user: username, password, database };
}

const EMBEDDED = parseConnectionString("postgres://chatify@/chatify?sslmode=disable");

/**
 * Whether a server accepts writes. As in libpq, a server that rejects the session counts as
 * primary, so that its error is reported and no other server receives the password, unless it is
 * still starting.
 */
async function isPrimary(settings: ConnectionSettings): Promise<boolean> {
  const client = connectTo(settings, { name: "chatify-primary" });
  try {
    const [row] = await client<[{ writes: boolean }]>`select not pg_is_in_recovery() as writes`;
    return row.writes;
  } catch (error) {
    if (isFatal(error) && codeOf(error) !== "57P03") return true;
    throw error;
  } finally {
    await client.end({ timeout: 0 });
  }
}

/**
 * Listens to a channel over a dedicated connection. `ready` resolves once all further notifications
 * are received. The driver's own `listen` reports no closed connection, and stays silent forever if
 * its second attempt fails.
 *
 * @param options.received called with each payload
 * @param options.closed called when the connection closes; it is not reopened
 */
export function listen(
  target: Target,
  options: { name: string; channel: string; received(payload: string): void; closed(): void },
): { readonly ready: Promise<unknown>; end(): Promise<void> } {
  const { name, channel, received, closed } = options;
  const client = connect(target, { name, onclose: closed, onnotify: (_, payload) => received(payload) });
  return { ready: client.unsafe(`listen "${channel}"`).execute(), end: () => client.end({ timeout: 0 }) };
}

/** Notifies a channel of several payloads in order, in one statement. */
export async function notify(client: Client, channel: string, payloads: readonly string[]): Promise<void> {
  const calls = payloads.map((_, i) => `pg_notify($1, $${i + 2})`); // one prepared statement per number of payloads
  await client.unsafe(`select ${calls.join(", ")}`, [channel, ...payloads], { prepare: true });
}

/**
 * PostgreSQL's `2026-11-22 18:30:00.5+00` as `2026-11-22T18:30:00.500000Z`: always six digits, so
 * that lexical order is chronological. Does not use `Date`, which would drop the microseconds.
 */
function isoInstant(text: string): string {
  if (!text.endsWith("+00")) return text; // infinity
  const point = text.indexOf(".");
  const fraction = point < 0 ? "" : text.slice(point + 1, -3);
  return `${text.slice(0, 10)}T${text.slice(11, 19)}.${fraction.padEnd(6, "0")}Z`;
}

const LEAVING_MS = 2_000;

/** Encodes `text[]` (manual §8.15.6): each element quoted, with quotes and backslashes escaped. */
function textArray(texts: readonly string[]): string {
  const quoted = texts.map((text) => (/["\\]/.test(text) ? `"${text.replace(/["\\]/g, "\\$&")}"` : `"${text}"`));
  return `{${quoted.join(",")}}`;
}

/**
 * Counts connections until there are none, for at most 2 s: PostgreSQL still lists a connection for
 * a moment after its client has exited.
 *
 * @returns the last count
 */
export async function remainingConnections(count: () => Promise<number>): Promise<number> {
  for (const startedAt = performance.now(); ; await Bun.sleep(50)) {
    const left = await count();
    if (left === 0 || performance.now() - startedAt > LEAVING_MS) return left;
  }
}

/**
 * Resolves like `answer`, or rejects with the code `DEADLINE`. The driver itself would wait forever
 * for a host that drops packets or closes every connection without a reply.
 */
export function withDeadline<T>(answer: PromiseLike<T>): Promise<T> {
  return withTimeout(answer, DEADLINE_MS, () =>
    Object.assign(new Error(`No reply from PostgreSQL within ${DEADLINE_MS} ms`), { code: "DEADLINE" }),
  );
}
