/** Deadlines for promises. */

/**
 * Resolves like `promise`, or rejects after `ms`. The work behind the promise continues.
 *
 * @param late returns the error of a timeout
 */
export async function withTimeout<T>(promise: PromiseLike<T>, ms: number, late: () => Error): Promise<T> {
  const { promise: timeout, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(late()), ms);
  try {
    return await Promise.race([promise, timeout]);
  } finally {
    clearTimeout(timer);
  }
}
