/** The fault run's command line. */

import { namesOf, OptionsError, parseOptions, randomSeed, wholeNumber } from "../support/options.ts";

/** Mutants: flaws built into the servers, which a run must find. */
export const MUTANTS = {
  ack_before_commit: "acknowledges, then commits",
  no_unique_ref: "stores a resend again: no unique index, no lookup",
  seq_in_memory: "numbers messages from the pod's memory",
  no_sync: "never sends sync frames",
  no_close_on_drop: "drops frames for a slow reader without closing its socket",
  async_handler: "awaits before it queues a message",
  lost_changes: "answers changes and then rolls some of them back",
  revision_in_memory: "counts changes in the pod's memory",
  changes_after_deletion: "changes deleted messages",
  no_change_refs: "makes a resent change again",
} as const;

export type MutantName = keyof typeof MUTANTS;

/** The faults of a short run. */
export const SHORT = ["F01", "F02", "F05", "F07", "F08", "F11", "F12", "F14", "F22", "F26", "F27", "F34"] as const;

export interface Options {
  readonly seed: number;
  /** Undefined: until every fault was injected once. */
  readonly minutes: number | undefined;
  /** Undefined: all that this machine allows. */
  readonly faults: readonly string[] | undefined;
  readonly pods: number;
  readonly bus: "postgres" | "valkey";
  readonly short: boolean;
  readonly mutant: MutantName | undefined;
  readonly keep: boolean;
}

/**
 * @param known ids of the faults
 * @returns undefined when help was asked for
 * @throws OptionsError
 * @example readOptions(["--short", "--seed", "7"], ["F01"])?.seed // 7
 */
export function readOptions(args: readonly string[], known: readonly string[]): Options | undefined {
  const boolean = { type: "boolean", default: false } as const;
  const string = { type: "string" } as const;
  const numbers = { seed: string, minutes: string, pods: string };
  const values = parseOptions(args, {
    ...numbers,
    faults: string,
    bus: string,
    mutant: string,
    short: boolean,
    keep: boolean,
  });
  if (!values) return undefined;
  const { seed = String(randomSeed()), minutes, pods = "3", short, keep } = values;
  const mutant = values.mutant === undefined ? [] : namesOf("mutant", values.mutant, Object.keys(MUTANTS));
  if ([short, values.mutant !== undefined, minutes !== undefined].filter(Boolean).length > 1)
    throw new OptionsError("--short, --minutes and --mutant are mutually exclusive");
  if (values.faults !== undefined && values.mutant !== undefined)
    throw new OptionsError("--mutant implies its faults: omit --faults");
  return {
    seed: wholeNumber("--seed", seed, { min: 0, max: 2 ** 32 - 1 }),
    minutes: minutes === undefined ? undefined : wholeNumber("--minutes", minutes, { min: 1, max: 24 * 60 }),
    pods: wholeNumber("--pods", pods, { min: 1, max: 8 }),
    faults: values.faults === undefined ? undefined : namesOf("fault", values.faults, known),
    bus: busOf(values.bus ?? "postgres"),
    mutant: mutant[0] as MutantName | undefined,
    short,
    keep,
  };
}

/** `redis` is the former name of `valkey`. @throws OptionsError */
function busOf(name: string): Options["bus"] {
  const [bus] = namesOf("bus", name === "redis" ? "valkey" : name, ["postgres", "valkey"]);
  return bus ?? "postgres";
}

/** @param faults by id */
export function help(faults: ReadonlyMap<string, { readonly name: string }>): string {
  const list = [...faults].map(([id, { name }]) => `  ${id}  ${name}`);
  const mutants = Object.entries(MUTANTS).map(([name, about]) => `  ${name.padEnd(22)} ${about}`);
  return `chatify's fault run: several servers, a PostgreSQL and sixty users in a temporary directory, randomly ordered faults, and a
checker that compares everything sent, received and stored. It exits with 1 if a promise was broken.

Usage
  bun run chaos                          every fault once, about seven minutes
  bun run chaos --short                  twelve faults, under three minutes
  bun run chaos --minutes 5              random faults for five minutes
  bun run chaos --minutes 30             from 30 minutes on: every fault at least twice, longer ones too
  bun run chaos --faults F01,F05         some faults
  bun run chaos --mutant no_unique_ref   with a flaw built into the servers, which the checker must find

Options
  --seed N        repeats a run's choice of faults
  --pods N        number of servers (3)
  --bus NAME      carries events between pods: postgres or valkey (postgres)
  --keep          keeps the history: every event, one JSON object a line
  --help          this page

Faults
${list.join("\n")}

Mutants
${mutants.join("\n")}

Exit codes
  0 every promise was kept   1 a promise was broken, or the run is inconclusive   2 invalid arguments   3 packages missing   4 the machine lacks something
`;
}
