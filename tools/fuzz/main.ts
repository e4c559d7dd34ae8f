/** `bun run fuzz`: what a server answers to hundreds of thousands of hostile frames and requests, and what they leave behind. */

import { CleanUp, complain, EXIT, explain, GIB, machine, withPackages } from "../support/command.ts";
import { OptionsError } from "../support/options.ts";
import { Progress } from "../support/progress.ts";
import { help, type Options, readOptions } from "./options.ts";

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
    const again = await withPackages();
    if (again !== undefined) return again;
  } catch (error) {
    return complain(error instanceof Error ? error.message : String(error), EXIT.packages);
  }
  return fuzz(options);
}

async function fuzz(options: Options): Promise<number> {
  const [{ Sandbox }, { plan, run }] = await Promise.all([import("../support/sandbox.ts"), import("./run.ts")]);
  const begun = performance.now();
  const { seed, frames, requests } = options;
  process.stdout.write(`chatify's fuzz run on ${machine()}\nseed ${seed}: ${frames} frames, ${requests} requests\n\n`);
  const progress = new Progress(plan(options), process.stderr);
  const cleanUp = new CleanUp(() => progress.end());
  let sandbox: InstanceType<typeof Sandbox> | undefined;
  try {
    sandbox = new Sandbox({ spaceBytes: 1.5 * GIB, profile: undefined });
    cleanUp.whenStopped(sandbox);
    const report = await run(options, sandbox, progress);
    progress.end();
    await sandbox.close();
    const seconds = Math.round((performance.now() - begun) / 1_000);
    process.stdout.write(`${report.table()}${seconds} s\n`);
    const { wrong } = report;
    if (wrong.length === 0) return EXIT.done;
    return complain(
      `${wrong.length} of the checks found something wrong; --seed ${seed} makes the same again`,
      EXIT.wrong,
    );
  } catch (error) {
    progress.end();
    const complaints = (await sandbox?.clear().catch(() => [])) ?? [];
    await sandbox?.close();
    if (cleanUp.stopping) await Promise.withResolvers<never>().promise; // whoever stops us ends the process
    return complain([explain(error), ...complaints].join("\n"), EXIT.machine);
  }
}
