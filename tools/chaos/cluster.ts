/** A PostgreSQL and several pods, with a fault proxy before and behind each, all removed after the run. */

import { mkdirSync } from "node:fs";
import { join } from "node:path";

import { removeDirectory, signal } from "../support/sandbox.ts";
import { ServerProcess } from "../support/server_process.ts";
import { FaultProxy } from "./fault_proxy.ts";
import { HostsFile } from "./hosts_file.ts";
import { Postgres } from "./postgres.ts";
import type { ProxiedValkey } from "./valkey.ts";

/** The delay before a crashed pod is restarted, as Kubernetes would. */
const RESTART_MS = 500;

export interface PodOptions {
  readonly env: Readonly<Record<string, string>>;
  /** Arguments of `bun` before the script. */
  readonly bunArgs: readonly string[];
  readonly hosts?: HostsFile | undefined;
}

interface Parts {
  readonly directory: string;
  readonly postgres: Postgres;
  readonly pods: readonly Pod[];
  readonly valkey: ProxiedValkey | undefined;
  readonly hosts: HostsFile | undefined;
}

export class Cluster {
  readonly pods: readonly Pod[];
  readonly postgres: Postgres;
  /** The bus, unless that is PostgreSQL. */
  readonly valkey: ProxiedValkey | undefined;
  /** Resolves PostgreSQL's name for pods; undefined where they use a socket. */
  readonly hosts: HostsFile | undefined;
  /** Reverts what a fault changed outside of the cluster. */
  readonly undo = new Set<() => void>();
  readonly #directory: string;

  private constructor(parts: Parts) {
    this.#directory = parts.directory;
    this.postgres = parts.postgres;
    this.pods = parts.pods;
    this.valkey = parts.valkey;
    this.hosts = parts.hosts;
  }

  /** @param options.prepare runs before the first pod starts */
  static async start(
    directory: string,
    options: {
      pods: number;
      users: number;
      pod: PodOptions;
      valkey?: ProxiedValkey | undefined;
      prepare?: (postgres: Postgres) => Promise<void>;
    },
  ): Promise<Cluster> {
    const postgres = await Postgres.create(join(directory, "postgres"), options.users);
    await options.prepare?.(postgres);
    const hosts = HostsFile.create(directory);
    const podOf = (_: unknown, i: number) => new Pod(i, directory, postgres, { ...options.pod, hosts });
    const pods = Array.from({ length: options.pods }, podOf);
    const cluster = new Cluster({ directory, postgres, pods, valkey: options.valkey, hosts });
    await Promise.all(pods.map((pod) => pod.start()));
    return cluster;
  }

  /** Ports of the proxies before the pods. */
  get ports(): number[] {
    return this.pods.map((pod) => pod.proxy.port);
  }

  /** Heals every proxy and reverts what faults changed. */
  heal(): void {
    this.#revert();
    for (const pod of this.pods) {
      pod.proxy.heal();
      pod.database.heal();
    }
    this.valkey?.proxy.heal();
  }

  /** Stops everything and removes the directory. @returns errors that the pods logged */
  async close(): Promise<string[]> {
    try {
      this.heal();
      await Promise.all(this.pods.map((pod) => pod.end()));
      await this.postgres.close();
      return this.pods.flatMap((pod) => pod.loggedErrors);
    } finally {
      this.kill();
    }
  }

  /** Kills every process and removes the directory, at once. */
  kill(): void {
    this.#revert();
    this.valkey?.close();
    for (const pod of this.pods) pod.kill({ forever: true });
    removeDirectory(this.#directory);
  }

  #revert(): void {
    for (const undo of this.undo) undo();
    this.undo.clear();
  }
}

/** A server process that may be stopped and restarted, at an address that stays. */
export class Pod {
  readonly index: number;
  /** Between clients and this pod. */
  readonly proxy: FaultProxy;
  /** Between this pod and PostgreSQL. */
  readonly database: FaultProxy;
  readonly loggedErrors: string[] = [];
  /** Exits that nothing asked for. */
  crashes = 0;
  readonly #options: PodOptions;
  readonly #directory: string;
  readonly #url: string;
  #server: ServerProcess | undefined;
  /** Whether it should run: if so, it is restarted after a crash. */
  #wanted = false;
  /** The run is over: no more starts. */
  #ended = false;

