/** What the commands of this directory share: packages, exit codes, what becomes of signals and stray errors, words for a machine. */

import { cpus, totalmem } from "node:os";
import { join } from "node:path";

import { ensurePackages } from "../../src/cli/packages.ts";

export const EXIT = { done: 0, wrong: 1, words: 2, packages: 3, machine: 4 } as const;
export const GIB = 2 ** 30;
/** Under npx Ctrl-C arrives twice: signals closer than this are one. */
const SAME_SIGNAL_MS = 1_000;
const STOP_DEADLINE_MS = 15_000;

/**
 * Installs what is missing, and then goes on in a process that can see it.
 *
 * @returns the exit code of that process; undefined when nothing was missing
 */
export async function withPackages(): Promise<number | undefined> {
  const root = join(import.meta.dir, "..", "..");
  const say = (line: string) => process.stderr.write(`${line}\n`);
  const came = await ensurePackages({ root, bun: process.execPath, need: "serve", say });
  // This process cannot see packages that were not there when it began.
  if (!came) return undefined;
  const again = [process.execPath, ...process.argv.slice(1)];
  return Bun.spawn(again, { stdio: ["inherit", "inherit", "inherit"] }).exited;
}

/** Ctrl-C, a closed terminal, a bug: nothing of ours goes on running, nothing stays on the disk. */
export class CleanUp {
  /** Whether a signal ends the process. */
  stopping = false;
  readonly #quiet: () => void;
  readonly #expected: (error: unknown) => boolean;

  /** @param quiet ends what is being shown @param expected stray errors that end nothing */
  constructor(quiet: () => void, expected: (error: unknown) => boolean = () => false) {
    this.#quiet = quiet;
    this.#expected = expected;
  }

  whenStopped(sandbox: { close(): Promise<unknown>; abandon(): void }): void {
    let firstAt: number | undefined;
    const stop = (signal: NodeJS.Signals) => {
      const now = performance.now();
      if (firstAt !== undefined && now - firstAt < SAME_SIGNAL_MS) return;
      if (firstAt !== undefined) process.exit(EXIT.wrong);
      firstAt = now;
      this.stopping = true;
      this.#quiet();
      process.stderr.write("Stopping …\n");
      setTimeout(() => process.exit(EXIT.wrong), STOP_DEADLINE_MS).unref();
      void sandbox.close().finally(() => process.exit(signal === "SIGINT" ? 130 : 143));
    };
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => stop(signal));
    const stray = (error: unknown) => {
      if (this.stopping || this.#expected(error)) return; // what is being stopped fails
      process.stderr.write(`${explain(error)}\n`);
      this.stopping = true;
      void sandbox.close().finally(() => process.exit(EXIT.wrong));
    };
    process.on("uncaughtException", stray);
    process.on("unhandledRejection", stray);
    process.on("exit", () => sandbox.abandon());
  }
}

/** Words for what machines do; a bug keeps its stack. */
export function explain(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const code = "code" in error ? String(error.code) : "";
  if (error.name === "MachineError" || error.name === "EmbeddedError" || error.name === "DatabaseError")
    return error.message;
  if (code === "ENOSPC" || code === "53100" || /No space left/.test(error.message)) {
    return `The disk is full (${error.message}). Free some space, or name another place: TMPDIR=/somewhere`;
  }
  if (code === "EADDRNOTAVAIL" || code === "EADDRINUSE" || code === "EMFILE" || code === "ENFILE") {
    return `The machine gave no more ports or files (${error.message}). End other programs, or wait a minute for their ports`;
  }
  return `This could not go on, and was not expected:\n${error.stack ?? error.message}`;
}

export function machine(): string {
  const [cpu] = cpus();
  return `${cpus().length} × ${cpu?.model.trim() ?? "unknown"}, ${(totalmem() / GIB).toFixed(0)} GB, ${process.platform}-${process.arch}, Bun ${Bun.version}`;
}

/** Says what is wrong. @returns the exit code */
export function complain(text: string, code: number): number {
  process.stderr.write(`${text}\n`);
  return code;
}
