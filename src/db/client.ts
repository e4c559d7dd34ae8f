/**
 * The one door to PostgreSQL: the only file that imports `postgres`. `Database.run` puts a deadline on every query and outlives
 * lost connections; `connect` is the bare client for migrations and one-off questions. What the queries say is not decided here.
 */

import { Socket } from "node:net";

import postgres from "postgres";

import { ChatError } from "../errors.ts";
import type { Log } from "../log.ts";

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
  const settings = {
    max: options.max ?? 1,
    connect_timeout: 5,
    max_lifetime: null, // a connection is replaced when it breaks, not while it serves
    onnotice: options.onnotice ?? (() => {}),
    ...(options.onclose && { onclose: options.onclose }),
    ...(options.onnotify && { onnotify: options.onnotify }), // read by the driver's 3.4.9, missing in its types
    connection: {
      application_name: options.name,
      TimeZone: "UTC",
      DateStyle: "ISO",
      jit: "off",
      ...options.parameters,
    },
    types: {
      bigint: { to: 20, from: [20], serialize: String, parse: Number },
      instant: { to: 1184, from: [1184], serialize: String, parse: isoInstant },
      texts: { to: 1009, from: [1009], serialize: textArray, parse: String },
      bigints: { to: 1016, from: [1016], serialize: (numbers: number[]) => `{${numbers.join(",")}}`, parse: String },
    },
    // Else the driver asks for array types on each new connection; when that dies in the middle nobody handles its rejection, which
    // ends the process. The two arrays we send are above.
    fetch_types: false,
  };
  const sockets = new Sockets();
  const own = { ...settings, socket: sockets.open }; // read by the driver, missing in its types
  const client = typeof target === "string" ? fromUrl(target, own) : postgres({ ...target, ...own });
  const end = client.end.bind(client);
  return Object.assign(client, { end: (how?: { timeout?: number }) => end(how).finally(() => sockets.close()) });
}

/**
 * A client's sockets. The driver (3.4.9) forgets that it is about to open one when it is ended, opens it all the same, and keeps it for ever,
 * unused: after a restart of the database that took fifteen seconds each of five pods held 11 to 29 too many, and PostgreSQL had none left.
 */
class Sockets {
  readonly #open = new Set<Socket>();
  #closed = false;
  #tried = 0;