  constructor(index: number, directory: string, postgres: Postgres, options: PodOptions) {
    this.index = index;
    this.#directory = join(directory, `pod${index + 1}`);
    this.#options = options;
    mkdirSync(this.#directory);
    this.proxy = new FaultProxy(() => (this.port ? { hostname: "127.0.0.1", port: this.port } : undefined));
    const { hosts } = options;
    const socket = hosts ? undefined : { unix: join(this.#directory, ".s.PGSQL.5432") };
    this.database = new FaultProxy(() => postgres.address, socket);
    this.#url = hosts ? postgres.urlFor(hosts.name, this.database.port) : postgres.urlFor(this.#directory);
  }

  get name(): string {
    return `pod ${this.index + 1}`;
  }

  /** Its process id; 0 while it is down. */
  get pid(): number {
    return this.#server?.pid ?? 0;
  }

  /** Its own port, behind the proxy. */
  get port(): number {
    return this.#server?.port ?? 0;
  }

  /** Starts it, retrying while PostgreSQL is down. @param extra for this start only @returns when it serves */
  async start(extra: Partial<PodOptions> = {}): Promise<void> {
    this.#wanted = !this.#ended;
    for (let tries = 1; this.#wanted; tries++) {
      const server = new ServerProcess([...this.#options.bunArgs, ...(extra.bunArgs ?? [])], {
        cwd: this.#directory,
        wrapper: this.#options.hosts?.command ?? [],
        env: { DATABASE_URL: this.#url, LOG_LEVEL: "error", ...this.#options.env, ...extra.env },
      });
      this.#server = server;
      try {
        await server.ready;
        void this.#restartAfterCrash(server);
        return;
      } catch (error) {
        if (!this.#wanted) return;
        if (tries === 20) throw error;
        await Bun.sleep(RESTART_MS);
      }
    }
  }

  /** kill -9. @param options.forever also closes its proxies */
  kill({ forever = false } = {}): void {
    this.#wanted = false;
    this.#server?.kill();
    this.#server = undefined;
    if (!forever) return;
    this.#ended = true;
    this.proxy.close();
    this.database.close();
  }

  /** SIGTERM. @returns its exit code, null when it had to be killed, and how long it took */
  async terminate(withinMs = 30_000): Promise<{ code: number | null; ms: number }> {
    const server = this.#server;
    const startedAt = performance.now();
    if (!server) return { code: null, ms: 0 };
    this.#wanted = false;
    this.signal("SIGTERM");
    const timer = setTimeout(() => server.kill(), withinMs);
    const code = await server.exited;
    clearTimeout(timer);
    this.#server = undefined;
    await this.#collectErrors(server);
    return { code, ms: performance.now() - startedAt };
  }

  signal(name: NodeJS.Signals): void {
    if (this.pid > 0) signal(this.pid, name);
  }

  /** Stops it for good. */
  async end(): Promise<void> {
    this.#ended = true;
    this.#wanted = false;
    this.signal("SIGCONT");
    const server = this.#server;
    await server?.stop();
    if (server) await this.#collectErrors(server);
  }

  async #restartAfterCrash(server: ServerProcess): Promise<void> {
    const code = await server.exited;
    if (!this.#wanted || this.#server !== server) return;
    this.crashes++;
    this.loggedErrors.push(`${this.name} exited by itself with ${code}`);
    await this.#collectErrors(server);
    await Bun.sleep(RESTART_MS);
    if (this.#wanted && this.#server === server) await this.start();
  }

  async #collectErrors(server: ServerProcess): Promise<void> {
    await server.stop();
    const errors = server.loggedErrors.filter((line) => !/^server log: +at /.test(line)); // without stack frames
    for (const line of errors) this.loggedErrors.push(`${this.name}: ${line}`);
  }
}
