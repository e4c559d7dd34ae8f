/**
 * What a run plays on: a directory, a PostgreSQL, several pods, and a proxy before and behind each. Whatever ends the run, nothing of it
 * stays.
 */

import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statfsSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { MachineError, ServerProcess } from "../support/sandbox.ts";
import { FaultProxy } from "./fault_proxy.ts";
import { HostsFile } from "./hosts_file.ts";
import { Postgres } from "./postgres.ts";
import type { Valkey } from "./valkey.ts";

const ROOM_BYTES = 1.5 * 2 ** 30;
/** How soon a pod that ended by itself is started again, as Kubernetes would. */
const AGAIN_MS = 500;

/** What pods are started with. */
export interface PodOptions {
  readonly env: Readonly<Record<string, string>>;
  /** Words for `bun` before the script. */
  readonly words: readonly string[];
  readonly names?: HostsFile | undefined;
}

export class Cluster {
  readonly directory: string;
  readonly pods: readonly Pod[];
  readonly postgres: Postgres;
  /** What carries events between pods, when that is not PostgreSQL. */
  readonly valkey: Valkey | undefined;
  /** How pods find PostgreSQL; undefined where that takes no name. */
  readonly names: HostsFile | undefined;
  /** What a fault changed outside of the run, and has to be undone whatever happens. */
  readonly undo = new Set<() => void>();

  private constructor(
    directory: string,
    parts: { postgres: Postgres; pods: readonly Pod[]; valkey: Valkey | undefined; names: HostsFile | undefined },
  ) {
    this.directory = directory;
    this.postgres = parts.postgres;
    this.pods = parts.pods;
    this.valkey = parts.valkey;
    this.names = parts.names;
  }

  /** A directory for a run, to be given to `start`. @throws MachineError when there is no room */
  static place(): string {
    const { bavail, bsize } = statfsSync(tmpdir());
    if (bavail * bsize < ROOM_BYTES)
      throw new MachineError(
        `The fault run needs 1.5 GB in ${tmpdir()}. Free some, or name another place: TMPDIR=/somewhere`,
      );
    return mkdtempSync(join(tmpdir(), "chatify-chaos-"));
  }

  /** @param options.prepare runs before the first pod starts */
  static async start(
    directory: string,
    options: {
      pods: number;
      people: number;
      pod: PodOptions;
      valkey?: Valkey | undefined;
      prepare?: (postgres: Postgres) => Promise<void>;
    },
  ): Promise<Cluster> {
    const postgres = await Postgres.start(join(directory, "postgres"), options.people);
    await options.prepare?.(postgres);
    const names = HostsFile.make(directory);
    const pods = Array.from(
      { length: options.pods },
      (_, i) => new Pod(i, directory, postgres, { ...options.pod, names }),
    );
    const cluster = new Cluster(directory, { postgres, pods, valkey: options.valkey, names });
    await Promise.all(pods.map((pod) => pod.start()));
    return cluster;
  }

  /** Ports of the proxies that lead to the pods. */
  get ports(): number[] {
    return this.pods.map((pod) => pod.proxy.port);
  }

  /** Every proxy is whole. */
  heal(): void {
    for (const undo of this.undo) undo();
    this.undo.clear();
    for (const pod of this.pods) {
      pod.proxy.heal();
      pod.database.heal();
    }
    this.valkey?.proxy.heal();
  }

  /** Ends everything and leaves no trace. @returns complaints of the pods */
  async close(): Promise<string[]> {
    try {
      this.heal();
      await Promise.all(this.pods.map((pod) => pod.end()));
      await this.postgres.close();
      this.valkey?.close();
      return this.pods.flatMap((pod) => pod.complaints);
    } finally {
      abandon(this.directory, this.pods);
    }
  }

  abandon(): void {
    for (const undo of this.undo) undo();
    this.undo.clear();
    this.valkey?.close();
    abandon(this.directory, this.pods);
  }
}

