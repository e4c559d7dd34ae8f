/**
 * An embedded PostgreSQL: created in `DATA_DIR` at the first start, reached over a private unix
 * socket, shared by all processes that use that directory, and stopped by the last. From any state
 * on disk (a partial cluster, an orphaned server, files of a crash) it ends up with one PostgreSQL
 * that responds.
 */

import { closeSync, existsSync, mkdirSync, openSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";

import { createCluster, hideFromPostgres, settingsFile } from "./cluster_settings.ts";
import { EmbeddedError, explain, INSTEAD } from "./failure.ts";
import { type HeldLock, tryLock, waitForLock } from "./file_lock.ts";
import { chownTree, isPrivate, lastLogLines, prepareHome, socketDirectory } from "./files.ts";
import { PASSWORD, PORT } from "./layout.ts";
import { clearStalePostmaster, interrupt, readPostmaster, sameFile, worksIn } from "./postmaster_pid.ts";
import { findPackage, Programs } from "./programs.ts";
import { repairHome } from "./repair.ts";
import type { Ids } from "./system_user.ts";

export { EmbeddedError } from "./failure.ts";

/** How to connect: the socket's directory, and the port in the socket's name. */
export interface SocketTarget {
  host: string;
  readonly port: number;
  readonly username: string;
  password: string;
  readonly database: string;
}

export interface Embedded {
  readonly target: Readonly<SocketTarget>;
  /** The directory with the cluster, log and socket. */
  readonly directory: string;
  /** Newly created, started from an existing cluster, or found running. */
  readonly state: "created" | "started" | "adopted";
  /** Stops PostgreSQL unless another chatify uses it. The caller closes its connections first. */
  stop(): Promise<"stopped" | "not running" | "in use by another chatify" | "still stopping">;
}

/** Where events are logged. */
interface EventLog {
  info(event: string, fields: Record<string, string | number>): void;
  warn(event: string, fields: Record<string, string>): void;
  error(event: string, error?: unknown, fields?: Record<string, string | number>): void;
}

export interface Options {
  /** `DATA_DIR`, absolute. */
  directory: string;
  log: EventLog;
  /** Runs a statement over a separate connection. Errors have the SQLSTATE as `code`. */
  query: <Row extends object>(target: Readonly<SocketTarget>, statement: string) => Promise<Row[]>;
  /** Whether other processes are still connected after a short grace period. */
  isInUse: (target: Readonly<SocketTarget>) => Promise<boolean>;
  /** Prints progress to the terminal. */
  say?: (line: string) => void;
  /** The npm package with PostgreSQL's programs; default: the installed one. */
  packageDirectory?: string;
}

/** How long PostgreSQL may take to stop because of open sessions. */
const STOPPING_MS = 60_000;
/** Recovery has no time limit: giving up would restart it. */
const PATIENCE_MS: Record<string, number> = {
  "57P03": Number.POSITIVE_INFINITY,
  starting: Number.POSITIVE_INFINITY,
  standby: STOPPING_MS,
  stopping: STOPPING_MS,
};
/** How long a running PostgreSQL may fail to respond, for example for lack of a free connection. */
const UNRESPONSIVE_MS = 5_000;
const NO_DATABASE = "3D000";
const DISK_FULL = "53100";
const POLL_MS = 10;

/**
 * Starts PostgreSQL, or adopts a running one, and restarts it if it dies, until `stop`. On failure,
 * stops what it started.
 *
 * @throws EmbeddedError with the reason and a remedy
 */
export async function startPostgres(options: Options): Promise<Embedded> {
  const directory = resolve(options.directory);
  try {
    const postmaster = new Postmaster({ ...options, directory }, prepareHome(directory));
    await postmaster.begin();
    return postmaster;
  } catch (error) {
    throw explain(error, directory);
  }
}

const postmasters = new Set<Postmaster>();

/** Signals every PostgreSQL of this process to stop, unless in use. For exits that cannot wait. */
export function abandonEmbedded(): void {
  for (const postmaster of postmasters) postmaster.abandon();
}

class Postmaster implements Embedded {
  readonly directory: string;
  state: Embedded["state"] = "adopted";
  target: SocketTarget = { host: "", port: PORT, username: "chatify", password: "", database: "chatify" };
  #options: Options;
  #cluster: string;
  #use: HeldLock | undefined;
  #programs: Programs | undefined; // set once found
  #child: Bun.Subprocess | undefined; // undefined if it was adopted
  #stopping: ReturnType<Embedded["stop"]> | undefined;

  constructor(options: Options, home: string) {
    this.#options = options;
    this.directory = home;
    this.#cluster = join(home, "cluster");
  }

  async begin(): Promise<void> {
    await this.#withLock(async () => {
      postmasters.add(this);
      try {
        const created = !existsSync(this.#cluster);
        if (created) await this.#create();
        const state = await this.#ensure();
        this.state = created ? "created" : state;
        this.#use = tryLock(join(this.directory, "in-use"), "shared");
        // Root's files too: the next chatify may run as the cluster's owner.
        chownTree(this.directory, statSync(this.#cluster));
      } catch (error) {
        await this.#endChild();
        postmasters.delete(this);
        throw error;
      }
    });
    void this.#watch();
  }

  abandon(): void {
    this.#use?.[Symbol.dispose]();
    if (tryLock(join(this.directory, "in-use"), "exclusive")) this.#programs?.interrupt();
  }

  stop(): ReturnType<Embedded["stop"]> {
    this.#stopping ??= (async () => {
      postmasters.delete(this);
      this.#use?.[Symbol.dispose]();
      return this.#withLock(() => this.#stopUnlessUsed());
    })();
    return this.#stopping;
  }

  /** Adopts or starts PostgreSQL. Never creates a cluster, even if it was deleted while serving. */
  async #ensure(): Promise<"adopted" | "started"> {
    this.target.password = readFileSync(join(this.#cluster, PASSWORD), "utf8");
    const [found, { host }] = [readPostmaster(this.#cluster), this.target];
    if (found && (await this.#waitUntilReady(() => worksIn(this.#cluster, found.pid)))) {
      this.#child = undefined;
      return "adopted";
    }
    this.target.host = host; // in a copied directory, postmaster.pid names the original's sockets
    await this.#start();
    return "started";
  }

  async #create(): Promise<void> {
    const { directory: home } = this;
    const begun = performance.now();
    this.#options.say?.("Preparing the database (first start only) …");
    await createCluster(this.#cluster, await this.#findPrograms(undefined));
    this.#options.log.info("database created", { directory: home, ms: Math.round(performance.now() - begun) });
  }

  async #start(): Promise<void> {
    const { directory: home } = this;
    const begun = performance.now();
    const owner = statSync(this.#cluster);
    const programs = await this.#findPrograms(owner);
    // Older versions ran PostgreSQL as a shared system user.
    if (programs.files.uid !== owner.uid) hideFromPostgres(join(this.#cluster, PASSWORD));
    const logs = join(home, "log");
    mkdirSync(logs, { recursive: true });
    repairHome(home, programs.files);
    if (!isPrivate(this.target.host, programs.files.uid)) this.target.host = socketDirectory(home, programs.files);
    const settings = join(home, "postgresql.conf");
    writeFileSync(settings, settingsFile(this.target.host, logs));
    for (;;) {
      clearStalePostmaster(this.#cluster, this.target.host);
      const startLog = join(logs, "start.log");
      const output = openSync(startLog, "w", 0o600);
      // Root's umask may hide these files from PostgreSQL's user.
      for (const directory of [home, logs]) chownTree(directory, programs.files);
      const child = programs.start(["-D", this.#cluster, "-c", `config_file=${settings}`], { cwd: home, output });
      closeSync(output);
      this.#child = child;
      if (await this.#waitUntilReady(() => child.exitCode === null && child.signalCode === null)) break;
      // Until the backends of a killed PostgreSQL exit, a new one refuses to use their shared
      // memory.
      const isTooEarly = /still in use|lock file .* already exists/.test(readFileSync(startLog, "utf8"));
      if (!isTooEarly || performance.now() - begun > 10_000) {
        throw explain(new Error(lastLogLines(logs)), this.#options.directory);
      }
      await Bun.sleep(100);
    }
    this.#options.log.info("database started", { directory: home, ms: Math.round(performance.now() - begun) });
  }

  /** Waits until PostgreSQL, which may start, recover or stop, responds. @returns false if it exits */
  async #waitUntilReady(alive: () => boolean): Promise<boolean> {
    const begun = performance.now();
    for (let isNoticed = false; ;) {
      const { status = "starting", sockets = "" } = readPostmaster(this.#cluster) ?? {};
      if (status === "ready") this.target.host = sockets; // not known earlier
      const answer = status === "ready" ? await this.#ask() : status;
      if (answer === "ours") return true;
      if (!alive()) return false;
      // Left by an older version whose first start failed on a full disk.
      if (answer === NO_DATABASE && !this.#use)
        await this.#options.query({ ...this.target, database: "postgres" }, "create database chatify");
      const waited = performance.now() - begun;
      const patience = PATIENCE_MS[answer] ?? UNRESPONSIVE_MS;
      if (waited > patience) throw this.#unreachable(answer);
      if (waited > 1_000 && !isNoticed) this.#options.say?.(`Waiting for the database, which is ${status} …`);
      isNoticed = waited > 1_000;
      await Bun.sleep(Math.min(200, POLL_MS + waited / 20));
    }
  }

  /** "ours" if this directory's PostgreSQL responds; otherwise why not. */
  async #ask(): Promise<string> {
    if (!isPrivate(this.target.host, statSync(this.#cluster).uid)) return "its directory is missing";
    try {
      const statement = "select current_setting('data_directory') as directory";
      const [row] = await this.#options.query<{ directory: string }>(this.target, statement);
      return row && sameFile(row.directory, this.#cluster) ? "ours" : "another database responds";
    } catch (error) {
      return codeOf(error) || String(error);
    }
  }

  #unreachable(answer: string): EmbeddedError {
    if (answer === DISK_FULL) return explain(new Error("No space left on device"), this.#options.directory);
    return new EmbeddedError(
      `The database in ${this.directory} runs but does not respond on its socket in ${this.target.host} (${answer})`,
      `Its log is in ${this.directory}/log. ${INSTEAD}`,
    );
  }

  /** Restarts PostgreSQL whenever it exits, with exponential backoff. */
  async #watch(): Promise<void> {
    let delayMs = 0;
    for (;;) {
      const begun = performance.now();
      await this.#exited();
      if (this.#stopping) return;
      this.#options.log.error("database died, restarting", undefined, { directory: this.directory, delayMs });
      await pause(delayMs);
      delayMs = performance.now() - begun > 60_000 ? 0 : Math.min(100 + delayMs * 2, 30_000);
      try {
        await this.#withLock(async () => this.#stopping ?? this.#ensure());
      } catch (error) {
        this.#options.log.error("database not started", error);
      }
    }
  }

  async #exited(): Promise<void> {
    if (this.#child) return void (await this.#child.exited);
    do await pause(1_000);
    while (!this.#stopping && (this.#runs() || (await this.#ask()) === "ours")); // a process in another container is invisible
  }

  async #stopUnlessUsed(): Promise<Awaited<ReturnType<Embedded["stop"]>>> {
    const free = tryLock(join(this.directory, "in-use"), "exclusive");
    if (!free) return "in use by another chatify";
    free[Symbol.dispose]();
    if (!this.#runs()) return "not running";
    const pid = readPostmaster(this.#cluster)?.pid ?? 0;
    try {
      if (await this.#options.isInUse(this.target)) return "in use by another chatify";
    } catch (error) {
      this.#options.log.warn("checking for other users of the database failed", { code: codeOf(error) });
    }
    if (worksIn(this.#cluster, pid)) interrupt(pid);
    for (const begun = performance.now(); performance.now() - begun < 20_000; await Bun.sleep(POLL_MS)) {
      if (worksIn(this.#cluster, pid)) continue;
      if (!this.target.host.startsWith(this.directory)) rmSync(this.target.host, { recursive: true, force: true });
      return "stopped";
    }
    return "still stopping";
  }

  #runs(): boolean {
    return worksIn(this.#cluster, readPostmaster(this.#cluster)?.pid ?? 0);
  }

  /** Ends the PostgreSQL process that a failed start launched. */
  async #endChild(): Promise<void> {
    const child = this.#child;
    for (const signal of ["SIGINT", "SIGQUIT", "SIGKILL"] as const) {
      child?.kill(signal);
      if ((await Promise.race([child?.exited, Bun.sleep(5_000).then(() => "running")])) !== "running") return;
    }
  }

  async #findPrograms(owner: Ids | undefined): Promise<Programs> {
    const packageDirectory = this.#options.packageDirectory ?? findPackage();
    this.#programs = await Programs.find({ packageDirectory, home: this.directory, owner });
    return this.#programs;
  }

  /** Runs `act` under the lock that serializes creating, starting and stopping this PostgreSQL. */
  async #withLock<T>(act: () => Promise<T>): Promise<T> {
    using held = await waitForLock(join(this.directory, "lock"), {
      onWait: () => this.#options.say?.("Waiting for another chatify that is starting the database …"),
      timeoutMs: 1.5 * STOPPING_MS,
    });
    if (held) return await act();
    throw new EmbeddedError(`Another chatify has locked the database in ${this.directory}`, "Stop it first.");
  }
}

/** The SQLSTATE or system error code, "" if there is none. */
function codeOf(error: unknown): string {
  return error instanceof Error && "code" in error ? String(error.code) : "";
}

/** Sleeps without keeping the process alive. */
function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms).unref());
}
