/** Disposal of a stack of resources. */

/** Disposes of all parts in reverse order, even if one fails. @param failed called with the error, if any */
export async function disposeAll(parts: AsyncDisposableStack, failed: (error: unknown) => void): Promise<void> {
  try {
    await parts.disposeAsync();
  } catch (error) {
    failed(error);
  }
}
