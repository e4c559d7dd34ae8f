/** Disposal of a stack of resources. */

/** Disposes of all parts in reverse order. @param failed called with the error, if one fails */
export async function disposeAll(parts: AsyncDisposableStack, failed: (error: unknown) => void): Promise<void> {
  try {
    await parts.disposeAsync();
  } catch (error) {
    failed(error);
  }
}
