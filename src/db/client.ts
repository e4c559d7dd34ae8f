/**
 * The one door to PostgreSQL: the only file that imports `postgres`. `Database.run` puts a deadline on every query and outlives
 * lost connections; `connect` is the bare client for migrations and one-off questions. What the queries say is not decided here.
 */

import { Socket } from "node:net";

import postgres from "postgres";

import { ChatError } from "../errors.ts";
import type { Log } from "../log.ts";
import { type ConnectionSettings, parseConnectionString } from "../util/connection_string.ts";
import { codeOf, hindranceOf, isConflict, isFatal, isHeldUp, isLost, isRefused } from "./failures.ts";
import { Sockets } from "./server_socket.ts";

export { codeOf, isHeldUp, isLost };

/*
 * The driver takes its listeners off a closed socket before that has said its last error (`write after end`, once in some thousand
 * closed connections), and an error nobody listens to ends the process. Nothing but the driver uses these sockets here.
 */
const emit = Reflect.get(Socket.prototype, "emit") as (...event: unknown[]) => boolean;
Object.assign(Socket.prototype, {
  emit(this: Socket, ...event: unknown[]): boolean {
    return event[0] === "error" && this.listenerCount("error") === 0 ? false : emit.apply(this, event);
  },
});

/** Where PostgreSQL answers: a `postgres://` address, or a socket directory (`host`) and its credentials. */
export type Target = string | { host: string; port: number; username: string; password: string; database: string };
/** What queries are written with: a pool, or a transaction of a migration. */
export type Sql = postgres.ISql<{ bigint: number; instant: string }>;
/** A part of a query. */
export type Fragment = postgres.PendingQuery<postgres.Row[]>;
/** A pool of its own, to be ended by whoever connected it. */
export type Client = postgres.Sql<{ bigint: number; instant: string }>;

/** Measured (200–400 rows a batch): the driver answers within milliseconds, so 6 s means it never will. */
const DEADLINE_MS = 6_000;
const GIVE_UP_AFTER_MS = 10_000;

interface ConnectOptions {
  readonly name: string;
  readonly max?: number;
  readonly parameters?: Record<string, string | number>;
  readonly onnotice?: () => void;
  readonly onclose?: () => void;
  readonly onnotify?: (channel: string, payload: string) => void;
}

/**
 * A bare client. Ids and counts arrive as numbers (exact up to 2^53), instants as ISO 8601 text in UTC, microseconds kept.
 *
 * No JIT: PostgreSQL 15 took seconds to compile `mark_read`, whose ruled-out plans it prices at 10^10.
 *
 * @param options.name `application_name`, by which pods know each other's sessions
 * @param options.max connections at most
 * @param options.parameters further session parameters, such as `statement_timeout` in ms
 * @param options.onclose told when a connection closed
 * @param options.onnotify told what arrives on channels that a connection listens to
 */
export function connect(target: Target, options: ConnectOptions): Client {
  return connectTo(settingsOf(target), options);
}

function connectTo(settings: ConnectionSettings, options: ConnectOptions): Client {
  const sockets = new Sockets({ settings, isPrimary: (server) => isPrimary({ ...settings, servers: [server] }) });
  const given: object = {
    host: settings.servers.map(({ name }) => name || "localhost").slice(0, 1), // host and port only appear in its errors
    port: settings.servers.map(({ port }) => port).slice(0, 1),
    user: settings.user,
    pass: () => settings.password, // a function, since the driver replaces an empty string with PGPASSWORD
    database: settings.database,
    socket: sockets.open,
    max: options.max ?? 1,
    onnotice: options.onnotice ?? (() => {}),
    ...(options.onclose && { onclose: options.onclose }),
    ...(options.onnotify && { onnotify: options.onnotify }), // read by the driver's 3.4.9, missing in its types
    connection: { ...settings.session, application_name: options.name, ...SESSION, ...texts(options.parameters) },
    types: {
      bigint: { to: 20, from: [20], serialize: String, parse: Number },
      instant: { to: 1184, from: [1184], serialize: String, parse: isoInstant },
      texts: { to: 1009, from: [1009], serialize: textArray, parse: String },
      bigints: { to: 1016, from: [1016], serialize: (numbers: number[]) => `{${numbers.join(",")}}`, parse: String },
    },
    ...DRIVER,
    keep_alive: settings.keepAliveSeconds,
  };
  // Without this option the driver reads PGTARGETSESSIONATTRS and throws on some of libpq's values. It accepts options that it has parsed
  // before unchanged.
  const parsed: object = postgres({ ...given, target_session_attrs: "primary" }).options;
  const client = postgres({ ...parsed, target_session_attrs: undefined }) as unknown as Client;
  const end = client.end.bind(client);
  return Object.assign(client, { end: (how?: { timeout?: number }) => end(how).finally(() => sockets.close()) });
}

