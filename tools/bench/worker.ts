/**
 * A child process that runs jobs: a line of JSON in, a line of JSON out. The load generator, baselines and canaries
 * are such processes, so that none delays another.
 */

import { join } from "node:path";

// Jobs take plain JSON; `typeof jobs` of the script gives their types.
// oxlint-disable-next-line typescript/no-explicit-any
export type Jobs = Record<string, (options: any) => unknown>;

/** The longest job, ten million messages in one response, takes two minutes. */
const JOB_MS = 300_000;

/** The parent's side. */
export class Worker<Known extends Jobs> {
  readonly #child: Bun.Subprocess<"pipe", "pipe", "pipe">;
  readonly #stderr: Promise<string>;
  readonly #waiting: PromiseWithResolvers<unknown>[] = [];

  /** @param options.openFiles the most sockets it will open */
  constructor(script: string, options: { openFiles?: number; cwd: string }) {
    const command = [process.execPath, "--no-orphans", "--no-install", join(import.meta.dir, "..", script)];
    this.#child = Bun.spawn(withOpenFiles(command, options.openFiles), {
      cwd: options.cwd,
      stdio: ["pipe", "pipe", "pipe"],
      detached: true, // Ctrl-C reaches only the parent, which then kills this
    });
    this.#stderr = new Response(this.#child.stderr).text();
    void this.#read();
  }

  get pid(): number {
    return this.#child.pid;
  }

  /** @throws Error with the job's error, or with the process's last output if it exits */
  ask<Name extends keyof Known & string>(
    job: Name,
    options: Parameters<Known[Name]>[0],
  ): Promise<Awaited<ReturnType<Known[Name]>>> {
    const waiting = Promise.withResolvers<unknown>();
    const timer = setTimeout(
      () => waiting.reject(new Error(`"${job}" did not finish within ${JOB_MS / 1_000} s`)),
      JOB_MS,
    );
    this.#waiting.push(waiting);
    this.#child.stdin.write(`${JSON.stringify({ job, options })}\n`);
    void this.#child.stdin.flush();
    return waiting.promise.finally(() => clearTimeout(timer)) as Promise<Awaited<ReturnType<Known[Name]>>>;
  }

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
    const output = (await this.#stderr).trim().split("\n").slice(-5).join("\n");
    for (const waiting of this.#waiting) waiting.reject(new Error(`A worker exited early: ${output}`));
  }
}

/** The child's side: runs one job after another until its input ends. */
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

/** Raises the limit for open files, and so for sockets, which is often lower than the system allows. */
export function withOpenFiles(command: string[], openFiles: number | undefined): string[] {
  if (openFiles === undefined) return command;
  return ["sh", "-c", `ulimit -n ${openFiles} && exec "$@"`, "sh", ...command];
}
