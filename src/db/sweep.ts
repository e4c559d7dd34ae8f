/** Deletion of old rows, in steps that keep each statement short. */

/** Rows that a step deletes at most. */
export const SWEEP_ROWS = 10_000;
const PAUSE_MS = 100;

/** Repeats a step until it finds no more old rows. @param step returns how many rows it deleted */
export async function sweepAll(step: () => Promise<number>): Promise<void> {
  while ((await step()) === SWEEP_ROWS) await Bun.sleep(PAUSE_MS);
}
