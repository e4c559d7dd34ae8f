/** A temporary directory with a PostgreSQL, databases, servers and workers, all removed after the run. */

import { existsSync, mkdtempSync, readFileSync, rmSync, statfsSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { type Client, connect } from "../../src/db/client.ts";
import { migrate } from "../../src/db/migrate.ts";
import { startEmbedded } from "../../src/db/start_embedded.ts";
import type { Embedded } from "../../src/embedded_postgres/embedded_postgres.ts";
import { Log } from "../../src/log.ts";
import type { BaselineJobs } from "../bench/baselines.ts";
import type { GeneratorJobs } from "../bench/load/generator.ts";
import { type Jobs, Worker } from "../bench/worker.ts";
import type { CanaryJobs } from "../fuzz/canary.ts";
import { describeError, EXIT, fail, Shutdown } from "./command.ts";
import { TestDatabase } from "./database.ts";
import type { Progress } from "./progress.ts";
import { EnvironmentError, ServerProcess } from "./server_process.ts";
import { Valkey } from "./valkey.ts";

const ROOT = join(import.meta.dir, "..", "..");
export const SILENT = new Log({ level: "error", format: "text", write: () => {} });

export class Sandbox {
  readonly directory: string;
  readonly #profile: string | undefined;
  readonly #servers = new Set<ServerProcess>();
  readonly #workers = new Set<Worker<Jobs>>();
  readonly #databases: TestDatabase[] = [];
  readonly #valkeys = new Set<Valkey>();
  #embedded: Embedded | undefined;
  #admin: Promise<Client> | undefined;
  #template: Promise<string> | undefined;
  #databaseCount = 0;
  #closing: Promise<void> | undefined;

  /** @param options.profile where servers write CPU profiles @throws EnvironmentError when the disk is too small */
  constructor(options: { spaceBytes: number; profile?: string | undefined }) {
    this.directory = temporaryDirectory("chatify-bench-", options.spaceBytes);
    this.#profile = options.profile;
  }

  /** The process id of PostgreSQL; its sessions are child processes. */
  get postgres(): number {
    const file = join(this.#embedded?.directory ?? "", "cluster", "postmaster.pid");
    return Number(readFileSync(file, "utf8").split("\n")[0]);
  }

  /** A new database with chatify's tables and this many users. */
  async database(users: number): Promise<TestDatabase> {
    this.#template ??= this.#migrateTemplate();
    const template = await this.#template;
    const admin = await this.#startPostgres();
    const name = `bench_${++this.#databaseCount}`;
    await admin.unsafe(`create database ${name} template ${template} strategy file_copy`);
    const database = new TestDatabase(name, this.#urlOf(name));
    this.#databases.push(database);
    await database.addUsers(users);
    return database;
  }

  /** Starts a Valkey; undefined when this machine has none. */
  async valkey(): Promise<Valkey | undefined> {
    if (Valkey.program() === undefined) return undefined;
    const valkey = new Valkey(this.directory);
    this.#valkeys.add(valkey);
    await valkey.start();
    return valkey;
  }

  /** @param options.dataDir gives the server a PostgreSQL of its own @param options.bus a `BUS` other than the database */
  async serve(
    options: ({ database: TestDatabase; bus?: string } | { dataDir: string }) & { env?: Record<string, string> },
  ): Promise<ServerProcess> {
    const name = `server-${this.#servers.size + 1}.md`;
    const profile = ["--cpu-prof-md", `--cpu-prof-dir=${this.#profile}`, `--cpu-prof-name=${name}`];
    const storage = "database" in options ? { DATABASE_URL: options.database.url } : { DATA_DIR: options.dataDir };
    const bus = "bus" in options && options.bus !== undefined ? { BUS: options.bus } : {};
    const env = { ...storage, ...bus, ...options.env };
    const server = new ServerProcess(this.#profile === undefined ? [] : profile, { cwd: this.directory, env });
    this.#servers.add(server);
    await server.ready;
    return server;
  }

  generator(openFiles?: number): Worker<GeneratorJobs> {
    return this.#worker<GeneratorJobs>("bench/load/generator.ts", openFiles);
  }

  canary(): Worker<CanaryJobs> {
    return this.#worker<CanaryJobs>("fuzz/canary.ts");
  }

  baseline(openFiles?: number): Worker<BaselineJobs> {
    return this.#worker<BaselineJobs>("bench/baselines.ts", openFiles);
  }

  /** Stops everything but PostgreSQL and drops the databases. @returns errors that the servers logged */
  async clear(): Promise<string[]> {
    await Promise.all([...this.#workers].map((worker) => worker.end()));
    this.#workers.clear();
    const servers = [...this.#servers];
    await Promise.all(servers.map((server) => server.stop()));
    this.#servers.clear();
    await Promise.all([...this.#valkeys].map((valkey) => valkey.kill()));
    this.#valkeys.clear();
    for (const { name, sql } of this.#databases.splice(0)) {
      await sql.end({ timeout: 1 });
      await (await this.#startPostgres()).unsafe(`drop database ${name} with (force)`);
    }
    return servers.flatMap((server) => server.loggedErrors);
  }

  close(): Promise<void> {
    this.#closing ??= (async () => {
      try {
        await this.clear();
        await (await this.#admin)?.end({ timeout: 1 });
        await this.#embedded?.stop();
      } finally {
        this.kill();
      }
    })();
    return this.#closing;
  }

  /** Kills every process and removes the directory, at once. */
  kill(): void {
    for (const worker of this.#workers) worker.kill();
    for (const server of this.#servers) server.kill();
    for (const valkey of this.#valkeys) valkey.signal("SIGKILL");
    removeDirectory(this.directory);
  }

  #startPostgres(): Promise<Client> {
    this.#admin ??= (async () => {
      this.#embedded = await startEmbedded({ directory: join(this.directory, "postgres"), log: SILENT });
      return connect(this.#embedded.target, { name: "bench-admin" });
    })();
    return this.#admin;
  }

  #worker<Known extends Jobs>(script: string, openFiles?: number): Worker<Known> {
    const limit = openFiles === undefined ? {} : { openFiles };
    const worker = new Worker<Known>(script, { cwd: this.directory, ...limit });
    this.#workers.add(worker);
    return worker;
  }

  async #migrateTemplate(): Promise<string> {
    const admin = await this.#startPostgres();
    await admin.unsafe("create database bench_template template template0");
    const options = { directory: join(ROOT, "sql"), name: "bench", allowUnsafe: false, log: SILENT, say: () => {} };
    await migrate(this.#urlOf("bench_template"), options);
    return "bench_template";
  }

  #urlOf(database: string): string {
    const target = this.#embedded?.target;
    if (typeof target !== "object") throw new TypeError("The embedded database has no socket");
    const { host, port, username, password } = target;
    const search = new URLSearchParams({ host, port: String(port) });
    return Object.assign(new URL(`postgres://localhost/${database}`), { username, password, search }).href;
  }
}

/** Runs `work` in a sandbox that is removed however it ends. @returns the exit code of a failure */
export async function withSandbox(
  options: { spaceBytes: number; profile?: string | undefined; progress: Progress },
  work: (sandbox: Sandbox) => Promise<void>,
): Promise<number | undefined> {
  const { progress } = options;
  let sandbox: Sandbox | undefined;
  let shutdown: Shutdown | undefined;
  try {
    sandbox = new Sandbox(options);
    shutdown = new Shutdown(sandbox, { before: () => progress.end() });
    await work(sandbox);
    progress.end();
    await sandbox.close();
    return undefined;
  } catch (error) {
    progress.end();
    const errors = (await sandbox?.clear().catch(() => [])) ?? [];
    await sandbox?.close();
    await shutdown?.wait();
    return fail([describeError(error), ...errors].join("\n"), EXIT.environment);
  }
}

/** @throws EnvironmentError when the disk has less than `spaceBytes` free */
export function temporaryDirectory(prefix: string, spaceBytes: number): string {
  const { bavail, bsize } = statfsSync(tmpdir());
  if (bavail * bsize < spaceBytes) {
    const [needed, free] = [spaceBytes, bavail * bsize].map((bytes) => (bytes / 2 ** 30).toFixed(1));
    throw new EnvironmentError(
      `This needs ${needed} GB in ${tmpdir()}, and ${free} are free. Free some, or choose another directory: TMPDIR=/somewhere`,
    );
  }
  return mkdtempSync(join(tmpdir(), prefix));
}

/** Removes a directory, ending each PostgreSQL that runs in it. */
export function removeDirectory(directory: string): void {
  if (!existsSync(directory)) return;
  for (const file of new Bun.Glob("**/postmaster.pid").scanSync({ cwd: directory, dot: true })) {
    const [pid, , , , sockets = ""] = readFileSync(join(directory, file), "utf8").split("\n");
    signal(Number(pid), "SIGQUIT"); // immediate shutdown, its sessions included
    if (sockets !== "" && !sockets.startsWith(directory)) rmSync(sockets, { recursive: true, force: true });
  }
  rmSync(directory, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
}

/** Sends a signal to a process that may have exited. */
export function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch {
    // it has exited
  }
}
