/**
 * One PostgreSQL for all test files of a run, in a process of its own: the first file that needs it starts it, and it stops when the
 * test runner exits. It is not a child of the runner, which kills its children when a test times out.
 */

import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, statfsSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { startEmbedded } from "../../src/db/start_embedded.ts";
import type { SocketTarget } from "../../src/embedded_postgres/embedded_postgres.ts";
import { Log } from "../../src/log.ts";
import { until } from "./until.ts";

export interface SharedPostgres {
  readonly target: Readonly<SocketTarget>;
  /** The directory of PostgreSQL's own log. */
  readonly logs: string;
  /** Removed at the end of the run. */
  readonly directory: string;
}

/** Connects to this run's PostgreSQL; starts it if it is not running. */
export async function sharedPostgres(): Promise<SharedPostgres> {
  const runner = Bun.env["BUN_TEST_WORKER_ID"] ? process.ppid : process.pid;
  const directory = join(place(), `chatify-test-${runner}`);
  const address = join(directory, "address.json");
  const read = () => JSON.parse(readFileSync(address, "utf8")) as SharedPostgres & { pid: number };
  if (existsSync(address) && !isAlive(read().pid)) rmSync(directory, { recursive: true, force: true });
  if (claim(directory)) {
    const command = [process.execPath, import.meta.path, directory, String(runner)];
    await Bun.spawn(["sh", "-c", '"$@" >"$3/output" 2>&1 &', "sh", ...command], {
      detached: true,
      stdio: ["ignore", "ignore", "ignore"],
    }).exited;
  }
  await until(`PostgreSQL starts (${directory}/output)`, () => existsSync(address), 60_000);
  return read();
}

/** For clusters: in memory where there is room, since each test creates databases of 8 MB; else on the disk. */
export function place(): string {
  const memory = "/dev/shm";
  if (!existsSync(memory)) return tmpdir();
  const { bavail, bsize } = statfsSync(memory);
  return bavail * bsize > 2 ** 31 ? memory : tmpdir();
}

/** Whether this process created the directory, rather than another worker. */
function claim(directory: string): boolean {
  try {
    mkdirSync(directory, { mode: 0o755 });
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw error;
  }
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

async function serve(directory: string, runner: number): Promise<void> {
  const home = join(directory, "pg18");
  mkdirSync(home);
  writeFileSync(join(home, "local.conf"), "max_connections = 500\n"); // a server has seven
  const log = new Log({ level: "info", format: "text", write: (line) => console.log(line) });
  const embedded = await startEmbedded({ directory, log });
  const address: SharedPostgres & { pid: number } = {
    target: embedded.target as SocketTarget,
    logs: join(embedded.directory, "log"),
    directory,
    pid: process.pid,
  };
  const draft = join(directory, "address.draft");
  writeFileSync(draft, JSON.stringify(address), { mode: 0o600 });
  renameSync(draft, join(directory, "address.json"));
  while (isAlive(runner)) await Bun.sleep(200);
  await embedded.stop();
  rmSync(directory, { recursive: true, force: true });
}

if (import.meta.main) await serve(Bun.argv[2]!, Number(Bun.argv[3]));
