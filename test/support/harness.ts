/**
 * Whole servers for tests: a database for each, copied from a migrated template in the run's PostgreSQL, and people who sign up, open
 * sockets and write.
 */

import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { RedisClient } from "bun";

import { type App, startApp as start } from "../../src/app.ts";
import { loadConfig } from "../../src/config.ts";
import { type Client, connect } from "../../src/db/client.ts";
import { migrate } from "../../src/db/migrate.ts";
import { Log } from "../../src/log.ts";
import { logs } from "./log_search.ts";
import { type SharedPostgres, sharedPostgres } from "./shared_postgres.ts";

export const ROOT = join(import.meta.dir, "..", "..");
/** Discards its lines. */
export const SILENT = new Log({ level: "error", format: "text", write: () => {} });

interface Cluster extends SharedPostgres {
  readonly admin: Client;
  /** How long its logs were when this file began to use it. */
  readonly logged: ReadonlyMap<string, number>;
}

let cluster: Promise<Cluster> | undefined;
/** Those of this file. */
const databases = new Set<string>();
const templates = new Map<string, Promise<string>>();

function startCluster(): Promise<Cluster> {
  cluster ??= (async () => {
    const postgres = await sharedPostgres();
    logs.note("password", postgres.target.password);
    const logged = new Map(readdirSync(postgres.logs).map((name) => [name, statSync(join(postgres.logs, name)).size]));
    return { ...postgres, logged, admin: connect(postgres.target, { name: "test-admin", max: 4 }) };
  })();
  return cluster;
}

/** Drops this file's databases, and searches what PostgreSQL logged meanwhile. */
export async function endHarness(): Promise<void> {
  if (!cluster) return;
  const { admin, logs: directory, logged } = await cluster;
  await Promise.all([...databases].map((name) => admin.unsafe(`drop database if exists ${name} with (force)`)));
  await admin.end({ timeout: 1 });
  for (const name of readdirSync(directory)) {
    logs.hear(
      readFileSync(join(directory, name))
        .subarray(logged.get(name) ?? 0)
        .toString(),
    );
  }
  cluster = undefined;
  databases.clear();
}

/** A name that no other database, role or file of this run has. */
export function uniqueName(prefix: string): string {
  return `${prefix}_${crypto.randomUUID().slice(0, 8)}`;
}

/** A connection address of a database in the tests' PostgreSQL. */
async function address(database: string): Promise<string> {
  const { host, port, username, password } = (await startCluster()).target;
  return `postgres://${username}:${password}@localhost/${database}?host=${encodeURIComponent(host)}&port=${port}`;
}

/** Creates a database from a template. @param rest of the statement @returns its address */
async function createDatabase(template: string, rest = ""): Promise<string> {
  const { admin } = await startCluster();
  const name = uniqueName("test");
  databases.add(name);
  await admin.unsafe(`create database ${name} template ${template} ${rest}`);
  return address(name);
}

/** Creates an empty database. @param locale ICU, such as `en-US`; absent: bytes @returns its address */
export function emptyDatabase(locale?: string): Promise<string> {
  return createDatabase("template0", locale && `locale_provider icu icu_locale '${locale}'`);
}

/** Creates a database with chatify's schema. @returns its address */
export async function migratedDatabase(locale = ""): Promise<string> {
  if (!templates.has(locale)) templates.set(locale, template(locale));
  return createDatabase(await templates.get(locale)!, "strategy file_copy");
}

/** The name of the migrated database that others are copied from; the run's first file that needs it creates it. */
async function template(locale: string): Promise<string> {
  const { admin } = await startCluster();
  const name = `template_${locale.replace("-", "_").toLowerCase() || "bytes"}`;
  await admin.begin(async (lock) => {
    await lock`select pg_advisory_xact_lock(1)`;
    if ((await lock`select from pg_database where datname = ${name}`).length > 0) return;
    const url = await emptyDatabase(locale || undefined);
    await migrate(url, { directory: join(ROOT, "sql"), name: "test", allowUnsafe: false, log: SILENT, say: () => {} });
    const made = new URL(url).pathname.slice(1);
    await admin.unsafe(`alter database ${made} rename to ${name}`);
    databases.delete(made);
  });
  return name;
}

/** The Redis or Valkey of this machine; null when it has none. */
export const REDIS = Bun.which("redis-server") ?? Bun.which("valkey-server");