  /** For the driver, which takes what it gets for connected: a socket keeps what is written to it until it is. */
  readonly open = ({ path, host, port }: { path: string | false; host: string[]; port: number[] }): Socket => {
    if (this.#closed) throw Object.assign(new Error("This client has ended"), { code: "CONNECTION_ENDED" }); // the driver's own word
    for (const socket of this.#open) if (socket.destroyed) this.#open.delete(socket);
    const socket = new Socket();
    this.#open.add(socket);
    const at = this.#tried++ % host.length;
    if (!path) Object.assign(socket, { host: host[at], port: port[at] }); // for TLS, and for what the driver's errors say
    setImmediate(() => {
      // Now it listens, also to an error that comes at once; what it writes comes in the next turn.
      if (this.#closed) socket.destroy();
      else if (path) socket.connect(path);
      else socket.connect(port[at] as number, host[at] as string);
    });
    return socket;
  };

  /** None is open any more, nor will be. */
  close(): void {
    this.#closed = true;
    for (const socket of this.#open) {
      if (socket.connecting) socket.destroy();
      else socket.destroySoon(); // its last word, that it leaves, goes out
    }
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
export function addressOf(target: Target): string {
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

/** Besides what the driver reads: `postgres://user:password@/database?host=/run/postgresql`, libpq's way to name a socket directory. */
function fromUrl(
  text: string,
  settings: postgres.Options<{ bigint: postgres.PostgresType; instant: postgres.PostgresType }>,
): Client {
  const url = new URL(text);
  const socket = url.searchParams.get("host");
  if (!socket?.startsWith("/")) return postgres(text, settings) as Client;
  return postgres({
    ...settings,
    host: socket,
    port: Number(url.searchParams.get("port") ?? (url.port || 5432)),
    username: decodeURIComponent(url.username),
    password: decodeURIComponent(url.password),
    database: decodeURIComponent(url.pathname.slice(1)),
  }) as Client;
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

/** 25006: what was the primary only reads now, so the address leads elsewhere. */
const LOST =
  /^(CONNECT|57P0[1235]|55000|08|53300|25006|ECONN|EPIPE|ENOENT|ETIMEDOUT|EHOSTUNREACH|ENETUNREACH|ENOTFOUND|EAI_AGAIN|DEADLINE)/;

/**
 * PostgreSQL takes no further connection. Those of the pool go on; a new pool would ask for all of its own at once, and with every query again
 * (measured: 700 connections a second from one pod, none of which it got).
 */
const TOO_MANY = "53300";
/** Somebody's lock (4 s) or the work itself (5 s) took too long; nothing was stored. */
const HELD_UP: Readonly<Record<string, string>> = {
  "55P03": "database: a lock was waited for in vain",
  "57014": "database: a statement took too long",
};
const TOLD_EVERY_MS = 60_000;
const GOING_MS = 2_000;

/** PostgreSQL's form of `text[]` (manual §8.15.6): each element in quotes, quotes and backslashes escaped, all else as it is. */
function textArray(texts: readonly string[]): string {
  const quoted = texts.map((text) => (/["\\]/.test(text) ? `"${text.replace(/["\\]/g, "\\$&")}"` : `"${text}"`));
  return `{${quoted.join(",")}}`;
}

/** True when the connection is gone or the server cannot take one now: nothing is known of what was under way. */
export function isLost(error: unknown): boolean {
  return LOST.test(codeOf(error));
}

/** Whether PostgreSQL gave a statement up because of a lock, or of its time. Trying again may help. */
export function isHeldUp(error: unknown): boolean {
  return codeOf(error) in HELD_UP;
}

/** The SQLSTATE or system error code of a failure, "" when it has none. */
export function codeOf(error: unknown): string {
  return error instanceof Error && "code" in error ? String(error.code) : "";
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
   * @param options.onUnknown told when a try was lost with its outcome unknown: the next may find what it left
   * @throws ChatError `not_ready` when PostgreSQL stayed out of reach, or was held up by a lock; what PostgreSQL said otherwise, and of a
   *   lock, too, to whoever goes on for ever
   */
  async run<T>(
    query: (sql: Sql) => PromiseLike<T>,
    options: { giveUpAfterMs?: number; onUnknown?: () => void } = {},
  ): Promise<T> {
    const giveUpAt = performance.now() + (options.giveUpAfterMs ?? GIVE_UP_AFTER_MS);
    for (let delayMs = 50; ; delayMs = Math.min(delayMs * 2, 1_000)) {
      const pool = this.#pool;
      const begunAt = performance.now();
      try {
        const result = await withDeadline(query(pool));
        this.#answered();
        this.#options.took?.(this.#answeredAt - begunAt);
        return result;
      } catch (error) {
        const code = codeOf(error);
        if (isLost(error)) {
          if (code === TOO_MANY) this.#tell(TOO_MANY, "database gives no further connection");
          else this.#replace(pool, error);
          options.onUnknown?.();
        } else if (isHeldUp(error) && giveUpAt < Number.POSITIVE_INFINITY) {
          this.#tell(code, HELD_UP[code] as string);
          throw new ChatError("not_ready", { cause: error });
        } else if (!isConflict(error)) throw error;
        if (this.#ended || performance.now() + delayMs > giveUpAt) throw new ChatError("not_ready", { cause: error });
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

/** Two pods in each other's way (deadlock, serialization): neither stored anything, so trying again is right. */
function isConflict(error: unknown): boolean {
  return codeOf(error) === "40P01" || codeOf(error) === "40001";
}

/**
 * Counts connections, again for 2 s while there are any: PostgreSQL counts one for a moment after the process behind it has gone.
 *
 * @returns how many were left the last time
 */
export async function stillCounted(count: () => Promise<number>): Promise<number> {
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
