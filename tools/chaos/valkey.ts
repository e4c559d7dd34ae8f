/** A Valkey, or Redis, of a run: behind a proxy, and kept on no disk, since a bus is a hint. */

import { MachineError } from "../support/sandbox.ts";
import { FaultProxy } from "./fault_proxy.ts";

const START_MS = 5_000;

export class Valkey {
  /** Between the pods and it. */
  readonly proxy: FaultProxy;
  readonly #program: string;
  readonly #directory: string;
  readonly #port: number;
  #child: Bun.Subprocess | undefined;

  private constructor(program: string, directory: string, port: number) {
    this.#program = program;
    this.#directory = directory;
    this.#port = port;
    this.proxy = new FaultProxy(() => ({ hostname: "127.0.0.1", port }));
  }

  /** @throws MachineError when there is none on this machine */
  static async start(directory: string): Promise<Valkey> {
    const program = Bun.which("valkey-server") ?? Bun.which("redis-server");
    if (!program) throw new MachineError("--bus redis needs a valkey-server or redis-server, and there is none here");
    const free = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
    free.stop(true);
    const valkey = new Valkey(program, directory, free.port);
    await valkey.up();
    return valkey;
  }

  /** For pods. */
  get url(): string {
    return `redis://127.0.0.1:${this.proxy.port}`;
  }

  /** Starts it. @returns when it answers */
  async up(): Promise<void> {
    const words = ["--port", String(this.#port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"];
    this.#child = Bun.spawn([this.#program, ...words, "--dir", this.#directory], {
      stdio: ["ignore", "ignore", "ignore"],
    });
    for (const begun = performance.now(); ; await Bun.sleep(20)) {
      const socket = { data() {}, error() {}, connectError() {} };
      const answer = await Bun.connect({ hostname: "127.0.0.1", port: this.#port, socket }).catch(() => undefined);
      answer?.end();
      if (answer) return;
      if (performance.now() - begun > START_MS) throw new MachineError(`${this.#program} does not answer`);
    }
  }

  signal(name: NodeJS.Signals): void {
    this.#child?.kill(name);
  }

  async kill(): Promise<void> {
    this.signal("SIGKILL");
    await this.#child?.exited;
  }

  close(): void {
    this.signal("SIGKILL");
    this.proxy.close();
  }
}
