/** A Valkey or Redis that persists nothing, since a bus may lose everything. */

import { EnvironmentError } from "./server_process.ts";

const START_MS = 5_000;

export class Valkey {
  readonly #program: string;
  readonly #directory: string;
  readonly #port: number;
  #child: Bun.Subprocess | undefined;

  /** @throws EnvironmentError when this machine has neither */
  constructor(directory: string) {
    const program = Valkey.program();
    if (program === undefined) throw new EnvironmentError("There is no valkey-server or redis-server in PATH");
    this.#program = program;
    this.#directory = directory;
    const server = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
    this.#port = server.port;
    server.stop(true);
  }

  static program(): string | undefined {
    return Bun.which("valkey-server") ?? Bun.which("redis-server") ?? undefined;
  }

  get port(): number {
    return this.#port;
  }

  get pid(): number {
    return this.#child?.pid ?? 0;
  }

  /** @returns when it accepts connections */
  async start(): Promise<void> {
    const args = ["--port", String(this.#port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"];
    const command = [this.#program, ...args, "--dir", this.#directory];
    this.#child = Bun.spawn(command, { stdio: ["ignore", "ignore", "ignore"], detached: true });
    for (const startedAt = performance.now(); ; await Bun.sleep(20)) {
      if (await accepts(this.#port)) return;
      if (performance.now() - startedAt > START_MS)
        throw new EnvironmentError(`${this.#program} did not start within ${START_MS / 1_000} s`);
    }
  }

  signal(name: NodeJS.Signals): void {
    this.#child?.kill(name);
  }

  async kill(): Promise<void> {
    this.signal("SIGKILL");
    await this.#child?.exited;
  }
}

async function accepts(port: number): Promise<boolean> {
  const socket = { data() {}, error() {}, connectError() {} };
  const connection = await Bun.connect({ hostname: "127.0.0.1", port, socket }).catch(() => undefined);
  connection?.end();
  return connection !== undefined;
}
