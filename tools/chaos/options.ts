/** The command line of the fault run: read, checked, explained. */

import { OptionsError, splitOnce } from "../support/options.ts";

/** Mutants that can be built into the servers, and what a run then finds. */
export const MUTANTS = {
  ack_before_commit: "acknowledges, then commits",
  no_unique_ref: "stores a resend again: no unique index, no look-up",
  seq_in_memory: "numbers messages by what the pod remembers",
  no_sync: "never tells pages that they may lack something",
  no_close_on_drop: "drops frames for a slow reader and says nothing",
  async_handler: "waits for something before it queues a message",
} as const;

export type MutantName = keyof typeof MUTANTS;

/** The faults of a short run. */
export const SHORT = ["F01", "F02", "F05", "F07", "F08", "F11", "F12", "F14", "F22", "F26", "F27", "F34"] as const;

export interface Options {
  readonly seed: number;
  /** How long people write; undefined: until every fault was made once. */
  readonly minutes: number | undefined;
  /** Undefined: all that can be made here. */
  readonly faults: readonly string[] | undefined;
  readonly pods: number;
  readonly bus: "postgres" | "redis";
  readonly short: boolean;
  readonly mutant: MutantName | undefined;
  readonly keep: boolean;
  readonly recovery: boolean;
}

/**
 * @param known the faults there are
 * @returns undefined when help was asked for
 * @throws OptionsError
 * @example readOptions(["--short", "--seed", "7"], ["F01"])?.seed // 7
 */
export function readOptions(words: readonly string[], known: readonly string[]): Options | undefined {
  const given = { short: false, keep: false, recovery: false };
  let seed = crypto.getRandomValues(new Uint32Array(1))[0] as number;
  let minutes: number | undefined;
  let faults: readonly string[] | undefined;
  let pods = 3;
  let bus: Options["bus"] = "postgres";
  let mutant: MutantName | undefined;
  for (let i = 0; i < words.length; i++) {
    const [word = "", inline] = splitOnce(words[i] ?? "");
    const value = (): string => {
      const text = inline ?? words[++i];
      if (text === undefined || text === "") throw new OptionsError(`${word} needs a value`);
      return text;
    };
    if (word === "--help" || word === "-h") return undefined;
    if (word === "--seed") seed = whole(word, value(), 0, 2 ** 32 - 1);
    else if (word === "--minutes") minutes = whole(word, value(), 1, 24 * 60);
    else if (word === "--pods") pods = whole(word, value(), 1, 8);
    else if (word === "--faults") faults = chosen("fault", value(), known);
    else if (word === "--bus") bus = chosen("bus", value(), ["postgres", "redis"])[0] as Options["bus"];
    else if (word === "--mutant") mutant = chosen("mutant", value(), Object.keys(MUTANTS))[0] as MutantName;
    else if (word === "--short" || word === "--keep" || word === "--recovery") {
      if (inline !== undefined) throw new OptionsError(`${word} takes no value`);
      given[word.slice(2) as keyof typeof given] = true;
    } else throw new OptionsError(`The fault run does not know "${words[i]}"; --help lists what it takes`);
  }
  const kinds = [given.short, given.recovery, mutant !== undefined, minutes !== undefined].filter(Boolean);
  if (kinds.length > 1) throw new OptionsError("--short, --minutes, --mutant and --recovery exclude each other");
  if (faults && (mutant !== undefined || given.recovery))
    throw new OptionsError("--mutant and --recovery bring their own faults: leave --faults away");
  return { ...given, seed, minutes, faults, pods, bus, mutant };
}

/** @param faults what each is called, by number */
export function help(faults: ReadonlyMap<string, { readonly name: string }>): string {
  const list = [...faults].map(([id, { name }]) => `  ${id}  ${name}`);
  const mutants = Object.entries(MUTANTS).map(([name, about]) => `  ${name.padEnd(18)} ${about}`);
  return `chatify's fault run: several servers, a PostgreSQL and sixty people in a temporary directory, faults drawn from a
seed, and a checker that holds everything anybody was told against everything else. It loses nothing, or ends with 1.

Usage
  bun run chaos                        every fault once, about seven minutes
  bun run chaos --short                twelve faults, under three minutes
  bun run chaos --minutes 30           every fault at least twice
  bun run chaos --faults F01,F05       some faults
  bun run chaos --recovery              how soon everything is well again, against what is asked
  bun run chaos --mutant no_unique_ref   with a mutant built into the servers: it is found, or the checker is worth nothing

Options
  --seed N        draws the same faults again
  --pods N        so many servers (3)
  --bus NAME      what carries events between pods: postgres or redis (postgres)
  --keep          keeps the history: every event, a line of JSON each
  --help          this page

Faults
${list.join("\n")}

Mutants
${mutants.join("\n")}

Exit codes
  0 all is well   1 a promise was broken, or the run proves nothing   2 bad command line   3 packages missing   4 the machine is in the way
`;
}

function whole(word: string, text: string, least: number, most: number): number {
  const number = /^\d{1,10}$/.test(text) ? Number(text) : Number.NaN;
  if (number >= least && number <= most) return number;
  throw new OptionsError(`${word} takes a whole number from ${least} to ${most}, got "${text}"`);
}

function chosen(kind: string, list: string, all: readonly string[]): string[] {
  const names = list.split(",").map((name) => name.trim());
  for (const name of names) {
    if (!all.includes(name)) throw new OptionsError(`There is no ${kind} "${name}"; there are ${all.join(", ")}`);
  }
  return names;
}
