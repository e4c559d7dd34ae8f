/** What scenarios share: their context, their results, and the fault run's workload. */

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

export interface ScenarioContext {
  readonly results: Results;
  /** The image built from the project's Dockerfile. */
  readonly image: string;
  /** A Compose project of docker-compose.yml, removed in the end; `env` is its host's environment. */
  compose(name: string, env?: Readonly<Record<string, string>>, dotEnv?: "original.env"): Compose;
  /** A name for a scenario's own network or container, removed in the end. */
  name(suffix: string): string;
  /** Pulls or builds images. */
  provide(...images: string[]): Promise<void>;
  readonly seed: number;
  /** Prints progress. */
  say(line: string): void;
}

export interface Scenario {
  readonly about: string;
  run(stage: ScenarioContext): Promise<void>;
}

/** A check failed, and was counted and printed. */
export class Reported extends Error {}

export class Results {
  passed = 0;
  failed = 0;
  readonly skipped: string[] = [];

  /** @param run throws when the check fails; it may return a note @throws Reported */
  async check(name: string, run: () => Promise<string | void> | string | void): Promise<void> {
    const begun = performance.now();
    try {
      const note = await run();
      this.passed++;
      const seconds = ((performance.now() - begun) / 1_000).toFixed(1);
      console.log(`ok     ${name}${note ? `: ${note}` : ""} (${seconds} s)`);
    } catch (error) {
      this.fail(name, error);
      throw new Reported(name);
    }
  }

  skip(name: string, reason: string): void {
    this.skipped.push(`NOT RUN: ${name}, since ${reason}`);
    console.log(this.skipped.at(-1));
  }

  fail(name: string, error: unknown): void {
    this.failed++;
    const message = Bun.stripANSI(error instanceof Error ? error.message : String(error));
    console.log(`FAILED ${name}\n${message}`.replaceAll("\n", "\n       "));
  }
}

/** Runs the fault run's workload through one port while something happens to the containers, and checks its history. */
export async function runWorkload(
  options: { users: number; rate: number; port: number; databaseUrl: string; seed: number },
  meanwhile: (parts: {
    workload: Workload;
    history: History;
    fault: (name: string, inject: () => Promise<unknown>) => Promise<void>;
  }) => Promise<void>,
): Promise<RunMetrics> {
  const directory = mkdtempSync(join(tmpdir(), "chatify-containers-"));
  const database = new TestDatabase("chatdb", options.databaseUrl);
  const sql = new Database({ target: options.databaseUrl, name: "containers", max: 3, log: SILENT });
  const history = new History(join(directory, "history.jsonl"));
  let workload: Workload | undefined;
  try {
    await database.addUsers(options.users);
    const monitor = new InvariantMonitor({ sql }, history);
    workload = new Workload({
      users: options.users,
      rate: options.rate,
      ports: [options.port],
      history,
      random: new Random(options.seed),
    });
    let faults = 0;
    const fault = async (name: string, inject: () => Promise<unknown>) => {
      const n = ++faults;
      history.add({ e: "fault", n, fault: name, crash: false });
      await inject();
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
      const examples = (Object.keys(VIOLATIONS) as Violation[]).flatMap((name) =>
        findings.examples(name).map((text) => `${name}: ${text}`),
      );
      throw new Error(`${findings.total} promises were broken (seed ${options.seed})\n${examples.join("\n")}`);
    }
    return metrics;
  } finally {
    workload?.close();
    await Promise.all([database.sql.end({ timeout: 1 }), sql.end()]);
    rmSync(directory, { recursive: true, force: true });
  }
}
