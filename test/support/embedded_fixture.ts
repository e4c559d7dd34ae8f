/**
 * Embedded PostgreSQLs for tests: directories of their own below `base`, chatifys in processes of their own, perhaps another user's, and
 * what can be seen of them from outside.
 */

import { expect } from "bun:test";
import {
  chmodSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  rmSync,
  statSync,
} from "node:fs";
import { platform, tmpdir, userInfo } from "node:os";
import { dirname, join } from "node:path";

import { connect } from "../../src/db/client.ts";
import { startEmbedded } from "../../src/db/start_embedded.ts";
import { type Embedded, EmbeddedError } from "../../src/embedded_postgres/embedded_postgres.ts";
import { findPackage } from "../../src/embedded_postgres/programs.ts";
import { Log } from "../../src/log.ts";
import { until } from "./until.ts";

export const NOBODY = 65534;
export const base = realpathSync(mkdtempSync(join(tmpdir(), "chatify-embedded-")));
chmodSync(base, 0o755);
export const installed = findPackage();
export const root = userInfo().uid === 0;
export const linux = platform() === "linux";
/** What runs a chatify in a process of its own; in a clone that only root can enter, copies that an ordinary user can run. */
export const { bun, fixture } = runnable();
export const namespaces = Bun.spawnSync(["sh", "-c", "unshare --user --map-user=65534 --map-group=65534 true"]).success;
export const children: Bun.Subprocess[] = [];
export const logged: string[] = [];

/** Ends everything and removes `base`; for `afterAll`. */
export async function cleanUp(): Promise<void> {
  for (const child of children) child.kill("SIGKILL");
  for (const embedded of started) await embedded.stop(); // else one that is killed is started again
  await endBelow(base);
  for (const path of disks) Bun.spawnSync(["umount", path], { stderr: "ignore" });
  rmSync(base, { recursive: true, force: true, maxRetries: 5 });
}

const disks: string[] = [];

/** An empty disk of `megabytes`, or undefined where none can be mounted. */
export function disk(megabytes: number): string | undefined {
  const path = fresh();
  mkdirSync(path);
  const options = `size=${megabytes}m,mode=755`;
  if (!Bun.spawnSync(["mount", "-t", "tmpfs", "-o", options, "tmpfs", path], { stderr: "ignore" }).success)
    return undefined;
  disks.push(path);
  return path;
}

function runnable(): { bun: string; fixture: string } {
  const own = { bun: process.execPath, fixture: join(import.meta.dir, "embedded_process.ts") };
  const mayRun = (path: string, way: string) =>
    !root || Bun.spawnSync(["test", way, path], { uid: NOBODY, gid: NOBODY, cwd: "/" }).success;
  if (mayRun(own.bun, "-x") && mayRun(own.fixture, "-r") && mayRun(installed, "-r")) return own;
  const clone = join(base, "clone");
  const here = dirname(dirname(import.meta.dir));
  for (const part of ["src", "test/support/embedded_process.ts", "node_modules/postgres", "package.json"]) {
    cpSync(join(here, part), join(clone, part), { recursive: true });
  }
  cpSync(own.bun, join(base, "bun"));
  return { bun: join(base, "bun"), fixture: join(clone, "test/support/embedded_process.ts") };
}

let made = 0;
/** A DATA_DIR that does not exist yet. */
export function fresh(): string {
  return join(base, `data-${++made}`);
}

const started: Embedded[] = [];

export async function start(
  directory: string,
  options: { packageDirectory?: string; say?: (line: string) => void } = {},
): Promise<Embedded> {
  const embedded = await startEmbedded({
    directory,
    log: new Log({ level: "info", format: "text", write: (line) => logged.push(line) }),
    ...options,
  });
  started.push(embedded);
  return embedded;
}

export async function ask<Row>(embedded: { target: Embedded["target"] }, statement: string): Promise<Row> {
  const sql = connect(embedded.target, { name: "test" });
  try {
    const [row] = await sql.unsafe(statement);
    return row as Row;
  } finally {
    await sql.end({ timeout: 1 });
  }
}

