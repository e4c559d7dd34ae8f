/** How tests wait: for what is meant, not for a time in which it usually comes. */

/** Waits until something is so. @returns for how many milliseconds */
export async function until(what: string, holds: () => boolean | Promise<boolean>, withinMs = 10_000): Promise<number> {
  const begunAt = performance.now();
  while (!(await holds())) {
    if (performance.now() - begunAt > withinMs) throw new Error(`Not within ${withinMs} ms: ${what}`);
    await Bun.sleep(20);
  }
  return performance.now() - begunAt;
}
