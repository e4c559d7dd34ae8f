/** How the tools start, report errors and shut down. It imports no package, since `start` installs missing ones. */

import { cpus, totalmem } from "node:os";
import { join } from "node:path";

import { ensurePackages } from "../../src/cli/packages.ts";
import { OptionsError } from "./options.ts";

export const EXIT = { done: 0, wrong: 1, usage: 2, packages: 3, environment: 4 } as const;
export const GIB = 2 ** 30;
/** Under npx Ctrl-C arrives twice: signals closer than this are one. */
const SAME_SIGNAL_MS = 1_000;
const STOP_DEADLINE_MS = 15_000;

/** A command: its options, its help page, and what it does. */
export interface Command<Options> {
  /** @returns undefined when help was asked for @throws OptionsError */
  readOptions(args: readonly string[]): Options | undefined;
  help(): string;
  /** @returns the exit code */
  run(options: Options): Promise<number>;
}

/** Runs a command and exits. @param load imports it, once its packages are installed @param options.need which packages */
export async function start<Options>(
  load: () => Promise<Command<Options>>,
  { need = "serve" }: { need?: "serve" | "develop" } = {},
): Promise<never> {
  process.exit(await main(load, need));
}

async function main<Options>(load: () => Promise<Command<Options>>, need: "serve" | "develop"): Promise<number> {
  try {
    const root = join(import.meta.dir, "..", "..");
    const say = (line: string) => process.stderr.write(`${line}\n`);
    if (await ensurePackages({ root, bun: process.execPath, need, say })) {
      // This process cannot see packages that were installed after it started.
      const command = [process.execPath, ...process.argv.slice(1)];
      return await Bun.spawn(command, { stdio: ["inherit", "inherit", "inherit"] }).exited;
    }
  } catch (error) {
    return fail(error instanceof Error ? error.message : String(error), EXIT.packages);
  }
  const { readOptions, help, run } = await load();
  let options: Options | undefined;
  try {
    options = readOptions(process.argv.slice(2));
  } catch (error) {
    if (!(error instanceof OptionsError)) throw error;
    return fail(error.message, EXIT.usage);
  }
  if (options) return run(options);
  process.stdout.write(help());
  return EXIT.done;
}

/** Closes a resource on a signal or a stray error, and kills it when the process exits. */
export class Shutdown {
  started = false;
  #firstSignalAt: number | undefined;

  /** @param options.before runs first @param options.ignores selects stray errors to ignore */
  constructor(
    resource: { close(): Promise<unknown>; kill(): void },
    { before, ignores }: { before?: () => void; ignores?: (error: unknown) => boolean } = {},
  ) {
    const stop = (signal: NodeJS.Signals) => {
      const now = performance.now();
      if (this.#firstSignalAt !== undefined && now - this.#firstSignalAt < SAME_SIGNAL_MS) return;
      if (this.#firstSignalAt !== undefined) process.exit(EXIT.wrong);
      this.#firstSignalAt = now;
      this.started = true;
      before?.();
      process.stderr.write("Stopping …\n");
      setTimeout(() => process.exit(EXIT.wrong), STOP_DEADLINE_MS).unref();
      void resource.close().finally(() => process.exit(signal === "SIGINT" ? 130 : 143));
    };
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => stop(signal));
    const stray = (error: unknown) => {
      if (this.started || ignores?.(error)) return; // errors during shutdown are expected
      process.stderr.write(`${describeError(error)}\n`);
      this.started = true;
      void resource.close().finally(() => process.exit(EXIT.wrong));
    };
    process.on("uncaughtException", stray);
    process.on("unhandledRejection", stray);
    process.on("exit", () => resource.kill());
  }

  /** Never returns once it has started: its signal handler exits the process. */
  async wait(): Promise<void> {
    if (this.started) await Promise.withResolvers<never>().promise;
  }
}

/** One sentence for the machine's failures; the stack for a bug. */
export function describeError(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const code = "code" in error ? String(error.code) : "";
  if (error.name === "EnvironmentError" || error.name === "EmbeddedError" || error.name === "DatabaseError")
    return error.message;
  if (code === "ENOSPC" || code === "53100" || /No space left/.test(error.message))
    return `The disk is full (${error.message}). Free some space, or choose another directory: TMPDIR=/somewhere`;
  if (code === "EADDRNOTAVAIL" || code === "EADDRINUSE" || code === "EMFILE" || code === "ENFILE")
    return `The machine has no more ports or files (${error.message}). End other programs, or wait a minute for their ports`;
  return `Unexpected error:\n${error.stack ?? error.message}`;
}

export function machine(): string {
  const [cpu] = cpus();
  return `${cpus().length} × ${cpu?.model.trim() ?? "unknown"}, ${(totalmem() / GIB).toFixed(0)} GB, ${process.platform}-${process.arch}, Bun ${Bun.version}`;
}

/** Prints an error. @returns the exit code */
export function fail(text: string, code: number): number {
  process.stderr.write(`${text}\n`);
  return code;
}