/** What a refused start says. */
export async function refusal(starting: Promise<unknown>): Promise<string> {
  const error = await starting.then(
    () => undefined,
    (error: unknown) => error,
  );
  expect(error).toBeInstanceOf(EmbeddedError);
  expect((error as EmbeddedError).message).toContain("Or set DATABASE_URL");
  return (error as EmbeddedError).message;
}

export type Answer = { state: string; target: Embedded["target"]; answered: boolean; refused: string; stopped: string };

/** A chatify in a process of its own, perhaps another user's. */
export class Chatify {
  readonly process: Bun.Subprocess<"pipe", "pipe", "pipe">;
  #lines: AsyncIterator<string>;

  constructor(
    directory: string,
    options: {
      uid?: number;
      packageDirectory?: string;
      path?: string;
      temporary?: string;
      umask?: string;
      leave?: boolean;
    } = {},
  ) {
    const { uid, packageDirectory = installed, path = Bun.env["PATH"]!, leave = false } = options;
    const { temporary = tmpdir(), umask = "022" } = options;
    const command = [bun, fixture, directory, packageDirectory, leave ? "leave" : ""];
    this.process = Bun.spawn(["sh", "-c", `umask ${umask}; exec "$@"`, "sh", ...command], {
      stdin: "pipe",
      stdout: "pipe",
      stderr: "pipe",
      cwd: "/",
      env: { PATH: path, TMPDIR: temporary, ...(uid === undefined ? { HOME: base } : {}) },
      ...(uid === undefined ? {} : { uid, gid: uid }),
    });
    children.push(this.process);
    this.#lines = lines(this.process.stdout);
  }

  async says(): Promise<Answer> {
    const { value } = await this.#lines.next();
    if (value === undefined) throw new Error(await new Response(this.process.stderr).text());
    return JSON.parse(value) as Answer;
  }

  async stop(): Promise<string> {
    this.process.stdin.write("stop\n");
    this.process.stdin.end();
    const { stopped } = await this.says();
    expect(await this.process.exited).toBe(0);
    return stopped;
  }

  async kill(): Promise<void> {
    this.process.kill("SIGKILL");
    await this.process.exited;
  }
}

async function* lines(stream: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  let rest = "";
  for await (const chunk of stream.pipeThrough(new TextDecoderStream() as never) as unknown as AsyncIterable<string>) {
    const parts = (rest + chunk).split("\n");
    rest = parts.pop()!;
    yield* parts;
  }
}

/** Processes at work in `directory` or below it: PostgreSQL's are, whoever started them. */
export function processesBelow(directory: string): number[] {
  if (!linux) return [];
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .filter((name) => {
      try {
        return `${readlinkSync(`/proc/${name}/cwd`)}/`.startsWith(`${directory}/`);
      } catch {
        return false;
      }
    })
    .map(Number);
}

/** Waits until nothing is at work there: PostgreSQL's logger outlives the postmaster by a moment. */
export async function emptied(directory: string): Promise<void> {
  await until(`nothing is at work in ${directory}`, () => processesBelow(directory).length === 0);
}

/** Kills what is at work in `directory` or below it. */
export async function endBelow(directory: string): Promise<void> {
  for (const pid of processesBelow(directory)) {
    try {
      process.kill(pid, "SIGKILL");
    } catch {
      // it ended meanwhile
    }
  }
  await emptied(directory);
}

export function postmaster(directory: string): number {
  return Number(readFileSync(join(directory, "pg18/cluster/postmaster.pid"), "utf8").split("\n")[0]);
}

/** Kills PostgreSQL as a power cut would, and waits until nothing of it is left. */
export async function cutPower(directory: string): Promise<void> {
  process.kill(postmaster(directory), "SIGKILL");
  await emptied(directory);
}

export function mode(path: string): string {
  return (statSync(path).mode & 0o777).toString(8);
}
