/** The fault run's command: starts a cluster, runs the plan, prints the summary. */

import { join } from "node:path";

import { describeError, EXIT, fail, machine, Shutdown } from "../support/command.ts";
import { removeDirectory, temporaryDirectory } from "../support/sandbox.ts";
import type { Cluster } from "./cluster.ts";
import { faults } from "./faults/index.ts";
import * as commandLine from "./options.ts";
import { planRun } from "./plan.ts";
import { Random } from "./random.ts";
import { runPlan, stamp } from "./run.ts";
import { summarize } from "./summary.ts";

const SPACE_BYTES = 1.5 * 2 ** 30;

export const readOptions = (args: readonly string[]) => commandLine.readOptions(args, [...faults.keys()]);
export const help = () => commandLine.help(faults);

export async function run(options: commandLine.Options): Promise<number> {
  const { seed, mutant, bus } = options;
  const random = new Random(seed);
  const plan = planRun(options, faults, random);
  const say = (line: string) => process.stdout.write(`${line}\n`);
  let directory = "";
  let cluster: Cluster | undefined;
  let shutdown: Shutdown | undefined;
  /** Resolved once there is a cluster or never will be: PostgreSQL cannot be stopped while it initializes. */
  const started = Promise.withResolvers<void>();
  try {
    const path = (directory = temporaryDirectory("chatify-chaos-", SPACE_BYTES));
    const resource = {
      close: async () => {
        await started.promise;
        await cluster?.close();
      },
      kill: () => (cluster ? cluster.kill() : removeDirectory(path)),
    };
    shutdown = new Shutdown(resource, { ignores: isFromDriver });
    const historyPath = options.keep ? join(process.cwd(), `chaos-${seed}.jsonl`) : join(directory, "history.jsonl");
    const servers = `${plan.pods} server${plan.pods === 1 ? "" : "s"}${plan.pods > 1 ? ` over ${bus}` : ""}`;
    say(`chatify's fault run on ${machine()}`);
    say(
      `seed ${seed}: ${servers}, ${plan.users} users, ${plan.rate} messages/s${mutant ? `, mutant ${mutant}` : ""}\n`,
    );
    const startedAt = performance.now();
    const onCluster = (value: Cluster) => {
      cluster = value;
      started.resolve();
    };
    const outcome = await runPlan(plan, { directory, historyPath, random, bus, mutant, say, onCluster });
    const { text, passed } = summarize(outcome, plan, { mayBeInconclusive: mutant !== undefined || !!options.faults });
    say(text);
    if (options.keep) say(`The history is in ${historyPath}`);
    say(`${stamp(performance.now() - startedAt).trim()} in total`);
    return passed ? EXIT.done : EXIT.wrong;
  } catch (error) {
    started.resolve();
    await shutdown?.wait();
    await cluster?.close().catch(() => {});
    return fail(describeError(error), EXIT.environment);
  } finally {
    if (directory !== "" && !shutdown?.started) removeDirectory(directory);
  }
}

/** The driver may throw from a connection that was killed (see `src/main.ts`). */
function isFromDriver(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  return (error.stack ?? "").includes("/node_modules/postgres/") || error.message === "write after end";
}
