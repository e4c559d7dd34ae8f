/** The interface of benchmark parts, and the environment that they can use. */

import type { Progress } from "../support/progress.ts";
import type { Report } from "../support/report.ts";
import type { Sandbox } from "../support/sandbox.ts";

export interface Bench {
  readonly sandbox: Sandbox;
  readonly report: Report;
  readonly progress: Progress;
  readonly short: boolean;
  readonly big: boolean;
}

export interface Part {
  /** About how long it takes on two cores. */
  seconds(scale: { short: boolean; big: boolean }): number;
  run(bench: Bench): Promise<void>;
}
