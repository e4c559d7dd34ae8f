/** `bun run bench`: how fast chatify is here, and whether every answer was right. */

import { cpus, totalmem } from "node:os";
import { join } from "node:path";

import { ensurePackages } from "../src/packages.ts";
import { help, type Options, OptionsError, readOptions } from "./options.ts";
import { Progress } from "./progress.ts";
import { Report } from "./report.ts";

const EXIT = { done: 0, wrong: 1, words: 2, packages: 3, machine: 4 } as const;
/** Under npx Ctrl-C arrives twice: signals closer than this are one. */
const SAME_SIGNAL_MS = 1_000;
const STOP_DEADLINE_MS = 15_000;
const GIB = 2 ** 30;

let stopping = false;
process.exit(await main(process.argv.slice(2)));

async function main(words: readonly string[]): Promise<number> {
  let options: Options | undefined;
  try {
    options = readOptions(words);
  } catch (error) {
    if (!(error instanceof OptionsError)) throw error;
    return complain(error.message, EXIT.words);
  }
  if (!options) {
    process.stdout.write(help());
    return EXIT.done;
  }
  try {
    const root = join(import.meta.dir, "..");
    const came = await ensurePackages({
      root,
      bun: process.execPath,
      need: "serve",
      say: (line) => process.stderr.write(`${line}\n`),
    });
    // This process cannot see packages that were not there when it began.
    if (came)
      return await Bun.spawn([process.execPath, ...process.argv.slice(1)], { stdio: ["inherit", "inherit", "inherit"] })
        .exited;
  } catch (error) {
    return complain(error instanceof Error ? error.message : String(error), EXIT.packages);
  }
  return bench(options);
}

async function bench(options: Options): Promise<number> {
  const { World } = await import("./world.ts"); // needs the packages that may just have come
  const { parts } = await import("./parts/index.ts");
  const begun = performance.now();
  const plan = options.parts.map((name) => ({ name, seconds: parts[name].seconds(options) }));
  const progress = new Progress(plan, process.stderr);
  const report = new Report();
  let world: InstanceType<typeof World> | undefined;
  try {
    world = new World({ spaceBytes: (options.big ? 16 : options.short ? 1.5 : 4) * GIB, profile: options.profile });
    cleanUpWhenStopped(world, progress);
    for (const name of options.parts) {
      progress.part();
      await parts[name].run({ world, report, progress, short: options.short, big: options.big });
      progress.step("tidying up");
      report.check(name, "no server complained", await world.clear());
    }
  } catch (error) {
    progress.end();
    const complaints = (await world?.clear().catch(() => [])) ?? [];
    await world?.close();
    if (stopping) await Promise.withResolvers<never>().promise; // whoever stops us ends the process
    return complain([explain(error), ...complaints].join("\n"), EXIT.machine);
  }
  progress.end();
  await world.close();

  const seconds = Math.round((performance.now() - begun) / 1_000);
  const about = { machine: machine(), bun: Bun.version, options, seconds };
  if (options.json) process.stdout.write(report.json(about));
  else process.stdout.write(`\nchatify on ${machine()}\n\n${report.table()}${seconds} s\n`);
  return verdict(report, options);
}

function verdict(report: Report, options: Options): number {
  const { wrong, missed, failed } = report;
  if (wrong.length > 0) return complain(`${wrong.length} of the checks found something wrong`, EXIT.wrong);
  if (options.check && failed.length > 0) {
    const words = failed.map(({ part, name }) => `${part}: ${name}`).join("; ");
    return complain(`Worse than twice what is asked: ${words}`, EXIT.wrong);
  }
  if (missed.length > 0) process.stderr.write(`${missed.length} of the figures miss what is asked of them\n`);
  return EXIT.done;
}

/** Ctrl-C, a closed terminal, a bug: nothing of ours goes on running, nothing stays on the disk. */
function cleanUpWhenStopped(world: { close(): Promise<void>; abandon(): void }, progress: Progress): void {
  let firstAt: number | undefined;
  const stop = (signal: NodeJS.Signals) => {
    const now = performance.now();
    if (firstAt !== undefined && now - firstAt < SAME_SIGNAL_MS) return;
    if (firstAt !== undefined) process.exit(EXIT.wrong);
    firstAt = now;
    stopping = true;
    progress.end();
    process.stderr.write("Stopping …\n");
    setTimeout(() => process.exit(EXIT.wrong), STOP_DEADLINE_MS).unref();
    void world.close().finally(() => process.exit(signal === "SIGINT" ? 130 : 143));
  };
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => stop(signal));
  const stray = (error: unknown) => {
    process.stderr.write(`${explain(error)}\n`);
    stopping = true;
    void world.close().finally(() => process.exit(EXIT.wrong));
  };
  process.on("uncaughtException", stray);
  process.on("unhandledRejection", stray);
  process.on("exit", () => world.abandon());
}

/** Words for what machines do; a bug keeps its stack. */
function explain(error: unknown): string {
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
  return `The benchmark could not go on, and did not expect this:\n${error.stack ?? error.message}`;
}

function machine(): string {
  const [cpu] = cpus();
  return `${cpus().length} × ${cpu?.model.trim() ?? "unknown"}, ${(totalmem() / GIB).toFixed(0)} GB, ${process.platform}-${process.arch}, Bun ${Bun.version}`;
}

function complain(text: string, code: number): number {
  process.stderr.write(`${text}\n`);
  return code;
}
