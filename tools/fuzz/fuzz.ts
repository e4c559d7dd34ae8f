/** The fuzz run's command: starts it and prints the report. */

import { EXIT, fail, GIB, machine } from "../support/command.ts";
import { Progress } from "../support/progress.ts";
import type { Report } from "../support/report.ts";
import { withSandbox } from "../support/sandbox.ts";
import type { Options } from "./options.ts";
import { fuzz, plan } from "./run.ts";

export { help, readOptions } from "./options.ts";

export async function run(options: Options): Promise<number> {
  const startedAt = performance.now();
  const { seed, frames, requests } = options;
  process.stdout.write(`chatify's fuzz run on ${machine()}\nseed ${seed}: ${frames} frames, ${requests} requests\n\n`);
  const progress = new Progress(plan(options), process.stderr);
  let report: Report | undefined;
  const failed = await withSandbox({ spaceBytes: 1.5 * GIB, progress }, async (sandbox) => {
    report = await fuzz(options, sandbox, progress);
  });
  if (failed !== undefined || !report) return failed ?? EXIT.environment;
  process.stdout.write(`${report.table()}${Math.round((performance.now() - startedAt) / 1_000)} s\n`);
  const { wrong } = report;
  if (wrong.length === 0) return EXIT.done;
  return fail(`${wrong.length} checks failed; --seed ${seed} repeats the run`, EXIT.wrong);
}
