/** Tests wait for conditions, not for times. */

/** Waits until a condition holds. @param what the condition in words, for the error @returns the milliseconds waited */
export async function until(what: string, holds: () => boolean | Promise<boolean>, withinMs = 10_000): Promise<number> {
  const begunAt = performance.now();
  while (!(await holds())) {
    if (performance.now() - begunAt > withinMs) throw new Error(`Not within ${withinMs} ms: ${what}`);
    await Bun.sleep(20);
  }
  return performance.now() - begunAt;
}
