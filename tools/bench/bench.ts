/** Runs the benchmark's parts and prints the report. */

import { EXIT, fail, GIB, machine } from "../support/command.ts";
import { Progress } from "../support/progress.ts";
import { Report } from "../support/report.ts";
import { withSandbox } from "../support/sandbox.ts";
import type { Options } from "./options.ts";
import { parts } from "./parts/index.ts";

export { help, readOptions } from "./options.ts";

export async function run(options: Options): Promise<number> {
  const startedAt = performance.now();
  const plan = options.parts.map((name) => ({ name, seconds: parts[name].seconds(options) }));
  const progress = new Progress(plan, process.stderr);
  const report = new Report();
  const { big, short, profile } = options;
  const failed = await withSandbox(
    { spaceBytes: (big ? 16 : short ? 1.5 : 4) * GIB, profile, progress },
    async (sandbox) => {
      for (const name of options.parts) {
        progress.part();
        await parts[name].run({ sandbox, report, progress, short, big });
        progress.step("cleaning up");
        report.check(name, "no server logged an error", await sandbox.clear());
      }
    },
  );
  if (failed !== undefined) return failed;

  const seconds = Math.round((performance.now() - startedAt) / 1_000);
  const about = { machine: machine(), bun: Bun.version, options, seconds };
  if (options.json) process.stdout.write(report.json(about));
  else process.stdout.write(`\nchatify on ${machine()}\n\n${report.table()}${seconds} s\n`);
  return verdict(report, options);
}

function verdict({ wrong, missed, failed }: Report, { check }: Options): number {
  if (wrong.length > 0) return fail(`${wrong.length} checks failed`, EXIT.wrong);
  if (check && failed.length > 0) {
    const names = failed.map(({ part, name }) => `${part}: ${name}`).join("; ");
    return fail(`More than twice as bad as required: ${names}`, EXIT.wrong);
  }
  if (missed.length > 0) process.stderr.write(`${missed.length} figures miss their requirement\n`);
  return EXIT.done;
}
