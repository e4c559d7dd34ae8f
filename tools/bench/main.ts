/** `bun run bench`: how fast chatify is here, and whether every answer was right. */

import { CleanUp, complain, EXIT, explain, GIB, machine, withPackages } from "../support/command.ts";
import { help, type Options, OptionsError, readOptions } from "../support/options.ts";
import { Progress } from "../support/progress.ts";
import { Report } from "../support/report.ts";

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
  return bench(options);
}

async function bench(options: Options): Promise<number> {
  const { Sandbox } = await import("../support/sandbox.ts"); // needs the packages that may just have come
  const { parts } = await import("./parts/index.ts");
  const begun = performance.now();
  const plan = options.parts.map((name) => ({ name, seconds: parts[name].seconds(options) }));
  const progress = new Progress(plan, process.stderr);
  const cleanUp = new CleanUp(() => progress.end());
  const report = new Report();
  let sandbox: InstanceType<typeof Sandbox> | undefined;
  try {
    sandbox = new Sandbox({ spaceBytes: (options.big ? 16 : options.short ? 1.5 : 4) * GIB, profile: options.profile });
    cleanUp.whenStopped(sandbox);
    for (const name of options.parts) {
      progress.part();
      await parts[name].run({ sandbox, report, progress, short: options.short, big: options.big });
      progress.step("tidying up");
      report.check(name, "no server complained", await sandbox.clear());
    }
  } catch (error) {
    progress.end();
    const complaints = (await sandbox?.clear().catch(() => [])) ?? [];
    await sandbox?.close();
    if (cleanUp.stopping) await Promise.withResolvers<never>().promise; // whoever stops us ends the process
    return complain([explain(error), ...complaints].join("\n"), EXIT.machine);
  }
  progress.end();
  await sandbox.close();

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
