/**
 * A process of the benchmark's own: a job goes in as a line of JSON, its answer comes out as one. The load generator and the
 * baselines are such processes, so that nobody's work is done on another's thread.
 */

import { join } from "node:path";

// Jobs take plain JSON; their types are told by `typeof jobs` of the script.
// oxlint-disable-next-line typescript/no-explicit-any
export type Jobs = Record<string, (options: any) => unknown>;

/** The longest job, ten million messages in one answer, takes two minutes. */
const DONE_MS = 300_000;

/** The side that asks. */
export class Worker<Known extends Jobs> {
  readonly #child: Bun.Subprocess<"pipe", "pipe", "pipe">;
  readonly #said: Promise<string>;
  readonly #waiting: PromiseWithResolvers<unknown>[] = [];

  /** @param options.openFiles how many sockets it will hold at most */
  constructor(script: string, options: { openFiles?: number; cwd: string }) {
    const command = [process.execPath, "--no-orphans", "--no-install", join(import.meta.dir, "..", script)];
    this.#child = Bun.spawn(withOpenFiles(command, options.openFiles), {
      cwd: options.cwd,
      stdio: ["pipe", "pipe", "pipe"],
      detached: true, // Ctrl-C reaches whoever asks, who then ends us
    });
    this.#said = new Response(this.#child.stderr).text();
    void this.#read();
  }

  get pid(): number {
    return this.#child.pid;
  }

  /** @throws what the job threw, or what the process said as it died */
  ask<Name extends keyof Known & string>(
    job: Name,
    options: Parameters<Known[Name]>[0],
  ): Promise<Awaited<ReturnType<Known[Name]>>> {
    const waiting = Promise.withResolvers<unknown>();
    const timer = setTimeout(
      () => waiting.reject(new Error(`"${job}" was not done within ${DONE_MS / 1_000} s`)),
      DONE_MS,
    );
    this.#waiting.push(waiting);
    this.#child.stdin.write(`${JSON.stringify({ job, options })}\n`);
    void this.#child.stdin.flush();
    return waiting.promise.finally(() => clearTimeout(timer)) as Promise<Awaited<ReturnType<Known[Name]>>>;
  }

  /** It holds nothing that needs an orderly end. */
  kill(): void {
    this.#child.kill("SIGKILL");
  }

  async end(): Promise<void> {
    this.kill();
    await this.#child.exited;
  }

  async #read(): Promise<void> {
    let rest = "";
    for await (const chunk of this.#child.stdout.pipeThrough(new TextDecoderStream())) {
      const lines = (rest + chunk).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) {
        const { answer, error } = JSON.parse(line) as { answer?: unknown; error?: string };
        const waiting = this.#waiting.shift();
        if (error === undefined) waiting?.resolve(answer);
        else waiting?.reject(new Error(error));
      }
    }
    const words = (await this.#said).trim().split("\n").slice(-5).join("\n");
    for (const waiting of this.#waiting) waiting.reject(new Error(`A process of the benchmark ended early: ${words}`));
  }
}

/** The side that works: one job after another, until its input ends. */
export async function work(jobs: Jobs): Promise<void> {
  for await (const line of console) {
    const { job, options } = JSON.parse(line) as { job: string; options: unknown };
    let reply: { answer: unknown } | { error: string };
    try {
      reply = { answer: (await jobs[job]?.(options)) ?? null };
    } catch (error) {
      reply = { error: error instanceof Error ? (error.stack ?? error.message) : String(error) };
    }
    await Bun.write(Bun.stdout, `${JSON.stringify(reply)}\n`);
  }
  process.exit(0);
}

/** Sockets are files, and a shell's limit for them is often low: a process may raise its own up to what the system allows. */
export function withOpenFiles(command: string[], openFiles: number | undefined): string[] {
  if (openFiles === undefined) return command;
  return ["sh", "-c", `ulimit -n ${openFiles} && exec "$@"`, "sh", ...command];
}
