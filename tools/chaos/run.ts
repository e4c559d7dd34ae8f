/** One run: the workload writes, faults are injected one by one and healed, and the checker judges the history. */

import { join } from "node:path";

import { nameOf, SESSION_SECRET } from "../support/users.ts";
import { Checker } from "./checker.ts";
import { Cluster } from "./cluster.ts";
import { type Fault, type FaultContext, Unsupported } from "./faults/fault.ts";
import type { Findings } from "./findings.ts";
import { History, read } from "./history.ts";
import { InvariantMonitor } from "./invariant_monitor.ts";
import { MUTANT_SQL } from "./mutants.ts";
import type { MutantName } from "./options.ts";
import type { Plan } from "./plan.ts";
import type { Random } from "./random.ts";
import { RunMetrics } from "./run_metrics.ts";
import { ProxiedValkey } from "./valkey.ts";
import { Workload } from "./workload.ts";

const PAUSE_AFTER_MS = 1_500;

export interface Outcome {
  readonly findings: Findings;
  readonly metrics: RunMetrics;
  readonly loggedErrors: readonly string[];
  /** Faults that could not be injected, and why. */
  readonly unsupported: ReadonlyMap<string, string>;
}

/** @param options.directory an empty one, which the run removes @param options.say prints a line for each fault */
export async function runPlan(
  plan: Plan,
  options: {
    directory: string;
    historyPath: string;
    random: Random;
    bus: "postgres" | "valkey";
    mutant: MutantName | undefined;
    say: (line: string) => void;
    onCluster: (cluster: Cluster) => void;
  },
): Promise<Outcome> {
  const { directory, random, mutant, say } = options;
  const valkey = options.bus === "valkey" ? new ProxiedValkey(directory) : undefined;
  await valkey?.start();
  const cluster = await Cluster.start(directory, {
    pods: plan.pods,
    users: plan.users + plan.spareUsers,
    valkey,
    pod: {
      env: { SESSION_SECRET, ...(valkey ? { BUS: valkey.url } : {}), ...(mutant ? { CHAOS_MUTANT: mutant } : {}) },
      bunArgs: mutant ? ["--preload", join(import.meta.dir, "mutants.ts")] : [],
    },
    prepare: async (postgres) => {
      const sql = mutant && MUTANT_SQL[mutant]?.();
      if (sql) await postgres.sql.run((client) => client.unsafe(sql));
    },
  });
  options.onCluster(cluster);
  const history = new History(options.historyPath);
  const monitor = new InvariantMonitor(cluster.postgres, history);
  const { users, rate, changeShare } = plan;
  const workload = new Workload({ users, rate, changeShare, ports: cluster.ports, history, random });
  const unsupported = new Map<string, string>();
  try {
    await workload.open();
    workload.start();
    await injectFaults(plan, { cluster, workload, history, random, unsupported, say });
    workload.stop();
    cluster.heal();
    for (const { name, crashes } of cluster.pods) {
      if (crashes > 0) history.add({ e: "violation", fault: name, message: `it crashed ${crashes} times by itself` });
    }
    await monitor.stop();
    await workload.settle(cluster.postgres, plan.patience);
    await workload.recordFinalState(cluster.postgres);
  } finally {
    workload.close();
    await history.end();
  }
  const judged = await judge(history.path);
  return { ...judged, loggedErrors: await cluster.close(), unsupported };
}

export async function judge(path: string): Promise<{ findings: Findings; metrics: RunMetrics }> {
  const checker = new Checker();
  const metrics = new RunMetrics();
  for await (const entry of read(path)) {
    checker.take(entry);
    metrics.take(entry);
  }
  return { findings: checker.end(), metrics };
}

async function injectFaults(
  plan: Plan,
  parts: {
    cluster: Cluster;
    workload: Workload;
    history: History;
    random: Random;
    unsupported: Map<string, string>;
    say: (line: string) => void;
  },
): Promise<void> {
  const { cluster, workload, history, random, unsupported, say } = parts;
  const endsAt = history.now + plan.seconds * 1_000;
  const calm = () => Bun.sleep(random.between(...plan.calm) * 1_000);
  let spareUsers = 0;
  let n = 0;
  const contextOf = (fault: Fault): FaultContext => ({
    cluster,
    workload,
    history,
    random,
    seconds: (short) => short * random.between(1, plan.stretch),
    violation: (message) => history.add({ e: "violation", fault: `${fault.id} ${fault.name}`, message }),
    spareUser() {
      if (spareUsers === plan.spareUsers) throw new Unsupported("every spare user was signed out already");
      return nameOf(plan.users + spareUsers++);
    },
  });
  const inject = async (fault: Fault) => {
    if ((fault.pods ?? 1) > cluster.pods.length) return void unsupported.set(fault.id, `it needs ${fault.pods} pods`);
    n++;
    const startedAt = history.now;
    history.add({ e: "fault", n, fault: `${fault.id} ${fault.name}`, crash: fault.crash === true });
    let note: string;
    try {
      note = await fault.run(contextOf(fault));
    } catch (error) {
      if (!(error instanceof Unsupported)) throw error;
      unsupported.set(fault.id, error.message);
      note = `not injected: ${error.message}`;
    } finally {
      cluster.heal();
    }
    history.add({ e: "healed", n, note });
    const took = ((history.now - startedAt) / 1_000).toFixed(1);
    say(`${stamp(startedAt)}  ${fault.id}  ${fault.name}: ${note} (${took} s)`);
  };

  await calm();
  for (let round = 0; plan.faults.length > 0 && (round < plan.rounds || history.now < endsAt); round++) {
    if (unsupported.size === plan.faults.length) break;
    for (const fault of random.shuffled(plan.faults)) {
      if (unsupported.has(fault.id) || (round >= plan.rounds && history.now >= endsAt)) continue;
      if (plan.silentEnd) {
        for (const name of workload.names) workload.noReload.add(name); // a new tab resends, and both users get sync
        setTimeout(() => (workload.paused = true), PAUSE_AFTER_MS);
      }
      await inject(fault);
      await calm();
    }
    if (plan.rounds === 1) break; // the rest of the time is calm
  }
  await Bun.sleep(Math.max(0, endsAt - history.now));
}

/** @example stamp(12345) // "  12.3 s" */
export function stamp(ms: number): string {
  return `${(ms / 1_000).toFixed(1).padStart(6)} s`;
}
