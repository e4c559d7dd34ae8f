/** `bun run chaos`: several servers under every fault that can be made here, and a proof that nobody lost anything. */

import { join } from "node:path";

import { CleanUp, complain, EXIT, explain, machine, withPackages } from "../support/command.ts";
import { OptionsError } from "../support/options.ts";
import { Report } from "../support/report.ts";
import { help, type Options, readOptions } from "./options.ts";
import { Random } from "./random.ts";

process.exit(await main(process.argv.slice(2)));

async function main(words: readonly string[]): Promise<number> {
  try {
    const again = await withPackages();
    if (again !== undefined) return again;
  } catch (error) {
    return complain(error instanceof Error ? error.message : String(error), EXIT.packages);
  }
  const { faults } = await import("./faults/index.ts"); // needs the packages that may just have come
  let options: Options | undefined;
  try {
    options = readOptions(words, [...faults.keys()]);
  } catch (error) {
    if (!(error instanceof OptionsError)) throw error;
    return complain(error.message, EXIT.words);
  }
  if (!options) {
    process.stdout.write(help(faults));
    return EXIT.done;
  }
  return chaos(options);
}

async function chaos(options: Options): Promise<number> {
  const [{ faults }, { recovery }, { planRun }, { run, stamp }, { abandon, Cluster }, { summarize }] =
    await Promise.all([
      import("./faults/index.ts"),
      import("./recovery.ts"),
      import("./plan.ts"),
      import("./run.ts"),
      import("./cluster.ts"),
      import("./summary.ts"),
    ]);
  const { seed, mutant, bus } = options;
  const random = new Random(seed);
  const report = new Report();
  const plan = planRun(options, { faults, recovery: recovery(report), random });
  const say = (line: string) => process.stdout.write(`${line}\n`);
  const cleanUp = new CleanUp(() => {}, isOfDriver);
  let directory = "";
  let cluster: Awaited<ReturnType<typeof Cluster.start>> | undefined;
  /** Resolved when there is a cluster, or never will be: PostgreSQL cannot be stopped while it is being made. */
  const staged = Promise.withResolvers<void>();
  try {
    directory = Cluster.place();
    const place = directory;
    cleanUp.whenStopped({
      close: async () => {
        await staged.promise;
        await cluster?.close();
      },
      abandon: () => (cluster ? cluster.abandon() : abandon(place)),
    });
    const historyPath = options.keep ? join(process.cwd(), `chaos-${seed}.jsonl`) : join(directory, "history.jsonl");
    const servers = `${plan.pods} server${plan.pods === 1 ? "" : "s"}${plan.pods > 1 ? ` over ${bus}` : ""}`;
    say(`chatify's fault run on ${machine()}`);
    say(
      `seed ${seed}: ${servers}, ${plan.people} people, ${plan.rate} messages/s${mutant ? `, mutant ${mutant}` : ""}\n`,
    );
    const begun = performance.now();
    const onCluster = (built: typeof cluster) => {
      cluster = built;
      staged.resolve();
    };
    const outcome = await run(plan, { directory, historyPath, random, bus, mutant, say, onCluster });
    const { text, well } = summarize(outcome, plan, {
      inconclusive: mutant === undefined && !options.faults && !options.recovery,
    });
    say(text);
    const words = outcome.findings.total === 0 ? [] : [`${outcome.findings.total} were broken: see above`];
    report.check("the workload", "every promise was kept", words);
    if (options.recovery) say(report.table());
    if (options.keep) say(`The history is in ${historyPath}`);
    say(`${stamp(performance.now() - begun).trim()} in all`);
    return well && report.missed.length === 0 ? EXIT.done : EXIT.wrong;
  } catch (error) {
    staged.resolve();
    if (cleanUp.stopping) await Promise.withResolvers<never>().promise; // whoever stops us ends the process
    await cluster?.close().catch(() => {});
    return complain(explain(error), EXIT.machine);
  } finally {
    if (directory !== "" && !cleanUp.stopping) abandon(directory);
  }
}

/** The driver may throw from a connection that was killed under it (see `src/main.ts`). */
function isOfDriver(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  return (error.stack ?? "").includes("/node_modules/postgres/") || error.message === "write after end";
}