/** Ends what runs in a directory without asking anybody nicely, and removes it. */
export function abandon(directory: string, pods: readonly Pod[] = []): void {
  for (const pod of pods) pod.abandon();
  if (!existsSync(directory)) return;
  for (const file of new Bun.Glob("**/postmaster.pid").scanSync({ cwd: directory, dot: true })) {
    const [pid, , , , sockets = ""] = readFileSync(join(directory, file), "utf8").split("\n");
    send(Number(pid), "SIGQUIT"); // at once; it takes its sessions along
    if (sockets !== "" && !sockets.startsWith(directory)) rmSync(sockets, { recursive: true, force: true });
  }
  rmSync(directory, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
}

/** A pod: a server process that may come and go, at an address that stays. */
export class Pod {
  readonly index: number;
  /** Between clients and this pod. */
  readonly proxy: FaultProxy;
  /** Between this pod and PostgreSQL. */
  readonly database: FaultProxy;
  readonly complaints: string[] = [];
  readonly #options: PodOptions;
  readonly #directory: string;
  readonly #url: string;
  #server: ServerProcess | undefined;
  /** Whether it is meant to run: else it may end without being started again. */
  #wanted = false;
  /** The run is over: it does not start any more. */
  #ended = false;
  /** Ends nobody asked for. */
  died = 0;

  constructor(index: number, directory: string, postgres: Postgres, options: PodOptions) {
    this.index = index;
    this.#directory = join(directory, `pod${index + 1}`);
    this.#options = options;
    mkdirSync(this.#directory);
    this.proxy = new FaultProxy(() =>
      this.#server?.port ? { hostname: "127.0.0.1", port: this.#server.port } : undefined,
    );
    const { names } = options;
    this.database = new FaultProxy(
      () => postgres.place,
      names ? undefined : { unix: join(this.#directory, ".s.PGSQL.5432") },
    );
    this.#url = names ? postgres.address(names.name, this.database.port) : postgres.address(this.#directory);
  }

  get name(): string {
    return `pod ${this.index + 1}`;
  }

  /** Its process; 0 while there is none. */
  get pid(): number {
    return this.#server?.pid ?? 0;
  }

  /** Its own port, past the proxy. */
  get port(): number {
    return this.#server?.port ?? 0;
  }

  /** Starts it, again and again if need be. @param extra for this start only @returns when it serves */
  async start(extra: Partial<PodOptions> = {}): Promise<void> {
    this.#wanted = !this.#ended;
    for (let tries = 1; this.#wanted; tries++) {
      const server = new ServerProcess([...this.#options.words, ...(extra.words ?? [])], {
        cwd: this.#directory,
        before: this.#options.names?.command ?? [],
        env: { DATABASE_URL: this.#url, LOG_LEVEL: "error", ...this.#options.env, ...extra.env },
      });
      this.#server = server;
      try {
        await server.ready;
        void this.#watch(server);
        return;
      } catch (error) {
        if (!this.#wanted) return;
        if (tries === 20) throw error;
        await Bun.sleep(AGAIN_MS); // PostgreSQL is away
      }
    }
  }

  /** kill -9. */
  kill(): void {
    this.#wanted = false;
    this.signal("SIGKILL");
    this.#server = undefined;
  }

  /** Asks it to leave. @returns its exit code, null when it had to be killed, and how long it took */
  async leave(withinMs = 30_000): Promise<{ code: number | null; ms: number }> {
    const server = this.#server;
    const begun = performance.now();
    if (!server) return { code: null, ms: 0 };
    this.#wanted = false;
    this.signal("SIGTERM");
    const timer = setTimeout(() => server.kill(), withinMs);
    const code = await server.exited;
    clearTimeout(timer);
    this.#server = undefined;
    await this.#hearOut(server);
    return { code, ms: performance.now() - begun };
  }

  signal(name: NodeJS.Signals): void {
    if (this.pid > 0) send(this.pid, name);
  }

  /** Ends it for good. */
  async end(): Promise<void> {
    this.#ended = true;
    this.#wanted = false;
    this.signal("SIGCONT");
    const server = this.#server;
    await server?.stop();
    if (server) await this.#hearOut(server);
    this.proxy.close();
    this.database.close();
  }

  abandon(): void {
    this.#ended = true;
    this.#wanted = false;
    this.#server?.kill();
    this.proxy.close();
    this.database.close();
  }

  async #watch(server: ServerProcess): Promise<void> {
    const code = await server.exited;
    if (!this.#wanted || this.#server !== server) return;
    this.died++;
    this.complaints.push(`${this.name} ended by itself with ${code}`);
    await this.#hearOut(server);
    await Bun.sleep(AGAIN_MS);
    if (this.#wanted && this.#server === server) await this.start();
  }

  async #hearOut(server: ServerProcess): Promise<void> {
    await server.stop();
    const told = server.complaints.filter((line) => !/^the server said: +at /.test(line)); // without stacks
    for (const line of told) this.complaints.push(`${this.name}: ${line}`);
  }
}

/** Sends a signal to a process that may be gone. */
export function send(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch {
    // it was gone already
  }
}
