/** Whole runs of the benchmark, the fault run and the fuzz run; a part of `bun run verify --all` only. */

import { expect, setDefaultTimeout, test } from "bun:test";

import type { MutantName } from "../../tools/chaos/options.ts";
import { runCommand } from "../support/command.ts";

setDefaultTimeout(120_000);

/** What each mutant breaks. */
const FINDINGS: Readonly<Record<MutantName, string>> = {
  ack_before_commit: "early_ack",
  no_unique_ref: "duplicate",
  seq_in_memory: "reordered",
  no_sync: "undelivered",
  no_close_on_drop: "undelivered",
  async_handler: "reordered",
  lost_changes: "early_ack",
  revision_in_memory: "reordered",
  changes_after_deletion: "resurrected",
  no_change_refs: "duplicate",
};

test.each(Object.entries(FINDINGS))(
  "chaos finds the mutant %s as %s, and leaves nothing behind",
  async (mutant, name) => {
    const { code, out, err, left, running } = await runCommand("chaos/main.ts", ["--mutant", mutant, "--seed", "1"]);
    expect([code, err]).toEqual([1, ""]);
    expect(Number(new RegExp(`^${name} +(\\d+)`, "m").exec(out)?.[1]), out).toBeGreaterThan(0);
    expect([...left, ...running]).toEqual([]);
  },
);

test("fuzz finds nothing, and leaves nothing behind", async () => {
  const { code, out, left, running } = await runCommand("fuzz/main.ts", ["--frames", "1000", "--requests", "500"]);
  expect(out).toMatch(/^(\d+) of \1 checks passed$/m);
  expect(code).toBe(0);
  expect([...left, ...running]).toEqual([]);
});

test("bench runs a part, and leaves nothing behind", async () => {
  const { code, out, left, running } = await runCommand("bench/main.ts", ["--only", "start", "--short", "--json"]);
  expect(code).toBe(0);
  const { figures, checks } = JSON.parse(out) as {
    figures: { name: string }[];
    checks: { problems: string[] }[];
  };
  expect(figures.map(({ name }) => name)).toEqual(["first start, creating the database", "second start"]);
  expect(checks.flatMap(({ problems }) => problems)).toEqual([]);
  expect([...left, ...running]).toEqual([]);
});

test.each([
  ["chaos/main.ts --short", 500],
  ["chaos/main.ts --short", 4_000],
  ["fuzz/main.ts", 4_000],
  ["bench/main.ts --only quiet --short", 250],
  ["bench/main.ts --only quiet --short", 1_800],
])("%s leaves nothing behind when interrupted after %i ms", async (command, interruptAfterMs) => {
  const [script = "", ...args] = command.split(" ");
  const { code, err, left, running } = await runCommand(script, args, { interruptAfterMs });
  expect(code).toBe(130);
  if (!script.startsWith("fuzz")) expect(err).toEndWith("Stopping …\n");
  expect([...left, ...running]).toEqual([]);
});
