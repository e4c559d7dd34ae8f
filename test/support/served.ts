/** A chatify in a separate process, and its use of memory, files and CPU (Linux). */

import { afterAll } from "bun:test";
import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";

import { freePort, migratedDatabase, ROOT } from "./harness.ts";

const processes: Bun.Subprocess[] = [];
afterAll(() => processes.forEach((child) => child.kill("SIGKILL")));

export class Served {
  readonly port = freePort();
  readonly url = `http://127.0.0.1:${this.port}`;
  readonly database: string;
  readonly #process: Bun.Subprocess<"ignore", "ignore", "pipe">;
  #mostMiB = 0;
  readonly #meter: Timer;
  /** Its log so far. */
  log = "";

  private constructor(database: string, { openFiles, env }: { openFiles?: number; env?: Record<string, string> }) {
    this.database = database;
    const { PATH = "", HOME = "" } = Bun.env;
    const limited = openFiles === undefined ? "" : `ulimit -n ${openFiles}; `;
    this.#process = Bun.spawn(["sh", "-c", `${limited}exec "${process.execPath}" "${join(ROOT, "src/main.ts")}"`], {
      cwd: ROOT,
      env: {
        PATH,
        HOME,
        HOST: "127.0.0.1",
        PORT: String(this.port),
        DATABASE_URL: database,
        RATE_LIMIT: "off",
        ...env,
      },
      stdio: ["ignore", "ignore", "pipe"],
    });
    processes.push(this.#process);
    void this.#listen();
    this.#meter = setInterval(() => (this.#mostMiB = Math.max(this.#mostMiB, this.MiB)), 100);
    this.#meter.unref();
    void this.#process.exited.then(() => clearInterval(this.#meter));
  }

  static async start(
    options: { openFiles?: number; env?: Record<string, string>; database?: string } = {},
  ): Promise<Served> {
    const served = new Served(options.database ?? (await migratedDatabase()), options);
    for (let i = 0; i < 1_000; i++) {
      if ((await fetch(`${served.url}/readyz`).catch(() => undefined))?.status === 200) return served;
      await Bun.sleep(20);
    }
    throw new Error("chatify did not become ready");
  }

  /** Resident memory. */
  get MiB(): number {
    const [, kiB] = /^VmRSS:\s+(\d+)/m.exec(this.#read("status")) ?? [];
    return Math.round(Number(kiB ?? 0) / 1_024);
  }

  get mostMiB(): number {
    return Math.max(this.#mostMiB, this.MiB);
  }

  get files(): number {
    return statSync(`/proc/${this.#process.pid}/fd`).size;
  }

  /** CPU seconds since its start. */
  get cpu(): number {
    const fields = this.#read("stat").split(") ")[1]?.split(" ") ?? [];
    return (Number(fields[11]) + Number(fields[12])) / 100;
  }

  get runs(): boolean {
    return this.#process.exitCode === null && this.#process.signalCode === null;
  }

  async stop(): Promise<void> {
    this.#process.kill("SIGINT");
    await this.#process.exited;
  }

  /** Kills it, as a crash would. */
  kill(): void {
    this.#process.kill("SIGKILL");
  }

  async #listen(): Promise<void> {
    const decoder = new TextDecoder();
    for await (const bytes of this.#process.stderr) {
      const text = decoder.decode(bytes, { stream: true });
      this.log += text;
      process.stderr.write(text);
    }
  }

  #read(file: string): string {
    return readFileSync(`/proc/${this.#process.pid}/${file}`, "utf8");
  }
}
