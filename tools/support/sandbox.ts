/**
 * Everything the benchmark starts: a temporary directory with a PostgreSQL in it, databases, chatify servers and other
 * processes. Whatever ends the run, nothing of it stays.
 */

import { existsSync, mkdtempSync, readFileSync, rmSync, statfsSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { type Client, connect, connectionUrlOf } from "../../src/db/client.ts";
import { migrate } from "../../src/db/migrate.ts";
import { startEmbedded } from "../../src/db/own_postgres.ts";
import type { Embedded } from "../../src/embedded_postgres/embedded_postgres.ts";
import { Log } from "../../src/log.ts";
import type { BaselineJobs } from "../bench/baselines.ts";
import type { GeneratorJobs } from "../bench/load/generator.ts";
import { type Jobs, withOpenFiles, Worker } from "../bench/worker.ts";
import type { CanaryJobs } from "../fuzz/canary.ts";
import { BenchDatabase } from "./database.ts";
import { SESSION_SECRET } from "./users.ts";

const ROOT = join(import.meta.dir, "..", "..");
const SILENT = new Log({ level: "error", format: "text", write: () => {} });
const START_MS = 60_000;
const STOP_MS = 8_000;
const BUS_START_MS = 5_000;

/** Something about this machine keeps the benchmark from running; the message says what, and what to do. */
export class MachineError extends Error {
  constructor(message: string) {
    super(message);
    this.name = "MachineError";
  }
}

/** A chatify server, a process of its own. */
export interface Server {
  readonly port: number;
  readonly pid: number;
  readonly startedInMs: number;
  /** Its exit code, once it has ended; null when a signal ended it. */
  readonly exited: Promise<number | null>;
  /** What it logged, once it has ended. */
  readonly complaints: readonly string[];
  stop(): Promise<void>;
}

/** A Valkey or Redis, which keeps nothing. */
export interface Valkey {
  readonly pid: number;
  /** A `BUS` for the pods of one database: the number keeps them apart from others. */
  url(number: number): string;
}

export class Sandbox {
  readonly directory: string;
  readonly #profile: string | undefined;
  readonly #servers = new Set<ServerProcess>();
  readonly #workers = new Set<Worker<Jobs>>();
  readonly #databases: BenchDatabase[] = [];
  readonly #others = new Set<Bun.Subprocess>();
  #embedded: Embedded | undefined;
  #admin: Promise<Client> | undefined;
  #template: Promise<string> | undefined;
  #names = 0;
  #closing: Promise<void> | undefined;

  /** @param options.profile where servers leave CPU profiles @throws MachineError when there is no room */
  constructor(options: { spaceBytes: number; profile: string | undefined }) {
    const place = tmpdir();
    const { bavail, bsize } = statfsSync(place);
    if (bavail * bsize < options.spaceBytes) {
      const [needed, there] = [options.spaceBytes, bavail * bsize].map((bytes) => (bytes / 2 ** 30).toFixed(1));
      throw new MachineError(
        `The benchmark needs ${needed} GB in ${place}, and ${there} are free. Free some, or name another place: TMPDIR=/somewhere`,
      );
    }
    this.#profile = options.profile;
    this.directory = mkdtempSync(join(place, "chatify-bench-"));
  }

  /** The PostgreSQL process; its sessions are its children. */
  get postgres(): number {
    const file = join(this.#embedded?.directory ?? "", "cluster", "postmaster.pid");
    return Number(readFileSync(file, "utf8").split("\n")[0]);
  }

  /** Starts PostgreSQL, when a part first needs it. */
  #start(): Promise<Client> {
    this.#admin ??= (async () => {
      this.#embedded = await startEmbedded({ directory: join(this.directory, "postgres"), log: SILENT });
      return connect(this.#embedded.target, { name: "bench-admin" });
    })();
    return this.#admin;
  }

  /** A new database with chatify's tables and so many people. */
  async database(people: number): Promise<BenchDatabase> {
    this.#template ??= this.#migrated();
    const template = await this.#template;
    const admin = await this.#start();
    const name = `bench_${++this.#names}`;
    await admin.unsafe(`create database ${name} template ${template} strategy file_copy`);
    const database = new BenchDatabase(name, this.#address(name));
    this.#databases.push(database);
    await database.people(people);
    return database;
  }

  /** Starts one, when this machine has its program. */
  async valkey(): Promise<Valkey | undefined> {
    const program = Bun.which("valkey-server") ?? Bun.which("redis-server");
    if (program === null) return undefined;
    const port = freePort();
    const words = ["--port", String(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"];
    const child = Bun.spawn([program, ...words], {
      cwd: this.directory,
      stdio: ["ignore", "ignore", "ignore"],
      detached: true,
    });
    this.#others.add(child);
    const url = (number: number) => `redis://127.0.0.1:${port}/${number}`;
    for (const since = performance.now(); performance.now() - since < BUS_START_MS; await Bun.sleep(20)) {
      if (await isOpen(port)) return { pid: child.pid, url };
    }
    throw new MachineError(`${program} did not start within ${BUS_START_MS / 1_000} s`);
  }

  /** @param options.dataDir instead of a database: a PostgreSQL of the server's own @param options.bus a `BUS` other than the database @param options.env further settings */
  async serve(
    options: ({ database: BenchDatabase; bus?: string } | { dataDir: string }) & { env?: Record<string, string> },
  ): Promise<Server> {
    const words =
      this.#profile === undefined
        ? []
        : ["--cpu-prof-md", `--cpu-prof-dir=${this.#profile}`, `--cpu-prof-name=server-${this.#servers.size + 1}.md`];
    const place = "database" in options ? { DATABASE_URL: options.database.url } : { DATA_DIR: options.dataDir };
    const bus = "bus" in options && options.bus !== undefined ? { BUS: options.bus } : {};
    const server = new ServerProcess(words, { cwd: this.directory, env: { ...place, ...bus, ...options.env } });
    this.#servers.add(server);
    await server.ready;
    return server;
  }

  generator(openFiles?: number): Worker<GeneratorJobs> {
    return this.#worker<GeneratorJobs>("bench/load/generator.ts", openFiles);
  }

  canary(): Worker<CanaryJobs> {
    return this.#worker<CanaryJobs>("fuzz/canary.ts", undefined);
  }

  baseline(openFiles?: number): Worker<BaselineJobs> {
    return this.#worker<BaselineJobs>("bench/baselines.ts", openFiles);
  }

  /** Ends what a part has started and drops its databases: the next finds the machine as quiet as the first. @returns complaints in the servers' logs */
  async clear(): Promise<string[]> {
    await Promise.all([...this.#workers].map((worker) => worker.end()));
    this.#workers.clear();
    const servers = [...this.#servers];
    await Promise.all(servers.map((server) => server.stop()));
    this.#servers.clear();
    for (const child of this.#others) child.kill("SIGKILL"); // it keeps nothing
    await Promise.all([...this.#others].map((child) => child.exited));
    this.#others.clear();
    for (const { name, sql } of this.#databases.splice(0)) {
      await sql.end({ timeout: 1 });
      await (await this.#start()).unsafe(`drop database ${name} with (force)`);
    }
    return servers.flatMap((server) => server.complaints);
  }

  /** Ends everything and leaves no trace. */
  close(): Promise<void> {
    this.#closing ??= (async () => {
      try {
        await this.clear();
        await (await this.#admin)?.end({ timeout: 1 });
        await this.#embedded?.stop();
      } finally {
        this.abandon();
      }
    })();
    return this.#closing;
  }

  /** The same without asking anybody nicely, at once. */
  abandon(): void {
    if (!existsSync(this.directory)) return;
    for (const worker of this.#workers) worker.kill();
    for (const server of this.#servers) server.kill();
    for (const child of this.#others) child.kill("SIGKILL");
    for (const file of new Bun.Glob("**/postmaster.pid").scanSync({ cwd: this.directory, dot: true })) {
      const [pid, , , , sockets = ""] = readFileSync(join(this.directory, file), "utf8").split("\n");
      signal(Number(pid), "SIGQUIT"); // at once; it takes its sessions along
      if (!sockets.startsWith(this.directory)) rmSync(sockets, { recursive: true, force: true });
    }
    rmSync(this.directory, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
  }

  #worker<Known extends Jobs>(script: string, openFiles: number | undefined): Worker<Known> {
    const worker = new Worker<Known>(script, {
      cwd: this.directory,
      ...(openFiles === undefined ? {} : { openFiles }),
    });
    this.#workers.add(worker);
    return worker;
  }

  async #migrated(): Promise<string> {
    const admin = await this.#start();
    await admin.unsafe("create database bench_template template template0");
    const options = { directory: join(ROOT, "sql"), name: "bench", allowUnsafe: false, log: SILENT, say: () => {} };
    await migrate(this.#address("bench_template"), options);
    return "bench_template";
  }

  #address(database: string): string {
    const target = this.#embedded?.target;
    if (typeof target !== "object") throw new TypeError("The embedded database has no socket");
    return connectionUrlOf({ ...target, database });
  }
}

export class ServerProcess implements Server {
  port = 0;
  startedInMs = 0;
  readonly ready: Promise<void>;
  readonly #child: Bun.Subprocess<"ignore", "pipe", "pipe">;
  readonly #log: Promise<string>;
  #said = "";
  #stopping: Promise<void> | undefined;

  /** @param options.before a command that runs the server's, such as `unshare` */
  constructor(words: string[], options: { cwd: string; env: Record<string, string>; before?: readonly string[] }) {
    const begun = performance.now();
    const command = [process.execPath, "--no-orphans", "--no-install", ...words, join(ROOT, "src", "main.ts")];
    const { PATH = "", HOME = "", TMPDIR } = Bun.env;
    const { before = [] } = options;
    this.#child = Bun.spawn([...before, ...withOpenFiles(command, openFilesAllowed())], {
      cwd: options.cwd, // where no .env lies
      env: {
        PATH,
        HOME,
        ...(TMPDIR === undefined ? {} : { TMPDIR }),
        HOST: "127.0.0.1",
        PORT: "0",
        RATE_LIMIT: "off",
        LOG_LEVEL: "warn",
        LOG_FORMAT: "text",
        SESSION_SECRET,
        ...options.env,
      },
      stdio: ["ignore", "pipe", "pipe"],
      detached: true, // Ctrl-C reaches whoever started it, who then stops it
    });
    this.#log = new Response(this.#child.stderr).text().then((text) => (this.#said = text));
    this.ready = this.#listen(begun);
  }

  get pid(): number {
    return this.#child.pid;
  }

  /** Its exit code, once it has ended; null when a signal ended it. */
  get exited(): Promise<number | null> {
    return this.#child.exited.then(() => this.#child.exitCode);
  }

  /** What it logged: warnings and errors, of which there should be none. Known once it has stopped. */
  get complaints(): string[] {
    return this.#said
      .trim()
      .split("\n")
      .filter(Boolean)
      .slice(0, 5)
      .map((line) => `the server said: ${line}`);
  }

  stop(): Promise<void> {
    this.#stopping ??= (async () => {
      this.#child.kill("SIGINT");
      const timer = setTimeout(() => this.kill(), STOP_MS);
      await this.#child.exited;
      await this.#log;
      clearTimeout(timer);
    })();
    return this.#stopping;
  }

  kill(): void {
    this.#child.kill("SIGKILL");
  }

  /** Its banner names the port the system chose. */
  async #listen(begun: number): Promise<void> {
    const timer = setTimeout(() => this.kill(), START_MS);
    let text = "";
    for await (const chunk of this.#child.stdout.pipeThrough(new TextDecoderStream())) {
      text += chunk;
      this.port = Number(/http:\/\/127\.0\.0\.1:(\d+)/.exec(text)?.[1] ?? 0);
      if (this.port === 0) continue;
      clearTimeout(timer);
      this.startedInMs = performance.now() - begun;
      return;
    }
    throw new MachineError(`chatify did not start:\n${text}${await this.#log}`);
  }
}

/** A port that nobody has now. */
function freePort(): number {
  const server = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
  const { port } = server;
  server.stop(true);
  return port;
}

async function isOpen(port: number): Promise<boolean> {
  try {
    (await Bun.connect({ hostname: "127.0.0.1", port, socket: { data() {} } })).end();
    return true;
  } catch {
    return false;
  }
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch {
    // it was gone already
  }
}

/** How many files, and so sockets, a process may have here. */
export function openFilesAllowed(): number {
  const { stdout } = Bun.spawnSync(["sh", "-c", "ulimit -Hn"]);
  const limit = stdout.toString().trim();
  return limit === "unlimited" ? 100_000 : Math.min(Number(limit), 100_000);
}
