/** What the proofs share: where they run, how they count, people of the fault run who write while containers come and go. */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { Database } from "../../../src/db/database.ts";
import { type Violation, VIOLATIONS } from "../../../tools/chaos/findings.ts";
import { History } from "../../../tools/chaos/history.ts";
import { InvariantMonitor } from "../../../tools/chaos/invariant_monitor.ts";
import { Random } from "../../../tools/chaos/random.ts";
import { judge } from "../../../tools/chaos/run.ts";
import type { RunMetrics } from "../../../tools/chaos/run_metrics.ts";
import { Workload } from "../../../tools/chaos/workload.ts";
import { TestDatabase } from "../../../tools/support/database.ts";
import { SILENT } from "../../support/harness.ts";
import type { Compose } from "./docker.ts";

/** What proofs are made with. */
export interface Stage {
  readonly tally: Tally;
  /** The image built from the project's Dockerfile. */
  readonly image: string;
  /** A project of the project's docker-compose.yml, removed in the end; `env` is what its host would have set. */
  compose(name: string, env?: Readonly<Record<string, string>>, dotEnv?: "original.env"): Compose;
  /** A name for a network or container of a proof's own, removed in the end. */
  name(what: string): string;
  /** Sees to it that images are here. */
  provide(...images: string[]): Promise<void>;
  readonly seed: number;
  /** Says how it goes on. */
  say(line: string): void;
}

/** One of the proofs: `about` is what it shows. */
export interface Proof {
  readonly about: string;
  run(stage: Stage): Promise<void>;
}

/** What was to be shown is not so, and that was counted and said. */
export class Counted extends Error {}

/** Counts what was shown. */
export class Tally {
  passed = 0;
  failed = 0;
  readonly leftOut: string[] = [];

  /** Shows one thing. @param show throws when it is not so; what it returns is a figure for whoever reads @throws Counted */
  async check(what: string, show: () => Promise<string | void> | string | void): Promise<void> {
    const begun = performance.now();
    try {
      const note = await show();
      this.passed++;
      const seconds = ((performance.now() - begun) / 1_000).toFixed(1);
      console.log(`ok     ${what}${note ? `: ${note}` : ""} (${seconds} s)`);
    } catch (error) {
      this.fail(what, error);
      throw new Counted(what);
    }
  }

  /** Says loudly that something was not shown, and why. */
  leaveOut(what: string, why: string): void {
    this.leftOut.push(`NOT SHOWN: ${what}. ${why}`);
    console.log(this.leftOut.at(-1));
  }

  fail(what: string, error: unknown): void {
    this.failed++;
    const words = Bun.stripANSI(error instanceof Error ? error.message : String(error));
    console.log(`FAILED ${what}\n${words}`.replaceAll("\n", "\n       "));
  }
}

/** People of the fault run, who write to each other through one port while something is done to what serves them. */
export async function people(
  options: { count: number; rate: number; port: number; databaseUrl: string; seed: number },
  meanwhile: (parts: {
    workload: Workload;
    history: History;
    fault: (what: string, make: () => Promise<unknown>) => Promise<void>;
  }) => Promise<void>,
): Promise<RunMetrics> {
  const directory = mkdtempSync(join(tmpdir(), "chatify-containers-"));
  const database = new TestDatabase("chatdb", options.databaseUrl);
  const sql = new Database({ target: options.databaseUrl, name: "containers", max: 3, log: SILENT });
  const history = new History(join(directory, "history.jsonl"));
  let workload: Workload | undefined;
  try {
    await database.addUsers(options.count);
    const monitor = new InvariantMonitor({ sql }, history);
    workload = new Workload({
      users: options.count,
      rate: options.rate,
      ports: [options.port],
      history,
      random: new Random(options.seed),
    });
    let faults = 0;
    const fault = async (what: string, make: () => Promise<unknown>) => {
      const n = ++faults;
      history.add({ e: "fault", n, fault: what, crash: false });
      await make();
      history.add({ e: "healed", n, note: "" });
    };
    await workload.open();
    workload.start();
    await meanwhile({ workload, history, fault });
    workload.stop();
    await monitor.stop();
    await workload.settle({ sql }, { settledMs: 60_000, wholeMs: 10_000 });
    await workload.recordFinalState({ sql });
    workload.close();
    await history.end();
    const { findings, metrics } = await judge(history.path);
    if (findings.total > 0) {
      const words = (Object.keys(VIOLATIONS) as Violation[]).flatMap((name) =>
        findings.examples(name).map((text) => `${name}: ${text}`),
      );
      throw new Error(`${findings.total} promises were broken (seed ${options.seed})\n${words.join("\n")}`);
    }
    return metrics;
  } finally {
    workload?.close();
    await Promise.all([database.sql.end({ timeout: 1 }), sql.end()]);
    rmSync(directory, { recursive: true, force: true });
  }
}
