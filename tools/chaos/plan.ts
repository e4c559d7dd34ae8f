/** Which run it is: how many people, how fast they write, which faults in which order, and what it has to have seen to prove anything. */

import type { Fault } from "./faults/fault.ts";
import { type MutantName, type Options, SHORT } from "./options.ts";
import type { Random } from "./random.ts";
import { RECOVERY_USERS } from "./recovery.ts";

export interface Plan {
  readonly people: number;
  /** With accounts, and no part in the workload. */
  readonly spareUsers: number;
  /** Messages a second. */
  readonly rate: number;
  readonly pods: number;
  /** People write for so long at least. */
  readonly seconds: number;
  /** Once around, in the order drawn. */
  readonly faults: readonly Fault[];
  /** How often each fault is made at least; they go round until the time is over. */
  readonly rounds: number;
  /** Calm before the first fault and between two, in seconds. */
  readonly calm: readonly [number, number];
  /** How much longer what lasts may last than in a short run. */
  readonly stretch: number;
  /** Once the last fault began nobody reloads, and soon nobody but it writes: what it loses stays lost. */
  readonly silentEnd: boolean;
  /** How long a send may stay unsettled after everything was whole again, and then a message undelivered. */
  readonly patience: { readonly settledMs: number; readonly wholeMs: number };
  /** Fewer acks prove nothing. */
  readonly least: number;
}

const DEFAULTS = {
  people: 60,
  spareUsers: 40,
  rate: 200,
  calm: [2, 4],
  silentEnd: false,
  patience: { settledMs: 60_000, wholeMs: 10_000 },
} as const;

/** @param recovery measurements, made instead of faults when they are what was asked for */
export function planRun(
  options: Options,
  parts: { faults: ReadonlyMap<string, Fault>; recovery: readonly Fault[]; random: Random },
): Plan {
  const { mutant, short, minutes, pods } = options;
  const { faults, recovery, random } = parts;
  const each = { ...DEFAULTS, pods, rounds: 1, stretch: 1, least: 1 };
  const some = (ids: Iterable<string>) =>
    random.shuffled([...ids].map((id) => faults.get(id)).filter((fault) => fault !== undefined));
  if (mutant) return { ...SMALL, ...MUTANT_RUNS[mutant], faults: some(MUTANT_RUNS[mutant].faults) };
  if (short) {
    const list = some(options.faults ?? SHORT);
    return { ...each, seconds: 115, faults: list, least: options.faults ? 1 : 20_000 };
  }
  if (options.recovery) return { ...each, seconds: 10, faults: recovery, spareUsers: RECOVERY_USERS, calm: [5, 6] };
  const list = some(options.faults ?? faults.keys());
  if (minutes === undefined) return { ...each, seconds: 10, faults: list };
  return {
    ...each,
    seconds: minutes * 60,
    faults: list,
    rounds: 2,
    stretch: 2,
    calm: [3, 10],
    least: minutes * 10_000,
  };
}

const SMALL = {
  people: 9,
  spareUsers: 0,
  rate: 100,
  seconds: 5,
  rounds: 1,
  calm: [1.5, 2],
  stretch: 1,
  silentEnd: false,
  patience: { settledMs: 2_500, wholeMs: 2_500 }, // what is broken on purpose does not mend
  least: 1,
} as const;

interface MutantRun {
  readonly pods: number;
  readonly faults: readonly string[];
  readonly silentEnd?: boolean;
  readonly rate?: number;
}

/** A run small enough for each mutant, with what makes it show. */
const MUTANT_RUNS: Readonly<Record<MutantName, MutantRun>> = {
  ack_before_commit: { pods: 1, faults: [], rate: 15 }, // the next message commits the one before
  no_unique_ref: { pods: 1, faults: ["F34"] },
  seq_in_memory: { pods: 2, faults: [] },
  no_sync: { pods: 2, faults: ["F13"], silentEnd: true },
  no_close_on_drop: { pods: 1, faults: ["F27"], silentEnd: true },
  async_handler: { pods: 1, faults: [] },
};
