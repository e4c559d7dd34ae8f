/** Taking down what was built, in reverse. */

/** Disposes of every part, even if another fails. @param failed called with what went wrong, when something did */
export async function disposeAll(parts: AsyncDisposableStack, failed: (error: unknown) => void): Promise<void> {
  try {
    await parts.disposeAsync();
  } catch (error) {
    failed(error);
  }
}
