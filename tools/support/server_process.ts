/** A chatify server as a child process. */

import { join } from "node:path";

import { withOpenFiles } from "../bench/worker.ts";
import { SESSION_SECRET } from "./users.ts";

const ROOT = join(import.meta.dir, "..", "..");
const START_MS = 60_000;
const STOP_MS = 8_000;

/** The machine lacks something that the run needs; the message says what, and what to do. */
export class EnvironmentError extends Error {
  constructor(message: string) {
    super(message);
    this.name = "EnvironmentError";
  }
}

export class ServerProcess {
  port = 0;
  startedInMs = 0;
  /** Rejected if it does not start. */
  readonly ready: Promise<void>;
  readonly #child: Bun.Subprocess<"ignore", "pipe", "pipe">;
  readonly #stderr: Promise<string>;
  #log = "";
  #stopping: Promise<void> | undefined;

  /** @param bunArgs arguments of `bun` before the script @param options.wrapper runs the command, such as `unshare` */
  constructor(bunArgs: string[], options: { cwd: string; env: Record<string, string>; wrapper?: readonly string[] }) {
    const startedAt = performance.now();
    const command = [process.execPath, "--no-orphans", "--no-install", ...bunArgs, join(ROOT, "src", "main.ts")];
    const { PATH = "", HOME = "", TMPDIR } = Bun.env;
    this.#child = Bun.spawn([...(options.wrapper ?? []), ...withOpenFiles(command, openFilesLimit())], {
      cwd: options.cwd, // a directory without an .env
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
      detached: true, // Ctrl-C reaches only the parent, which then stops this
    });
    this.#stderr = new Response(this.#child.stderr).text().then((text) => (this.#log = text));
    this.ready = this.#waitForPort(startedAt);
  }

  get pid(): number {
    return this.#child.pid;
  }

  /** The exit code; null after a signal. */
  get exited(): Promise<number | null> {
    return this.#child.exited.then(() => this.#child.exitCode);
  }

  /** Logged warnings and errors, of which there should be none; complete once it has stopped. */
  get loggedErrors(): string[] {
    const lines = this.#log.trim().split("\n").filter(Boolean);
    return lines.slice(0, 5).map((line) => `server log: ${line}`);
  }

  stop(): Promise<void> {
    this.#stopping ??= (async () => {
      this.#child.kill("SIGINT");
      const timer = setTimeout(() => this.kill(), STOP_MS);
      await this.#child.exited;
      await this.#stderr;
      clearTimeout(timer);
    })();
    return this.#stopping;
  }

  kill(): void {
    this.#child.kill("SIGKILL");
  }

  /** The banner names the port that the system chose. */
  async #waitForPort(startedAt: number): Promise<void> {
    const timer = setTimeout(() => this.kill(), START_MS);
    let text = "";
    for await (const chunk of this.#child.stdout.pipeThrough(new TextDecoderStream())) {
      text += chunk;
      this.port = Number(/http:\/\/127\.0\.0\.1:(\d+)/.exec(text)?.[1] ?? 0);
      if (this.port === 0) continue;
      clearTimeout(timer);
      this.startedInMs = performance.now() - startedAt;
      return;
    }
    throw new EnvironmentError(`chatify did not start:\n${text}${await this.#stderr}`);
  }
}

/** How many files, and so sockets, a process may open here. */
export function openFilesLimit(): number {
  const { stdout } = Bun.spawnSync(["sh", "-c", "ulimit -Hn"]);
  const limit = stdout.toString().trim();
  return limit === "unlimited" ? 100_000 : Math.min(Number(limit), 100_000);
}
