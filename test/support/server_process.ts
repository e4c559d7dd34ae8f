/** chatify as a process of its own, which a test can kill, suspend and start again. */

import { join } from "node:path";

import { freePort, migratedDatabase, ROOT } from "./harness.ts";

/** Starts a server on a new database. */
export async function startServerProcess(): Promise<ServerProcess> {
  const server = new ServerProcess(freePort(), await migratedDatabase());
  await server.start();
  return server;
}

/** A server that keeps its port and database across restarts. */
export class ServerProcess {
  readonly url: string;
  readonly database: string;
  readonly #env: Record<string, string>;
  readonly #root: string;
  #process: Bun.Subprocess | undefined;

  /** @param root directory of the program and pages, for another version @param env further settings */
  constructor(port: number, database: string, root = ROOT, env: Record<string, string> = {}) {
    this.#root = root;
    this.database = database;
    this.url = `http://localhost:${port}`;
    this.#env = { PORT: String(port), HOST: "127.0.0.1", DATABASE_URL: database, RATE_LIMIT: "off", ...env };
  }

  async start(): Promise<void> {
    this.#process = Bun.spawn([process.execPath, join(this.#root, "src", "main.ts")], {
      env: { ...process.env, ...this.#env },
      stdio: ["ignore", "ignore", "inherit"],
    });
    for (let i = 0; i < 500; i++) {
      const ready = await fetch(`${this.url}/readyz`).then(
        (answer) => answer.ok,
        () => false,
      );
      if (ready) return;
      await Bun.sleep(20);
    }
    throw new Error("the server did not become ready within 10 s");
  }

  async end(signal: "SIGKILL" | "SIGTERM"): Promise<void> {
    this.#process?.kill(signal);
    this.pause(false); // a suspended process receives no SIGTERM
    await this.#process?.exited;
  }

  stop(): Promise<void> {
    return this.end("SIGTERM");
  }

  /** Suspends or resumes the process: its connections stay open and idle. */
  pause(stopped: boolean): void {
    this.#process?.kill(stopped ? "SIGSTOP" : "SIGCONT");
  }
}