/** A Redis for one test, without persistence. */
export class RedisServer {
  readonly port = freePort();
  readonly #directory = mkdtempSync(join(tmpdir(), "chatify-redis-"));
  #process!: Bun.Subprocess;
  /** The test's own client. */
  admin!: RedisClient;

  static async start(): Promise<RedisServer> {
    const server = new RedisServer();
    await server.start();
    return server;
  }

  get url(): string {
    return `redis://127.0.0.1:${this.port}`;
  }

  get pid(): number {
    return this.#process.pid;
  }

  /** Starts it again, after `kill`. */
  async start(): Promise<void> {
    this.#process = Bun.spawn(
      [REDIS!, "--port", String(this.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"],
      { cwd: this.#directory, stdout: "ignore" },
    );
    this.admin = await this.client();
  }

  async kill(): Promise<void> {
    this.admin.close();
    this.#process.kill("SIGKILL");
    await this.#process.exited;
  }

  /** Closes the connections of subscribers or of publishers. @returns how many there were */
  cut(which: "subscribers" | "publishers"): Promise<number> {
    return this.admin.send("CLIENT", ["KILL", "TYPE", which === "subscribers" ? "pubsub" : "normal", "SKIPME", "yes"]);
  }

  async end(): Promise<void> {
    await this.kill();
    rmSync(this.#directory, { recursive: true, force: true });
  }

  /** A new connection; waits for a starting server. */
  async client(): Promise<RedisClient> {
    for (let tries = 1; ; tries++) {
      const client = new RedisClient(this.url, { autoReconnect: false });
      try {
        await client.connect();
        return client;
      } catch (error) {
        if (tries === 100) throw error;
        await Bun.sleep(30);
      }
    }
  }
}

/** A port that was free a moment ago. */
export function freePort(): number {
  const listener = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
  listener.stop(true);
  return listener.port;
}

export interface TestApp extends AsyncDisposable {
  readonly url: string;
  readonly port: number;
  /** Queries the server's database directly. */
  readonly sql: Client;
  readonly log: string[];
  /** Printed by a fresh install. */
  readonly adminCode: string | undefined;
  /** Signs users up. */
  people(...names: string[]): Promise<Person[]>;
  person(name: string): Promise<Person>;
  /** Signs up the admin of a fresh install. */
  admin(name: string): Promise<Person>;
  /** Stops the server; its database can still be queried. */
  leave(): Promise<void>;
  stop(): Promise<void>;
}

/** Starts two pods on one database, of which `url` is the first's. */
export async function startTwoPods() {
  const database = await migratedDatabase();
  const [one, two] = await Promise.all([startApp({ database }), startApp({ database })]);
  const stop = () => Promise.all([one.stop(), two.stop()]);
  return { url: one.url, one, two, stop };
}

/**
 * Starts a server with a database of its own, or on one that exists; `await using` stops it.
 *
 * @param options.direct the address for the test's own queries, when the server's leads through a proxy
 */
export async function startApp(
  options: {
    env?: Record<string, string>;
    locale?: string;
    database?: string;
    direct?: string;
    openFiles?: number;
  } = {},
): Promise<TestApp> {
  const database = options.database ?? (await migratedDatabase(options.locale));
  for (const [name, value] of Object.entries(options.env ?? {})) logs.noteSetting(name, value);
  const config = loadConfig({
    PORT: "0",
    HOST: "127.0.0.1",
    RATE_LIMIT: "off",
    DATABASE_URL: database,
    ...options.env,
  });
  const lines: string[] = [];
  const log = new Log({ level: "debug", format: "json", write: (line) => lines.push(line) });
  const app: App = await start(config, {
    root: ROOT,
    version: "0.0.0-test",
    log,
    openFiles: options.openFiles ?? 10_000,
    usage: () => ({ residentBytes: process.memoryUsage.rss(), cpuSeconds: process.cpuUsage().user / 1e6 }),
  });
  const sql = connect(options.direct ?? database, { name: "test", max: 2 });
  const made = await sql<{ value: string }[]>`select value from settings where name in ('session_secret', 'bus_key')`;
  for (const { value } of made) logs.note("secret", value);
  let left: Promise<void> | undefined;
  let stopped: Promise<void> | undefined;
  const leave = () => (left ??= app.stop({ hurried: true }));
  const stop = () =>
    (stopped ??= (async () => {
      await leave();
      await sql.end({ timeout: 1 });
      logs.check();
    })());
  const url = `http://127.0.0.1:${app.port}`;
  return {
    url,
    port: app.port,
    sql,
    log: lines,
    adminCode: app.adminCode,
    person: (name) => Person.signUp(url, name),
    admin: (name) => Person.signUp(url, name, app.adminCode),
    people: (...names) => Promise.all(names.map((name) => Person.signUp(url, name))),
    leave,
    stop,
    [Symbol.asyncDispose]: stop,
  };
}

export const PASSWORD = "correct horse battery";

/** Posts a form, as a browser does. */
export async function post(
  url: string,
  fields: Record<string, string>,
  headers: Record<string, string> = {},
): Promise<Response> {
  logs.note("password", fields["password"] ?? "");
  const answer = await fetch(url, { method: "POST", body: new URLSearchParams(fields), headers, redirect: "manual" });
  logs.noteCookie(cookieOf(answer));
  return answer;
}

/** The session cookie that an answer sets, as a request sends it back. */
export function cookieOf(answer: Response): string {
  return answer.headers.get("set-cookie")?.split(";")[0] ?? "";
}

/** A user with a session. */
export class Person {
  readonly #url: string;
  readonly name: string;
  readonly cookie: string;

  constructor(url: string, name: string, cookie: string) {
    this.#url = url;
    this.name = name;
    this.cookie = cookie;
  }

  /** @param code makes the user an admin */
  static async signUp(url: string, name: string, code = ""): Promise<Person> {
    const answer = await post(`${url}/signup`, { username: name, password: PASSWORD, ...(code && { code }) });
    if (answer.status !== 302) throw new Error(`sign-up of ${name} answered ${answer.status}: ${await answer.text()}`);
    return new Person(url, name, cookieOf(answer));
  }

  /** A second session of the user, as on another device. */
  async logIn(): Promise<Person> {
    const answer = await post(`${this.#url}/login`, { username: this.name, password: PASSWORD });
    if (answer.status !== 302) throw new Error(`login of ${this.name} answered ${answer.status}`);
    return new Person(this.#url, this.name, cookieOf(answer));
  }

  /** The same session on another pod. */
  at(pod: { readonly url: string }): Person {
    return new Person(pod.url, this.name, this.cookie);
  }

  /** Fetches a path with the session's cookie. */
  get(path: string, headers: Record<string, string> = {}): Promise<Response> {
    return fetch(this.#url + path, { headers: { cookie: this.cookie, ...headers }, redirect: "manual" });
  }

  async json<T = unknown>(path: string, headers: Record<string, string> = {}): Promise<T> {
    const answer = await this.get(path, headers);
    if (answer.status !== 200) throw new Error(`${path} answered ${answer.status}: ${await answer.text()}`);
    return (await answer.json()) as T;
  }

  /** Posts JSON with the session's cookie. */
  post(path: string, body: unknown = {}, headers: Record<string, string> = {}): Promise<Response> {
    const all = { cookie: this.cookie, "content-type": "application/json", ...headers };
    const text = typeof body === "string" ? body : JSON.stringify(body);
    return fetch(this.#url + path, { method: "POST", body: text, headers: all, redirect: "manual" });
  }

  /** Puts bytes with the session's cookie. */
  put(path: string, bytes: Uint8Array): Promise<Response> {
    return fetch(this.#url + path, {
      method: "PUT",
      body: bytes as Uint8Array<ArrayBuffer>,
      headers: { cookie: this.cookie },
      redirect: "manual",
    });
  }

  /** Opens a socket and waits for its `hello`. @param options.watch sends `watch` at once, instead of receiving full lists */
  async open(options: { watch?: readonly string[]; headers?: Record<string, string> } = {}): Promise<Tab> {
    const tab = new Tab(
      `${this.#url.replace("http", "ws")}/ws/${encodeURIComponent(this.name)}`,
      { cookie: this.cookie, ...options.headers },
      this.name,
    );
    await tab.next("hello");
    if (options.watch) {
      tab.say({ type: "watch", users: options.watch });
      await tab.next("presence");
    }
    return tab;
  }
}

// Tests read any field.
// oxlint-disable-next-line typescript/no-explicit-any
export type Frame = { type: string } & Record<string, any>;

/** An open socket of a user. `next` takes the first frame of a type, and leaves earlier ones of other types. */
export class Tab {
  readonly socket: WebSocket;
  readonly who: string;
  /** All frames, in order of arrival. */
  readonly heard: Frame[] = [];
  readonly closed: Promise<{ code: number; reason: string }>;
  #unread: Frame[] = [];
  #waiting: { type: string; take: (frame: Frame) => void }[] = [];
  #refs = 0;

  constructor(url: string, headers: Record<string, string>, who: string) {
    this.who = who;
    // Bun's client accepts headers, unlike the DOM's types
    this.socket = new WebSocket(url, { headers } as unknown as string[]);
    const { promise, resolve } = Promise.withResolvers<{ code: number; reason: string }>();
    this.closed = promise;
    this.socket.addEventListener("close", ({ code, reason }) => resolve({ code, reason }));
    this.socket.addEventListener("error", () => {});
    this.socket.addEventListener("message", ({ data }) => this.#hear(JSON.parse(String(data)) as Frame));
  }

  /** Waits for the first frame of a type that was not taken yet. */
  async next(type: string, withinMs = 10_000): Promise<Frame> {
    const at = this.#unread.findIndex((frame) => frame.type === type);
    if (at >= 0) return this.#unread.splice(at, 1)[0] as Frame;
    const { promise, resolve, reject } = Promise.withResolvers<Frame>();
    const waiting = { type, take: resolve };
    this.#waiting.push(waiting);
    const timer = setTimeout(() => {
      this.#waiting = this.#waiting.filter((other) => other !== waiting);
      reject(
        new Error(`${this.who} received no ${type} within ${withinMs} ms, but ${JSON.stringify(this.heard.slice(-5))}`),
      );
    }, withinMs);
    try {
      return await promise;
    } finally {
      clearTimeout(timer);
    }
  }

  /** Checks that no frame of a type arrives within a time. */
  async hearsNo(type: string, forMs = 300): Promise<void> {
    await Bun.sleep(forMs);
    const heard = this.#unread.find((frame) => frame.type === type);
    if (heard) throw new Error(`${this.who} should receive no ${type}, but received ${JSON.stringify(heard)}`);
  }

  /** Sends a frame, or raw text. */
  say(frame: object | string): void {
    const text = typeof frame === "string" ? frame : Reflect.get(frame, "message");
    if (typeof text === "string") logs.note("message", text);
    this.socket.send(typeof frame === "string" ? frame : JSON.stringify(frame));
  }

  /** Sends a message with a ref. @returns its ack */
  async send(to: string, message: string, ref = this.newRef()): Promise<Frame> {
    this.say({ to, message, ref });
    return this.next("ack");
  }

  newRef(): string {
    return `${this.who.replace(/[^a-z]/gi, "x")}-ref-${++this.#refs}-${crypto.randomUUID().slice(0, 8)}`;
  }

  async close(): Promise<void> {
    this.socket.close();
    await this.closed;
  }

  #hear(frame: Frame): void {
    this.heard.push(frame);
    const at = this.#waiting.findIndex(({ type }) => type === frame.type);
    if (at >= 0) this.#waiting.splice(at, 1)[0]?.take(frame);
    else this.#unread.push(frame);
  }
}

/** Sends a raw request, and reads the response until the server closes. Requires `Connection: close`. */
export async function raw(port: number, request: string): Promise<{ status: number; headers: Headers; body: string }> {
  const answer: Buffer[] = [];
  const { promise: closed, resolve: close } = Promise.withResolvers<void>();
  let unsent = Buffer.from(request);
  const send = (socket: Bun.Socket) => void (unsent = unsent.subarray(Math.max(0, socket.write(unsent))));
  await Bun.connect({
    hostname: "127.0.0.1",
    port,
    socket: {
      open: send,
      drain: send,
      data: (_, bytes) => void answer.push(Buffer.from(bytes)),
      close: () => close(),
      error: () => close(),
    },
  });
  await closed;
  const [head = "", ...rest] = Buffer.concat(answer).toString().split("\r\n\r\n");
  const [first = "", ...lines] = head.split("\r\n");
  const fields = lines
    .filter(Boolean)
    .map((line): [string, string] => [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 1).trim()]);
  return { status: Number(first.split(" ")[1]), headers: new Headers(fields), body: rest.join("\r\n\r\n") };
}
