/** The parameters of a run: users, rate, which faults in which order, and how much it must have seen to be conclusive. */

import type { Fault } from "./faults/fault.ts";
import { type MutantName, type Options, SHORT } from "./options.ts";
import type { Random } from "./random.ts";

export interface Plan {
  /** Users of the workload. */
  readonly users: number;
  /** Users beyond the workload's, for faults that sign someone out. */
  readonly spareUsers: number;
  /** Messages and changes per second. */
  readonly rate: number;
  /** The share of changes. */
  readonly changeShare: number;
  readonly pods: number;
  /** The least duration of the workload. */
  readonly seconds: number;
  readonly faults: readonly Fault[];
  /** How often each fault is injected at least; they repeat until the time is over. */
  readonly rounds: number;
  /** The least and most time before each fault, in seconds. */
  readonly calm: readonly [number, number];
  /** By how much lasting faults may last longer than in a short run. */
  readonly stretch: number;
  /** From a fault on, no tab reloads and the workload soon pauses, so that later traffic heals no loss. */
  readonly silentEnd: boolean;
  /** After recovery, the time until every send must be settled, and then until every message must be delivered. */
  readonly patience: { readonly settledMs: number; readonly wholeMs: number };
  /** With fewer answers to messages and changes the run is inconclusive. */
  readonly minAnswers: number;
}

const DEFAULTS = {
  users: 60,
  spareUsers: 40,
  rate: 200,
  changeShare: 0.1,
  calm: [2, 4],
  silentEnd: false,
  patience: { settledMs: 60_000, wholeMs: 10_000 },
  rounds: 1,
  stretch: 1,
  minAnswers: 1,
} as const;

export function planRun(options: Options, faults: ReadonlyMap<string, Fault>, random: Random): Plan {
  const { mutant, short, minutes, pods } = options;
  const shuffled = (ids: Iterable<string>) =>
    random.shuffled([...ids].map((id) => faults.get(id)).filter((fault) => fault !== undefined));
  if (mutant) return { ...SMALL, ...MUTANT_RUNS[mutant], faults: shuffled(MUTANT_RUNS[mutant].faults) };
  const chosen = shuffled(options.faults ?? (short ? SHORT : faults.keys()));
  const plan = { ...DEFAULTS, pods, faults: chosen };
  if (short) return { ...plan, seconds: 115, minAnswers: options.faults ? 1 : 20_000 };
  if (minutes === undefined) return { ...plan, seconds: 10 };
  const timed = { ...plan, seconds: minutes * 60, minAnswers: minutes * 10_000 };
  return minutes < 30 ? { ...timed, rounds: 0 } : { ...timed, rounds: 2, stretch: 2, calm: [3, 10] };
}

const SMALL = {
  ...DEFAULTS,
  users: 9,
  spareUsers: 0,
  rate: 100,
  seconds: 5,
  calm: [1.5, 2],
  patience: { settledMs: 2_500, wholeMs: 2_500 }, // a mutant does not recover
} as const;

interface MutantRun {
  readonly pods: number;
  readonly faults: readonly string[];
  readonly silentEnd?: boolean;
  readonly rate?: number;
  readonly changeShare?: number;
}

/** For each mutant the smallest run that exposes it. */
const MUTANT_RUNS: Readonly<Record<MutantName, MutantRun>> = {
  ack_before_commit: { pods: 1, faults: [], rate: 15 }, // the next message commits the one before
  no_unique_ref: { pods: 1, faults: ["F34"] },
  seq_in_memory: { pods: 2, faults: [] },
  no_sync: { pods: 2, faults: ["F13"], silentEnd: true },
  no_close_on_drop: { pods: 1, faults: ["F27"], silentEnd: true },
  async_handler: { pods: 1, faults: [] },
  lost_changes: { pods: 1, faults: [], changeShare: 0.5 },
  revision_in_memory: { pods: 2, faults: [], changeShare: 0.5 },
  changes_after_deletion: { pods: 1, faults: [], changeShare: 0.5 },
  no_change_refs: { pods: 1, faults: ["F34"] },
};