/** Every option that the driver would otherwise read from the environment (PGIDLE_TIMEOUT, PGSSLNEGOTIATION …). */
const DRIVER = {
  ssl: false, // done by `ServerSocket`
  sslnegotiation: null,
  connect_timeout: 0, // done by `ServerSocket`
  idle_timeout: null,
  max_lifetime: null, // a connection is replaced when it breaks, not while it serves
  max_pipeline: 100,
  backoff: (retries: number) => (0.5 + Math.random() / 2) * Math.min(3 ** retries / 100, 20), // its own
  prepare: true,
  debug: false,
  publications: "alltables",
  // Else the driver asks for array types on each new connection; when that dies in the middle nobody handles its rejection, which
  // ends the process. The two arrays we send are above.
  fetch_types: false,
} as const;

/**
 * Settings that every session relies on, whatever the server, the database, the role or the connection string set. Strings, since the
 * driver omits a 0.
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

function texts(parameters: Record<string, string | number> = {}): Record<string, string> {
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
 * Whether a server accepts writes, asked in a separate session. A server that rejects the session counts as well, so that its error is
 * reported and no other server sees the password, as in libpq; one that is still starting does not.
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
 * Hears a channel over a connection of its own. `ready` resolves when everything notified from now on is heard.
 *
 * Not by the driver's own `listen`: that keeps to itself when its connection closes, and for ever silent when its second try fails.
 *
 * @param options.closed told when the connection closed; it is not opened again
 */
export function listen(
  target: Target,
  options: { name: string; channel: string; hear(payload: string): void; closed(): void },
): { readonly ready: Promise<unknown>; end(): Promise<void> } {
  const { name, channel, hear, closed } = options;
  const client = connect(target, { name, onclose: closed, onnotify: (_, payload) => hear(payload) });
  return { ready: client.unsafe(`listen "${channel}"`).execute(), end: () => client.end({ timeout: 0 }) };
}

/** A target as one address, for another process. */
export function connectionUrlOf(target: Target): string {
  if (typeof target === "string") return target;
  const { host, port, username, password, database } = target;
  const url = new URL(`postgres://localhost/${encodeURIComponent(database)}`);
  Object.assign(url, { username, password, search: new URLSearchParams({ host, port: String(port) }) });
  return url.href;
}

/** Notifies a channel of several payloads in one statement, in their order. */
export async function notify(client: Client, channel: string, payloads: readonly string[]): Promise<void> {
  const calls = payloads.map((_, i) => `pg_notify($1, $${i + 2})`); // one statement to prepare for each count of them
  await client.unsafe(`select ${calls.join(", ")}`, [channel, ...payloads], { prepare: true });
}

/**
 * PostgreSQL's `2026-11-22 18:30:00.5+00` as `2026-11-22T18:30:00.500000Z`: always six digits, so that texts sort as instants do.
 * No `Date`, which would cut the microseconds.
 */
function isoInstant(text: string): string {
  if (!text.endsWith("+00")) return text; // infinity
  const point = text.indexOf(".");
  const fraction = point < 0 ? "" : text.slice(point + 1, -3);
  return `${text.slice(0, 10)}T${text.slice(11, 19)}.${fraction.padEnd(6, "0")}Z`;
}

const TOLD_EVERY_MS = 60_000;
const GOING_MS = 2_000;

