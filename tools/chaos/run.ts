/** One run: people write, faults are made one after the other, everything heals, and the checker reads what happened. */

import { join } from "node:path";

import { nameOf, SESSION_SECRET } from "../support/people.ts";
import { Checker } from "./checker.ts";
import { type Fault, NotHere, type Scene } from "./faults/fault.ts";
import type { Findings } from "./findings.ts";
import { FLAW_SQL } from "./flaws.ts";
import { History, read } from "./history.ts";
import { Measures } from "./measures.ts";
import type { FlawName } from "./options.ts";
import type { Plan } from "./plan.ts";
import type { Random } from "./random.ts";
import { Stage } from "./stage.ts";
import { Town } from "./town.ts";
import { Valkey } from "./valkey.ts";
import { Witness } from "./witness.ts";

const HUSH_AFTER_MS = 1_500;

export interface Outcome {
  readonly findings: Findings;
  readonly measures: Measures;
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
    flaw: FlawName | undefined;
    say: (line: string) => void;
    onStage: (stage: Stage) => void;
  },
): Promise<Outcome> {
  const { directory, random, flaw, say } = options;
  const valkey = options.bus === "redis" ? await Valkey.start(directory) : undefined;
  const stage = await Stage.start(directory, {
    pods: plan.pods,
    people: plan.people + plan.visitors,
    valkey,
    pod: {
      env: { SESSION_SECRET, ...(valkey ? { BUS: valkey.url } : {}), ...(flaw ? { CHAOS_FLAW: flaw } : {}) },
      words: flaw ? ["--preload", join(import.meta.dir, "flaws.ts")] : [],
    },
    prepare: async (postgres) => {
      const sql = flaw && FLAW_SQL[flaw];
      if (sql) await postgres.sql.run((client) => client.unsafe(sql));
    },
  });
  options.onStage(stage);
  const history = new History(options.historyPath);
  const witness = new Witness(stage.postgres, history);
  const town = new Town({ people: plan.people, rate: plan.rate, ports: stage.ports, history, random });
  const missing = new Map<string, string>();
  try {
    await town.open();
    town.begin();
    await makeFaults(plan, { stage, town, history, random, missing, say });
    town.end();
    stage.heal();
    for (const pod of stage.pods) {
      if (pod.died > 0) history.add({ e: "wrong", fault: pod.name, words: `it died ${pod.died} times by itself` });
    }
    await witness.end();
    await town.settle(stage.postgres, plan.patience);
    await town.takeStock(stage.postgres);
  } finally {
    town.close();
    await history.end();
  }
  const judged = await judge(history.path);
  return { ...judged, complaints: await stage.close(), missing };
}

/** What a history is worth. */
export async function judge(path: string): Promise<{ findings: Findings; measures: Measures }> {
  const checker = new Checker();
  const measures = new Measures();
  for await (const entry of read(path)) {
    checker.take(entry);
    measures.take(entry);
  }
  return { findings: checker.end(), measures };
}

async function makeFaults(
  plan: Plan,
  parts: {
    stage: Stage;
    town: Town;
    history: History;
    random: Random;
    missing: Map<string, string>;
    say: (line: string) => void;
  },
): Promise<void> {
  const { stage, town, history, random, missing, say } = parts;
  const endsAt = history.now + plan.seconds * 1_000;
  const calm = () => Bun.sleep(random.between(...plan.calm) * 1_000);
  let visitors = 0;
  let n = 0;
  const sceneOf = (fault: Fault): Scene => ({
    stage,
    town,
    history,
    random,
    seconds: (short) => short * random.between(1, plan.stretch),
    wrong: (words) => history.add({ e: "wrong", fault: `${fault.id} ${fault.name}`, words }),
    visitor() {
      if (visitors === plan.visitors) throw new NotHere("everybody was signed out already");
      return nameOf(plan.people + visitors++);
    },
  });
  const make = async (fault: Fault) => {
    if ((fault.pods ?? 1) > stage.pods.length) return void missing.set(fault.id, `it takes ${fault.pods} pods`);
    n++;
    const begunAt = history.now;
    history.add({ e: "fault", n, fault: `${fault.id} ${fault.name}`, crash: fault.crash === true });
    let note: string;
    try {
      note = await fault.run(sceneOf(fault));
    } catch (error) {
      if (!(error instanceof NotHere)) throw error;
      missing.set(fault.id, error.message);
      note = `not made: ${error.message}`;
    } finally {
      stage.heal();
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
        for (const name of town.names) town.held.add(name); // a new tab sends again, and the server tells both people to ask
        setTimeout(() => (town.hushed = true), HUSH_AFTER_MS);
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
