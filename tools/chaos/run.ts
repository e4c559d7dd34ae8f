/** One run: people write, faults are made one after the other, everything heals, and the checker reads what happened. */

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
import { Valkey } from "./valkey.ts";
import { Workload } from "./workload.ts";

const PAUSE_AFTER_MS = 1_500;

export interface Outcome {
  readonly findings: Findings;
  readonly metrics: RunMetrics;
  /** Complaints in the servers' logs. */
  readonly complaints: readonly string[];
  /** Faults that could not be made, and why. */
  readonly missing: ReadonlyMap<string, string>;
}

/**
 * @param options.directory made for the run and removed after it
 * @param options.say told of each fault
 */
export async function run(
  plan: Plan,
  options: {
    directory: string;
    historyPath: string;
    random: Random;
    bus: "postgres" | "redis";
    mutant: MutantName | undefined;
    say: (line: string) => void;
    onCluster: (cluster: Cluster) => void;
  },
): Promise<Outcome> {
  const { directory, random, mutant, say } = options;
  const valkey = options.bus === "redis" ? await Valkey.start(directory) : undefined;
  const cluster = await Cluster.start(directory, {
    pods: plan.pods,
    people: plan.people + plan.spareUsers,
    valkey,
    pod: {
      env: { SESSION_SECRET, ...(valkey ? { BUS: valkey.url } : {}), ...(mutant ? { CHAOS_MUTANT: mutant } : {}) },
      words: mutant ? ["--preload", join(import.meta.dir, "mutants.ts")] : [],
    },
    prepare: async (postgres) => {
      const sql = mutant && MUTANT_SQL[mutant];
      if (sql) await postgres.sql.run((client) => client.unsafe(sql));
    },
  });
  options.onCluster(cluster);
  const history = new History(options.historyPath);
  const monitor = new InvariantMonitor(cluster.postgres, history);
  const workload = new Workload({ people: plan.people, rate: plan.rate, ports: cluster.ports, history, random });
  const missing = new Map<string, string>();
  try {
    await workload.open();
    workload.begin();
    await injectFaults(plan, { cluster, workload, history, random, missing, say });
    workload.end();
    cluster.heal();
    for (const pod of cluster.pods) {
      if (pod.died > 0) history.add({ e: "violation", fault: pod.name, words: `it died ${pod.died} times by itself` });
    }
    await monitor.end();
    await workload.settle(cluster.postgres, plan.patience);
    await workload.recordFinalState(cluster.postgres);
  } finally {
    workload.close();
    await history.end();
  }
  const judged = await judge(history.path);
  return { ...judged, complaints: await cluster.close(), missing };
}

/** What a history is worth. */
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
    missing: Map<string, string>;
    say: (line: string) => void;
  },
): Promise<void> {
  const { cluster, workload, history, random, missing, say } = parts;
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
    wrong: (words) => history.add({ e: "violation", fault: `${fault.id} ${fault.name}`, words }),
    spareUser() {
      if (spareUsers === plan.spareUsers) throw new Unsupported("everybody was signed out already");
      return nameOf(plan.people + spareUsers++);
    },
  });
  const make = async (fault: Fault) => {
    if ((fault.pods ?? 1) > cluster.pods.length) return void missing.set(fault.id, `it takes ${fault.pods} pods`);
    n++;
    const begunAt = history.now;
    history.add({ e: "fault", n, fault: `${fault.id} ${fault.name}`, crash: fault.crash === true });
    let note: string;
    try {
      note = await fault.run(contextOf(fault));
    } catch (error) {
      if (!(error instanceof Unsupported)) throw error;
      missing.set(fault.id, error.message);
      note = `not made: ${error.message}`;
    } finally {
      cluster.heal();
    }
    history.add({ e: "healed", n, note });
    say(`${stamp(begunAt)}  ${fault.id}  ${fault.name}: ${note} (${((history.now - begunAt) / 1_000).toFixed(1)} s)`);
  };

  await calm();
  for (let round = 0; plan.faults.length > 0 && (round < plan.rounds || history.now < endsAt); round++) {
    if (missing.size === plan.faults.length) break;
    for (const fault of random.shuffled(plan.faults)) {
      if (missing.has(fault.id) || (round >= plan.rounds && history.now >= endsAt)) continue;
      if (plan.silentEnd) {
        for (const name of workload.names) workload.held.add(name); // a new tab sends again, and the server tells both people to ask
        setTimeout(() => (workload.paused = true), PAUSE_AFTER_MS);
      }
      await make(fault);
      await calm();
    }
    if (plan.rounds === 1) break; // what is left of the time is calm
  }
  await Bun.sleep(Math.max(0, endsAt - history.now));
}

/** @example stamp(12345) // "  12.3 s" */
export function stamp(ms: number): string {
  return `${(ms / 1_000).toFixed(1).padStart(6)} s`;
}