/** PostgreSQL's form of `text[]` (manual §8.15.6): each element in quotes, quotes and backslashes escaped, all else as it is. */
function textArray(texts: readonly string[]): string {
  const quoted = texts.map((text) => (/["\\]/.test(text) ? `"${text.replace(/["\\]/g, "\\$&")}"` : `"${text}"`));
  return `{${quoted.join(",")}}`;
}

interface DatabaseOptions {
  readonly target: Target;
  readonly name: string;
  readonly max: number;
  readonly parameters?: Record<string, string | number>;
  readonly log: Log;
  /** Told after a lost connection: PostgreSQL may have restarted, or be another one. */
  readonly onLost?: () => void;
  /** Told how long each statement that was answered took. */
  readonly took?: (ms: number) => void;
}

/**
 * A pool that survives what happens to its connections. Every query is one statement that is harmless when run twice: a read,
 * or a write keyed by something of its own, since after a lost connection nobody knows whether the first run was committed.
 *
 * Used plainly, `postgres` 3.4.9 under Bun 1.4.5 hung 7–8 queries for ever in 3 s of terminated backends; replacing the whole
 * pool at the first loss left none hung (DESIGN §4).
 */
export class Database {
  readonly #options: DatabaseOptions;
  #pool: Client;
  #ended = false;
  #answeredAt = performance.now();
  /** Since when it is out of reach: told once, not at every try. */
  #lostAt: number | undefined;
  /** Until when nothing more is said of what may happen to every statement, by its code. */
  readonly #quietUntil = new Map<string, number>();

  constructor(options: DatabaseOptions) {
    this.#options = options;
    this.#pool = this.#open();
  }

  /**
   * Runs a query, again after a lost connection.
   *
   * @param query builds the statement; called once per try
   * @param options.giveUpAfterMs how long to go on trying, 10 s unless told
   * @param options.keepTrying asked after that time: whether to go on all the same, as long as PostgreSQL is out of reach
   * @param options.isProbe its time says nothing of what users wait for, and is not counted
   * @param options.onUnknown told when a try was lost with its outcome unknown: the next may find what it left
   * @throws ChatError `not_ready` when PostgreSQL stayed out of reach, or was hindered by a lock or a full disk; PostgreSQL's own error
   *   otherwise, and in those cases too when `giveUpAfterMs` is infinite
   */
  async run<T>(
    query: (sql: Sql) => PromiseLike<T>,
    options: { giveUpAfterMs?: number; keepTrying?: () => boolean; isProbe?: boolean; onUnknown?: () => void } = {},
  ): Promise<T> {
    const giveUpAt = performance.now() + (options.giveUpAfterMs ?? GIVE_UP_AFTER_MS);
    for (let delayMs = 50; ; delayMs = Math.min(delayMs * 2, 1_000)) {
      const pool = this.#pool;
      const begunAt = performance.now();
      try {
        const result = await withDeadline(query(pool));
        this.#answered();
        if (!options.isProbe) this.#options.took?.(this.#answeredAt - begunAt);
        return result;
      } catch (error) {
        const [code, hindrance] = [codeOf(error), hindranceOf(error)];
        if (isLost(error)) {
          if (isRefused(error)) this.#tell(code, "database gives no further connection");
          else this.#replace(pool, error);
          options.onUnknown?.();
        } else if (hindrance !== undefined && giveUpAt < Number.POSITIVE_INFINITY) {
          this.#tell(code, hindrance);
          throw new ChatError("not_ready", { cause: error });
        } else if (!isConflict(error)) throw error;
        const isOver = performance.now() + delayMs > giveUpAt && options.keepTrying?.() !== true;
        if (this.#ended || isOver) throw new ChatError("not_ready", { cause: error });
      }
      await Bun.sleep(delayMs * (0.5 + Math.random() / 2));
    }
  }

  /** Ends every connection at once; queries under way are rejected. */
  async end(): Promise<void> {
    this.#ended = true;
    await this.#pool.end({ timeout: 0 });
  }

  #open(): Client {
    const { target, name, max, parameters } = this.#options;
    return connect(target, {
      name,
      max,
      parameters: {
        statement_timeout: 5_000,
        lock_timeout: 4_000,
        idle_in_transaction_session_timeout: 10_000,
        ...parameters,
      },
    });
  }

  #answered(): void {
    this.#answeredAt = performance.now();
    if (this.#lostAt === undefined) return;
    this.#options.log.info("database answers again", { afterMs: Math.round(this.#answeredAt - this.#lostAt) });
    this.#lostAt = undefined;
  }

  /** Once a minute: it happens beside statements that are answered, and to many at once. */
  #tell(code: string, words: string): void {
    if (performance.now() < (this.#quietUntil.get(code) ?? 0)) return;
    this.#quietUntil.set(code, performance.now() + TOLD_EVERY_MS);
    this.#options.log.warn(words, { code });
  }

  /** A new pool in place of a broken one, once however many of its queries fail. Ending the old rejects what it stranded. */
  #replace(broken: Client, error: unknown): void {
    if (this.#pool !== broken || this.#ended) return;
    if (this.#lostAt === undefined) this.#options.log.warn("database connection lost", { code: codeOf(error) });
    this.#lostAt ??= performance.now();
    this.#pool = this.#open();
    void broken.end({ timeout: 0 }).catch(() => {});
    this.#options.onLost?.();
  }
}

/**
 * Counts connections, again for 2 s while there are any: PostgreSQL counts one for a moment after the process behind it has gone.
 *
 * @returns how many were left the last time
 */
export async function remainingConnections(count: () => Promise<number>): Promise<number> {
  for (const begun = performance.now(); ; await Bun.sleep(50)) {
    const left = await count();
    if (left === 0 || performance.now() - begun > GOING_MS) return left;
  }
}

/**
 * The answer to a query, or an error with the code `DEADLINE`. The driver alone waits for ever on a host that swallows packets, or
 * one that closes every connection before a word.
 */
export async function withDeadline<T>(answer: PromiseLike<T>): Promise<T> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(
    () =>
      late.reject(Object.assign(new Error(`No answer from PostgreSQL within ${DEADLINE_MS} ms`), { code: "DEADLINE" })),
    DEADLINE_MS,
  );
  try {
    return await Promise.race([answer, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}
