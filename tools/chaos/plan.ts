/** Which run it is: how many people, how fast they write, which faults in which order, and what it has to have seen to prove anything. */

import type { Fault } from "./faults/fault.ts";
import { FIGURE_VISITORS } from "./figures.ts";
import { type FlawName, type Options, SHORT } from "./options.ts";
import type { Random } from "./random.ts";

export interface Plan {
  readonly people: number;
  /** With accounts, and no part in the town. */
  readonly visitors: number;
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

const TOWN = {
  people: 60,
  visitors: 40,
  rate: 200,
  calm: [2, 4],
  silentEnd: false,
  patience: { settledMs: 60_000, wholeMs: 10_000 },
} as const;

/** @param figures measurements, made instead of faults when they are what was asked for */
export function planOf(
  options: Options,
  parts: { faults: ReadonlyMap<string, Fault>; figures: readonly Fault[]; random: Random },
): Plan {
  const { flaw, short, minutes, pods } = options;
  const { faults, figures, random } = parts;
  const each = { ...TOWN, pods, rounds: 1, stretch: 1, least: 1 };
  const some = (ids: Iterable<string>) =>
    random.shuffled([...ids].map((id) => faults.get(id)).filter((fault) => fault !== undefined));
  if (flaw) return { ...SMALL, ...SCENES[flaw], faults: some(SCENES[flaw].faults) };
  if (short) {
    const list = some(options.faults ?? SHORT);
    return { ...each, seconds: 115, faults: list, least: options.faults ? 1 : 20_000 };
  }
  if (options.figures) return { ...each, seconds: 10, faults: figures, visitors: FIGURE_VISITORS, calm: [5, 6] };
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
  visitors: 0,
  rate: 100,
  seconds: 5,
  rounds: 1,
  calm: [1.5, 2],
  stretch: 1,
  silentEnd: false,
  patience: { settledMs: 2_500, wholeMs: 2_500 }, // what is broken on purpose does not mend
  least: 1,
} as const;

interface FlawScene {
  readonly pods: number;
  readonly faults: readonly string[];
  readonly silentEnd?: boolean;
  readonly rate?: number;
}

/** A run small enough for each flaw, with what makes it show. */
const SCENES: Readonly<Record<FlawName, FlawScene>> = {
  ack_before_commit: { pods: 1, faults: [], rate: 15 }, // the next message commits the one before
  no_unique_ref: { pods: 1, faults: ["F34"] },
  seq_in_memory: { pods: 2, faults: [] },
  no_sync: { pods: 2, faults: ["F13"], silentEnd: true },
  no_close_on_drop: { pods: 1, faults: ["F27"], silentEnd: true },
  async_handler: { pods: 1, faults: [] },
};
